"""The weights of one other row, under further domains."""

from __future__ import annotations

from collections.abc import Sequence

from registry import inits
from registry.contracts import NamedTensors
from registry.inits.agreement import agree_in
from registry.inits.matching import matching_tensors, only_source


@inits.register("grow")
@agree_in("backbone", "student_head")
def grow(model: NamedTensors, sources: Sequence[NamedTensors]) -> None:
    """All weights of one row, of other domains or the same: an embedding that domains join.

    Heads of teachers and class columns go by the names of domains: those of new domains start anew,
    those of domains that the row does not train on are left behind.
    """
    source = only_source("grow", sources)
    for tensor, (its,) in matching_tensors("grow", model, [source]):
        tensor.copy_(its)
