"""A registry on top of `catalogue`: decorator, lookup, and a typed description derived from the
component's signature.

The keyword-only parameters of a component are its options; its positional parameters are what the
builder supplies. Nothing is declared twice: validation, `udonx components` and the JSON schema all
read the `Component` that `describe` derives here.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import attrs
import catalogue

from registry import source
from registry.code import NoIdentityError

_BOUNDS = ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern")
_SIGNS = {
    "gt": ">",
    "ge": ">=",
    "lt": "<",
    "le": "<=",
    "multiple_of": "a multiple of",
    "min_length": "of length >=",
    "max_length": "of length <=",
}
_SCALARS: dict[Any, str] = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    Path: "path",
    type(None): "none",
}


@functools.cache
def _entry_points() -> importlib.metadata.EntryPoints:
    """What all installed packages offer, read once: it takes a file of each of them."""
    return importlib.metadata.entry_points()


class RegistryError(ValueError):
    """A component that cannot be registered, or a name that is not registered; the message says
    what to do.
    """

    for_people = True
    exit_status = 2


class Cadence:
    """Marks a number of steps (`400`) or a share of a budget (`"20%"`, `"2/7"`) in an annotation;
    see `registry.contracts`.
    """


def parse_share(value: int | float | str, total: int) -> int:
    """Steps that a cadence stands for: an int is steps, `"20%"` and `"2/7"` are shares of `total`,
    rounded to nearest.

    Raises ValueError where `value` is neither.

    >>> parse_share("20%", 400), parse_share("2/7", 70), parse_share(5, 400)
    (80, 20, 5)
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError(f"{value} is negative")
        return value
    text = str(value).strip()
    try:
        if text.endswith("%"):
            share = float(text[:-1]) / 100
        else:
            above, below = text.split("/")
            share = int(above) / int(below)
    except (ValueError, ZeroDivisionError):
        raise ValueError(
            f"{value!r} is neither steps (400) nor a share of the budget ('20%', '2/7')"
        ) from None
    if not 0 <= share <= 1:
        raise ValueError(f"{value!r} is not between 0% and 100%")
    return round(share * total)


@attrs.frozen(kw_only=True)
class Option:
    """One option of a component: `type` is a plain-data description (see `type_of`), `default` is
    plain data.

    `doc` is one sentence and `unit` a word or two, both read from the annotation (see `words_of`)
    and empty where it has none.
    """

    name: str
    type: dict[str, Any]
    required: bool
    default: Any = None
    doc: str = ""
    unit: str = ""

    def spell(self) -> str:
        """The type as a person reads it: `float > 0`, `one of 'normface', 'cosface'`."""
        return spell_type(self.type)


