import os

import pytest

from tests.tiny import list_backwards, write_classes
from udonx.data.errors import DataError
from udonx.data.prepare.class_folders import Tally, layout_problems, read_domains

CARS = {"audi": 2, "bmw": 3}


def problems(root):
    return layout_problems(root, read_domains(root)[0])


def test_a_tree_is_listed_in_alphabetical_order(tmp_path, monkeypatch):
    """Domains, classes and images are sorted, in whatever order the disk lists them; nothing is
    wrong with such a tree.
    """
    for name in ("food", "cars"):
        write_classes(tmp_path, name, {"b": 2, "a": 3, "Č": 2})
    list_backwards(monkeypatch)
    domains, _ = read_domains(tmp_path)
    assert [domain.name for domain in domains] == ["cars", "food"] and list(domains[0].classes) == [
        "a",
        "b",
        "Č",
    ]
    assert list(domains[0].paths())[:4] == [
        "cars/a/0.png",
        "cars/a/1.png",
        "cars/a/2.png",
        "cars/b/0.png",
    ]
    assert problems(tmp_path) == {}


def test_photographs_are_known_by_their_suffix_in_any_case(tmp_path):
    """The usual kinds count, whatever the case."""
    (tmp_path / "cars" / "audi").mkdir(parents=True)
    names = ["a.JPG", "b.jpeg", "c.Png", "d.webp", "e.bmp", "f.gif", "g.tif", "h.TIFF"]
    for name in [*names, "i.txt", "jpg", "k.svg"]:
        (tmp_path / "cars" / "audi" / name).touch()
    domains, ignored = read_domains(tmp_path)
    assert domains[0].classes["audi"] == names and ignored.files.first == [
        "cars/audi/i.txt",
        "cars/audi/jpg",
        "cars/audi/k.svg",
    ]


def test_what_is_no_image_of_a_class_is_counted(tmp_path):
    """Other files, images at a wrong level and folders in class folders are counted and named; what
    is hidden is passed over.
    """
    write_classes(tmp_path, "cars", CARS)
    write_classes(tmp_path, "cars/audi", {"older": 1})
    for name in (
        "readme.txt",
        "cover.jpg",
        "cars/sheet.jpg",
        "cars/bmw/0.json",
        ".DS_Store",
        "cars/bmw/._0.png",
        "cars/.x.jpg",
    ):
        (tmp_path / name).touch()
    write_classes(tmp_path, ".trash", CARS)
    write_classes(tmp_path, "cars", {".cache": 2})
    domains, ignored = read_domains(tmp_path)
    assert [list(domain.classes) for domain in domains] == [["audi", "bmw"]] and domains[0].classes[
        "bmw"
    ] == ["0.png", "1.png", "2.png"]
    assert ignored.files == Tally(2, ["readme.txt", "cars/bmw/0.json"]) and ignored.loose == Tally(
        2, ["cover.jpg", "cars/sheet.jpg"]
    )
    assert ignored.folders == Tally(1, ["cars/audi/older"]) and problems(tmp_path) == {}


def test_only_the_first_are_named():
    """A tally of many keeps their number and three names."""
    tally, other = Tally(), Tally()
    tally.add("a", "b")
    other.add("c", "d", "e", "f")
    tally.merge(other)
    assert tally == Tally(6, ["a", "b", "c"])


