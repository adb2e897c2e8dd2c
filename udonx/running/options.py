"""How a run is made, beside what is run: nothing here changes a figure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import attrs
from cyclopts import Parameter

from udonx.common.options import as_tuple, convert_fields
from udonx.config.problems import ConfigError, Problem

ResultsFolder = Annotated[
    Path, Parameter(metavar="DIR", help="where everything is kept (default: results)")
]
DeviceName = Annotated[
    str | None,
    Parameter(metavar="cpu|cuda|cuda:N", help="default: the GPU where there is one"),
]
Fresh = Annotated[
    bool,
    Parameter(
        help="train the stages of this call again, and remove those of other tables that learned"
        " from them; a fresh call that was stopped goes on when it is given again"
    ),
]

_WORKERS = "a whole number from 1 on"
_MINUTES = "a number of minutes from 0 on, such as 5 or 0.5"


def _number(kind: Callable[[str], float], allowed: str) -> Callable[..., float]:
    """A converter of the command line for one number."""

    def convert(_: Any, tokens: Sequence[Any]) -> float:
        text = tokens[0].value
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f"got {text!r}, allowed is {allowed}") from None

    return convert


CheckpointMinutes = Annotated[
    float,
    Parameter(
        converter=_number(float, _MINUTES),
        metavar="N",
        help="what a stage that is killed loses at most (default: 5); Ctrl-C and SIGTERM write"
        " a checkpoint first",
    ),
]
Workers = Annotated[
    int | None,
    Parameter(
        converter=_number(int, _WORKERS),
        metavar="N",
        help="threads that load images (default: the cores, at most 8, 16 with a GPU)",
    ),
]


def _refuse(option: str, value: Any, allowed: str) -> ConfigError:
    return ConfigError([Problem(where=option, message=f"got {value!r}, allowed {allowed}")])


def _check_device(_: Any, field: Any, value: str | None) -> None:
    if value is not None and not re.fullmatch(r"cpu|cuda(:\d+)?", str(value)):
        raise _refuse("--device", value, "are cpu, cuda and cuda:N")


def _check_minutes(_: Any, field: Any, value: float) -> None:
    if not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise _refuse("--checkpoint-minutes", value, f"is {_MINUTES}")


def _check_workers(_: Any, field: Any, value: int | None) -> None:
    if value is not None and (not isinstance(value, int) or value < 1):
        raise _refuse("--workers", value, f"is {_WORKERS}")


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class RunOptions:
    """How a run is made; each field says what it is.

    Raises:
        ConfigError: a value is not allowed.
    """

    results: ResultsFolder = Path("results")
    device: DeviceName = attrs.field(default=None, validator=_check_device)
    fresh: Fresh = False
    fail_fast: Annotated[
        bool, Parameter(help="end at the first row that fails (default: the others go on)")
    ] = False
    checkpoint_minutes: CheckpointMinutes = attrs.field(default=5.0, validator=_check_minutes)
    workers: Workers = attrs.field(default=None, validator=_check_workers)
    writers: Annotated[
        tuple[str, ...],
        Parameter(
            "--writer",
            metavar="tensorboard|wandb",
            help="also write curves for this program (may be repeated)",
        ),
    ] = ()

    def __attrs_post_init__(self) -> None:
        convert_fields(self, results=Path, writers=as_tuple)


DEFAULTS = RunOptions()
"""How a run is made where nothing is said of it."""
