"""`udonx components`: what is registered, with options, types, defaults, what they are for, and
file:line.
"""

from __future__ import annotations

import argparse

from registry.registry import Component, RegistryError
from udonx.common.words import display_path
from udonx.config.descriptions import REGISTRIES, describe, registry_of
from udonx.config.plugins import load_plugins
from udonx.config.reference import describe_options, sections, wrapped


def main(parsed: argparse.Namespace) -> int:
    """Print the components of all kinds, of one kind, or one component."""
    load_plugins(parsed.plugins, None, where="--plugin")
    if parsed.kind and parsed.kind not in REGISTRIES and parsed.kind in sections():
        kinds = ", ".join(REGISTRIES)
        raise RegistryError(
            f"{parsed.kind!r} is no kind of component; there are {kinds}; for the table of keys:"
            f" udonx keys {parsed.kind}"
        )
    kinds = [registry_of(parsed.kind).kind] if parsed.kind else list(REGISTRIES)
    for kind in kinds:
        names = [parsed.name] if parsed.name else registry_of(kind).names()
        if not parsed.name:
            print(f"{kind}")
        for name in names:
            print(_lines(describe(kind, name), "" if parsed.name else "  "))
    return 0


def _lines(component: Component, indent: str) -> str:
    lines = [
        *wrapped(f"{component.name}: {component.doc}", indent),
        f"{indent}    {display_path(component.file)}:{component.line}",
    ]
    return "\n".join([*lines, *describe_options(component.options, f"{indent}    ")])
