"""The errors of images, splits and folders of data."""

from __future__ import annotations

from udonx.common.errors import REFUSED, UdonxError


class DataError(UdonxError, ValueError):
    """Data on disk is missing or malformed.

    The message is one sentence: where, what was got, what is allowed, what to do.
    """


class SplitError(DataError):
    """Folders that cannot be split as they were asked to be; nothing was written."""

    exit_code = REFUSED
