"""Cross-entropy with logit adjustment."""

from __future__ import annotations

import math

import attrs
import pytest
import torch

from registry.contracts import LossContext
from registry.losses.prior_ce import PriorCrossEntropy
from tests.registry.losses.branches import batch_of, branch_of, unit_rows

COUNTS = {"boats": [7, 2], "cars": [500, 50, 5], "dogs": [1, 0, 9]}
CONTEXT = LossContext(
    name="prior",
    on="student",
    domains=tuple(COUNTS),
    class_counts={domain: torch.tensor(counts) for domain, counts in COUNTS.items()},
    student_dim=6,
    teacher_dim=None,
    steps=10,
)
LABELS = [0, 2, 1, 2]


def by_hand(
    logits: list[list[float]], counts: list[int], power: float, targets: list[int]
) -> float:
    """Cross-entropy of logits + power log(counts), in a plain loop."""
    total = 0.0
    for row, target in zip(logits, targets, strict=True):
        moved = [
            16 * cosine + power * math.log(max(1, count))
            for cosine, count in zip(row, counts, strict=True)
        ]
        total += math.log(sum(map(math.exp, moved))) - moved[target]
    return total / len(targets)


@pytest.mark.parametrize("power", [-0.5, 0.0, 1.0, 2.5])
def test_it_equals_a_plain_loop(power: float) -> None:
    """The counts are those of the batch's domain; of all domains in a joint classifier, where a
    class without images counts as one of 1.
    """
    loss = PriorCrossEntropy(CONTEXT, power=power)
    cosines = (unit_rows(4, 6) @ unit_rows(8, 6, seed=1).T).detach()
    own = loss(branch_of(None, cosines[:, 2:5]), batch_of(LABELS))
    assert own.item() == pytest.approx(
        by_hand(cosines[:, 2:5].tolist(), COUNTS["cars"], power, LABELS), rel=1e-5
    )
    joint = loss(branch_of(None, cosines, range(2, 5)), batch_of(LABELS))
    every = [count for counts in COUNTS.values() for count in counts]
    targets = [2 + label for label in LABELS]
    assert joint.item() == pytest.approx(by_hand(cosines.tolist(), every, power, targets), rel=1e-5)
    dogs = attrs.evolve(batch_of(LABELS), domain="dogs")
    assert loss(branch_of(None, cosines[:, 5:]), dogs).item() == pytest.approx(
        by_hand(cosines[:, 5:].tolist(), COUNTS["dogs"], power, LABELS), rel=1e-5
    )


@pytest.mark.parametrize(
    ("power", "biases"),
    [(-0.5, (-3.11, -1.96, -0.80)), (1.0, (6.21, 3.91, 1.61)), (2.5, (15.54, 9.78, 4.02))],
)
def test_the_biases_are_those_of_mdcs(power: float, biases: tuple[float, ...]) -> None:
    """500, 50 and 5 images give the biases of the three experts of MDCS."""
    loss = PriorCrossEntropy(CONTEXT, power=power)
    assert (power * loss.log_counts[2:5]).tolist() == pytest.approx(biases, abs=0.005)


def test_no_checkpoint_holds_what_follows_from_the_data() -> None:
    """It has no state, but moves to a device with its buffer."""
    loss = PriorCrossEntropy(CONTEXT)
    assert not loss.state_dict() and dict(loss.named_buffers()).keys() == {"log_counts"}
