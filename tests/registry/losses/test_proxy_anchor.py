"""Proxy-Anchor on the model's own class columns."""

from __future__ import annotations

import math

import pytest
import torch

from registry.losses.proxy_anchor import ProxyAnchor
from tests.registry.losses.branches import batch_of, branch_of, unit_rows

LABELS = [0, 2, 0, 3]


def test_it_equals_a_plain_loop() -> None:
    """The value is equation 4 of the paper, on the columns of the batch's domain alone."""
    cosines = (unit_rows(4, 6) @ unit_rows(8, 6, seed=1).T).detach()
    own = cosines[:, 2:7].tolist()
    pull, push = [], []
    for column in range(5):
        near = [32 * (0.1 - row[column]) for row, c in zip(own, LABELS, strict=True) if c == column]
        far = [32 * (0.1 + row[column]) for row, c in zip(own, LABELS, strict=True) if c != column]
        if near:
            pull.append(math.log(1 + sum(map(math.exp, near))))
        push.append(math.log(1 + sum(map(math.exp, far))))
    got = ProxyAnchor()(branch_of(None, cosines, range(2, 7)), batch_of(LABELS))
    assert got.item() == pytest.approx(sum(pull) / len(pull) + sum(push) / len(push), rel=1e-5)


def test_it_equals_that_of_pytorch_metric_learning() -> None:
    """Value and gradients of embeddings and columns are those of ProxyAnchorLoss."""
    pml = pytest.importorskip("pytorch_metric_learning.losses")
    ours, columns, theirs = unit_rows(4, 6), unit_rows(5, 6, seed=1), unit_rows(4, 6)
    reference = pml.ProxyAnchorLoss(num_classes=5, embedding_size=6, margin=0.2, alpha=8)
    reference.proxies.data = columns.detach().clone()
    cosine_BC = torch.nn.functional.normalize(ours) @ torch.nn.functional.normalize(columns).T
    loss = ProxyAnchor(margin=0.2, alpha=8)(branch_of(None, cosine_BC), batch_of(LABELS))
    expected = reference(theirs, torch.tensor(LABELS))
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(columns.grad, reference.proxies.grad, rtol=1e-4, atol=1e-6)


def test_columns_of_other_domains_get_no_gradient() -> None:
    """In a joint classifier only the columns of the batch's domain are pulled or pushed."""
    cosine_BC = torch.zeros(4, 8, requires_grad=True)
    ProxyAnchor()(branch_of(None, cosine_BC, range(2, 7)), batch_of(LABELS)).backward()
    assert cosine_BC.grad[:, [0, 1, 7]].abs().sum() == 0
    assert (cosine_BC.grad[:, 2:7].abs().sum(0) > 0).all()
