"""Class folders as a data source: read in place, split without being asked twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry import sources
from tests.tiny import SETTING, python, write_classes, write_experiment
from udonx.config.experiment import load_experiment
from udonx.config.problems import ConfigError
from udonx.data.benchmark import Benchmark
from udonx.data.prepare.folders import split_folders
from udonx.inputs.open import open_benchmark
from udonx.inputs.sources import source_problems

CLASSES = {"audi": 3, "bmw": 3, "saab": 3, "seat": 2, "vw": 2}
FILE = SETTING.replace('source = "uned"', 'source = "folders"') + (
    '[rows.a]\nscheme = "classification"\nsampler = "round_robin"\n'
)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two domains of five classes, and an empty cache folder."""
    monkeypatch.setenv("UDONX_CACHE", str(tmp_path / "cache"))
    for domain in ("cars", "food"):
        write_classes(tmp_path / "photos", domain, CLASSES)
    return tmp_path / "photos"


def opened(root: Path, wanted: list[str] | None = None, **options) -> Benchmark:
    """The benchmark of class folders."""
    made = sources.get("folders")(root=str(root), **options)
    assert list(made.problems(wanted)) == []
    return made.open(wanted, lambda done, total: None)


def test_folders_are_split_as_data_split_does_it(photos, tmp_path):
    """The manifests, by which stages are known, are those of `udonx data split` of the same tree,
    and not one image is copied.
    """
    ours = opened(photos)
    split_folders(photos, tmp_path / "split")
    theirs = Benchmark.open(tmp_path / "split")
    assert ours.domains == theirs.domains == ("cars", "food")
    assert (ours.origin, ours.fingerprint) == (str(photos), "")
    for domain in ours.domains:
        for split in ("train", "val", "test"):
            assert ours.manifest(domain, (split,)) == theirs.manifest(domain, (split,))
    assert (ours.root / "images" / "cars").resolve() == photos / "cars"


def test_options_say_how_classes_are_split(photos):
    """Shares, seed and the least number of images are those of `udonx data split`."""
    halves = opened(photos, shares=[0.5, 0.0, 0.5])
    assert not halves.has("cars", "val") and len(halves.split("cars", "train").classes()) == 3
    drawn = {tuple(opened(photos, seed=seed).split("cars", "train").paths) for seed in range(4)}
    assert len(drawn) > 1
    strict = sources.get("folders")(root=str(photos), min_images=3)
    assert ["3 usable classes" in sentence for _, sentence in strict.problems(None)] == [True] * 2
    wrong = sources.get("folders")(root=None, shares=[0.5, 0.2, 0.1])
    assert [key for key, _ in wrong.problems(None)] == ["shares", "root"]


def test_lists_are_kept_until_an_image_changes(photos, monkeypatch):
    """A second opening writes nothing; a new image makes new lists."""
    calls = []
    before = opened(photos)
    made = sources.get("folders")(root=str(photos))
    assert made.open(None, lambda *done: calls.append(done)).root == before.root and not calls
    write_classes(photos, "cars", {"seat": 4})
    after = made.open(None, lambda *done: calls.append(done))
    assert calls and after.root != before.root
    files = [root / "info_files" / "cars" for root in (before.root, after.root)]
    counts = [sum(len(json.loads(f.read_text())) for f in file.glob("*.json")) for file in files]
    assert counts == [13, 15]


def test_only_wanted_domains_are_looked_at(photos):
    """What is wrong with a domain that nobody asked for does not matter; the order is that of the
    list.
    """
    (photos / "broken").mkdir()
    assert opened(photos, ["food", "cars"]).domains == ("food", "cars")
    found = list(sources.get("folders")(root=str(photos)).problems(["carz"]))
    assert found[0][0] == "root" and "holds no domain 'carz'; did you mean cars?" in found[0][1]
    twice = list(sources.get("folders")(root=str(photos)).problems(["cars", "cars"]))
    assert [sentence for _, sentence in twice] == [
        "the list of domains names 'cars' twice; name each domain once"
    ]
    assert list(sources.get("folders")(root=str(photos)).problems(None))


def test_a_file_reads_folders_with_data(photos, tmp_path):
    """`--data` sets the folder; without one, or with a wrong one, check says what is missing."""
    file = write_experiment(tmp_path, FILE)
    experiment = load_experiment(file, data=photos, sources=source_problems)
    assert experiment.data.root == photos
    assert open_benchmark(experiment).domains == ("cars", "food")
    for given, expected in (
        (None, "data.root: its data needs a folder of <domain>/<class>/<image>: give it with"),
        (tmp_path / "nowhere", "nowhere is not there; give a folder of <domain>/<class>/<image>"),
    ):
        with pytest.raises(ConfigError, match=expected):
            load_experiment(file, data=given, sources=source_problems)


def test_folders_are_checked_without_torch(photos):
    """Looking for what is wrong with class folders imports no torch."""
    code = (
        "import sys\nfrom registry import sources\n"
        f"source = sources.get('folders')(root={str(photos)!r})\n"
        "print(list(source.problems(None)), source.domains(), 'torch' in sys.modules)"
    )
    assert python(code) == "[] ('cars', 'food') False"
