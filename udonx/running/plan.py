"""The stages of experiments: which are shared, which are trained, how long the rest takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from udonx.common.files import folder_problem
from udonx.common.options import evolve_each
from udonx.config.problems import ConfigError, Problem
from udonx.config.selection import WHOLE, Selection
from udonx.inputs.load import Files, load
from udonx.running.options import DEFAULTS, RunOptions

if TYPE_CHECKING:
    from udonx.forecast.listing import Listing


def plan(
    files: Files,
    selection: Selection = WHOLE,
    options: RunOptions = DEFAULTS,
    *,
    measure: bool = False,
    **changes: Any,
) -> Listing:
    """List the stages of experiments, with what is left to do and an estimate of its time.

    Args:
        files: experiment files or folders of them, or one.
        selection: what of them is planned.
        options: how they would be run; `fresh` counts everything as left to do.
        measure: time a few steps of whatever this machine has not measured yet.
        changes: fields of `selection` and `options`, by name.

    Returns:
        The listing; `str()` is what `udonx plan` prints.

    Raises:
        ConfigError: every problem of every file.
        DataError: the data cannot be read.

    Example:
        udonx.plan("table3_ablation", setting="smoke").todo.stages
    """
    selection, options = evolve_each(changes, selection, options)
    if message := folder_problem(options.results, written=False):
        raise ConfigError([Problem(where="--results", message=message)])
    experiments = load(files, selection)
    # torch takes seconds to import: what is wrong with the files is told before
    from udonx.engine.device import choose, describe
    from udonx.forecast.costs import Timings
    from udonx.forecast.listing import Listing
    from udonx.forecast.probe import measure as measure_costs
    from udonx.forecast.remaining import workload
    from udonx.planning.load import load_plan
    from udonx.store.results import Results

    device, results = choose(options.device), Results(options.results)
    todo = workload([load_plan(each) for each in experiments], results, fresh=options.fresh)
    if measure:
        measure_costs(todo, results, device)
    return Listing(todo, Timings(describe(device)))
