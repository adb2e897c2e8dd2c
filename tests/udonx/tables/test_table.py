"""Tables: a view over stored evaluations, on screen, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import attrs
import numpy as np
import pytest

import udonx
from tests.tiny import ROOT, write_experiment
from udonx.common.files import DamagedFileError
from udonx.config.experiment import load_experiment
from udonx.planning.load import load_plan
from udonx.running.table import stored_table
from udonx.store.results import Results
from udonx.tables.bootstrap import paired_interval
from udonx.tables.build import _about_own_index, build_table
from udonx.tables.content import OTHER_SEEDS, About, Cell, MetricColumn, TableRow
from udonx.tables.storage import read_table, write_table
from udonx.tables.table import Table

TABLE3 = ROOT / "experiments" / "table3_ablation.toml"
DOMAINS = (
    "architecture",
    "clothing_and_shoes",
    "food",
    "gldv2_landmarks",
    "inaturalist",
    "met_artworks",
    "rp2k",
    "sop_products",
)


Interval = tuple[float, float] | None


def table_row(
    name: str,
    *,
    seeds: int = 3,
    reference: bool = False,
    difference: float | None = None,
    interval: Interval = None,
    label: str = "",
    index: str = "merged",
    backbone: str = "main",
) -> TableRow:
    """A row of high figures over several seeds: the widest that there is."""
    figures = {domain: Cell.of([1.0 - 0.01 * seed for seed in range(seeds)]) for domain in DOMAINS}
    return TableRow(
        name=name,
        label=label or name,
        branch="student",
        index=index,
        backbone=backbone,
        reference=reference,
        seeds=tuple(range(seeds)),
        metrics={
            "r1": Cell.of([1.0, 0.75, 0.5][:seeds]),
            "mmp5": Cell.of([1.0, 0.8, 0.9][:seeds]),
        },
        r1_per_seed=(1.0, 0.75, 0.5)[:seeds],
        difference=difference,
        interval=interval,
        per_domain={"r1": figures, "mmp5": figures},
        own_metrics={"r1": Cell.of([0.9]), "mmp5": Cell.of([0.8])},
        steps=1_234_567,
        images=9_876_543,
        minutes=1234.5,
        evaluations=("e1",),
        stages=("s1", "s2"),
    )


def table(*rows: TableRow, domains: tuple[str, ...] = DOMAINS) -> Table:
    """A table of these rows."""
    footer = ("seeds 0, 1, 2; start weights: main " + "a/very/long/path/" * 8 + " (0123456789ab)",)
    return Table(
        title="Schemes",
        setting="demo",
        domains=domains,
        rows=rows,
        missing=("other: not run yet",),
        footer=footer,
    )


def test_a_cell_is_mean_and_sample_deviation():
    """Over seeds: NumPy's mean and std with ddof = 1; one seed has no deviation."""
    values = np.random.default_rng(0).random(5)
    cell = Cell.of(values.tolist())
    assert (cell.mean, cell.std) == (
        pytest.approx(np.mean(values)),
        pytest.approx(np.std(values, ddof=1)),
    )
    assert Cell.of([0.4321]) == Cell(mean=0.4321, std=None)
    assert (Cell.of([0.5, 0.6]).format(), Cell.of([0.5]).format()) == ("55.0 ± 7.1", "50.0")


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


@pytest.mark.parametrize(
    ("interval", "unclear"),
    [
        ((-0.1, 0.1), True),
        ((0.0, 0.0), True),
        ((0.0, 0.2), True),
        ((-0.2, 0.0), True),
        ((1e-9, 0.2), False),
        ((-0.2, -1e-9), False),
    ],
)
def test_a_difference_is_unclear_where_its_interval_contains_zero(interval, unclear):
    """Its ends included, unrounded."""
    assert table_row("a", difference=0.0, interval=interval).unclear is unclear
    assert not table_row("a", difference=0.0).unclear


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


