"""A part of the training images, or of their labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from registry.contracts import Subset
from tests.tiny import write_split
from udonx.data.benchmark import Benchmark
from udonx.data.splits import UNLABELLED, Split
from udonx.data.subset import long_tail, share_of_each, subset_of

CLASS_IDS = np.repeat([7, 8, 9, 10, 11], [100, 80, 60, 5, 1])


def train_split() -> Split:
    """246 images of five classes; the third has a second label."""
    paths = [f"cars/{row}.jpg" for row in range(len(CLASS_IDS))]
    return Split("cars", "train", paths, CLASS_IDS, {2: (7, 8)})


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_a_share_of_each_class_keeps_its_label(share: float) -> None:
    """At least one image of each class does; which ones follows from seed and domain."""
    labelled = share_of_each(CLASS_IDS, share, 0, "cars")
    classes, counts = np.unique(CLASS_IDS[labelled], return_counts=True)
    assert classes.tolist() == [7, 8, 9, 10, 11]
    assert counts.tolist() == [max(round(share * n), 1) for n in (100, 80, 60, 5, 1)]
    assert (share_of_each(CLASS_IDS, share, 0, "cars") == labelled).all()
    for other in (
        share_of_each(CLASS_IDS, share, 1, "cars"),
        share_of_each(CLASS_IDS, share, 0, "birds"),
    ):
        assert (other == labelled).all() == (share == 1.0)


def test_class_sizes_fall_exponentially() -> None:
    """Which class is how large is drawn; no class loses all, or gains."""
    even = np.repeat(np.arange(5), 100)
    kept = long_tail(even, 16, 0, "cars")
    assert sorted(np.bincount(even[kept]).tolist()) == [6, 12, 25, 50, 100]
    assert (long_tail(even, 16, 0, "cars") == kept).all()
    assert any(
        np.bincount(even[long_tail(even, 16, seed, "cars")]).tolist()
        != np.bincount(even[kept]).tolist()
        for seed in (1, 2, 3)
    )
    few = np.bincount(CLASS_IDS[long_tail(CLASS_IDS, 1000, 0, "cars")])[7:]
    assert (few >= 1).all() and (few <= [100, 80, 60, 5, 1]).all()


def test_images_without_a_label_stay_without() -> None:
    """They are neither left out nor labelled."""
    some = CLASS_IDS.copy()
    some[::4] = UNLABELLED
    none = some == UNLABELLED
    assert long_tail(some, 100, 0, "cars")[none].all()
    assert not share_of_each(some, 0.5, 0, "cars")[none].any()


def test_a_subset_keeps_paths_and_several_labels_together() -> None:
    """Rows that stay keep their path, class and further labels."""
    whole = train_split()
    part = subset_of(whole, Subset(long_tail=4.0), 0)
    assert 5 < len(part) < len(whole)
    by_path = dict(zip(whole.paths, whole.class_ids.tolist(), strict=True))
    assert [by_path[path] for path in part.paths] == part.class_ids.tolist()
    assert [part.paths[row] for row in part.several] == [
        path for path in part.paths if path == "cars/2.jpg"
    ]
    half = subset_of(whole, Subset(labelled=0.5), 0)
    assert half.paths == whole.paths and half.classes() == whole.classes()
    assert (2 in half.several) == (half.class_ids[2] != UNLABELLED)


def test_a_benchmark_with_few_labels(tmp_path: Path) -> None:
    """Images and classes stay, counts are those of labelled images; the whole is as before."""
    for name in ("train", "val"):
        write_split(tmp_path, "cars", name, [5, 6] * 4, images=False)
    whole = Benchmark.open(tmp_path)
    part = whole.subset(Subset(labelled=0.5), 3)
    assert (
        part is whole.subset(Subset(labelled=0.5), 3) is not whole.subset(Subset(labelled=0.5), 4)
    )
    assert part.facts == whole.facts and part.labels("cars") == {5: 0, 6: 1}
    assert part.class_counts("cars").tolist() == [2, 2]
    assert sorted(part.train_labels("cars").tolist()) == [-1] * 4 + [0, 0, 1, 1]
    assert whole.class_counts("cars").tolist() == [4, 4]
    assert whole.subset(None, 0) is whole
    assert len(part.split("cars", "val")) == 8
