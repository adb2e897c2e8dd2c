"""Plug-ins: the only code that an experiment file can run, and only what it names."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from udonx.config.files import shown
from udonx.config.problems import ConfigError, Problem

_loaded: dict[Path, str] = {}


def load_plugins(
    listed: Iterable[str], beside: Path | None, *, where: str, allow: bool = True, say: Callable[[str], None] = lambda line: None
) -> list[str]:
    """Import plug-ins, each said before it is imported: files (`my_losses.py`, looked up beside the experiment file, then from the
    working directory) and modules (`my_package.losses`). A file is imported once, however often it is named.

    Returns what was imported, to be recorded with results. Raises ConfigError where a plug-in is missing, refused (`allow` false) or
    fails while it is imported.
    """
    listed = list(listed)
    if listed and not allow:
        refused = f"{', '.join(listed)}: plug-ins are refused by --no-plugins; nothing was imported"
        raise ConfigError([Problem(where=where, key="plugins", message=refused)])
    problems = []
    for name in listed:
        try:
            _load(name, beside, say)
        except FileNotFoundError as error:
            problems.append(Problem(where=where, key="plugins", message=str(error)))
        except (Exception, SystemExit) as error:  # foreign code can fail in any way; the person needs to know which plug-in did
            failure = f"{name} failed while it was imported: {type(error).__name__}: {error}"
            problems.append(Problem(where=where, key="plugins", message=failure))
    if problems:
        raise ConfigError(problems)
    return listed


def _load(name: str, beside: Path | None, say: Callable[[str], None]) -> None:
    if not name.endswith(".py"):
        if name not in sys.modules:
            say(f"plug-in {name}")
        importlib.import_module(name)
        return
    folders = [folder for folder in (beside, Path.cwd()) if folder]
    path = next(((folder / name).resolve() for folder in folders if (folder / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{name}: there is no such file beside the experiment file or in the working directory")
    if path in _loaded:
        return
    say(f"plug-in {shown(path)}")
    module_name = f"udonx_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    _loaded[path] = module_name
