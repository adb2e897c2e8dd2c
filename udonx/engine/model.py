"""What a stage trains: one backbone pass, then the heads of the student and of a teacher.

Shape suffixes as in `registry.contracts`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, cast

import torch
from torch import Tensor, nn

from registry.contracts import Batch, Branch
from registry.heads.initialisers import l2_normalise


class Backbone(Protocol):
    """What a model asks of a backbone, a torch.nn.Module.

    Attributes:
        dim: the width of its features.
    """

    dim: int

    def __call__(self, images_B3HW: Tensor) -> Tensor:
        """Features [B, dim] of normalised images."""


class Classifiers(nn.Module):
    """The class columns of all domains behind one object.

    Args:
        modules: a classifier for each domain; the first dimension of every parameter is classes.
        domains: their names.
        joint: one classifier over the classes of all domains, in place of one for each.
    """

    def __init__(self, modules: Sequence[nn.Module], domains: Sequence[str], joint: bool) -> None:
        super().__init__()
        counts = [next(module.parameters()).shape[0] for module in modules]
        self.position = {domain: position for position, domain in enumerate(domains)}
        if joint:
            self.parts = nn.ModuleList([_joined(modules)])
            starts = [sum(counts[:position]) for position in range(len(counts))]
        else:
            self.parts = nn.ModuleList(modules)
            starts = [0] * len(counts)
        self.joint = joint
        self.ranges = [
            range(start, start + count) for start, count in zip(starts, counts, strict=True)
        ]

    def columns(self) -> dict[str, Tensor]:
        """The parameters of each domain by DOMAIN.NAME, detached, in the memory of the model."""
        found = {}
        for domain, position in self.position.items():
            part, own = self.parts[0 if self.joint else position], self.ranges[position]
            for name, parameter in part.named_parameters():
                found[f"{domain}.{name}"] = parameter.detach()[own.start : own.stop]
        return found

    def forward(self, embedding_BD: Tensor, domain: str) -> tuple[Tensor, range]:
        """The cosines [B, C] of an embedding [B, D], and the domain's columns among them."""
        position = self.position[domain]
        return self.parts[0 if self.joint else position](embedding_BD), self.ranges[position]


def _joined(modules: Sequence[nn.Module]) -> nn.Module:
    """One classifier over the classes of all, which starts equal to them."""
    whole = copy.deepcopy(modules[0])
    for name, parameter in whole.named_parameters():
        parts = [module.get_parameter(name).detach() for module in modules]
        parameter.data = torch.cat(parts)
    return whole


