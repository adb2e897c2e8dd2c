"""The maths of relational distillation beside UDON's: pure functions to a float32 scalar.

What the student takes over is how the embeddings of a batch lie to each other, so that the two
dimensions may differ. The teacher gets no gradient. Shapes: B batch, D student dimension, E teacher
dimension.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def affinity(student_BD: Tensor, teacher_BE: Tensor, *, scale: float) -> Tensor:
    """Cross-entropy between the softmaxes of each image's similarities to all others.

    Args:
        student_BD: float [B, D], unit rows.
        teacher_BE: float [B, E], unit rows.
        scale: factor on the cosines, > 0.

    Returns:
        A float32 scalar, the mean over images: the teacher's entropy where the two agree. 0 in a
        batch of one.

    Source: Wu et al., TinyCLIP, ICCV 2023, affinity mimicking, with images in place of texts. An
    image's similarity to itself is left out, which images and texts do not have.

    Example:
        >>> student_BD = torch.eye(3)
        >>> affinity(student_BD, student_BD, scale=50.0)  # log(2)
        tensor(0.6931)
    """
    if len(student_BD) == 1:  # there are no others
        return 0 * student_BD.float().sum()
    student_BB = _others(student_BD.float()) * scale
    teacher_BB = _others(teacher_BE.detach().float()) * scale
    return F.cross_entropy(student_BB, teacher_BB.softmax(1))


def _others(rows_BD: Tensor) -> Tensor:
    """Cosines of each image to all others, float32 [B, B - 1]."""
    cosine_BB = rows_BD @ rows_BD.T
    # the diagonal is every (B + 1)th value of the matrix: what lies between, B values each
    n = len(cosine_BB)
    return cosine_BB.flatten()[1:].view(n - 1, n + 1)[:, :-1].reshape(n, n - 1)


def rkd(
    student_BD: Tensor, teacher_BE: Tensor, *, distance_weight: float, angle_weight: float
) -> Tensor:
    """Smooth L1 difference of distances, and of the angles of all triples.

    Distances are divided by their mean over the batch. The angles take memory of B ** 3 numbers.

    Args:
        student_BD: float [B, D].
        teacher_BE: float [B, E].
        distance_weight: of the mean over all B x B pairs.
        angle_weight: of the mean over all B x B x B triples.

    Returns:
        A float32 scalar.

    Source: Park et al., Relational Knowledge Distillation, CVPR 2019, equations 4 and 8.

    Example:
        >>> student_BD = torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])
        >>> bool(rkd(student_BD, 3 * student_BD, distance_weight=25.0, angle_weight=50.0) < 1e-6)
        True
    """
    student_BD, teacher_BE = student_BD.float(), teacher_BE.detach().float()
    pairs = max(len(student_BD) * (len(student_BD) - 1), 1)
    distances = (_distances(each) for each in (student_BD, teacher_BE))
    ours_BB, theirs_BB = (each / (each.sum() / pairs).clamp(min=1e-12) for each in distances)
    loss = distance_weight * F.smooth_l1_loss(ours_BB, theirs_BB)
    if angle_weight == 0:
        return loss
    return loss + angle_weight * F.smooth_l1_loss(_angles(student_BD), _angles(teacher_BE))


def _distances(rows_BD: Tensor) -> Tensor:
    """Euclidean distances of all pairs, float32 [B, B], with zeros on the diagonal."""
    square_B = rows_BD.square().sum(1)
    square_BB = square_B.unsqueeze(1) + square_B - 2 * rows_BD @ rows_BD.T
    # clamped before the root, whose gradient is infinite at 0
    return square_BB.clamp(min=1e-12).sqrt() * (1 - torch.eye(len(rows_BD), device=rows_BD.device))


def _angles(rows_BD: Tensor) -> Tensor:
    """The cosine of the angle at i between j and k, float32 [B, B, B]."""
    way_BBD = rows_BD.unsqueeze(0) - rows_BD.unsqueeze(1)
    length_BB1 = way_BBD.norm(dim=2, keepdim=True)
    # two equal images have no direction, nor a gradient of one over next to nothing
    way_BBD = way_BBD / length_BB1.clamp(min=1e-6) * (length_BB1 > 1e-6)
    return way_BBD @ way_BBD.transpose(1, 2)


def similarity_preserving(student_BD: Tensor, teacher_BE: Tensor) -> Tensor:
    """Squared difference of the Gram matrices, each row brought to unit length.

    Args:
        student_BD: float [B, D].
        teacher_BE: float [B, E].

    Returns:
        A float32 scalar, the mean over all B x B pairs.

    Source: Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019, equation 4.

    Example:
        >>> similarity_preserving(torch.eye(2), torch.tensor([[1.0], [1.0]]))  # 1 - sqrt(1/2)
        tensor(0.2929)
    """
    student_BD, teacher_BE = student_BD.float(), teacher_BE.detach().float()
    student_BB = F.normalize(student_BD @ student_BD.T)
    teacher_BB = F.normalize(teacher_BE @ teacher_BE.T)
    return (student_BB - teacher_BB).square().mean()


def pkt(student_BD: Tensor, teacher_BE: Tensor) -> Tensor:
    """KL between each image's similarities to all, taken as probabilities.

    The probabilities are (1 + cosine) / 2, divided by their sum over the row.

    Args:
        student_BD: float [B, D], unit rows.
        teacher_BE: float [B, E], unit rows.

    Returns:
        A float32 scalar, the mean over all B x B pairs.

    Source: Passalis and Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer,
    ECCV 2018, with the cosine kernel.

    Example:
        >>> rows_BD = torch.eye(2)
        >>> bool(pkt(rows_BD, rows_BD) == 0)
        True
    """
    ours_BB, theirs_BB = (
        F.normalize((1 + each @ each.T).clamp(min=0) / 2, p=1)
        for each in (student_BD.float(), teacher_BE.detach().float())
    )
    eps = 1e-7  # as in the released code, which adds it to both
    return (theirs_BB * ((theirs_BB + eps) / (ours_BB + eps)).log()).mean()


def class_aware_distance(student_BD: Tensor, teacher_BE: Tensor, labels_B: Tensor) -> Tensor:
    """Smooth L1 difference of the distances within each class.

    The distances of a class are divided by their mean; a class with one image in the batch gives
    none.

    Args:
        student_BD: float [B, D].
        teacher_BE: float [B, E].
        labels_B: int64 [B].

    Returns:
        A float32 scalar: of each class the sum over its pairs divided by its images, summed over
        classes. 0, with a gradient of zeros, where no class has two images.

    Source: Yang et al., Multi-Label Knowledge Distillation (L2D), ICCV 2023, class-aware label-wise
    embedding distillation, with one label per image.

    Example:
        >>> student_BD, labels_B = torch.eye(4), torch.tensor([0, 0, 0, 1])
        >>> bool(class_aware_distance(student_BD, 2 * student_BD, labels_B) < 1e-6)
        True
    """
    same_BB = (labels_B.unsqueeze(1) == labels_B).float()
    images_B = same_BB.sum(1)
    pair_BB = same_BB * (1 - torch.eye(len(labels_B), device=labels_B.device))
    ours_BB, theirs_BB = (
        _over_mean_of_class(_distances(each), same_BB, pair_BB)
        for each in (student_BD.float(), teacher_BE.detach().float())
    )
    loss_BB = F.smooth_l1_loss(ours_BB, theirs_BB, reduction="none")
    return (pair_BB * loss_BB / images_B.unsqueeze(1)).sum()


def _over_mean_of_class(distance_BB: Tensor, same_BB: Tensor, pair_BB: Tensor) -> Tensor:
    """Distances divided by their mean over the pairs of the row's class, float32 [B, B]."""
    total_B = same_BB @ (pair_BB * distance_BB).sum(1)
    pairs_B = same_BB @ pair_BB.sum(1)
    mean_B = (total_B / pairs_B.clamp(min=1)).clamp(min=1e-12)
    return distance_BB / mean_B.unsqueeze(1)


