"""The maths of the losses: pure functions from tensors to a float32 scalar.

Source: UDON, NeurIPS 2024, and its released implementation: margins and classification loss, logit
distillation and relational distillation of the train step. SupCon: Khosla et al., Supervised
Contrastive Learning, NeurIPS 2020. Proxy Anchor: Kim et al., Proxy Anchor Loss for Deep Metric
Learning, CVPR 2020. Margins by class counts: Ha et al., 2020, https://arxiv.org/abs/2010.05350.
AdaFace: Kim et al., CVPR 2022. Shapes: B batch, C classes, D student dimension, E teacher
dimension.
"""

from __future__ import annotations

import math
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


def margins_by_count(
    counts_C: Tensor, *, shape: Literal["power", "cosine"], m_max: float, m_min: float
) -> Tensor:
    """A margin for each class, the larger the fewer images it has.

    Args:
        counts_C: int64 [C], training images of each class; a class without any counts as one of 1.
        shape: `power` takes s = -n ** -0.25 of the count n, `cosine` takes s = n. Moved and scaled
            to x = 0 for the smallest class and x = 1 for the largest, the margin is on the way from
            m_max to m_min: at x (`power`), at (1 - cos(pi x)) / 2 (`cosine`).
        m_max: the margin of the smallest classes; of all, where all are equally large.
        m_min: the margin of the largest classes.

    Returns:
        float32 [C].

    Example:
        >>> counts_C = torch.tensor([1, 16, 256])
        >>> margins_by_count(counts_C, shape="power", m_max=0.5, m_min=0.05)
        tensor([0.5000, 0.2000, 0.0500])
        >>> margins_by_count(torch.tensor([10, 20, 30]), shape="cosine", m_max=0.5, m_min=0.1)
        tensor([0.5000, 0.3000, 0.1000])
    """
    counts_C = counts_C.clamp(min=1).double()
    size_C = -(counts_C**-0.25) if shape == "power" else counts_C
    x_C = (size_C - size_C.min()) / (size_C.max() - size_C.min()).clamp(min=1e-12)
    way_C = x_C if shape == "power" else (1 - torch.cos(math.pi * x_C)) / 2
    return (m_max - (m_max - m_min) * way_C).float()


def arcface(cosine_BC: Tensor, labels_B: Tensor, m_B: Tensor, *, scale: float) -> Tensor:
    """Softmax cross-entropy with an angular margin for each image, the mean over the batch.

    The cosine c of the target class becomes cos(acos(c) + m), and c - m sin(m) where the angle with
    its margin passes pi: so it grows with c everywhere. Both it and its gradient are finite at
    c = 1 and beyond.

    Args:
        cosine_BC: float [B, C], cosines to the class columns.
        labels_B: int64 [B], target columns.
        m_B: float [B], the margins in radians.
        scale: factor on all cosines, > 0.

    Returns:
        A float32 scalar.

    Example:
        >>> cosine_BC, labels_B = torch.tensor([[0.5, 0.5]]), torch.tensor([0])
        >>> arcface(cosine_BC, labels_B, torch.tensor([0.0]), scale=16.0)
        tensor(0.6931)
    """
    cosine_BC, index_B1 = cosine_BC.float(), labels_B.unsqueeze(1)
    cosine_B1, m_B1 = cosine_BC.gather(1, index_B1), m_B.unsqueeze(1)
    # Clamped before the root, whose gradient is infinite at 0.
    sine_B1 = (1 - cosine_B1.square()).clamp(min=1e-7).sqrt()
    within_B1 = cosine_B1 * m_B1.cos() - sine_B1 * m_B1.sin()
    target_B1 = torch.where(cosine_B1 > -m_B1.cos(), within_B1, cosine_B1 - m_B1 * m_B1.sin())
    return F.cross_entropy(scale * cosine_BC.scatter(1, index_B1, target_B1), labels_B)


