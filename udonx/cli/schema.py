"""`udonx schema`."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from cyclopts import Parameter

from udonx.config.lookup import schema as make_schema
from udonx.config.selection import Plugins

Kind = Annotated[
    Literal["experiment", "setting"],
    Parameter(name="KIND", help="whose keys (default: experiment)"),
]


def schema(of: Kind = "experiment", /, *, plugins: Plugins = ()) -> None:
    """Print the schema, with the components of plug-ins where they are given."""
    print(json.dumps(make_schema(of, plugins=plugins), indent=1))
