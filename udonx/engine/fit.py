"""A stage without steps: its head, where it has one, is fitted on the training images."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing

from registry.heads.moments import Moments
from udonx.common.interrupts import Stopped, deferred
from udonx.common.progress import Report
from udonx.data.unreadable import Unreadable, left_out
from udonx.engine.checkpoint import read_checkpoint, reading_checkpoint
from udonx.engine.errors import TrainingError
from udonx.engine.job import Job
from udonx.engine.model import Model
from udonx.evaluation.protocol import test_images
from udonx.store.stage import Done


class Fit:
    """A stage of no steps: fits the head on the training images where it has one, and keeps the
    weights.

    Of the features only their moments are held; a checkpoint has them, and after how many training
    images of each domain they stand.
    """

    def __init__(self, job: Job, model: Model) -> None:
        self.job, self.model = job, model
        self.paths = {
            domain: job.benchmark.split(domain, "train").paths
            for domain in job.spec.domains
            if model.student_head is not None
        }
        self.images = sum(map(len, self.paths.values()))
        self.moments = Moments(model.backbone.dim)
        self.taken = dict.fromkeys(self.paths, 0)
        self.unreadable = {domain: self._unreadable(domain) for domain in self.paths}
        self.seconds = 0.0

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

    def run(self) -> Done:
        """Fit to the end; returns done.json. SIGINT and SIGTERM let the batch that is under way
        finish.
        """
        job, head = self.job, self.model.student_head
        self.began = self.saved = time.monotonic()
        with deferred() as self.stop:
            if head is not None:
                self._start()
                self._measure()
                try:
                    head.fit(self.moments)
                except ValueError as error:
                    raise TrainingError(f"{job.title}: {error}") from error
            weights = job.folder.save_best(self.model.state_dict(), {"stage": job.id})
            seconds = self.seconds + time.monotonic() - self.began
            about = {
                "images": self.images,
                "seconds": seconds,
                "weights": weights,
                "unreadable": left_out(self._left_out()),
            }
            done = Done(steps=0, best_step=0, best_r1=None, **about)
            job.folder.finish(done)
            return done

    def _measure(self) -> None:
        """Take in the features of all training images that are not taken in yet."""
        job, model = self.job, self.model
        model.eval()
        done = sum(self.taken.values())
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
                    for _, images in batches:
                        self.moments.add(model.embed(images.to(job.device), "feature"))

    def _after_batch(self) -> None:
        if self.stop.signal is not None:
            self._save()
            where = f"stopped after {sum(self.taken.values())} of {self.images} images"
            raise Stopped(
                self.stop.signal, f"{self.job.title}: {where}; the same command continues there"
            )
        if time.monotonic() - self.saved > self.job.checkpoint_seconds:
            self._save()

    def _save(self) -> None:
        seconds = self.seconds + time.monotonic() - self.began
        about = {"taken": self.taken, "seconds": seconds, "unreadable": self._left_out()}
        self.job.folder.save_state({**about, "moments": self.moments.state_dict()})
        self.saved = time.monotonic()

    def _start(self) -> None:
        """Continue from the checkpoint where there is one that can be read."""
        state = read_checkpoint(self.job)
        if state is None:
            return
        with reading_checkpoint(self.job):
            self.taken = {domain: state["taken"][domain] for domain in self.paths}
            known = set(state.get("unreadable", ()))
            self.unreadable = {
                domain: self._unreadable(domain, known.intersection(paths))
                for domain, paths in self.paths.items()
            }
            self.seconds = state["seconds"]
            self.moments.load_state_dict(state["moments"])
