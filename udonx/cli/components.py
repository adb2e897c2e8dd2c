"""`udonx components`: what is registered, with options, types, defaults, one-line doc and file:line."""

from __future__ import annotations

import argparse

from registry.catalog import Component
from udonx.cli.common import say
from udonx.components import REGISTRIES, describe, registry_of
from udonx.config.files import shown
from udonx.config.plugins import load_plugins
from udonx.config.problems import spell


def main(parsed: argparse.Namespace) -> int:
    """Print the components of all kinds, of one kind, or one component."""
    load_plugins(parsed.plugins, None, where="--plugin", say=say)
    kinds = [registry_of(parsed.kind).kind] if parsed.kind else list(REGISTRIES)
    for kind in kinds:
        names = [parsed.name] if parsed.name else registry_of(kind).names()
        if not parsed.name:
            print(f"{kind}")
        for name in names:
            print(_lines(describe(kind, name), "" if parsed.name else "  "))
    return 0


def _lines(component: Component, indent: str) -> str:
    lines = [f"{indent}{component.name}: {component.doc}", f"{indent}    {shown(component.file)}:{component.line}"]
    for option in component.options:
        default = "required" if option.required else "unset" if option.default is None else spell(option.default)
        lines.append(f"{indent}    {option.name} = {default}  ({option.spell()})")
    return "\n".join(lines)
