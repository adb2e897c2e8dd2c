"""The differences of one row of a table to another, with their intervals.

The intervals come from the stored values of each query.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import TypeVar

import attrs
import numpy as np

from udonx.store.results import PerQueryError, Results, StoredQueries
from udonx.tables.bootstrap import mean_difference, paired_interval
from udonx.tables.content import R1, Difference, MetricColumn
from udonx.tables.groups import Row, seed_pairs

_ROUNDING = 1e-9
_T = TypeVar("_T")


@attrs.define(eq=False)
class Comparisons:
    """Compares the rows of one table.

    The hits of each per_query.npz are read once; the values of other metrics are too large to keep
    and are read for each comparison. What is wrong with a file costs intervals, never the table.
    """

    results: Results
    _files: dict[tuple[str, str], StoredQueries] = attrs.field(factory=dict, init=False)
    _cuts: dict[str, dict[str, np.ndarray]] = attrs.field(factory=dict, init=False)
    _orders: dict[tuple[str, str], np.ndarray] = attrs.field(factory=dict, init=False)
    _broken: dict[str, str] = attrs.field(factory=dict, init=False)
    _without: dict[str, list[MetricColumn]] = attrs.field(factory=dict, init=False)

    def compare(self, ours: Row, theirs: Row, metric: MetricColumn = R1) -> Difference | None:
        """The difference in a metric and its 95 % interval, over the seeds that both have.

        It is None where they have none in common, or where one of them has no such metric. Its
        interval is None without per-query results.
        """
        pairs = seed_pairs(ours.seeds, theirs.seeds)
        if not pairs or not all(metric.name in row.per_seed for row in (ours, theirs)):
            return None
        point = statistics.fmean(
            ours.per_seed[metric.name][i] - theirs.per_seed[metric.name][j] for i, j in pairs
        )
        differences = self._by_domain(ours, theirs, metric)
        if differences is None:
            self._without.setdefault(ours.label, []).append(metric)
            return Difference(point=point)
        low, high = paired_interval(list(differences.values()))
        return Difference(point=point, low=low, high=high)

    def compare_domains(
        self, ours: Row, theirs: Row, metric: MetricColumn = R1
    ) -> dict[str, Difference]:
        """The same as `compare` for each domain alone; empty without per-query results."""
        pairs = seed_pairs(ours.seeds, theirs.seeds)
        if not pairs or not all(metric.name in row.per_seed for row in (ours, theirs)):
            return {}
        found = {}
        for domain, differences_SQ in (self._by_domain(ours, theirs, metric) or {}).items():
            low, high = paired_interval([differences_SQ])
            point = mean_difference([differences_SQ])
            found[domain] = Difference(point=point, low=low, high=high)
        return found

    def _by_domain(
        self, ours: Row, theirs: Row, metric: MetricColumn
    ) -> dict[str, np.ndarray] | None:
        """The differences [S, Q] of the queries of each domain; None without per-query results.

        S are the seeds that both rows have.
        """
        pairs = seed_pairs(ours.seeds, theirs.seeds)
        used = {theirs.evaluations[j]: (theirs, j) for _, j in pairs} | {
            ours.evaluations[i]: (ours, i) for i, _ in pairs
        }
        base = next(iter(used))
        values = self._paired_values(used, base, ours.index, metric)
        if values is None:
            return None
        differences_SQ = np.stack(
            [_minus(values[ours.evaluations[i]], values[theirs.evaluations[j]]) for i, j in pairs]
        )
        return {domain: differences_SQ[:, cut] for domain, cut in self._cuts[base].items()}

    def _paired_values(
        self, used: dict[str, tuple[Row, int]], base: str, index: str, metric: MetricColumn
    ) -> dict[str, np.ndarray] | None:
        """The values [Q] of each evaluation in the order of `base`'s queries; None without them."""
        first = {base: used[base]}
        if self._all(used, lambda evaluation, *_: self._read(evaluation, index)) is None:
            return None
        if self._all(first, lambda evaluation, *_: self._domains(evaluation, index)) is None:
            return None

        def values(evaluation: str, row: Row, position: int) -> np.ndarray:
            values_Q = self._in_order(evaluation, index, base, metric.name)
            cuts = self._domains(base, index).values()
            mean = np.mean([values_Q[cut].mean() for cut in cuts])
            if abs(mean - row.per_seed[metric.name][position]) > _ROUNDING:
                what = "hits" if metric.name == R1.name else "values"
                raise PerQueryError(f"its {what} do not give its {metric.label}")
            return values_Q

        return self._all(used, values)

    def notes(self) -> list[str]:
        """What the table must say: nothing, or one sentence on the intervals that are not there."""
        if not self._without:
            return []
        rows = [
            label if R1 in metrics else f"{label} ({', '.join(metric.label for metric in metrics)})"
            for label, metrics in self._without.items()
        ]
        which = "; ".join(self._broken.values())
        folders = "these folders" if len(self._broken) > 1 else "this folder"
        again = (
            f"remove {folders} and run again with the same seeds: nothing is trained, only the"
            " evaluation is made again"
        )
        return [
            f"no interval for {', '.join(rows)}, for want of per-query results: {which}; {again}"
        ]

    def _all(
        self, used: dict[str, tuple[Row, int]], get: Callable[[str, Row, int], _T]
    ) -> dict[str, _T] | None:
        """The result of `get` for each evaluation, its row and the position of its seed.

        It is None where one of them cannot be used; each such is noted.
        """
        found = {}
        for evaluation, (row, position) in used.items():
            try:
                found[evaluation] = get(evaluation, row, position)
            except PerQueryError as error:
                seed = "" if row.seeds[position] is None else f", seed {row.seeds[position]}"
                self._broken.setdefault(
                    evaluation, f"{row.label}{seed} (evaluations/{evaluation}: {error})"
                )
        return found if len(found) == len(used) else None

    def _read(self, evaluation: str, index: str) -> StoredQueries:
        if (evaluation, index) not in self._files:
            self._files[evaluation, index] = self.results.read_queries(evaluation, index)
        return self._files[evaluation, index]

    def _domains(self, evaluation: str, index: str) -> dict[str, np.ndarray]:
        """For each domain the positions of its queries."""
        if evaluation not in self._cuts:
            names, codes_Q = np.unique(
                self._read(evaluation, index).read("domain"), return_inverse=True
            )
            self._cuts[evaluation] = {
                str(name): np.flatnonzero(codes_Q == code) for code, name in enumerate(names)
            }
        return self._cuts[evaluation]

    def _in_order(self, evaluation: str, index: str, base: str, metric: str) -> np.ndarray:
        """An evaluation's values [Q] in the order of `base`'s queries."""
        queries = self._read(evaluation, index)
        if (evaluation, base) not in self._orders:
            self._orders[evaluation, base] = order_of(queries, self._read(base, index))
        return queries.values(metric)[self._orders[evaluation, base]]


def _minus(ours_Q: np.ndarray, theirs_Q: np.ndarray) -> np.ndarray:
    """The difference of values [Q]; that of hits in whole numbers."""
    return (ours_Q.astype(np.int8) if ours_Q.dtype == bool else ours_Q) - theirs_Q


def order_of(queries: StoredQueries, base: StoredQueries) -> np.ndarray:
    """Where each query of `base`, known by its domain and id, stands in `queries`: int64 [Q].

    Raises:
        PerQueryError: the queries are others.
    """
    if queries.checksum == base.checksum and queries.hit_Q.shape == base.hit_Q.shape:
        return np.arange(len(base.hit_Q))
    sorted_sides = []
    for side in (queries, base):
        domain_Q, id_Q = side.read("domain"), side.read("id")
        order_Q = np.lexsort((id_Q, domain_Q))
        sorted_sides.append((order_Q, domain_Q[order_Q], id_Q[order_Q]))
    (mine_Q, *mine), (base_Q, *theirs) = sorted_sides
    if not all(map(np.array_equal, mine, theirs)):
        raise PerQueryError(f"its queries are not those of {base.file.parent.name}")
    found_Q = np.empty_like(mine_Q)
    found_Q[base_Q] = mine_Q
    return found_Q
