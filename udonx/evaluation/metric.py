"""Registered metrics as a torchmetrics object.

It collects batches, then searches once for all metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import accumulate, groupby, pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module
from torchmetrics import Metric

from registry.metrics import DEFAULTS
from udonx.evaluation.metrics import RetrievalMetrics, retrieval_metrics
from udonx.evaluation.relevance import Labels

Role = Literal["query", "index"]
_ROLES = ("query", "index")
_STATES = ("embeddings", "labels", "label_counts", "domains", "domain_counts", "ids")


class RetrievalMetric(Metric):
    """Registered metrics of queries and index items that arrive one batch after the other.

    States are tensors on the CPU (names as UTF-8 bytes), wherever the metric is moved. So 1.4 M
    index items do not sit on the accelerator, and torchmetrics can gather them from several
    processes. Names of domains and images come back as text, whatever type they had. Called as
    `metric(...)` it does what `update` does: a batch is only queries or only index, so it has no
    value of its own.

    Embeddings fill one matrix from the start: joined at the end, they would be there twice.

    Args:
        metrics: names of registered metrics.
        merged: whether all index items are searched too, beside those of the query's domain.
        sizes: how many queries and index items there will be, by role. More may come, at the price
            of a copy.
        neighbours: how many nearest index items of each query are kept; 0 for none.

    Raises:
        ValueError: from `update` and `compute`, as `retrieval_metrics` does.

    Example:
        >>> metric = RetrievalMetric()
        >>> metric.update(torch.eye(2), [3, 4], ["cars", "cars"], role="query")
        >>> metric.update(torch.eye(2), [3, 5], ["cars", "cars"], role="index")
        >>> metric.compute()["own"].r1
        0.5
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True

    def __init__(
        self,
        *,
        metrics: Iterable[str] = DEFAULTS,
        merged: bool = True,
        sizes: Mapping[Role, int] | None = None,
        neighbours: int = 0,
    ) -> None:
        super().__init__()
        self.metrics = tuple(metrics)
        self.merged = merged
        self.neighbours = neighbours
        self._sizes = dict(sizes or {})
        self._matrices: dict[Role, Tensor] = {}
        for role in _ROLES:
            for state in _STATES:
                self.add_state(f"{role}_{state}", default=[], dist_reduce_fx="cat")

    def update(
        self,
        embeddings: Tensor | np.ndarray,
        labels: Labels,
        domains: Sequence[Hashable],
        ids: Sequence[Hashable] | None = None,
        *,
        role: Role,
    ) -> None:
        """Add one batch of queries or of index items; items that are both are added once as each.

        Args:
            embeddings: float [B, D], any device.
            labels: B integers, or B lists of integers (queries only).
            domains: B names or integers.
            ids: B image names or numbers. Within one role either all batches have them or none.
            role: "query" or "index".

        Raises:
            ValueError: another role, or lengths or widths that disagree.
        """
        if role not in _ROLES:
            raise ValueError(f'role must be "query" or "index", got {role!r}.')
        if not len(embeddings) == len(labels) == len(domains) or (
            ids is not None and len(ids) != len(embeddings)
        ):
            raise ValueError(
                f"a batch of {len(embeddings)} {role} embeddings came with another number of"
                " labels, domains or ids."
            )
        self._add_embeddings(role, torch.as_tensor(embeddings).detach())
        flat, counts = _flat(labels)
        self._state(role, "labels").append(flat)
        self._state(role, "label_counts").append(counts)
        runs = [(name, sum(1 for _ in run)) for name, run in groupby(domains)]
        self._state(role, "domains").append(_pack([name for name, _ in runs]))
        self._state(role, "domain_counts").append(torch.tensor([count for _, count in runs]))
        if ids is not None:
            self._state(role, "ids").append(_pack(ids))

    def forward(self, *args: Any, **kwargs: Any) -> None:
        """The same as `update`."""
        self.update(*args, **kwargs)

    def compute(self) -> dict[str, RetrievalMetrics]:
        """Search everything collected so far; see `retrieval_metrics` for the definitions.

        Returns:
            The figures of the index of each query's own domain as "own"; those of all index items
            as "merged" where they are wanted.
        """
        query, index = self._collected("query"), self._collected("index")
        return {
            name: retrieval_metrics(
                *query[:3],
                *index[:3],
                metrics=self.metrics,
                query_ids=query[3],
                index_ids=index[3],
                own_domain_only=name == "own",
                neighbours=self.neighbours,
            )
            for name in (("own", "merged") if self.merged else ("own",))
        }

    def _apply(self, fn: Callable, exclude_state: Sequence[str] = ()) -> Module:
        """What `.to()` and its kin call: states stay where they are.

        Later batches would lie on another device otherwise.
        """
        return super()._apply(fn, exclude_state=(*exclude_state, *self._defaults))

    def _state(self, role: Role, name: str) -> list[Tensor]:
        return getattr(self, f"{role}_{name}")

    def _add_embeddings(self, role: Role, rows_BD: Tensor) -> None:
        """Copy a batch behind what is there; the state is the part of the matrix that is filled."""
        state = self._state(role, "embeddings")
        filled = len(state[0]) if state else 0
        needed = filled + len(rows_BD)
        if not state:
            room = max(self._sizes.get(role, 0), needed)
            self._matrices[role] = torch.empty((room, rows_BD.shape[1]), dtype=torch.float32)
        elif rows_BD.shape[1] != state[0].shape[1]:
            raise ValueError(
                f"{role} embeddings must all have the same width, got {state[0].shape[1]} and"
                f" {rows_BD.shape[1]}."
            )
        elif needed > len(self._matrices[role]):
            self._matrices[role] = torch.empty((2 * needed, rows_BD.shape[1]), dtype=torch.float32)
            self._matrices[role][:filled] = state[0]
        self._matrices[role][filled:needed] = rows_BD
        state[:] = [self._matrices[role][:needed]]

    def _collected(self, role: Role) -> tuple[Tensor, Labels, list[str], list[str] | None]:
        """Embeddings [N, D], labels, domains and ids (or None) of one role."""
        parts = {name: _parts(self._state(role, name)) for name in _STATES}
        if not parts["embeddings"]:
            raise ValueError(
                f'no {role} embeddings were added: call update(..., role="{role}") first.'
            )
        (embeddings,) = parts["embeddings"]
        runs = zip(_unpack(parts["domains"]), torch.cat(parts["domain_counts"]), strict=True)
        return (
            embeddings,
            _labels(torch.cat(parts["labels"]), torch.cat(parts["label_counts"])),
            [name for name, count in runs for _ in range(int(count))],
            _unpack(parts["ids"]) if parts["ids"] else None,
        )


