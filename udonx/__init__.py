"""udonx: a declarative experiment registry for universal image embeddings.

>>> import udonx
>>> [row.name for row in udonx.load_experiment("experiments/table3_ablation.toml").rows][:2]
['baseline', 'separate_teachers']

The same objects as the command line: `load_experiment`, `run`, `load_model`. Importing udonx
imports no torch.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

__version__ = "0.1.0"

# as a library udonx is silent, warnings too, unless the program configures logging
logging.getLogger(__name__).addHandler(logging.NullHandler())

_HOMES = {
    "load_experiment": ("udonx.config.experiment", "load_experiment"),
    "UdonxError": ("registry.errors", "UdonxError"),
    "ConfigError": ("udonx.config.problems", "ConfigError"),
    "RowsFailed": ("udonx.running.queue", "RowsFailed"),
    "Stopped": ("udonx.common.interrupts", "Stopped"),
    "run": ("udonx.running.queue", "run"),
    "log_to_stderr": ("udonx.common.console", "log_to_stderr"),
    "load_model": ("udonx.engine.loaded_model", "LoadedModel"),
}
__all__ = ["__version__", *_HOMES]


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'udonx' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)
