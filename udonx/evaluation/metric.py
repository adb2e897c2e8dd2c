"""The retrieval metrics as a torchmetrics object: collects batches, then calls the
pure function.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torchmetrics import Metric

from registry.metrics import DEFAULTS
from udonx.evaluation.metrics import Labels, RetrievalMetrics, retrieval_metrics


class RetrievalMetric(Metric):
    """R@1 and mMP@k of batches that arrive one after the other.

    States are tensors on the CPU (names as UTF-8 bytes), wherever the metric is moved, so that 1.4
    M index items do not sit on the accelerator and torchmetrics can gather them from several
    processes. Names of domains and images come back as text, whatever type they had. Called as
    `metric(...)` it does what `update` does: a batch is only queries or only index, so it has no
    value of its own.

    Args:
        metrics: names of registered metrics.
        own_domain_only: search only the index items of the query's domain.

    Raises:
        ValueError: from `update` and `compute`, as `retrieval_metrics` does.

    Example:
        >>> metric = RetrievalMetric()
        >>> metric.update(torch.eye(2), [3, 4], ["cars", "cars"], role="query")
        >>> metric.update(torch.eye(2), [3, 5], ["cars", "cars"], role="index")
        >>> metric.compute().r1
        0.5
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True

    def __init__(self, *, metrics: Iterable[str] = DEFAULTS, own_domain_only: bool = False) -> None:
        super().__init__()
        self.metrics = tuple(metrics)
        self.own_domain_only = own_domain_only
        for role in ("query", "index"):
            for state in ("embeddings", "labels", "label_counts", "domains", "ids"):
                self.add_state(f"{role}_{state}", default=[], dist_reduce_fx="cat")

    def update(
        self,
        embeddings: torch.Tensor,
        labels: Labels,
        domains: Sequence[Hashable],
        ids: Sequence[Hashable] | None = None,
        *,
        role: Literal["query", "index"],
    ) -> None:
        """Add one batch of queries or of index items; items that are both are added once as each.

        Args:
            embeddings: float [B, D], any device.
            labels: B integers, or B lists of integers (queries only).
            domains: B names or integers.
            ids: B image names or numbers. Within one role either all batches have them or none.
            role: "query" or "index".
        """
        if role not in ("query", "index"):
            raise ValueError(f'role must be "query" or "index", got {role!r}.')
        if not len(embeddings) == len(labels) == len(domains) or (
            ids is not None and len(ids) != len(embeddings)
        ):
            raise ValueError(
                f"a batch of {len(embeddings)} {role} embeddings came with another number of"
                " labels, domains or ids."
            )
        labels = labels.tolist() if hasattr(labels, "tolist") else labels
        rows = [list(row) if isinstance(row, list | tuple) else [row] for row in labels]
        self._state(role, "embeddings").append(embeddings.detach().to("cpu", torch.float32))
        self._state(role, "labels").append(
            torch.tensor([label for row in rows for label in row], dtype=torch.int64)
        )
        self._state(role, "label_counts").append(
            torch.tensor([len(row) for row in rows], dtype=torch.int64)
        )
        self._state(role, "domains").append(_pack(domains))
        if ids is not None:
            self._state(role, "ids").append(_pack(ids))

    def forward(self, *args: Any, **kwargs: Any) -> None:
        """The same as `update`."""
        self.update(*args, **kwargs)

    def compute(self) -> RetrievalMetrics:
        """Search everything collected so far; see `retrieval_metrics` for the definitions and what
        is returned.
        """
        query, index = self._collected("query"), self._collected("index")
        return retrieval_metrics(
            *query[:3],
            *index[:3],
            metrics=self.metrics,
            query_ids=query[3],
            index_ids=index[3],
            own_domain_only=self.own_domain_only,
        )

    def _apply(self, fn: Callable, exclude_state: Sequence[str] = ()) -> RetrievalMetric:
        """What `.to()` and its kin call: states stay where they are, or later batches would lie on
        another device.
        """
        return super()._apply(fn, exclude_state=(*exclude_state, *self._defaults))

    def _state(self, role: str, name: str) -> list[torch.Tensor]:
        return getattr(self, f"{role}_{name}")

    def _collected(
        self, role: str
    ) -> tuple[torch.Tensor, list[list[int]], list[str], list[str] | None]:
        """Embeddings [N, D], labels, domains and ids (or None) of one role."""
        parts = {
            name: self._state(role, name)
            for name in ("embeddings", "labels", "label_counts", "domains", "ids")
        }
        # After a gather torchmetrics leaves one tensor where a list was.
        whole = {
            name: torch.cat(part) if isinstance(part, list) and part else part
            for name, part in parts.items()
        }
        if not len(whole["embeddings"]):
            raise ValueError(
                f'no {role} embeddings were added: call update(..., role="{role}") first.'
            )
        counts = whole["label_counts"].tolist()
        labels = [row.tolist() for row in whole["labels"].cpu().split(counts)]
        return (
            whole["embeddings"].cpu(),
            labels,
            _unpack(whole["domains"]),
            _unpack(whole["ids"]) if len(whole["ids"]) else None,
        )


def _pack(names: Sequence[Hashable]) -> torch.Tensor:
    """Names as bytes, each ended by a zero byte (which no path holds): uint8 [total]."""
    names = names.tolist() if hasattr(names, "tolist") else names
    return torch.from_numpy(
        np.array(bytearray("".join(f"{name}\0" for name in names).encode()), dtype=np.uint8)
    )


def _unpack(packed: torch.Tensor) -> list[str]:
    """The inverse of `_pack`."""
    return packed.cpu().numpy().tobytes().decode().split("\0")[:-1]
