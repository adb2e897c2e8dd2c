"""A backbone of a setting: its component, and where its start weights come from."""

from __future__ import annotations

from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class BackboneConfig:
    """One role of a setting: the component with its options, and where its start
    weights come from.
    """

    role: str
    use: str
    options: dict[str, Any]
    version: int
    local: str | None
    hub: str | None
    random: bool
    prefer: str | None = None
    source: str | None = None
    files: dict[str, str] | None = None
