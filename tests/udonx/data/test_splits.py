import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.tiny import write_split
from udonx.data.errors import DataError
from udonx.data.splits import UNLABELLED, BenchmarkLayout, label_map, read_split


@pytest.fixture
def write(tmp_path):
    """Writes a split file below tmp_path/data and returns it."""

    def write(domain, split, entries, root="data"):
        file = tmp_path / root / "info_files" / domain / f"{split}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = (
            entries
            if isinstance(entries, str)
            else json.dumps([{"path": path, "class_id": label} for path, label in entries])
        )
        file.write_text(rows, encoding="utf-8")
        return file

    return write


def test_reads_paths_and_labels_in_order(write, tmp_path):
    """Paths keep the file's order, several labels are kept whole, and a list of one label is that
    label.
    """
    write("cars", "test", [("cars/中.jpg", 9), ("cars/b.jpg", [4, 7]), ("cars/c.jpg", [9])])
    split = read_split(tmp_path / "data", "cars", "test")
    assert (split.domain, split.name, len(split)) == ("cars", "test", 3)
    assert split.paths == ["cars/中.jpg", "cars/b.jpg", "cars/c.jpg"]
    assert split.class_ids.tolist() == [9, 4, 9] and split.class_ids.dtype == np.int64
    assert split.several == {1: (4, 7)} and split.labels() == [[9], [4, 7], [9]]
    assert label_map(split) == {4: 0, 7: 1, 9: 2}


def test_single_labels_stay_an_array(write, tmp_path):
    """Without an entry of several labels the labels are the int64 array itself."""
    write("cars", "train", [("a", 3), ("b", 1)])
    assert isinstance(read_split(tmp_path / "data", "cars", "train").labels(), np.ndarray)


def test_domains_are_alphabetical_or_as_listed(write, tmp_path):
    """Folders with a JSON file are domains, sorted; a given list keeps its order."""
    for domain in ("sop", "cars", "inat"):
        write(domain, "train", [("a", 0)])
    (tmp_path / "data" / "info_files" / "notes").mkdir()
    layout = BenchmarkLayout(tmp_path / "data")
    assert layout.domains() == ["cars", "inat", "sop"] and layout.domains(["sop", "cars"]) == [
        "sop",
        "cars",
    ]


def test_query_and_index_splits(write, tmp_path):
    """Test queries search `index` and validation queries `small_index` where they exist, else
    themselves; None without queries.
    """
    for domain, splits in {
        "cars": ("train", "val", "test"),
        "met": ("val", "small_index", "test", "index"),
        "x": ("train",),
    }.items():
        for split in splits:
            write(domain, split, [("a", 0)])
    layout = BenchmarkLayout(tmp_path / "data")
    assert layout.split_names("met") == ["index", "small_index", "test", "val"]
    assert [layout.query_index_splits("cars", phase) for phase in ("val", "test")] == [
        ("val", "val"),
        ("test", "test"),
    ]
    assert [layout.query_index_splits("met", phase) for phase in ("val", "test")] == [
        ("val", "small_index"),
        ("test", "index"),
    ]
    assert [layout.query_index_splits("x", phase) for phase in ("val", "test")] == [None, None]
    with pytest.raises(ValueError, match='phase must be "val" or "test"'):
        layout.query_index_splits("cars", "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"path": "a",\n "class_id": }]', "is not valid JSON: Expecting value in line 2"),
        ('{"path": "a"}', "holds a JSON dict"),
        ("[]", "holds an empty list"),
        (
            '[{"path": "a", "class_id": 1}, {"path": "b"}]',
            "entry 1 has the keys 'path': every entry needs",
        ),
        ("[3]", "entry 0 has 3"),
        ('[{"path": "a", "class_id": "1"}]', "entry 0 has class_id '1': it must be an integer"),
        ('[{"path": "a", "class_id": true}]', "entry 0 has class_id True"),
        ('[{"path": "a", "class_id": []}]', r"entry 0 has class_id \[\]"),
        ('[{"path": "a", "class_id": [1, 2.5]}]', r"entry 0 has class_id \[1, 2.5\]"),
        ('[{"path": 5, "class_id": 1}]', "entry 0 has path 5"),
        (
            '[{"path": "../a", "class_id": 1}]',
            "entry 0 has path '../a': it leads out of the folder; it must be text, relative",
        ),
        ('[{"path": "/a", "class_id": 1}]', "entry 0 has path '/a': it leads out"),
        ('[{"path": "a\\u0000", "class_id": 1}]', "it holds a zero byte"),
        (
            '[{"path": "a\\ud800", "class_id": 1}]',
            "it holds a character that no file name can hold",
        ),
        (
            json.dumps([{"path": f"{'ä' * 128}/a", "class_id": 1}]),
            "a part of it is 256 bytes long, and a file name has at most 255",
        ),
        (f'[{{"path": "a", "class_id": {"9" * 5000}}}]', "an integer of thousands of digits"),
        (f'[{{"path": "a", "class_id": {"9" * 4000}}}]', "entry 0 has class_id 99999"),
        (
            json.dumps([{"path": "a", "class_id": [1] * 10**5 + ["b"]}]),
            "entry 0 has class_id .1, 1, 1, ",
        ),
        ("[" * 100_000, "is nested too deeply"),
        (f'[{{"path": "a", "class_id": {"[" * 100_000}1}}]', "is nested too deeply"),
        (
            json.dumps([dict.fromkeys(range(10**5))]),
            "entry 0 has the keys '0', '1', '2', '3', '4': every entry needs",
        ),
        ('\ufeff[{"path": "a", "class_id": 1}]', "is not valid JSON: Unexpected UTF-8 BOM"),
    ],
)
def test_malformed_files_are_one_sentence(write, tmp_path, text, message):
    """A malformed split file raises DataError that names the file and the line or the entry."""
    file = write("cars", "train", text)
    with pytest.raises(DataError, match=message) as caught:
        read_split(tmp_path / "data", "cars", "train")
    assert (
        str(file) in str(caught.value)
        and "\n" not in str(caught.value)
        and len(str(caught.value)) < 700
    )
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "is no regular file"),
        (os.mkdir, "is no regular file"),
        (lambda file: os.symlink("nowhere", file), "is a link that leads nowhere"),
        (lambda file: os.symlink(file, file), "cannot be read: Too many levels of symbolic links"),
    ],
)
def test_what_is_no_file_is_one_sentence(write, tmp_path, make, message):
    """A pipe (which nobody writes to), a folder or a broken link in the place of a split file is
    said at once.
    """
    file = write("cars", "train", [("a", 0)])
    file.unlink()
    make(file)
    with pytest.raises(DataError, match=message) as caught:
        read_split(tmp_path / "data", "cars", "train")
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("target", ["nowhere", "sop"])
def test_a_domain_that_is_a_broken_link_is_not_left_out(write, tmp_path, target):
    """A link without a folder behind it, or to itself, is refused where its domain would be used;
    an editor's lock is none.
    """
    write("cars", "train", [("a", 0)])
    info = tmp_path / "data" / "info_files"
    (info / ".#cars").symlink_to("somebody@somewhere.1234")
    assert BenchmarkLayout(tmp_path / "data").domains() == ["cars"]
    (info / "sop").symlink_to(target)
    for wanted in (None, ["cars", "sop"]):
        with pytest.raises(DataError, match="info_files/sop is a link that leads nowhere: mend it"):
            BenchmarkLayout(tmp_path / "data").domains(wanted)
    assert BenchmarkLayout(tmp_path / "data").domains(["cars"]) == ["cars"]


