"""The run record: each (row, seed) that has work to do is a Sacred run.

Sacred is imported only when something runs.
"""

from __future__ import annotations

import contextlib
import logging
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import attrs

from udonx.common.files import DamagedFileError
from udonx.inputs.sources import OBSERVERS, observer_problem
from udonx.running.events import without_nan
from udonx.running.mirror import (
    Database,
    StoredRun,
    import_sacred,
    open_database,
    without_password,
)

SACRED_SEED = 0
"""What Sacred's own key "seed" always holds: without one it would invent a number. The seed of a
training is `training_seed`.
"""

_LONGEST_OUTPUT = 1_000_000  # characters of captured output
_LONGEST_REASON = 120  # characters of what a database says when it fails
_MIRROR_SECONDS = 60.0  # between two copies while a run goes on

logger = logging.getLogger(__name__)


class GuardedObserver:
    """Passes every event to a Sacred observer.

    When one fails, that is logged once, and the training goes on.

    Args:
        observer: what is told.
        name: what it is called.
        cure: the end of the sentence: what makes up for it.
        reported: names of those whose failure was logged; a run that follows logs it no more.
        keeps_trying: whether it is told of later events after one that failed.
    """

    def __init__(
        self, observer: Any, name: str, cure: str, reported: set[str], *, keeps_trying: bool
    ) -> None:
        self._observer, self._name, self._cure = observer, name, cure
        self._keeps_trying, self._failed, self._reported = keeps_trying, False, reported
        self.priority = observer.priority

    def __getattr__(self, event: str) -> Any:
        target = getattr(self._observer, event)
        if not callable(target):
            return target

        def guarded(*args: Any, **kwargs: Any) -> Any:
            if self._failed and not self._keeps_trying:
                return None
            try:
                return target(*args, **kwargs)
            # whatever an observer's back end raises must not cost a training run
            except Exception as error:
                self._failed = True
                if self._name not in self._reported:
                    self._reported.add(self._name)
                    why = without_password(" ".join(str(error).split())[:_LONGEST_REASON])
                    logger.warning(
                        f"the observer {self._name} failed at {event}: {type(error).__name__}:"
                        f" {why}; the run goes on without it{self._cure}"
                    )
                return None

        return guarded


class Mirror:
    """A Sacred observer that copies the files of a run to a database, again and again.

    Args:
        url: of the database.
        files: the observer that writes the files; it is told of everything first.
    """

    priority = -1

    def __init__(self, url: str, files: Any) -> None:
        self._url, self._files = url, files
        self._database: Database | None = None
        self._lock, self._copied = threading.Lock(), 0.0

    def started_event(self, **_: Any) -> None:
        """Copy it as it begins."""
        self._copy()

    def heartbeat_event(self, **_: Any) -> None:
        """Copy it from time to time."""
        if time.monotonic() - self._copied > _MIRROR_SECONDS:
            # another thread may be writing a file just now; the next one copies it
            with contextlib.suppress(DamagedFileError):
                self._copy()

    def completed_event(self, **_: Any) -> None:
        """Copy it as it ended."""
        self._copy()

    interrupted_event = failed_event = completed_event

    def ignored_event(self, *_: Any, **__: Any) -> None:
        """What follows from the files is not told by itself."""

    artifact_event = resource_event = log_metrics = join = ignored_event

    def _copy(self) -> None:
        with self._lock:
            if self._database is None:
                self._database = open_database(self._url)
            self._database.write(StoredRun.read(Path(self._files.dir)))
            self._copied = time.monotonic()


