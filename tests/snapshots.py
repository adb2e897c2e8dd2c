"""The snapshot that tests compare with. `make snapshots` writes it anew.

Example:
    python -m tests.snapshots
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from udonx.config.descriptions import REGISTRIES

REGISTRY_CONTENTS = Path(__file__).parent / "registry" / "registry_contents.json"


def registry_contents() -> dict[str, Any]:
    """What ships: options with types and defaults, version and facts of every built-in."""
    found: dict[str, Any] = {}
    for kind, registry in REGISTRIES.items():
        for name in sorted(registry.builtin):
            component = registry.describe(name)
            options = {
                option.name: (
                    option.format_type()
                    + (" (required)" if option.required else f" = {json.dumps(option.default)}")
                )
                for option in component.options
            }
            found.setdefault(kind, {})[name] = {
                "options": options,
                "version": component.version,
                "facts": component.facts,
            }
    return found


if __name__ == "__main__":
    text = json.dumps(registry_contents(), indent=1, ensure_ascii=False)
    REGISTRY_CONTENTS.write_text(f"{text}\n")
