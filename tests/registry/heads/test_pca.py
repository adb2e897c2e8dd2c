"""PCA as a head against NumPy's singular value decomposition."""

import numpy as np
import pytest
import torch

from registry.heads.moments import Moments
from registry.heads.pca import PcaHead


@pytest.fixture
def features():
    """Features with a mean and well separated variances."""
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    return (rng.standard_normal((200, 8)) * 2.0 ** np.arange(8)) @ rotation + 5


def slow_pca(features, dim):
    """Components [F, dim] of largest variance by SVD, largest entry of each positive, and their
    standard deviations.
    """
    centred = features - features.mean(0)
    _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    components = rows[:dim].T
    components = components * np.sign(components[np.abs(components).argmax(0), np.arange(dim)])
    return components, singular[:dim] / np.sqrt(len(features) - 1)


def fit(head, features_NF):
    """The head, fitted on features that come at once."""
    return head.fit(Moments(features_NF.shape[1]).add(torch.as_tensor(features_NF)))


@pytest.mark.parametrize("whiten", [False, True])
def test_pca_head_projects_to_the_principal_components(features, whiten):
    """The embedding is the L2-normalised projection of centred features, divided by standard
    deviations where whitened.
    """
    components, std = slow_pca(features, 3)
    expected = (features - features.mean(0)) @ (components / std if whiten else components)
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    head = fit(PcaHead(8, 3, whiten=whiten), torch.from_numpy(features).float())
    np.testing.assert_allclose(
        head(torch.from_numpy(features).float()).numpy(), expected, rtol=0, atol=1e-5
    )


def test_pca_fit_is_deterministic_and_survives_a_round_trip(features):
    """Fitting twice gives the same bits, and a head with a loaded state embeds like
    the fitted one.
    """
    features_NF = torch.from_numpy(features).float()
    first, second = fit(PcaHead(8, 4), features_NF), fit(PcaHead(8, 4), features_NF)
    loaded = PcaHead(8, 4)
    loaded.load_state_dict(first.state_dict())
    assert torch.equal(first.components_FD, second.components_FD)
    assert torch.equal(first(features_NF), loaded(features_NF))


def test_pca_fit_does_not_depend_on_the_parts(features):
    """Features that come in small parts give the components of those that come at once."""
    features_NF = torch.from_numpy(features).float()
    moments = Moments(8)
    for part_NF in features_NF.split(7):
        moments.add(part_NF)
    torch.testing.assert_close(
        PcaHead(8, 4).fit(moments).components_FD, fit(PcaHead(8, 4), features_NF).components_FD
    )


def test_a_pca_head_has_nothing_to_train():
    """A fitted head has no parameters."""
    assert not list(PcaHead(8, 4).parameters())


def test_pca_says_what_is_missing(features):
    """Too many components, too few items, flat or infinite features and an unfitted head are
    refused in a sentence.
    """
    with pytest.raises(ValueError, match="at most 8"):
        PcaHead(8, 9)
    with pytest.raises(ValueError, match="at least 5"):
        fit(PcaHead(8, 4), features[:4])
    flat = torch.zeros(50, 8, dtype=torch.float64)
    flat[:, 0] = torch.arange(50)
    with pytest.raises(ValueError, match="fewer than 2 directions"):
        fit(PcaHead(8, 2, whiten=True), flat)
    with pytest.raises(ValueError, match="not finite"):
        fit(PcaHead(8, 2), torch.full((10, 8), torch.inf))
    with pytest.raises(RuntimeError, match="not fitted"):
        PcaHead(8, 4)(torch.zeros(1, 8))