def class_distance_matrix(
    student_BD: Tensor,
    teacher_BE: Tensor,
    labels_B: Tensor,
    *,
    distance: Literal["euclidean", "cosine"],
    power: float,
) -> Tensor:
    """Difference of the distances between the class means of a batch.

    Args:
        student_BD: float [B, D].
        teacher_BE: float [B, E].
        labels_B: int64 [B].
        distance: between two class means.
        power: of the absolute difference: 1 or 2, say.

    Returns:
        A float32 scalar, the mean over pairs of different classes; 0, with a gradient of zeros, in
        a batch of one class.

    Example:
        >>> student_BD, labels_B = torch.eye(3), torch.tensor([0, 1, 2])
        >>> moved_BD = student_BD + 5
        >>> loss = class_distance_matrix(
        ...     student_BD, moved_BD, labels_B, distance="euclidean", power=1.0
        ... )
        >>> bool(loss < 1e-5)
        True
    """
    same_BB = (labels_B.unsqueeze(1) == labels_B).float()
    share_BB = same_BB / same_BB.sum(1, keepdim=True)
    ours_BB, theirs_BB = (
        _between(share_BB @ each, distance)
        for each in (student_BD.float(), teacher_BE.detach().float())
    )
    # a class stands in as many rows as it has images: each pair of classes counts once
    weight_BB = (1 - same_BB) / (same_BB.sum(1, keepdim=True) * same_BB.sum(0))
    loss_BB = (ours_BB - theirs_BB).abs() ** power
    return (weight_BB * loss_BB).sum() / weight_BB.sum().clamp(min=1)


def _between(mean_BD: Tensor, distance: Literal["euclidean", "cosine"]) -> Tensor:
    """Distances of all pairs, float32 [B, B]."""
    if distance == "euclidean":
        return _distances(mean_BD)
    unit_BD = F.normalize(mean_BD)
    return 1 - unit_BD @ unit_BD.T


def cosine_match(student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
    """One minus the cosine of each image's two embeddings, the mean over the batch.

    Args:
        student_BD: float [B, D], unit rows.
        teacher_BD: float [B, D], unit rows; it gets no gradient.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: they have different lengths.

    Example:
        >>> cosine_match(torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
        tensor(0.5000)
    """
    if student_BD.shape != teacher_BD.shape:
        raise ValueError(
            f"the student answers with {student_BD.shape[1]} dimensions, the teacher's embedding"
            f" has {teacher_BD.shape[1]}; give the teacher an `adapter`"
        )
    return 1 - (student_BD.float() * teacher_BD.detach().float()).sum(1).mean()
