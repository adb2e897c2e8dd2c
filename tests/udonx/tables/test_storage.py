"""Tables on disk."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import attrs
import pytest

from tests.udonx.tables.small import table, table_row
from udonx.common.files import DamagedFileError
from udonx.tables.content import About
from udonx.tables.storage import read_table, write_table
from udonx.tables.table import Table


def test_the_table_is_written_in_three_forms(smoke_run):
    """table.md, .csv and .json lie in the folder of the file and setting, and say the same."""
    folder = smoke_run.results / "tables" / "table3_ablation" / "smoke"
    assert sorted(path.name for path in folder.iterdir()) == ["table.csv", "table.json", "table.md"]
    assert (folder / "table.md").read_text() == smoke_run.table.to_markdown()
    assert len(list(csv.reader(io.StringIO((folder / "table.csv").read_text())))) == 8


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
    """It had no digest, said neither where it comes from nor which step was chosen, R@1 and mMP@5
    were all its metrics, and only R@1 was compared.
    """
    old = attrs.asdict(only_r1_per_seed(EARLIER))
    del old["about"], old["metrics"]
    for row in old["rows"]:
        compare_r1_only(row)
        del row["best_steps"], row["validation"]
        by_metric = [row.pop(key) for key in ("metrics", "per_domain", "own_metrics")]
        for name in ("r1", "mmp5"):
            keys = (name, f"{name}_per_domain", f"own_{name}")
            row |= {key: values[name] for key, values in zip(keys, by_metric, strict=True)}
    (tmp_path / "table.json").write_text(json.dumps(old))
    assert read_table(tmp_path) == only_r1_per_seed(EARLIER)


def test_a_stored_table_that_compared_r1_only_is_read(tmp_path):
    """Its difference and interval are those of R@1; no other metric has one."""
    old = attrs.asdict(EARLIER)
    for row in old["rows"]:
        compare_r1_only(row)
    (tmp_path / "table.json").write_text(json.dumps(old))
    found = read_table(tmp_path)
    assert found == only_r1_per_seed(EARLIER)
    assert [(row.difference, row.interval) for row in found.rows] == [
        (None, None),
        (0.5, None),
        (0.1, (0.0, 0.25)),
    ]


EARLIER = table(
    table_row("a"),
    table_row("b", difference=0.5),
    table_row("c", difference=0.1, interval=(0.0, 0.25)),
)


def compare_r1_only(row: dict[str, Any]) -> None:
    """Give a row the keys that it had when only R@1 was compared."""
    row["r1_per_seed"] = row.pop("per_seed")["r1"]
    difference = row.pop("differences").get("r1")
    row["difference"] = difference and difference["point"]
    has_interval = difference and difference["low"] is not None
    row["interval"] = [difference["low"], difference["high"]] if has_interval else None


def only_r1_per_seed(table: Table) -> Table:
    """The table without the values per seed that earlier ones had not."""
    rows = [attrs.evolve(row, per_seed={"r1": row.r1_per_seed}) for row in table.rows]
    return attrs.evolve(table, rows=tuple(rows))


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
