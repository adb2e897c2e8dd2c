"""Update rules: their values, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from registry import updates
from registry.contracts import Optimiser

OPTIONS = Optimiser(lr_heads=0.1, weight_decay=0.01)


def trained(name: str, **options: object) -> torch.Tensor:
    """A parameter after three steps on fixed gradients."""
    parameter = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    rule = updates.get(name)([{"params": [parameter], "lr": 0.1}], OPTIONS, **options)
    for gradient in (0.5, -1.0, 2.0):
        parameter.grad = torch.full((2,), gradient, dtype=torch.float64)
        rule.step()
    return parameter.detach()


def test_sgd_against_a_loop() -> None:
    """SGD adds the weight decay to the gradient, and moves by the decayed sum of gradients."""
    weights = torch.tensor([1.0, -2.0], dtype=torch.float64)
    momentum = torch.zeros(2, dtype=torch.float64)
    for gradient in (0.5, -1.0, 2.0):
        momentum = 0.8 * momentum + gradient + 0.01 * weights
        weights = weights - 0.1 * momentum
    torch.testing.assert_close(trained("sgd", momentum=0.8), weights, rtol=1e-12, atol=1e-12)


def test_timms_lion_against_a_loop() -> None:
    """`timm` gives the rule of that name with the weight decay of [optimiser] and its kwargs."""
    weights = torch.tensor([1.0, -2.0], dtype=torch.float64)
    momentum = torch.zeros(2, dtype=torch.float64)
    for gradient in (0.5, -1.0, 2.0):
        weights = weights * (1 - 0.1 * 0.01)
        weights = weights - 0.1 * torch.sign(0.5 * momentum + 0.5 * gradient)
        momentum = 0.75 * momentum + 0.25 * gradient
    ours = trained("timm", opt="lion", kwargs={"betas": (0.5, 0.75)})
    torch.testing.assert_close(ours, weights, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sgd", {"momentum": 0.0, "nesterov": True}, "give it a momentum"),
        ("timm", {"opt": "lionn"}, "got opt = 'lionn', which timm does not have; did you mean"),
        ("timm", {"opt": "adahessian"}, "which needs a second derivative of the losses"),
        ("timm", {"opt": "kron"}, "not known to continue bit for bit"),
        ("timm", {"opt": "lion", "kwargs": {"bettas": 1}}, "lion cannot be built with"),
    ],
)
def test_mistakes_are_one_sentence(name: str, options: dict[str, object], message: str) -> None:
    """Options that do not fit say so in one sentence."""
    with pytest.raises(ValueError, match=message) as caught:
        trained(name, **options)
    assert "\n" not in str(caught.value)
