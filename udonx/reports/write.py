"""The report of a results folder: a page for each stored table, and an index over all."""

from __future__ import annotations

from pathlib import Path

import attrs

from udonx.common.files import write_atomic
from udonx.common.progress import Report as Progress
from udonx.common.words import display_path, plural
from udonx.reports import gallery
from udonx.reports.pages import STATIC, Section, index_page, page_path, static_file, table_page
from udonx.reports.pairs import Pairs, compare_all
from udonx.reports.source import TableSource, read_sources
from udonx.store.results import Results


@attrs.frozen(kw_only=True)
class WrittenReport:
    """A report on disk.

    Attributes:
        index: the page to open.
        tables: how many tables it shows.
        size: bytes of all its files.
        problems: a sentence for each table that could not be read.
    """

    index: Path
    tables: int
    size: int
    problems: tuple[str, ...]

    def __str__(self) -> str:
        pages = f"{plural(self.tables, 'table')}, {self.size / 1e6:.1f} MB"
        return f"{pages}: open {display_path(self.index)}"


def write_report(results: Results, out: Path) -> WrittenReport:
    """Write the pages of all stored tables of a results folder.

    Args:
        results: the folder; it is only read, unless `out` lies in it.
        out: where the pages are written; what is there already is replaced file by file.
    """
    sources, problems = read_sources(results)
    pairs = []
    with Progress("report", len(sources), "tables") as progress:
        for source in sources:
            pairs.append(_write_table(source, out))
            progress.tick()
    for name in STATIC:
        write_atomic(out / name, static_file(name))
    write_atomic(out / "index.html", index_page(sources, pairs, problems))
    return WrittenReport(
        index=out / "index.html",
        tables=len(sources),
        size=sum(file.stat().st_size for file in out.rglob("*") if file.is_file()),
        problems=tuple(problems),
    )


def _write_table(source: TableSource, out: Path) -> Pairs:
    """Write the page of one table; returns its comparisons, which the index needs again."""
    page = out / page_path(source)
    pairs = compare_all(source)
    sections = [Section(key="gallery", title="Gallery", body=gallery.write(source, page.parent))]
    write_atomic(page, table_page(source, pairs, sections))
    return pairs