@attrs.frozen(kw_only=True)
class Component:
    """Everything known about a component without importing it again; plain data, so it can be
    cached as JSON.

    `doc` is the first paragraph of its docstring, on one line.
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
    """The allowed names that look most like `name`, best first.

    >>> nearest("kl_logits", ["ce", "kl_logit", "relational"])
    ['kl_logit']
    """
    return difflib.get_close_matches(str(name), list(allowed), n=count, cutoff=0.55)


def type_of(annotation: Any) -> dict[str, Any]:
    """Plain-data description of an option's annotation; raises TypeError outside the closed set of
    types.

    Allowed: bool, int, float, str, Path, Literal, `X | Y`, tuple, list, dict of these, `Annotated`
    with pydantic `Field` bounds, and `registry.contracts.Steps` (steps or a share).
    """
    if annotation in _SCALARS:
        return {"type": _SCALARS[annotation]}
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        if Cadence in arguments[1:]:
            return {"type": "steps"}
        bounds: dict[str, Any] = {}
        for extra in arguments[1:]:
            for item in getattr(extra, "metadata", [extra]):
                bounds |= {
                    bound: getattr(item, bound)
                    for bound in _BOUNDS
                    if getattr(item, bound, None) is not None
                }
        inner = type_of(arguments[0])
        return {**inner, "bounds": bounds} if bounds else inner
    if origin is Literal:
        return {"type": "literal", "values": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        return {"type": "union", "of": [type_of(item) for item in arguments]}
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return {"type": "list", "of": type_of(arguments[0])}
        return {"type": "tuple", "of": [type_of(item) for item in arguments]}
    if origin is list:
        return {"type": "list", "of": type_of(arguments[0])}
    if annotation is dict:
        return {"type": "dict", "of": None}
    if origin is dict and arguments[0] is str:
        return {"type": "dict", "of": None if arguments[1] is Any else type_of(arguments[1])}
    raise TypeError(
        f"{annotation!r} is not allowed; use bool, int, float, str, Path, Literal, or a tuple, list"
        " or dict of these"
    )


def words_of(annotation: Any) -> tuple[str, str]:
    """What an annotation says of its option in words: (sentence, unit), each empty where it says
    nothing.

    Both stand in a pydantic `Field`; where an annotation has several, the outer one counts.

    >>> from pydantic import Field
    >>> about = {"description": "Edge of the crop.", "json_schema_extra": {"unit": "pixels"}}
    >>> words_of(Annotated[int, Field(gt=0, **about)])
    ('Edge of the crop.', 'pixels')
    """
    doc, unit = "", ""
    for extra in (
        typing.get_args(annotation)[1:] if typing.get_origin(annotation) is Annotated else ()
    ):
        doc = getattr(extra, "description", None) or doc
        unit = (getattr(extra, "json_schema_extra", None) or {}).get("unit", unit)
    return doc, unit


def first_paragraph(target: Any) -> str:
    """The first paragraph of the docstring of a class or function, on one line; empty where there
    is none.
    """
    return " ".join((inspect.getdoc(target) or "").strip().split("\n\n")[0].split())


def spell_type(spec: Mapping[str, Any]) -> str:
    """A type description in words.

    >>> spell_type({"type": "float", "bounds": {"gt": 0}})
    'float > 0'
    """
    kind = spec["type"]
    if kind == "literal":
        values = [
            str(value).lower() if isinstance(value, bool) else repr(value)
            for value in spec["values"]
        ]
        words = ("one of " if len(values) > 1 else "") + ", ".join(values)
    elif kind == "union":
        # what may be left out: TOML has no null
        words = " or ".join(spell_type(item) for item in spec["of"] if item["type"] != "none")
    elif kind == "list":
        words = f"list of {spell_type(spec['of'])}"
    elif kind == "tuple":
        words = "[" + ", ".join(spell_type(item) for item in spec["of"]) + "]"
    elif kind == "dict":
        words = "table" + ("" if spec["of"] is None else f" of {spell_type(spec['of'])}")
    elif kind == "steps":
        words = "steps (400) or a share ('20%', '2/7')"
    else:
        words = {"bool": "true or false", "str": "text", "none": "nothing"}.get(kind, kind)
    bounds = " and ".join(
        f"{_SIGNS.get(bound, bound)} {limit}" for bound, limit in spec.get("bounds", {}).items()
    )
    return f"{words} {bounds}".rstrip()


def options_of(target: Any) -> tuple[Option, ...]:
    """The keyword-only parameters of a class's `__init__` (or of a function) as options; raises
    TypeError on a type not allowed.
    """
    init = target.__init__ if inspect.isclass(target) else target
    hints = typing.get_type_hints(target if attrs.has(target) else init, include_extras=True)
    options = []
    for parameter in inspect.signature(init).parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        if parameter.name not in hints:
            raise TypeError(f"option {parameter.name!r} has no type annotation")
        try:
            described = type_of(hints[parameter.name])
        except TypeError as error:
            raise TypeError(f"option {parameter.name!r}: {error}") from None
        default = (
            None if parameter.default is parameter.empty else _plain_default(target, parameter)
        )
        plain = (
            list(default)
            if isinstance(default, tuple)
            else str(default)
            if isinstance(default, Path)
            else default
        )
        required = parameter.default is parameter.empty
        doc, unit = words_of(hints[parameter.name])
        options.append(
            Option(
                name=parameter.name,
                type=described,
                required=required,
                default=plain,
                doc=doc,
                unit=unit,
            )
        )
    return tuple(options)


def _plain_default(target: Any, parameter: inspect.Parameter) -> Any:
    # a factory stands in the signature as a marker; the field knows how to call it
    if attrs.has(target):
        default = getattr(attrs.fields(target), parameter.name).default
        return default.factory() if isinstance(default, attrs.Factory) else default
    return parameter.default


class Registry:
    """The components of one kind.

    `positional` are the names of the parameters that the builder supplies. `builtin` maps the names
    that ship with the project to the modules that define them: the one explicit list from which the
    registry is populated, read without importing anything heavy. `facts` derives plain facts (does
    this loss need a teacher?) from a registered object.

    `reserved` are keys of the slots that name a component of this kind, which no option may be
    called.

    Third-party packages may offer components through the entry-point group `udonx_<kind>`.
    """

    def __init__(
        self,
        kind: str,
        *,
        positional: tuple[str, ...] = (),
        builtin: Mapping[str, str],
        reserved: tuple[str, ...] = ("use",),
        facts: Callable[[Any], dict[str, Any]] = lambda target: {},
    ) -> None:
        self.kind = kind
        self.positional = positional
        self.builtin = dict(builtin)
        self.reserved = reserved
        self._facts = facts
        self._entries = catalogue.create("udonx", kind)
        self._versions: dict[str, int] = {}

    def register(self, name: str, *, version: int = 1) -> Callable[[Any], Any]:
        """Decorator that registers a class or function under `name`.

        `version` is part of the identity of every stage that uses the component: raise it when its
        numbers change. Raises RegistryError for a taken name (naming both places) and for a
        signature that cannot be a config.
        """
        if not isinstance(name, str) or not name:
            raise RegistryError(
                f"{self.kind}: a component is registered under a name:"
                f" @{self.kind}.register('my_name')"
            )

        def decorate(target: Any) -> Any:
            here = place(target)
            home = self.builtin.get(name)
            if home is not None and target.__module__ != home:
                raise RegistryError(
                    f"{self.kind}: {name!r} at {here} is taken by the built-in of {home}; choose"
                    " another name"
                )
            if catalogue.check_exists("udonx", self.kind, name):
                there = place(self._entries.get(name))
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
        init = target.__init__ if inspect.isclass(target) else target
        parameters = [p for p in inspect.signature(init).parameters.values() if p.name != "self"]
        if inspect.isclass(target) and target.__init__ is object.__init__:
            parameters = []
        supplied = tuple(
            p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        )
        loose = [p.name for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if supplied != self.positional or loose:
            got = ", ".join([*supplied, *(f"*{item}" for item in loose)]) or "none"
            raise RegistryError(
                f"{self.kind}: {name!r} at {place(target)} takes the positional parameters ({got}),"
                f" but the builder supplies ({', '.join(self.positional)}); its options are"
                " keyword-only parameters, after a *"
            )
        try:
            options = (
                []
                if inspect.isclass(target) and target.__init__ is object.__init__
                else options_of(target)
            )
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
            raise RegistryError(f"{self.kind}: {name!r} at {place(target)}: {error}") from None

    def names(self) -> list[str]:
        """All names: built in, registered so far, and offered by installed packages; nothing is
        imported for it.
        """
        registered = {key[-1] for key in catalogue.REGISTRY if key[:2] == ("udonx", self.kind)}
        return sorted({*self.builtin, *registered, *self._offered()})

    def _offered(self) -> dict[str, importlib.metadata.EntryPoint]:
        return {point.name: point for point in _entry_points().select(group=f"udonx_{self.kind}")}

    def _import(self, name: str) -> None:
        """Import what registers `name`, or register what an entry point names without the
        decorator.
        """
        if name in self.builtin:
            importlib.import_module(self.builtin[name])
        elif point := self._offered().get(name):
            target = point.load()
            if not catalogue.check_exists("udonx", self.kind, name):
                self.register(name)(target)

    def get(self, name: str) -> Any:
        """The class or function registered as `name`; imports it where it is built in. Raises
        RegistryError with the nearest names.
        """
        if not catalogue.check_exists("udonx", self.kind, name):
            self._import(name)
        try:
            return self._entries.get(name)
        except catalogue.RegistryError:
            raise RegistryError(self.unknown(name)) from None

    def unknown(self, name: str) -> str:
        """The sentence for a name that is not registered."""
        close = nearest(name, self.names())
        hint = f"did you mean {' or '.join(repr(item) for item in close)}? " if close else ""
        return (
            f"{self.kind}: {name!r} is not registered; {hint}registered are"
            f" {', '.join(self.names())}"
        )

    def source(self, name: str) -> source.Source | None:
        """The source of a component as it was imported; None for a built-in, whose version says
        when it changes.

        Raises RegistryError for an unknown name, and for a component without a file whose code
        cannot be hashed.
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
        file, line = _source(target)
        return Component(
            kind=self.kind,
            name=name,
            doc=first_paragraph(target),
            options=(
                ()
                if inspect.isclass(target) and target.__init__ is object.__init__
                else options_of(target)
            ),
            facts=self._facts(target),
            file=file,
            line=line,
            version=self._versions[name],
        )


def _source(target: Any) -> tuple[str, int]:
    try:
        return inspect.getsourcefile(target) or "<unknown>", inspect.getsourcelines(target)[1]
    except (
        OSError,
        TypeError,
    ):  # defined in a notebook or on the command line: there is no file to show
        return f"<{target.__module__}>", 0


def place(target: Any) -> str:
    """`file:line` of a class or function."""
    file, line = _source(target)
    return f"{file}:{line}"
