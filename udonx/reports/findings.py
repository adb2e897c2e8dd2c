"""What the rows of a table found for the same queries, from their stored neighbours.

Shapes: R rows, Q queries, K neighbours, D domains.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from udonx.store.neighbours import NeighboursError, StoredNeighbours
from udonx.store.results import PerQueryError, Results
from udonx.tables.compare import order_of
from udonx.tables.content import TableRow
from udonx.tables.table import Table

AGAIN = "`udonx report --galleries` finds them with the stored stages, and trains nothing"
"""What makes up for neighbours that an evaluation of an earlier version did not keep."""


@attrs.frozen(kw_only=True, eq=False)
class Findings:
    """The neighbours that rows of a table found, each row with its first seed.

    Attributes:
        rows: the rows that have any.
        queries: the names of Q query images, `<domain>/<path>`.
        domains: the domain of each query.
        images: the names of the index images.
        rows_RQK: int32, positions in `images`, best first; -1 where there are no more.
        scores_RQK: float32, inner products with the query.
        relevant_RQK: bool, whether a neighbour is right.
        problems: which rows have none and why, a sentence for each reason.
    """

    rows: tuple[TableRow, ...]
    queries: tuple[str, ...]
    domains: tuple[str, ...]
    images: tuple[str, ...]
    rows_RQK: np.ndarray
    scores_RQK: np.ndarray
    relevant_RQK: np.ndarray
    problems: tuple[str, ...]

    @property
    def hit_RQ(self) -> np.ndarray:
        """Whether each row finds a right image first, bool [R, Q]."""
        return self.relevant_RQK[:, :, 0]

    def confusions(self, names: Sequence[str]) -> np.ndarray:
        """In which domain the nearest image of each query lies: counts int64 [R, D, D].

        The second axis is the domain of the query, the third that of its nearest image.

        Args:
            names: the D domains; a query or image of another one is not counted.
        """
        number = {name: position for position, name in enumerate(names)}
        of_query_Q = np.array([number.get(name, -1) for name in self.domains])
        of_image_N = np.array([number.get(domain_of(name), -1) for name in self.images])
        counts = np.zeros((len(self.rows), len(names), len(names)), dtype=np.int64)
        for row, nearest_Q in enumerate(self.rows_RQK[:, :, 0]):
            found_Q = np.where(nearest_Q >= 0, of_image_N[nearest_Q], -1)
            both_Q = (of_query_Q >= 0) & (found_Q >= 0)
            np.add.at(counts[row], (of_query_Q[both_Q], found_Q[both_Q]), 1)
        return counts


def domain_of(image: str) -> str:
    """The domain of an image, from its name.

    >>> domain_of("cars/ims/1.jpg")
    'cars'
    """
    return image.partition("/")[0]


def read_findings(table: Table, results: Results) -> Findings | None:
    """What the rows of a stored table found; None where no row has neighbours.

    Args:
        table: the table.
        results: the folder of its evaluations.
    """
    reasons: dict[str, list[str]] = {}
    found: list[tuple[TableRow, StoredNeighbours]] = []
    base = None
    for row in table.rows:
        try:
            queries = results.read_queries(row.evaluations[0], row.index)
            base = base or queries
            order_Q = order_of(queries, base)
            stored = results.read_neighbours(row.evaluations[0], row.index)
        except NeighboursError as error:
            reasons.setdefault(f"whose neighbours are {error}; {AGAIN}", []).append(row.label)
            continue
        except PerQueryError as error:
            reasons.setdefault(f"whose per-query results are {error}", []).append(row.label)
            continue
        found.append((row, _reordered(stored, order_Q)))
    if base is None or not found:
        return None
    images, numbered = _numbered([stored for _, stored in found])
    return Findings(
        rows=tuple(row for row, _ in found),
        queries=tuple(map(str, base.read("id").tolist())),
        domains=tuple(map(str, base.read("domain").tolist())),
        images=images,
        rows_RQK=np.stack(numbered),
        scores_RQK=np.stack([stored.scores_QK for _, stored in found]),
        relevant_RQK=np.stack([stored.relevant_QK for _, stored in found]),
        problems=tuple(
            f"not in the gallery: {'; '.join(labels)}, {why}" for why, labels in reasons.items()
        ),
    )


def _reordered(stored: StoredNeighbours, order_Q: np.ndarray) -> StoredNeighbours:
    return attrs.evolve(
        stored,
        rows_QK=stored.rows_QK[order_Q],
        scores_QK=stored.scores_QK[order_Q],
        relevant_QK=stored.relevant_QK[order_Q],
    )


def _numbered(found: Sequence[StoredNeighbours]) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """All index images once, and each row's neighbours [Q, K] as positions among them.

    The index of two rows differs only by images that could not be read for one of them.
    """
    first = found[0].images
    number: dict[str, int] = {}
    numbered = []
    for stored in found:
        if stored.images == first:
            numbered.append(stored.rows_QK)
            continue
        if not number:
            number = {name: position for position, name in enumerate(first)}
        places_N = np.array(
            [number.setdefault(name, len(number)) for name in stored.images], dtype=np.int32
        )
        numbered.append(np.where(stored.rows_QK >= 0, places_N[stored.rows_QK], np.int32(-1)))
    return tuple(number) or first, numbered
