"""What keeps an index from being served."""

from __future__ import annotations

from udonx.common.errors import REFUSED, UdonxError


class ServeError(UdonxError, ValueError):
    """An address, a limit or an index that cannot be served."""

    exit_code = REFUSED
