"""A linear projection that is fitted on features, never trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from registry.heads.initialisers import l2_normalise


class FittedProjection(nn.Module):
    """(features - mean) @ components, then L2 normalisation: what fitted linear heads share.

    Args:
        in_dim: width of the features.
        dim: how many components.

    Attributes:
        name: what it is registered as, for its errors.
        fitted: whether it has its values.
        mean_F: buffer [in_dim].
        components_FD: buffer [in_dim, dim].
    """

    name: str
    mean_F: Tensor
    components_FD: Tensor

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.fitted = False
        self.register_buffer("mean_F", torch.zeros(in_dim))
        self.register_buffer("components_FD", torch.zeros(in_dim, dim))

    def _keep(self, mean_F: Tensor, components_FD: Tensor) -> None:
        """Take fitted values; of each component the entry of largest magnitude is positive."""
        signs_1D = components_FD.gather(0, components_FD.abs().argmax(0, keepdim=True)).sign()
        self.mean_F.copy_(mean_F)
        self.components_FD.copy_(components_FD * signs_1D)
        self.fitted = True

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.fitted = True

    def forward(self, features_BF: Tensor) -> Tensor:
        """The embedding float [B, D], with unit rows, of features float [B, F].

        Raises:
            RuntimeError: the head is not fitted.
        """
        if not self.fitted:
            raise RuntimeError(f"{self.name}: the head is not fitted; call fit(moments) first")
        return l2_normalise((features_BF - self.mean_F) @ self.components_FD)
