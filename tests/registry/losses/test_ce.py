"""Softmax cross-entropy with margins against pytorch-metric-learning, with the same weights.

What differs there: its margins are in degrees, its weights [D, C] a transpose of ours. It clamps
cosines to [-1, 1] before their angle is taken, and where an angle plus the margin passes pi it goes
on with cos(angle) - m sin(m). Ours does neither, as in UDON's released code. So only images whose
target is nearer than pi - m have the same value; for one beyond the difference is tested too.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from registry.classifiers.cosine import CosineClassifier
from registry.classifiers.sub_centre import SubCentreClassifier
from registry.losses.ce import CrossEntropy
from tests.registry.losses.branches import batch_of, branch_of, unit_rows

LABELS = [0, 4, 2, 2, 1, 3]
CLASSIFIERS = {
    "ArcFaceLoss": (CosineClassifier, {}),
    "SubCenterArcFaceLoss": (SubCentreClassifier, {"k": 4}),
}


def both(name: str, m: float) -> tuple[nn.Module, nn.Module]:
    """Our classifier for 5 classes in 8 dimensions and PML's loss of a name, with its weights."""
    pml = pytest.importorskip("pytorch_metric_learning.losses")
    build, options = CLASSIFIERS[name]
    torch.manual_seed(0)
    classifier = build(8, 5, **options).double()
    more = {"sub_centers": options["k"]} if options else {}
    theirs = getattr(pml, name)(
        num_classes=5, embedding_size=8, margin=math.degrees(m), scale=16, **more
    )
    kernel: Tensor = next(classifier.parameters()).detach()
    theirs.W.data = kernel.reshape(-1, 8).T.clone()
    return classifier, theirs


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("m", [0.1, 0.5])
def test_arcface_equals_that_of_pytorch_metric_learning(name: str, m: float) -> None:
    """Value and gradient of the class columns are those of ArcFace and of sub-centre ArcFace."""
    classifier, theirs = both(name, m)
    embedding_BD = unit_rows(len(LABELS), 8).detach()
    branch = branch_of(None, classifier(embedding_BD))
    ours = CrossEntropy(margin="arcface", m=m, scale=16)(branch, batch_of(LABELS))
    expected = theirs(embedding_BD, torch.tensor(LABELS))
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=0)
    ours.backward()
    expected.backward()
    gradient = next(classifier.parameters()).grad.reshape(-1, 8)
    torch.testing.assert_close(gradient, theirs.W.grad.T, rtol=1e-4, atol=1e-5)


def test_beyond_pi_arcface_is_that_of_the_released_code() -> None:
    """Where angle + margin passes pi the logit is their cosine, not PML's cos(angle) - m sin(m)."""
    classifier, theirs = both("ArcFaceLoss", 0.5)
    embedding_BD = -nn.functional.normalize(classifier.kernel_CD.detach()[:1])
    cosine_BC = classifier(embedding_BD).detach().clamp(max=1, min=-1 + 1e-6)
    ours = CrossEntropy(margin="arcface", m=0.5)(branch_of(None, cosine_BC), batch_of([0]))
    angle, others = math.acos(cosine_BC[0, 0]), 16 * cosine_BC[0, 1:]
    for target, got in [
        (math.cos(angle + 0.5), ours),
        (math.cos(angle) - 0.5 * math.sin(0.5), theirs(embedding_BD, torch.tensor([0]))),
    ]:
        logits = torch.cat([torch.tensor([16 * target], dtype=torch.float64), others])
        assert got.item() == pytest.approx((logits.logsumexp(0) - 16 * target).item(), rel=1e-3)
