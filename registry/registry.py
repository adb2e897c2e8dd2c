"""A registry on top of `catalogue`: decorator, lookup, and descriptions derived from components.

The keyword-only parameters of a component are its options (`registry.options`); its positional
parameters are what the builder supplies. Nothing is declared twice.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import catalogue

from registry import source
from registry.code import NoIdentityError
from registry.errors import REFUSED, UdonxError
from registry.options import Option, first_paragraph, options_of


@functools.cache
def _entry_points() -> importlib.metadata.EntryPoints:
    """What all installed packages offer, read once: it takes a file of each of them."""
    # of another class in Python 3.11, with the same `select`
    found: Any = importlib.metadata.entry_points()
    return found


class RegistryError(UdonxError, ValueError):
    """A component that cannot be registered, or a name that is not registered.

    The message says what to do.
    """

    exit_code = REFUSED


@attrs.frozen(kw_only=True)
class Component:
    """Everything known about a component without importing it again, as plain data.

    Attributes:
        kind: the registry's.
        name: what files call it.
        doc: the first paragraph of its docstring, on one line.
        options: what files may say of it.
        facts: what the registry of its kind derives from it.
        file: where it is defined.
        line: the line there.
        version: raised by its author when its numbers change.
    """

    kind: str
    name: str
    doc: str
    options: tuple[Option, ...]
    facts: dict[str, Any]
    file: str
    line: int
    version: int

    def defaults(self) -> dict[str, Any]:
        """Options that have a default, by name."""
        return {option.name: option.default for option in self.options if not option.required}


def nearest(name: str, allowed: typing.Iterable[str], count: int = 3) -> list[str]:
    """The allowed names that look most like a name, best first.

    Example:
        >>> nearest("kl_logits", ["ce", "kl_logit", "relational"])
        ['kl_logit']
    """
    return difflib.get_close_matches(str(name), list(allowed), n=count, cutoff=0.55)


Names = dict[str, list[str]]
"""Names that a library knows, each with its variants."""

Remember = Callable[[str, Callable[[], Names]], Names]
"""`remember(library, make)`: what `make()` returned, kept on disk for this version of a library."""


class Registry:
    """The components of one kind.

    Third-party packages may offer components through the entry-point group `udonx_<kind>`.

    Args:
        kind: what the components are, in the plural.
        positional: the names of the parameters that the builder supplies.
        optional: names of further ones, which a component may leave out.
        builtin: what ships with the project, name -> the module that defines it. It is the one
            explicit list from which the registry is populated; nothing is imported for it.
        reserved: keys of the slots that name a component of this kind, which no option may be
            called.
        checks: built-ins that are slow to import, name -> the module with their `problems`.
        facts: derives plain facts (does this loss need a teacher?) from a registered object; it
            raises TypeError for one that is no component of this kind.
    """

    def __init__(
        self,
        kind: str,
        *,
        positional: tuple[str, ...] = (),
        optional: tuple[str, ...] = (),
        builtin: Mapping[str, str],
        reserved: tuple[str, ...] = ("use",),
        checks: Mapping[str, str] | None = None,
        facts: Callable[[Any], dict[str, Any]] = lambda target: {},
    ) -> None:
        self.kind = kind
        self.positional = positional
        self.optional = optional
        self.builtin = dict(builtin)
        self.reserved = reserved
        self.checks = dict(checks or {})
        self._facts = facts
        self._entries = catalogue.create("udonx", kind)
        self._versions: dict[str, int] = {}
        self._described: dict[str, tuple[Any, Component]] = {}

    def register(self, name: str, *, version: int = 1) -> Callable[[Any], Any]:
        """Decorator that registers a class or function.

        Args:
            name: what files call it.
            version: part of the identity of every stage that uses the component: raise it when its
                numbers change.

        Raises:
            RegistryError: the name is taken (both places are named), or the signature cannot be
                told in a file.
        """
        if not isinstance(name, str) or not name:
            raise RegistryError(
                f"{self.kind}: a component is registered under a name:"
                f" @{self.kind}.register('my_name')"
            )

        def decorate(target: Any) -> Any:
            here = location(target)
            home = self.builtin.get(name)
            if home is not None and target.__module__ != home:
                raise RegistryError(
                    f"{self.kind}: {name!r} at {here} is taken by the built-in of {home}; choose"
                    " another name"
                )
            if catalogue.check_exists("udonx", self.kind, name):
                there = location(self._entries.get(name))
                raise RegistryError(
                    f"{self.kind}: {name!r} at {here} is already registered at {there}; choose"
                    " another name"
                )
            self._check(name, target)
            self._versions[name] = version
            self._entries.register(name, func=target)
            if home is None:
                source.take(target.__module__)
            return target

        return decorate

    def _check(self, name: str, target: Any) -> None:
        supplied = supplied_names(target)
        loose = [p.name for p in _parameters(target) if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        allowed = (self.positional, (*self.positional, *self.optional))
        if supplied not in allowed or loose:
            got = ", ".join([*supplied, *(f"*{item}" for item in loose)]) or "none"
            supplies = " or ".join(f"({', '.join(names)})" for names in dict.fromkeys(allowed))
            raise RegistryError(
                f"{self.kind}: {name!r} at {location(target)} takes the positional parameters"
                f" ({got}), but the builder supplies {supplies}; its options"
                " are keyword-only parameters, after a *"
            )
        try:
            options = options_of(target)
            if taken := [option.name for option in options if option.name in self.reserved]:
                raise TypeError(
                    f"option {taken[0]!r} could never be set, since {', '.join(self.reserved)} are"
                    " keys of what names it; rename it"
                )
            self._facts(target)
        except (
            TypeError,
            NameError,
        ) as error:  # NameError: an annotation that only a type checker can resolve
            raise RegistryError(f"{self.kind}: {name!r} at {location(target)}: {error}") from None

    def names(self) -> list[str]:
        """All names: built in, registered so far, and offered by installed packages.

        Nothing is imported for it.
        """
        registered = {key[-1] for key in catalogue.REGISTRY if key[:2] == ("udonx", self.kind)}
        return sorted({*self.builtin, *registered, *self._offered()})

    def _offered(self) -> dict[str, importlib.metadata.EntryPoint]:
        return {point.name: point for point in _entry_points().select(group=f"udonx_{self.kind}")}

    def _import(self, name: str) -> None:
        """Import what registers `name`.

        What an entry point names without the decorator is registered.
        """
        if name in self.builtin:
            importlib.import_module(self.builtin[name])
        elif point := self._offered().get(name):
            target = point.load()
            if not catalogue.check_exists("udonx", self.kind, name):
                self.register(name)(target)

    def get(self, name: str) -> Any:
        """The class or function registered under a name; it is imported where it is built in.

        Raises:
            RegistryError: there is none; the nearest names are named.
        """
        if not catalogue.check_exists("udonx", self.kind, name):
            self._import(name)
        try:
            return self._entries.get(name)
        except catalogue.RegistryError:
            raise RegistryError(self.unknown(name)) from None

    def problems(
        self, name: str, options: Mapping[str, Any], remember: Remember
    ) -> list[tuple[str, str]]:
        """What a component says is wrong with its options, although their types are right.

        It says so in a function `problems(options, remember)` that yields (key, what is wrong); a
        class may have a static method of that name.

        Args:
            name: the component's.
            options: its options, and the keys of the slot that names it.
            remember: keeps what is slow to find out.
        """
        if name in self.checks:
            check = importlib.import_module(self.checks[name]).problems
        elif name in self.builtin:
            return []
        else:
            check = getattr(self.get(name), "problems", None)
        return list(check(options, remember)) if check else []

    def unknown(self, name: str) -> str:
        """The sentence for a name that is not registered."""
        close = nearest(name, self.names())
        hint = f"did you mean {' or '.join(repr(item) for item in close)}? " if close else ""
        return (
            f"{self.kind}: {name!r} is not registered; {hint}registered are"
            f" {', '.join(self.names())}"
        )

    def source(self, name: str) -> source.Source | None:
        """The source of a component as it was imported.

        It is None for a built-in, whose version says when it changes.

        Raises:
            RegistryError: there is no such component, or it has no file and its code cannot be
                hashed.
        """
        if name in self.builtin:
            return None
        try:
            return source.of(self.get(name))
        except NoIdentityError as error:
            raise RegistryError(
                f"{self.kind}: {name!r} is defined in no file, and its code cannot be hashed, by"
                f" which a stage is known: {error}; put it into a file and name that as a plug-in"
            ) from None

    def forget(self, modules: typing.Container[str]) -> None:
        """Unregister what some modules registered, which will be imported anew."""
        for name in [key[-1] for key in catalogue.REGISTRY if key[:2] == ("udonx", self.kind)]:
            if self._entries.get(name).__module__ in modules:
                del catalogue.REGISTRY["udonx", self.kind, name]

    def describe(self, name: str) -> Component:
        """Options, facts and source of `name`; imports the component."""
        target = self.get(name)
        described, component = self._described.get(name, (None, None))
        if component is None or described is not target:  # a plug-in may have been imported anew
            component = self._described_anew(name, target)
            self._described[name] = (target, component)
        return component

    def _described_anew(self, name: str, target: Any) -> Component:
        file, line = _source(target)
        return Component(
            kind=self.kind,
            name=name,
            doc=first_paragraph(target),
            options=options_of(target),
            facts=self._facts(target),
            file=file,
            line=line,
            version=self._versions[name],
        )


def _parameters(target: Any) -> list[inspect.Parameter]:
    """What a component is called with."""
    init = target.__init__ if inspect.isclass(target) else target
    if init is object.__init__:
        return []
    return [item for item in inspect.signature(init).parameters.values() if item.name != "self"]


def supplied_names(target: Any) -> tuple[str, ...]:
    """The names of a component's positional parameters, which its builder supplies."""
    return tuple(
        p.name
        for p in _parameters(target)
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    )


def _source(target: Any) -> tuple[str, int]:
    try:
        return inspect.getsourcefile(target) or "<unknown>", inspect.getsourcelines(target)[1]
    except (
        OSError,
        TypeError,
    ):  # defined in a notebook or on the command line: there is no file to show
        return f"<{target.__module__}>", 0


def location(target: Any) -> str:
    """`file:line` of a class or function."""
    file, line = _source(target)
    return f"{file}:{line}"