def test_links_are_followed_and_pipes_are_not_waited_for(tmp_path):
    """Linked folders and images count, a link that leads nowhere too: it is an image to be
    reported; a pipe is no image.
    """
    write_classes(tmp_path / "elsewhere", "cars", CARS)
    (tmp_path / "root" / "cars").mkdir(parents=True)
    (tmp_path / "root" / "cars" / "audi").symlink_to(tmp_path / "elsewhere" / "cars" / "audi")
    (tmp_path / "root" / "cars" / "bmw").mkdir()
    (tmp_path / "root" / "cars" / "bmw" / "linked.png").symlink_to(
        tmp_path / "elsewhere" / "cars" / "bmw" / "0.png"
    )
    (tmp_path / "root" / "cars" / "bmw" / "nowhere.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "root" / "cars" / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "root" / "cars" / "bmw" / "pipe.png")
    (tmp_path / "root" / "cars" / "bmw" / "to_pipe.png").symlink_to("pipe.png")
    domains, ignored = read_domains(tmp_path / "root")
    assert domains[0].classes == {"audi": ["0.png", "1.png"], "bmw": ["linked.png", "nowhere.png"]}
    assert ignored.files.first == ["cars/loop", "cars/bmw/pipe.png", "cars/bmw/to_pipe.png"]


def test_names_that_are_not_utf8(tmp_path):
    """Bytes that are no text: a class or a domain is to be renamed."""
    write_classes(tmp_path, "cars", CARS)
    bad = os.fsdecode(b"\xff")
    os.rename(tmp_path / "cars" / "bmw", tmp_path / "cars" / f"bmw{bad}")
    assert problems(tmp_path) == {
        "cars": (
            r"domain 'cars': the class folder 'bmw\udcff' has a name that is not UTF-8; rename it"
        )
    }
    os.rename(tmp_path / "cars", tmp_path / f"cars{bad}")
    assert r"the domain's name 'cars\udcff' has" in "".join(problems(tmp_path).values())


@pytest.mark.parametrize("name", ["a|b", "a\nb", "a\tb", "a\u2028b"])
def test_domain_names_that_would_break_a_table(tmp_path, name):
    """A domain becomes a column of tables: no '|', no control character."""
    write_classes(tmp_path, name, CARS)
    assert problems(tmp_path)[name].startswith(f"the domain's name {name!a} has")


@pytest.mark.parametrize("name", ["Škoda & co.", "日本", "a.b=c$", "e\u0301"])
def test_other_domain_names_are_fine(tmp_path, name):
    """Blanks, points and characters of any script are allowed."""
    write_classes(tmp_path, name, CARS)
    assert problems(tmp_path) == {}


def test_a_root_that_is_no_tree(tmp_path):
    """A missing root, a file, an empty folder, a folder of images and a folder in UnED's layout are
    each told in one sentence.
    """
    write_classes(tmp_path, "cars", CARS)
    (tmp_path / "empty").mkdir()
    for part in ("images", "info_files"):
        (tmp_path / "uned" / part / "cars").mkdir(parents=True)
    for root, message in {
        "nowhere": "nowhere is not there; give a folder of <domain>/<class>/<image>",
        "cars/audi/0.png": "0.png is no folder",
        "empty": "empty holds no folders: it must hold <domain>/<class>/<image>",
        "cars/audi": "audi holds images itself: give the folder two levels above",
        "uned": "uned is in UnED's layout already",
    }.items():
        with pytest.raises(DataError, match=message):
            read_domains(tmp_path / root)


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    """It is named, with the system's reason."""
    write_classes(tmp_path, "cars", CARS)
    scandir = os.scandir

    def refuse(path):
        if path.name == "bmw":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="cars/bmw cannot be read: Permission denied"):
        read_domains(tmp_path)


def test_one_level_too_deep(tmp_path):
    """Where every folder holds images, the root is one domain: the folder above is named."""
    write_classes(tmp_path, "cars", {**CARS, "saab": 2})
    (message,) = problems(tmp_path / "cars").values()
    assert (
        f"{tmp_path}/cars/audi and 2 more folders hold images directly, so {tmp_path}/cars is one"
        " domain" in message
    )
    assert f"give the folder above it ({tmp_path})" in message


def test_one_level_too_high(tmp_path):
    """Where no image lies at the right level, but there are deeper folders, one
    sentence says so.
    """
    write_classes(tmp_path, "mine/cars", CARS)
    write_classes(tmp_path, "other/food", CARS)
    assert list(problems(tmp_path)) == [""]
    assert f"no image lies at {tmp_path}/<domain>/<class>/<image>" in problems(tmp_path)[""]
    assert (
        f"such as {tmp_path}/mine/cars/audi; give a folder further down" in problems(tmp_path)[""]
    )


def test_domains_without_images_in_class_folders(tmp_path):
    """Each kind of wrong level is told for its domain, and sound domains are not mentioned."""
    write_classes(tmp_path, "sound", CARS)
    write_classes(tmp_path, "flat", {"": 3})
    write_classes(tmp_path, "split", {"train/audi": 2, "test/bmw": 2})
    (tmp_path / "bare").mkdir()
    (tmp_path / "hollow" / "audi").mkdir(parents=True)
    told = problems(tmp_path)
    assert list(told) == ["bare", "flat", "hollow", "split"]
    assert "holds no class folders" in told["bare"] and "its images lie directly in" in told["flat"]
    assert "there is no image in any of its class folders" in told["hollow"]
    assert "its class folders hold no images but further folders (split/test/bmw)" in told["split"]
    assert all(
        message.endswith(f"images must lie in {tmp_path}/{name}/<class>/")
        for name, message in told.items()
    )
