"""Relational distillation beside that of UDON.

The values of RKD, SP and PKT (megvii-research/mdistiller) and of the class-aware distance
(penghui-yang/L2D) are those of the released code on the waves below, computed once in float64.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from registry import losses
from registry.losses import relation_maths
from tests.registry.losses.branches import batch_of, branch_of, unit_rows
from tests.registry.losses.test_logit_maths import wave

LABELS = [0, 1, 0, 1, 1, 2]
NAMES = ("affinity", "rkd", "sp", "pkt", "class_aware_distance", "class_distance_matrix")
STUDENT, TEACHER = F.normalize(wave(6, 4, 0.3)), F.normalize(wave(6, 7, 1.1))


def test_rkd_equals_the_released_code() -> None:
    """Distances and angles together, and the distances alone."""
    both = relation_maths.rkd(STUDENT, TEACHER, distance_weight=25.0, angle_weight=50.0)
    assert both.item() == pytest.approx(0.5532716923881502, rel=1e-5)
    distances = relation_maths.rkd(STUDENT, TEACHER, distance_weight=25.0, angle_weight=0.0)
    assert distances.item() == pytest.approx(0.0981438558969937, rel=1e-5)


def test_sp_equals_the_released_code() -> None:
    """Squared difference of normalised Gram rows, over B x B."""
    got = relation_maths.similarity_preserving(STUDENT, TEACHER)
    assert got.item() == pytest.approx(0.02828229770537232, rel=1e-5)


def test_pkt_equals_the_released_code() -> None:
    """Its epsilon is that of the code."""
    got = relation_maths.pkt(STUDENT, TEACHER)
    assert got.item() == pytest.approx(0.007610105837247376, rel=1e-4)


def test_class_aware_distance_equals_the_released_code() -> None:
    """One label per image, as one-hot targets there."""
    teacher = F.normalize(wave(6, 4, 1.9))
    got = relation_maths.class_aware_distance(STUDENT, teacher, torch.tensor(LABELS))
    assert got.item() == pytest.approx(0.004678321655332048, rel=1e-4)


def test_affinity_equals_a_plain_loop() -> None:
    """Softmaxes over the other images; of the teacher with itself it is the entropy."""

    def rows(of: torch.Tensor) -> list[list[float]]:
        similar = []
        for i, row in enumerate(of):
            logits = [9.0 * float(row @ other) for j, other in enumerate(of) if j != i]
            total = math.fsum(map(math.exp, logits))
            similar.append([math.exp(logit) / total for logit in logits])
        return similar

    ours, theirs = rows(STUDENT), rows(TEACHER)
    terms = [
        -math.fsum(t * math.log(s) for s, t in zip(a, b, strict=True))
        for a, b in zip(ours, theirs, strict=True)
    ]
    got = relation_maths.affinity(STUDENT, TEACHER, scale=9.0)
    assert got.item() == pytest.approx(math.fsum(terms) / len(terms), rel=1e-5)
    entropy = -math.fsum(t * math.log(t) for row in theirs for t in row) / len(theirs)
    agreed = relation_maths.affinity(TEACHER, TEACHER, scale=9.0)
    assert agreed.item() == pytest.approx(entropy, rel=1e-5)


@pytest.mark.parametrize(("distance", "power"), [("euclidean", 1.0), ("cosine", 2.0)])
def test_class_distance_matrix_equals_a_plain_loop(distance: str, power: float) -> None:
    """Each pair of classes counts once, however many images it has in the batch."""
    labels = torch.tensor(LABELS)

    def between(of: torch.Tensor, a: int, b: int) -> float:
        first, second = of[labels == a].mean(0), of[labels == b].mean(0)
        if distance == "euclidean":
            return float((first - second).norm())
        return 1 - float(F.cosine_similarity(first, second, dim=0))

    terms = [
        abs(between(STUDENT, a, b) - between(TEACHER, a, b)) ** power
        for a in range(3)
        for b in range(3)
        if a != b
    ]
    got = losses.get("class_distance_matrix")(distance=distance, power=power)(
        branch_of(STUDENT), branch_of(TEACHER), batch_of(LABELS)
    )
    assert got.item() == pytest.approx(math.fsum(terms) / len(terms), rel=1e-5)


@pytest.mark.parametrize("name", ["rkd", "class_aware_distance", "class_distance_matrix", "sp"])
def test_a_rotated_teacher_is_the_same_teacher(name: str) -> None:
    """Only how the images lie to each other counts; a teacher that swaps classes does not agree."""
    turn = torch.linalg.qr(wave(4, 4, 0.5)).Q
    loss, student = losses.get(name)(), branch_of(STUDENT)
    assert loss(student, branch_of(STUDENT @ turn), batch_of(LABELS)).item() < 1e-4
    swapped = STUDENT[[1, 0, 3, 2, 5, 4]]
    assert loss(student, branch_of(swapped), batch_of(LABELS)).item() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_the_student_alone_has_a_gradient(name: str) -> None:
    """It is finite and does not vanish; the teacher, of another dimension, has none."""
    student, teacher = unit_rows(6, 4), unit_rows(6, 7, seed=1)
    value = losses.get(name)()(branch_of(student), branch_of(teacher), batch_of(LABELS))
    assert value.dtype == torch.float32 and value.ndim == 0
    value.backward()
    assert teacher.grad is None
    assert student.grad is not None and student.grad.isfinite().all() and student.grad.any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("labels", [[0], [0, 0, 0], [0, 1, 2]])
def test_equal_images_give_a_number(name: str, labels: list[int]) -> None:
    """Equal embeddings, a batch of one, of one class and of all different classes: no nan."""
    student = F.normalize(torch.ones(len(labels), 4)).requires_grad_()
    teacher = unit_rows(len(labels), 7).detach()
    value = losses.get(name)()(branch_of(student), branch_of(teacher), batch_of(labels))
    value.backward()
    assert value.isfinite() and student.grad is not None
    assert student.grad.isfinite().all() and student.grad.abs().max() < 1e4