def test_csv_holds_unrounded_fractions_and_deviations():
    """One line per row; every figure with its deviation, empty where one seed gives none."""
    second = table_row("b", seeds=1, difference=0.25, interval=(-0.125, 0.5))
    rows = list(csv.DictReader(io.StringIO(table(table_row("a"), second).to_csv())))
    assert [row["row"] for row in rows] == ["a", "b"]
    assert (float(rows[0]["r1"]), float(rows[0]["r1_std"]), rows[0]["seeds"]) == (
        0.75,
        0.25,
        "0 1 2",
    )
    assert (float(rows[0]["food_r1_std"]), rows[1]["food_r1_std"], rows[1]["difference"]) == (
        pytest.approx(0.01),
        "",
        "0.25",
    )
    assert [rows[1][f"difference_{end}"] for end in ("low", "high")] == ["-0.125", "0.5"] and rows[
        0
    ]["difference_low"] == ""
    assert (rows[0]["images"], rows[0]["own_index_r1"]) == ("9876543", "0.9")


def test_markdown_holds_deviations_per_domain_and_images():
    """Every row of the Markdown table has as many cells as its header, ± per domain and the images
    seen.
    """
    lines = table(table_row("a"), table_row("b", seeds=1)).to_markdown().split("\n")
    cells = [line.count("|") for line in lines if line.startswith("|")]
    assert len(cells) == 4 and len(set(cells)) == 1
    assert "99.0 ± 1.0" in lines[4] and "9876543" in lines[4]


def test_markdown_holds_intervals_and_says_what_they_are():
    """Behind the difference, marked where it contains zero; a note that begins with a star does not
    become a list of its own.
    """
    rows = [
        table_row("a"),
        table_row("b", difference=0.018, interval=(0.008, 0.029)),
        table_row("c", difference=0.0, interval=(-0.1, 0.1)),
    ]
    shown = attrs.evolve(table(*rows), footer=("* own-domain index (b)",))
    text = shown.to_markdown()
    assert "| +1.8 [+0.8, +2.9] |" in text and "| +0.0 [-10.0, +10.0] ~ |" in text
    assert (
        "- diff R@1: R@1 minus that of the first row, 95 % interval (paired bootstrap over seeds"
        " and queries); ~ contains zero\n" in text
    )
    assert "\n- \\* own-domain index (b)\n" in text


MORE = (
    MetricColumn(name="map_r", label="mAP@R"),
    MetricColumn(name="r1", label="R@1"),
    MetricColumn(name="mine", label="my | own"),
)


def with_metrics(metrics: tuple[MetricColumn, ...]) -> Table:
    """A table of two rows that shows these metrics; the second has but R@1 and mMP@5."""
    cells = {column.name: Cell.of([0.25, 0.5, 0.75]) for column in metrics}
    by_domain = {name: {domain: cell for domain in DOMAINS} for name, cell in cells.items()}
    full = attrs.evolve(table_row("full"), metrics=cells, per_domain=by_domain, own_metrics=cells)
    return attrs.evolve(table(full, table_row("less")), metrics=metrics)


def test_metrics_stand_in_the_order_of_the_file():
    """On screen, in Markdown and in CSV; domains are shown by the first, differences are in R@1."""
    shown = with_metrics(MORE)
    header, _, full, less = shown.to_text().split("\n")[1:5]
    assert header.split()[:7] == ["mAP@R", "R@1", "my", "|", "own", "diff", "R@1"]
    assert full.split()[1:5] == ["50.0±25.0", "50.0±25.0", "50.0±25.0", "50.0"]
    assert less.split()[1:5] == ["-", "75.0±25.0", "-", "-"]
    assert "columns of domains: mAP@R" in shown.to_text()
    assert "columns of domains" not in table(table_row("a")).to_text()
    lines = shown.to_markdown().split("\n")
    assert lines[2].startswith("| row | index | seeds | mAP@R | R@1 | my \\| own | diff R@1 |")
    assert lines[5].startswith("| less | merged | 0 1 2 | - | 75.0 ± 25.0 | - |")
    first, second = csv.DictReader(io.StringIO(shown.to_csv()))
    assert (first["map_r"], first["food_mine"], second["map_r"]) == ("0.5", "0.5", "")
    assert "mmp5" not in first and "own_index_mine" in first


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


def test_json_leads_from_a_row_to_its_evaluations_and_stages():
    """Every number can be traced: the ids stand beside it."""
    row, second = json.loads(
        table(table_row("a"), table_row("b", difference=0.1, interval=(0.0, 0.25))).to_json()
    )["rows"]
    assert (row["evaluations"], row["stages"], row["metrics"]["r1"]) == (
        ["e1"],
        ["s1", "s2"],
        {"mean": 0.75, "std": 0.25},
    )
    assert (row["interval"], second["difference"], second["interval"]) == (None, 0.1, [0.0, 0.25])


