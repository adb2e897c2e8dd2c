"""What the rows of a table found, side by side."""

from __future__ import annotations

import numpy as np
import pytest

from tests.udonx.reports.evaluated import DOMAINS, write_results
from udonx.reports.findings import read_findings
from udonx.tables.storage import find_tables, read_table


@pytest.fixture
def stored(tmp_path):
    """The table and its results."""
    results = write_results(tmp_path / "results", tmp_path / "data")
    (file,) = find_tables(results.root)
    return read_table(file), results


def test_rows_are_aligned_by_the_names_of_queries_and_images(stored):
    """A row whose evaluation has its queries and its index in another order is turned into that of
    the first.
    """
    table, results = stored
    before = read_findings(table, results)
    folder = results.evaluation("udon")
    queries, found = (
        dict(np.load(folder / "per_query.npz")),
        dict(np.load(folder / "neighbours.npz")),
    )
    order_Q = np.random.default_rng(0).permutation(len(queries["id"]))
    np.savez(folder / "per_query.npz", **{name: array[order_Q] for name, array in queries.items()})
    names = found.pop("images").tobytes().decode().split("\0")[:-1]
    for name, array in found.items():
        array = array[order_Q]
        found[name] = (len(names) - 1 - array).astype(np.int32) if "rows" in name else array
    turned = "".join(f"{name}\0" for name in reversed(names)).encode()
    np.savez(folder / "neighbours.npz", images=np.frombuffer(turned, dtype=np.uint8), **found)
    after = read_findings(table, results)
    assert after.queries == before.queries and after.problems == ()
    np.testing.assert_array_equal(after.relevant_RQK, before.relevant_RQK)
    np.testing.assert_array_equal(after.scores_RQK, before.scores_RQK)
    for row in range(3):
        assert [after.images[place] for place in after.rows_RQK[row, :, 0]] == [
            before.images[place] for place in before.rows_RQK[row, :, 0]
        ]


def test_confusions_count_every_query_once(stored):
    """By the domain of the query and that of its nearest image; a row that searches each domain
    alone confuses none.
    """
    findings = read_findings(*stored)
    counts = findings.confusions(DOMAINS)
    assert counts.sum(axis=2).tolist() == [[24] * 3] * 3
    assert (counts[2] == 24 * np.eye(3)).all() and np.trace(counts[0]) < 72
    by_hand = sum(
        query.startswith("cars/") and findings.images[place].startswith("food/")
        for query, place in zip(findings.queries, findings.rows_RQK[0, :, 0], strict=True)
    )
    assert counts[0, 0, 1] == by_hand


def test_a_row_without_neighbours_is_named(stored):
    """The others are shown; without any there is nothing to show."""
    table, results = stored
    (results.evaluation("baseline") / "neighbours.npz").unlink()
    findings = read_findings(table, results)
    assert [row.name for row in findings.rows] == ["udon", "own"]
    (problem,) = findings.problems
    assert problem.startswith(
        "not in the gallery: baseline, whose neighbours are missing; `udonx report --galleries`"
    )
    for name in ("udon", "own"):
        (results.evaluation(name) / "neighbours.npz").write_bytes(b"half")
    assert read_findings(table, results) is None
