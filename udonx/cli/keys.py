"""`udonx keys`: the keys of experiment files and settings, with types, defaults, units and one
sentence each.
"""

from __future__ import annotations

import argparse

from udonx.config.reference import describe_section, section, sections, to_markdown


def main(parsed: argparse.Namespace) -> int:
    """Print one table of keys, all of them, or the page docs/keys.md."""
    if parsed.markdown:
        print(to_markdown(), end="")
        return 0
    wanted = [section(parsed.name)] if parsed.name else sections().values()
    print("\n\n".join(describe_section(item) for item in wanted))
    return 0