def test_the_table_of_a_run_is_what_was_evaluated(smoke_run):
    """Means are over the domains of the stored evaluation, the difference is to the first row,
    references have none.
    """
    table = smoke_run.table
    assert [row.name for row in table.rows][-2:] == ["off_the_shelf", "off_the_shelf_pca"]
    for row in table.rows:
        stored = json.loads(
            (smoke_run.results / "evaluations" / row.evaluations[0] / "metrics.json").read_text()
        )["merged"]
        assert row.r1.mean == pytest.approx(
            np.mean([domain["r1"] for domain in stored["per_domain"].values()])
        )
        assert row.per_domain["r1"]["plates"].mean == stored["per_domain"]["plates"]["r1"]
        assert (
            (row.difference is None)
            == (row.interval is None)
            == (row.reference or row.name == "baseline")
        )
    assert table.row("udon").difference == pytest.approx(
        table.row("udon").r1.mean - table.row("baseline").r1.mean
    )
    assert (
        "one seed: the interval covers the choice of queries, not of training seed" in table.footer
    )
    assert [
        table.row(name).steps for name in ("baseline", "separate_teachers", "off_the_shelf")
    ] == [8, 16, 0]
    assert table.row("separate_teachers").images == 16 * 8


def hits_by_query(results: Path, evaluation: str, index: str) -> dict[tuple[str, str], int]:
    """The stored hits, by (domain, id)."""
    with np.load(results / "evaluations" / evaluation / "per_query.npz") as stored:
        queries = zip(stored["domain"].tolist(), stored["id"].tolist(), strict=True)
        return dict(zip(queries, stored[f"{index}_hit"].astype(int).tolist(), strict=True))


def interval_by_hand(
    results: Path, ours: tuple[str, ...], theirs: tuple[str, ...], index: str
) -> Interval:
    """The interval of two rows' evaluations, paired one by one."""
    mine, other = (
        [hits_by_query(results, evaluation, index) for evaluation in side]
        for side in (ours, theirs)
    )
    queries = sorted(mine[0])
    return paired_interval(
        [
            np.array(
                [
                    [m[query] - o[query] for query in queries if query[0] == domain]
                    for m, o in zip(mine, other, strict=True)
                ]
            )
            for domain in sorted({domain for domain, _ in queries})
        ]
    )


def test_intervals_come_from_the_stored_queries(smoke_run):
    """Each row's interval is that of its stored hits minus the first row's; building the table
    again gives the same bytes.
    """
    first = smoke_run.table.row("baseline")
    widths = set()
    for row in smoke_run.table.rows[1:5]:
        assert row.interval == pytest.approx(
            interval_by_hand(smoke_run.results, row.evaluations, first.evaluations, "merged")
        )
        assert row.interval[0] <= row.difference <= row.interval[1]
        widths.add(row.interval[1] - row.interval[0])
    assert max(widths) > 0
    experiment = load_experiment(smoke_run.file, setting="smoke")
    again = stored_table(experiment, smoke_run.results)
    assert (again.to_json(), again.to_text()) == (
        smoke_run.table.to_json(),
        smoke_run.table.to_text(),
    )


def test_a_table_with_damaged_queries_is_shown(smoke_run, tmp_path: Path):
    """One row's per-query results are gone: its difference stays, the footer says what to do, and
    all others have their intervals.
    """
    shutil.copytree(smoke_run.results / "evaluations", tmp_path / "evaluations")
    shutil.copytree(
        smoke_run.results / "stages",
        tmp_path / "stages",
        ignore=shutil.ignore_patterns("*.safetensors"),
    )
    (evaluation,) = smoke_run.table.row("udon").evaluations
    (tmp_path / "evaluations" / evaluation / "per_query.npz").unlink()
    table = stored_table(load_experiment(smoke_run.file, setting="smoke"), tmp_path)
    assert [row.interval is None for row in table.rows] == [
        True,
        False,
        False,
        True,
        False,
        True,
        True,
    ]
    assert table.row("udon").difference == smoke_run.table.row("udon").difference
    assert table.footer[-1].startswith(
        "no interval for UDON, for want of per-query results: UDON, seed 0"
        f" (evaluations/{evaluation}: missing)"
    )


