"""The mean of the weights over the steps (docs/method.md)."""

from __future__ import annotations

from typing import Any

from timm.utils import ModelEmaV3

from registry.contracts import Average
from udonx.engine.model import Model


class AveragedModel:
    """The mean of a model's weights and buffers over the steps.

    Until `start` it equals the model. Nothing random happens in it, and its updates wait for
    nothing.

    Args:
        model: what is trained, before its first step.
        options: which mean; `start` is in steps.

    Attributes:
        model: the model with the mean weights, on the same device.
    """

    def __init__(self, model: Model, options: Average) -> None:
        self.options = options
        self._ema = ModelEmaV3(model)
        self.model: Model = self._ema.module

    def decay_after(self, steps: int) -> float:
        """The factor on the mean of before, once `steps` steps are done."""
        averaged = steps - int(self.options.start)
        if averaged <= 0:
            return 0.0
        return self.options.decay if self.options.use == "ema" else 1 - 1 / averaged

    def update(self, model: Model, steps: int) -> None:
        """Take in the model's weights after `steps` steps."""
        self._ema.apply_update_(model, self.decay_after(steps))

    def state_dict(self) -> dict[str, Any]:
        """The mean of every weight and buffer, by its name in the model."""
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.model.load_state_dict(state)
