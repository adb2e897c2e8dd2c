"""neighbours.npz of an evaluation: each query's nearest index images (docs/results.md).

Evaluations of earlier versions lack the file, and are whole without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from udonx.common.files import atomic_path, open_regular
from udonx.evaluation.neighbours import Neighbours
from udonx.evaluation.protocol import ProtocolResult

FILE = "neighbours.npz"


class NeighboursError(Exception):
    """neighbours.npz of an evaluation is missing, damaged or of another search.

    `str()` says which of them, in a few words.
    """


@attrs.frozen(eq=False)
class StoredNeighbours:
    """What neighbours.npz says of one index, in the order of per_query.npz.

    Attributes:
        rows_QK: int32, positions among the index images, best first; -1 where there are no more.
        scores_QK: float32, inner products with the query; -inf beside -1.
        relevant_QK: bool, whether a neighbour is right.
        images: the index images by position, `<domain>/<path in the split file>`.
    """

    rows_QK: np.ndarray
    scores_QK: np.ndarray
    relevant_QK: np.ndarray
    images: tuple[str, ...]


def write_neighbours(folder: Path, result: ProtocolResult) -> None:
    """Write neighbours.npz into the folder of an evaluation; nothing where none were kept."""
    found = {
        name: metrics.per_query.neighbours
        for name, metrics in (("own", result.own), ("merged", result.merged))
        if metrics is not None and metrics.per_query.neighbours is not None
    }
    if not found:
        return
    # both indexes number the same images
    arrays: dict[str, Any] = {"images": _pack(next(iter(found.values())).ids_N or ())}
    for name, neighbours in found.items():
        arrays |= _arrays(name, neighbours)
    with atomic_path(folder / FILE) as temporary, open(temporary, "wb") as handle:
        np.savez_compressed(handle, **arrays)


def read_neighbours(folder: Path, index: str, hit_Q: np.ndarray) -> StoredNeighbours:
    """What neighbours.npz of an evaluation says of the index "merged" or "own".

    Args:
        folder: of the evaluation.
        index: which index.
        hit_Q: bool, the hits of the same queries, as per_query.npz has them.

    Raises:
        NeighboursError: it is missing, damaged, or of another search than the hits.
    """
    try:
        with open_regular(folder / FILE) as handle, np.load(handle) as arrays:
            images = _unpack(arrays["images"])
            stored = StoredNeighbours(
                rows_QK=arrays[f"{index}_rows"],
                scores_QK=arrays[f"{index}_scores"],
                relevant_QK=arrays[f"{index}_relevant"],
                images=images,
            )
    except FileNotFoundError:
        raise NeighboursError("missing") from None
    except MemoryError:
        raise
    except Exception as error:  # a damaged archive fails in as many ways as it has bytes
        raise NeighboursError("unreadable") from error
    if not _fits(stored, hit_Q):
        raise NeighboursError("of another search than per_query.npz")
    return stored


def _arrays(index: str, neighbours: Neighbours) -> dict[str, np.ndarray]:
    return {
        f"{index}_rows": neighbours.rows_QK,
        f"{index}_scores": neighbours.scores_QK,
        f"{index}_relevant": neighbours.relevant_QK,
    }


def _fits(stored: StoredNeighbours, hit_Q: np.ndarray) -> bool:
    """Whether the arrays belong together and to these queries."""
    shape = stored.rows_QK.shape
    return (
        len(shape) == 2
        and shape[1] > 0
        and shape == stored.scores_QK.shape == stored.relevant_QK.shape
        and stored.rows_QK.dtype == np.int32
        and stored.relevant_QK.dtype == bool
        and bool((stored.rows_QK >= -1).all())
        and int(stored.rows_QK.max(initial=-1)) < len(stored.images)
        and np.array_equal(stored.relevant_QK[:, 0], hit_Q)
    )


def _pack(names: Iterable[object]) -> np.ndarray:
    """Names as bytes, each ended by a zero byte (which no path holds): uint8 [total].

    An array of text would take four bytes for every character of the longest name.
    """
    return np.frombuffer("".join(f"{name}\0" for name in names).encode(), dtype=np.uint8)


def _unpack(packed: np.ndarray) -> tuple[str, ...]:
    """The inverse of `_pack`."""
    return tuple(packed.tobytes().decode().split("\0")[:-1])