def projection_of(head: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """A head's method `project`, from features to the embedding before its L2 normalisation.

    A child module of that name is none, nor is the method of a class whose subclass has a forward
    of its own: that may do anything else.
    """
    has = [
        name for kind in type(head).__mro__ for name in ("project", "forward") if name in vars(kind)
    ]
    if has[0] != "project" or not callable(getattr(type(head), "project", None)):
        return None
    return cast(Callable[[Tensor], Tensor], head.project)


def _branch(head: nn.Module, classifiers: Classifiers, features_BF: Tensor, domain: str) -> Branch:
    """What a head and its classifiers make of features.

    A head with `project` is asked for what it normalises, so that it is computed once.
    """
    project = projection_of(head)
    raw_BD = project(features_BF) if project else None
    embedding_BD = head(features_BF) if raw_BD is None else l2_normalise(raw_BD)
    cosine_BC, class_range = classifiers(embedding_BD, domain)
    return Branch(
        features_BF=features_BF,
        embedding_BD=embedding_BD,
        cosine_BC=cosine_BC,
        class_range=class_range,
        raw_BD=raw_BD,
    )


class Model(nn.Module):
    """A backbone with a student head, teacher heads (one per domain), both, or neither.

    Images come as float [B, 3, H, W], 0..255; the model normalises them with its weights' own
    statistics. It resizes them only where they are not of its crop size, which happens to a frozen
    teacher of a stage with another crop. Autocast covers the backbone alone.

    Args:
        backbone: turns normalised images into features.
        mean: of the colours, 0..1, of the backbone's weights.
        std: of the colours, 0..1.
        crop: the size of images, in pixels.
        domains: their names, in the order of teacher heads and classifiers.
        upright: whether it wants images turned as their EXIF orientation says.
        autocast: what the backbone computes in; None for float32.
        student_head: the student's projection.
        student_classifiers: its class columns, of a stage that trains.
        teacher_heads: the teachers' projections, one for each domain.
        teacher_classifiers: their class columns.

    Attributes:
        scale: float32 [1, 3, 1, 1], a buffer: (image / 255 - mean) / std is image * scale + shift.
        shift: float32 [1, 3, 1, 1], a buffer.
    """

    backbone: Backbone
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        *,
        backbone: Backbone,
        mean: Sequence[float],
        std: Sequence[float],
        crop: int,
        domains: Sequence[str],
        upright: bool = False,
        autocast: torch.dtype | None = None,
        student_head: nn.Module | None = None,
        student_classifiers: Classifiers | None = None,
        teacher_heads: Sequence[nn.Module] = (),
        teacher_classifiers: Classifiers | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.crop, self.upright = crop, upright
        self.autocast = autocast
        self.position = {domain: position for position, domain in enumerate(domains)}
        self.student_head = student_head
        self.student_classifiers = student_classifiers
        self.teacher_heads = nn.ModuleList(teacher_heads)
        self.teacher_classifiers = teacher_classifiers
        # (image / 255 - mean) / std as one multiply-add
        std_3 = torch.tensor(std).reshape(1, 3, 1, 1)
        self.register_buffer("scale", 1 / (255 * std_3), persistent=False)
        self.register_buffer(
            "shift", -torch.tensor(mean).reshape(1, 3, 1, 1) / std_3, persistent=False
        )

    @property
    def feature_dim(self) -> int:
        """The width of the backbone's features."""
        return self.backbone.dim

    def parameter_groups(
        self, student_head: Literal["heads", "backbone"] = "heads"
    ) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The parameters of the backbone's group and of the heads' group.

        Projections and classifiers of student and teachers are heads.

        Args:
            student_head: which of the two groups holds the student's projection.
        """
        with_backbone = (
            ("backbone.", "student_head.") if student_head == "backbone" else ("backbone.",)
        )
        backbone: list[nn.Parameter] = []
        heads: list[nn.Parameter] = []
        for name, parameter in self.named_parameters():
            (backbone if name.startswith(with_backbone) else heads).append(parameter)
        return backbone, heads

    def named_tensors(self) -> dict[str, Tensor]:
        """Every parameter and buffer, detached, in the memory of the model.

        Heads of teachers and class columns are called by their domain, not by its position. A
        student head that is fitted is left out: each stage fits its own.
        """
        trained = self.student_head is not None and not hasattr(self.student_head, "fit")
        shared = ("backbone.", "student_head.") if trained else ("backbone.",)
        found = {name: item for name, item in self.state_dict().items() if name.startswith(shared)}
        for domain, head in zip(self.position, self.teacher_heads, strict=False):
            items = head.state_dict().items()
            found |= {f"teacher_heads.{domain}.{name}": item for name, item in items}
        for part in ("student_classifiers", "teacher_classifiers"):
            if (classifiers := getattr(self, part)) is not None:
                items = classifiers.columns().items()
                found |= {f"{part}.{name}": item for name, item in items}
        return found

    def features(self, images_B3HW: Tensor) -> Tensor:
        """L2-normalised float32 features [B, F]."""
        if images_B3HW.shape[-1] != self.crop or images_B3HW.shape[-2] != self.crop:
            images_B3HW = nn.functional.interpolate(
                images_B3HW, size=(self.crop, self.crop), mode="bilinear", antialias=False
            )
        images_B3HW = torch.addcmul(self.shift, images_B3HW, self.scale)
        if self.autocast is not None:
            with torch.autocast(images_B3HW.device.type, dtype=self.autocast):
                features_BF = self.backbone(images_B3HW)
        else:
            features_BF = self.backbone(images_B3HW)
        return l2_normalise(features_BF.float())

    def student(self, features_BF: Tensor, domain: str) -> Branch:
        """The student's branch.

        Raises:
            ValueError: there is none.
        """
        if self.student_head is None or self.student_classifiers is None:
            raise ValueError("the model trains no student")
        return _branch(self.student_head, self.student_classifiers, features_BF, domain)

    def teacher(self, features_BF: Tensor, domain: str) -> Branch:
        """The branch of the domain's own teacher head.

        Raises:
            ValueError: there is none.
        """
        if self.teacher_classifiers is None:
            raise ValueError("the model trains no teacher")
        head = self.teacher_heads[self.position[domain]]
        return _branch(head, self.teacher_classifiers, features_BF, domain)

    def forward(
        self, batch: Batch, *, train_backbone: bool = True
    ) -> tuple[Branch | None, Branch | None]:
        """What student and teacher make of a batch, None for what this model does not have.

        Args:
            batch: images of one domain.
            train_backbone: whether a graph is kept for the backbone.
        """
        with torch.set_grad_enabled(train_backbone and torch.is_grad_enabled()):
            features_BF = self.features(batch.images)
        student = (
            self.student(features_BF, batch.domain)
            if self.student_classifiers is not None
            else None
        )
        teacher = (
            self.teacher(features_BF, batch.domain)
            if self.teacher_classifiers is not None
            else None
        )
        return student, teacher

    def teaching_branch(self, batch: Batch) -> Branch:
        """What this model teaches as the frozen teacher of a later stage.

        That is its teacher branch if it has one, else its student's.

        Raises:
            ValueError: it has neither.
        """
        student, teacher = self(batch)
        branch = teacher if teacher is not None else student
        if branch is None:
            raise ValueError("a model without heads teaches nothing")
        return branch

    def answer_of(self, batch: Batch) -> Branch:
        """What this model's student makes of a batch; its features where it has none.

        It sees them at its own size where the batch has that. There are no cosines where it has no
        class columns of the batch's domain.
        """
        features_BF = self.features(batch.sizes.get(self.crop, batch.images))
        if self.student_classifiers is not None and batch.domain in self.position:
            return self.student(features_BF, batch.domain)
        embedding_BD = features_BF if self.student_head is None else self.student_head(features_BF)
        return Branch(
            features_BF=features_BF,
            embedding_BD=embedding_BD,
            cosine_BC=None,
            class_range=range(0),
        )

    @torch.no_grad()
    def embed(self, images_B3HW: Tensor, branch: str, domain: str | None = None) -> Tensor:
        """Embeddings of one branch, float32 [B, D] with unit rows.

        Args:
            images_B3HW: float [B, 3, H, W], 0..255.
            branch: "feature", "student" or "teacher".
            domain: whose teacher; the other branches need none.

        Raises:
            ValueError: the model lacks this branch.
        """
        features_BF = self.features(images_B3HW)
        if branch == "feature":
            return features_BF
        if branch == "student" and self.student_head is not None:
            return self.student_head(features_BF)
        if branch == "teacher" and domain in self.position and self.teacher_heads:
            return self.teacher_heads[self.position[domain]](features_BF)
        raise ValueError(f"the model has no branch '{branch}' for domain {domain!r}")
