"""THE training loop: every scheme's stages run through it.

batch -> model -> losses -> weighted mean -> backward -> two-group AdamW -> sums on the device every
log interval: sums to the host, bar, log; at an update of the sampler: its window; at a validation:
checkpoint, best weights; every few minutes, and where SIGINT or SIGTERM asks to stop: checkpoint
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import attrs
import torch

from registry.contracts import Batch
from udonx.common.interrupts import Stopped, StopRequest, deferred
from udonx.common.progress import Report
from udonx.common.seeds import stream_seed
from udonx.config import descriptions as components
from udonx.data.loader import BatchLoader
from udonx.data.unreadable import left_out
from udonx.engine.build import build_model, build_sampler
from udonx.engine.checkpoint import read_checkpoint, reading_checkpoint
from udonx.engine.errors import TrainingError, explained
from udonx.engine.fit import Fit
from udonx.engine.job import Job
from udonx.engine.load import load_stage
from udonx.engine.model import Model
from udonx.engine.objective import Objective
from udonx.engine.optim import TwoGroupAdamW
from udonx.engine.sampling import check_progress, guarded, plain_state
from udonx.evaluation.protocol import Embedder, ProtocolResult, evaluate, image_count
from udonx.planning.identity import to_plain
from udonx.store.stage import Done, StageModel, Weights

logger = logging.getLogger(__name__)


def run_stage(job: Job) -> Done:
    """Train (or fit, or only build) a stage to the end, continuing from its checkpoint where there
    is one; returns done.json.

    A checkpoint that is damaged is said and left for the next one to replace: the stage starts
    anew.

    Raises:
        TrainingError: the loss is no longer finite, or a loss or sampler fails.
        DataError: an image cannot be read.
        DamagedFileError: the best weights of a stage half trained, or a finished stage, are not
            what was written.
        Stopped: SIGINT or SIGTERM has come; a checkpoint has been written after the step that was
            under way.
    """
    if done := job.folder.done:
        return done
    model = prepare(job)
    return (Fit if job.spec.training is None else _Training)(job, model).run()


def prepare(job: Job) -> Model:
    """The untrained model of a stage, on its device; what it is stands in the stage's folder
    afterwards.
    """
    class_ids = (
        {domain: list(job.benchmark.labels(domain)) for domain in job.spec.domains}
        if job.spec.training
        else {}
    )
    counts = {domain: len(ids) for domain, ids in class_ids.items()}
    model = build_model(job.spec, counts, job.weights).to(job.device)
    plain = to_plain(job.spec)
    about = {"id": job.id, "data": job.manifest, "plugins": list(job.plugins), "spec": plain}
    job.folder.tidy()
    components.archive(job.spec, job.folder.path / "plugins")
    job.folder.write_spec(about, StageModel(**about, classes=counts, class_ids=class_ids))
    return model


class _Training:
    """One stage's training: what the loop holds, and what a checkpoint keeps."""

    def __init__(self, job: Job, model: Model) -> None:
        self.job, self.model = job, model
        self.training = job.spec.training
        spec, device = job.spec, job.device
        self.objective = Objective(spec)
        self.use = spec.training.sampler.use
        self.sampler = guarded(
            build_sampler(
                spec, {domain.name: domain.train_images for domain in job.benchmark.facts}
            ),
            self.use,
        )
        backbone, heads = model.parameter_groups(self.training.student_head_group or "heads")
        self.optimiser = TwoGroupAdamW(
            backbone, heads, self.training.optimiser, self.training.schedule, self.training.steps
        )
        self.teachers: dict[str, Model] = {}
        for teacher, folder in zip(spec.teachers, job.teachers, strict=True):
            frozen = load_stage(folder, device)
            self.teachers |= {domain: frozen for domain in teacher.taught_domains}
        self.position = {domain: number for number, domain in enumerate(spec.domains)}
        self.signal = spec.training.sampler.options.get("signal")
        self.names = list(self.objective.specs)
        # sums on the device: per domain (signal loss, samples) since the sampler's window began,
        # and per loss since the last log line
        self.window_D2 = torch.zeros(len(spec.domains), 2, dtype=torch.float64, device=device)
        self.sums_L = torch.zeros(len(self.names) + 1, device=device)
        self.summed = 0
        self.step, self.seconds = 0, 0.0
        self.taken: dict[str, int] = {}
        # training images that could not be decoded, by domain, as of the checkpoint; and validation
        # images, as of the last validation
        self.unreadable: dict[str, list[str]] = {}
        self.left_out: frozenset[str] = frozenset()
        self.best_r1, self.best_step = -1.0, 0
        # what best.safetensors is; None where it is written right after the checkpoint
        self.best: Weights | None = None
        self.unvalidated = False  # whether the validation after `step` is still to be made
        self.stop = StopRequest()
        self.log_every = min(max(1, self.training.steps // 50), 100)

    # --------------------------------------------------------------------------------- checkpoint

    def _save(self) -> None:
        self.job.folder.save_state(
            {
                "step": self.step,
                "unvalidated": self.unvalidated,
                "seconds": self.seconds + time.monotonic() - self.began,
                "taken": self.taken,
                "unreadable": self.loader.unreadable,
                "left_out": sorted(self.left_out),
                "best_r1": self.best_r1,
                "best_step": self.best_step,
                "best": self.best and attrs.asdict(self.best),
                "window": self.window_D2,
                "sums": self.sums_L,
                "summed": self.summed,
                "sampler": plain_state(self.sampler, self.use),
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "log": self.job.folder.log_size(),
            }
        )
        self.saved = time.monotonic()

    def _save_best(self) -> None:
        """Keep the weights as the best. This comes after the checkpoint of the same step, which
        holds them too: a process that is killed between the two finds them there, and the weights
        are never those of a step that no checkpoint knows.
        """
        about = {
            "stage": self.job.id,
            "step": self.step,
            "validation_r1": self.best_r1 if self.best_r1 >= 0 else None,
        }
        self.best = self.job.folder.save_best(self.model.state_dict(), about)

    def _start(self) -> None:
        """Continue from the checkpoint where there is one that can be read, else begin the log."""
        if (state := read_checkpoint(self.job)) is None:
            self.job.folder.cut_log(0)
            return
        with reading_checkpoint(self.job):
            self._restore(state)

    def _restore(self, state: dict[str, Any]) -> None:
        folder = self.job.folder
        self.step, self.seconds, self.taken, self.summed = (
            state["step"],
            state["seconds"],
            state["taken"],
            state["summed"],
        )
        self.best_r1, self.best_step = state["best_r1"], state["best_step"]
        self.unvalidated = state.get("unvalidated", False)
        # checkpoints of earlier versions lack these
        self.unreadable, self.left_out = (
            state.get("unreadable", {}),
            frozenset(state.get("left_out", ())),
        )
        self.window_D2.copy_(state["window"])
        self.sums_L.copy_(state["sums"])
        self.sampler.load_state_dict(state["sampler"])
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        folder.cut_log(state["log"])
        if self.best_step == self.step:
            self._save_best()
        elif self.best_step:
            # a checkpoint of an earlier version does not say what the weights are
            self.best = Weights(**state["best"]) if state.get("best") else folder.weigh_best()
            folder.check_best(self.best)

    # --------------------------------------------------------------------------------------- loop

    def run(self) -> Done:
        """Train to the end; returns done.json. The first SIGINT or SIGTERM lets the step that is
        under way finish.
        """
        with deferred() as self.stop:
            for _ in self.steps():
                pass
            return self._finish()

    def steps(self) -> Iterator[int]:
        """Train, from the checkpoint on where there is one; yields the number of steps done after
        each.
        """
        job, training = self.job, self.training
        self._start()
        check_progress(self.sampler, self.use, self.step, training.steps)
        self.began = self.saved = time.monotonic()
        spec, pin = job.spec, job.device if job.device.type == "cuda" else None
        images = (job.benchmark, job.store, spec.domains, spec.transform, training.batch, spec.seed)
        self.loader = BatchLoader(*images, job.workers, pin, self.unreadable)
        self.model.train()
        batches = self.loader.batches(
            self.sampler, self.step, training.steps, self.taken, f"sampler '{self.use}'"
        )
        # closing: whatever stops the loop stops the loader's threads too
        with (
            Report(job.title, training.steps, "steps", done=self.step) as self.report,
            closing(batches),
        ):
            if self.step:
                logger.info(f"{job.title}: continues after step {self.step}")
            self.log_began, self.log_step = time.monotonic(), self.step
            if self.unvalidated:
                self._validate()
            for step, batch in batches:
                if self.sampler.clears_at(step):
                    self.window_D2.zero_()
                self._train_step(step, batch)
                self._after_step(step + 1)
                self.report.tick()
                yield self.step

    def _train_step(self, step: int, batch: Batch) -> None:
        torch.manual_seed(stream_seed(self.job.spec.seed, f"model/{step}"))
        device = self.job.device
        batch.images, batch.labels = (
            batch.images.to(device, non_blocking=True),
            batch.labels.to(device, non_blocking=True),
        )
        needs_backbone = self.optimiser.prepare(step)
        with explained("the model"):
            student, teacher = self.model(batch, train_backbone=needs_backbone)
        if self.teachers:
            with torch.no_grad():
                teacher = self.teachers[batch.domain].teaching_branch(batch)
        total, values = self.objective(self.model, student, teacher, batch)
        with explained("the backward pass of the losses"):
            total.backward()
        self.optimiser.step()
        self.sums_L += torch.stack([*values.values(), total.detach()])
        self.summed += 1
        if self.signal is not None:
            row = self.window_D2[self.position[batch.domain]]
            row[0] += values[self.signal].double() * len(batch.labels)
            row[1] += len(batch.labels)
        self.taken[batch.domain] = self.taken.get(batch.domain, 0) + 1

    def _after_step(self, step: int) -> None:
        self.step = step
        last = step == self.training.steps
        if step % self.log_every == 0 or last:
            self._log()
        if step == self.sampler.known_until() and not last:
            self._update_sampler(step)
        self.unvalidated = step % self.training.validate_every == 0 or last
        if self.stop.signal is not None:
            self._stop()
        if self.unvalidated:
            self._validate()
        elif time.monotonic() - self.saved > self.job.checkpoint_seconds:
            self._check_finite()
            self._save()
        else:
            return
        self.job.timer.save()

    def _update_sampler(self, step: int) -> None:
        self._check_finite()
        sums = self.window_D2.cpu().tolist()
        self.sampler.update(
            step,
            {
                domain: (sums[row][0], int(sums[row][1]))
                for domain, row in self.position.items()
                if sums[row][1]
            },
        )
        check_progress(self.sampler, self.use, step, self.training.steps)
        self.job.folder.log({"step": step, "shares": self.sampler.shares()})

    def _stop(self) -> None:
        """Write a checkpoint and give in to the signal."""
        self._check_finite()
        self._save()
        where = f"stopped after step {self.step} of {self.training.steps}"
        raise Stopped(
            self.stop.signal, f"{self.job.title}: {where}; the same command continues there"
        )

    def _check_finite(self) -> None:
        """Nothing may follow a loss, or be kept with weights, that are not finite; called where the
        host waits for the device anyway.
        """
        names = [*self.names, "total", "a weight of the model"]
        weights = torch.stack(
            torch._foreach_norm([parameter.detach() for parameter in self.model.parameters()])
        ).sum()
        values = torch.cat([self.sums_L, weights.reshape(1)]).cpu().tolist()
        self._refuse(
            [name for name, value in zip(names, values, strict=True) if not math.isfinite(value)]
        )

    def _refuse(self, bad: list[str]) -> None:
        if bad:
            raise TrainingError(
                f"{self.job.title}: {', '.join(bad)} is not finite between steps {self.log_step}"
                f" and {self.step}; the last checkpoint is kept; try lower learning rates"
                " (optimiser.lr_heads, optimiser.lr_backbone) or precision = fp32, or look for"
                " images whose features are all zero"
            )

    def _log(self) -> None:
        means = (self.sums_L / self.summed).cpu().tolist()
        self._refuse(
            [
                name
                for name, value in zip([*self.names, "total"], means, strict=True)
                if not math.isfinite(value)
            ]
        )
        self.job.summary("loss", means[-1], self.step)
        losses = dict(zip(self.names, means, strict=False))
        seconds = time.monotonic() - self.log_began
        self.job.timer.lap(self.log_step, self.step, seconds)
        rate = (self.step - self.log_step) * self.training.batch / seconds
        self.job.folder.log({"step": self.step, "total": means[-1], "losses": losses})
        shares = self.sampler.shares()
        largest_first = sorted(shares, key=shares.get, reverse=True) if self.signal else []
        terms = [f"{name} {value:.3f}" for name, value in losses.items()] if len(losses) > 1 else []
        followed = [f"{name[:5]} {shares[name]:.0%}" for name in largest_first]
        self.report.note(
            ", ".join([f"loss {means[-1]:.3f}", *terms, f"{rate:.0f} images/s", *followed])
        )
        self.sums_L.zero_()
        self.summed = 0
        self.log_began, self.log_step = time.monotonic(), self.step

    # --------------------------------------------------------------------------------- validation

    def _validate(self) -> None:
        """Keep the weights where validation R@1 is strictly better than before; without a
        validation split, the last ones.
        """
        self._check_finite()
        result = self._measure_validation()
        self.unvalidated = False
        if result is None:
            better = self.step == self.training.steps
            self.best_step = self.step if better else 0
        else:
            self.left_out = result.unreadable
            metrics = result.main
            better = metrics.r1 > self.best_r1
            per_domain = {name: metrics.per_domain[name].r1 for name in metrics.per_domain}
            self.job.folder.log(
                {
                    "step": self.step,
                    "validation": {
                        "r1": metrics.r1,
                        "mmp5": metrics.mmp5,
                        "per_domain": per_domain,
                    },
                }
            )
            self.job.summary("validation.r1", metrics.r1, self.step)
            if better:
                self.best_r1, self.best_step = metrics.r1, self.step
            after = f"{self.job.title}: after step {self.step} of {self.training.steps}"
            best = (
                "the best so far"
                if better
                else f"the best is {100 * self.best_r1:.1f} after step {self.best_step}"
            )
            logger.info(f"{after}: validation R@1 {100 * metrics.r1:.1f}, {best}")
        self._save()
        if better:
            self._save_best()
        self.log_began, self.log_step = time.monotonic(), self.step

    def _measure_validation(self) -> ProtocolResult | None:
        """The student's metrics on the validation images (the teacher's where there is no student);
        None where there are none.
        """
        job = self.job
        images = image_count(job.benchmark, job.spec.domains, "val")
        if not images:
            return None
        branch = "student" if job.spec.student_head is not None else "teacher"
        embedders = {domain: Embedder(self.model, branch) for domain in job.spec.domains}
        began = time.monotonic()
        self.model.eval()
        with Report(f"{job.title}: validation", images, "images", closing_line=False) as report:

            def tick(count: int = 1) -> None:
                report.tick(count)
                # a validation may take longer than whoever sent the signal waits
                if self.stop.signal is not None:
                    self._stop()

            result = evaluate(
                embedders,
                job.benchmark,
                job.store,
                "val",
                merged=branch == "student",
                device=job.device,
                workers=job.workers,
                tick=tick,
            )
        self.model.train()
        self.job.timer.embedded(images, time.monotonic() - began)
        return result

    def _finish(self) -> Done:
        done = Done(
            steps=self.training.steps,
            images=self.training.steps * self.training.batch,
            seconds=self.seconds + time.monotonic() - self.began,
            best_step=self.best_step,
            best_r1=self.best_r1 if self.best_r1 >= 0 else None,
            batches=self.taken,
            weights=self.best,
            unreadable=left_out(self.left_out.union(*self.loader.unreadable.values())),
        )
        self.job.folder.finish(done)
        return done
