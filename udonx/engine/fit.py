"""A stage without steps: its head is fitted on the training images, unless it is taken over."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from registry.heads.class_moments import ClassMoments
from registry.heads.moments import Moments
from udonx.common.interrupts import StopRequest, deferred
from udonx.common.progress import Report
from udonx.common.stopwatch import Stopwatch
from udonx.data.unreadable import Unreadable, left_out
from udonx.engine.checkpoint import Checkpoint, stopped
from udonx.engine.errors import TrainingError
from udonx.engine.hooks import Validation
from udonx.engine.job import Job
from udonx.engine.model import Model
from udonx.engine.validation import validate
from udonx.evaluation.protocol import test_images
from udonx.store.stage import Done


class FittedHead(Protocol):
    """A head that is fitted, not trained.

    Where it has a true attribute `of_classes` it is fitted on `ClassMoments`, else on `Moments`.
    """

    def fit(self, moments: Any) -> Any:
        """Take its parameters from the moments of features.

        Raises:
            ValueError: the moments do not determine them.
        """


class Fit:
    """A stage of no steps: its head is fitted on the training images, where it has one to fit.

    Of the features only their moments are held. A checkpoint has them, and after how many training
    images of each domain they stand.

    Args:
        job: a stage that does not train.
        model: its model, on its device.
    """

    def __init__(self, job: Job, model: Model) -> None:
        self.job, self.model = job, model
        head = cast(FittedHead | None, model.student_head)
        self.head = head if hasattr(head, "fit") else None  # any other is taken over by `init`
        self.paths = {
            domain: job.benchmark.split(domain, "train").paths
            for domain in job.spec.domains
            if self.head is not None
        }
        self.images = sum(map(len, self.paths.values()))
        self.labels = self._class_labels() if getattr(self.head, "of_classes", False) else {}
        self.moments = self._new_moments()
        self.taken = dict.fromkeys(self.paths, 0)
        self.first = dict(self.taken)  # how many a checkpoint had
        self.unreadable = {domain: self._unreadable(domain) for domain in self.paths}
        self.stopwatch = Stopwatch()
        self.checkpoint = Checkpoint(job, self)
        self.stop = StopRequest()

    def run(self) -> Done:
        """Fit to the end; returns done.json.

        SIGINT and SIGTERM let the batch that is under way finish.
        """
        with deferred() as self.stop:
            if self.head is not None:
                self.checkpoint.restore()
                self._measure()
                self._fit(self.head)
            validation = self._validate() if self.job.spec.init else None
            return self._finish(validation)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: tensors and plain data."""
        return {
            "taken": self.taken,
            "seconds": self.stopwatch.seconds,
            "unreadable": self._left_out(),
            "moments": self.moments.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken; earlier versions' lack `unreadable`."""
        self.taken = {domain: state["taken"][domain] for domain in self.paths}
        known = set(state.get("unreadable", ()))
        self.unreadable = {
            domain: self._unreadable(domain, known.intersection(paths))
            for domain, paths in self.paths.items()
        }
        self.stopwatch = Stopwatch(state["seconds"])
        self.moments.load_state_dict(state["moments"])

    def _measure(self) -> None:
        """Take in the features of all training images that are not taken in yet."""
        job, model = self.job, self.model
        model.eval()
        done = sum(self.taken.values())
        self.first = dict(self.taken)
        with Report(f"{job.title}: features of train", self.images, "images", done=done) as report:
            for domain, paths in self.paths.items():

                def tick(count: int, domain: str = domain) -> None:
                    """Called when the features of a batch have been taken in."""
                    self.taken[domain] += count
                    report.tick(count)
                    self._after_batch()

                rest, unreadable = paths[self.taken[domain] :], self.unreadable[domain]
                with closing(
                    test_images(job.store, rest, model, job.workers, unreadable, tick)
                ) as batches:
                    for rows, images in batches:
                        self._take(domain, rows, model.embed(images.to(job.device), "feature"))

    def _take(self, domain: str, rows: list[int], features_BF: Tensor) -> None:
        """Take in the features of a batch.

        Args:
            domain: whose they are.
            rows: their places among the images of the domain that were not taken in at the start.
            features_BF: float [B, F].
        """
        if isinstance(self.moments, ClassMoments):
            labels_B = self.labels[domain][torch.as_tensor(rows) + self.first[domain]]
            known_B = labels_B >= 0
            if known_B.any():
                self.moments.add(features_BF[known_B], labels_B[known_B], domain)
        else:
            self.moments.add(features_BF)

    def _class_labels(self) -> dict[str, Tensor]:
        """The class of each training image, 0..C-1 within its domain: int64 [N]; -1 for none."""
        benchmark = self.job.benchmark
        return {domain: torch.from_numpy(benchmark.train_labels(domain)) for domain in self.paths}

    def _new_moments(self) -> Moments | ClassMoments:
        """Those that the head is fitted on, of no images yet."""
        dim = self.model.backbone.dim
        if not self.labels:
            return Moments(dim)
        classes = {domain: len(self.job.benchmark.labels(domain)) for domain in self.labels}
        return ClassMoments(dim, classes)

    def _after_batch(self) -> None:
        if self.stop.signal is not None:
            self.checkpoint.save()
            where = f"{sum(self.taken.values())} of {self.images} images"
            raise stopped(self.job, self.stop.signal, where)
        if self.checkpoint.due:
            self.checkpoint.save()

    def _fit(self, head: FittedHead) -> None:
        try:
            head.fit(self.moments)
        except ValueError as error:
            raise TrainingError(f"{self.job.title}: {error}") from error

    def _validate(self) -> Validation | None:
        """How good the weights that `init` gave are on the validation images."""
        return validate(self.job, self.model, 0, self._stop_if_asked)

    def _stop_if_asked(self) -> None:
        if self.stop.signal is not None:
            if self.head is not None:
                self.checkpoint.save()
            raise stopped(self.job, self.stop.signal, "its weights were made")

    def _finish(self, validation: Validation | None) -> Done:
        """Keep the weights and write done.json."""
        folder = self.job.folder
        unreadable = [*self._left_out(), *(validation.result.unreadable if validation else ())]
        done = Done(
            steps=0,
            images=self.images,
            seconds=self.stopwatch.seconds,
            best_step=0,
            best_r1=validation.result.main.r1 if validation else None,
            weights=folder.save_best(self.model.state_dict(), {"stage": self.job.id}),
            unreadable=left_out(unreadable),
        )
        folder.finish(done)
        return done

    def _unreadable(self, domain: str, known: Iterable[str] = ()) -> Unreadable:
        return Unreadable(
            f"the train split of {domain}", len(self.paths[domain]), self.job.store, known
        )

    def _left_out(self) -> list[str]:
        """The images that could not be decoded, among those that are taken in."""
        found = (
            self.unreadable[domain].paths.intersection(paths[: self.taken[domain]])
            for domain, paths in self.paths.items()
        )
        return sorted(set().union(*found))
