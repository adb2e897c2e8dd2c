"""Mean and covariance of features that arrive in parts: what a fitted head is computed from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Moments:
    """Count, mean and scatter of features, float64 on the CPU; nothing else is kept of them.

    Parts are merged as Chan, Golub and LeVeque (1979) do, which loses no digits where the mean is
    large beside the spread. The same parts in the same order give the same bits.

    Args:
        dim: F, the features' width.

    Attributes:
        count: items so far.
        mean_F: their mean [F].
        scatter_FF: sum of the outer products of their deviations from the mean [F, F].

    Example:
        >>> moments = Moments(1).add(torch.tensor([[0.0], [2.0]])).add(torch.tensor([[4.0]]))
        >>> moments.count, moments.mean_F.item(), moments.covariance_FF().item()
        (3, 2.0, 4.0)
    """

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.mean_F = torch.zeros(dim, dtype=torch.float64)
        self.scatter_FF = torch.zeros(dim, dim, dtype=torch.float64)

    @torch.no_grad()
    def add(self, features_BF: Tensor) -> Moments:
        """Take in float [B, F], on any device; returns itself."""
        if not len(features_BF):
            return self
        features_BF = features_BF.cpu().double()
        total = self.count + len(features_BF)
        mean_F = features_BF.mean(0)
        centred_BF, shift_F = features_BF - mean_F, mean_F - self.mean_F
        self.scatter_FF += centred_BF.T @ centred_BF
        self.scatter_FF += torch.outer(shift_F, shift_F) * (self.count * len(features_BF) / total)
        self.mean_F += shift_F * (len(features_BF) / total)
        self.count = total
        return self

    def covariance_FF(self) -> Tensor:
        """Unbiased covariance, float64 [F, F]; of two items or more."""
        return self.scatter_FF / (self.count - 1)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes, plain data and tensors."""
        return {"count": self.count, "mean": self.mean_F, "scatter": self.scatter_FF}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; on any device.

        Raises:
            KeyError: the state lacks a part.
            RuntimeError: it is of another number of features.
        """
        self.mean_F.copy_(state["mean"])
        self.scatter_FF.copy_(state["scatter"])
        self.count = state["count"]
