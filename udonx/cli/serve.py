"""`udonx serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from udonx.running.options import DeviceName
from udonx.serving.limits import Limits
from udonx.serving.serve import LOOPBACK, PORT
from udonx.serving.serve import serve as serve_index

IndexFolder = Annotated[Path, Parameter(name="INDEX", help="a folder that `udonx index` wrote")]
Host = Annotated[
    str,
    Parameter(
        metavar="ADDRESS", help=f"where it listens (default: {LOOPBACK}, this machine alone)"
    ),
]
Port = Annotated[int, Parameter(metavar="N", help=f"0 for any that is free (default: {PORT})")]
Model = Annotated[
    str | None,
    Parameter(metavar="MODEL", help="what embeds pictures (default: where the index says it lies)"),
]
Weights = Annotated[
    Path | None,
    Parameter(metavar="DIR", help="where start weights of backbones are looked up first"),
]
_LIMITS = Limits()
MaxMegabytes = Annotated[
    float, Parameter(metavar="N", help=f"of an upload (default: {_LIMITS.max_megabytes:g})")
]
MaxMegapixels = Annotated[
    float, Parameter(metavar="N", help=f"of a picture (default: {_LIMITS.max_megapixels:g})")
]
MaxSeconds = Annotated[
    float,
    Parameter(
        metavar="N",
        help=f"for an upload, and again for its answer (default: {_LIMITS.max_seconds:g})",
    ),
]
MaxRequests = Annotated[
    int,
    Parameter(
        metavar="N",
        help=f"at once; further ones are refused (default: {_LIMITS.max_requests})",
    ),
]


def serve(
    index: IndexFolder,
    /,
    *,
    host: Host = LOOPBACK,
    port: Port = PORT,
    model: Model = None,
    weights: Weights = None,
    device: DeviceName = None,
    max_megabytes: MaxMegabytes = _LIMITS.max_megabytes,
    max_megapixels: MaxMegapixels = _LIMITS.max_megapixels,
    max_seconds: MaxSeconds = _LIMITS.max_seconds,
    max_requests: MaxRequests = _LIMITS.max_requests,
) -> None:
    """Serve until Ctrl-C, then say how much was answered and how fast."""
    limits = Limits(
        max_megabytes=max_megabytes,
        max_megapixels=max_megapixels,
        max_seconds=max_seconds,
        max_requests=max_requests,
    )
    serve_index(
        index, host=host, port=port, model=model, weights=weights, device=device, limits=limits
    )
