"""TOML files: where they are found, and what they hold."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from udonx.common.files import DamagedFileError, read_bytes
from udonx.common.words import did_you_mean, display_path
from udonx.config.problems import ConfigError, Problem


def _shipped_folder() -> Path:
    """The folder of the experiment files that ship with udonx.

    It is data of the package where that is installed, the folder beside the package in a checkout.
    """
    package = Path(__file__).resolve().parents[1]
    installed = package / "experiments"
    return installed if installed.is_dir() else package.parent / "experiments"


SHIPPED = _shipped_folder()

DEEPEST = 32  # tables in tables: far beyond any use, far below what recursion stands
_LARGEST = 2**63  # of TOML's own whole numbers


def is_there(path: Path) -> bool:
    """Whether there is a file or folder of that name.

    It is False for a name that none can have: one with a NUL, or too long.
    """
    try:
        return path.exists()
    except OSError:
        return False


def shipped(path: str | Path) -> Path:
    """The experiment file or folder that a person means.

    Returns:
        The path itself; where nothing is there, what ships with udonx under that name:
        `table3_ablation`, `table3_ablation.toml` or `experiments/table3_ablation.toml`.

    Example:
        >>> shipped(Path("table3_ablation")) == SHIPPED / "table3_ablation.toml"
        True
    """
    path = Path(path)
    parts = path.parts[1:] if path.parts[:1] == (SHIPPED.name,) else path.parts
    if is_there(path) or path.is_absolute() or ".." in parts:
        return path
    inside = SHIPPED.joinpath(*parts)
    return next(
        (file for file in (inside, inside.with_name(f"{inside.name}.toml")) if is_there(file)), path
    )


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        ConfigError: the file is missing (the nearest names are named) or cannot be read; it is no
            TOML (the line is named); or it holds what no key here means: tables more than 32 deep,
            whole numbers beyond 64 bits.
    """
    path = Path(path)
    try:
        return parse_toml(read_bytes(path).decode("utf-8-sig"))
    except FileNotFoundError:
        there = [item.name for folder in (path.parent, SHIPPED) for item in folder.glob("*.toml")]
        message = f"there is no such file{did_you_mean(path.name, there)}"
    except DamagedFileError as error:
        message = error.why
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    except ValueError as error:  # a path with a NUL in it is one too
        message = f"is not valid TOML: {error}"
    raise ConfigError([Problem(where=display_path(path), message=message)])


def _name_and_table(text: str, error: str) -> str:
    """What to do where a key is a name and, further down, a table.

    That is the natural first try at changing a part of what is named.
    """
    place = re.match(r"Cannot overwrite a value \(at line (\d+)", error)
    if place is None:
        return ""
    *above, line = text.split("\n")[: int(place.group(1))]
    for key in re.findall(r"[\w-]+", line.partition("=")[0]):
        for earlier in above:
            if named := re.match(rf'\s*(?:[\w.-]+\.)?{key}\s*=\s*("[^"]*")', earlier):
                table, word = ("[setting]", "inherit") if key == "setting" else ("a table", "use")
                return (
                    f"; '{key}' is a name and a table at once: write {table} with {word} ="
                    f" {named.group(1)}, and beside it what differs"
                )
    return ""


def parse_toml(text: str) -> dict[str, Any]:
    """TOML as plain data.

    Raises:
        ValueError: what is wrong with it; never RecursionError.

    Example:
        >>> parse_toml("a = 9223372036854775808")
        Traceback (most recent call last):
        ...
        ValueError: a whole number has more than 64 bits
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{error}{_name_and_table(text, str(error))}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:  # Python reads no number of more digits than this
        raise ValueError(
            f"a whole number has more than {sys.get_int_max_str_digits()} digits"
        ) from None
    level = [content]
    for _ in range(DEEPEST):
        level = [
            item
            for value in level
            for item in (value.values() if isinstance(value, dict) else value)
        ]
        if any(isinstance(item, int) and not -_LARGEST <= item < _LARGEST for item in level):
            raise ValueError("a whole number has more than 64 bits")
        level = [item for item in level if isinstance(item, dict | list)]
    if level:
        raise ValueError(f"its tables and lists are more than {DEEPEST} deep")
    return content