class LoggedLines(logging.Handler):
    """The lines that udonx logs, as Sacred's captured output; what is too much is left out."""

    def __init__(self) -> None:
        super().__init__()
        self._text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Add a line."""
        if len(self._text) < _LONGEST_OUTPUT:
            self._text += f"{self.format(record)}\n"
            if len(self._text) >= _LONGEST_OUTPUT:
                self._text += "... (what follows is not kept)\n"

    def text(self, _: str = "") -> str:
        """All lines so far, whatever Sacred has captured."""
        return self._text


@contextlib.contextmanager
def _logged_lines() -> Iterator[LoggedLines]:
    lines = LoggedLines()
    udonx_logger = logging.getLogger("udonx")
    udonx_logger.addHandler(lines)
    try:
        yield lines
    finally:
        udonx_logger.removeHandler(lines)


@attrs.frozen
class Recorder:
    """Makes Sacred runs.

    Their files lie in `folder`; the databases of `urls` (mongodb://... or SQLAlchemy) have copies.
    """

    folder: Path
    urls: tuple[str, ...]
    _reported: set[str] = attrs.field(factory=set, init=False)

    def run(
        self,
        name: str,
        config: dict[str, Any],
        body: Callable[[Any], dict[str, Any]],
        started: Callable[[Any], None],
    ) -> dict[str, Any]:
        """Run `body(run)` as a Sacred run and return what it returns.

        An exception marks the run failed or interrupted, and is raised again.

        `started` is told the run's id before the body begins. Sacred seeds Python's, NumPy's and
        torch's generators, always alike: all that udonx draws follows from its own named streams.
        """
        sacred = import_sacred()
        # Sacred's capturing replaces stdout, and with it what a terminal shows
        sacred.SETTINGS.CAPTURE_MODE = "no"
        sacred.SETTINGS.DISCOVER_SOURCES = "none"
        experiment = sacred.Experiment(name, interactive=True, save_git_info=False)
        experiment.logger = _sacred_logger()
        experiment.observers = self._observers()
        experiment.add_config({**_sacred_keys(without_nan(config)), "seed": SACRED_SEED})

        def main(_run: Any) -> dict[str, Any]:
            started(_run._id)
            return cast(dict[str, Any], without_nan(body(_run)))

        experiment.main(main)
        with _logged_lines() as lines:
            experiment.captured_out_filter = lines.text
            return cast(dict[str, Any], experiment.run().result)

    def _observers(self) -> list[GuardedObserver]:
        from sacred.observers import FileStorageObserver

        files = FileStorageObserver(self.folder)
        observers = [
            GuardedObserver(files, str(self.folder), "", self._reported, keeps_trying=True)
        ]
        for url in self.urls:
            name = without_password(url)
            cure = f"; `udonx runs sync {name}` writes what is missing"
            mirror = Mirror(url, files)
            observers.append(
                GuardedObserver(mirror, name, cure, self._reported, keeps_trying=False)
            )
        return observers


def check_observers(urls: tuple[str, ...]) -> list[str]:
    """What is wrong with observers' URLs, one sentence each; nothing is connected to."""
    problems = []
    for url in urls:
        if message := observer_problem(url):
            problems.append(f"results.observers: {message}")
            continue
        try:
            open_database(url)
        except Exception as error:
            # a URL of a wrong form, or a driver that is missing: each package has its own errors
            problems.append(
                f'results.observers: got "{without_password(url)}", which cannot be used'
                f" ({type(error).__name__}: {error}); {OBSERVERS}"
            )
    return problems


def command_line() -> str:
    """The command that started this process, as a shell would take it."""
    return shlex.join(sys.orig_argv)


def git_state(folder: Path) -> dict[str, Any] | None:
    """The git commit of a folder and whether files that git follows were changed since.

    It is None where there is no repository, or no git.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def _sacred_logger() -> logging.Logger:
    logger = logging.getLogger("udonx.sacred")
    logger.setLevel(logging.CRITICAL)  # what fails is logged by the command itself
    return logger


def _sacred_keys(value: Any) -> Any:
    """Sacred refuses '.', '=' and '$' in keys."""
    if isinstance(value, dict):
        return {re.sub(r"[.=$]", "_", str(key)): _sacred_keys(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_sacred_keys(item) for item in value]
    return value
