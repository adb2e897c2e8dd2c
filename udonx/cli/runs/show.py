"""`udonx runs show`."""

from __future__ import annotations

import json

from udonx.cli.arguments import AsJson, RunId
from udonx.running.options import DEFAULTS, ResultsFolder


def show(
    run: RunId, /, *, as_json: AsJson = False, results: ResultsFolder = DEFAULTS.results
) -> None:
    """Print everything about one run."""
    from udonx.records.listing import find_run, results_folder
    from udonx.records.removal import tables_with
    from udonx.records.runs import read_all
    from udonx.records.text import show_text

    folder = results_folder(results)
    found = find_run(read_all(folder), run)
    if as_json:
        config = found.sacred.config if found.sacred else {}
        print(json.dumps({**found.to_plain(), "config": config}, indent=1))
    else:
        print(show_text(found, tables_with(folder, found)))
