"""A table on the screen: what fits, and what is said below."""

from __future__ import annotations

import pytest

from tests.udonx.tables.small import DOMAINS, table, table_row, with_metrics
from udonx.tables.content import MetricColumn


def test_the_text_stays_within_100_columns():
    """Eight long domain names, several seeds, a long label, a long footer: nothing is wider, and
    figures are never cut.
    """
    long = table_row("a", label="a label that is much longer than there is room for")
    lines = (
        table(long, table_row("b", difference=-0.123), table_row("c", reference=True))
        .to_text()
        .split("\n")
    )
    assert max(len(line) for line in lines) <= 100
    assert lines[1].split() == [
        "R@1",
        "mMP@5",
        "diff",
        *(name[:4] for name in DOMAINS),
        "steps",
        "min",
    ]
    assert (
        lines[3].startswith("a label t")
        and "75.0±25.0" in lines[3]
        and "1234567 1234.5" in lines[3]
    )
    assert "-12.3" in lines[4]
    assert set(lines[2]) == set(lines[5]) == {"-"} and lines[6].startswith("c ")
    assert "other: not run yet" in lines


def test_short_figures_leave_room_for_names():
    """Domain names grow into the room that the figures leave, never beyond their length."""
    header = (
        table(table_row("a", seeds=1), domains=("food", "sop_products")).to_text().split("\n")[1]
    )
    assert header.split()[3:5] == ["food", "sop_products"]


def test_domains_without_room_are_named_below():
    """With many domains those that find no room are left out on screen, and said."""
    many = tuple(f"domain_{number:02}" for number in range(20))
    text = table(table_row("a"), domains=many).to_text()
    assert max(len(line) for line in text.split("\n")) <= 100
    assert "without room here: " in text and "domain_19" in text


def test_differences_are_listed_with_their_intervals():
    """Below the table, before the notes, aligned; those that contain zero are marked, here and in
    the column; others are not listed.
    """
    rows = [
        table_row("first"),
        table_row("worse", difference=-0.123, interval=(-0.2, -0.05)),
        table_row("a longer label", difference=0.005, interval=(-0.004, 0.012)),
        table_row("no queries", difference=0.02),
        table_row("reference", reference=True),
    ]
    lines = table(*rows).to_text().split("\n")
    end = lines[1].index("diff") + len("diff ")
    assert [line[end - 6 : end] for line in lines[3:7]] == [" " * 6, "-12.3 ", " +0.5~", " +2.0 "]
    block = lines.index(
        "R@1 minus the first row's, 95 % interval (paired bootstrap over seeds and queries); ~"
        " contains zero"
    )
    assert lines[block + 1 : block + 4] == [
        "  worse           -12.3  [-20.0, -5.0]",
        "  a longer label   +0.5  [ -0.4, +1.2] ~",
        "other: not run yet",
    ]


def test_clear_differences_are_not_marked():
    """Where no interval contains zero there is no mark, no room for one and no word on it."""
    text = table(table_row("a"), table_row("b", difference=0.1, interval=(0.05, 0.15))).to_text()
    assert "~" not in text and "diff arch" in text and "  b  +10.0  [+5.0, +15.0]\n" in text


def test_without_intervals_there_is_no_list():
    """A table of one row, or of damaged results, says nothing of intervals."""
    assert "interval" not in table(table_row("a"), table_row("b", difference=0.1)).to_text()
    assert "interval" not in table(table_row("a"), table_row("b", difference=0.1)).to_markdown()


def test_intervals_of_one_seed_are_over_queries():
    """The heading claims seeds only where there are several."""
    text = table(
        table_row("a", seeds=1), table_row("b", seeds=1, difference=0.1, interval=(0.0, 0.2))
    ).to_text()
    assert (
        "(paired bootstrap over queries); ~ contains zero" in text
        and "seeds and queries" not in text
    )


