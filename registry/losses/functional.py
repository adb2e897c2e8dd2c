"""The maths of the losses: pure functions from tensors to a float32 scalar.

Source: UDON, NeurIPS 2024, and its released implementation: margins and classification loss, logit
distillation and relational distillation of the train step. Shapes: B batch, C classes, D student
dimension, E teacher dimension.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(
    cosine_BC: Tensor,
    labels_B: Tensor,
    *,
    margin: Literal["normface", "cosface", "arcface"] = "normface",
    m: float = 0.0,
    scale: float = 16.0,
) -> Tensor:
    """Softmax cross-entropy of scaled cosines with a margin on the target class.

    It is the mean over the batch: equation 4 of docs/method.md.

    Args:
        cosine_BC: float [B, C], cosines to the class columns.
        labels_B: int64 [B], target columns.
        margin: `normface` leaves the target cosine c as it is; `cosface` makes it c - m; `arcface`
            makes it cos(acos(c) + m). As in the released code, arcface neither clamps nor replaces
            what lies beyond pi: rounding that pushes a cosine past 1 gives nan.
        m: the margin, >= 0.
        scale: factor on all cosines, > 0.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: for m > 0 with `normface`, which has no margin.

    Example:
        >>> cosine_BC = torch.tensor([[0.5, 0.5]])
        >>> labels_B = torch.tensor([0])
        >>> cross_entropy(cosine_BC, labels_B)
        tensor(0.6931)
        >>> plain = cross_entropy(cosine_BC, labels_B)
        >>> cross_entropy(cosine_BC, labels_B, margin="cosface", m=0.1) > plain
        tensor(True)
    """
    if margin == "normface" and m != 0:
        raise ValueError(
            f"normface has no margin, but m = {m}; use margin 'cosface' or 'arcface', or m = 0"
        )
    cosine_BC = cosine_BC.float()
    # Without a margin all three are the same function; taking acos anyway would give 0 * inf = nan
    # as the gradient at |c| = 1.
    if m != 0:
        index_B1 = labels_B.unsqueeze(1)
        target_B1 = cosine_BC.gather(1, index_B1)
        target_B1 = target_B1 - m if margin == "cosface" else torch.cos(torch.acos(target_B1) + m)
        cosine_BC = cosine_BC.scatter(1, index_B1, target_B1)
    return F.cross_entropy(scale * cosine_BC, labels_B)


def kl_logit(
    student_cosine_BC: Tensor,
    teacher_cosine_BC: Tensor,
    *,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.1,
) -> Tensor:
    """KL(teacher || student) between softmaxes of cosines: sum over classes, mean over the batch.

    Equation 5 of docs/method.md.

    The cosines are raw: no margin, no scale. The value is that of the released code, which takes
    the log of a softmax; the log-softmax here does not underflow.

    Args:
        student_cosine_BC: float [B, C].
        teacher_cosine_BC: float [B, C], the same classes in the same order; it gets no gradient.
        student_temperature: what the student's cosines are divided by, > 0.
        teacher_temperature: what the teacher's cosines are divided by, > 0.

    Returns:
        A float32 scalar, not multiplied by the squared temperature.

    Example:
        >>> teacher_cosine_BC = torch.tensor([[0.3, -0.2], [0.0, 0.9]])
        >>> bool(kl_logit(teacher_cosine_BC, teacher_cosine_BC) == 0)
        True
    """
    student_BC = F.log_softmax(student_cosine_BC.float() / student_temperature, dim=1)
    teacher_BC = F.log_softmax(teacher_cosine_BC.detach().float() / teacher_temperature, dim=1)
    return F.kl_div(student_BC, teacher_BC, reduction="batchmean", log_target=True)


def relational(
    student_BD: Tensor, teacher_BE: Tensor, *, reduction: Literal["official", "mean"] = "official"
) -> Tensor:
    """Squared difference of the Gram matrices of student and teacher, diagonal included.

    Equation 6 of docs/method.md.

    Args:
        student_BD: float [B, D], unit rows.
        teacher_BE: float [B, E], unit rows; E may differ from D; it gets no gradient.
        reduction: `mean` is the mean square over the B x B pairs. `official` is that times B / 4,
            which is what the released code computes on one device.

    Returns:
        A float32 scalar.

    Example:
        >>> student_BD, teacher_BE = torch.eye(2), torch.tensor([[1.0], [1.0]])
        >>> relational(student_BD, teacher_BE, reduction="mean"), relational(student_BD, teacher_BE)
        (tensor(0.5000), tensor(0.2500))
    """
    student_BD, teacher_BE = student_BD.float(), teacher_BE.detach().float()
    mean_square = (student_BD @ student_BD.T - teacher_BE @ teacher_BE.T).square().mean()
    return mean_square * (student_BD.shape[0] / 4) if reduction == "official" else mean_square
