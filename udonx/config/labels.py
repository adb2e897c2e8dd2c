"""Labels of rows.

`{domains}` stands for the number of domains in them, so that a label holds for any data.
"""

from __future__ import annotations

from string import Formatter

from udonx.common.words import format_value, unknown

PLACEHOLDERS = frozenset({"domains"})


def label_problem(label: str) -> str | None:
    """What is wrong with a label's placeholders, in one sentence; None for a good one.

    Example:
        >>> label_problem("{domains} separate teachers"), label_problem("a {{plain}} brace")
        (None, None)
        >>> label_problem("{domain} teachers").partition("; ")[0]
        'got "{domain} teachers", where {domain} is an unknown placeholder'
    """
    plain = "a plain brace is written twice: {{ or }}"
    try:
        fields = [
            (name, spec, conversion)
            for _, name, spec, conversion in Formatter().parse(label)
            if name is not None
        ]
    except ValueError as error:
        return f"got {format_value(label)}, whose braces do not match ({error}); {plain}"
    for name, spec, conversion in fields:
        if name not in PLACEHOLDERS:
            return (
                f"got {format_value(label)}, where {{{name}}} is an"
                f" {unknown(name, PLACEHOLDERS, 'placeholder')}"
            )
        if spec or conversion:
            return (
                f"got {format_value(label)}, allowed is {{{name}}} without anything behind the"
                f" name; {plain}"
            )
    return None


def label_of_name(name: str) -> str:
    """The label of a row that gives none.

    Example:
        >>> label_of_name("both_{x}")
        'both {{x}}'
    """
    return escape(name.replace("_", " "))


def escape(text: str) -> str:
    """A text as a label that shows it: its braces are no placeholders.

    Example:
        >>> escape("{x}")
        '{{x}}'
    """
    return text.replace("{", "{{").replace("}", "}}")


def fill(label: str, domains: int | None) -> str:
    """A label with its placeholders filled.

    Where the number of domains is not known, N stands in its place.

    Example:
        >>> fill("{domains} separate teachers", 8), fill("{domains} heads", None), fill("{{x}}", 8)
        ('8 separate teachers', 'N heads', '{x}')
    """
    return label.format(domains="N" if domains is None else domains)
