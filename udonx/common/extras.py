"""Packages that come with an extra of udonx, imported where they are needed."""

from __future__ import annotations

import importlib
from types import ModuleType

from udonx.common.errors import REFUSED, UdonxError


class MissingExtraError(UdonxError, ImportError):
    """A package that only an extra installs is not there."""

    exit_code = REFUSED


def import_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a module of a package that an extra installs.

    Args:
        module: its dotted name, such as "pyarrow.parquet".
        extra: the extra that brings it.
        purpose: what needs it, as the sentence begins.

    Raises:
        MissingExtraError: the package is not installed.

    Example:
        >>> import_extra("no_such_package", "parquet", "--format parquet")
        Traceback (most recent call last):
        ...
        udonx.common.extras.MissingExtraError: --format parquet needs the package no_such_package:\
 pip install 'udonx[parquet]'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise  # the package is there, and lacks something itself
        raise MissingExtraError(
            f"{purpose} needs the package {package}: pip install 'udonx[{extra}]'"
        ) from error
