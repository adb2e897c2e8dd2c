"""Logit distillation beside the KL of UDON.

The values of DKD (megvii-research/mdistiller), DIST (hunto/DIST_KD), logit standardisation
(sunshangquan/logit-standardization-KD) and MLD (penghui-yang/L2D) are those of the released code on
the waves below, computed once in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from registry import losses
from registry.losses import functional, logit_maths
from tests.registry.losses.branches import batch_of, branch_of

LABELS = [0, 3, 1, 4, 0, 2]
NAMES = ("dkd", "dist", "kl_standardised", "sigmoid_focal", "binary_kl", "cauchy_schwarz")


def wave(rows: int, columns: int, phase: float) -> Tensor:
    """Values that follow from a formula, float64 [rows, columns]."""
    count = torch.arange(rows * columns, dtype=torch.float64)
    return (2 * torch.sin(1.7 * count + phase)).view(rows, columns)


STUDENT, TEACHER = wave(6, 5, 0.0), wave(6, 5, 0.9)


def test_dkd_equals_the_released_code() -> None:
    """Alpha 1, beta 8 and temperature 4, with the factor of its square that ours leaves out."""
    got = logit_maths.dkd(STUDENT / 4, TEACHER / 4, torch.tensor(LABELS), alpha=1.0, beta=8.0)
    assert 16 * got.item() == pytest.approx(5.526352040301561, rel=1e-5)


def test_dkd_with_the_teachers_probability_of_the_rest_is_the_kl() -> None:
    """KL = target + p(rest) x rest: on one image both weights give the plain KL."""
    student_BC, teacher_BC = STUDENT[:1], TEACHER[:1]
    rest = 1 - teacher_BC.softmax(1)[0, 3].item()
    got = logit_maths.dkd(student_BC, teacher_BC, torch.tensor([3]), alpha=1.0, beta=rest)
    kl = functional.kl_logit(
        student_BC, teacher_BC, student_temperature=1.0, teacher_temperature=1.0
    )
    torch.testing.assert_close(got, kl, rtol=1e-5, atol=0)


def test_dist_equals_the_released_code() -> None:
    """With beta 1.5 and gamma 0.5 on the same logits."""
    got = logit_maths.dist(STUDENT, TEACHER, beta=1.5, gamma=0.5)
    assert got.item() == pytest.approx(1.087850011791061, rel=1e-5)


def test_standardised_logits_equal_the_released_code() -> None:
    """Temperature 2, with the factor of its square that ours leaves out."""
    got = functional.kl_logit(
        logit_maths.standardised(STUDENT),
        logit_maths.standardised(TEACHER),
        student_temperature=2.0,
        teacher_temperature=2.0,
    )
    assert 4 * got.item() == pytest.approx(0.3001458734791661, rel=1e-5)


def test_binary_kl_equals_the_released_code_and_the_value_by_hand() -> None:
    """Mean over the batch of the sum over classes; the example's value is 0.652021."""
    got = logit_maths.binary_kl(STUDENT, TEACHER)
    assert got.item() == pytest.approx(0.7708558385018015, rel=1e-5)
    by_hand = logit_maths.binary_kl(torch.tensor([[2.0, -1, 0]]), torch.tensor([[1.0, -2, 3]]))
    assert by_hand.item() == pytest.approx(0.652021, abs=1e-6)


@pytest.mark.parametrize(
    ("student", "teacher", "expected"), [(2.0, 1.0, 0.09955), (-1, -2, 0.06476), (0, 3, 0.31370)]
)
def test_sigmoid_focal_by_hand(student: float, teacher: float, expected: float) -> None:
    """Each class by itself."""
    got = logit_maths.sigmoid_focal(
        torch.tensor([[float(student)]]), torch.tensor([[float(teacher)]]), beta=1.0
    )
    assert got.item() == pytest.approx(expected, abs=1e-5)


