"""What tells the embeddings of one model from those of another."""

from __future__ import annotations

from typing import Literal

import attrs


@attrs.frozen(kw_only=True)
class ModelIdentity:
    """All that determines a model's vectors; equal identities give equal vectors.

    Name and source are for people: they do not count in a comparison.

    Attributes:
        id: of the stage, the export or the backbone, which holds its image size and precision.
        weights: hash of the tensors that embed.
        branch: "student", "teacher" or "feature".
        dim: length of a vector.
        tta: "flip" for the mean over an image and its mirror image; None for the image alone.
        domain: whose teacher embeds; None for the other branches.
        name: what the model is called in messages.
        source: what `load_model` takes for it: an absolute path, or the name of a backbone.
    """

    id: str
    weights: str
    branch: Literal["student", "teacher", "feature"]
    dim: int
    tta: Literal["flip"] | None = None
    domain: str | None = None
    name: str = attrs.field(default="", eq=False)
    source: str = attrs.field(default="", eq=False)

    def __str__(self) -> str:
        parts = [self.branch, *([self.domain] if self.domain else []), str(self.dim)]
        flip = f", {self.tta}" if self.tta else ""
        return f"{self.name or self.id} ({' '.join(parts)}{flip}; weights {self.weights[:12]})"
