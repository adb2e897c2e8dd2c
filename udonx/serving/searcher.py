"""Embeds pictures with the model of an index, and searches it.

Shapes: Q queries, D dimensions, H and W the model's crop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from udonx.data.images import decode_bytes
from udonx.data.transforms import CentreCrop
from udonx.engine.loaded_model import LoadedModel
from udonx.search.index import Index, Neighbour
from udonx.search.vectors import check_same_model
from udonx.serving.domains import domains_of


@attrs.frozen(eq=False)
class Query:
    """A picture, and what is asked of it.

    Attributes:
        image_3HW: float32 [3, H, W], as the model takes it.
        k: how many neighbours; None for the vector alone.
        domain: of the neighbours; None for all.
    """

    image_3HW: Tensor
    k: int | None = None
    domain: str | None = None


@attrs.frozen(eq=False)
class Found:
    """What came of a query.

    Attributes:
        vector_D: float32 [D] of unit length.
        neighbours: best first.
    """

    vector_D: np.ndarray
    neighbours: list[Neighbour]


class Searcher:
    """An index with the model that embeds what is searched in it.

    Args:
        index: what is searched.
        model: its model.

    Raises:
        VectorsError: the index is of another model.
    """

    def __init__(self, index: Index, model: LoadedModel) -> None:
        identity = index.model
        how: dict[str, Any] = {
            "branch": identity.branch,
            "domain": identity.domain,
            "tta": identity.tta or "none",
        }
        check_same_model(model.identity(**how), identity, "the index")
        self.index, self.device = index, model.device
        self.domains = domains_of(index.vectors.paths)
        self.counts = dict(sorted(Counter(self.domains).items()))
        self._embedder, self._domain = model.embedder(**how)
        self._crop, self._upright = CentreCrop(model.crop), model.upright

    def prepare(self, content: bytes, max_pixels: int) -> Tensor:
        """The bytes of an image file as the model takes it, float32 [3, H, W].

        Raises:
            UndecodableError: they are no image that can be decoded.
            TooLargeError: it has too many pixels.
        """
        return self._crop(
            decode_bytes(content, "the picture", upright=self._upright, max_pixels=max_pixels)
        )

    def answer(self, queries: Sequence[Query]) -> list[Found]:
        """Embed some pictures at once, and search for those that want neighbours at once."""
        images_Q3HW = torch.stack([query.image_3HW for query in queries]).to(self.device)
        vectors_QD = self._embedder.embed(images_Q3HW, self._domain).cpu().numpy()
        neighbours: list[list[Neighbour]] = [[] for _ in queries]
        searched = [place for place, query in enumerate(queries) if query.k]
        if searched:
            most = min(max(queries[place].k or 0 for place in searched), len(self.index))
            nearest = self.index.search(vectors_QD[searched], most)
            for place, found in zip(searched, nearest, strict=True):
                neighbours[place] = self._wanted(queries[place], vectors_QD[place], found)
        return [Found(vector_D, own) for vector_D, own in zip(vectors_QD, neighbours, strict=True)]

    def _wanted(
        self, query: Query, vector_D: np.ndarray, nearest: list[Neighbour]
    ) -> list[Neighbour]:
        """The neighbours that a query wants; of a domain more are looked at until there are enough.

        Args:
            query: what is wanted.
            vector_D: float32 [D], of its picture.
            nearest: its nearest images of all domains.
        """
        assert query.k is not None
        there = len(self.index) if query.domain is None else self.counts[query.domain]
        count, seen = min(query.k, there), len(nearest)
        while True:
            own = [each for each in nearest if query.domain in (None, self.domains[each.row])]
            if len(own) >= count or seen >= len(self.index):
                return own[:count]
            seen = min(4 * max(seen, count), len(self.index))
            (nearest,) = self.index.search(vector_D[None], seen)

    def path(self, row: int) -> str:
        """The path of an image below the index's root."""
        return self.index.vectors.paths[row]
