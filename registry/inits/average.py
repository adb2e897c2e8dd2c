"""The mean of the weights of other rows.

Source: Model soups, ICML 2022 (rows that differ in their options); WiSE-FT, CVPR 2022 (a row and
the start weights that it was trained from).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from registry import inits
from registry.contracts import NamedTensors
from registry.inits.agreement import agree_in
from registry.inits.matching import matching_tensors

Weight = Annotated[float, Field(ge=0)]


@inits.register("average")
@agree_in("backbone", "student_head")
def average(
    model: NamedTensors,
    sources: Sequence[NamedTensors],
    *,
    weights: Annotated[
        list[Weight] | None,
        Field(
            description=(
                "How much each row of `from` counts, in its order; divided by their sum. Without"
                " it all count the same."
            )
        ),
    ] = None,
) -> None:
    """The weighted mean of the weights of several rows: a soup, or WiSE-FT with the start weights.

    The mean of weights is only good where all rows have the same start. Counters in buffers, which
    have no mean, are those of the first row.
    """
    given = [1.0] * len(sources) if weights is None else weights
    if len(given) != len(sources) or not sum(given) > 0:
        raise ValueError(
            f"init 'average' got the weights {given} for {len(sources)} rows, allowed is one for"
            " each row, not all of them 0"
        )
    shares = [weight / sum(given) for weight in given]
    for tensor, theirs in matching_tensors("average", model, sources):
        if tensor.is_floating_point():
            parts = [share * its.double() for share, its in zip(shares, theirs, strict=True)]
            tensor.copy_(sum(parts[1:], start=parts[0]))
        else:
            tensor.copy_(theirs[0])
