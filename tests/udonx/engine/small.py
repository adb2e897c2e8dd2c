"""Stages small enough to train in a test: a tiny random network on the smoke-sized
demo benchmark.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import torch

from registry.contracts import (
    BackboneSpec,
    ComponentSpec,
    HeadSpec,
    LossSpec,
    Optimiser,
    Schedule,
    StageSpec,
    Training,
    Transform,
)
from udonx.data.benchmark import Benchmark
from udonx.data.images import ImageStore
from udonx.engine.build import build_model
from udonx.engine.job import Job
from udonx.engine.loop import Loop
from udonx.store.stage import Done, StageFolder

DOMAINS = ("glyphs", "silhouettes", "logos")
TEACHER_CE = LossSpec(name="teacher_ce", use="ce", on="teacher")
STUDENT_CE = LossSpec(name="student_ce", use="ce", on="student")
PAIR = (LossSpec(name="kl_logit", use="kl_logit"), LossSpec(name="relational", use="relational"))
UDON = (TEACHER_CE, STUDENT_CE, *PAIR)
ROUND_ROBIN = ComponentSpec(use="round_robin")

_TRAINING = {
    "steps",
    "batch",
    "losses",
    "sampler",
    "optimiser",
    "schedule",
    "validate_every",
    "normalise_total",
    "distill_to_backbone",
    "average",
    "update",
    "per_class",
    "subset",
}


class Interrupted(RuntimeError):
    """What the tests throw into a run."""


def dynamic(interval: int) -> ComponentSpec:
    """The dynamic sampler with an update every `interval` steps."""
    return ComponentSpec(use="dynamic", options={"interval": interval, "signal": "teacher_ce"})


LONG = {"steps": 100, "batch": 4, "sampler": dynamic(7), "validate_every": 30}
"""A stage of 100 steps whose log lines, sampler updates and validations fall on different steps."""


def small_spec(**changes: Any) -> StageSpec:
    """A UDON stage of 20 steps; `changes` are fields of StageSpec or Training, and `batch_norm`."""
    training = {
        "steps": 20,
        "batch": 8,
        "losses": UDON,
        "sampler": ROUND_ROBIN,
        "optimiser": Optimiser(lr_heads=2e-3, lr_backbone=2e-4, frozen=5),
        "schedule": Schedule(),
        "validate_every": 10,
    }
    training |= {key: changes.pop(key) for key in list(changes) if key in _TRAINING}
    network = {
        "model": "resnet10t",
        "kwargs": {"channels": [8, 8, 16, 32], "stem_width": 8},
        "batch_norm": changes.pop("batch_norm", "fixed"),
    }
    values = {
        "domains": DOMAINS,
        "backbone": BackboneSpec(
            use="timm", options=network, weights="random", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
        ),
        "transform": Transform(resize=36, crop=32),
        "student_head": HeadSpec(use="linear", dim=16),
        "teacher_head": HeadSpec(use="linear", dim=32),
        "training": Training(**training),
        "seed": 0,
    }
    return StageSpec(**{**values, **changes})


def small_job(folder: Path, spec: StageSpec, benchmark: Benchmark, **changes: Any) -> Job:
    """A job on the CPU, kept in `folder`."""
    values = {
        "spec": spec,
        "id": "small",
        "title": "small",
        "folder": StageFolder(folder),
        "benchmark": benchmark,
        "store": ImageStore(benchmark.root),
        "device": torch.device("cpu"),
        "workers": 2,
    }
    return Job(**{**values, **changes})


def fitted_spec(use: str = "pca", **changes: Any) -> StageSpec:
    """A stage of no steps whose head is fitted."""
    head = attrs.evolve(small_spec().student_head, use=use, dim=8)
    return small_spec(
        **{"training": None, "student_head": head, "teacher_head": None, "seed": None, **changes}
    )


def training(job: Job) -> Loop:
    """The loop of a job, not started."""
    classes = {domain: len(job.benchmark.labels(domain)) for domain in job.spec.domains}
    job.folder.path.mkdir(parents=True, exist_ok=True)
    return Loop(job, build_model(job.spec, classes, job.start_folder).to(job.device))


def snapshot(parts: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in parts.state_dict().items()}


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(
        torch.equal(value, theirs[name]) for name, value in ours.items()
    )


def totals(folder: StageFolder) -> list[float]:
    return [entry["total"] for entry in folder.read_log() if "total" in entry]


def kept(folder: StageFolder) -> tuple[bytes, list[dict[str, Any]], Done]:
    """All that must not depend on how a run went: weights, log, done.json without the time."""
    return (
        (folder.path / "best.safetensors").read_bytes(),
        folder.read_log(),
        attrs.evolve(folder.done, seconds=0.0),
    )
