"""Initialisation and normalisation that all heads share, as in the released UDON code (JAX).

Weights are laid out as in torch, [out, in], so that fan-in is the last dimension.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# Standard deviation of a standard normal truncated at two standard deviations: dividing by it
# restores the wanted variance.
_TRUNCATED_STD = 0.87962566103423978


def lecun_normal_(weight_DF: Tensor) -> Tensor:
    """Fill float [D, F] in place from a truncated normal of variance 1 / F; returns it.

    It is cut at two standard deviations: the distribution of `jax.nn.initializers.lecun_normal`.

    Example:
        >>> bool(lecun_normal_(torch.empty(64, 100)).abs().max() <= 2 * 0.1 / 0.8796)
        True
    """
    std = math.sqrt(1 / weight_DF.shape[-1]) / _TRUNCATED_STD
    return nn.init.trunc_normal_(weight_DF, mean=0.0, std=std, a=-2 * std, b=2 * std)


def lecun_uniform_(weight_CD: Tensor) -> Tensor:
    """Fill float [C, D] in place from a uniform distribution of variance 1 / D; returns it.

    It is the distribution of `jax.nn.initializers.lecun_uniform`.

    Example:
        >>> bool(lecun_uniform_(torch.empty(5, 12)).abs().max() <= 0.5)
        True
    """
    bound = math.sqrt(3 / weight_CD.shape[-1])
    return nn.init.uniform_(weight_CD, -bound, bound)


def l2_normalise(x_BD: Tensor) -> Tensor:
    """Rows of float [B, D] divided by their L2 norm.

    There is no epsilon: a zero row becomes nan instead of passing unseen.

    Example:
        >>> l2_normalise(torch.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]])
    """
    return x_BD / torch.linalg.vector_norm(x_BD, dim=-1, keepdim=True)
