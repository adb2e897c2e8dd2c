"""udonx: a declarative experiment registry for universal image embeddings.

>>> import udonx
>>> [row.name for row in udonx.load_experiment("experiments/table3_ablation.toml").rows][:2]
['baseline', 'separate_teachers']

One function for each command: `check`, `plan`, `run`, `table`, `show`, ...; `load_model` loads what
was trained. Importing udonx imports no torch.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

__version__ = "0.1.0"

# as a library udonx is silent, warnings too, unless the program configures logging
logging.getLogger(__name__).addHandler(logging.NullHandler())

_HOMES = {
    # one function for each command of the command line
    "check": "udonx.running.check:check",
    "components": "udonx.config.lookup:components",
    "doctor": "udonx.running.doctor:examine",
    "duplicates": "udonx.search.duplicates:duplicates",
    "embed": "udonx.search.embed:embed",
    "evaluate": "udonx.running.evaluate:evaluate",
    "export": "udonx.running.export:export_stage",
    "index": "udonx.search.build:index",
    "keys": "udonx.config.lookup:keys",
    "plan": "udonx.running.plan:plan",
    "report": "udonx.running.report:report",
    "run": "udonx.running.run:run",
    "runs": "udonx.records.listing:runs",
    "schema": "udonx.config.lookup:schema",
    "search_images": "udonx.search.queries:search_images",  # udonx.search is a package
    "serve": "udonx.serving.serve:serve",
    "show": "udonx.running.show:show",
    "split": "udonx.data.prepare.folders:split_folders",
    "sync_runs": "udonx.running.sync:sync_runs",
    "table": "udonx.running.table:table",
    "tune": "udonx.running.tune:tune",
    # what goes in and comes out
    "Index": "udonx.search.index:Index",
    "RunOptions": "udonx.running.options:RunOptions",
    "Selection": "udonx.config.selection:Selection",
    "export_vectors": "udonx.search.engines:export_vectors",
    "load_experiment": "udonx.config.experiment:load_experiment",
    "load_model": "udonx.engine.loaded_model:LoadedModel",
    "Vectors": "udonx.search.vectors:Vectors",
    "log_to_stderr": "udonx.common.console:log_to_stderr",
    # what may go wrong
    "ConfigError": "udonx.config.problems:ConfigError",
    "RowsFailed": "udonx.running.errors:RowsFailed",
    "RowsNotTuned": "udonx.running.errors:RowsNotTuned",
    "Stopped": "udonx.common.interrupts:Stopped",
    "UdonxError": "registry.errors:UdonxError",
}
__all__ = ["__version__", *_HOMES]


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'udonx' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
