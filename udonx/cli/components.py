"""`udonx components`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from registry.registry import Component
from udonx.common.words import display_path
from udonx.config.lookup import components as find_components
from udonx.config.reference import describe_options, wrapped
from udonx.config.selection import Plugins

Kind = Annotated[
    str | None,
    Parameter(name="KIND", help="a kind, such as losses (default: all kinds)"),
]
Name = Annotated[str | None, Parameter(name="NAME", help="one component of that kind")]


def components(kind: Kind = None, name: Name = None, /, *, plugins: Plugins = ()) -> None:
    """Print the components of all kinds, of one kind, or one component."""
    heading = ""
    for component in find_components(kind, name, plugins=plugins):
        if not name and component.kind != heading:
            heading = component.kind
            print(heading)
        print(_describe(component, "" if name else "  "))


def _describe(component: Component, indent: str) -> str:
    lines = [
        *wrapped(f"{component.name}: {component.doc}", indent),
        f"{indent}    {display_path(component.file)}:{component.line}",
    ]
    return "\n".join([*lines, *describe_options(component.options, f"{indent}    ")])
