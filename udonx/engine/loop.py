"""THE training loop: every scheme's stages run through it."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Mapping
from contextlib import closing
from functools import partial

import torch

from registry.contracts import Batch
from udonx.common.interrupts import StopRequest, deferred
from udonx.common.progress import Report
from udonx.common.seeds import stream_seed
from udonx.data.loader import BatchLoader
from udonx.engine.build import build_sampler, build_update, needs_context
from udonx.engine.checkpoint import Checkpoint, stopped
from udonx.engine.errors import explained
from udonx.engine.finite import refuse_not_finite, weight_norm
from udonx.engine.hooks import Lap
from udonx.engine.job import Job
from udonx.engine.lines import lap_line, validation_line
from udonx.engine.model import Model
from udonx.engine.objective import Objective, class_counts
from udonx.engine.optim import TwoGroups, layer_factors
from udonx.engine.sampling import GuardedSampler
from udonx.engine.state import TrainingState
from udonx.engine.teachers import Teachers
from udonx.engine.validation import log_entry, validate
from udonx.store.stage import Done

logger = logging.getLogger(__name__)


class Loop:
    """The training of one stage, from its checkpoint on where there is one.

    Sums stay on the device until a lap ends, every `log_every` steps: a step waits for nothing.

    Args:
        job: a stage that trains; its hooks hear of laps, validations and checkpoints.
        model: its untrained model, on its device.

    Attributes:
        state: everything that a checkpoint keeps, the model with it.
        log_every: steps of a lap.
    """

    def __init__(self, job: Job, model: Model) -> None:
        spec, training = job.spec, job.spec.required_training
        self.job, self.training, self.model = job, training, model
        counts = {domain.name: domain.train_images for domain in job.benchmark.facts}
        self.sampler = GuardedSampler(build_sampler(spec, counts), training.sampler.use)
        # counted only where a loss asks for it
        told = spec.domains if any(map(needs_context, training.losses)) else ()
        self.teachers = Teachers(spec, job.teachers, job.device)
        told_counts = class_counts(job.benchmark, told)
        dims = (model.backbone.dim, self.teachers.dims)
        self.objective = Objective(spec, told_counts, *dims).to(job.device)
        self.names = list(self.objective.specs)
        backbone, heads = model.parameter_groups(training.student_head_group or "heads")
        decay = training.optimiser.layer_decay
        self.optimiser = TwoGroups(
            backbone,
            [*heads, *self.objective.parameters()],
            training.optimiser,
            training.schedule,
            training.steps,
            layer_factors(model.backbone, decay) if decay else {},
            partial(build_update, spec),
        )
        self.state = TrainingState(spec, model, self.objective, self.optimiser, self.sampler)
        self.window, self.sums_L = self.state.window, self.state.sums_L
        self.checkpoint = Checkpoint(job, self.state)
        self.loader: BatchLoader | None = None  # made once the checkpoint has been read
        self.stop = StopRequest()
        self.log_every = min(max(1, training.steps // 50), 100)
        self.lap_began, self.lap_first = time.monotonic(), 0

    def run(self) -> Done:
        """Train to the end; returns done.json.

        The first SIGINT or SIGTERM lets the step that is under way finish.
        """
        with deferred() as self.stop:
            for _ in self.steps():
                pass
            return self.finish()

    def steps(self) -> Generator[int]:
        """Train; yields the number of steps done after each."""
        state, steps = self.state, self.training.steps
        self._restore()
        self.sampler.check_progress(state.step, steps)
        self.loader = loader = self.job.loader(state.unreadable)
        batches = loader.batches(self.sampler, state.step, steps, state.taken, self.sampler.name)
        self.model.train()
        # closing: whatever stops the loop stops the loader's threads too
        with (
            Report(self.job.title, steps, "steps", done=state.step) as report,
            closing(batches),
        ):
            self._begin_lap()
            if state.unvalidated:
                self._validate()
            for step, batch in batches:
                if self.sampler.clears_at(step):
                    self.window.clear()
                self._train_step(step, batch)
                state.step = step + 1
                last = state.step == steps
                if state.step % self.log_every == 0 or last:
                    report.note(self._end_lap())
                if state.step == self.sampler.known_until() and not last:
                    self._update_sampler()
                state.unvalidated = state.step % self.training.validate_every == 0 or last
                self._stop_if_asked()
                if state.unvalidated:
                    self._validate()
                elif self.checkpoint.due:
                    self._save()
                report.tick()
                yield state.step

    def _train_step(self, step: int, batch: Batch) -> None:
        """One step on a batch of one domain (docs/method.md); it waits for nothing."""
        torch.manual_seed(stream_seed(self.job.spec.seed or 0, f"model/{step}"))
        device = self.job.device
        batch.images = batch.images.to(device, non_blocking=True)
        batch.labels = batch.labels.to(device, non_blocking=True)
        batch.sizes = {
            size: images.to(device, non_blocking=True) for size, images in batch.sizes.items()
        }
        if batch.labelled is not None:
            batch.labelled = batch.labelled.to(device, non_blocking=True)
        needs_backbone = self.optimiser.prepare(step)
        with explained("the model"):
            student, teacher = self.model(batch, train_backbone=needs_backbone)
        frozen, named = self.teachers.teach(batch)
        losses = self.objective.losses(
            self.model, student, frozen or teacher, batch, step=step, named=named
        )
        with explained("the backward pass of the losses"):
            self.optimiser.backward(losses)
        self.optimiser.step()
        if self.state.average:
            self.state.average.update(self.model, step + 1)
        self.sums_L += torch.stack([*losses.values.values(), losses.total.detach()])
        self.window.add(batch, losses.values)
        self.state.summed += 1
        self.state.taken[batch.domain] = self.state.taken.get(batch.domain, 0) + 1

    def _update_sampler(self) -> None:
        """Let the sampler choose the next domains by its window."""
        self._check_finite()
        step = self.state.step
        sums = self.window.sums()
        self.sampler.update(step, sums)
        self.sampler.check_progress(step, self.training.steps)
        signal = {domain: total / samples for domain, (total, samples) in sums.items()}
        self.job.folder.log({"step": step, "shares": self.sampler.shares(), "signal": signal})

    def _validate(self) -> None:
        """Keep the weights where validation R@1 is strictly better than before.

        Without a validation split those of the last step are kept.
        """
        self._check_finite()
        state, job, steps = self.state, self.job, self.training.steps
        validation = validate(job, state.kept_model, state.step, self._stop_if_asked)
        better = state.judge(validation, last=state.step == steps)
        if validation is not None:
            job.folder.log(log_entry(validation))
            for hook in job.hooks:
                hook.on_validation(validation)
            line = validation_line(validation, steps, state.best_step, state.best_r1)
            logger.info(f"{job.title}: {line}")
        self._save()
        if better:
            self._save_best()
        self._begin_lap()

    def finish(self) -> Done:
        """Write done.json and remove the checkpoint; call it after the last step."""
        done = self.state.done(self.training)
        self.job.folder.finish(done)
        return done

    # --------------------------------------------------------------------------- between two steps

    def _begin_lap(self) -> None:
        """Start the clock of the next lap."""
        self.lap_began, self.lap_first = time.monotonic(), self.state.step

    def _end_lap(self) -> str:
        """Log the mean losses since the last lap; returns what stands behind the bar."""
        state = self.state
        *means, total = (self.sums_L / state.summed).cpu().tolist()
        losses = dict(zip(self.names, means, strict=True))
        self._refuse_not_finite({**losses, "total": total})
        seconds = time.monotonic() - self.lap_began
        lap = Lap(
            first=self.lap_first,
            last=state.step,
            seconds=seconds,
            total=total,
            losses=losses,
            images=(state.step - self.lap_first) * self.training.batch,
            shares=self.sampler.shares() if self.window.signal is not None else {},
        )
        self.job.folder.log({"step": lap.last, "total": lap.total, "losses": lap.losses})
        for hook in self.job.hooks:
            hook.on_lap(lap)
        self.sums_L.zero_()
        state.summed = 0
        self._begin_lap()
        return lap_line(lap)

    # ------------------------------------------------------------------------------- what is kept

    def _restore(self) -> None:
        """Continue from the checkpoint where there is one."""
        if not self.checkpoint.restore():
            return
        state, folder = self.state, self.job.folder
        logger.info(f"{self.job.title}: continues after step {state.step}")
        if state.best_step == state.step:
            self._save_best()
        elif state.best_step:
            # a checkpoint of an earlier version does not say what the weights are
            state.best = state.best or folder.weigh_best()
            folder.check_best(state.best)

    def _save(self) -> None:
        """Write a checkpoint."""
        self._check_finite()
        if self.loader is not None:  # a list that may be long, so it is not made in every step
            self.state.unreadable = self.loader.unreadable
        self.checkpoint.save()
        for hook in self.job.hooks:
            hook.on_checkpoint(self.state.step)

    def _save_best(self) -> None:
        """Keep the weights as the best.

        This comes after the checkpoint of the same step, which holds them too. A process that is
        killed between the two finds them there, and the weights are never those of a step that no
        checkpoint knows.
        """
        state = self.state
        about = {
            "stage": self.job.id,
            "step": state.step,
            "validation_r1": state.best_r1 if state.best_r1 >= 0 else None,
        }
        state.best = self.job.folder.save_best(state.kept_model.state_dict(), about)

    def _stop_if_asked(self) -> None:
        """Write a checkpoint and give in to a signal, where one has come."""
        if self.stop.signal is not None:
            self._save()
            where = f"step {self.state.step} of {self.training.steps}"
            raise stopped(self.job, self.stop.signal, where)

    def _check_finite(self) -> None:
        """Refuse a loss or a weight that is not finite.

        Nothing may follow it, or be kept with it. Called where the host waits for the device
        anyway.

        Raises:
            TrainingError: one is not finite.
        """
        of_losses = weight_norm(self.objective, buffers=True).to(self.job.device)
        values = torch.cat([self.sums_L, weight_norm(self.model), of_losses]).cpu().tolist()
        names = [*self.names, "total", "a weight of the model", "a weight or buffer of a loss"]
        self._refuse_not_finite(dict(zip(names, values, strict=True)))

    def _refuse_not_finite(self, values: Mapping[str, float]) -> None:
        refuse_not_finite(values, self.job.title, self.lap_first, self.state.step)
