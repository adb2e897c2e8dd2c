"""Scatter of features within and between classes: what a head that knows labels is fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor


@attrs.frozen(kw_only=True, eq=False)
class Scatter:
    """How features scatter; every domain counts the same, and within a domain every class.

    Attributes:
        mean_F: float64 [F], the mean over domains of the mean of their classes' means.
        within_FF: float64 [F, F], the mean over domains of the covariance within classes.
        between_FF: float64 [F, F], the mean over domains and classes of the outer products of the
            classes' means, as deviations from `mean_F`.
        classes: how many classes there are in all domains.
    """

    mean_F: Tensor
    within_FF: Tensor
    between_FF: Tensor
    classes: int


class ClassMoments:
    """Sums of features by class, float64 on the CPU; the sums of one domain are held at a time.

    The features of a domain come one after another. They are of unit length, so plain sums in
    float64 lose nothing that matters. The same parts in the same order give the same bits.

    Args:
        dim: F, the features' width.
        classes: how many classes each domain has.

    Example:
        >>> moments = ClassMoments(1, {"cars": 2})
        >>> features_BF, labels_B = torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([0, 0, 1])
        >>> scatter = moments.add(features_BF, labels_B, "cars").scatter()
        >>> scatter.mean_F.item(), scatter.within_FF.item(), scatter.between_FF.item()
        (3.0, 2.0, 4.0)
    """

    def __init__(self, dim: int, classes: Mapping[str, int]) -> None:
        self.dim, self.classes = dim, dict(classes)
        zeros = torch.zeros(dim, dim, dtype=torch.float64)
        self._closed: dict[str, Any] = {
            "domains": 0,
            "classes": 0,
            "with_pairs": 0,
            "mean": zeros[0].clone(),
            "within": zeros.clone(),
            "second": zeros,
        }
        self._domain = ""
        self._open: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, features_BF: Tensor, labels_B: Tensor, domain: str) -> ClassMoments:
        """Take in float [B, F] with labels int64 [B], 0..C-1 within the domain; returns itself."""
        if domain != self._domain:
            self._closed = self._with_open()
            self._domain, classes = domain, self.classes[domain]
            self._open = {
                "counts": torch.zeros(classes, dtype=torch.float64),
                "sums": torch.zeros(classes, self.dim, dtype=torch.float64),
                "second": torch.zeros(self.dim, self.dim, dtype=torch.float64),
            }
        features_BF, labels_B = features_BF.cpu().double(), labels_B.cpu()
        ones_B = torch.ones(len(labels_B), dtype=torch.float64)
        self._open["counts"].index_add_(0, labels_B, ones_B)
        self._open["sums"].index_add_(0, labels_B, features_BF)
        self._open["second"] += features_BF.T @ features_BF
        return self

    def scatter(self) -> Scatter:
        """The scatter of all features so far.

        Raises:
            ValueError: there are none, or no class has two.
        """
        closed = self._with_open()
        if not closed["with_pairs"]:
            raise ValueError("no class has two images, so nothing is known of what varies within")
        mean_F = closed["mean"] / closed["domains"]
        return Scatter(
            mean_F=mean_F,
            within_FF=closed["within"] / closed["with_pairs"],
            between_FF=closed["second"] / closed["domains"] - torch.outer(mean_F, mean_F),
            classes=closed["classes"],
        )

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes, plain data and tensors."""
        return {"closed": self._closed, "domain": self._domain, "open": self._open}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; on any device.

        Raises:
            KeyError: the state lacks a part.
        """
        self._closed = {
            name: value.cpu() if isinstance(value, Tensor) else value
            for name, value in state["closed"].items()
        }
        self._domain = state["domain"]
        self._open = {name: value.cpu() for name, value in state["open"].items()}

    def _with_open(self) -> dict[str, Any]:
        """The sums over the domains that are finished, with those of the one that is not."""
        if not self._open:
            return self._closed
        counts_C, sums_CF = self._open["counts"], self._open["sums"]
        seen_C = counts_C > 0
        counts_C, sums_CF = counts_C[seen_C], sums_CF[seen_C]
        means_CF = sums_CF / counts_C[:, None]
        freedom = counts_C.sum() - len(counts_C)
        within_FF = self._open["second"] - sums_CF.T @ means_CF
        closed = self._closed
        return {
            "domains": closed["domains"] + 1,
            "classes": closed["classes"] + len(counts_C),
            "with_pairs": closed["with_pairs"] + int(freedom > 0),
            "mean": closed["mean"] + means_CF.mean(0),
            "within": closed["within"] + (within_FF / freedom if freedom > 0 else 0.0),
            "second": closed["second"] + means_CF.T @ means_CF / len(counts_C),
        }
