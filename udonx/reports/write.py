"""The report of a results folder: a page for each stored table, and an index over all."""

from __future__ import annotations

from pathlib import Path

import attrs

from udonx.common.files import write_atomic
from udonx.common.progress import Report as Progress
from udonx.common.words import display_path, plural
from udonx.reports.gallery import Galleries
from udonx.reports.images import ImageFinder
from udonx.reports.pages import (
    STATIC,
    Section,
    home_of,
    index_page,
    page_path,
    static_file,
    table_page,
)
from udonx.reports.pairs import Pairs, compare_all
from udonx.reports.provenance import provenance_sections
from udonx.reports.sections import figure_sections
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


def write_report(results: Results, out: Path, images: ImageFinder | None = None) -> WrittenReport:
    """Write the pages of all stored tables of a results folder.

    Args:
        results: the folder; it is only read, unless `out` lies in it.
        out: where the pages are written; what is there already is replaced file by file.
        images: opens the images of tables; by default where they lay when they were run.
    """
    galleries = Galleries(out, images or ImageFinder())
    sources, problems = read_sources(results)
    pairs = []
    with Progress("report", len(sources), "tables") as progress:
        for source in sources:
            pairs.append(_write_table(source, out, galleries))
            progress.tick()
    galleries.finish()
    for name in STATIC:
        write_atomic(out / name, static_file(name))
    write_atomic(out / "index.html", index_page(sources, pairs, problems))
    return WrittenReport(
        index=out / "index.html",
        tables=len(sources),
        size=sum(file.stat().st_size for file in out.rglob("*") if file.is_file()),
        problems=tuple(problems),
    )


def _write_table(source: TableSource, out: Path, galleries: Galleries) -> Pairs:
    """Write the page of one table; returns its comparisons, which the index needs again."""
    page = out / page_path(source)
    pairs = compare_all(source)
    sections = [
        *figure_sections(source, pairs, page.parent),
        Section(key="gallery", title="Gallery", body=galleries.write(source, home_of(source))),
        *provenance_sections(source),
    ]
    write_atomic(page, table_page(source, pairs, sections))
    return pairs
