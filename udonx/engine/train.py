"""A stage from beginning to end: its model is built, then trained or fitted, and kept."""

from __future__ import annotations

import torch

from udonx.config import specs
from udonx.engine.build import apply_init, build_model
from udonx.engine.fit import Fit
from udonx.engine.job import Job
from udonx.engine.load import load_stage
from udonx.engine.loop import Loop
from udonx.engine.model import Model
from udonx.planning.identity import to_plain
from udonx.store.stage import Done, StageModel


def run_stage(job: Job) -> Done:
    """Train, fit, or only build a stage, from its checkpoint on where there is one.

    A checkpoint that is damaged is logged and left for the next one to replace: the stage starts
    anew.

    Returns:
        What done.json holds.

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
    return (Fit if job.spec.training is None else Loop)(job, model).run()


def prepare(job: Job) -> Model:
    """The untrained model of a stage, on its device, after its init where it has one.

    What the stage is stands in its folder afterwards.
    """
    class_ids = (
        {domain: list(job.benchmark.labels(domain)) for domain in job.spec.domains}
        if job.spec.training
        else {}
    )
    counts = {domain: len(ids) for domain, ids in class_ids.items()}
    model = build_model(job.spec, counts, job.start_folder)
    if job.spec.init is not None:
        cpu = torch.device("cpu")
        apply_init(model, job.spec.init, [load_stage(folder, cpu) for folder in job.sources])
    model = model.to(job.device)
    about = StageModel(
        id=job.id,
        data=job.manifest,
        plugins=list(job.plugins),
        spec=to_plain(job.spec),
        classes=counts,
        class_ids=class_ids,
    )
    job.folder.tidy()
    specs.archive(job.spec, job.folder.path / "plugins")
    job.folder.write_spec(
        {"id": about.id, "data": about.data, "plugins": about.plugins, "spec": about.spec}, about
    )
    return model
