"""The maths of logit distillation beside the KL of UDON: pure functions to a float32 scalar.

A student's and a teacher's logits over the same classes go in, whatever made them: the components
divide cosines by a temperature, or scale and shift them. The teacher gets no gradient. Shapes: B
batch, C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dkd(
    student_BC: Tensor, teacher_BC: Tensor, labels_B: Tensor, *, alpha: float, beta: float
) -> Tensor:
    """Decoupled KL: of the target class against the rest, and among the rest.

    The KL of the softmaxes is the first plus the second times the teacher's probability of the
    rest, so that a sure teacher says nothing about the rest; here the second has a weight of its
    own. The value is that of the released code without its factor of the squared temperature.

    Args:
        student_BC: float [B, C], logits.
        teacher_BC: float [B, C], logits.
        labels_B: int64 [B], target columns.
        alpha: weight of the first.
        beta: weight of the second.

    Returns:
        A float32 scalar, the mean over the batch; 0 where there is one class.

    Source: Zhao et al., Decoupled Knowledge Distillation, CVPR 2022, equation 7.

    Example:
        >>> logits_BC, labels_B = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([0])
        >>> bool(dkd(logits_BC, logits_BC, labels_B, alpha=1.0, beta=8.0) == 0)
        True
    """
    if student_BC.shape[1] == 1:  # nothing beside the target
        return 0 * student_BC.float().sum()
    student, teacher = _decoupled(student_BC, labels_B), _decoupled(teacher_BC.detach(), labels_B)
    target, rest = (
        F.kl_div(ours, theirs, reduction="sum", log_target=True)
        for ours, theirs in zip(student, teacher, strict=True)
    )
    return (alpha * target + beta * rest) / len(labels_B)


def _decoupled(logit_BC: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities [B, 2] of target and rest, and [B, C - 1] within the rest."""
    logit_BC, label_B1 = logit_BC.float(), labels_B.unsqueeze(1)
    # gathered, since selecting by a mask would wait for the GPU
    others_C = torch.arange(logit_BC.shape[1] - 1, device=labels_B.device)
    rest_BC = logit_BC.gather(1, others_C + (others_C >= label_B1))
    target_B1 = logit_BC.gather(1, label_B1)
    both_B2 = torch.cat([target_B1, rest_BC.logsumexp(1, keepdim=True)], 1)
    return both_B2.log_softmax(1), rest_BC.log_softmax(1)


def dist(student_BC: Tensor, teacher_BC: Tensor, *, beta: float, gamma: float) -> Tensor:
    """One minus Pearson's correlation of the softmaxes, of each image and of each class.

    Args:
        student_BC: float [B, C], logits.
        teacher_BC: float [B, C], logits.
        beta: weight of the correlation over the classes of an image, mean over images.
        gamma: weight of the correlation over the images of a class, mean over classes.

    Returns:
        A float32 scalar. A row or column that does not vary has the correlation 0.

    Source: Huang et al., Knowledge Distillation from A Stronger Teacher, NeurIPS 2022, equations 8
    to 10.

    Example:
        >>> logits_BC = torch.tensor([[2.0, 0.0], [1.0, 3.0]])
        >>> bool(dist(logits_BC, logits_BC, beta=1.0, gamma=1.0).abs() < 1e-6)
        True
    """
    student_BC = student_BC.float().softmax(1)
    teacher_BC = teacher_BC.detach().float().softmax(1)
    images = 1 - _pearson(student_BC, teacher_BC).mean()
    classes = 1 - _pearson(student_BC.T, teacher_BC.T).mean()
    return beta * images + gamma * classes


def _pearson(x_NM: Tensor, y_NM: Tensor) -> Tensor:
    """Pearson's correlation of each row, float32 [N]."""
    x_NM, y_NM = x_NM - x_NM.mean(1, keepdim=True), y_NM - y_NM.mean(1, keepdim=True)
    return (x_NM * y_NM).sum(1) / (x_NM.norm(dim=1) * y_NM.norm(dim=1) + 1e-8)


def standardised(logit_BC: Tensor) -> Tensor:
    """Logits of each image with mean 0 and standard deviation 1 over the classes.

    Args:
        logit_BC: float [B, C].

    Returns:
        float32 [B, C]; zeros where there is one class.

    Source: Sun et al., Logit Standardization in Knowledge Distillation, CVPR 2024.

    Example:
        >>> standardised(torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]))
        tensor([[-1.0000,  0.0000,  1.0000],
                [-1.0000,  0.0000,  1.0000]])
    """
    logit_BC = logit_BC.float()
    centred_BC = logit_BC - logit_BC.mean(1, keepdim=True)
    if logit_BC.shape[1] == 1:  # a single value has no standard deviation
        return centred_BC
    return centred_BC / (logit_BC.std(1, keepdim=True) + 1e-7)


