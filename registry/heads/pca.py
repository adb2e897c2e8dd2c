"""Principal components as a head: fewer dimensions without training."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from registry import heads
from registry.heads.moments import Moments
from registry.heads.projection import FittedProjection


@heads.register("pca")
class PcaHead(FittedProjection):
    """Projection to the first principal components, then L2 normalisation; fitted, never trained.

    The scheme `off_the_shelf` uses it. Features float [B, in_dim] become an embedding float
    [B, dim] with unit rows: (features - mean) @ components.

    Args:
        in_dim: width of the features.
        dim: how many components, at most `in_dim`.
        whiten: divides every component by its standard deviation on the fitted features.

    Attributes:
        mean_F: buffer [in_dim].
        components_FD: buffer [in_dim, dim].

    Raises:
        ValueError: dim > in_dim.
        RuntimeError: it is called before `fit`, or before fitted values are loaded.

    Example:
        >>> moments = Moments(2).add(torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]]))
        >>> head = PcaHead(2, 1).fit(moments)
        >>> head.components_FD[:, 0], head(torch.tensor([[5.0, 0.0]]))
        (tensor([1., 0.]), tensor([[1.]]))
    """

    name = "pca"

    def __init__(
        self,
        in_dim: int,
        dim: int,
        *,
        whiten: Annotated[
            bool,
            Field(
                description=(
                    "Divides every component by its standard deviation on the fitted features."
                )
            ),
        ] = False,
    ) -> None:
        super().__init__(in_dim, dim)
        if dim > in_dim:
            raise ValueError(
                f"pca: {in_dim} features do not have {dim} principal components; ask for at most"
                f" {in_dim}"
            )
        self.whiten = whiten

    @torch.no_grad()
    def fit(self, moments: Moments) -> PcaHead:
        """Compute mean and components from the moments of N features [N, in_dim]; returns the head.

        Deterministic: eigenvectors of the float64 covariance by falling variance, of each the entry
        of largest magnitude made positive.

        Raises:
            ValueError: N items cannot span the components, or the features are not finite.
        """
        in_dim, dim = self.components_FD.shape
        if moments.count <= dim:
            raise ValueError(
                f"pca: {moments.count} items do not determine {dim} principal components; it takes"
                f" at least {dim + 1}"
            )
        covariance_FF = moments.covariance_FF()
        if not covariance_FF.isfinite().all():
            raise ValueError(
                "pca: the features are not finite, so they have no principal components"
            )
        variance_F, vectors_FF = torch.linalg.eigh(covariance_FF)
        variance_D, components_FD = variance_F.flip(0)[:dim], vectors_FF.flip(1)[:, :dim]
        if self.whiten:
            if variance_D[-1] <= variance_D[0] * in_dim * torch.finfo(torch.float64).eps:
                raise ValueError(
                    f"pca: the features vary in fewer than {dim} directions, so they cannot be"
                    f" whitened to {dim}"
                )
            components_FD = components_FD / variance_D.sqrt()
        self._keep(moments.mean_F, components_FD)
        return self
