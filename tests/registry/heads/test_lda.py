"""Linear discriminants as a head against scikit-learn's, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from registry.heads.class_moments import ClassMoments
from registry.heads.lda import LdaHead

CLASSES, EACH, WIDTH = 6, 20, 8


@pytest.fixture
def features() -> tuple[torch.Tensor, torch.Tensor]:
    """Features [120, 8] of six classes of twenty, and their labels."""
    rng = np.random.default_rng(0)
    spread = rng.standard_normal((WIDTH, WIDTH))
    labels = np.repeat(np.arange(CLASSES), EACH)
    centres = 2 * rng.standard_normal((CLASSES, WIDTH))
    noise = rng.standard_normal((len(labels), WIDTH)) @ spread
    return torch.from_numpy(centres[labels] + noise), torch.from_numpy(labels)


def fitted(head: LdaHead, features_NF: torch.Tensor, labels_N: torch.Tensor) -> LdaHead:
    """The head, fitted on features of one domain."""
    moments = ClassMoments(features_NF.shape[1], {"cars": int(labels_N.max()) + 1})
    return head.fit(moments.add(features_NF, labels_N, "cars"))


@pytest.mark.parametrize("shrinkage", [0.0, 0.5])
def test_it_is_that_of_scikit_learn(
    features: tuple[torch.Tensor, torch.Tensor], shrinkage: float
) -> None:
    """With one domain of equally large classes the directions are those of scikit-learn."""
    discriminant_analysis = pytest.importorskip("sklearn.discriminant_analysis")
    features_NF, labels_N = features
    # the two differ in the degrees of freedom within classes, which is a factor on everything
    # within, and so on no direction
    theirs = discriminant_analysis.LinearDiscriminantAnalysis(
        solver="eigen", shrinkage=None, n_components=3
    )
    centred = features_NF.clone()
    for label in labels_N.unique():
        centred[labels_N == label] -= centred[labels_N == label].mean(0)
    within = (centred.T @ centred / (len(labels_N) - CLASSES)).numpy()
    means = torch.stack([features_NF[labels_N == each].mean(0) for each in range(CLASSES)])
    between = np.cov(means.T.numpy(), bias=True)
    shrunk = (1 - shrinkage) * within + shrinkage * np.trace(within) / WIDTH * np.eye(WIDTH)
    values, vectors = np.linalg.eig(np.linalg.solve(shrunk, between))
    expected = vectors[:, np.argsort(-values.real)[:3]].real
    head = fitted(LdaHead(WIDTH, 3, shrinkage=shrinkage), features_NF, labels_N)
    ours = head.components_FD.double().numpy()
    cosines = (ours / np.linalg.norm(ours, axis=0) * expected).sum(0)
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-5)
    if not shrinkage:
        theirs.fit(features_NF.numpy(), labels_N.numpy())
        directions = theirs.scalings_[:, :3]
        directions = directions / np.linalg.norm(directions, axis=0)
        cosines = (ours / np.linalg.norm(ours, axis=0) * directions).sum(0)
        np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-5)


def test_scatter_within_classes_has_unit_variance(
    features: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """Without shrinkage the components are scaled so that a class scatters by 1 along each."""
    features_NF, labels_N = features
    head = fitted(LdaHead(WIDTH, 3, shrinkage=0.0), features_NF, labels_N)
    projected_ND = features_NF @ head.components_FD.double()
    for label in range(CLASSES):
        projected_ND[labels_N == label] -= projected_ND[labels_N == label].mean(0)
    within_DD = projected_ND.T @ projected_ND / (len(labels_N) - CLASSES)
    torch.testing.assert_close(within_DD, torch.eye(3).double(), atol=1e-5, rtol=0)


def test_it_survives_a_round_trip(features: tuple[torch.Tensor, torch.Tensor]) -> None:
    """A head with a loaded state embeds like the fitted one; one that is not fitted refuses."""
    features_NF, labels_N = features
    head, loaded = fitted(LdaHead(WIDTH, 4), features_NF, labels_N), LdaHead(WIDTH, 4)
    with pytest.raises(RuntimeError, match="lda: the head is not fitted"):
        loaded(features_NF.float())
    loaded.load_state_dict(head.state_dict())
    embedding_ND = loaded(features_NF.float())
    assert torch.equal(embedding_ND, head(features_NF.float()))
    torch.testing.assert_close(embedding_ND.norm(dim=1), torch.ones(len(labels_N)))
    assert not list(head.parameters())


def test_it_says_what_is_missing(features: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Too many components, too few classes or images, features that are not finite or do not vary:
    one sentence each.
    """
    features_NF, labels_N = features
    with pytest.raises(ValueError, match="lda: 8 features do not have 9 discriminants"):
        LdaHead(WIDTH, 9)
    with pytest.raises(ValueError, match="lda: 6 classes do not determine 6 discriminants"):
        fitted(LdaHead(WIDTH, 6), features_NF, labels_N)
    with pytest.raises(ValueError, match="no class has two images"):
        fitted(LdaHead(WIDTH, 3), features_NF[::EACH], labels_N[::EACH])
    with pytest.raises(ValueError, match="not finite"):
        fitted(LdaHead(WIDTH, 3), features_NF / 0, labels_N)
    flat_NF = features_NF.clone()
    flat_NF[:, 0] = 0.0
    with pytest.raises(ValueError, match=r"too few directions; raise shrinkage, which is 0\.0"):
        fitted(LdaHead(WIDTH, 3, shrinkage=0.0), flat_NF, labels_N)
    assert fitted(LdaHead(WIDTH, 3, shrinkage=0.1), flat_NF, labels_N).fitted