def sigmoid_focal(student_BC: Tensor, teacher_BC: Tensor, *, beta: float) -> Tensor:
    """Binary cross-entropy of every class by itself, weighted by how far the two are apart.

    With y and x the sigmoids of the teacher's and the student's logit a class gives
    BCE(x, y) |y - x| ** beta. The weight has a gradient too, as in the released code.

    Args:
        student_BC: float [B, C], logits.
        teacher_BC: float [B, C], logits.
        beta: exponent of the weight, at least 1.

    Returns:
        A float32 scalar: the sum over classes, the mean over the batch.

    Source: Yang et al., Bridging Cross-task Protocol Inconsistency for Distillation in Dense Object
    Detection (BCKD), ICCV 2023, its classification part.

    Example:
        >>> student_BC = torch.tensor([[2.0, -1.0, 0.0]])
        >>> teacher_BC = torch.tensor([[1.0, -2.0, 3.0]])
        >>> sigmoid_focal(student_BC, teacher_BC, beta=1.0)
        tensor(0.4780)
    """
    student_BC, target_BC = student_BC.float(), teacher_BC.detach().float().sigmoid()
    apart_BC = (target_BC - student_BC.sigmoid()).abs()
    loss_BC = F.binary_cross_entropy_with_logits(student_BC, target_BC, reduction="none")
    return (loss_BC * apart_BC**beta).sum() / len(student_BC)


def binary_kl(student_BC: Tensor, teacher_BC: Tensor) -> Tensor:
    """KL(teacher || student) of every class by itself, present or absent.

    Args:
        student_BC: float [B, C], logits.
        teacher_BC: float [B, C], logits.

    Returns:
        A float32 scalar: the sum over classes, the mean over the batch.

    Source: Yang et al., Multi-Label Knowledge Distillation (L2D), ICCV 2023, its first term. The
    released code clamps probabilities to 1e-8; the logs of sigmoids here do not underflow.

    Example:
        >>> student_BC = torch.tensor([[2.0, -1.0, 0.0]])
        >>> teacher_BC = torch.tensor([[1.0, -2.0, 3.0]])
        >>> binary_kl(student_BC, teacher_BC)
        tensor(0.6520)
    """
    student_BC, teacher_BC = student_BC.float(), teacher_BC.detach().float()
    present_BC = teacher_BC.sigmoid() * (F.logsigmoid(teacher_BC) - F.logsigmoid(student_BC))
    absent_BC = (-teacher_BC).sigmoid() * (F.logsigmoid(-teacher_BC) - F.logsigmoid(-student_BC))
    return (present_BC + absent_BC).sum() / len(student_BC)


def cauchy_schwarz(student_BC: Tensor, teacher_BC: Tensor, *, inter: float, intra: float) -> Tensor:
    """Cauchy-Schwarz divergence of the softmaxes, of each image and of each class.

    D(p, q) = -log((sum p q)^2 / (sum p^2 sum q^2)): symmetric, and 0 where p and q are
    proportional. A class to which the student gives next to nothing adds little, where KL explodes.

    Args:
        student_BC: float [B, C], logits.
        teacher_BC: float [B, C], logits.
        inter: weight of the divergence over the classes of an image, mean over images.
        intra: weight of the divergence over the images of a class, mean over classes.

    Returns:
        A float32 scalar.

    Example:
        >>> p_BC = torch.tensor([[0.7, 0.2, 0.1]]).log()
        >>> q_BC = torch.tensor([[0.1, 0.2, 0.7]]).log()
        >>> cauchy_schwarz(p_BC, q_BC, inter=1.0, intra=0.0)
        tensor(2.1972)
    """
    student_BC, teacher_BC = student_BC.float(), teacher_BC.detach().float()
    student_BC, teacher_BC = student_BC.log_softmax(1), teacher_BC.log_softmax(1)

    def divergence(dim: int) -> Tensor:
        product, own, theirs = (
            each_BC.logsumexp(dim)
            for each_BC in (student_BC + teacher_BC, 2 * student_BC, 2 * teacher_BC)
        )
        return (own + theirs - 2 * product).mean()

    return inter * divergence(1) + intra * divergence(0)
