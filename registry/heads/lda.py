"""Linear discriminant analysis as a head: the directions that tell classes apart."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field

from registry import heads
from registry.heads.class_moments import ClassMoments
from registry.heads.projection import FittedProjection


@heads.register("lda")
class LdaHead(FittedProjection):
    """Projection to linear discriminants, then L2 normalisation; fitted, never trained.

    A scheme that trains nothing uses it: `off_the_shelf`, or `as_is` on the backbone of a trained
    row. Features float [B, in_dim] become an embedding float [B, dim] with unit rows: (features -
    mean) @ components. The components w have the largest between-class scatter w'Bw where their
    scatter within classes w'Aw is 1, with A = (1 - shrinkage) W + shrinkage trace(W) / in_dim I.
    W and B are the scatters within and between classes; every domain counts the same, and within
    a domain every class.

    Args:
        in_dim: width of the features.
        dim: how many components, fewer than there are classes and at most `in_dim`.
        shrinkage: how far the within-class scatter goes towards a multiple of the identity.

    Attributes:
        mean_F: buffer [in_dim].
        components_FD: buffer [in_dim, dim].

    Raises:
        ValueError: dim > in_dim.
        RuntimeError: it is called before `fit`, or before fitted values are loaded.

    Source: Fisher, The Use of Multiple Measurements in Taxonomic Problems, 1936; the shrinkage of
    Friedman, Regularized Discriminant Analysis, JASA 1989, equation 18. With one domain of equally
    large classes it is scikit-learn's LinearDiscriminantAnalysis (solver "eigen").

    Example:
        >>> features_BF = torch.tensor([[0.0, 0.0], [0.0, 1.0], [4.0, 0.0], [4.0, 1.0]])
        >>> moments = ClassMoments(2, {"cars": 2})
        >>> _ = moments.add(features_BF, torch.tensor([0, 0, 1, 1]), "cars")
        >>> head = LdaHead(2, 1).fit(moments)
        >>> head(features_BF)[:, 0]
        tensor([-1., -1.,  1.,  1.])
    """

    name = "lda"
    of_classes: ClassVar[bool] = True

    def __init__(
        self,
        in_dim: int,
        dim: int,
        *,
        shrinkage: Annotated[
            float,
            Field(
                ge=0,
                le=1,
                description=(
                    "How far the scatter within classes is taken towards a multiple of the"
                    " identity: 0 trusts it fully, 1 looks at the scatter between classes alone."
                ),
            ),
        ] = 0.75,
    ) -> None:
        super().__init__(in_dim, dim)
        if dim > in_dim:
            raise ValueError(
                f"lda: {in_dim} features do not have {dim} discriminants; ask for at most {in_dim}"
            )
        self.shrinkage = shrinkage

    @torch.no_grad()
    def fit(self, moments: ClassMoments) -> LdaHead:
        """Compute mean and components from the moments of labelled features; returns the head.

        Deterministic: float64, by falling ratio of the scatters, of each component the entry of
        largest magnitude made positive.

        Raises:
            ValueError: the classes are too few for the components, no class has two images, the
                features are not finite, or they vary in too few directions for this shrinkage.
        """
        in_dim, dim = self.components_FD.shape
        scatter = moments.scatter()
        if scatter.classes <= dim:
            raise ValueError(
                f"lda: {scatter.classes} classes do not determine {dim} discriminants; it takes at"
                f" least {dim + 1}"
            )
        if not (scatter.within_FF.isfinite().all() and scatter.between_FF.isfinite().all()):
            raise ValueError("lda: the features are not finite, so they have no discriminants")
        spread = scatter.within_FF.trace() / in_dim
        identity_FF = torch.eye(in_dim, dtype=torch.float64)
        within_FF = (1 - self.shrinkage) * scatter.within_FF + self.shrinkage * spread * identity_FF
        lower_FF, failed = torch.linalg.cholesky_ex(within_FF)
        if failed:
            raise ValueError(
                "lda: the features vary within classes in too few directions; raise shrinkage,"
                f" which is {self.shrinkage}"
            )
        half_FF = torch.linalg.solve_triangular(lower_FF, scatter.between_FF, upper=False)
        whitened_FF = torch.linalg.solve_triangular(lower_FF, half_FF.T, upper=False)
        _, vectors_FF = torch.linalg.eigh((whitened_FF + whitened_FF.T) / 2)
        components_FD = torch.linalg.solve_triangular(
            lower_FF.T, vectors_FF.flip(1)[:, :dim], upper=True
        )
        self._keep(scatter.mean_F, components_FD)
        return self
