"""AdaFace: margins by the norms of embeddings."""

from __future__ import annotations

import math
import statistics

import attrs
import numpy as np
import pytest
import torch
from torch import Tensor

from registry.classifiers.sub_centre import SubCentreClassifier
from registry.contracts import Batch, Branch
from registry.losses.adaface import AdaFace
from tests.registry.losses.branches import batch_of, branch_of, context_of, unit_rows
from udonx.engine.model import Classifiers

COUNTS = {"birds": [4, 100, 9, 9], "cars": [1, 50, 7, 20, 3]}
LABELS = [0, 3, 1, 4]
NORMS = [[1.0, 1.3, 0.6, 2.9], [0.7, 0.9, 1.2, 1.1], [1.5, 1.4, 0.2, 1.3]]


def with_norms(branch: Branch, norms: list[float]) -> Branch:
    """The branch with embeddings of these norms before their normalisation."""
    return attrs.evolve(branch, raw_BD=torch.diag(torch.tensor(norms)))


def by_loop(
    cosines: Tensor, columns: list[int], norms: list[float], mean: float, std: float
) -> float:
    """The source's loss with m 0.4, h 0.333 and the scale 16, image by image."""
    terms = []
    for row, column, norm in zip(cosines.tolist(), columns, norms, strict=True):
        logits = np.clip(np.array(row), -1 + 1e-3, 1 - 1e-3)
        quality = min(1.0, max(-1.0, 0.333 * (norm - mean) / (std + 1e-3)))
        angle = math.acos(logits[column]) - 0.4 * quality
        angle = min(math.pi - 1e-3, max(1e-3, angle))
        logits[column] = math.cos(angle) - (0.4 + 0.4 * quality)
        logits *= 16
        terms.append(np.log(np.exp(logits).sum()) - logits[column])
    return float(np.mean(terms))


@pytest.mark.parametrize("kind", ["joint", "separate"])
def test_it_equals_a_plain_loop(kind: str) -> None:
    """Over three batches, on class columns with several centres, joint or separate, the values are
    those of the source's steps, but that the first batch begins the running statistics.
    """
    torch.manual_seed(0)
    modules = [SubCentreClassifier(8, len(sizes), k=2) for sizes in COUNTS.values()]
    classifiers = Classifiers(modules, tuple(COUNTS), joint=kind == "joint").double()
    cosine_BC, columns = classifiers(unit_rows(4, 8), "cars")
    own = [columns.start + label for label in LABELS]
    loss = AdaFace(context_of(COUNTS), t_alpha=0.25)
    mean = std = None
    for norms in NORMS:
        new = statistics.mean(norms), statistics.stdev(norms)
        mean = new[0] if mean is None else 0.25 * new[0] + 0.75 * mean
        std = new[1] if std is None else 0.25 * new[1] + 0.75 * std
        got = loss(with_norms(branch_of(None, cosine_BC, columns), norms), batch_of(LABELS))
        assert got.item() == pytest.approx(by_loop(cosine_BC, own, norms, mean, std), rel=1e-5)
    torch.testing.assert_close(loss.state_dict()["mean"], torch.tensor([0.0, mean]))
    torch.testing.assert_close(loss.state_dict()["std"], torch.tensor([1.0, std]))


def test_norms_are_compared_within_a_domain() -> None:
    """A batch of another domain, with larger norms, does not change what an image's norm means."""
    branch = branch_of(None, unit_rows(4, 5).detach())
    other = Batch(images=None, labels=torch.tensor(LABELS), domain="birds")
    alone, beside = AdaFace(context_of(COUNTS)), AdaFace(context_of(COUNTS))
    beside(with_norms(branch, [50.0, 60.0, 70.0, 80.0]), other)
    values = [loss(with_norms(branch, NORMS[0]), batch_of(LABELS)) for loss in (alone, beside)]
    assert torch.equal(*values)


def test_norms_get_no_gradient() -> None:
    """An image cannot make itself good or poor: only the cosines are trained, by one alone too."""
    raw_BD = torch.ones(1, 3, requires_grad=True)
    cosine_BC = torch.zeros(1, 5, requires_grad=True)
    branch = attrs.evolve(branch_of(None, cosine_BC), raw_BD=raw_BD)
    AdaFace(context_of(COUNTS))(branch, batch_of([0])).backward()
    assert raw_BD.grad is None
    assert bool(cosine_BC.grad.isfinite().all()) and cosine_BC.grad.norm() > 0


def test_a_head_without_norms_is_refused() -> None:
    """Where the branch has no embedding before normalisation, a sentence names what to do."""
    with pytest.raises(ValueError, match="give it a method project, or choose the head linear"):
        AdaFace(context_of(COUNTS))(branch_of(None, torch.zeros(1, 5)), batch_of([0]))
