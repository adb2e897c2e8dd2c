"""The weights of one other row, to train them further."""

from __future__ import annotations

from collections.abc import Sequence

from registry import inits
from registry.contracts import NamedTensors
from registry.inits.agreement import agree_in
from registry.inits.matching import matching_tensors, only_source


@inits.register("same")
@agree_in("domains", "backbone", "student_head")
def same(model: NamedTensors, sources: Sequence[NamedTensors]) -> None:
    """All weights of one row of the same domains, such as a first part of training.

    What that row does not have, teacher heads or class columns of another shape, starts anew.
    """
    source = only_source("same", sources)
    here, there = sorted(model.position), sorted(source.position)
    if here != there:
        raise ValueError(
            f"init 'same' needs a row of the same domains, got {', '.join(there)}; this row has"
            f" {', '.join(here)}; 'grow' takes rows of others"
        )
    for tensor, (its,) in matching_tensors("same", model, sources):
        tensor.copy_(its)
