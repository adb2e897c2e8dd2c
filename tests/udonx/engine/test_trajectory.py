"""Whole official train steps of a tiny ViT, replayed by the engine's own step on what an experiment
file plans.

Replayed are all `trajectory_*` in `trajectory*.npz` of the parity folder (or the one that
UDONX_PARITY names).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from registry import backbones
from registry.classifiers.cosine import CosineClassifier
from registry.contracts import Batch, DomainFacts, StageSpec, Start
from registry.heads.linear import LinearHead
from tests.parity import Arrays, below, heads_state, images_b3hw, tensor, tiny_vit_kwargs, vit_state
from tests.tiny import write_experiment
from udonx.config.experiment import load_experiment
from udonx.engine.job import Job
from udonx.engine.loop import Loop
from udonx.engine.model import Classifiers, Model
from udonx.inputs.weights import StartWeights
from udonx.planning.plan import row_evaluations
from udonx.store.stage import StageFolder

TERMS = ("teacher_ce", "student_ce", "kl_logit", "relational")
# where the true gradient is zero or at rounding level, Adam turns noise into steps of the learning
# rate
NOISE_ATOL = 5e-5


class Trajectory:
    """One trajectory's arrays and facts, and the model that replays it, with parameters by role."""

    def __init__(self, folder: Path, file: str, name: str) -> None:
        with np.load(folder / file) as arrays:
            self.arrays = {
                key.removeprefix(f"{name}/"): arrays[key]
                for key in arrays.files
                if key.startswith(f"{name}/")
            }
        self.facts = next(
            found[name]
            for path in sorted(folder.glob("*.json"))
            if name in (found := json.loads(path.read_text(encoding="utf-8")))
        )
        self.domains = tuple(str(number) for number in range(len(self.facts["classes"])))
        start = self.params(0)
        self.teachers = "teacher_head/0" in start
        self.model = self._model(start)

    def params(self, step: int) -> dict[str, Any]:
        """States by role after `step` official steps: backbone, heads and classifiers."""
        return self.states(below(self.arrays, f"params_step{step}/"))

    def states(self, arrays: Arrays) -> dict[str, dict[str, torch.Tensor]]:
        return {"backbone": vit_state(arrays), **heads_state(arrays, len(self.domains))}

    @property
    def stored_steps(self) -> list[int]:
        return sorted(
            {
                int(key.split("/")[0].removeprefix("params_step"))
                for key in self.arrays
                if key.startswith("params_step")
            }
        )

    def _model(self, start: dict[str, Any]) -> Model:
        student, teacher = (
            start["student_head"]["projection.weight"],
            start.get("teacher_head/0", {}).get("projection.weight"),
        )
        classes = self.facts["classes"]

        def classifiers(dim: int) -> Classifiers:
            return Classifiers(
                [CosineClassifier(dim, count) for count in classes], self.domains, False
            )

        parts: dict[str, Any] = {
            "student_head": LinearHead(student.shape[1], student.shape[0]),
            "student_classifiers": classifiers(student.shape[0]),
        }
        if teacher is not None:
            parts["teacher_heads"] = [
                LinearHead(teacher.shape[1], teacher.shape[0]) for _ in self.domains
            ]
            parts["teacher_classifiers"] = classifiers(teacher.shape[0])
        size = self.arrays["batch1/inputs"].shape[1]
        model = Model(
            backbone=backbones.get("timm")(
                Start(folder=None, crop=size),
                model="vit_tiny_patch16_224",
                kwargs=tiny_vit_kwargs(),
            ),
            # the stored inputs are normalised: these statistics make the model's own normalisation
            # the identity
            mean=(0.0, 0.0, 0.0),
            std=(1 / 255, 1 / 255, 1 / 255),
            crop=size,
            domains=self.domains,
            **parts,
        )
        assert torch.equal(model.scale, torch.ones(1, 3, 1, 1))
        for role, module in self.modules(model).items():
            module.load_state_dict(start[role])
        return model

    def modules(self, model: Model) -> dict[str, nn.Module]:
        found: dict[str, nn.Module] = {
            "backbone": model.backbone.model,
            "student_head": model.student_head,
        }
        for number in range(len(self.domains)):
            found[f"student_classifier/{number}"] = model.student_classifiers.parts[number]
            if len(model.teacher_heads):
                found[f"teacher_head/{number}"] = model.teacher_heads[number]
                found[f"teacher_classifier/{number}"] = model.teacher_classifiers.parts[number]
        return found

    def spec(self, tmp_path: Path) -> StageSpec:
        """The stage that an experiment file on the official setting becomes: UDON, or the published
        baseline USCRR.
        """
        scheme = '"udon"' if self.teachers else '{ use = "classification", published = true }'
        steps, frozen = len(self.facts["domain_sequence"]), self.facts["frozen_steps"]
        # of which a published baseline takes seven tenths
        budget = steps if self.teachers else round(steps * 10 / 7)
        text = f"""
[setting]
inherit = "official"
backbones.main = {{ model = "vit_tiny_patch16_224", random = true }}
[rows.replayed]
scheme = {scheme}
sampler = "round_robin"
budget = {{ steps = {budget}, batch = 16 }}
optimiser.frozen = {frozen}
"""
        experiment = load_experiment(write_experiment(tmp_path, text))
        weights = {"main": StartWeights(sha256="random", source="random weights")}
        facts = tuple(
            DomainFacts(name=name, train_images=16, train_classes=count)
            for name, count in zip(self.domains, self.facts["classes"], strict=True)
        )
        (evaluation,) = row_evaluations(experiment, experiment.rows[0], 0, weights, facts)
        assert evaluation.embedders["0"].training.steps == steps
        return evaluation.embedders["0"]


