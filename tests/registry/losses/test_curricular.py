"""CurricularFace against a plain loop over images and columns."""

from __future__ import annotations

import math

import pytest
import torch

from registry.losses.curricular import Curricular
from tests.registry.losses.branches import batch_of, branch_of, unit_rows

LABELS = [0, 4, 2, 3, 1, 2]


def by_hand(cosines: list[list[float]], targets: list[int], t: float, m: float, s: float) -> float:
    """The loss as the official code computes it, one number at a time."""
    total = 0.0
    for row, target in zip(cosines, targets, strict=True):
        cosine = row[target]
        within = cosine * math.cos(m) - math.sqrt(1 - cosine**2) * math.sin(m)
        logits = [s * (one * (t + one) if one > within else one) for one in row]
        final = within if cosine > math.cos(math.pi - m) else cosine - math.sin(math.pi - m) * m
        logits[target] = s * final
        total += math.log(sum(map(math.exp, logits))) - logits[target]
    return total / len(targets)


def batches() -> list[torch.Tensor]:
    """Cosines of three batches, easy targets and targets beyond the margin among them."""
    drawn = [
        (unit_rows(6, 4, seed=2 * n) @ unit_rows(5, 4, seed=2 * n + 1).T).detach() for n in range(3)
    ]
    drawn[1][0, LABELS[0]] = 0.97
    drawn[1][1, LABELS[1]] = -0.97
    return drawn


@pytest.mark.parametrize(("m", "scale"), [(0.5, 64.0), (0.2, 16.0), (0.0, 16.0)])
def test_it_equals_a_plain_loop(m: float, scale: float) -> None:
    """Every batch moves t by a hundredth towards the mean cosine of its targets, then has the
    official value.
    """
    loss, t, seen = Curricular(m=m, scale=scale), 0.0, 0
    for cosines in batches():
        got = loss(branch_of(None, cosines), batch_of(LABELS))
        rows = cosines.tolist()
        mean = sum(row[label] for row, label in zip(rows, LABELS, strict=True)) / len(LABELS)
        t = 0.01 * mean + 0.99 * t
        assert loss.t.item() == pytest.approx(t, rel=1e-4)
        assert got.item() == pytest.approx(by_hand(rows, LABELS, t, m, scale), rel=1e-4)
        seen += 1
    assert seen == 3


def test_hard_negatives_weigh_more_the_higher_t_is() -> None:
    """A negative beyond the target's margin gains with t, an easy one does not."""
    cosines = torch.tensor([[0.5, 0.45, -0.9]])
    gradients = []
    for t in (0.0, 0.8):
        loss, cosine_BC = Curricular(scale=1.0), cosines.clone().requires_grad_()
        loss.t.fill_(t)
        loss(branch_of(None, cosine_BC), batch_of([0])).backward()
        gradients.append(cosine_BC.grad[0])
    low, high = gradients
    assert high[1] > 1.5 * low[1] > 0
    assert (high[2] / high[0] - low[2] / low[0]).abs() < 0.1


def test_gradients_are_finite_at_the_ends() -> None:
    """Cosines of 1 and -1, and beyond by rounding, give finite gradients."""
    cosine_BC = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [1 + 1e-6, -1 - 1e-6]], requires_grad=True)
    Curricular()(branch_of(None, cosine_BC), batch_of([0, 0, 0])).backward()
    assert cosine_BC.grad.isfinite().all()


def test_columns_of_a_joint_classifier_compete() -> None:
    """The target of a label is the domain's column, among those of all domains."""
    cosines = batches()[0]
    joint = Curricular()(branch_of(None, cosines, range(2, 5)), batch_of([0, 2, 1, 0, 1, 2]))
    alone = Curricular()(branch_of(None, cosines), batch_of([2, 4, 3, 2, 3, 4]))
    assert torch.equal(joint, alone)
