"""Supervised contrastive learning."""

from __future__ import annotations

import math

import pytest
import torch

from registry.losses.supcon import SupCon
from tests.registry.losses.branches import batch_of, branch_of, unit_rows

LABELS = [0, 1, 0, 2, 1, 0, 3]


def test_it_equals_a_plain_loop() -> None:
    """The value is the mean, over images with a positive, of -log p averaged over positives."""
    rows = unit_rows(len(LABELS), 5).detach().tolist()
    terms = []
    for i, anchor in enumerate(rows):
        logits = {
            j: math.fsum(a * b for a, b in zip(anchor, other, strict=True)) / 0.2
            for j, other in enumerate(rows)
            if j != i
        }
        total = math.log(math.fsum(math.exp(value) for value in logits.values()))
        positives = [total - logits[j] for j in logits if LABELS[j] == LABELS[i]]
        if positives:
            terms.append(sum(positives) / len(positives))
    got = SupCon(temperature=0.2)(branch_of(torch.tensor(rows)), batch_of(LABELS))
    assert len(terms) == 5
    assert got.item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_it_equals_that_of_pytorch_metric_learning() -> None:
    """Value and gradient are those of SupConLoss, which leaves out images without a positive too.

    PML gives 0 for a batch of one class alone, where this has the paper's value.
    """
    pml = pytest.importorskip("pytorch_metric_learning.losses")
    ours, theirs = unit_rows(len(LABELS), 5), unit_rows(len(LABELS), 5)
    loss = SupCon()(branch_of(ours), batch_of(LABELS))
    expected = pml.SupConLoss(temperature=0.1)(theirs, torch.tensor(LABELS))
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    loss.backward()
    expected.backward()
    # PML normalises again, which takes the radial part out of the gradient.
    tangent = ours.grad - (ours.grad * ours).sum(1, keepdim=True) * ours
    torch.testing.assert_close(tangent, theirs.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("labels", [[0, 1, 2], [0]])
def test_without_any_positive_it_is_zero(labels: list[int]) -> None:
    """A batch where no class has two images gives 0 with a gradient of zeros, not nan."""
    embedding_BD = unit_rows(len(labels), 4)
    loss = SupCon()(branch_of(embedding_BD), batch_of(labels))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(embedding_BD.grad, torch.zeros_like(embedding_BD))
