"""Arguments that several commands take."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

Files = Annotated[tuple[str, ...], Parameter(name="FILE", help="experiment files (TOML)")]
