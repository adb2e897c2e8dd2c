"""The registries: what may be registered, what is derived from a signature, and what they may
import.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from registry.registry import Registry, RegistryError
from tests.snapshots import REGISTRY_CONTENTS, registry_contents
from tests.tiny import python
from udonx.config.descriptions import REGISTRIES, registry_of
from udonx.config.keys import SLOT_KEYS, DataOptions, LossSlot, StartOptions, TuneOptions
from udonx.config.typed import table_options

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTypeCheckers

_number = itertools.count()


@pytest.fixture
def parts() -> Registry:
    """An empty registry of a kind of its own, whose builder supplies (size)."""
    return Registry(f"parts_of_test_{next(_number)}", positional=("size",), builtin={})


class Good:
    """Doc
    line.

    More.
    """

    def __init__(self, size: int, *, depth: int = 2) -> None:
        self.size, self.depth = size, depth


def test_a_taken_name_is_refused_and_both_places_are_named(parts):
    """Registering a second component under a name says where both stand and leaves the first in
    place.
    """
    parts.register("good")(Good)

    class Other:
        def __init__(self, size: int) -> None: ...

    with pytest.raises(RegistryError) as caught:
        parts.register("good")(Other)
    assert str(caught.value).count(f"{Path(__file__)}:") == 2
    assert parts.get("good") is Good


def test_a_built_in_that_is_not_imported_yet_cannot_be_taken():
    """The name of a built-in is refused before anything has imported it, and its home is named."""
    code = (
        "from registry import losses\n"
        "import sys\n"
        "class Mine:\n"
        "    def __call__(self, branch, batch): return 0\n"
        "try:\n"
        "    losses.register('kl_logit')(Mine)\n"
        "except ValueError as error:\n"
        "    print(error)\n"
        "print('registry.losses.kl_logit' in sys.modules)"
    )
    message, imported = python(code).split("\n")
    assert "'kl_logit' at <__main__>:0" in message and "registry.losses.kl_logit" in message
    assert imported == "False"


def test_an_unknown_name_lists_the_nearest_and_all(parts):
    """A misspelt name gives the nearest registered one, then all of them."""
    parts.register("good")(Good)
    with pytest.raises(
        RegistryError, match=r"'god' is not registered; did you mean 'good'\? registered are good"
    ):
        parts.get("god")


@pytest.mark.parametrize(
    ("signature", "got"),
    [
        ("self, *, depth: int = 1", "none"),
        ("self, width: int", "width"),
        ("self, size: int, extra: int = 1", "size, extra"),
        ("self, size: int, *rest: int", r"size, \*rest"),
        ("self, size: int, **rest: int", r"size, \*rest"),
    ],
)
def test_a_signature_that_the_builder_cannot_fill_is_refused(parts, signature, got):
    """Any positional list but the kind's own, and *args and **kwargs, are refused with what was got
    and what is supplied.
    """
    space: dict[str, Any] = {}
    exec(f"class Part:\n    def __init__({signature}): ...", space)
    with pytest.raises(
        RegistryError,
        match=rf"takes the positional parameters \({got}\), but the builder supplies \(size\)",
    ):
        parts.register("part")(space["Part"])
    assert parts.names() == []


def test_options_need_an_annotation_of_an_allowed_type(parts):
    """An option without annotation, of a type outside the closed set, or of a name that only type
    checkers know is refused, by name.
    """

    class Unannotated:
        def __init__(self, size, *, depth=1): ...

    class Disallowed:
        def __init__(self, size: int, *, depth: set[int] = frozenset()): ...

    class Unresolved:
        def __init__(self, size: int, *, depth: OnlyForTypeCheckers = 1): ...

    with pytest.raises(RegistryError, match="option 'depth' has no type annotation"):
        parts.register("a")(Unannotated)
    with pytest.raises(
        RegistryError, match=r"option 'depth': set\[int\] is not allowed; use bool, int"
    ):
        parts.register("b")(Disallowed)
    with pytest.raises(RegistryError, match="OnlyForTypeCheckers"):
        parts.register("c")(Unresolved)


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_option_of_a_built_in_is_described(kind):
    """Each has a sentence that ends in a full stop, and so has each component."""
    for name in REGISTRIES[kind].builtin:
        component = REGISTRIES[kind].describe(name)
        assert component.doc.endswith("."), name
        assert [
            option.name for option in component.options if not option.doc.endswith(".")
        ] == [], name


def test_a_function_is_a_component_too(parts):
    """A function that builds the part is registered and described like a class."""

    @parts.register("made", version=3)
    def made(size: int, *, depth: int = 2) -> Good:
        """Makes a part."""
        return Good(size, depth=depth)

    described = parts.describe("made")
    assert (described.doc, described.version, described.defaults(), parts.get("made")(4).size) == (
        "Makes a part.",
        3,
        {"depth": 2},
        4,
    )


def test_a_loss_is_a_class_that_is_called_with_one_or_two_branches():
    """A function, a class without call, and a call of another arity are no losses, and the message
    says what one is.
    """
    from registry import losses

    class NoCall:
        pass

    class Four:
        def __call__(self, a, b, c, d): ...

    with pytest.raises(RegistryError, match="a loss is a class"):
        losses.register("no_class")(lambda: None)
    with pytest.raises(RegistryError, match=r"needs __call__\(self, branch, batch\)"):
        losses.register("no_call")(NoCall)
    with pytest.raises(RegistryError, match="__call__ takes 4 arguments"):
        losses.register("four")(Four)


def test_a_loss_that_is_a_module_is_known_by_its_forward():
    """Whether a module needs a teacher or a context follows from its own signatures, not from those
    of torch.nn.Module.
    """
    import torch

    from registry import losses

    class Pair(torch.nn.Module):
        def __init__(self, context) -> None:
            super().__init__()

        def forward(self, student, teacher, batch): ...

    class NoForward(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()

    class Other:
        def __init__(self, width) -> None: ...

        def __call__(self, branch, batch): ...

    try:
        losses.register("pair_module")(Pair)
        facts = losses.describe("pair_module").facts
        assert facts == {"needs_teacher": True, "needs_context": True}
        with pytest.raises(RegistryError, match=r"a loss needs forward\(self, branch, batch\)"):
            losses.register("no_forward")(NoForward)
        with pytest.raises(
            RegistryError, match=r"\(width\), but the builder supplies \(\) or \(con"
        ):
            losses.register("other")(Other)
    finally:
        losses.registry.forget({__name__})


def test_a_version_is_one_unless_it_is_given(parts):
    """The version of a component is 1 until its author raises it; its doc is the first paragraph,
    on one line.
    """
    parts.register("good")(Good)
    described = parts.describe("good")
    assert (described.version, described.doc) == (1, "Doc line.")
    assert described.file == str(Path(__file__)) and described.line > 1


def test_an_installed_package_offers_components_by_entry_points(tmp_path):
    """An entry point of the group udonx_losses is listed without being imported, and imported when
    it is asked for.
    """
    (tmp_path / "offered.py").write_text(
        "class Offered:\n    def __call__(self, student, teacher, batch): return 0\n"
    )
    (tmp_path / "offered-1.0.dist-info").mkdir()
    (tmp_path / "offered-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: offered\nVersion: 1.0\n"
    )
    (tmp_path / "offered-1.0.dist-info" / "entry_points.txt").write_text(
        "[udonx_losses]\noffered = offered:Offered\n"
    )
    code = (
        "import sys\nfrom registry import losses\nprint('offered' in losses.names(), 'offered' in"
        " sys.modules, losses.describe('offered').facts['needs_teacher'])"
    )
    assert python(code, PYTHONPATH=str(tmp_path)) == "True False True"


@pytest.mark.parametrize(
    "before", ["", "import registry.losses.relational, registry.losses.functional"]
)
def test_the_registry_is_the_same_whatever_was_imported_before(before):
    """`from registry import losses` gives the registry with all built-ins, before and after its
    component files are imported.
    """
    code = (
        f"{before}\nfrom registry import losses\nprint("
        "losses.names() == sorted(losses.registry.builtin),"
        " losses.get('relational').__name__, losses.registry.kind)"
    )
    assert python(code) == "True Relational losses"


def test_registry_contents_are_those_of_the_snapshot():
    """Adding, removing or changing a built-in is a visible change of registry_contents.json."""
    assert registry_contents() == json.loads(REGISTRY_CONTENTS.read_text())


def test_planning_needs_no_torch():
    """Contracts, schemes, samplers, configuration and planning are imported and described without
    torch.
    """
    code = (
        "import sys\nimport registry.contracts, udonx, udonx.config.experiment,"
        " udonx.config.schema\nimport udonx.planning.plan, udonx.planning.identity\nfrom registry"
        " import samplers, schemes\nfor kind in (samplers, schemes):\n    [kind.describe(name) for"
        " name in kind.names()]\nprint([name for name in ('torch', 'timm', 'sacred', 'faiss') if"
        " name in sys.modules])"
    )
    assert python(code) == "[]"


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        ("losses", "weight"),
        ("losses", "on"),
        ("heads", "use"),
        ("backbones", "hub"),
        ("samplers", "use"),
    ],
)
def test_an_option_named_like_a_key_of_its_slot_is_refused(kind, option):
    """It could never be set from a file."""
    registry = registry_of(kind)
    supplied = ", ".join(registry.positional)
    space: dict = {}
    exec(f"def mine({supplied + ', ' if supplied else ''}*, {option}: float = 7.0): pass", space)
    with pytest.raises(
        RegistryError,
        match=(
            f"option '{option}' could never be set, since use.* are keys of what names it;"
            " rename it"
        ),
    ):
        registry.register("taken_key")(space["mine"])


def test_the_reserved_names_are_the_keys_of_the_slots():
    """What a registry refuses as an option's name is what the slots of its kind have as keys of
    their own.
    """
    slots = {
        "backbones": StartOptions,
        "sources": DataOptions,
        "losses": LossSlot,
        "searches": TuneOptions,
        **{kind: slot for kind, slot in SLOT_KEYS.values()},
    }
    expected = {
        kind: {option.name for option in table_options(slot)} for kind, slot in slots.items()
    }
    expected["searches"].add("space")
    expected["metrics"] = set()  # named in a list: they have no slot
    assert {kind: set(registry.reserved) for kind, registry in REGISTRIES.items()} == expected


def test_a_component_is_described_once_until_it_is_imported_anew(parts):
    """Reading its source takes milliseconds; a name that means another class is described again."""

    def define(default: float) -> type:
        class Mine:
            def __init__(self, size: int, *, factor: float = default) -> None: ...

        return parts.register("described_once")(Mine)

    define(1.0)
    first = parts.describe("described_once")
    assert parts.describe("described_once") is first
    parts.forget({__name__})
    define(2.0)
    assert parts.describe("described_once").defaults() == {"factor": 2.0}
