"""In what a row and those that it starts from must agree, known without building a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

Agreed = Literal["domains", "backbone", "student_head"]
"""Keys of a row; of a backbone its component and model count, of a head its component and dim."""


def agree_in(*keys: Agreed) -> Callable[[Any], Any]:
    """Decorator of an init whose sources must be as the row in certain keys.

    `udonx check` refuses rows that are not; without it only a run finds that tensors do not fit.

    Example:
        >>> @agree_in("backbone")
        ... def halve(model, sources): ...
        >>> agreed_keys(halve)
        ['backbone']
    """

    def decorate(init: Any) -> Any:
        init.agreed = keys
        return init

    return decorate


def agreed_keys(init: Any) -> list[str]:
    """The keys in which the sources of an init must be as the row; none where it says nothing."""
    return list(getattr(init, "agreed", ()))
