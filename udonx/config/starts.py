"""Rows that start from other rows: names resolved, circles found, skipped with what they need."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import attrs

from udonx.common.words import format_value, unknown
from udonx.config.document import Document
from udonx.config.layers import Layers
from udonx.config.problems import Problem
from udonx.config.rows import RowConfig


def with_sources(
    rows: Iterable[RowConfig], document: Document, layers: Layers, problems: list[Problem]
) -> list[RowConfig]:
    """Rows with the names of those that they start from.

    A name is that of a row, or of a row with a grid for all rows that it makes. A row that `roles`
    made names the row of its own role where there is one.

    Args:
        rows: those of a file that could be resolved.
        document: the file.
        layers: those of all rows.
        problems: unknown names and circles are added to them.
    """
    resolved = {row.name: _with_names(row, document, layers, problems) for row in rows}
    circles = list(_circles(resolved))
    for circle in circles:
        first, path = resolved[circle[0]], " -> ".join([*circle, circle[0]])
        message = f"the rows {path} start or learn from each other in a circle; break it somewhere"
        key = "init.from" if circle[1 % len(circle)] in first.sources else "teachers"
        problems.append(_problem(first, layers, message, key))
    return [
        row if circles else attrs.evolve(row, skipped=_skipped(row, resolved))
        for row in resolved.values()
    ]


def _with_names(
    row: RowConfig, document: Document, layers: Layers, problems: list[Problem]
) -> RowConfig:
    """A row with the names of those that it starts from, or that teach it, itself."""
    row = _with_teachers(row, document, layers, problems)
    init = row.spec.recipe and row.spec.recipe.init
    if not init:
        return row
    sources: list[str] = []
    for text in init.rows:
        found = _named(text, row, document)
        sources += found
        if not found:
            problems.append(_problem(row, layers, _unknown(text, document)))
    shown = {**row.data["init"], "from": sources}
    return attrs.evolve(row, sources=tuple(sources), data={**row.data, "init": shown})


def _with_teachers(
    row: RowConfig, document: Document, layers: Layers, problems: list[Problem]
) -> RowConfig:
    """A row with the names of the rows that teach it."""
    taught_by: dict[str, str] = {}
    for teacher in row.teachers:
        if teacher.row is None:
            continue
        key, found = f"teachers.{teacher.name}.row", _named(teacher.row, row, document)
        if not found:
            problems.append(_problem(row, layers, _unknown(teacher.row, document), key))
        elif len(found) > 1:
            message = (
                f"got {format_value(teacher.row)}, which stands for {len(found)} rows of a grid;"
                f" name one of them: {', '.join(found)}"
            )
            problems.append(_problem(row, layers, message, key))
        else:
            taught_by[teacher.name] = found[0]
    if not taught_by:
        return row
    shown = {
        name: {**table, "row": taught_by[name]} if name in taught_by else table
        for name, table in row.data["teachers"].items()
    }
    return attrs.evolve(row, taught_by=taught_by, data={**row.data, "teachers": shown})


def needed_by(rows: Iterable[RowConfig], selected: Collection[str]) -> list[RowConfig]:
    """The selected rows, all where none is, and the rows that these start from; in their order."""
    by_name = {row.name: row for row in rows}
    if not selected:
        return list(by_name.values())
    needed: set[str] = set()
    pending = [name for name in selected if name in by_name]
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending += [source for source in by_name[name].earlier if source in by_name]
    return [row for row in by_name.values() if row.name in needed]


def _named(text: str, row: RowConfig, document: Document) -> list[str]:
    """The rows that a name in `from` of a row stands for; none where it is unknown."""
    named = document.named()
    role = document.roles.get(row.name)
    return named.get(f"{role}_{text}") or named.get(text) or []


def _unknown(text: str, document: Document) -> str:
    """The sentence for a name of no row."""
    got = f"got {format_value(text)}"
    if text in document.left_out:
        return f"{got}, which {document.left_out[text]} leaves out (rows.{text} = false); keep it"
    return f"{got}, which is an {unknown(text, document.named(), 'row')}"


def _problem(row: RowConfig, layers: Layers, message: str, key: str = "init.from") -> Problem:
    """A problem of the names, where they were written last."""
    written = [
        *layers.defaults,
        *layers.rows[row.name],
        *layers.overrides,
        *layers.row_overrides.get(row.name, ()),
    ]
    table = key.partition(".")[0]
    place = [layer.where for layer in written if table in layer.data][-1]
    return Problem(where=place, rows=(row.name,), key=key, message=message)


def _circles(rows: Mapping[str, RowConfig]) -> Iterator[list[str]]:
    """Rows that start from each other, each circle once."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> Iterator[list[str]]:
        if name in path:
            yield path[path.index(name) :]
        elif name not in done and name in rows:
            for source in rows[name].earlier:
                yield from visit(source, [*path, name])
            done.add(name)

    for name in rows:
        yield from visit(name, [])


def _skipped(row: RowConfig, rows: Mapping[str, RowConfig]) -> str | None:
    """Why the setting cannot have a row: for itself, or for one that it starts from."""
    missing = next((one for one in needed_by(rows.values(), [row.name]) if one.skipped), None)
    if row.skipped or missing is None:
        return row.skipped
    return f"starts or learns from the row '{missing.name}', which is {missing.skipped}"
