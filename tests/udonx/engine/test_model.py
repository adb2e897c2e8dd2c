"""The model: its tensors by name."""

from __future__ import annotations

import pytest
import torch

from tests.udonx.engine.small import DOMAINS, small_spec
from udonx.engine.build import build_model

CLASSES = {"glyphs": 3, "silhouettes": 4, "logos": 5}


@pytest.mark.parametrize("classifier", ["separate", "joint"])
def test_tensors_have_the_names_of_domains(classifier: str) -> None:
    """Class columns and teacher heads are named by domain, whatever their order; to write into one
    changes the model, of a joint classifier in the columns of that domain alone.
    """
    model = build_model(small_spec(classifier=classifier), CLASSES, None)
    turned = build_model(small_spec(classifier=classifier, domains=DOMAINS[::-1]), CLASSES, None)
    tensors, others = model.named_tensors(), turned.named_tensors()
    assert tensors.keys() == others.keys()
    assert all(torch.equal(item, others[name]) for name, item in tensors.items())
    columns = [name for name in tensors if name.startswith("student_classifiers.silhouettes.")]
    (name,) = columns
    assert len(tensors[name]) == 4
    whole = torch.cat([part.detach() for part in model.student_classifiers.parameters()])
    before = whole.clone()
    tensors[name].zero_()
    whole = torch.cat([part.detach() for part in model.student_classifiers.parameters()])
    assert not whole[3:7].any() and torch.equal(whole[:3], before[:3])
    assert torch.equal(whole[7:], before[7:])
