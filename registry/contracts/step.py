"""What passes between data, model and losses within a training step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs


@attrs.define(kw_only=True, eq=False)
class Batch:
    """One batch, of one domain.

    Attributes:
        images: float32 [B, 3, H, W], RGB, 0..255.
        labels: int64 [B], 0..C-1 within the domain; -1 for an image without a label.
        domain: the domain's name.
        ids: the paths of the images.
        labelled: int64 [L], the rows that have a label; None where all have. A loss on one branch,
            and one that has `reads_labels = True`, is called with these alone.
        sizes: the same parts of the images at other edges in pixels, float32 [B, 3, S, S] by S,
            for the teachers that want them.
    """

    images: Any
    labels: Any
    domain: str
    ids: tuple[str, ...] = ()
    labelled: Any = None
    sizes: Mapping[int, Any] = attrs.field(factory=dict)

    @property
    def count(self) -> int:
        """How many images have a label."""
        return len(self.labels if self.labelled is None else self.labelled)

    def of_labelled(self) -> Batch:
        """The batch of the images that have a label; its images stay as they are."""
        rows = self.labelled
        return attrs.evolve(self, labels=self.labels[rows], ids=(), labelled=None)


@attrs.frozen(kw_only=True, eq=False)
class Branch:
    """What student or teacher makes of a batch.

    Attributes:
        features_BF: float32 [B, F], the backbone's features, each row of unit length.
        embedding_BD: float32 [B, D] (a teacher's [B, E]), each row of unit length.
        cosine_BC: float32 [B, C], cosines of the embeddings to the columns of the classifier; None
            for a teacher without classes of the batch's domain.
        class_range: the columns of the batch's domain: label i is column `class_range.start + i`.
            A joint classifier holds the classes of all domains.
        raw_BD: float32 [B, D], the embedding before its rows were brought to unit length; None
            where the head has no `project`.
    """

    features_BF: Any
    embedding_BD: Any
    cosine_BC: Any
    class_range: range
    raw_BD: Any = None

    def rows(self, rows: Any) -> Branch:
        """The branch of some images: int64 [L], their places in the batch."""
        names = ("features_BF", "embedding_BD", "cosine_BC", "raw_BD")
        chosen = {name: value[rows] for name in names if (value := getattr(self, name)) is not None}
        return attrs.evolve(self, **chosen)

    @property
    def domain_cosine_BC(self) -> Any:
        """float32 [B, C'], the cosines to the columns of the batch's domain alone.

        Raises:
            ValueError: it has no classes, as a backbone that teaches as it is.
        """
        if self.cosine_BC is None:
            raise ValueError(
                "the teacher has no classes of this domain; choose a loss on embeddings"
            )
        return self.cosine_BC[:, self.class_range.start : self.class_range.stop]


@attrs.frozen(kw_only=True)
class Start:
    """What a backbone is built from.

    Attributes:
        folder: the folder of its start weights; None where they are random, or loaded afterwards.
        crop: the height and width of its images.
    """

    folder: Path | None
    crop: int


@attrs.frozen(kw_only=True, eq=False)
class LossContext:
    """What a loss may know when it is built.

    Attributes:
        name: the term's name in the row.
        on: the branch of a loss on one branch; None for a loss between student and teacher.
        domains: those that the stage is trained on, in the order of a joint classifier's columns.
        class_counts: int64 [C] of each domain, on the CPU: training images of each class.
        student_dim: the length of the student's embedding; None where there is no student.
        teacher_dim: the same of the teacher; None where there is none.
        steps: how long the stage trains.
    """

    name: str
    on: Literal["teacher", "student"] | None
    domains: tuple[str, ...]
    class_counts: Mapping[str, Any]
    student_dim: int | None
    teacher_dim: int | None
    steps: int
