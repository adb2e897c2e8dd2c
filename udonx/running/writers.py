"""Curves for other programs: TensorBoard and Weights & Biases, one run for each row and seed.

A writer that fails is reported once and left out; the training goes on.
"""

from __future__ import annotations

import logging
import netrc
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import attrs

from udonx.inputs.sources import writer_problem
from udonx.planning.identity import digest

logger = logging.getLogger(__name__)

Status = Literal["completed", "failed", "interrupted"]


@attrs.frozen(kw_only=True)
class WrittenRun:
    """A row and its seed, as writers are told of it.

    Attributes:
        results: the results folder.
        table: the table's name and the variant of its question.
        name: the row and its seed.
        stages: the ids of its stages; equal ones are the same run, which goes on.
        config: what the row resolves to, and what it stands on.
    """

    results: Path
    table: str
    name: str
    stages: tuple[str, ...]
    config: dict[str, Any]

    @property
    def id(self) -> str:
        """Equal for a run that was stopped and the one that continues it."""
        return digest([self.table, self.name, list(self.stages)])


class RunWriter(Protocol):
    """Writes the curves of one row and seed."""

    def start(self, run: WrittenRun) -> None:
        """The row begins, or goes on after it was stopped."""
        ...

    def scalars(self, part: str, step: int, values: Mapping[str, float]) -> None:
        """Write figures, so that a process that is killed afterwards has kept them.

        Args:
            part: the stage that they are of, such as `student`; `test` for the evaluations.
            step: steps that are done. It goes back where a killed process had come further.
            values: finite numbers, by names such as `loss` and `losses/kl_logit`.
        """
        ...

    def end(self, status: Status) -> None:
        """The row has ended."""
        ...


class TensorBoardWriter:
    """Writes event files: a folder of `results/tensorboard` for each table, row and stage."""

    def __init__(self) -> None:
        self._writers: dict[str, Any] = {}
        self._folder = Path()

    def start(self, run: WrittenRun) -> None:
        """The row begins, or goes on after it was stopped."""
        from torch.utils import tensorboard  # raises where the package is missing

        self._make = tensorboard.SummaryWriter
        self._folder = run.results / "tensorboard" / run.table / _file_name(run.name)

    def scalars(self, part: str, step: int, values: Mapping[str, float]) -> None:
        """Write figures; those of later steps, of a process that was killed, are hidden."""
        if part not in self._writers:
            folder = self._folder / _file_name(part)
            self._writers[part] = self._make(str(folder), purge_step=step)
        for name, value in values.items():
            self._writers[part].add_scalar(name, value, step)
        self._writers[part].flush()

    def end(self, status: Status) -> None:
        """The row has ended."""
        for writer in self._writers.values():
            writer.close()


class WandbWriter:
    """Writes a run of Weights & Biases; its files lie in `results/wandb`.

    `WANDB_MODE=offline`, `WANDB_PROJECT` and its other variables count; the project is `udonx`
    unless they name one.
    """

    def __init__(self) -> None:
        self._run: Any = None
        self._parts: set[str] = set()

    def start(self, run: WrittenRun) -> None:
        """The row begins, or goes on after it was stopped."""
        import wandb

        run.results.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "udonx"),
            id=run.id,
            name=run.name,
            group=run.table,
            config=run.config,
            dir=str(run.results),
            resume="allow",
            reinit="create_new",
            # the terminal is udonx's
            settings=wandb.Settings(silent=True, console="off", disable_git=True),
        )

    def scalars(self, part: str, step: int, values: Mapping[str, float]) -> None:
        """Write figures over the steps of their own stage."""
        if part not in self._parts:
            self._parts.add(part)
            self._run.define_metric(f"{part}/step", hidden=True)
            self._run.define_metric(f"{part}/*", step_metric=f"{part}/step")
        named = {f"{part}/{name}": value for name, value in values.items()}
        self._run.log({**named, f"{part}/step": step})

    def end(self, status: Status) -> None:
        """The row has ended."""
        self._run.finish(exit_code=0 if status == "completed" else 1)


WRITERS: dict[str, Callable[[], RunWriter]] = {
    "tensorboard": TensorBoardWriter,
    "wandb": WandbWriter,
}
"""The writers by the names that `[results] writers` and `--writer` take."""


class RunWriters:
    """All writers of a row; one that fails is reported once and left out. A context manager.

    Args:
        names: of WRITERS.
        run: what they write.
    """

    def __init__(self, names: Sequence[str], run: WrittenRun) -> None:
        self._run = run
        self._writers = {name: WRITERS[name]() for name in names}

    def __enter__(self) -> RunWriters:
        self._each(lambda writer: writer.start(self._run))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        stopped = isinstance(error, KeyboardInterrupt)
        status: Status = "interrupted" if stopped else "failed" if error else "completed"
        self._each(lambda writer: writer.end(status))

    def scalars(self, part: str, step: int, values: Mapping[str, float]) -> None:
        """Write figures; see `RunWriter.scalars`."""
        self._each(lambda writer: writer.scalars(part, step, values))

    def _each(self, do: Callable[[RunWriter], None]) -> None:
        for name, writer in list(self._writers.items()):
            try:
                do(writer)
            # whatever a package of others raises must not cost a training
            except Exception as error:
                del self._writers[name]
                why = " ".join(f"{type(error).__name__}: {error}".split())
                logger.warning(
                    f"{self._run.name}: the writer {name} failed ({why}); the run goes on without"
                    " it"
                )


def _file_name(text: str) -> str:
    """A text as the name of a folder.

    >>> _file_name("udon, seed 0"), _file_name("../a/b")
    ('udon_seed_0', '.._a_b')
    """
    return re.sub(r"[^\w.=+-]+", "_", text)


def check_writers(names: Sequence[str]) -> list[str]:
    """What is wrong with writers, one sentence each; nothing is connected to."""
    problems = []
    for name in names:
        if message := writer_problem(name):
            problems.append(message)
        elif name == "wandb" and not _wandb_is_ready():
            problems.append(
                '"wandb" is not logged in here, and would ask in the middle of the run; call `wandb'
                " login` first, or set WANDB_MODE=offline"
            )
    return problems


def _wandb_is_ready() -> bool:
    """Whether W&B needs no login, or has one."""
    import wandb

    settings = wandb.setup().settings
    if (os.environ.get("WANDB_MODE") or settings.mode) in ("offline", "dryrun", "disabled"):
        return True
    if "WANDB_API_KEY" in os.environ or settings.api_key:
        return True
    try:
        known = netrc.netrc(os.environ.get("NETRC", os.path.expanduser("~/.netrc")))
    except (OSError, netrc.NetrcParseError):
        return False
    return known.authenticators(urlsplit(settings.base_url).hostname or "") is not None