MIXED = """
[setting]
inherit = "smoke"
[setting.data]
domains = ["plates", "logos"]
[defaults]
sampler = "round_robin"
[rows.teachers]
scheme = "separate_teachers"
evaluate = ["teacher"]
[rows.start]
scheme = "off_the_shelf"
[rows.pca]
scheme = { use = "off_the_shelf", reduce = "pca" }
[rows.udon]
scheme = "udon"
evaluate = ["student", "teacher"]
[rows.reference]
scheme = { use = "off_the_shelf", reduce = "pca" }
reference = true
own_index = true
"""


@pytest.fixture(scope="module")
def mixed_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Table, Path]:
    """Rows of teachers, rows without a seed and a student, two seeds; with the results folder."""
    folder = tmp_path_factory.mktemp("mixed")
    file = write_experiment(folder, MIXED)
    return (
        udonx.run(file, seeds=[0, 1], results=folder / "results", device="cpu"),
        folder / "results",
    )


def test_rows_are_compared_with_the_first_of_their_index(mixed_run):
    """Teachers with the first teachers, merged rows with the first merged row, the first of each
    and references with nothing.
    """
    table, results = mixed_run
    lines = [(row.name, row.branch, row.index, row.difference is not None) for row in table.rows]
    assert lines == [
        ("teachers", "teacher", "own", False),
        ("start", "feature", "merged", False),
        ("pca", "student", "merged", True),
        ("udon", "student", "merged", True),
        ("udon", "teacher", "own", True),
        ("reference", "student", "own", False),
    ]
    teachers, start, pca, udon, udon_teachers, reference = table.rows
    assert (
        reference.evaluations == pca.evaluations and reference.r1 == pca.own_metrics["r1"] != pca.r1
    )
    assert udon_teachers.difference == pytest.approx(udon_teachers.r1.mean - teachers.r1.mean)
    assert udon_teachers.interval == pytest.approx(
        interval_by_hand(results, udon_teachers.evaluations, teachers.evaluations, "own")
    )
    assert udon.difference == pytest.approx(udon.r1.mean - start.r1.mean)


def test_a_first_row_without_a_seed_is_paired_with_every_seed(mixed_run):
    """A deterministic first row stands beside each seed of a trained one; two deterministic rows
    differ by their queries only.
    """
    table, results = mixed_run
    _, start, pca, udon, _, _ = table.rows
    assert (start.seeds, pca.seeds, udon.seeds) == ((None,), (None,), (0, 1))
    assert udon.interval == pytest.approx(
        interval_by_hand(results, udon.evaluations, start.evaluations * 2, "merged")
    )
    assert pca.interval == pytest.approx(
        interval_by_hand(results, pca.evaluations, start.evaluations, "merged")
    )
    assert not any(note.startswith("one seed") for note in table.footer)


def test_rows_of_the_own_domain_index_are_named(mixed_run):
    """The footer names them where there are others too; where there are none it says it of all."""
    table, _ = mixed_run
    searched = "each query is searched in its own domain only"
    assert (
        f"* own-domain index (teachers, udon: teacher, reference): {searched}; not comparable with"
        " the other rows" in table.footer
    )
    assert _about_own_index([row for row in table.rows if row.index == "own"]) == [
        f"own-domain index: in every row {searched}"
    ]
    assert _about_own_index([row for row in table.rows if row.index == "merged"]) == []


def test_the_table_is_written_in_three_forms(smoke_run):
    """table.md, .csv and .json lie in the folder of the file and setting, and say the same."""
    folder = smoke_run.results / "tables" / "table3_ablation" / "smoke"
    assert sorted(path.name for path in folder.iterdir()) == ["table.csv", "table.json", "table.md"]
    assert (folder / "table.md").read_text() == smoke_run.table.to_markdown()
    assert len(list(csv.reader(io.StringIO((folder / "table.csv").read_text())))) == 8


def test_rows_that_are_missing_are_said(smoke_run, tmp_path: Path):
    """What has not been run stands below the table."""
    table = stored_table(load_experiment(smoke_run.file, setting="smoke"), tmp_path / "empty")
    assert table.rows == ()
    (line,) = table.missing
    assert line.startswith("not run yet: classification baseline; ") and "; UDON; " in line
    assert table.footer == ()


