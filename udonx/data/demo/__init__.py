"""The demo benchmark: eight domains of generated pictures, in UnED's layout.

They have 48 px, and cues that conflict on purpose.

`write_benchmark(root)` writes it from a seed with no download; with `pretrain=True` it writes eight
other families of pictures, on which the demo's small backbone is pre-trained.
"""

from udonx.data.demo.build import (
    DEMO_DOMAINS,
    PRETRAIN_DOMAINS,
    is_whole,
    plan_benchmark,
    write_benchmark,
)
from udonx.data.demo.drawing import GENERATOR_VERSION

__all__ = [
    "DEMO_DOMAINS",
    "GENERATOR_VERSION",
    "PRETRAIN_DOMAINS",
    "is_whole",
    "plan_benchmark",
    "write_benchmark",
]
