"""Plug-ins: the only code that an experiment file can run, and only what it names.

A plug-in may import what lies beside it. What is imported is its source as it is now, and is
remembered for its identity (`registry.source`); one that was edited since, or that imports
something that was, is imported again.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    PathFinder,
    SourceFileLoader,
)
from pathlib import Path
from types import CodeType

import attrs

from registry import source
from udonx.common.words import display_path
from udonx.config.descriptions import REGISTRIES
from udonx.config.problems import ConfigError, Problem

logger = logging.getLogger(__name__)


@attrs.define
class _Plugin:
    """A plug-in that is imported.

    Attributes:
        module: the name of its module.
        beside: the files beside it that it imports, by the name that it imports them by.
    """

    module: str
    beside: dict[str, Path]


_loaded: dict[str, _Plugin] = {}  # by the path of the file, or the name of the module


def load_plugins(
    listed: Iterable[str],
    beside: Path | None,
    *,
    where: str,
    allow: bool = True,
) -> list[str]:
    """Import plug-ins, each logged before it is imported.

    A file is imported once, however often it is named, and again when it or what it imports was
    edited.

    Args:
        listed: files (`my_losses.py`) and modules (`my_package.losses`).
        beside: the folder in which files are looked up first, before the working directory.
        where: who lists them, as a problem names it.
        allow: whether plug-ins may be imported at all.

    Returns:
        What was imported, to be recorded with results.

    Raises:
        ConfigError: a plug-in is missing, is refused, or fails while it is imported.
    """
    listed = list(listed)
    if listed and not allow:
        refused = f"{', '.join(listed)}: plug-ins are refused by --no-plugins; nothing was imported"
        raise ConfigError([Problem(where=where, key="plugins", message=refused)])
    problems = []
    for name in listed:
        try:
            _load(name, beside)
        except _PluginError as error:
            problems.append(Problem(where=where, key="plugins", message=str(error)))
        except (
            Exception,
            SystemExit,
        ) as error:  # foreign code can fail in any way; the person needs to know which plug-in did
            failure = f"{name} failed while it was imported: {type(error).__name__}: {error}"
            problems.append(Problem(where=where, key="plugins", message=failure))
    if problems:
        raise ConfigError(problems)
    return listed


def unload_plugins() -> None:
    """Forget every plug-in and what it registered."""
    for key in list(_loaded):
        _unload(key)
    _finder.folders.clear()


class _PluginError(ValueError):
    """A plug-in that is not imported; the message says why."""


def _load(name: str, beside: Path | None) -> None:
    path = _find(name, beside) if name.endswith(".py") else None
    key, title = (str(path), display_path(path)) if path else (name, name)
    if key in _loaded:
        if not source.of_module(_loaded[key].module).edited():
            return
        _unload(key)
        logger.info(f"plug-in {title}, again: it, or a file that it imports, was edited")
    elif path or name not in sys.modules:
        logger.info(f"plug-in {title}")
    before = set(sys.modules)
    plugin = _loaded[key] = _plugin(name, path)
    try:
        _refuse_mixed_names(title, plugin)
        _import(plugin.module, path)
        source.add_imports(plugin.module, set(sys.modules) - before)
        source.of_module(plugin.module)
    except BaseException:
        source.add_imports(plugin.module, set(sys.modules) - before)
        _unload(key)
        raise


def _find(name: str, beside: Path | None) -> Path:
    for folder in (beside, Path.cwd()):
        if folder and (folder / name).is_file():
            return (folder / name).resolve()
    raise _PluginError(
        f"{name}: there is no such file beside the experiment file or in the working directory"
    )


def _plugin(name: str, path: Path | None) -> _Plugin:
    """A plug-in that is about to be imported.

    From here on, what it imports is looked up beside it first.
    """
    if path is None:
        places = _places(importlib.util.find_spec(name.partition(".")[0]))
        _finder.look_in(place.parent for place in places if not source.is_installed(place))
        return _Plugin(name, {})
    _finder.look_in([path.parent])
    module = (
        f"{source.PLUGIN_PREFIX}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    )
    return _Plugin(module, dict(_files_beside(path)))


def _places(spec: ModuleSpec | None) -> list[Path]:
    """The folders of a package, or the file of a module; none of what has no file."""
    if spec is None:
        return []
    if spec.submodule_search_locations:
        return [Path(folder) for folder in spec.submodule_search_locations]
    return [Path(spec.origin)] if spec.has_location and spec.origin else []


def _import(module: str, path: Path | None) -> None:
    importlib.invalidate_caches()
    if path is None:
        importlib.import_module(module)
        return
    loader = _Loader(module, str(path))
    spec = ModuleSpec(module, loader, origin=str(path))
    spec.has_location = True
    sys.modules[module] = importlib.util.module_from_spec(spec)
    loader.exec_module(sys.modules[module])


def _unload(key: str) -> None:
    """Forget a plug-in, what it registered, and the modules of its own that it imported."""
    plugin = _loaded.pop(key)
    package = plugin.module.partition(".")[0] + "."
    inside = {
        module for module in sys.modules if module.startswith(package) and source.own_file(module)
    }
    modules = {plugin.module, *source.reached(plugin.module), *inside} - {"__main__"}
    for registry in REGISTRIES.values():
        registry.forget(modules)
    source.forget(modules)
    for module in modules:
        sys.modules.pop(module, None)


def _files_beside(path: Path) -> Iterator[tuple[str, Path]]:
    """The files beside a plug-in that it imports, by the name that they are imported by.

    They may be imported through one another.
    """
    todo, seen = [path], set[str]()
    while todo:
        for name in (
            {name.partition(".")[0] for name in source.imported_names(todo.pop())}
            - sys.stdlib_module_names
            - seen
        ):
            seen.add(name)
            for file in (path.parent / f"{name}.py", path.parent / name / "__init__.py"):
                if file.is_file():
                    todo.append(file)
                    yield name, file


def _refuse_mixed_names(title: str, plugin: _Plugin) -> None:
    """Refuse a plug-in that would get another module than the file beside it.

    Python knows one module of a name.
    """
    for name, file in plugin.beside.items():
        others = [other.beside[name] for other in _loaded.values() if name in other.beside]
        if name in sys.modules:
            others.append(Path(getattr(sys.modules[name], "__file__", None) or name).resolve())
        for other in others:
            if other != file:
                raise _PluginError(
                    f"{title} imports '{name}', {file}, but {other} has this name already; rename"
                    " one of the two files"
                )


class _Loader(SourceFileLoader):
    """Imports a file's source and remembers it.

    Python's own files of compiled code are not looked at: they count as current where the source
    was changed within the same second and kept its size.
    """

    def get_code(self, fullname: str) -> CodeType:
        data = self.get_data(self.path)
        source.remember(Path(self.path).resolve(), data)
        return self.source_to_code(data, self.path)


class _Finder:
    """Finds what plug-ins import from the folders that they lie in, the latest first.

    Python's own modules are never found there.
    """

    def __init__(self) -> None:
        self.folders: list[str] = []

    def look_in(self, folders: Iterable[Path]) -> None:
        """Look in these folders before those of earlier plug-ins."""
        first = [str(folder.resolve()) for folder in folders]
        self.folders = [*first, *(folder for folder in self.folders if folder not in first)]
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(
        self, name: str, path: Iterable[str] | None = None, target: object = None
    ) -> ModuleSpec | None:
        """Where a module lies below the folders, None where it does not.

        See `importlib.abc.MetaPathFinder`.
        """
        if name.partition(".")[0] in sys.stdlib_module_names:
            return None
        for folder in self.folders if path is None else path:
            if not any(Path(folder).is_relative_to(own) for own in self.folders):
                continue
            finder = FileFinder(
                folder, (_Loader, [".py"]), (ExtensionFileLoader, EXTENSION_SUFFIXES)
            )
            spec = finder.find_spec(name)
            # a folder without __init__.py may be anything, so it is a package only where there is
            # no other
            if spec and (
                spec.loader
                or PathFinder.find_spec(name, None if path is None else list(path)) is None
            ):
                return spec
        return None


_finder = _Finder()
