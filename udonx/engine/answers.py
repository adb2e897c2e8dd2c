"""How the student answers its named teachers: by its embedding, or through an adapter."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from torch import Tensor, nn

from registry.contracts import Branch, HeadSpec, StageSpec, TeacherSpec
from udonx.engine.build import build_head


class Answer(nn.Module):
    """What a student says to one teacher: a branch whose embedding may have the teacher's length.

    An adapter is trained with the heads, is in the checkpoint, and is no part of the model that is
    kept.

    Args:
        spec: the student's stage.
        teacher: the teacher.
        features_dim: the length of the student's features.
        teacher_dim: the length of the teacher's embedding.
    """

    def __init__(
        self, spec: StageSpec, teacher: TeacherSpec, features_dim: int, teacher_dim: int
    ) -> None:
        super().__init__()
        self.of_features = teacher.reads == "features"
        self.adapter: nn.Module | None = None
        if teacher.adapter is not None and spec.student_head is not None:
            head = HeadSpec(dim=teacher_dim, **attrs.asdict(teacher.adapter, recurse=False))
            in_dim = features_dim if self.of_features else spec.student_head.dim
            self.adapter = build_head(spec, head, in_dim, f"adapter/{teacher.name}")

    def forward(self, student: Branch) -> Branch:
        """The student's branch with its answer as the embedding, rows of unit length."""
        if self.adapter is None:
            return student
        given: Tensor = student.features_BF if self.of_features else student.embedding_BD
        return attrs.evolve(student, embedding_BD=self.adapter(given))


def answers(
    spec: StageSpec, features_dim: int, teacher_dims: Mapping[str, int]
) -> dict[str, Answer]:
    """How the student of a stage answers each of its named teachers, by name.

    Args:
        spec: the stage.
        features_dim: the length of the student's features.
        teacher_dims: the lengths of the teachers' embeddings, by name.
    """
    return {
        teacher.name: Answer(spec, teacher, features_dim, teacher_dims[teacher.name])
        for teacher in spec.teachers
        if teacher.name is not None
    }