def test_rows_of_both_indexes_are_told_apart():
    """Own-domain figures bear a star, and each group of differences names the row that it is
    compared with.
    """
    rows = [
        table_row("teachers", index="own"),
        table_row("student"),
        table_row("other teachers", index="own", difference=0.01, interval=(-0.01, 0.03)),
        table_row("other student", difference=0.02, interval=(0.01, 0.03)),
    ]
    text = table(*rows).to_text()
    lines = text.split("\n")
    assert ["75.0±25.0* " in line for line in lines[3:7]] == [True, False, True, False]
    assert (
        len({line.index("90.0±10.0") for line in lines[3:7]}) == 1
        and "*" not in lines[1] + lines[4] + lines[6]
    )
    start = lines.index(
        "differences in R@1, 95 % interval (paired bootstrap over seeds and queries); ~ contains"
        " zero"
    )
    assert lines[start + 1 : start + 5] == [
        "  minus teachers, own-domain index *",
        "    other teachers  +1.0  [-1.0, +3.0] ~",
        "  minus student, merged index",
        "    other student   +2.0  [+1.0, +3.0]",
    ]
    assert "*" not in table(rows[0], rows[2]).to_text()


def test_rows_of_several_backbones_are_compared_with_their_own_first():
    """Two backbones on the same index: two groups of differences, without a word of the index."""
    rows = [
        table_row("a"),
        table_row("b", difference=0.02, interval=(0.01, 0.03)),
        table_row("large a", backbone="large"),
        table_row("large b", backbone="large", difference=0.03, interval=(0.02, 0.04)),
    ]
    lines = table(*rows).to_text().split("\n")
    start = lines.index(
        "differences in R@1, 95 % interval (paired bootstrap over seeds and queries)"
    )
    assert lines[start + 1 : start + 5] == [
        "  minus a",
        "    b        +2.0  [+1.0, +3.0]",
        "  minus large a",
        "    large b  +3.0  [+2.0, +4.0]",
    ]
    assert (
        "R@1 minus that of the first row with the same index and backbone"
        in table(*rows).to_markdown()
    )


def test_a_difference_to_a_later_row_names_it():
    """Only the teachers are compared, and with each other: "the first row" would be the student."""
    rows = [
        table_row("student"),
        table_row("a", index="own"),
        table_row("b", index="own", difference=0.1, interval=(0.05, 0.2)),
    ]
    text = table(*rows).to_text()
    assert (
        "\n  minus a, own-domain index *\n    b  +10.0  [+5.0, +20.0]\n" in text
        and "the first row" not in text
    )
    assert (
        "R@1 minus that of the first row with the same index and backbone"
        in table(*rows).to_markdown()
    )


def test_the_text_stays_within_100_columns_with_marks_and_intervals():
    """Stars, tildes and long labels included; figures are never cut."""
    long = (
        "a label that is much longer than there is room for, however the table is laid out, and"
        " then some more of it"
    )
    rows = [
        table_row("a", label=long),
        table_row("b", label=long, difference=-1.0, interval=(-1.0, 1.0)),
    ]
    rows += [
        table_row("c", label=long, index="own"),
        table_row("d", label=long, index="own", difference=-1.0, interval=(-1.0, 1.0)),
    ]
    for shown in (rows, rows[:2]):
        lines = table(*shown).to_text().split("\n")
        assert max(len(line) for line in lines) <= 100
        assert (
            sum(line.endswith("  -100.0  [-100.0, +100.0] ~") for line in lines) == len(shown) // 2
        )
        assert sum("-100.0~ " in line for line in lines) == len(shown) // 2
    assert (
        sum(line.endswith(", own-domain index *") for line in table(*rows).to_text().split("\n"))
        == 1
    )


@pytest.mark.parametrize("count", [5, 9, 40])
def test_metrics_without_room_are_named(count):
    """However many there are, the text has 100 columns and figures are never cut."""
    many = tuple(MetricColumn(name=f"m{n}", label=f"metric-{n:02}") for n in range(count))
    shown = with_metrics((MetricColumn(name="r1", label="R@1"), *many))
    text = shown.to_text()
    assert max(map(len, text.split("\n"))) <= 100
    words = text.replace(",", "").split()
    assert all(words.count(column.label) == 1 for column in many)
    assert {word for word in words if word.startswith("50.0")} <= {"50.0±25.0", "50.0"}
