from pathlib import Path

from udonx.common.grid import columns
from udonx.data.prepare.class_folders import Ignored, Tally
from udonx.data.prepare.folders import Count, DomainSplit, FolderSplit
from udonx.data.prepare.report import describe_split


def domain(name, scale=1, left_out=(0, 0), splits=("train", "val", "test")):
    return DomainSplit(
        name, {split: Count(3 * scale, 50 * scale) for split in splits}, Count(*left_out)
    )


def outcome(*domains, out="bench", **others):
    given = {
        "small": Tally(),
        "unreadable": Tally(),
        "turned": Tally(),
        "ignored": Ignored(),
    } | others
    return FolderSplit(out=Path(out), min_images=2, images=200, domains=domains, **given)


def test_the_report_as_it_is_printed():
    """Aligned columns, sums below a rule, then what was left out and what to do next."""
    ignored = Ignored(
        files=Tally(1, ["cars/readme.txt"]), folders=Tally(2, ["cars/audi/old", "cars/audi/new"])
    )
    broken = Tally(
        1204,
        [
            "cars/audi/1.jpg (no image that Pillow knows)",
            "cars/audi/2.jpg (truncated)",
            "cars/bmw/3.jpg (truncated)",
        ],
    )
    small = Tally(1, ["food/rice"])
    cars, food = domain("cars", left_out=(0, 1204)), domain("food", 1000, left_out=(1, 1))
    assert describe_split(
        outcome(cars, food, small=small, unreadable=broken, ignored=ignored)
    ).split("\n") == [
        "              classes               images             left out",
        "domain   train   val  test    train    val   test   classes images",
        "------------------------------------------------------------------",
        "cars         3     3     3       50     50     50         0  1,204",
        "food     3,000 3,000 3,000   50,000 50,000 50,000         1      1",
        "------------------------------------------------------------------",
        "all      3,003 3,003 3,003   50,050 50,050 50,050         1  1,205",
        "------------------------------------------------------------------",
        (
            "1,204 images cannot be opened and are left out: cars/audi/1.jpg (no image that Pillow"
            " knows),"
        ),
        "  cars/audi/2.jpg (truncated), cars/bmw/3.jpg (truncated) and 1,201 more",
        "1 class has fewer than 2 readable images and is left out: food/rice",
        "1 file is no image and was ignored: cars/readme.txt",
        "2 folders inside class folders were ignored: cars/audi/old, cars/audi/new",
        "",
        "bench is ready. Its images are links: leave the originals where they are. Next:",
        "  udonx run experiments/table3_ablation.toml --setting uned_mini --data bench",
    ]


def test_one_domain_needs_no_sums_and_val_may_be_missing():
    """Only the columns and lines that say something are there; the folder is quoted
    for the shell.
    """
    assert describe_split(outcome(domain("cars", splits=("train", "test")), out="my photos")).split(
        "\n"
    ) == [
        "          classes       images        left out",
        "domain   train test   train test   classes images",
        "-------------------------------------------------",
        "cars         3    3      50   50         0      0",
        "-------------------------------------------------",
        "",
        "my photos is ready. Its images are links: leave the originals where they are. Next:",
        "  udonx run experiments/table3_ablation.toml --setting uned_mini --data 'my photos'",
    ]


def test_a_split_of_one_class_is_said():
    """Where every neighbour is of the right class, a score says nothing."""
    single = DomainSplit(
        "cars", {"train": Count(3, 9), "val": Count(2, 6), "test": Count(1, 3)}, Count(0, 0)
    )
    said = "only one class in val or test, so that a search in the domain cannot miss: cars"
    assert said in describe_split(outcome(single, domain("food"))).split("\n")
    assert "only one class" not in describe_split(outcome(domain("food")))


def test_turned_images_are_said_with_the_key_that_decides():
    """The note counts images with an EXIF orientation and says what the setting does with them."""
    text = " ".join(
        describe_split(
            outcome(domain("cars"), turned=Tally(12, ["a.jpg", "b.jpg", "c.jpg"]))
        ).split()
    )
    assert (
        "12 of 200 images have an EXIF orientation other than upright (a.jpg, b.jpg, c.jpg and 9"
        " more)" in text
    )
    assert 'a setting with transform.orientation = "exif" turns them upright' in text


def test_long_and_wide_names_fit():
    """Names are cut to leave at most 100 columns, and those of two columns a character are aligned
    with the others.
    """
    names = ["ab " * 60, "電車" * 40, "電車", "e\u0301clair"]
    small = Tally(1, ["電車/" + "x" * 60])
    text = describe_split(outcome(*(domain(name, 10**6) for name in names), small=small))
    lines = text.split("\n")
    assert max(map(columns, lines)) <= 100 and {columns(line) for line in lines[1:8]} == {100}
    assert (
        all(line.endswith("0      0") for line in lines[3:7])
        and "…" in lines[3]
        and "…" in lines[4]
    )


def test_names_that_a_terminal_cannot_show_are_escaped():
    """Control characters and bytes that are no text are printed as escapes."""
    text = describe_split(
        outcome(
            domain("cars"), unreadable=Tally(1, ["cars/a/\udcff\x1b.jpg (its name is not UTF-8)"])
        )
    )
    assert r"'cars/a/\udcff\x1b.jpg (its name is not UTF-8)'" in text and text.encode()
