"""A hash of live code, for what is defined in no file.

Such code comes from a notebook, standard input or `python -c`.
"""

from __future__ import annotations

import builtins
import dis
import functools
import hashlib
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

_PLAIN = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type(Ellipsis),
    type(NotImplemented),
    Path,
)
_NATIVE = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
_MADE = "<attrs generated"  # the file of methods that attrs writes; they follow from the fields


class NoIdentityError(ValueError):
    """Code without a file that refers to a value which cannot be hashed."""


def code_sha256(target: Any, source_of: Callable[[str], str | None]) -> str:
    """The sha256 of a class or function.

    It covers its bytecode, its constants, and recursively the globals that it refers to.

    Args:
        target: the class or function.
        source_of: what stands for a module that has a file: the hash of its source, or "" where its
            name is enough; None for one that has no file, whose things are hashed themselves.

    Raises:
        NoIdentityError: it refers to anything but plain data, code and modules; it is named.

    Example:
        >>> one, two = (code_sha256(eval(f"lambda x: {number} * x"), {}.get) for number in (1, 2))
        >>> one == two
        False
    """
    return _Hasher(source_of).hash(target)


class _Hasher:
    def __init__(self, source_of: Callable[[str], str | None]) -> None:
        self.source_of = source_of
        self.seen: dict[int, int] = {}  # what refers to itself is followed once
        self.kept: list[Any] = []

    def hash(self, value: Any) -> str:
        digest = hashlib.sha256()
        for part in self._parts(value, type(value).__name__):
            digest.update(f"{len(part)}:{part}".encode())
        return digest.hexdigest()

    def _parts(self, value: Any, name: str) -> Iterator[str]:
        """The hashed texts that a value stands for; `name` is how a person knows it."""
        if isinstance(value, _PLAIN):
            yield f"{type(value).__name__} {value!r}"
            return
        if id(value) in self.seen:
            yield f"seen {self.seen[id(value)]}"
            return
        self.seen[id(value)] = len(self.seen)
        self.kept.append(value)  # its id stays its own
        yield type(value).__name__
        if isinstance(value, tuple | list):
            for item in value:
                yield from self._parts(item, name)
        elif isinstance(value, dict):
            for key, item in value.items():
                yield from self._parts(key, name)
                yield from self._parts(item, name)
        elif isinstance(value, set | frozenset):
            yield from sorted(_Hasher(self.source_of).hash(item) for item in value)
        elif isinstance(value, types.CodeType):
            yield from self._code(value, name)
        elif isinstance(value, types.ModuleType):
            yield from (value.__name__, self.source_of(value.__name__) or "")
        elif (
            isinstance(value, type | types.FunctionType)
            and (source := self.source_of(value.__module__ or "")) is not None
        ):
            yield from (f"{value.__module__}.{value.__qualname__}", source)
        elif isinstance(value, types.FunctionType):
            yield from self._function(value)
        elif isinstance(value, type):
            yield from self._class(value)
        elif isinstance(value, property):
            for function in (value.fget, value.fset, value.fdel):
                yield from self._parts(function, name)
        elif isinstance(value, staticmethod | classmethod | types.MethodType):
            yield from self._parts(value.__func__, name)
            yield from self._parts(getattr(value, "__self__", None), name)
        elif isinstance(value, functools.partial):
            yield from self._parts((value.func, value.args, value.keywords), name)
        elif isinstance(value, functools.cached_property):
            yield from self._parts(value.func, name)
        elif isinstance(value, _NATIVE):
            yield value.__qualname__
        elif hasattr(value, "__wrapped__"):
            yield from self._parts(value.__wrapped__, name)
        else:
            raise NoIdentityError(f"it refers to {name}, a {type(value).__qualname__}")

    def _code(self, code: types.CodeType, name: str) -> Iterator[str]:
        yield code.co_code.hex()
        yield repr(
            (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_flags)
        )
        for constant in code.co_consts:
            yield from self._parts(constant, name)

    def _function(self, function: types.FunctionType) -> Iterator[str]:
        yield from self._parts(function.__code__, function.__qualname__)
        yield from self._parts(
            (function.__defaults__, function.__kwdefaults__),
            f"a default of {function.__qualname__}",
        )
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            yield from self._parts(cell.cell_contents, name)
        for name in sorted(_globals_of(function.__code__)):
            yield name
            if name in function.__globals__:
                yield from self._parts(function.__globals__[name], name)
            elif not hasattr(builtins, name):
                yield "not there"

    def _class(self, cls: type) -> Iterator[str]:
        yield from self._parts(cls.__bases__, cls.__qualname__)
        if attrs.has(cls):
            for field in attrs.fields(cls):
                default = field.default
                # attrs' stubs call the class Factory a function
                if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
                    default = default.factory
                yield from (field.name, repr(field.kw_only))
                yield from self._parts(
                    None if default is attrs.NOTHING else default,
                    f"{cls.__qualname__}.{field.name}",
                )
        for name, value in sorted(vars(cls).items()):
            made = getattr(getattr(value, "__code__", None), "co_filename", "").startswith(_MADE)
            special = name.startswith("__") and not isinstance(
                value, types.FunctionType | staticmethod | classmethod | property
            )
            if not (made or special or name == "_abc_impl"):
                yield name
                yield from self._parts(value, f"{cls.__qualname__}.{name}")


def _globals_of(code: types.CodeType) -> set[str]:
    """The global names that code reads, that of functions within it included."""
    names = {
        item.argval
        for item in dis.get_instructions(code)
        if item.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    return names.union(
        *(_globals_of(inner) for inner in code.co_consts if isinstance(inner, types.CodeType))
    )
