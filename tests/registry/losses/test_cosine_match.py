"""Feature distillation by the cosine."""

from __future__ import annotations

import pytest
import torch

from registry.losses.cosine_match import CosineMatch
from tests.registry.losses.branches import batch_of, branch_of, unit_rows


def test_it_is_one_minus_the_mean_cosine() -> None:
    """The student alone has a gradient."""
    student, teacher = unit_rows(5, 4), unit_rows(5, 4, seed=1)
    loss = CosineMatch()(branch_of(student), branch_of(teacher), batch_of([0] * 5))
    expected = 1 - torch.nn.functional.cosine_similarity(student, teacher).mean()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    loss.backward()
    assert teacher.grad is None and student.grad is not None and student.grad.any()


def test_other_lengths_are_refused() -> None:
    """The sentence says what to do."""
    student, teacher = branch_of(unit_rows(2, 4)), branch_of(unit_rows(2, 6))
    with pytest.raises(
        ValueError, match=r"answers with 4 dimensions, .* has 6; give the teacher an"
    ):
        CosineMatch()(student, teacher, batch_of([0, 0]))