def adaface(
    cosine_BC: Tensor, labels_B: Tensor, quality_B: Tensor, *, m: float, scale: float
) -> Tensor:
    """Softmax cross-entropy with the margin of AdaFace for each image, the mean over the batch.

    With the quality q the cosine c of the target class becomes cos(acos(c) - m q) - m (1 + q): a
    good image has a cosine margin that grows with its angle, a poor one a plain angular margin.
    Cosines are clamped to 1 - 0.001 and the angle to 0.001 .. pi - 0.001, as in the source.

    Args:
        cosine_BC: float [B, C], cosines to the class columns.
        labels_B: int64 [B], target columns.
        quality_B: float [B], from -1 (poor) to 1 (good).
        m: the margin, >= 0.
        scale: factor on all cosines, > 0.

    Returns:
        A float32 scalar.

    Example:
        >>> cosine_BC, labels_B = torch.tensor([[0.5, 0.0]]), torch.tensor([0])
        >>> adaface(cosine_BC, labels_B, torch.zeros(1), m=0.5, scale=16.0)  # cosface at q = 0
        tensor(0.6931)
    """
    cosine_BC, index_B1 = cosine_BC.float().clamp(-1 + 1e-3, 1 - 1e-3), labels_B.unsqueeze(1)
    quality_B1 = quality_B.unsqueeze(1)
    angle_B1 = cosine_BC.gather(1, index_B1).acos() - m * quality_B1
    target_B1 = angle_B1.clamp(1e-3, math.pi - 1e-3).cos() - m * (1 + quality_B1)
    return F.cross_entropy(scale * cosine_BC.scatter(1, index_B1, target_B1), labels_B)


