"""Model and Objective together, against the official losses and gradients: which parameters are
trained, and how much.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from registry import losses as registry_losses
from registry.classifiers.cosine import CosineClassifier
from registry.contracts import (
    BackboneSpec,
    Batch,
    Branch,
    ComponentSpec,
    HeadSpec,
    LossSpec,
    Optimiser,
    Schedule,
    StageSpec,
    Training,
    Transform,
)
from registry.heads.linear import LinearHead
from tests.parity import below, classifier_state, linear_state, read_arrays, read_json, tensor
from tests.registry.losses.branches import branch_of, unit_rows
from udonx.engine.build import build_model
from udonx.engine.model import Classifiers, Model
from udonx.engine.objective import Objective

CASES = ("B16_C10", "B16_C78")
TERMS = {
    "teacher_ce": LossSpec(name="teacher_ce", use="ce", on="teacher"),
    "student_ce": LossSpec(name="student_ce", use="ce", on="student"),
    "logit_distill": LossSpec(name="kl_logit", use="kl_logit"),
    "simil_distill": LossSpec(name="relational", use="relational"),
}
VARIANTS = {
    "default": set(),
    "no_logit_distill": {"logit_distill"},
    "no_simil_distill": {"simil_distill"},
    "no_distill": {"logit_distill", "simil_distill"},
    **{f"only_{term}": set(TERMS) - {term} for term in TERMS},
}


class Identity(nn.Module):
    """A backbone that hands its images on, flattened: features are given."""

    dim = 384

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def stage(losses: list[LossSpec], **changes: Any) -> StageSpec:
    training = {"normalise_total": True, "distill_to_backbone": True}
    training |= {key: changes.pop(key) for key in list(changes) if key in training}
    values = {
        "domains": ("a",),
        "backbone": BackboneSpec(
            use="timm",
            options={"model": "test_vit"},
            weights="random",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        "transform": Transform(resize=32, crop=32),
        "student_head": HeadSpec(use="linear", dim=64),
        "teacher_head": HeadSpec(use="linear", dim=256),
        "training": Training(
            steps=1,
            batch=16,
            losses=tuple(losses),
            sampler=ComponentSpec(use="round_robin"),
            optimiser=Optimiser(frozen=0),
            schedule=Schedule(),
            validate_every=1,
            **training,
        ),
        "seed": 0,
    }
    return StageSpec(**{**values, **changes})


class Case:
    """A parity case as a model with an identity backbone, and its batch; cls_features [B, 384]
    stand in for images.
    """

    def __init__(self, shared_dir: Path, name: str) -> None:
        arrays = read_arrays(shared_dir, "losses")
        self.values = read_json(shared_dir, "losses")["cases"][name]
        self.stored = below(arrays, f"{name}/")
        classes = name.split("_")[1]
        params = below(arrays, f"params/{classes}/")
        heads, classifiers = {}, {}
        for branch, prefix in (
            ("teacher", "teacher_projection_domain_0"),
            ("student", "universal_student_projection_domain_0"),
        ):
            heads[branch] = LinearHead(384, 256 if branch == "teacher" else 64)
            heads[branch].load_state_dict(linear_state(below(params, f"{prefix}/Dense_0/")))
        for branch, prefix in (
            ("teacher", "teacher_output_projection_0"),
            ("student", "universal_student_output_projection_0"),
        ):
            classifiers[branch] = CosineClassifier(
                256 if branch == "teacher" else 64, int(classes[1:])
            )
            classifiers[branch].load_state_dict(classifier_state(below(params, f"{prefix}/")))
        self.model = Model(
            backbone=Identity(),
            mean=(0, 0, 0),
            std=(1 / 255, 1 / 255, 1 / 255),
            crop=1,
            domains=("a",),
            student_head=heads["student"],
            student_classifiers=Classifiers([classifiers["student"]], ("a",), False),
            teacher_heads=[heads["teacher"]],
            teacher_classifiers=Classifiers([classifiers["teacher"]], ("a",), False),
        )
        # [B, 384] as images [B, 3, 1, 128] would be resized to the crop: the model's own path is
        # entered after that
        self.cls_features_BF = tensor(self.stored["cls_features"]).requires_grad_()
        self.batch = Batch(images=None, labels=tensor(self.stored["labels"]), domain="a")

    def backward(self, spec: StageSpec) -> tuple[Tensor, dict[str, Tensor]]:
        """(total, gradients by the names of the stored arrays); torch's layout turned
        to (in, out).
        """
        self.model.zero_grad()
        self.cls_features_BF.grad = None
        features_BF = self.cls_features_BF / self.cls_features_BF.norm(dim=1, keepdim=True)
        features_BF.retain_grad()
        student, teacher = (
            self.model.student(features_BF, "a"),
            self.model.teacher(features_BF, "a"),
        )
        for branch in (student, teacher):
            branch.embedding_BD.retain_grad()
        total, values = Objective(spec)(self.model, student, teacher, self.batch)
        total.backward()
        self.terms = values
        found = {
            "backbone_out": features_BF,
            "cls_features": self.cls_features_BF,
            "teacher_embedding": teacher.embedding_BD,
            "student_embedding": student.embedding_BD,
        }
        gradients = {name: one.grad for name, one in found.items()}
        parts = {
            "teacher": (self.model.teacher_heads[0], self.model.teacher_classifiers.parts[0]),
            "student": (self.model.student_head, self.model.student_classifiers.parts[0]),
        }
        for branch, (head, classifier) in parts.items():
            gradients[f"{branch}_projection_bias"] = head.projection.bias.grad
            for name, weight in (
                ("projection", head.projection.weight),
                ("classifier", classifier.kernel_CD),
            ):
                gradients[f"{branch}_{name}_kernel"] = (
                    None if weight.grad is None else weight.grad.T
                )
        return total, gradients


@pytest.fixture
def per_image() -> Iterator[type]:
    """A registered loss that returns one value per image."""

    class PerImage:
        """The first component of the embedding."""

        def __call__(self, branch: Branch, batch: Batch) -> Tensor:
            return branch.embedding_BD[:, 0]

    registry_losses.register("per_image")(PerImage)
    yield PerImage
    registry_losses.registry.forget({__name__})


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, shared_dir: Path) -> Case:
    return Case(shared_dir, request.param)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradflow(case: Case, variant: str) -> None:
    """The total of every ablation is the official one, reaches exactly the parameters that the
    official one reaches, and as much.
    """
    spec = stage([loss for name, loss in TERMS.items() if name not in VARIANTS[variant]])
    total, gradients = case.backward(spec)
    assert total.item() == pytest.approx(case.values[f"total_loss_{variant}"], rel=1e-5)
    for name, norm in case.values["gradflow"][variant].items():
        gradient = gradients[name.removeprefix("grad_")]
        if norm == 0:
            assert gradient is None or not gradient.any(), f"{name} must get no gradient"
            continue
        assert gradient.norm().item() == pytest.approx(norm, rel=1e-4), name
        stored = below(case.stored, f"{variant}/")
        if name in stored:
            np.testing.assert_allclose(gradient, stored[name], rtol=1e-4, atol=1e-6, err_msg=name)
        elif f"{name}_first32rows" in stored:
            np.testing.assert_allclose(
                gradient[:32], stored[f"{name}_first32rows"], rtol=1e-4, atol=1e-6, err_msg=name
            )


def test_model_forward_is_the_same_path(shared_dir: Path) -> None:
    """Called with a batch, the model gives the official features, embeddings and cosines of both
    branches, with unit rows.
    """
    case = Case(shared_dir, "B16_C10")
    case.model.crop = 128  # images of 3 x 128 x 128 whose first row is the feature
    images = torch.zeros(16, 3, 128, 128)
    images[:, :, 0] = case.cls_features_BF.detach().reshape(16, 3, 128)

    class FirstRow(Identity):
        def forward(self, images: Tensor) -> Tensor:
            return images[:, :, 0].flatten(1)

    case.model.backbone = FirstRow()
    student, teacher = case.model(Batch(images=images, labels=case.batch.labels, domain="a"))
    for branch, name in ((student, "student"), (teacher, "teacher")):
        np.testing.assert_allclose(
            branch.features_BF.detach(), case.stored["backbone_out"], atol=2e-6
        )
        np.testing.assert_allclose(
            branch.embedding_BD.detach(), case.stored[f"{name}_embedding"], atol=2e-6
        )
        np.testing.assert_allclose(
            branch.cosine_BC.detach(), case.stored[f"{name}_cos_logits"], atol=2e-6
        )
        np.testing.assert_allclose(branch.embedding_BD.detach().norm(dim=1), 1, atol=1e-6)
        assert branch.class_range == range(10)


def test_distill_to_backbone_off(case: Case) -> None:
    """Without `distill_to_backbone` the losses between student and teacher train student head and
    classifier as before, but no feature.
    """
    pair = [TERMS["logit_distill"], TERMS["simil_distill"]]
    total, through = case.backward(stage(pair))
    stopped_total, stopped = case.backward(stage(pair, distill_to_backbone=False))
    assert stopped_total.item() == pytest.approx(total.item(), rel=1e-6)
    assert through["backbone_out"].any() and stopped["backbone_out"] is None
    for name in (
        "student_projection_kernel",
        "student_projection_bias",
        "student_classifier_kernel",
    ):
        torch.testing.assert_close(stopped[name], through[name], rtol=1e-5, atol=1e-7)
    _, whole = case.backward(stage(list(TERMS.values()), distill_to_backbone=False))
    _, alone = case.backward(stage([TERMS["teacher_ce"], TERMS["student_ce"]]))
    # four terms divide by 4, two by 2: classification alone reaches the features
    torch.testing.assert_close(
        2 * whole["backbone_out"], alone["backbone_out"], rtol=1e-4, atol=1e-6
    )


def test_normalise_total(case: Case) -> None:
    """The total is the weighted sum, divided by the sum of the weights only under
    `normalise_total`; terms are reported unweighted.
    """
    losses = [
        LossSpec(name="student_ce", use="ce", on="student", weight=3.0),
        LossSpec(name="kl_logit", use="kl_logit", weight=0.5),
    ]
    mean, _ = case.backward(stage(losses))
    total, _ = case.backward(stage(losses, normalise_total=False))
    expected = (
        3 * case.values["ce_student_normface_m0.0"] + 0.5 * case.values["logit_distill_tT0.1_tS0.1"]
    )
    assert total.item() == pytest.approx(expected, rel=1e-5)
    assert mean.item() == pytest.approx(expected / 3.5, rel=1e-5)
    assert case.terms["kl_logit"].item() == pytest.approx(
        case.values["logit_distill_tT0.1_tS0.1"], rel=1e-5
    )
    assert not case.terms["kl_logit"].requires_grad


def test_a_weight_grows_over_its_ramp(case: Case) -> None:
    """Over `ramp` steps the weight grows from 0, and the divisor keeps the full weights."""
    losses = [
        LossSpec(name="student_ce", use="ce", on="student"),
        LossSpec(name="kl_logit", use="kl_logit", weight=3.0, ramp=4),
    ]
    student, teacher = (
        getattr(case.model, side)(case.cls_features_BF, "a") for side in ("student", "teacher")
    )
    objective = Objective(stage(losses))
    for step, weight in ((0, 0.0), (1, 0.75), (4, 3.0), (9, 3.0), (None, 3.0)):
        losses = objective.losses(case.model, student, teacher, case.batch, step=step)
        expected = losses.values["student_ce"] + weight * losses.values["kl_logit"]
        assert losses.total.item() == pytest.approx(expected.item() / 4, rel=1e-6), step


def test_a_loss_may_give_one_value_per_image(case: Case, per_image: type) -> None:
    """The term of a loss that returns float [B] is their mean."""
    spec = stage([LossSpec(name="each", use="per_image", on="student")])
    student = case.model.student(case.cls_features_BF, "a")
    total, values = Objective(spec)(case.model, student, None, case.batch)
    assert total.ndim == 0 and torch.equal(total, student.embedding_BD[:, 0].mean())
    assert torch.equal(values["each"], total.detach())


def joint_and_separate() -> tuple[Model, Model]:
    domains, classes = ("a", "b", "c"), {"a": 3, "b": 4, "c": 2}
    return tuple(
        build_model(stage([], domains=domains, classifier=classifier), classes, None)
        for classifier in ("joint", "separate")
    )


def test_joint_classifier() -> None:
    """A joint classifier starts from the columns of the separate ones, gives all classes' cosines
    and says where a domain's lie.
    """
    joint, separate = joint_and_separate()
    columns = torch.cat([part.kernel_CD for part in separate.student_classifiers.parts])
    assert len(joint.student_classifiers.parts) == 1 and torch.equal(
        joint.student_classifiers.parts[0].kernel_CD, columns
    )
    assert len(joint.teacher_classifiers.parts) == 3, "teachers are separate by nature"
    images = torch.rand(2, 3, 32, 32) * 255
    ranges = {}
    for domain in "abc":
        batch = Batch(images=images, labels=torch.zeros(2, dtype=torch.int64), domain=domain)
        (ours, _), (theirs, _) = joint(batch), separate(batch)
        ranges[domain] = ours.class_range
        assert ours.cosine_BC.shape == (2, 9) and theirs.class_range == range(len(ours.class_range))
        torch.testing.assert_close(
            ours.cosine_BC[:, ours.class_range.start : ours.class_range.stop], theirs.cosine_BC
        )
    assert ranges == {"a": range(0, 3), "b": range(3, 7), "c": range(7, 9)}


def test_joint_student_of_separate_teachers() -> None:
    """With a joint student, classification competes over all classes, while distillation compares
    the domain's own columns.
    """
    joint, separate = joint_and_separate()
    batch = Batch(
        images=torch.rand(4, 3, 32, 32) * 255, labels=torch.tensor([0, 3, 1, 2]), domain="b"
    )
    distilled, classified = {}, {}
    for name, model in (("joint", joint), ("separate", separate)):
        model.zero_grad()
        student, teacher = model(batch)
        _, values = Objective(stage([TERMS["logit_distill"], TERMS["student_ce"]]))(
            model, student, teacher, batch
        )
        distilled[name], classified[name] = values["kl_logit"], values["student_ce"]
        if name == "joint":
            cosines = student.cosine_BC.detach().double().numpy() * 16
            logs = cosines - np.log(np.exp(cosines).sum(1, keepdims=True))
            assert values["student_ce"].item() == pytest.approx(
                -logs[range(4), batch.labels.numpy() + 3].mean(), rel=1e-5
            )
    torch.testing.assert_close(distilled["joint"], distilled["separate"])
    assert classified["joint"] > classified["separate"]


def test_frozen_teacher_gets_no_gradient() -> None:
    """A teacher from an earlier stage teaches with its teacher branch, else with its student's, and
    no parameter of it gets a gradient.
    """
    losses = [TERMS["student_ce"], TERMS["logit_distill"], TERMS["simil_distill"]]
    student_model = build_model(stage(losses, teacher_head=None), {"a": 5}, None)
    batch = Batch(
        images=torch.rand(4, 3, 32, 32) * 255, labels=torch.tensor([0, 3, 1, 2]), domain="a"
    )
    for changes, branch in (
        ({"student_head": None}, "teacher"),
        ({}, "teacher"),
        ({"teacher_head": None}, "student"),
    ):
        frozen = build_model(stage(losses, **changes), {"a": 5}, None).eval()
        with torch.no_grad():
            teaching = frozen.teaching_branch(batch)
        assert torch.equal(teaching.embedding_BD, frozen.embed(batch.images, branch, "a"))
        student, none = student_model(batch)
        assert none is None
        total, _ = Objective(stage(losses))(student_model, student, teaching, batch)
        student_model.zero_grad()
        total.backward()
        assert all(parameter.grad is None for parameter in frozen.parameters())
        assert all(
            parameter.grad is not None for parameter in student_model.student_head.parameters()
        )
        assert any(
            parameter.grad is not None and parameter.grad.any()
            for parameter in student_model.backbone.parameters()
        )


def test_no_backbone_graph_while_frozen() -> None:
    """Without `train_backbone` features carry no graph, so no backbone parameter gets a gradient,
    while heads and classifiers do.
    """
    model = build_model(stage(list(TERMS.values())), {"a": 5}, None)
    batch = Batch(
        images=torch.rand(4, 3, 32, 32) * 255, labels=torch.tensor([0, 3, 1, 2]), domain="a"
    )
    student, teacher = model(batch, train_backbone=False)
    assert not student.features_BF.requires_grad
    total, _ = Objective(stage(list(TERMS.values())))(model, student, teacher, batch)
    total.backward()
    backbone, heads = model.parameter_groups()
    assert all(parameter.grad is None for parameter in backbone)
    assert all(parameter.grad is not None for parameter in heads)


def test_parts_start_from_their_own_streams() -> None:
    """A part starts equal whatever else the model has: the student with and without teachers, a
    domain alone and among others.
    """
    classes = {"a": 3, "b": 4}
    both = build_model(stage([], domains=("a", "b")), classes, None)
    alone = build_model(stage([], domains=("b",), student_head=None), classes, None)
    student = build_model(stage([], domains=("b", "a"), teacher_head=None), classes, None)
    for ours, theirs in (
        (both.backbone, alone.backbone),
        (both.teacher_heads[1], alone.teacher_heads[0]),
        (both.teacher_classifiers.parts[1], alone.teacher_classifiers.parts[0]),
        (both.student_head, student.student_head),
        (both.student_classifiers.parts[0], student.student_classifiers.parts[1]),
    ):
        theirs = theirs.state_dict()
        assert ours.state_dict().keys() == theirs.keys()
        assert all(torch.equal(value, theirs[name]) for name, value in ours.state_dict().items())
    other = build_model(stage([], domains=("a", "b"), seed=1), classes, None)
    assert not torch.equal(
        both.student_head.projection.weight, other.student_head.projection.weight
    )


def sides(rows: Tensor, dim: int) -> Branch:
    """A branch of unit rows [B, dim] with cosines to three fixed columns."""
    columns = unit_rows(3, dim, seed=9).detach()
    return branch_of(rows, rows @ columns.T)


def test_images_without_a_label_are_left_to_losses_that_read_none() -> None:
    """Classification and losses that say that they read labels are those of the labelled images;
    the others see all images.
    """
    dkd = LossSpec(name="dkd", use="dkd")
    objective = Objective(stage([*TERMS.values(), dkd]))
    labels = [2, -1, 0, -1, 1]
    rows = torch.tensor([0, 2, 4])
    part = Batch(images=None, labels=torch.tensor(labels), domain="a", labelled=rows)
    student, teacher = unit_rows(5, 64), unit_rows(5, 256, seed=1)
    got = objective.losses(None, sides(student, 64), sides(teacher, 256), part)
    known = Batch(images=None, labels=torch.tensor([2, 0, 1]), domain="a")
    expected = objective.losses(None, sides(student[rows], 64), sides(teacher[rows], 256), known)
    whole = Batch(images=None, labels=torch.tensor([2, 0, 0, 0, 1]), domain="a")
    of_all = objective.losses(None, sides(student, 64), sides(teacher, 256), whole)
    for name in ("teacher_ce", "student_ce", "dkd"):
        assert torch.equal(got.values[name], expected.values[name])
    for name in ("kl_logit", "relational"):
        assert torch.equal(got.values[name], of_all.values[name])
    got.values.clear()
    sum(got.task).backward()
    assert student.grad is not None and not student.grad[[1, 3]].any()
    assert student.grad[rows].any(1).all()


def test_a_batch_without_any_label_teaches_no_classes() -> None:
    """Classification is 0 without a gradient, not nan; distillation goes on."""
    objective = Objective(stage([*TERMS.values()]))
    none = Batch(
        images=None,
        labels=torch.tensor([-1, -1]),
        domain="a",
        labelled=torch.zeros(0, dtype=torch.int64),
    )
    student, teacher = unit_rows(2, 64), unit_rows(2, 256, seed=1)
    got = objective.losses(None, sides(student, 64), sides(teacher, 256), none)
    assert got.values["student_ce"] == got.values["teacher_ce"] == 0
    assert got.values["kl_logit"] > 0 and got.total.isfinite()
    got.total.backward()
    assert student.grad is not None and student.grad.isfinite().all() and student.grad.any()
    assert teacher.grad is not None and not teacher.grad.any()
