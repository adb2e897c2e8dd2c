"""Which queries a gallery shows."""

from __future__ import annotations

import numpy as np

from udonx.reports.choice import PER_PAIR, confident_failures, telling_queries


def test_failures_come_in_the_order_of_their_scores():
    """Only what is missed counts; equal scores keep the order of the queries."""
    hit_Q = np.array([False, True, False, False, False])
    scores_Q = np.array([0.5, 0.9, 0.7, 0.5, -np.inf], dtype=np.float32)
    assert confident_failures(hit_Q, scores_Q, 3) == [2, 0, 3]
    assert confident_failures(np.ones(5, dtype=bool), scores_Q, 3) == []


def test_any_two_rows_are_told_apart():
    """For each ordered pair of rows there are as many queries as there can be, up to the wanted
    number, and none is there without need.
    """
    hit_RQ = np.random.default_rng(0).random((6, 80)) < 0.6
    chosen = telling_queries(hit_RQ, 80)
    assert len(set(chosen)) == len(chosen) < 30
    for one in range(6):
        for other in range(6):
            differs_Q = hit_RQ[one] & ~hit_RQ[other]
            assert differs_Q[chosen].sum() >= min(PER_PAIR, differs_Q.sum())
    assert telling_queries(hit_RQ, 80) == chosen and telling_queries(hit_RQ, 4) == chosen[:4]


def test_rows_that_agree_need_no_query():
    """Nor does a table of one row."""
    hit_Q = np.array([True, False, True])
    assert telling_queries(np.stack([hit_Q, hit_Q]), 5) == []
    assert telling_queries(hit_Q[None], 5) == []