def folder_of(shared_dir: Path) -> Path:
    return Path(os.environ.get("UDONX_PARITY") or shared_dir / "parity")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per trajectory found; where there is no folder, one that asks for `shared_dir` and
    so is skipped.
    """
    found = []
    named = os.environ.get("UDONX_PARITY")
    folder = Path(named) if named else Path(__file__).resolve().parents[4] / "shared" / "parity"
    for file in sorted(folder.glob("trajectory*.npz")):
        with np.load(file) as arrays:
            names = sorted({key.split("/")[0] for key in arrays.files})
        found += [pytest.param(file.name, name, id=f"{file.stem}:{name}") for name in names]
    metafunc.parametrize(
        ("file", "name"),
        found or [pytest.param("trajectory.npz", "trajectory_baseline", id="none found")],
    )


def compare(
    trajectory: Trajectory, states: dict[str, Any], step: int, rounding_level: set[str]
) -> None:
    """Parameters agree to 1e-6, and where Adam may have followed rounding errors to NOISE_ATOL: key
    biases, the roles of `rounding_level`, and one element in a thousand of any array.
    """
    for role, module in trajectory.modules(trajectory.model).items():
        for name, expected in states[role].items():
            off = (module.state_dict()[name] - expected).abs()
            assert off.max() <= NOISE_ATOL, (
                f"{role} {name} after step {step}: off by {off.max():.1e}"
            )
            if name.endswith("attn.qkv.bias"):
                third = len(off) // 3
                off[third : 2 * third] = 0
            if role not in rounding_level:
                share = (off > 1e-6).float().mean()
                assert share <= 1e-3, (
                    f"{role} {name} after step {step}: {share:.1%} of it off by more than 1e-6, at"
                    f" most {off.max():.1e}"
                )


def test_replay(shared_dir: Path, tmp_path: Path, file: str, name: str) -> None:
    """The engine's own step, on the stage that the official setting plans: every step's domain and
    losses, the first step's gradients and the parameters at all stored steps are the official ones.
    """
    trajectory = Trajectory(folder_of(shared_dir), file, name)
    spec, model = trajectory.spec(tmp_path), trajectory.model
    assert [loss.name for loss in spec.training.losses] == list(
        TERMS if trajectory.teachers else ["student_ce"]
    )
    assert spec.training.student_head_group == (None if trajectory.teachers else "backbone")
    facts = [DomainFacts(name=name, train_images=16, train_classes=2) for name in spec.domains]
    data = SimpleNamespace(facts=facts, root=tmp_path, fingerprint="")
    job = Job(
        spec=spec,
        id="",
        title="",
        folder=StageFolder(tmp_path),
        benchmark=data,
        store=None,
        device=torch.device("cpu"),
        workers=1,
    )
    training = Loop(job, model)
    sequence, log = trajectory.facts["domain_sequence"], trajectory.facts["log"]
    rounding_level: set[str] = set()
    frozen_parts = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    if not trajectory.teachers:  # the published baseline's projection is held with the backbone
        projection = {key: value.clone() for key, value in model.student_head.state_dict().items()}
    model.train()
    for step, domain in enumerate(sequence):
        # USCRR: round robin
        assert trajectory.teachers or training.sampler.domain_at(step) == str(domain)
        images = images_b3hw(trajectory.arrays[f"batch{step + 1}/inputs"])
        batch = Batch(
            images=images,
            labels=tensor(trajectory.arrays[f"batch{step + 1}/labels"]),
            domain=str(domain),
        )
        training.sums_L.zero_()
        training._train_step(step, batch)
        *values, total = training.sums_L.tolist()
        assert total == pytest.approx(log[step]["total_loss_before_update"], abs=3e-6), (
            f"total before step {step + 1}"
        )
        for value, official in official_terms(
            dict(zip(training.names, values, strict=True)), log[step]
        ):
            assert value == pytest.approx(official, abs=2e-6), f"a term before step {step + 1}"
        if step == 0:
            expected = trajectory.states(below(trajectory.arrays, "grads_step1/"))
            for role, module in trajectory.modules(model).items():
                for key, parameter in module.named_parameters():
                    torch.testing.assert_close(
                        parameter.grad,
                        expected[role][key],
                        rtol=1e-4,
                        atol=1e-6,
                        msg=lambda text, at=f"{role} {key}": f"{at}: {text}",
                    )
        for role, module in trajectory.modules(model).items():
            if (
                role.startswith("teacher_head")
                and 0 < max(one.grad.abs().max() for one in module.parameters()) < 1e-6
            ):
                rounding_level.add(role)
        if training.optimiser.frozen_at(step):
            assert all(
                torch.equal(value, frozen_parts[key])
                for key, value in model.backbone.state_dict().items()
            )
            if not trajectory.teachers:
                assert all(
                    torch.equal(value, projection[key])
                    for key, value in model.student_head.state_dict().items()
                )
        heads, backbone = training.optimiser.adamw.param_groups
        assert backbone["lr"] == pytest.approx(log[step]["logs"]["backbone_lr"], rel=1e-6)
        assert heads["lr"] == pytest.approx(log[step]["logs"]["classifier_lr"], rel=1e-6)
        if step + 1 in trajectory.stored_steps:
            compare(trajectory, trajectory.params(step + 1), step + 1, rounding_level)
    assert len(sequence) in trajectory.stored_steps


def official_terms(values: dict[str, float], entry: dict[str, Any]) -> list[tuple[float, float]]:
    """(ours, official) for the terms that the log names clearly: sums over samples with their
    normaliser.
    """
    metrics = {
        key: total / count
        for key, (total, count) in entry["metrics_sum_and_normaliser"].items()
        if count
    }
    names = {"classifier_loss": "student_ce"} if len(values) == 1 else {}
    return [(values[ours], metrics[theirs]) for theirs, ours in names.items() if theirs in metrics]
