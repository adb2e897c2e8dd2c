"""`udonx runs gc`."""

from __future__ import annotations

from udonx.cli.arguments import Yes
from udonx.running.options import DEFAULTS, ResultsFolder


def gc(*, yes: Yes = False, results: ResultsFolder = DEFAULTS.results) -> None:
    """List what no table needs, with sizes, and remove it where that is asked for."""
    from udonx.records.listing import results_folder
    from udonx.records.removal import plan_collection
    from udonx.records.text import removal_sum, removal_text

    removal = plan_collection(results_folder(results))
    if text := removal_text(removal):
        print(text)
    if removal.empty:
        print("nothing to remove: a table needs all the rest")
    elif yes:
        print(f"removed {removal_sum(removal.carry_out())}")
    else:
        print(f"no table needs these: {removal_sum(removal)}; `udonx runs gc --yes` removes them")
