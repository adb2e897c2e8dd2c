"""Running moments against NumPy on all features at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from registry.heads.moments import Moments


@pytest.mark.parametrize("parts", [1, 7, 300])
@pytest.mark.parametrize("mean", [0.0, 1e6])
def test_they_are_those_of_all_features(parts: int, mean: float) -> None:
    """However features are parted, and however far from zero they lie, their mean and covariance
    lose no digits.
    """
    features_NF = (
        np.random.default_rng(0).standard_normal((300, 5)) @ np.diag(3.0 ** np.arange(5)) + mean
    )
    moments = Moments(5)
    for part in np.array_split(features_NF, parts):
        moments.add(torch.from_numpy(part))
    assert moments.count == 300
    np.testing.assert_allclose(moments.mean_F, features_NF.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        moments.covariance_FF(), np.cov(features_NF.T), rtol=0, atol=1e-6 if mean else 1e-11
    )


def test_they_go_on_from_their_state_bit_for_bit() -> None:
    """Moments that were kept halfway and went on elsewhere equal those that were not interrupted;
    nothing added changes nothing.
    """
    parts = torch.randn(6, 10, 4, generator=torch.Generator().manual_seed(0))
    whole, first, second = Moments(4), Moments(4), Moments(4)
    for number, part in enumerate(parts):
        whole.add(part)
        (first if number < 3 else second).add(part)
        if number == 2:
            second.load_state_dict(first.state_dict())
    second.add(torch.empty(0, 4))
    assert (
        second.count == 60
        and torch.equal(second.mean_F, whole.mean_F)
        and torch.equal(second.scatter_FF, whole.scatter_FF)
    )


def test_a_state_of_other_features_is_refused() -> None:
    """A state of another width, or none, is an error."""
    with pytest.raises(RuntimeError):
        Moments(4).load_state_dict(Moments(5).state_dict())
    with pytest.raises(KeyError):
        Moments(4).load_state_dict({})
