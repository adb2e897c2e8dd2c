import csv
import errno
import hashlib
import json
import os
from pathlib import Path

import pytest
from PIL import Image

import udonx
from tests.tiny import SETTING, list_backwards, python, write_classes, write_experiment
from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.data.images import decode
from udonx.data.paths import resolve_image
from udonx.data.prepare import folders as module
from udonx.data.prepare.class_folders import Tally
from udonx.data.prepare.folders import Count, split_folders

CARS = {f"car {number}": 2 + number % 3 for number in range(10)}
FOOD = {f"dish {number}": 3 for number in range(5)}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two sound domains of ten and of five classes."""
    write_classes(tmp_path / "photos", "cars", CARS)
    write_classes(tmp_path / "photos", "food", FOOD)
    return tmp_path / "photos"


def hashes(root: Path, pattern: str = "info_files/*/*") -> dict[str, str]:
    return {
        str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in root.glob(pattern)
    }


def read(root: Path, domain: str, split: str) -> list[dict]:
    return json.loads((root / "info_files" / domain / f"{split}.json").read_text(encoding="utf-8"))


def test_every_class_is_in_one_split(photos, tmp_path):
    """Train, val and test share no class; together they hold every image once; shares are of
    classes.
    """
    split_folders(photos, tmp_path / "out", shares=[0.6, 0.2, 0.2])
    for domain, classes, counts in (("cars", CARS, [6, 2, 2]), ("food", FOOD, [3, 1, 1])):
        splits = [read(tmp_path / "out", domain, name) for name in ("train", "val", "test")]
        ids = [{entry["class_id"] for entry in entries} for entries in splits]
        assert [len(found) for found in ids] == counts and sorted(ids[0] | ids[1] | ids[2]) == list(
            range(len(classes))
        )
        paths = [entry["path"] for entries in splits for entry in entries]
        assert sorted(paths) == sorted(
            str(file.relative_to(photos)) for file in (photos / domain).rglob("*.png")
        )
        # an id is the place of the class's name in the alphabet
        assert all(
            entry["path"].split("/")[1] == sorted(classes)[entry["class_id"]]
            for entries in splits
            for entry in entries
        )


def test_classes_csv_names_every_class(photos, tmp_path):
    """One line per class id: name, split, images, as the split files say; and it is no .json, which
    would count as a split.
    """
    split_folders(photos, tmp_path / "out")
    with open(
        tmp_path / "out" / "info_files" / "cars" / "classes.csv", newline="", encoding="utf-8"
    ) as handle:
        rows = list(csv.DictReader(handle))
    assert [(int(row["class_id"]), row["name"]) for row in rows] == list(enumerate(sorted(CARS)))
    for split in ("train", "val", "test"):
        listed = [entry["class_id"] for entry in read(tmp_path / "out", "cars", split)]
        said = {int(row["class_id"]): int(row["images"]) for row in rows if row["split"] == split}
        assert said == {label: listed.count(label) for label in listed}
    assert Benchmark.open(tmp_path / "out").layout.split_names("cars") == ["test", "train", "val"]


def test_the_same_call_gives_the_same_bytes(photos, tmp_path, monkeypatch):
    """Neither a second call, nor another order of listing, nor another place of the tree changes a
    byte.
    """
    split_folders(photos, tmp_path / "one")
    photos.rename(tmp_path / "moved")
    list_backwards(monkeypatch)
    split_folders(tmp_path / "moved", tmp_path / "two")
    monkeypatch.undo()
    assert (
        hashes(tmp_path / "one") == hashes(tmp_path / "two") and len(hashes(tmp_path / "one")) == 8
    )
    split_folders(tmp_path / "moved", tmp_path / "three", seed=1)
    assert hashes(tmp_path / "three") != hashes(tmp_path / "one")


def test_a_split_is_pinned(photos, tmp_path):
    """The draw of seed 0 never changes: a benchmark that was split today is the same benchmark next
    year.
    """
    split_folders(photos, tmp_path / "out")
    drawn = {
        name: sorted({entry["class_id"] for entry in read(tmp_path / "out", "cars", name)})
        for name in ("train", "val", "test")
    }
    assert drawn == {"train": [2, 3, 4, 5, 8, 9], "val": [0, 6], "test": [1, 7]}


def test_a_domain_more_changes_no_other(photos, tmp_path):
    """The split of a domain depends on that domain alone."""
    split_folders(photos, tmp_path / "one")
    write_classes(photos, "birds", FOOD)
    split_folders(photos, tmp_path / "two")
    one, two = hashes(tmp_path / "one"), hashes(tmp_path / "two")
    assert one.items() < two.items() and len(two) == 12


def test_images_are_links_to_the_originals(photos, tmp_path, monkeypatch):
    """One absolute link per domain, even where relative paths were given; every listed image is
    found and decodes.
    """
    monkeypatch.chdir(tmp_path)
    split_folders("photos", "deep/er/out")
    out = tmp_path / "deep" / "er" / "out"
    assert {link.name: os.readlink(link) for link in (out / "images").iterdir()} == {
        "cars": str(photos.resolve() / "cars"),
        "food": str(photos.resolve() / "food"),
    }
    assert all(
        decode(resolve_image(out, entry["path"])).shape == (40, 40, 3)
        for entry in read(out, "cars", "train")
    )


def test_classes_with_too_few_images_are_left_out(photos, tmp_path):
    """They get no id and are counted; the ids of the others follow each other."""
    done = split_folders(photos, tmp_path / "out", min_images=3)
    kept = sorted(name for name, count in CARS.items() if count >= 3)
    with open(tmp_path / "out" / "info_files" / "cars" / "classes.csv", newline="") as handle:
        assert [row["name"] for row in csv.DictReader(handle)] == kept
    cars, food = done.domains
    assert cars.left_out == Count(4, 8) and food.left_out == Count(0, 0)
    assert done.small.count == 4 and done.small.first == ["cars/car 0", "cars/car 3", "cars/car 6"]
    assert [count.classes for count in cars.splits.values()] == [4, 1, 1]
    assert sum(count.images for count in cars.splits.values()) == sum(CARS.values()) - 8


def test_val_may_be_left_out(photos, tmp_path):
    """A share of 0 gives no val.json, and three classes are then enough."""
    write_classes(photos, "few", {"a": 2, "b": 2, "c": 2})
    done = split_folders(photos, tmp_path / "out", shares=[0.5, 0, 0.5])
    assert [list(domain.splits) for domain in done.domains] == [["train", "test"]] * 3
    assert sorted(file.name for file in (tmp_path / "out" / "info_files" / "few").iterdir()) == [
        "classes.csv",
        "test.json",
        "train.json",
    ]


def test_images_that_cannot_be_opened_are_left_out(photos, tmp_path):
    """A broken image is in no split, is named with the reason, and does not count for its class's
    size.
    """
    (photos / "cars" / "car 0" / "1.png").write_text("no image")
    (photos / "cars" / "car 1" / "1.png").write_bytes(b"")
    done = split_folders(photos, tmp_path / "out")
    listed = {
        entry["path"]
        for name in ("train", "val", "test")
        for entry in read(tmp_path / "out", "cars", name)
    }
    assert (
        not listed & {"cars/car 0/0.png", "cars/car 0/1.png", "cars/car 1/1.png"}
        and "cars/car 1/0.png" in listed
    )
    assert done.unreadable.first == [
        f"cars/car {number}/1.png (no JPEG, PNG, WEBP, BMP, GIF or TIFF)" for number in (0, 1)
    ]
    assert done.small.first == ["cars/car 0"] and done.domains[0].left_out == Count(1, 3)


def test_damage_further_on_is_found_where_it_is_asked_for(photos, tmp_path):
    """An image that is cut off after its header is in a split, unless every image is decoded;
    turned images are counted.
    """
    file = photos / "cars" / "car 1" / "1.png"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(photos / "cars" / "car 2" / "turned.jpg", exif=exif)
    for verify, left_out in ((False, 0), (True, 1)):
        done = split_folders(photos, tmp_path / str(verify), verify=verify)
        assert done.unreadable.count == left_out and done.turned == Tally(
            1, ["cars/car 2/turned.jpg"]
        )
    assert done.unreadable.first[0].startswith("cars/car 1/1.png (")


def test_names_of_any_script(tmp_path):
    """Domains, classes and images with names beyond ASCII, blanks and quotes are listed as they are
    and found again.
    """
    write_classes(
        tmp_path / "写真",
        "車 & co",
        {"Škoda": 2, "ситроен": 2, 'a "quoted", one': 2, "e\u0301": 2, "#U4e2d": 2},
        suffix="é.PNG",
    )
    split_folders(tmp_path / "写真", tmp_path / "ausgabe")
    benchmark = Benchmark.open(tmp_path / "ausgabe")
    paths = [
        path for name in ("train", "val", "test") for path in benchmark.split("車 & co", name).paths
    ]
    assert len(paths) == 10 and all(
        resolve_image(benchmark.root, path) == benchmark.root / "images" / path for path in paths
    )
    assert "車 & co/Škoda/0é.PNG" in paths
    with open(
        tmp_path / "ausgabe" / "info_files" / "車 & co" / "classes.csv",
        newline="",
        encoding="utf-8",
    ) as handle:
        assert {row["name"] for row in csv.DictReader(handle)} == {
            "Škoda",
            "ситроен",
            'a "quoted", one',
            "e\u0301",
            "#U4e2d",
        }


@pytest.mark.parametrize("shares", [[0.6, 0.2, 0.2], [0.7, 0, 0.3]])
def test_an_experiment_runs_on_it(photos, tmp_path, shares):
    """The result is a benchmark: udonx trains and evaluates on it, with and without val."""
    done = split_folders(photos, tmp_path / "out", shares=shares)
    benchmark = Benchmark.open(tmp_path / "out")
    assert [(fact.train_classes, fact.train_images) for fact in benchmark.facts] == [
        (domain.splits["train"].classes, domain.splits["train"].images) for domain in done.domains
    ]
    assert (benchmark.query_index("cars", "val") is None) == (shares[1] == 0)
    file = write_experiment(
        tmp_path, f'{SETTING}[rows.a]\nscheme = "udon"\nsampler = "round_robin"\n'
    )
    table = udonx.run(file, data=tmp_path / "out", results=tmp_path / "results", device="cpu")
    assert table.domains == ("cars", "food") and 0 <= table.row("a").r1.mean <= 1


def test_an_empty_folder_may_be_given(photos, tmp_path):
    """The folder to make may exist if nothing is in it, also by way of a link."""
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    split_folders(photos, tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and len(hashes(tmp_path / "out")) == 8


def test_new_folders_have_usual_permissions(photos, tmp_path):
    """Others may read what was made, as far as the umask lets them."""
    old = os.umask(0o022)
    try:
        split_folders(photos, tmp_path / "out")
    finally:
        os.umask(old)
    assert oct((tmp_path / "out").stat().st_mode)[-3:] == "755"
    assert (
        oct((tmp_path / "out" / "info_files" / "cars" / "train.json").stat().st_mode)[-3:] == "644"
    )


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("photos/out", "photos/out lies in .*photos, where it would become a domain"),
        ("photos", "photos lies in "),
        ("full", "full exists and is not empty; remove it or name a new folder"),
        ("full/file", "file is a file; name a new folder"),
        ("full/file/out", "out cannot be made, because .*full/file is a file"),
    ],
)
def test_folders_that_cannot_be_made(photos, tmp_path, out, message):
    """Each is one sentence, and nothing is written."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=message) as caught:
        split_folders(photos, tmp_path / out)
    assert "\n" not in str(caught.value) and sorted(tmp_path.rglob("*")) == before


