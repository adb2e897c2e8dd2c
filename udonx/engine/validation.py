"""How good a stage's model is on its validation images, and what is logged of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from udonx.common.progress import Report
from udonx.engine.hooks import Validation
from udonx.engine.job import Job
from udonx.engine.model import Model
from udonx.evaluation.protocol import Embedder, evaluate, image_count


def validate(job: Job, model: Model, step: int, check: Callable[[], None]) -> Validation | None:
    """Measure the student (the teacher where there is none) on the validation images.

    Args:
        job: the stage.
        model: its model, in training mode before and after.
        step: steps that it has been trained.
        check: called after every batch, so that a signal ends a long validation at once.

    Returns:
        The metrics; None where the stage's domains have no validation images.
    """
    images = image_count(job.benchmark, job.spec.domains, "val")
    if not images:
        return None
    branch = "student" if job.spec.student_head is not None else "teacher"
    began = time.monotonic()
    model.eval()
    with Report(f"{job.title}: validation", images, "images", closing_line=False) as report:

        def tick(count: int = 1) -> None:
            report.tick(count)
            check()

        result = evaluate(
            {domain: Embedder(model, branch) for domain in job.spec.domains},
            job.benchmark,
            job.store,
            "val",
            merged=branch == "student",
            device=job.device,
            workers=job.workers,
            tick=tick,
        )
    model.train()
    seconds = time.monotonic() - began
    if result is None:
        return None
    return Validation(step=step, result=result, images=images, seconds=seconds)


def log_entry(validation: Validation) -> dict[str, Any]:
    """The line of a stage's log."""
    metrics = validation.result.main
    per_domain = {name: metrics.per_domain[name].r1 for name in metrics.per_domain}
    return {
        "step": validation.step,
        "validation": {**metrics.means, "per_domain": per_domain},
    }
