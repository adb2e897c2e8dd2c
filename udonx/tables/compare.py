"""The difference of one row of a table to another, with its interval.

The interval comes from the stored hits of each query.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import TypeVar

import attrs
import numpy as np

from udonx.store.results import PerQueryError, Results, StoredHits
from udonx.tables.bootstrap import paired_interval
from udonx.tables.groups import Row, seed_pairs

_ROUNDING = 1e-9
_T = TypeVar("_T")


@attrs.define(eq=False)
class Comparisons:
    """Compares the rows of one table.

    Each per_query.npz is read once; what is wrong with one costs intervals, never the table.
    """

    results: Results
    _files: dict[tuple[str, str], StoredHits] = attrs.field(factory=dict, init=False)
    _cuts: dict[str, list[np.ndarray]] = attrs.field(factory=dict, init=False)
    _broken: dict[str, str] = attrs.field(factory=dict, init=False)
    _without: list[str] = attrs.field(factory=list, init=False)

    def compare(self, ours: Row, theirs: Row) -> tuple[float | None, tuple[float, float] | None]:
        """The difference in R@1 and its 95 % interval, over the seeds that both have.

        The first is None where they have none in common, the second without per-query results.
        """
        pairs = seed_pairs(ours.seeds, theirs.seeds)
        if not pairs:
            return None, None
        difference = statistics.fmean(ours.r1_per_seed[i] - theirs.r1_per_seed[j] for i, j in pairs)
        used = {theirs.evaluations[j]: (theirs, j) for _, j in pairs} | {
            ours.evaluations[i]: (ours, i) for i, _ in pairs
        }
        base = next(iter(used))
        hits = self._paired_hits(used, base, ours.index)
        if hits is None:
            self._without.append(ours.label)
            return difference, None
        ours_SQ = np.stack([hits[ours.evaluations[i]] for i, _ in pairs]).astype(np.int8)
        theirs_SQ = np.stack([hits[theirs.evaluations[j]] for _, j in pairs])
        return difference, paired_interval(
            [ours_SQ[:, cut] - theirs_SQ[:, cut] for cut in self._cuts[base]]
        )

    def _paired_hits(
        self, used: dict[str, tuple[Row, int]], base: str, index: str
    ) -> dict[str, np.ndarray] | None:
        """The hits [Q] of each evaluation in the order of `base`'s queries; None without them."""
        if self._all(used, lambda evaluation, _: self._read(evaluation, index)) is None:
            return None
        first = {base: used[base]}
        if self._all(first, lambda evaluation, _: self._domains(evaluation, index)) is None:
            return None
        return self._all(used, lambda evaluation, r1: self._hits(evaluation, index, base, r1))

    def notes(self) -> list[str]:
        """What the table must say: nothing, or one sentence on the intervals that are not there."""
        if not self._without:
            return []
        which = "; ".join(self._broken.values())
        folders = "these folders" if len(self._broken) > 1 else "this folder"
        again = (
            f"remove {folders} and run again with the same seeds: nothing is trained, only the"
            " evaluation is made again"
        )
        return [
            f"no interval for {', '.join(self._without)}, for want of per-query results: {which};"
            f" {again}"
        ]

    def _all(
        self, used: dict[str, tuple[Row, int]], get: Callable[[str, float], _T]
    ) -> dict[str, _T] | None:
        """The result of `get` for each evaluation and its R@1.

        It is None where one of them cannot be used; each such is noted.
        """
        found = {}
        for evaluation, (row, position) in used.items():
            try:
                found[evaluation] = get(evaluation, row.r1_per_seed[position])
            except PerQueryError as error:
                seed = "" if row.seeds[position] is None else f", seed {row.seeds[position]}"
                self._broken[evaluation] = f"{row.label}{seed} (evaluations/{evaluation}: {error})"
        return found if len(found) == len(used) else None

    def _read(self, evaluation: str, index: str) -> StoredHits:
        if (evaluation, index) not in self._files:
            self._files[evaluation, index] = self.results.read_hits(evaluation, index)
        return self._files[evaluation, index]

    def _domains(self, evaluation: str, index: str) -> list[np.ndarray]:
        """For each domain the positions of its queries."""
        if evaluation not in self._cuts:
            names, codes_Q = np.unique(
                self._read(evaluation, index).read("domain"), return_inverse=True
            )
            self._cuts[evaluation] = [np.flatnonzero(codes_Q == code) for code in range(len(names))]
        return self._cuts[evaluation]

    def _hits(self, evaluation: str, index: str, base: str, r1: float) -> np.ndarray:
        """An evaluation's hits [Q] in the order of `base`'s queries.

        Raises:
            PerQueryError: its R@1 was not taken from them.
        """
        hit_Q = in_order(self._read(evaluation, index), self._read(base, index))
        if abs(np.mean([hit_Q[cut].mean() for cut in self._domains(base, index)]) - r1) > _ROUNDING:
            raise PerQueryError("its hits do not give its R@1")
        return hit_Q


def in_order(hits: StoredHits, base: StoredHits) -> np.ndarray:
    """The hits [Q] in the order of `base`'s queries, paired by domain and id.

    Raises:
        PerQueryError: the queries are others.
    """
    if hits.checksum == base.checksum and hits.hit_Q.shape == base.hit_Q.shape:
        return hits.hit_Q
    sorted_sides = []
    for side in (hits, base):
        domain_Q, id_Q = side.read("domain"), side.read("id")
        order_Q = np.lexsort((id_Q, domain_Q))
        sorted_sides.append((order_Q, domain_Q[order_Q], id_Q[order_Q]))
    (mine_Q, *mine), (base_Q, *theirs) = sorted_sides
    if not all(map(np.array_equal, mine, theirs)):
        raise PerQueryError(f"its queries are not those of {base.file.parent.name}")
    hit_Q = np.empty_like(hits.hit_Q)
    hit_Q[base_Q] = hits.hit_Q[mine_Q]
    return hit_Q
