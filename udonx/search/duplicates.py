"""Images of an index that are nearly the same: copies, crops, other sizes of one picture.

Shapes: N rows, D dimensions, B rows of a block, T rows of a tile, P pairs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import numpy as np

from udonx.common.progress import Report
from udonx.common.words import display_path, plural, printable
from udonx.search.index import Index, open_vectors
from udonx.search.vectors import Vectors, VectorsError

THRESHOLD = 0.98
"""Cosine similarity from which on two images count as nearly the same."""
_ROWS = 2**10  # rows that are compared with a tile
_TILE = 2**12  # rows of a tile: a block of similarities takes 16 MB
_ROUNDING = 1e-6  # equal vectors have a product a little below 1


@attrs.frozen
class Duplicates:
    """Groups of images, each nearly the same as another one of its group.

    Attributes:
        threshold: the least similarity of two such images.
        searched: how many images were compared.
        groups: files of each group, in the order of the index; the largest group first.
        least: the lowest of the similarities that hold each group together.
    """

    threshold: float
    searched: int
    groups: Sequence[Sequence[Path]]
    least: Sequence[float]

    def __len__(self) -> int:
        return len(self.groups)

    def __str__(self) -> str:
        found = plural(len(self), "group")
        images = plural(sum(map(len, self.groups)), "image")
        lines = [
            f"{found} of nearly equal images ({images} of {self.searched:,}, similarity at least"
            f" {self.threshold:g})"
        ]
        for files, least in zip(self.groups, self.least, strict=True):
            lines.append(f"\n{len(files)} images, {least:.3f}")
            lines += [f"  {printable(display_path(file))}" for file in files]
        return "\n".join(lines)

    def to_json(self) -> str:
        """The groups as JSON."""
        groups = [
            {"least": round(least, 6), "paths": [str(file) for file in files]}
            for files, least in zip(self.groups, self.least, strict=True)
        ]
        content = {"threshold": self.threshold, "searched": self.searched, "groups": groups}
        return json.dumps(content, indent=1)


def duplicates(index: Index | Vectors | str | Path, threshold: float = THRESHOLD) -> Duplicates:
    """Find the images that are nearly the same as another one.

    Every pair is compared, exactly: the time grows with the square of the number of images, the
    memory does not.

    Args:
        index: an index or vectors, or the folder of either.
        threshold: the least cosine similarity of two such images, above 0 and at most 1.

    Returns:
        Groups: two images are in one group where a chain of similar ones leads from one to the
        other.

    Raises:
        VectorsError: the threshold is out of range, or the folder holds neither.

    Example:
        >>> from udonx.search.vectors import ModelIdentity
        >>> model = ModelIdentity(id="0123", weights="4567", branch="student", dim=2)
        >>> vectors_ND = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> images = ["a.jpg", "b.jpg", "copy_of_a.jpg"]
        >>> kept = Vectors(vectors=vectors_ND, paths=images, model=model, root="/photos")
        >>> [[file.name for file in group] for group in duplicates(kept).groups]
        [['a.jpg', 'copy_of_a.jpg']]
    """
    if not 0 < threshold <= 1:
        raise VectorsError(f"the threshold must be above 0 and at most 1, got {threshold:g}")
    vectors = open_vectors(index)
    leader_N, lowest_N = np.arange(len(vectors)), np.ones(len(vectors))
    with Report("comparing", len(vectors), "images", closing_line=False) as report:
        for first_P, second_P, score_P in _similar_pairs(vectors.vectors, threshold, report):
            np.minimum.at(lowest_N, first_P, score_P)
            _join(leader_N, first_P, second_P)
    groups: dict[int, list[Path]] = {}
    files = vectors.files
    for row, leader in enumerate(leader_N.tolist()):
        groups.setdefault(leader, []).append(files[row])
        lowest_N[leader] = min(lowest_N[leader], lowest_N[row])
    found = [(group, leader) for leader, group in groups.items() if len(group) > 1]
    found.sort(key=lambda each: -len(each[0]))
    return Duplicates(
        threshold=threshold,
        searched=len(vectors),
        groups=[group for group, _ in found],
        least=[float(lowest_N[leader]) for _, leader in found],
    )


def _similar_pairs(
    vectors_ND: np.ndarray, threshold: float, report: Report
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows of similar pairs, the lower first, and their similarities."""
    for top in range(0, len(vectors_ND), _ROWS):
        block_BD = np.asarray(vectors_ND[top : top + _ROWS], dtype=np.float32)
        for left in range(top, len(vectors_ND), _TILE):
            tile_TD = np.asarray(vectors_ND[left : left + _TILE], dtype=np.float32)
            scores_BT = block_BD @ tile_TD.T
            first_P, second_P = np.nonzero(scores_BT >= threshold - _ROUNDING)
            score_P = np.minimum(scores_BT[first_P, second_P], 1)
            first_P, second_P = first_P + top, second_P + left
            later_P = second_P > first_P
            yield first_P[later_P], second_P[later_P], score_P[later_P]
        report.tick(len(block_BD))


def _join(leader_N: np.ndarray, first_P: np.ndarray, second_P: np.ndarray) -> None:
    """Put the two rows of each pair into one group; a group is known by its lowest row.

    Of millions of pairs few join two groups: the others are passed over all at once.

    >>> leader_N = np.arange(5)
    >>> _join(leader_N, np.array([0, 3, 1]), np.array([3, 4, 2]))
    >>> leader_N.tolist()
    [0, 1, 1, 0, 0]
    """
    while True:
        apart_P = leader_N[first_P] != leader_N[second_P]
        first_P, second_P = first_P[apart_P], second_P[apart_P]
        if not len(first_P):
            return
        one_P, other_P = leader_N[first_P], leader_N[second_P]
        # each group joins the lowest of those that it is similar to
        np.minimum.at(leader_N, np.maximum(one_P, other_P), np.minimum(one_P, other_P))
        while not np.array_equal(leader_N, shorter_N := leader_N[leader_N]):
            leader_N[:] = shorter_N