def supcon(embedding_BD: Tensor, labels_B: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss over the pairs of a batch: mean over images with a positive.

    Equation 2 of SupCon (the sum over positives outside of the logarithm), with one view per image:
    the positives of an image are the other images of its class, and all other images compete.

    Args:
        embedding_BD: float [B, D], unit rows.
        labels_B: int64 [B].
        temperature: what the cosines are divided by, > 0.

    Returns:
        A float32 scalar; 0, with a gradient of zeros, where no class has two images.

    Example:
        >>> embedding_BD = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> supcon(embedding_BD, torch.tensor([0, 0, 1]), temperature=1.0)  # log(e + 1) - 1
        tensor(0.3133)
    """
    embedding_BD = embedding_BD.float()
    itself_BB = torch.eye(len(labels_B), dtype=torch.bool, device=labels_B.device)
    positive_BB = (labels_B.unsqueeze(1) == labels_B) & ~itself_BB
    logit_BB = embedding_BD @ embedding_BD.T / temperature
    # The lowest number in place of -inf: an image without any other would give inf * 0 = nan.
    others_BB = logit_BB.masked_fill(itself_BB, torch.finfo(logit_BB.dtype).min)
    log_p_BB = logit_BB - others_BB.logsumexp(1, keepdim=True)
    positives_B = positive_BB.sum(1)
    loss_B = -(positive_BB * log_p_BB).sum(1) / positives_B.clamp(min=1)
    return loss_B.sum() / (positives_B > 0).sum().clamp(min=1)


def proxy_anchor(
    cosine_BC: Tensor, labels_B: Tensor, *, margin: float = 0.1, alpha: float = 32.0
) -> Tensor:
    """Proxy-Anchor loss: every class column is an anchor, the images of the batch are its data.

    Equation 4 of Proxy Anchor: a mean over the classes of the batch that pulls their images, and a
    mean over all classes that pushes the images of others.

    Args:
        cosine_BC: float [B, C], cosines to the class columns, which are the proxies.
        labels_B: int64 [B], target columns.
        margin: added to the cosine of an image of another class, subtracted from one of the same.
        alpha: factor on all cosines, > 0.

    Returns:
        A float32 scalar.

    Example:
        >>> cosine_BC = torch.tensor([[0.1, -0.1]])
        >>> proxy_anchor(cosine_BC, torch.tensor([0]))  # log(2) + log(2) / 2
        tensor(1.0397)
    """
    cosine_BC = cosine_BC.float()
    positive_BC = labels_B.unsqueeze(1) == torch.arange(cosine_BC.shape[1], device=labels_B.device)
    pull_C = _log_one_plus_sum(alpha * (margin - cosine_BC), positive_BC)
    push_C = _log_one_plus_sum(alpha * (margin + cosine_BC), ~positive_BC)
    return pull_C.sum() / positive_BC.any(0).sum() + push_C.mean()


def _log_one_plus_sum(logit_BC: Tensor, mask_BC: Tensor) -> Tensor:
    """The log of 1 + the sum over B of exp(logit) where the mask is set, float32 [C]."""
    one_1C = torch.zeros_like(logit_BC[:1])  # the log of 1
    return torch.cat([one_1C, logit_BC.masked_fill(~mask_BC, -torch.inf)]).logsumexp(0)


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


def prior_cross_entropy(
    cosine_BC: Tensor, labels_B: Tensor, log_counts_C: Tensor, *, power: float, scale: float
) -> Tensor:
    """Softmax cross-entropy of scaled cosines plus `power` times the log of each class's images.

    Args:
        cosine_BC: float [B, C], cosines to the class columns.
        labels_B: int64 [B], target columns.
        log_counts_C: float [C], logs of the training images of each class.
        power: of the counts.
        scale: factor on all cosines, > 0.

    Returns:
        A float32 scalar, the mean over the batch.

    Example:
        >>> cosine_BC, log_counts_C = torch.zeros(1, 2), torch.tensor([3.0, 1.0]).log()
        >>> prior_cross_entropy(
        ...     cosine_BC, torch.tensor([0]), log_counts_C, power=1.0, scale=16.0
        ... ).exp()  # 4 / 3
        tensor(1.3333)
    """
    return F.cross_entropy(scale * cosine_BC.float() + power * log_counts_C, labels_B)


def curricular(cosine_BC: Tensor, labels_B: Tensor, t: Tensor, *, m: float, scale: float) -> Tensor:
    """CurricularFace: the target has an angular margin, and negatives beyond it are weighted.

    The cosine c of the target becomes cos(acos(c) + m), and c - m sin(m) where the angle with its
    margin passes pi. A negative cosine n above cos(acos(c) + m) becomes n (t + n).

    Args:
        cosine_BC: float [B, C], cosines to the class columns; they are clamped to -1..1.
        labels_B: int64 [B], target columns.
        t: float32 scalar, how well the targets are met; it gets no gradient.
        m: the margin in radians.
        scale: factor on all cosines, > 0.

    Returns:
        A float32 scalar, the mean over the batch.

    Example:
        >>> cosine_BC, labels_B = torch.tensor([[0.5, 0.5]]), torch.tensor([0])
        >>> curricular(cosine_BC, labels_B, torch.tensor(0.5), m=0.0, scale=16.0)
        tensor(0.6931)
    """
    cosine_BC, index_B1 = cosine_BC.float().clamp(-1, 1), labels_B.unsqueeze(1)
    target_B1 = cosine_BC.gather(1, index_B1)
    # clamped before the root, whose gradient is infinite at 0
    sine_B1 = (1 - target_B1.square()).clamp(min=1e-12).sqrt()
    within_B1 = target_B1 * math.cos(m) - sine_B1 * math.sin(m)
    moved_B1 = torch.where(target_B1 > -math.cos(m), within_B1, target_B1 - m * math.sin(m))
    weighted_BC = torch.where(cosine_BC > within_B1, cosine_BC * (t + cosine_BC), cosine_BC)
    return F.cross_entropy(scale * weighted_BC.scatter(1, index_B1, moved_B1), labels_B)