def test_what_failed_is_said_with_its_reason(smoke_run):
    """A row that this call could not make stands below the table, with the sentence
    that says why.
    """
    plan = load_plan(load_experiment(smoke_run.file, setting="smoke"))
    table = build_table(
        plan, Results(smoke_run.results), failed={"UDON, seed 1": "loss 'mine' is not finite"}
    )
    assert table.missing == ("failed: UDON, seed 1: loss 'mine' is not finite",)
    assert "\nfailed: UDON, seed 1: loss 'mine' is not finite" in table.to_text()


def test_means_over_different_seeds_never_stand_side_by_side_unmarked(tmp_path):
    """The difference to the first row is over the seeds that both have; a row that lacks seeds
    bears a mark, in every form, and says so.
    """
    udonx.run(
        TABLE3,
        setting="smoke",
        rows=["baseline"],
        seeds=[0, 1],
        results=tmp_path,
        device="cpu",
    )
    shown = udonx.run(
        TABLE3,
        setting="smoke",
        rows=["udon_dynamic"],
        seeds=[1],
        results=tmp_path,
        device="cpu",
    )
    assert [row.seeds for row in shown.rows] == [(1,), (1,)] and OTHER_SEEDS not in shown.to_text()
    table = stored_table(load_experiment(TABLE3, setting="smoke"), tmp_path)
    baseline, udon = table.row("baseline"), table.row("udon_dynamic")
    assert (baseline.seeds, udon.seeds) == ((0, 1), (1,))
    assert udon.difference == pytest.approx(udon.r1_per_seed[0] - baseline.r1_per_seed[1])
    assert udon.interval == pytest.approx(
        interval_by_hand(tmp_path, udon.evaluations, baseline.evaluations[1:], "merged")
    )
    assert (
        "one seed: the interval covers the choice of queries, not of training seed" in table.footer
    )
    assert (
        "† UDON + dynamic sampler: only seed 1 so far, so its means are not"
        in table.to_text().replace("\n  ", " ")
    )
    assert (
        "\n† UDON + dynamic sampler " in table.to_text()
        and "\n| † UDON + dynamic sampler | merged | 1 |" in table.to_markdown()
    )
    assert (
        "\nclassification baseline " in table.to_text()
        and "| classification baseline | merged | 0 1 |" in table.to_markdown()
    )
    stored = read_table(tmp_path / "tables" / "table3_ablation" / "smoke")
    assert [row.seeds for row in stored.rows] == [(0, 1), (1,)], "on disk stands every stored seed"


def test_the_chosen_step_and_its_validation_stand_in_every_form(smoke_run):
    """Of each row that was validated, from done.json; on screen in two columns where there is room,
    else in one sentence.
    """
    results = Results(smoke_run.results)
    for row in smoke_run.table.rows:
        (stage,) = (
            {stage for stage in row.stages if results.stage(stage).done.best_r1 is not None}
            if row.name == "udon"
            else {None}
        )
        if stage:
            done = results.stage(stage).done
            assert (row.best_steps, row.validation.mean) == ((done.best_step,), done.best_r1)
    start = smoke_run.table.row("off_the_shelf")
    assert start.validation is None and start.best == "-"
    line = next(
        line
        for line in csv.DictReader(io.StringIO(smoke_run.table.to_csv()))
        if line["row"] == "udon"
    )
    assert (float(line["validation_r1"]), line["best_steps"]) == (
        smoke_run.table.row("udon").validation.mean,
        smoke_run.table.row("udon").best,
    )
    assert "| validation R@1 | best step | steps |" in smoke_run.table.to_markdown()
    chosen = attrs.evolve(
        table_row("a", seeds=2), best_steps=(300, 500), validation=Cell.of([0.5, 0.6])
    )
    lines = table(chosen, table_row("b", seeds=1), domains=DOMAINS[:2]).to_text().splitlines()
    assert lines[1].split()[-4:] == ["val", "best", "steps", "min"] and lines[3].split()[-4:-2] == [
        "55.0",
        "300-500",
    ]
    assert (
        lines[4].split()[-4:-2] == ["-", "-"]
        and "val: R@1 of the validation splits, which chose the step `best`" in lines
    )
    crowded = table(attrs.evolve(chosen, label="a label that needs its room")).to_text()
    assert (
        "best steps" not in crowded
        and "step chosen on validation (its R@1 there): a label that needs its room 300-500 (55.0)"
        in crowded
    )
    assert max(map(len, crowded.splitlines())) <= 100


