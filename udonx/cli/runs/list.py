"""`udonx runs` and `udonx runs list`."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from cyclopts import Parameter

from udonx.cli.arguments import AsJson
from udonx.running.options import DEFAULTS, ResultsFolder

Experiment = Annotated[
    str | None, Parameter(metavar="NAME", help="only of this experiment file, without .toml")
]
Setting = Annotated[str | None, Parameter(metavar="NAME", help="only of this setting")]
Row = Annotated[str | None, Parameter(metavar="NAME", help="only of this row")]
Seed = Annotated[int | None, Parameter(metavar="N", help="only of this training seed")]
State = Annotated[
    Literal["running", "done", "failed", "interrupted"] | None,
    Parameter(help="only in this state"),
]
Sort = Annotated[
    Literal["experiment", "row", "seed", "state", "r1", "minutes", "when"],
    Parameter(help="by what they are sorted (default: when)"),
]
Reverse = Annotated[bool, Parameter(help="the other way round, such as the highest r1 first")]


def list(
    *,
    experiment: Experiment = None,
    setting: Setting = None,
    row: Row = None,
    seed: Seed = None,
    state: State = None,
    sort: Sort = "when",
    reverse: Reverse = False,
    as_json: AsJson = False,
    results: ResultsFolder = DEFAULTS.results,
) -> None:
    """Print a line for each run, and why those that are not done are not."""
    from udonx.records.listing import runs
    from udonx.records.text import list_text

    found = runs(
        results,
        experiment=experiment,
        setting=setting,
        row=row,
        seed=seed,
        state=state,
        sort=sort,
        reverse=reverse,
    )
    print(json.dumps([run.to_plain() for run in found], indent=1) if as_json else list_text(found))
