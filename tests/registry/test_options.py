"""What is derived from a signature: options with types, defaults and words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from registry.contracts import Pixels, Steps
from registry.options import format_type, options_of


def test_options_are_derived_from_the_signature():
    """Bounds, literals, unions, sequences, tables, paths and cadences become plain data, with
    defaults; positional ones are no options.
    """

    def part(
        size: int,
        *,
        needed: Path,
        rate: Annotated[float, Field(gt=0, le=1)] = 0.5,
        mode: Literal["a", "b"] = "a",
        limit: int | None = None,
        every: Steps = "20%",
        pair: tuple[int, float] = (1, 2.0),
        shares: dict[str, float] | None = None,
        names: list[str] = (),
        on: bool = True,
    ) -> None: ...

    options = {option.name: option for option in options_of(part)}
    assert list(options) == [
        "needed",
        "rate",
        "mode",
        "limit",
        "every",
        "pair",
        "shares",
        "names",
        "on",
    ]
    assert {name: option.type for name, option in options.items()} == {
        "needed": {"type": "path"},
        "rate": {"type": "float", "bounds": {"gt": 0, "le": 1}},
        "mode": {"type": "literal", "values": ["a", "b"]},
        "limit": {"type": "union", "of": [{"type": "int"}, {"type": "none"}]},
        "every": {"type": "steps"},
        "pair": {"type": "tuple", "of": [{"type": "int"}, {"type": "float"}]},
        "shares": {
            "type": "union",
            "of": [{"type": "dict", "of": {"type": "float"}}, {"type": "none"}],
        },
        "names": {"type": "list", "of": {"type": "str"}},
        "on": {"type": "bool"},
    }
    assert [name for name, option in options.items() if option.required] == ["needed"]
    assert (options["pair"].default, options["names"].default, options["every"].default) == (
        [1, 2.0],
        [],
        "20%",
    )
    assert options["rate"].format_type() == "float > 0 and <= 1"
    assert format_type(options["mode"].type) == "one of 'a', 'b'"


def test_an_option_has_the_words_of_its_annotation():
    """Sentence and unit come from the annotation's fields, the outer ones first; an option without
    them has neither, and is as good.
    """

    def part(
        *,
        edge: Annotated[Pixels, Field(description="Edge of the crop.")] = 8,
        every: Steps = 1,
        plain: int = 0,
    ) -> None: ...

    words = {option.name: (option.doc, option.unit) for option in options_of(part)}
    assert words == {
        "edge": ("Edge of the crop.", "pixels"),
        "every": ("", "steps"),
        "plain": ("", ""),
    }
