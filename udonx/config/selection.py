"""What is run: which rows and seeds of experiment files, on which data, with what changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import attrs
from cyclopts import Parameter

from udonx.common.options import as_tuple, convert_fields

Plugins = Annotated[
    tuple[str, ...],
    Parameter("--plugin", metavar="P", help="a module or .py file to import first"),
]


def _seeds(_: Any, tokens: Sequence[Any]) -> tuple[int, ...]:
    return _seeds_of(tokens[0].value)


def _seeds_of(text: str) -> tuple[int, ...]:
    """`0,1,2` as numbers."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"got {text!r}, allowed are whole numbers such as 0,1,2") from None


def _as_seeds(seeds: int | str | Iterable[int]) -> tuple[int, ...]:
    """One seed, several, or the text that `--seeds` takes."""
    if isinstance(seeds, str):
        return _seeds_of(seeds)
    return (seeds,) if isinstance(seeds, int) else tuple(seeds)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Selection:
    """What of experiment files is run, and what is changed of them; each field says what it is."""

    setting: Annotated[
        str | None,
        Parameter(
            metavar="NAME",
            help="data, backbone and budget: demo, smoke, uned_mini, uned-in21k-b16, or your own",
        ),
    ] = None
    data: Annotated[
        Path | None,
        Parameter(metavar="DIR", help="the folder of the data, for settings that need one"),
    ] = None
    weights: Annotated[
        Path | None,
        Parameter(
            metavar="DIR", help="where start weights are looked up first (folders in timm's layout)"
        ),
    ] = None
    overrides: Annotated[
        tuple[str, ...],
        Parameter(
            "--set", metavar="KEY.PATH=VALUE", help="change any key that `udonx show` prints"
        ),
    ] = ()
    rows: Annotated[
        tuple[str, ...],
        Parameter(
            "--row", metavar="NAME", help="run only this row (may be repeated); the table shows all"
        ),
    ] = ()
    seeds: Annotated[
        tuple[int, ...] | None,
        Parameter(
            converter=_seeds, n_tokens=1, metavar="0,1,2", help="seeds, instead of the file's"
        ),
    ] = None
    plugins: Plugins = ()
    allow_plugins: Annotated[
        bool,
        Parameter(
            negative="--no-plugins", help="whether plug-ins may be imported, whoever lists them"
        ),
    ] = True

    def __attrs_post_init__(self) -> None:
        convert_fields(
            self,
            data=Path,
            weights=Path,
            overrides=as_tuple,
            rows=as_tuple,
            seeds=_as_seeds,
            plugins=as_tuple,
        )


WHOLE = Selection()
"""Experiment files as they are."""
