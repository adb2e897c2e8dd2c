"""Words for people: values, paths, names that are not known, durations."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from registry.registry import nearest


def format_value(value: Any) -> str:
    """A value as it stands in TOML, cut to one short line.

    >>> format_value(True), format_value("a"), format_value([1, "b"])
    ('true', '"a"', '[1, "b"]')
    """
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, str):
        # a terminal would take a control character for a command
        letters = (
            letter if letter.isprintable() else ascii(letter)[1:-1] for letter in value[:100]
        )
        text = f'"{"".join(letters)}"'
    elif isinstance(value, dict):
        items = (f"{key} = {format_value(item)}" for key, item in value.items())
        text = f"{{ {', '.join(items)} }}"
    elif isinstance(value, list | tuple):
        text = f"[{', '.join(map(format_value, value))}]"
    else:
        text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def printable(text: str) -> str:
    r"""A text without characters that steer a terminal or break a line: each is spelt out.

    >>> printable("red \x1b[31m\n"), printable("Käse ±")
    ('red \\x1b[31m\\n', 'Käse ±')
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def display_path(path: Path | str) -> str:
    """A path as a person would write it: relative to the working directory if it lies below it."""
    try:
        return str(Path(path).resolve().relative_to(Path.cwd()))
    except (ValueError, RuntimeError):  # it lies elsewhere; a NUL in it; a link to itself
        return str(path)


def dotted_key(*parts: str) -> str:
    """Parts of a key, empty ones left out, as one dotted key.

    >>> dotted_key("", "rows.udon", "losses")
    'rows.udon.losses'
    """
    return ".".join(part for part in parts if part)


def did_you_mean(name: str, there: Iterable[str]) -> str:
    """The end of a sentence about a name that is not there: the nearest ones that are.

    >>> did_you_mean("udn", ["udon", "baseline"])
    "; did you mean 'udon'?"
    """
    close = nearest(name, there)
    return f"; did you mean {' or '.join(repr(item) for item in close)}?" if close else ""


def unknown(name: str, allowed: Iterable[str], what: str = "key") -> str:
    """The sentence for a name that is not allowed, with the nearest ones.

    >>> unknown("lr_head", ["lr_heads", "frozen"])
    "unknown key; did you mean 'lr_heads'? allowed: frozen, lr_heads"
    """
    allowed = sorted(allowed)
    close = nearest(name, allowed, 2)
    hint = f"did you mean {' or '.join(repr(item) for item in close)}? " if close else ""
    return f"unknown {what}; {hint}allowed: {', '.join(allowed) or 'none'}"


def plural(count: int, noun: str) -> str:
    """A count and its noun.

    >>> plural(1, "stage"), plural(3, "row")
    ('1 stage', '3 rows')
    """
    return f"{count} {noun}{'s' * (count != 1)}"


def roughly(seconds: float) -> str:
    """A duration that is only about known.

    >>> roughly(0.4), roughly(42), roughly(144), roughly(1500), roughly(7300), roughly(400_000)
    ('1 s', '42 s', '2.4 min', '25 min', '2.0 h', '4.6 days')
    """
    for unit, size, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        if (count := seconds / size) < most:
            in_full = count >= 10 or unit == "s"
            return f"{max(1, round(count))} {unit}" if in_full else f"{count:.1f} {unit}"
    return f"{seconds / 86400:.1f} days"


def clock(seconds: float) -> str:
    """A duration as people say it.

    >>> clock(42), clock(200), clock(7300)
    ('42 s', '3 min 20 s', '2 h 1 min')
    """
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
