"""ArcFace with margins by class counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from registry.classifiers.sub_centre import SubCentreClassifier
from registry.losses.dynamic_arcface import DynamicArcFace
from tests.registry.losses.branches import batch_of, branch_of, context_of, unit_rows
from udonx.engine.model import Classifiers

COUNTS = {"birds": [4, 100, 9, 9], "cars": [1, 50, 7, 20, 3]}


def margin(sizes: list[int], label: int, shape: str) -> float:
    """The margin between 0.1 and 0.6 of a class, as the sources' code has it."""
    if shape == "power":
        small = np.sqrt(1 / np.sqrt(np.array(sizes)))
        return ((small - small.min()) / (small.max() - small.min()) * 0.5 + 0.1)[label]
    x = (sizes[label] - min(sizes)) / (max(sizes) - min(sizes))
    return 0.1 + 0.5 * (0.6 - 0.1) * (1 + math.cos(math.pi * x))


def by_loop(cosines: Tensor, columns: list[int], margins: list[float]) -> float:
    """The mean over images of the cross-entropy with each image's margin on its column."""
    terms = []
    for row, column, m in zip(cosines.tolist(), columns, margins, strict=True):
        angle = math.acos(row[column])
        logits = np.array(row) * 16
        logits[column] = 16 * (
            math.cos(angle + m) if angle < math.pi - m else row[column] - m * math.sin(m)
        )
        terms.append(np.log(np.exp(logits).sum()) - logits[column])
    return float(np.mean(terms))


@pytest.mark.parametrize("shape", ["power", "cosine"])
@pytest.mark.parametrize("kind", ["joint", "separate"])
def test_it_equals_a_plain_loop(shape: str, kind: str) -> None:
    """On class columns with several centres, joint or separate, the value is that of a loop with
    the margins of the domain's class counts.
    """
    torch.manual_seed(0)
    modules = [SubCentreClassifier(8, len(sizes), k=2) for sizes in COUNTS.values()]
    classifiers = Classifiers(modules, tuple(COUNTS), joint=kind == "joint").double()
    cosine_BC, columns = classifiers(unit_rows(4, 8), "cars")
    loss = DynamicArcFace(context_of(COUNTS), m_max=0.6, m_min=0.1, shape=shape)
    labels = [0, 3, 1, 4]
    got = loss(branch_of(None, cosine_BC, columns), batch_of(labels))
    own = [columns.start + label for label in labels]
    margins = [margin(COUNTS["cars"], label, shape) for label in labels]
    assert cosine_BC.shape[1] == (9 if kind == "joint" else 5)
    assert got.item() == pytest.approx(by_loop(cosine_BC, own, margins), rel=1e-5)


def test_with_one_margin_it_is_arcface() -> None:
    """With m_min = m_max it is ArcFace, that of pytorch-metric-learning beyond pi too."""
    pml = pytest.importorskip("pytorch_metric_learning.losses")
    theirs = pml.ArcFaceLoss(num_classes=5, embedding_size=8, margin=math.degrees(0.5), scale=16)
    columns_CD = unit_rows(5, 8, seed=1).detach()
    theirs.W.data = columns_CD.T.clone()
    embedding_BD = torch.cat([unit_rows(3, 8).detach(), -columns_CD[2:3]])
    labels = [1, 0, 4, 2]  # the last image is opposite to its column
    cosine_BC = (embedding_BD @ columns_CD.T).requires_grad_()
    loss = DynamicArcFace(context_of(COUNTS), m_max=0.5, m_min=0.5)
    got = loss(branch_of(None, cosine_BC), batch_of(labels))
    expected = theirs(embedding_BD, torch.tensor(labels))
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=0)


def test_it_is_finite_at_the_poles() -> None:
    """Where rounding puts a cosine at 1 or past it, loss and gradient are finite."""
    cosine_BC = torch.tensor([[1.0, 0.0], [1 + 1e-6, 0.0], [-1 - 1e-6, 0.0]], requires_grad=True)
    loss = DynamicArcFace(context_of({"cars": [3, 5]}))
    loss(branch_of(None, cosine_BC), batch_of([0, 0, 0])).backward()
    assert bool(cosine_BC.grad.isfinite().all())


def test_classes_of_one_size_have_the_largest_margin() -> None:
    """Where all classes of a domain are equally large, all are its smallest."""
    for shape in ("power", "cosine"):
        loss = DynamicArcFace(context_of({"cars": [6, 6, 6]}), m_max=0.4, shape=shape)
        torch.testing.assert_close(loss.margins, torch.full((3,), 0.4))


def test_its_margins_are_no_state() -> None:
    """They follow from the data: a checkpoint need not hold them; they move with the module."""
    loss = DynamicArcFace(context_of(COUNTS))
    assert loss.state_dict() == {}
    assert nn.ModuleList([loss]).to(torch.float64)[0].margins.dtype == torch.float64


def test_margins_in_the_wrong_order_are_refused() -> None:
    """m_min above m_max is one sentence."""
    with pytest.raises(ValueError, match=r"m_min = 0\.6 above m_max = 0\.5; small classes"):
        DynamicArcFace(context_of(COUNTS), m_min=0.6)