def test_a_mount_point_is_told(photos, tmp_path, monkeypatch):
    """An empty disk cannot be replaced by a folder: one in it can be named."""
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "disk")
    with pytest.raises(
        DataError,
        match="disk is where a disk is mounted, which cannot be replaced; name a new folder in it",
    ):
        split_folders(photos, tmp_path / "disk")


def test_too_few_classes(photos, tmp_path):
    """How many there are, how many are needed and how many were left out; known before any image is
    opened.
    """
    write_classes(photos, "few", {"a": 2, "b": 2, "c": 2, "d": 1, "e": 0})
    sentence = (
        r"^domain 'few' has 3 usable classes, but needs at least 4 \(2 for train, 1 for val, 1 for"
        r" test\); "
        r"2 with fewer than 2 readable images were left out \(min-images\)\.$"
    )
    with pytest.raises(DataError, match=sentence):
        split_folders(
            photos, tmp_path / "out", progress=lambda done, total: pytest.fail("images were opened")
        )


def test_too_few_classes_because_of_broken_images(photos, tmp_path):
    """Where only opening the images shows it, the broken ones are named."""
    write_classes(photos, "few", {"a": 2, "b": 2, "c": 2, "d": 2})
    (photos / "few" / "b" / "1.png").write_text("no image")
    sentence = (
        r"'few' has 3 usable classes.*; 1 of its images cannot be opened, such as few/b/1.png \(no"
        r" JPEG, .* or TIFF\)\.$"
    )
    with pytest.raises(DataError, match=sentence):
        split_folders(photos, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_all_problems_are_told_at_once(photos, tmp_path):
    """Options, places and domains in one numbered report, each domain once."""
    write_classes(photos, "flat", {"": 3})
    write_classes(photos, "one", {"a": 2})
    with pytest.raises(DataError) as caught:
        split_folders(photos, photos / "out", min_images=1)
    lines = str(caught.value).split("\n")
    assert lines[0] == "3 problems; nothing was written" and lines[1].startswith(
        "  1. min-images is 1; allowed is 2 or more"
    )
    assert "lies in" in lines[2] and "'flat'" in lines[3]
    with pytest.raises(DataError) as caught:
        split_folders(photos, tmp_path / "out", shares=[0.6, 0.4, 0])
    assert "leaves test without classes" in str(caught.value)
    with pytest.raises(DataError) as caught:
        split_folders(photos, tmp_path / "out")
    assert [line[:18] for line in str(caught.value).split("\n")] == [
        "2 problems; nothin",
        "  1. domain 'flat'",
        "  2. domain 'one' ",
    ]


def test_a_missing_source_and_wrong_shares_are_told_together(tmp_path):
    """What cannot be read does not hide what is wrong with the options."""
    with pytest.raises(DataError, match=r"(?s)sum to 0\.5.*nowhere is not there"):
        split_folders(tmp_path / "nowhere", tmp_path / "out", shares=[0.5, 0, 0])


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_links_is_told(photos, tmp_path, monkeypatch, number):
    """One sentence; nothing is left behind, and the originals are untouched."""

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "symlink", refuse)
    with pytest.raises(
        DataError,
        match=r"out is on a file system without symbolic links .* name a folder on another one",
    ):
        split_folders(photos, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


@pytest.mark.parametrize(
    "failure",
    [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), RuntimeError("ours")],
)
def test_nothing_is_left_behind(photos, tmp_path, monkeypatch, failure):
    """Whatever goes wrong while files are written: no folder stays, temporary or not, and every
    original does.
    """
    before = hashes(photos, "*/*/*")

    def fail(folder, domain, assigned):
        if domain.name == "food":
            raise failure

    monkeypatch.setattr(module, "_write_lists", fail)
    with pytest.raises(type(failure)) as caught:
        split_folders(photos, tmp_path / "out")
    assert (
        sorted(path.name for path in tmp_path.iterdir()) == ["photos"]
        and hashes(photos, "*/*/*") == before
    )
    if isinstance(failure, OSError):
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "out"))


def test_progress_ends_at_the_number_of_images(photos, tmp_path):
    """It is called with images done and images in all."""
    seen = []
    split_folders(photos, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    total = sum(CARS.values()) + sum(FOOD.values())
    assert seen[-1] == (total, total)


def test_torch_is_not_imported():
    """Splitting folders, and its command, import no torch."""
    assert python("import sys, udonx.cli.data.split; print('torch' in sys.modules)") == "False"
