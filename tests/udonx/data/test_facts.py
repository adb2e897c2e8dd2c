"""Counts, and the hashes that identities hold."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from registry.contracts import DomainFacts
from tests.tiny import write_domain, write_split
from udonx.data.benchmark import Benchmark
from udonx.data.facts import images_digest, manifest_hash, split_digest, train_facts
from udonx.data.sizes import MISSING, image_sizes
from udonx.data.splits import Split


def split(*entries: tuple[str, int | tuple[int, ...]]) -> Split:
    """A split of (path, label or labels)."""
    labels = [label if isinstance(label, tuple) else (label,) for _, label in entries]
    several = {row: label for row, label in enumerate(labels) if len(label) > 1}
    return Split(
        "cars",
        "train",
        [path for path, _ in entries],
        np.array([label[0] for label in labels]),
        several,
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A healthy domain with images, below a folder of the test."""
    write_domain(tmp_path / "data", "cars")
    return tmp_path / "data"


def manifest(root: Path, *splits: str, fingerprint: str = "") -> str:
    """The manifest of `cars`, as a new process would compute it."""
    return Benchmark.open(root, fingerprint=fingerprint).manifest(
        "cars", splits or ("train", "val")
    )


def test_facts_count_what_is_there() -> None:
    """Training images and classes are counted; a split that is absent counts 0."""
    assert train_facts("met", split(("a", 5), ("b", 5), ("c", 8))) == DomainFacts(
        name="met", train_images=3, train_classes=2
    )
    assert train_facts("cars", None) == DomainFacts(name="cars", train_images=0, train_classes=0)


def test_facts_of_uned_mini(shared_dir: Path) -> None:
    """uned_mini's counts are those of its README."""
    assert Benchmark.open(shared_dir / "uned_mini", ["omniglot", "flags"]).facts == (
        DomainFacts(name="omniglot", train_images=4800, train_classes=320),
        DomainFacts(name="flags", train_images=1039, train_classes=150),
    )


def test_split_digest_depends_on_what_is_said() -> None:
    """Paths, labels and their order change the digest, and no path can imitate two entries."""
    one = split(("a", 1), ("b", (2, 3)))
    others = [
        split(("b", (2, 3)), ("a", 1)),
        split(("a", 1), ("b", 2)),
        split(("a", 1), ("c", (2, 3))),
        split(("a", 1)),
        split(('a", 1]\n["b', (2, 3))),
    ]
    assert len({split_digest(each) for each in [one, *others]}) == len(others) + 1
    # ids of stages over generated images hold digests in this form
    lines = b'["\\u00e4\\n", 1]\n["b", [2, 3]]\n'
    assert split_digest(split(("ä\n", 1), ("b", (2, 3)))) == hashlib.sha256(lines).hexdigest()


def test_manifest_hash_depends_on_all_that_it_is_given() -> None:
    """Domain, fingerprint, the names of splits and their digests change the hash."""
    given = [
        ("cars", "", [("train", "1", "2")]),
        ("cars", "v1", [("train", "1")]),
        ("cars", "v2", [("train", "1")]),
        ("cars", "v1", [("val", "1")]),
        ("food", "v1", [("train", "1")]),
        ("cars", "v1", []),
    ]
    assert len({manifest_hash(*each) for each in given}) == len(given)


def test_a_split_file_that_is_written_anew_is_read_anew(root: Path) -> None:
    """A split file of the same size and time as before, with other content, is another manifest, in
    this process and the next.
    """
    before, file = manifest(root), root / "info_files" / "cars" / "train.json"
    about = file.stat()
    file.write_text(file.read_text().replace('"class_id": 0', '"class_id": 3', 1))
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert file.stat().st_size == about.st_size and manifest(root) != before


def test_a_copy_elsewhere_is_the_same_data(root: Path, tmp_path: Path) -> None:
    """Neither the place nor the times of images, nor how split files are formatted, are part of a
    manifest.
    """
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    for file in copy.rglob("*"):
        os.utime(file, (1, 1))
    for file in copy.rglob("*.json"):
        file.write_text(json.dumps(json.loads(file.read_text()), indent=3))
    (copy / "images").rename(tmp_path / "photos")
    (copy / "images").symlink_to(tmp_path / "photos")
    assert manifest(copy) == manifest(root)


def test_other_images_under_the_same_names_are_other_data(root: Path, tmp_path: Path) -> None:
    """Where every image of a copy is black, or of another size in one place, or has other bytes of
    the same size, manifests differ.
    """
    copies = {name: tmp_path / name for name in ("black", "one", "bytes")}
    for copy in copies.values():
        shutil.copytree(root, copy)
    for file in (copies["black"] / "images").rglob("*.png"):
        Image.new("RGB", (40, 40)).save(file)
    with open(copies["one"] / "images" / "cars" / "train_3.png", "ab") as image:
        image.write(b"\0")
    for file in (copies["bytes"] / "images").rglob("*.png"):
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert len({manifest(each, "train") for each in (root, *copies.values())}) == 4
    assert (
        manifest(copies["one"], "val") == manifest(root, "val") != manifest(copies["bytes"], "val")
    )


def test_generated_images_are_known_by_their_fingerprint(root: Path) -> None:
    """Generated images are part of a manifest by what generated them alone, so that nothing need be
    looked at.
    """
    before = manifest(root, fingerprint="demo-v1")
    shutil.rmtree(root / "images")
    assert manifest(root, fingerprint="demo-v1") == before != manifest(root)


def test_missing_images_are_no_error_of_the_manifest(root: Path) -> None:
    """Where images are missing there is a manifest all the same: the preflight lists them in one
    report.
    """
    before = manifest(root)
    (root / "images" / "cars" / "train_0.png").unlink()
    assert manifest(root) != before and Benchmark.open(root).missing("cars", "train") == [
        "cars/train_0.png"
    ]


def test_the_same_few_images_are_read(tmp_path: Path) -> None:
    """Of a large split 16 images at fixed positions are read, the first and the last among them; of
    all others the sizes count.
    """
    paths = write_split(tmp_path, "cars", "train", [0] * 100)
    given = split(*((path, 0) for path in paths))
    sizes, base = (
        image_sizes(tmp_path, paths),
        images_digest(tmp_path, given, image_sizes(tmp_path, paths)),
    )
    changes = []
    for number, path in enumerate(paths):
        file = tmp_path / "images" / path
        content = file.read_bytes()
        file.write_bytes(content[:-1] + b"?")
        changes += [number] if images_digest(tmp_path, given, sizes) != base else []
        file.write_bytes(content)
    assert len(changes) == 16 and {0, 99} < set(changes)
    assert images_digest(tmp_path, given, np.where(np.arange(100) == 50, MISSING, sizes)) != base