def _parts(state: list[Tensor] | Tensor) -> list[Tensor]:
    """The tensors of a state; after a gather torchmetrics leaves one where a list was."""
    whole = state if isinstance(state, list) else [state]
    return [part.cpu() for part in whole if len(part)]


def _flat(labels: Labels) -> tuple[Tensor, Tensor]:
    """Labels in a row and how many each item has: two int64 tensors."""
    if isinstance(labels, Tensor | np.ndarray):
        flat = torch.as_tensor(labels).cpu().to(torch.int64)
        return flat, torch.ones_like(flat)
    rows = [row if isinstance(row, list | tuple) else (row,) for row in labels]
    flat = torch.tensor([label for row in rows for label in row], dtype=torch.int64)
    return flat, torch.tensor([len(row) for row in rows], dtype=torch.int64)


def _labels(labels: Tensor, counts: Tensor) -> Labels:
    """Labels in a row as one for each item, or as lists where any item has several."""
    if bool((counts == 1).all()):
        return labels
    flat = labels.tolist()
    return [flat[begin:end] for begin, end in pairwise(accumulate(counts.tolist(), initial=0))]


def _pack(names: Sequence[Hashable]) -> Tensor:
    """Names as bytes, each ended by a zero byte (which no path holds): uint8 [total]."""
    packed = bytearray()
    for name in names.tolist() if isinstance(names, Tensor | np.ndarray) else names:
        packed += f"{name}\0".encode()
    return (
        torch.frombuffer(packed, dtype=torch.uint8) if packed else torch.empty(0, dtype=torch.uint8)
    )


def _unpack(packed: Iterable[Tensor]) -> list[str]:
    """The inverse of `_pack`, of one batch after the other."""
    return [name for part in packed for name in str(part.numpy().data, "utf-8").split("\0")[:-1]]
