"""The run record: each (row, seed) that has work to do is a Sacred run. Sacred is imported only here, and only when something runs."""

from __future__ import annotations

import importlib
import logging
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs


class GuardedObserver:
    """Passes every event to a Sacred observer; when that fails, says so once per kind of event and lets the training go on."""

    def __init__(self, observer: Any, name: str, say: Callable[[str], None]) -> None:
        self._observer, self._name, self._say = observer, name, say
        self._failed: set[str] = set()
        self.priority = observer.priority

    def __getattr__(self, event: str) -> Any:
        target = getattr(self._observer, event)
        if not callable(target):
            return target

        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return target(*args, **kwargs)
            except Exception as error:  # whatever an observer's back end raises must not cost a training run
                if event not in self._failed:
                    self._failed.add(event)
                    self._say(f"the observer {self._name} failed at {event}: {type(error).__name__}: {error}; the run goes on without it")
                return None

        return guarded


@attrs.frozen
class Recorder:
    """Makes Sacred runs in `folder`, and in the observers of `urls` (mongodb://... or SQLAlchemy)."""

    folder: Path
    urls: tuple[str, ...]
    say: Callable[[str], None]

    def run(
        self, name: str, config: dict[str, Any], body: Callable[[Any], dict[str, Any]], started: Callable[[Any], None]
    ) -> dict[str, Any]:
        """Run `body(run)` as a Sacred run and return what it returns; an exception marks the run failed or interrupted and goes on up.

        `started` is told the run's id before the body begins.
        """
        sacred = import_sacred()
        from sacred.observers import FileStorageObserver

        sacred.SETTINGS.CAPTURE_MODE = "no"  # Sacred's capturing replaces stdout, and with it the progress bar
        sacred.SETTINGS.DISCOVER_SOURCES = "none"
        experiment = sacred.Experiment(name, interactive=True, save_git_info=False)
        experiment.logger = _quiet_logger()
        observers = [(FileStorageObserver(self.folder), str(self.folder)), *((_observer(url), url) for url in self.urls)]
        experiment.observers = [GuardedObserver(observer, where, self.say) for observer, where in observers]
        experiment.add_config(_sacred_keys(config))

        def main(_run: Any) -> dict[str, Any]:
            started(_run._id)
            return body(_run)

        experiment.main(main)
        return experiment.run().result


def import_sacred() -> ModuleType:
    """Sacred, without the warning that its import of pkg_resources gives: setuptools is held below the version that drops it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        return importlib.import_module("sacred")


def check_observers(urls: tuple[str, ...]) -> list[str]:
    """What is wrong with observers' URLs, one sentence each."""
    problems = []
    for url in urls:
        package = "pymongo" if url.startswith("mongodb") else "sqlalchemy"
        try:
            __import__(package)
        except ImportError:
            extra = "mongo" if package == "pymongo" else "sql"
            problems.append(f'results.observers: "{url}" needs the package {package}; install it with pip install "udonx[{extra}]"')
    return problems


def _observer(url: str) -> Any:
    if url.startswith("mongodb"):
        from sacred.observers import MongoObserver

        return MongoObserver(url=url)
    from sacred.observers import SqlObserver

    return SqlObserver(url)


def _quiet_logger() -> logging.Logger:
    logger = logging.getLogger("udonx.sacred")
    logger.setLevel(logging.CRITICAL)  # what fails is said by the command itself
    return logger


def _sacred_keys(value: Any) -> Any:
    """Sacred refuses '.', '=' and '$' in keys."""
    if isinstance(value, dict):
        return {re.sub(r"[.=$]", "_", str(key)): _sacred_keys(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_sacred_keys(item) for item in value]
    return value
