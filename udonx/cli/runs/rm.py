"""`udonx runs rm`."""

from __future__ import annotations

import sys

from udonx.cli.arguments import RunIds, Yes
from udonx.common.errors import REFUSED
from udonx.running.options import DEFAULTS, ResultsFolder


def rm(
    runs: RunIds, /, *, yes: Yes = False, results: ResultsFolder = DEFAULTS.results
) -> int | None:
    """Say what goes and what stays, ask, and remove it."""
    from udonx.records.listing import results_folder
    from udonx.records.removal import plan_removal
    from udonx.records.text import removal_sum, removal_text

    removal = plan_removal(results_folder(results), runs)
    print(removal_text(removal))
    if not yes and not sys.stdin.isatty():
        print("udonx runs rm: nobody can be asked here; add --yes to remove it", file=sys.stderr)
        return REFUSED
    if not yes and input(f"remove {removal_sum(removal)}? [y/N] ").strip().lower() != "y":
        print("nothing was removed")
        return None
    removed = removal.carry_out()
    for kept in removed.kept[len(removal.kept) :]:
        print(f"keep stage {kept.stage.id}: {kept.why}")
    print(f"removed {removal_sum(removed)}")
    return None
