"""Arguments that several commands take."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

Files = Annotated[tuple[str, ...], Parameter(name="FILE", help="experiment files (TOML)")]

TableForm = Annotated[
    Literal["text", "markdown", "latex", "csv", "json"],
    Parameter("--format", help="how the table is printed (default: text)"),
]

AsJson = Annotated[bool, Parameter("--json", help="print it as JSON")]
_ID = "its number in `udonx runs`, or the id of its last stage or how this begins"
RunId = Annotated[str, Parameter(name="ID", help=f"a run: {_ID}")]
RunIds = Annotated[tuple[str, ...], Parameter(name="ID", help=f"runs, each by {_ID}")]
Yes = Annotated[bool, Parameter(help="remove it without asking")]
