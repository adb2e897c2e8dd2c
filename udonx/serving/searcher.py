"""Embeds pictures with the model of an index, and searches it.

Shapes: Q queries, D dimensions, H and W the model's crop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
import torch
from torch import Tensor

from udonx.data.images import decode_bytes
from udonx.data.transforms import CentreCrop
from udonx.engine.loaded_model import LoadedModel
from udonx.evaluation.protocol import Embedder
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
        given = model.identity(
            branch=identity.branch,
            domain=identity.domain,
            tta=identity.tta or "none",
        )
        check_same_model(given, identity, "the index")
        self.index, self.device = index, model.device
        self.domains = domains_of(index.vectors.paths)
        self.counts = dict(sorted(Counter(self.domains).items()))
        self._domain, self._upright = identity.domain, model.upright
        self._embedder = Embedder(model.model, identity.branch, identity.tta)
        self._crop = CentreCrop(model.crop)

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
        """Embed some pictures at once, and search for those that want neighbours."""
        images_Q3HW = torch.stack([query.image_3HW for query in queries]).to(self.device)
        vectors_QD = self._embedder.embed(images_Q3HW, self._domain).cpu().numpy()
        return [
            Found(vector_D, self._neighbours(vector_D, query))
            for vector_D, query in zip(vectors_QD, queries, strict=True)
        ]

    def _neighbours(self, vector_D: np.ndarray, query: Query) -> list[Neighbour]:
        """The nearest images of one domain, or of all.

        Of a domain more and more are looked at until there are enough of it.
        """
        if query.k is None:
            return []
        wanted, seen = min(query.k, len(self.index)), min(query.k, len(self.index))
        if query.domain is not None:
            wanted = min(wanted, self.counts.get(query.domain, 0))
        while True:
            (found,) = self.index.search(vector_D[None], seen)
            own = [
                each
                for each in found
                if query.domain is None or self.domains[each.row] == query.domain
            ]
            if len(own) >= wanted or seen == len(self.index):
                return own[:wanted]
            seen = min(4 * seen, len(self.index))

    def path(self, row: int) -> str:
        """The path of an image below the index's root."""
        return self.index.vectors.paths[row]

    @property
    def root(self) -> Path:
        """The folder of the images."""
        return self.index.vectors.root