def test_sigmoid_focal_sees_a_shift_that_a_softmax_does_not() -> None:
    """All logits one higher: another loss here, the same KL."""

    def both(shift: float) -> tuple[float, float]:
        focal = logit_maths.sigmoid_focal(STUDENT + shift, TEACHER, beta=1.0)
        kl = functional.kl_logit(
            STUDENT + shift, TEACHER, student_temperature=1.0, teacher_temperature=1.0
        )
        return focal.item(), kl.item()

    (focal, kl), (moved, same) = both(0.0), both(1.0)
    assert same == pytest.approx(kl, rel=1e-5)
    assert moved != pytest.approx(focal, rel=1e-2)


@pytest.mark.parametrize(
    ("p", "q", "expected"),
    [((0.7, 0.2, 0.1), (0.1, 0.2, 0.7), 2.197225), ((1e-6, 0.5, 0.5), (0.7, 0.2, 0.1), 2.485)],
)
def test_cauchy_schwarz_by_hand(
    p: tuple[float, ...], q: tuple[float, ...], expected: float
) -> None:
    """-log((sum p q)^2 / (sum p^2 sum q^2)), the same both ways round."""
    p_BC, q_BC = torch.tensor([p]).log(), torch.tensor([q]).log()
    for first, second in ((p_BC, q_BC), (q_BC, p_BC)):
        got = logit_maths.cauchy_schwarz(first, second, inter=1.0, intra=0.0)
        assert got.item() == pytest.approx(expected, abs=1e-3 if p[0] < 1e-3 else 1e-5)


def test_cauchy_schwarz_within_classes_is_that_of_the_columns() -> None:
    """`intra` compares how the batch's images share each class."""
    got = logit_maths.cauchy_schwarz(STUDENT, TEACHER, inter=0.0, intra=1.0)
    p, q = STUDENT.softmax(1), TEACHER.softmax(1)
    squares = p.square().sum(0) * q.square().sum(0)
    expected = -((p * q).sum(0).square() / squares).log().mean()
    assert got.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_student_alone_has_a_gradient(name: str) -> None:
    """It is finite, and all zero where the two agree; the teacher has none."""
    student = (STUDENT / 2).requires_grad_()
    teacher = (TEACHER / 2).requires_grad_()
    loss = losses.get(name)()
    batch = batch_of(LABELS)
    value = loss(branch_of(None, student), branch_of(None, teacher), batch)
    assert value.dtype == torch.float32 and value.ndim == 0
    value.backward()
    assert teacher.grad is None
    assert student.grad is not None and student.grad.isfinite().all() and student.grad.any()
    same = (TEACHER / 2).requires_grad_()
    loss(branch_of(None, same), branch_of(None, teacher), batch).backward()
    torch.testing.assert_close(same.grad, torch.zeros_like(same), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_only_the_columns_of_the_domain_count(name: str) -> None:
    """A joint student and a separate teacher are compared on the batch's domain alone."""
    loss, batch = losses.get(name)(), batch_of(LABELS)
    joint = torch.cat([wave(6, 3, 2.0), STUDENT], 1) / 2
    got = loss(branch_of(None, joint, range(3, 8)), branch_of(None, TEACHER / 2), batch)
    expected = loss(branch_of(None, STUDENT / 2), branch_of(None, TEACHER / 2), batch)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 5), (4, 1), (1, 1)])
def test_one_image_or_one_class_gives_a_number(name: str, shape: tuple[int, int]) -> None:
    """Neither value nor gradient is nan where nothing can be compared."""
    student = torch.full(shape, 0.3).requires_grad_()
    value = losses.get(name)()(
        branch_of(None, student), branch_of(None, torch.full(shape, 0.5)), batch_of([0] * shape[0])
    )
    value.backward()
    assert value.isfinite() and student.grad is not None and student.grad.isfinite().all()


@pytest.mark.parametrize(
    "maths", [logit_maths.binary_kl, lambda s, t: logit_maths.sigmoid_focal(s, t, beta=1.0)]
)
def test_sure_sigmoids_stay_finite(maths: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Logits of 200, whose sigmoid is 1 in float32, give a finite value and gradient."""
    student = torch.tensor([[200.0, -200.0]]).requires_grad_()
    value = maths(student, -student.detach())
    value.backward()
    assert value.isfinite() and student.grad is not None and student.grad.isfinite().all()
