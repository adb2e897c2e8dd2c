"""What a training loop reports to its hooks: laps, validations, checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from udonx.evaluation.protocol import ProtocolResult


@attrs.frozen(kw_only=True)
class Lap:
    """The steps from one line of the log to the next.

    Attributes:
        first: steps that were done when its clock was started.
        last: steps that are done at its end.
        seconds: how long the steps between them took.
        total: what is minimised, the mean over the steps since the line before.
        losses: every loss by name, unweighted, the mean over the same steps.
        images: images of the steps that the clock has measured.
        shares: each domain's share of the batches; empty where the sampler follows no loss.
    """

    first: int
    last: int
    seconds: float
    total: float
    losses: dict[str, float]
    images: int = 0
    shares: dict[str, float] = attrs.field(factory=dict)

    @property
    def images_per_second(self) -> float:
        """How many images were trained on in a second."""
        return self.images / self.seconds if self.seconds else 0.0


@attrs.frozen(kw_only=True)
class Validation:
    """A model, measured on the validation images of its stage.

    Attributes:
        step: steps that the model has been trained.
        result: the metrics, and the images that could not be decoded.
        images: how many images were embedded and searched.
        seconds: how long that took.
    """

    step: int
    result: ProtocolResult
    images: int
    seconds: float


class Hook:
    """Listens to a training loop; this one does nothing with what it hears.

    Its methods are called between two steps, with figures that are on the host already: a hook
    costs the steps no wait for the device. What it raises ends the training.
    """

    def on_lap(self, lap: Lap) -> None:
        """A line was written to the log."""

    def on_validation(self, validation: Validation) -> None:
        """The model was validated; its checkpoint is not written yet."""

    def on_checkpoint(self, step: int) -> None:
        """A checkpoint was written after `step` steps."""
