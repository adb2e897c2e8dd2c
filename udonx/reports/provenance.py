"""Where a table's figures come from: resolved rows, runs and their machines, manifests of data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from udonx.common.files import DamagedFileError
from udonx.common.words import format_value
from udonx.config.show import toml_value
from udonx.records.diff import flatten
from udonx.records.runs import RunInfo
from udonx.reports.pages import Section, render
from udonx.reports.source import TableSource
from udonx.tables.content import TableRow


@attrs.frozen
class DifferingKey:
    """A key of which the rows of a table have several values.

    Attributes:
        key: its dotted name.
        values: of each row, on one short line; empty where a row has no such key.
    """

    key: str
    values: tuple[str, ...]


@attrs.frozen(kw_only=True)
class RunLine:
    """A run as a page shows it: texts, empty where nothing is known.

    Attributes:
        row: its label.
        seed: of training.
        state: what became of it.
        why: why it did not end.
        when: it was last started.
        minutes: that its stages took.
        machine: processor or GPU, host and device.
        software: versions of Python and packages.
        commit: of the code, with a + where files had been changed.
        command: the command that made it.
    """

    row: str
    seed: str
    state: str
    why: str
    when: str
    minutes: float | None
    machine: str
    software: str
    commit: str
    command: str


@attrs.frozen
class Manifest:
    """What a domain's images are known by.

    Attributes:
        domain: its name.
        training: digests of its training images; several where rows were trained on several.
        test: the same of its test images.
    """

    domain: str
    training: tuple[str, ...]
    test: tuple[str, ...]


def provenance_sections(source: TableSource) -> Iterator[Section]:
    """The rows as they were resolved, then runs, machines, versions and manifests."""
    rows, unknown = resolved_rows(source)
    if rows:
        yield Section(
            key="rows",
            title="Rows and their differences",
            body=render(
                "rows.html.j2",
                rows=[(row, toml_lines(keys)) for row, keys in rows],
                differing=differing_keys([keys for _, keys in rows]),
                unknown=unknown,
            ),
        )
    yield Section(
        key="runs",
        title="Runs, machines and data",
        body=render("runs.html.j2", runs=run_lines(source), manifests=manifests(source)),
    )


def resolved_rows(
    source: TableSource,
) -> tuple[list[tuple[TableRow, dict[str, Any]]], list[str]]:
    """Each row with its keys as the run record has them, and the labels of rows without a record.

    A row that a table shows on two lines, for two branches, comes once.
    """
    recorded = {
        run.row: run.sacred.config.get("resolved") for run in source.runs if run.sacred is not None
    }
    rows, unknown = [], []
    for row in {row.name: row for row in reversed(source.table.rows)}.values():
        resolved = recorded.get(row.name)
        if isinstance(resolved, dict):
            rows.append((row, flatten(resolved)))
        else:
            unknown.append(row.label)
    return rows[::-1], unknown[::-1]


def differing_keys(rows: Sequence[Mapping[str, Any]]) -> list[DifferingKey]:
    """The keys in which rows differ, in the order in which rows name them.

    A row without a whole table, such as one that trains nothing and so has no `optimiser`, does not
    differ in the keys of that table. Labels are no difference.
    """
    tables = [{key.partition(".")[0] for key in row} for row in rows]
    found = []
    for key in dict.fromkeys(key for row in rows for key in row):
        values = tuple(_value(row, key) for row in rows)
        has_table = [key.partition(".")[0] in names for names in tables]
        compared = {value for value, has in zip(values, has_table, strict=True) if has}
        if len(compared) > 1 and key != "label":
            found.append(DifferingKey(key, values))
    return found


def toml_lines(keys: Mapping[str, Any]) -> list[str]:
    """A resolved row as lines of TOML with dotted keys."""
    return [f"{key} = {toml_value(value)}" for key, value in keys.items()]


def _value(row: Mapping[str, Any], key: str) -> str:
    return format_value(row[key]) if key in row else ""


def run_lines(source: TableSource) -> list[RunLine]:
    """The runs of a table, in the order of its rows, then of seeds."""
    labels = {row.name: row.label for row in source.table.rows}
    order = list(labels)
    runs = [run for run in source.runs if run.row in labels]
    runs.sort(key=lambda run: (order.index(run.row), run.seed or 0))
    return [_run_line(run, labels[run.row]) for run in runs]


def _run_line(run: RunInfo, label: str) -> RunLine:
    config, host = (run.sacred.config, run.sacred.host) if run.sacred else ({}, {})
    git = config.get("git") or {}
    commit = str(git.get("commit") or "")[:10]
    versions = {"Python": host.get("python_version"), **(config.get("versions") or {})}
    machine = (host.get("hostname"), host.get("cpu"), config.get("device"))
    return RunLine(
        row=label,
        seed="" if run.seed is None else str(run.seed),
        state=run.state,
        why=run.why,
        when=run.when.replace("T", " "),
        minutes=run.minutes,
        machine=", ".join(str(part) for part in machine if part),
        software=", ".join(f"{name} {version}" for name, version in versions.items() if version),
        commit=f"{commit}+" if commit and git.get("changed") else commit,
        command=run.command,
    )


def manifests(source: TableSource) -> list[Manifest]:
    """The digests of each domain's images, from stages and evaluations that are there."""
    training: dict[str, dict[str, None]] = {}
    test: dict[str, dict[str, None]] = {}
    for row in source.table.rows:
        for stage in row.stages:
            _collect(training, _stage_data(source, stage))
        for evaluation in row.evaluations:
            _collect(test, _test_data(source, evaluation))
    domains = dict.fromkeys((*source.table.domains, *training, *test))
    return [
        Manifest(domain, tuple(training.get(domain, ())), tuple(test.get(domain, ())))
        for domain in domains
        if domain in training or domain in test
    ]


def _collect(found: dict[str, dict[str, None]], digests: Mapping[str, str]) -> None:
    for domain, digest in digests.items():
        found.setdefault(domain, {})[digest] = None


def _stage_data(source: TableSource, stage: str) -> Mapping[str, str]:
    try:
        return source.results.stage(stage).read_model().data
    except (DamagedFileError, OSError):
        return {}  # the table's notes name a stage that is gone


def _test_data(source: TableSource, evaluation: str) -> Mapping[str, str]:
    try:
        stored = source.results.read_evaluation(evaluation)
    except DamagedFileError:
        return {}  # likewise
    return stored.data if stored else {}
