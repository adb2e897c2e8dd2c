"""Which queries a gallery shows: pure functions, the same choice for the same findings.

Shapes: R rows, Q queries of a domain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

PER_PAIR = 3
"""Queries of a domain that one row finds and another misses, wanted for any two rows."""


def confident_failures(hit_Q: np.ndarray, scores_Q: np.ndarray, count: int) -> list[int]:
    """The queries that a row misses, those first whose wrong image it is surest of.

    Args:
        hit_Q: bool, whether the nearest image is right.
        scores_Q: its score.
        count: at most so many.

    Example:
        >>> confident_failures(np.array([True, False, False]), np.array([0.9, 0.2, 0.8]), 5)
        [2, 1]
    """
    order_Q = np.argsort(-scores_Q, kind="stable")
    return order_Q[~hit_Q[order_Q]][:count].tolist()


def telling_queries(hit_RQ: np.ndarray, count: int) -> list[int]:
    """Queries that tell rows apart: for any two rows some that one finds and the other misses.

    Each next one is the query that serves most pairs of rows that still lack some; of equals the
    first.

    Args:
        hit_RQ: bool, whether each row's nearest image is right.
        count: at most so many.

    Example:
        >>> telling_queries(np.array([[1, 0, 1], [1, 1, 0]], dtype=bool), 5)
        [1, 2]
    """
    finds_RQ, misses_RQ = hit_RQ.astype(np.int64), (~hit_RQ).astype(np.int64)
    lacking_RR = np.full((len(hit_RQ), len(hit_RQ)), PER_PAIR)
    left_Q = np.ones(hit_RQ.shape[1], dtype=bool)
    chosen: list[int] = []
    while len(chosen) < count and left_Q.any():
        wanted_RR = (lacking_RR > 0).astype(np.int64)
        served_Q = np.where(left_Q, (wanted_RR.T @ finds_RQ * misses_RQ).sum(axis=0), 0)
        best = int(served_Q.argmax())
        if not served_Q[best]:
            break
        chosen.append(best)
        left_Q[best] = False
        lacking_RR -= np.outer(finds_RQ[:, best], misses_RQ[:, best])
    return chosen


def in_turn(lists: Sequence[Sequence[int]]) -> Iterator[int]:
    """The first of each list, then the second of each, and so on.

    >>> list(in_turn([[1, 2, 3], [], [7]]))
    [1, 7, 2, 3]
    """
    for position in range(max(map(len, lists), default=0)):
        yield from (each[position] for each in lists if position < len(each))
