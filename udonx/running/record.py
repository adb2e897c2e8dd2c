"""The run record: each (row, seed) that has work to do is a Sacred run.

Sacred is imported only here, and only when something runs.
"""

from __future__ import annotations

import importlib
import logging
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

from udonx.inputs.sources import OBSERVERS, observer_problem

SACRED_SEED = 0
"""What Sacred's own key "seed" always holds: without one it would invent a number. The seed of a
training is `training_seed`.
"""


logger = logging.getLogger(__name__)


class GuardedObserver:
    """Passes every event to a Sacred observer.

    When that fails, it is logged once per kind of event and the training goes on.
    """

    def __init__(self, observer: Any, name: str) -> None:
        self._observer, self._name = observer, name
        self._failed: set[str] = set()
        self.priority = observer.priority

    def __getattr__(self, event: str) -> Any:
        target = getattr(self._observer, event)
        if not callable(target):
            return target

        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return target(*args, **kwargs)
            except (
                Exception
            ) as error:  # whatever an observer's back end raises must not cost a training run
                if event not in self._failed:
                    self._failed.add(event)
                    logger.warning(
                        f"the observer {self._name} failed at {event}: {type(error).__name__}:"
                        f" {error}; the run goes on without it"
                    )
                return None

        return guarded


@attrs.frozen
class Recorder:
    """Makes Sacred runs.

    They are made in `folder`, and in the observers of `urls` (mongodb://... or SQLAlchemy).
    """

    folder: Path
    urls: tuple[str, ...]

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
        from sacred.observers import FileStorageObserver

        # Sacred's capturing replaces stdout, and with it the progress bar
        sacred.SETTINGS.CAPTURE_MODE = "no"
        sacred.SETTINGS.DISCOVER_SOURCES = "none"
        experiment = sacred.Experiment(name, interactive=True, save_git_info=False)
        experiment.logger = _sacred_logger()
        observers = [
            (FileStorageObserver(self.folder), str(self.folder)),
            *((_observer(url), url) for url in self.urls),
        ]
        experiment.observers = [GuardedObserver(observer, where) for observer, where in observers]
        experiment.add_config({**_sacred_keys(config), "seed": SACRED_SEED})

        def main(_run: Any) -> dict[str, Any]:
            started(_run._id)
            return body(_run)

        experiment.main(main)
        return experiment.run().result


def import_sacred() -> ModuleType:
    """Sacred, without the warning that its import of pkg_resources gives.

    setuptools is held below the version that drops it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        return importlib.import_module("sacred")


def check_observers(urls: tuple[str, ...]) -> list[str]:
    """What is wrong with observers' URLs, one sentence each; nothing is connected to."""
    problems = []
    for url in urls:
        if message := observer_problem(url):
            problems.append(f"results.observers: {message}")
            continue
        try:
            import_sacred()
            _observer(url)
        except Exception as error:
            # a URL of a wrong form, or a driver that is missing: each package has its own errors
            problems.append(
                f'results.observers: got "{url}", which cannot be used ({type(error).__name__}:'
                f" {error}); {OBSERVERS}"
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


def _observer(url: str) -> Any:
    if url.startswith("mongodb"):
        from sacred.observers import MongoObserver

        return MongoObserver(url=url)
    from sacred.observers import SqlObserver

    return SqlObserver(url)


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