@pytest.mark.parametrize(
    "evil", ["red \x1b[31m", "two\nlines", "bell\x07", "turn \u202e around", "a | b"]
)
def test_no_text_of_a_table_steers_a_terminal_or_breaks_a_line(evil):
    """Titles, labels, domains and notes of any kind: as many lines and Markdown cells as with plain
    names, and nothing but letters.
    """

    def built(name: str) -> Table:
        row = attrs.evolve(
            table_row(name, seeds=1, label=name),
            per_domain={metric: {name: Cell.of([0.5])} for metric in ("r1", "mmp5")},
        )
        return attrs.evolve(
            table(row, domains=(name,)), title=name, setting=name, missing=(name,), footer=(name,)
        )

    harmless, odd = built("plain"), built(evil)
    for form in (Table.to_text, Table.to_markdown, Table.to_csv):
        assert len(form(odd).splitlines()) == len(form(harmless).splitlines())
        assert all(letter.isprintable() for line in form(odd).splitlines() for letter in line)
    cells = [
        line.replace(r"\|", "").count("|")
        for line in odd.to_markdown().splitlines()
        if line.startswith("|")
    ]
    assert len(set(cells)) == 1 and "50.0" in odd.to_text()


def test_a_table_is_printed_as_it_is_shown_and_named_in_few_words():
    """print(table) shows it; in a prompt it is one short line."""
    shown = table(table_row("a"), table_row("b"))
    assert (
        str(shown) == shown.to_text()
        and repr(shown) == "<Table 'Schemes' (demo): 2 rows, 8 domains; print() shows it>"
    )


def test_a_stored_table_is_the_table(tmp_path):
    """What is written is read back equal, deviations, intervals and where it comes from included; a
    second writing changes no file.
    """
    about = About(
        file="/a/b.toml",
        data="/photos",
        overrides=("a=1",),
        start_weights=("main x (0)",),
        versions=("torch 2",),
    )
    first = attrs.evolve(
        table(table_row("a"), table_row("b", difference=0.1, interval=(0.0, 0.25))), about=about
    )
    assert (
        write_table(first, tmp_path) is None
        and read_table(tmp_path) == read_table(tmp_path / "table.json") == first
    )
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert (
        write_table(first, tmp_path) is None
        and {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    )
    assert [
        line["data"] for line in csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text()))
    ] == ["/photos", "/photos"]
    assert "- changed with --set: a=1\n" in (tmp_path / "table.md").read_text()


def test_a_stored_table_of_an_earlier_revision_is_read(tmp_path):
    """It had no digest, said neither where it comes from nor which step was chosen, and R@1 and
    mMP@5 were all its metrics.
    """
    old = attrs.asdict(table(table_row("a")))
    del old["about"], old["metrics"]
    for row in old["rows"]:
        del row["best_steps"], row["validation"]
        by_metric = [row.pop(key) for key in ("metrics", "per_domain", "own_metrics")]
        for name in ("r1", "mmp5"):
            keys = (name, f"{name}_per_domain", f"own_{name}")
            row |= {key: values[name] for key, values in zip(keys, by_metric, strict=True)}
    (tmp_path / "table.json").write_text(json.dumps(old))
    assert read_table(tmp_path) == table(table_row("a"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("0.75", "0.76", 1),
        lambda text: text[:50],
        lambda text: '{"title": "a"}',
    ],
)
def test_a_damaged_table_is_named_with_what_writes_it_again(tmp_path, damage):
    """Not shown, and no obstacle to the next run."""
    write_table(table(table_row("a")), tmp_path)
    file = tmp_path / "table.json"
    file.write_text(damage(file.read_text()))
    with pytest.raises(
        DamagedFileError,
        match=r"table.json .*; `udonx run` with the same arguments writes it again",
    ):
        read_table(tmp_path)
    assert write_table(table(table_row("a")), tmp_path) is None and read_table(tmp_path) == table(
        table_row("a")
    )