def test_missing_names_come_with_the_nearest(write, tmp_path):
    """A missing root, domain or split is named together with what there is."""
    write("cars", "train", [("a", 0)])
    write("birds", "train", [("a", 0)])
    with pytest.raises(
        DataError, match=r"no domain 'carz'; did you mean cars\? There are: birds, cars"
    ):
        BenchmarkLayout(tmp_path / "data").domains(["carz"])
    with pytest.raises(DataError, match="names 'cars' twice"):
        BenchmarkLayout(tmp_path / "data").domains(["cars", "cars"])
    with pytest.raises(DataError, match="no domain 'carz'; did you mean cars"):
        read_split(tmp_path / "data", "carz", "train")
    with pytest.raises(DataError, match=r"no split 'trian'; did you mean train\?"):
        read_split(tmp_path / "data", "cars", "trian")
    with pytest.raises(DataError, match="info_files is not a folder"):
        BenchmarkLayout(tmp_path / "nowhere").domains()


def test_reads_uned_mini(shared_dir):
    """Some flag queries of uned_mini have several labels."""
    assert len(read_split(shared_dir / "uned_mini", "flags", "test").several) == 9


def test_imports_neither_torch_nor_pillow():
    """Planning reads splits and facts without importing torch or Pillow."""
    code = (
        "import sys, udonx.data.facts, udonx.data.paths; sys.exit('torch' in sys.modules or 'PIL'"
        " in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_several_missing_domains_are_one_sentence(tmp_path):
    """All that are missing, all that are there, and what to do."""
    for domain in ("birds", "flags"):
        write_split(tmp_path, domain, "train", [0, 1], images=False)
    with pytest.raises(
        DataError,
        match=(
            r"holds none of the domains cars, sop; there are birds, flags; give another folder with"
            r" --data, or"
        ),
    ):
        BenchmarkLayout(tmp_path).domains(["cars", "birds", "sop"])


def test_a_training_image_may_have_no_label(write, tmp_path):
    """`null` stands for none, in a train split that has some label, and in no other split."""
    write("cars", "train", [("a", 3), ("b", None), ("c", 1)])
    split = read_split(tmp_path / "data", "cars", "train")
    assert split.class_ids.tolist() == [3, UNLABELLED, 1] and split.classes() == [1, 3]
    assert label_map(split) == {1: 0, 3: 1}
    write("cars", "val", [("a", 3), ("b", None)])
    with pytest.raises(DataError, match="entry 1 has class_id None: it must be an integer or a"):
        read_split(tmp_path / "data", "cars", "val")
    write("cars", "train", [("a", None)])
    with pytest.raises(DataError, match='has no "class_id" but null: some image of a train split'):
        read_split(tmp_path / "data", "cars", "train")
