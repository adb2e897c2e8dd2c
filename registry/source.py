"""The source of a component: the files that it was imported from, as they were then.

All that they import outside installed packages is part of it.

A file that is edited later changes nothing here: the source, and what is computed from it, is that
of the code that runs.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import inspect
import linecache
import sys
import types
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import attrs

from registry.code import code_sha256

PLUGIN_PREFIX = "udonx_plugin_"
"""How the module of a plug-in that is a single file is called."""

# known by their versions, also where they were built from their source
_LIBRARIES = sys.stdlib_module_names | {
    "registry",
    "udonx",
    "torch",
    "torchvision",
    "timm",
    "numpy",
}

_read: dict[Path, bytes] = {}  # files of source as they were when they were imported
_sources: dict[str, Source] = {}  # by module
_also: dict[str, set[str]] = {}  # what a module imported, as far as only its import showed it


@attrs.frozen
class Source:
    """The source of a component.

    Attributes:
        sha256: its identity: over the content of all files, and their names but for the component's
            own.
        own_sha256: of the component's own file alone, which was the identity once.
        files: name below an archive -> (where it lies, its content); empty for a component that has
            no file.
    """

    sha256: str
    own_sha256: str
    files: dict[str, tuple[Path, bytes]]

    def edited(self) -> list[Path]:
        """The files whose content is another one by now, or that are gone."""
        return [
            path for path, content in self.files.values() if path.name and _now(path) != content
        ]


def of(target: Any) -> Source:
    """The source of a class or function.

    Raises:
        NoIdentityError: it has no file, and its code refers to something that cannot be hashed.
    """
    if _file(target.__module__) is None:
        sha256 = code_sha256(target, _known)
        return Source(sha256, sha256, _cell(target))
    return of_module(target.__module__)


def of_module(module: str) -> Source:
    """The source of a module that has a file."""
    if module not in _sources:
        _sources[module] = _source(module)
    return _sources[module]


def _source(module: str) -> Source:
    file = _file(module)
    assert file is not None  # see `of`
    own = _label(module, file)
    paths = {
        own: file,
        **_package(module),
        **{_label(name, path): path for name, path in reached(module).items()},
    }
    files = {name: (path, content(path)) for name, path in sorted(paths.items())}
    digests = {name: hashlib.sha256(data).hexdigest() for name, (_, data) in files.items()}
    if len(files) == 1:
        return Source(digests[own], digests[own], files)
    named = sorted(("" if name == own else name, digest) for name, digest in digests.items())
    return Source(hashlib.sha256(repr(named).encode()).hexdigest(), digests[own], files)


def content(path: Path) -> bytes:
    """What was imported from a file; what it holds now, where nothing was yet."""
    if path not in _read:
        _read[path] = path.read_bytes()
    return _read[path]


def remember(path: Path, data: bytes) -> None:
    """Note what is imported from a file."""
    _read[path] = data


def take(module: str) -> None:
    """Note the source of a module that is just being imported, and of what it imports."""
    for path in reached(module).values():
        content(path)


def add_imports(module: str, names: Iterable[str]) -> None:
    """Note that a module imported others, in whatever way."""
    _also.setdefault(module, set()).update(names)


def forget(modules: Iterable[str]) -> None:
    """Forget the source of modules that will be imported anew."""
    for module in modules:
        files = _sources.pop(module).files.values() if module in _sources else ()
        for path in (_file(module), *(path for path, _ in files)):
            if path is not None:
                _read.pop(path, None)
        _also.pop(module, None)


# ------------------------------------------------------------------------------ what is imported


def reached(module: str) -> dict[str, Path]:
    """The files of a module and of all that it imports, by the modules' names.

    Imports within functions count, installed packages do not.
    """
    found: dict[str, Path] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        path = None if name in found else own_file(name)
        if path is None:
            continue
        found[name] = path
        parents = name.split(".")[:-1]
        todo += [".".join(parents[: end + 1]) for end in range(len(parents))]
        todo += [
            *imported_names(path, _package_of(name, path)),
            *_named(name),
            *_also.get(name, ()),
        ]
    return found


def own_file(module: str) -> Path | None:
    """The file of a module that is the user's code.

    It is None for a module of Python, of an installed package or of ours.
    """
    top = module.partition(".")[0]
    if (top in _LIBRARIES and module != "__main__") or (top != module and is_installed(_file(top))):
        return None
    path = _file(module)
    return None if is_installed(path) else path


def is_installed(path: Path | None) -> bool:
    """Whether a file belongs to an installed package."""
    return path is not None and not {"site-packages", "dist-packages"}.isdisjoint(path.parts)


def _known(module: str) -> str | None:
    """What stands for a module in the hash of code.

    It is its source if it is the user's, "" if its name is enough, None without a file.
    """
    if own_file(module) is not None:
        return of_module(module).sha256
    library = module.partition(".")[0] in _LIBRARIES and module != "__main__"
    return "" if library or _file(module) is not None else None


def imported_names(path: Path, package: str = "") -> set[str]:
    """The modules that a file's `import` statements name.

    Calls of `import_module` with a text count too. Each name is perhaps a module's attribute.

    Args:
        path: the file; one that is not Python imports nothing.
        package: what relative imports start from.
    """
    names: set[str] = set()
    try:
        tree = ast.parse(content(path)) if path.suffix == ".py" else ast.Module([], [])
    except (SyntaxError, ValueError):  # then it cannot be imported either
        return names
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = (
                package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            )
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = (
                node.func.attr
                if isinstance(node.func, ast.Attribute)
                else getattr(node.func, "id", "")
            )
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                names.add(node.args[0].value)
    return names


def _named(module: str) -> Iterator[str]:
    """The modules of what stands in a module that is imported, however it came there."""
    for value in list(vars(sys.modules[module]).values()) if module in sys.modules else ():
        if isinstance(value, types.ModuleType):
            yield value.__name__
        elif isinstance(value, type | types.FunctionType):
            bases = value.__mro__ if isinstance(value, type) else (value,)
            yield from (base.__module__ for base in bases if isinstance(base.__module__, str))


def _package_of(name: str, path: Path) -> str:
    if name in sys.modules:
        return getattr(sys.modules[name], "__package__", None) or ""
    return name if path.name == "__init__.py" else name.rpartition(".")[0]


def _package(module: str) -> dict[str, Path]:
    """Every Python file of the package that a module lies in."""
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        path = _file(".".join(parts[:end]))
        if path is not None and path.name == "__init__.py":
            above = path.parents[end]
            return {str(file.relative_to(above)): file for file in path.parent.rglob("*.py")}
    return {}


def _file(module: str) -> Path | None:
    """The file of a module, imported or not; None where it has none."""
    if module in sys.modules:
        name = getattr(sys.modules[module], "__file__", None)
    else:
        spec = _spec(module)
        name = spec.origin if spec and spec.has_location else None
    path = Path(name).resolve() if name else None
    return path if path and path.is_file() else None


def _spec(module: str) -> ModuleSpec | None:
    """Where a module would be imported from; nothing is imported for it."""
    path, spec = None, None
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        spec = None
        for finder in sys.meta_path:
            with contextlib.suppress(ImportError, ValueError):
                spec = spec or finder.find_spec(name, path)
        if spec is None or (end < len(parts) and spec.submodule_search_locations is None):
            return None
        path = spec.submodule_search_locations
    return spec


def _label(name: str, path: Path) -> str:
    """The name of a file in an archive: the path that its module is imported by."""
    if name == "__main__" or name.startswith(PLUGIN_PREFIX):
        return path.name
    return name.replace(".", "/") + ("/__init__.py" if path.name == "__init__.py" else path.suffix)


def _now(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _cell(target: Any) -> dict[str, tuple[Path, bytes]]:
    """The cell of a notebook that defines a class or function, where it is kept."""
    functions = [target, *vars(target).values()] if isinstance(target, type) else [target]
    for function in functions:
        with contextlib.suppress(TypeError, AttributeError):
            lines = linecache.getlines(inspect.unwrap(function).__code__.co_filename)
            if lines:
                return {f"{target.__qualname__}.py": (Path(), "".join(lines).encode())}
    return {}
