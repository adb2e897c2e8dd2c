"""Arguments that several commands take."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

Files = Annotated[tuple[str, ...], Parameter(name="FILE", help="experiment files (TOML)")]

TableForm = Annotated[
    Literal["text", "markdown", "latex", "csv", "json"],
    Parameter("--format", help="how the table is printed (default: text)"),
]
