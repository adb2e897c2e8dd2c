"""Everything that a checkpoint keeps of a stage that trains."""

from __future__ import annotations

from typing import Any

import attrs
import torch

from registry.contracts import StageSpec, Training
from udonx.common.stopwatch import Stopwatch
from udonx.data.unreadable import left_out
from udonx.engine.average import AveragedModel
from udonx.engine.hooks import Validation
from udonx.engine.model import Model
from udonx.engine.objective import Objective
from udonx.engine.optim import TwoGroups
from udonx.engine.sampling import GuardedSampler, SignalWindow
from udonx.store.stage import Done, Weights


class TrainingState:
    """Everything that a checkpoint keeps of a stage that trains.

    Attributes:
        model: what is trained.
        objective: its losses, which may have parameters and buffers.
        average: the mean of its weights; None where there is none.
        optimiser: with its moments.
        sampler: which domain the next batch comes from.
        window: what the sampler follows.
        sums_L: float32 [L + 1], the sums of every loss and of their total since the last lap.
        summed: steps in `sums_L`.
        step: steps that are done.
        stopwatch: how long they took.
        taken: batches that each domain has given.
        unreadable: training images that could not be decoded, by domain.
        left_out: validation images that could not be decoded, as of the last validation.
        unvalidated: whether the validation after `step` is still to be made.
        best_r1: the highest validation R@1; -1 before the first.
        best_step: after which step it was measured; 0 before the first.
        best: what best.safetensors is; None where it is written right after the checkpoint.
    """

    def __init__(
        self,
        spec: StageSpec,
        model: Model,
        objective: Objective,
        optimiser: TwoGroups,
        sampler: GuardedSampler,
    ) -> None:
        device, training = model.scale.device, spec.required_training
        self.model, self.objective = model, objective
        self.optimiser, self.sampler = optimiser, sampler
        self.average = AveragedModel(model, training.average) if training.average else None
        self.window = SignalWindow(spec.domains, training.sampler.options.get("signal"), device)
        self.sums_L = torch.zeros(len(training.losses) + 1, device=device)
        self.summed = 0
        self.step = 0
        self.stopwatch = Stopwatch()
        self.taken: dict[str, int] = {}
        self.unreadable: dict[str, list[str]] = {}
        self.left_out: frozenset[str] = frozenset()
        self.unvalidated = False
        self.best_r1, self.best_step = -1.0, 0
        self.best: Weights | None = None

    @property
    def kept_model(self) -> Model:
        """What is validated and kept: the average where there is one, else what is trained."""
        return self.average.model if self.average else self.model

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain data."""
        average = {"average": self.average.state_dict()} if self.average else {}
        losses = self.objective.state_dict()
        return {
            **average,
            **({"losses": losses} if losses else {}),
            "step": self.step,
            "unvalidated": self.unvalidated,
            "seconds": self.stopwatch.seconds,
            "taken": self.taken,
            "unreadable": self.unreadable,
            "left_out": sorted(self.left_out),
            "best_r1": self.best_r1,
            "best_step": self.best_step,
            "best": self.best and attrs.asdict(self.best),
            "window": self.window.sums_D2,
            "sums": self.sums_L,
            "summed": self.summed,
            "sampler": self.sampler.state_dict(),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken; earlier versions' lack some keys."""
        self.step, self.taken = state["step"], state["taken"]
        self.stopwatch = Stopwatch(state["seconds"])
        self.best_r1, self.best_step = state["best_r1"], state["best_step"]
        self.best = Weights(**state["best"]) if state.get("best") else None
        self.unvalidated = state.get("unvalidated", False)
        self.unreadable = state.get("unreadable", {})
        self.left_out = frozenset(state.get("left_out", ()))
        self.window.sums_D2.copy_(state["window"])
        self.sums_L.copy_(state["sums"])
        self.summed = state["summed"]
        self.sampler.load_state_dict(state["sampler"])
        self.model.load_state_dict(state["model"])
        if "losses" in state:
            self.objective.load_state_dict(state["losses"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average:
            self.average.load_state_dict(state["average"])

    def judge(self, validation: Validation | None, *, last: bool) -> bool:
        """Take in the validation after `step`, and decide whether the weights are the best so far.

        They are where R@1 is strictly higher than before.

        Args:
            validation: what was measured; None where there are no validation images. The last
                step's weights are the best then.
            last: whether this is the last step.
        """
        self.unvalidated = False
        if validation is None:
            self.best_step = self.step if last else 0
            return last
        self.left_out = validation.result.unreadable
        r1 = validation.result.main.r1
        if r1 <= self.best_r1:
            return False
        self.best_r1, self.best_step = r1, self.step
        return True

    def done(self, training: Training) -> Done:
        """What is kept of the stage once it is trained to the end."""
        return Done(
            steps=training.steps,
            images=training.steps * training.batch,
            seconds=self.stopwatch.seconds,
            best_step=self.best_step,
            best_r1=self.best_r1 if self.best_r1 >= 0 else None,
            batches=self.taken,
            weights=self.best,
            unreadable=left_out(self.left_out.union(*self.unreadable.values())),
        )
