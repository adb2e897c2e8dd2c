"""`udonx runs diff`."""

from __future__ import annotations

import json

from udonx.cli.arguments import AsJson, RunId
from udonx.running.options import DEFAULTS, ResultsFolder


def diff(
    a: RunId,
    b: RunId,
    /,
    *,
    as_json: AsJson = False,
    results: ResultsFolder = DEFAULTS.results,
) -> None:
    """Print what differs between two runs."""
    from udonx.records.diff import diff_runs
    from udonx.records.listing import find_run, results_folder
    from udonx.records.runs import read_all
    from udonx.records.text import diff_text

    runs = read_all(results_folder(results))
    found = diff_runs(find_run(runs, a), find_run(runs, b))
    print(json.dumps(found.to_plain(), indent=1) if as_json else diff_text(found))
