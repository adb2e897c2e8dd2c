"""The multi-layer head against an independent computation."""

import numpy as np
import pytest
import torch

from registry.heads.mlp import MlpHead


def slow_mlp(state, features, hidden_layers):
    """The head in float64 NumPy, from the definition: Linear, LayerNorm (1e-6), tanh-GELU; last
    Linear; L2.
    """
    x = features.astype(np.float64)
    for layer in range(hidden_layers):
        linear, norm = 3 * layer, 3 * layer + 1
        x = x @ state[f"projection.{linear}.weight"].T + state[f"projection.{linear}.bias"]
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-6)
        x = x * state[f"projection.{norm}.weight"] + state[f"projection.{norm}.bias"]
        x = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    last = 3 * hidden_layers
    x = x @ state[f"projection.{last}.weight"].T + state[f"projection.{last}.bias"]
    return x / np.sqrt((x**2).sum(1, keepdims=True))


def test_mlp_head_is_linear_norm_gelu_then_plain():
    """Every hidden layer is followed by LayerNorm and tanh-GELU, the last layer only by L2
    normalisation.
    """
    torch.manual_seed(0)
    head = MlpHead(10, 4, hidden=(12, 7))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    features = 0.01 * np.random.default_rng(0).standard_normal((6, 10)).astype(np.float32)
    state = {name: value.double().numpy() for name, value in head.state_dict().items()}
    got = head(torch.from_numpy(features)).detach().numpy()
    np.testing.assert_allclose(got, slow_mlp(state, features, 2), rtol=0, atol=2e-6)


def test_mlp_head_starts_without_biases_and_with_plain_norms():
    """A fresh head has zero biases, LeCun normal weights of every layer's own fan-in, and norms
    that scale by one.
    """
    torch.manual_seed(0)
    head = MlpHead(300, 200, hidden=(500,))
    assert all(layer.bias.abs().max() == 0 for layer in head.projection if hasattr(layer, "bias"))
    assert torch.equal(head.projection[1].weight, torch.ones(500))
    for index, fan_in in ((0, 300), (3, 500)):
        assert head.projection[index].weight.var().item() * fan_in == pytest.approx(1, abs=0.03)
