"""Initialisation of heads and classifiers, and the normalisation that they share."""

import numpy as np
import pytest
import torch

from registry.heads.initialisers import l2_normalise, lecun_normal_, lecun_uniform_


def test_lecun_normal_has_variance_one_over_fan_in():
    """The truncated normal has mean 0, variance 1 / fan-in after truncation, and ends at two
    standard deviations of the full normal.
    """
    torch.manual_seed(0)
    fan_in = 400
    weight_DF = lecun_normal_(torch.empty(1000, fan_in)).double()
    assert weight_DF.mean().abs() < 4 / np.sqrt(weight_DF.numel() * fan_in)
    assert weight_DF.var().item() * fan_in == pytest.approx(1, abs=0.01)
    limit = 2 / np.sqrt(fan_in) / 0.87962566103423978
    assert 0.999 * limit < weight_DF.abs().max() <= limit * (1 + 1e-6)


def test_lecun_normal_has_the_shape_of_a_truncated_normal():
    """Quantiles of the weights are those of normal samples kept only within two standard
    deviations.
    """
    torch.manual_seed(1)
    weights = lecun_normal_(torch.empty(500, 400)).numpy().ravel() * np.sqrt(400)
    samples = np.random.default_rng(0).standard_normal(400_000)
    samples = samples[np.abs(samples) <= 2]
    samples = samples / samples.std()
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    np.testing.assert_allclose(
        np.quantile(weights, levels), np.quantile(samples, levels), atol=0.02
    )


def test_lecun_uniform_has_variance_one_over_fan_in():
    """The uniform weights of a classifier have mean 0, variance 1 / dimension and end at sqrt(3 /
    dimension).
    """
    torch.manual_seed(0)
    kernel_CD = lecun_uniform_(torch.empty(5000, 64)).double()
    assert kernel_CD.mean().abs() < 4 / np.sqrt(kernel_CD.numel() * 64)
    assert kernel_CD.var().item() * 64 == pytest.approx(1, abs=0.02)
    assert 0.999 * np.sqrt(3 / 64) < kernel_CD.abs().max() <= np.sqrt(3 / 64)


def test_normalisation_has_no_epsilon():
    """Tiny rows still get exactly unit length, and a zero row is nan."""
    rows = l2_normalise(torch.tensor([[3e-15, 4e-15], [0.0, 0.0]]))
    torch.testing.assert_close(rows[0], torch.tensor([0.6, 0.8]))
    assert rows[1].isnan().all()
