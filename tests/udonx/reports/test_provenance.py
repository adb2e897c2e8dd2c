"""Where figures come from: resolved rows, runs and machines, manifests."""

from __future__ import annotations

import json

import udonx
from tests.udonx.reports.small import write_results
from udonx.reports.provenance import (
    DifferingKey,
    Manifest,
    differing_keys,
    manifests,
    resolved_rows,
    run_lines,
)
from udonx.reports.source import read_sources
from udonx.store.results import Results, Run
from udonx.store.stage import StageModel


def write_run(results: Results, number: int, row: str, seed: int, resolved: dict) -> None:
    """A completed Sacred run and its line in runs.jsonl."""
    folder = results.root / "sacred" / str(number)
    folder.mkdir(parents=True)
    config = {
        "resolved": resolved,
        "device": "cpu",
        "versions": {"torch": "2.9"},
        "git": {"commit": "0123456789abcdef", "changed": True},
        "command": "python -m udonx.cli run schemes.toml",
    }
    host = {"hostname": "node7", "cpu": "Xeon", "python_version": "3.11.7"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "run.json").write_text(json.dumps({"status": "COMPLETED", "host": host}))
    results.append_run(
        Run(
            file="schemes",
            setting="demo",
            row=row,
            seed=seed,
            stages=(f"{row}-stage-{seed}",),
            sacred_id=str(number),
            resumes=None,
        )
    )


def source_of(results: Results):
    """The only stored table."""
    ((source,), _) = read_sources(results)
    return source


def test_rows_show_the_keys_in_which_they_differ(tmp_path):
    """Resolved rows come from the run record; rows without one are named."""
    results = write_results(tmp_path)
    same = {"budget": {"steps": 400}}
    write_run(results, 1, "baseline", 0, {**same, "scheme": {"use": "classification"}})
    write_run(results, 2, "udon", 0, {**same, "scheme": {"use": "udon", "mix": 0.5}, "label": "U"})
    rows, unknown = resolved_rows(source_of(results))
    assert [row.name for row, _ in rows] == ["baseline", "udon"]
    assert unknown == ["twin", "off the shelf"]
    assert differing_keys([keys for _, keys in rows]) == [
        DifferingKey("scheme.use", ('"classification"', '"udon"')),
        DifferingKey("scheme.mix", ("", "0.5")),
    ]


def test_a_row_that_trains_nothing_does_not_differ_in_how_it_is_trained():
    """Only rows with a table of keys are compared in it."""
    trained = {"optimiser.lr": 0.1, "scheme.use": "udon"}
    slower = {"optimiser.lr": 0.01, "scheme.use": "udon"}
    fixed = {"scheme.use": "off_the_shelf"}
    assert [each.key for each in differing_keys([trained, fixed])] == ["scheme.use"]
    (rate, _) = differing_keys([trained, slower, fixed])
    assert rate == DifferingKey("optimiser.lr", ("0.1", "0.01", ""))


def test_runs_come_in_the_order_of_rows_and_seeds(tmp_path):
    """With state, machine, versions and commit; runs of another table are not among them."""
    results = write_results(tmp_path)
    write_run(results, 1, "udon", 1, {})
    write_run(results, 2, "udon", 0, {})
    write_run(results, 3, "baseline", 0, {})
    write_run(results, 4, "elsewhere", 0, {})
    lines = run_lines(source_of(results))
    assert [(line.row, line.seed) for line in lines] == [
        ("baseline", "0"),
        ("UDON, <b>our</b> way", "0"),
        ("UDON, <b>our</b> way", "1"),
    ]
    line = lines[0]
    assert line.machine == "node7, Xeon, cpu" and line.software == "Python 3.11.7, torch 2.9"
    assert line.commit == "0123456789+" and line.command == "udonx run schemes.toml"
    assert line.state == "interrupted" and "is not there" in line.why  # its stage is gone


def test_manifests_name_what_rows_were_trained_on(tmp_path):
    """Rows that were trained on other images give several digests; stages that are gone none."""
    results = write_results(tmp_path, seeds=(0,))
    for row, digest in (("baseline", "aa"), ("udon", "bb"), ("twin", "aa")):
        model = StageModel(
            id=row, data={"birds": digest}, plugins=[], spec={}, classes={}, class_ids={}
        )
        results.stage(f"{row}-stage-0").write_spec({}, model)
    assert manifests(source_of(results)) == [Manifest("birds", ("aa", "bb"), ())]


def test_the_page_has_rows_and_runs(tmp_path):
    """Both sections stand on the page, and say where there is no record."""
    results = write_results(tmp_path)
    page = tmp_path / "out" / "tables" / "schemes" / "demo" / "index.html"
    udonx.report(tmp_path, tmp_path / "out")
    assert "There is no run record of this table" in page.read_text()
    write_run(results, 1, "baseline", 0, {"scheme": {"use": "<i>"}})
    udonx.report(tmp_path, tmp_path / "out")
    text = page.read_text()
    assert "Rows and their differences" in text and "&lt;i&gt;" in text and "node7" in text
