"""A part of the training images, or of their labels, drawn from a seed.

What is drawn for a domain follows from (seed, domain) and its split alone.
"""

from __future__ import annotations

import attrs
import numpy as np

from registry.contracts import Subset
from udonx.common.seeds import generator
from udonx.data.splits import UNLABELLED, Split


def subset_of(train: Split, subset: Subset, seed: int) -> Split:
    """A domain's training split with fewer images, or fewer labels.

    Args:
        train: the whole split.
        subset: what stays of it.
        seed: what is drawn follows from this.

    Returns:
        The images that stay, in their order; those without a label have `UNLABELLED`.
    """
    if subset.long_tail is not None:
        kept = long_tail(train.class_ids, subset.long_tail, seed, train.domain)
        train = _rows_of(train, np.flatnonzero(kept))
    if subset.labelled is not None:
        labelled = share_of_each(train.class_ids, subset.labelled, seed, train.domain)
        train = attrs.evolve(
            train,
            class_ids=np.where(labelled, train.class_ids, UNLABELLED),
            several={row: ids for row, ids in train.several.items() if labelled[row]},
        )
    return train


def long_tail(class_ids_N: np.ndarray, ratio: float, seed: int, domain: str) -> np.ndarray:
    """Which images stay so that class sizes fall exponentially, bool [N].

    The class at place k of C, in an order that is drawn, keeps n ratio ** (-k / (C - 1)) images,
    where n is the size of the largest class; at least one, and no more than it has. Images without
    a label stay.

    Args:
        class_ids_N: int64 [N].
        ratio: of the largest to the smallest, >= 1.
        seed: what is drawn follows from this.
        domain: whose images they are.

    Example:
        >>> class_ids_N = np.repeat([4, 5, 6], 100)
        >>> kept_N = long_tail(class_ids_N, 100, seed=0, domain="cars")
        >>> sorted(np.bincount(class_ids_N[kept_N])[4:].tolist())
        [1, 10, 100]
    """
    kept_N = class_ids_N == UNLABELLED
    classes, counts = np.unique(class_ids_N[~kept_N], return_counts=True)
    draw = generator(seed, f"long tail/{domain}")
    for place, number in enumerate(draw.permutation(len(classes)).tolist()):
        size = round(counts.max() * ratio ** (-place / max(len(classes) - 1, 1)))
        rows = np.flatnonzero(class_ids_N == classes[number])
        kept_N[draw.permutation(rows)[: max(size, 1)]] = True
    return kept_N


def share_of_each(class_ids_N: np.ndarray, share: float, seed: int, domain: str) -> np.ndarray:
    """Which images keep their label, bool [N]: this share of each class, at least one.

    Args:
        class_ids_N: int64 [N].
        share: above 0, at most 1.
        seed: what is drawn follows from this.
        domain: whose images they are.

    Example:
        >>> class_ids_N = np.repeat([4, 5], [40, 3])
        >>> labelled_N = share_of_each(class_ids_N, 0.1, seed=0, domain="cars")
        >>> np.bincount(class_ids_N[labelled_N])[4:].tolist()
        [4, 1]
    """
    labelled_N = np.zeros(len(class_ids_N), dtype=bool)
    draw = generator(seed, f"labelled/{domain}")
    # the rows of one class lie together, in an order that is drawn
    order = draw.permutation(len(class_ids_N))
    order = order[np.argsort(class_ids_N[order], kind="stable")]
    classes, first, counts = np.unique(class_ids_N[order], return_index=True, return_counts=True)
    for class_id, start, count in zip(classes, first, counts, strict=True):
        if class_id != UNLABELLED:
            labelled_N[order[start : start + max(round(share * count), 1)]] = True
    return labelled_N


def _rows_of(split: Split, rows: np.ndarray) -> Split:
    """A split with these rows alone, in their order."""
    places = {row: place for place, row in enumerate(rows.tolist())}
    return attrs.evolve(
        split,
        paths=[split.paths[row] for row in rows],
        class_ids=split.class_ids[rows],
        several={places[row]: ids for row, ids in split.several.items() if row in places},
    )
