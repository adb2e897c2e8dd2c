"""How much a request, and all of them together, may take."""

from __future__ import annotations

import attrs

from udonx.serving.errors import ServeError


def _positive(_: object, attribute: attrs.Attribute, value: float) -> None:
    if not value > 0:
        option = "--" + attribute.name.replace("_", "-")
        raise ServeError(f"{option}: got {value}, allowed is a number above 0")


@attrs.frozen(kw_only=True)
class Limits:
    """How much a request, and all of them together, may take.

    Attributes:
        max_megabytes: of an upload.
        max_megapixels: of a picture; a larger one is refused before it is decoded.
        max_seconds: for an upload, and again for its answer.
        max_requests: that are under way at once; further ones are refused.
    """

    max_megabytes: float = attrs.field(default=20, validator=_positive)
    max_megapixels: float = attrs.field(default=50, validator=_positive)
    max_seconds: float = attrs.field(default=30, validator=_positive)
    max_requests: int = attrs.field(default=64, validator=_positive)

    @property
    def max_bytes(self) -> int:
        """Of an upload."""
        return int(self.max_megabytes * 1e6)

    @property
    def max_pixels(self) -> int:
        """Of a picture."""
        return int(self.max_megapixels * 1e6)
