"""One HTML page of queries and their neighbours, with the pictures in it."""

from __future__ import annotations

import base64
import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from udonx.common.files import write_atomic
from udonx.common.progress import Report
from udonx.common.words import display_path, printable
from udonx.data.errors import DataError
from udonx.data.images import decode

if TYPE_CHECKING:
    from udonx.search.queries import Found

MOST_QUERIES = 200
"""Queries on a page; a browser would be slow over more pictures, and the page names the rest."""
EDGE = 144
"""Pixels of the longer edge of a small picture."""


@attrs.frozen
class Picture:
    """A picture on the page.

    Attributes:
        path: its file, as people write it.
        link: its file, as a browser opens it.
        data: the small picture as a data URL; "" where it cannot be read.
        problem: why it cannot be read; "" where it can.
        score: similarity to the query; None of a query.
    """

    path: str
    link: str
    data: str
    problem: str
    score: float | None = None


def write_page(found: Found, file: Path) -> None:
    """Write the page; it needs no other file and no network.

    Args:
        found: queries and neighbours.
        file: where; it is written whole or not at all.
    """
    shown = min(len(found.queries), MOST_QUERIES)
    known: dict[Path, Picture] = {}
    results = []
    with Report("pictures", shown, "queries", closing_line=False) as report:
        for query, neighbours in zip(found.queries[:shown], found.neighbours, strict=False):
            pictures = [
                attrs.evolve(_picture(each.path, known), score=each.score) for each in neighbours
            ]
            results.append((_picture(query, known), pictures))
            report.tick()
    template = _environment().get_template("search.html.j2")
    page = template.render(
        results=results,
        total=len(found.queries),
        unreadable=[printable(why) for why in found.unreadable.values()],
        index=printable(found.index),
        size=len(found.neighbours.vectors),
        model=printable(str(found.model)),
    )
    write_atomic(file, page)


def _picture(path: Path, known: dict[Path, Picture]) -> Picture:
    """A picture, made once for each file."""
    if path not in known:
        try:
            data, problem = thumbnail(path), ""
        except DataError as error:
            data, problem = "", printable(str(error))
        link = path.absolute().as_uri()
        known[path] = Picture(printable(display_path(path)), link, data, problem)
    return known[path]


def thumbnail(path: Path) -> str:
    """A small JPEG of an image file as a data URL, turned upright.

    Raises:
        DataError: the image cannot be read.
    """
    image = Image.fromarray(decode(path, upright=True))
    image.thumbnail((EDGE, EDGE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("udonx.search"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
