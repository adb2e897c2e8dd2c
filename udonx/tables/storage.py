"""Tables on disk: table.md, table.csv and table.json in a folder, earlier states beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from udonx.common.files import DamagedFileError, atomic_folder, write_atomic
from udonx.common.json_files import read_json, write_json
from udonx.tables.table import Table

_FORMS = ("table.md", "table.csv", "table.json")
_EARLIER = "earlier"


def read_table(path: Path) -> Table:
    """A stored table, from its table.json or the folder that holds it.

    Raises:
        DamagedFileError: it is no such file; its sentence says what to do.
        OSError: it is not there, or cannot be read.
    """
    file = path / _FORMS[-1] if path.is_dir() else path
    return read_json(
        file,
        Table,
        "`udonx run` with the same arguments writes it again, and trains nothing for it",
        upgrade=_upgrade,
    )


def _upgrade(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a table.json of an earlier layout in today's."""
    return {**content, "rows": [_with_differences(_with_metrics(row)) for row in content["rows"]]}


def _with_metrics(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the time when R@1 and mMP@5 were all and had keys of their own."""
    if "metrics" in row:
        return row
    row, names = dict(row), ("r1", "mmp5")
    row["metrics"] = {name: row.pop(name) for name in names}
    row["own_metrics"] = {name: row.pop(f"own_{name}") for name in names}
    row["per_domain"] = {name: row.pop(f"{name}_per_domain") for name in names}
    return row


def _with_differences(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the time when only R@1 was compared."""
    if "differences" in row:
        return row
    row = dict(row)
    row["per_seed"] = {"r1": row.pop("r1_per_seed")}
    point, interval = row.pop("difference"), row.pop("interval")
    low, high = interval or (None, None)
    row["differences"] = {} if point is None else {"r1": {"point": point, "low": low, "high": high}}
    return row


def find_tables(path: Path) -> list[Path]:
    """The stored tables that a path names.

    The path is a JSON file, a table's folder, or a folder with tables below it, of which those of
    earlier states do not count.

    A folder of experiment files names none.
    """
    if path.is_file():
        return [path] if path.suffix == ".json" else []
    if not path.is_dir() or any(path.glob("*.toml")):
        return []
    if (path / _FORMS[-1]).is_file():
        return [path / _FORMS[-1]]
    below = path / "tables" if (path / "tables").is_dir() else path
    return sorted(
        file for file in below.rglob(_FORMS[-1]) if _EARLIER not in file.relative_to(below).parts
    )


def loses_figures(table: Table, folder: Path) -> bool:
    """Whether the table stored in `folder` has figures that `table` lacks.

    Others in their place count as lacking.
    """
    try:
        before = _figures_of(read_table(folder))
    except (DamagedFileError, FileNotFoundError):
        return False
    return not before.items() <= _figures_of(table).items()


def write_table(table: Table, folder: Path) -> Path | None:
    """Write table.md, table.csv and table.json, each only where it says something new.

    What stands there already and is no part of the new table (of an edited file, say) is kept in
    `folder`/earlier/1, 2, ...

    Returns:
        The folder of what was kept, None where nothing had to be.
    """
    kept = _keep(folder) if loses_figures(table, folder) else None
    for name, text in (("table.md", table.to_markdown()), ("table.csv", table.to_csv())):
        if not (folder / name).is_file() or (folder / name).read_bytes() != text.encode():
            write_atomic(folder / name, text)
    try:
        same = read_table(folder) == table
    except (DamagedFileError, FileNotFoundError):
        same = False
    if not same:
        write_json(folder / _FORMS[-1], attrs.asdict(table))
    return kept


def _figures_of(table: Table) -> dict[tuple[str, str, str, int | None], str]:
    """The evaluation behind every figure."""
    return {
        (row.name, row.branch, row.index, seed): evaluation
        for row in table.rows
        for seed, evaluation in zip(row.seeds, row.evaluations, strict=False)
    }


def _keep(folder: Path) -> Path:
    """Copy a table to the next free number below `earlier`.

    One that a killed process has kept already is not kept twice.
    """
    numbers = [int(path.name) for path in (folder / _EARLIER).glob("*") if path.name.isdigit()]
    last = folder / _EARLIER / str(max(numbers, default=0))
    content = {name: (folder / name).read_bytes() for name in _FORMS if (folder / name).is_file()}
    if all(
        (last / name).is_file() and (last / name).read_bytes() == data
        for name, data in content.items()
    ):
        return last
    with atomic_folder(folder / _EARLIER / str(int(last.name) + 1)) as kept:
        for name, data in content.items():
            (kept / name).write_bytes(data)
    return folder / _EARLIER / str(int(last.name) + 1)
