"""Inits: what they make of the weights of other models, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from registry import inits

PARTS = ("teacher_heads", "student_classifiers", "teacher_classifiers")
CLASSES = "student_classifiers.cars.weight"


class Tensors:
    """A model that is its named tensors alone."""

    def __init__(self, domains: str = "cars", **tensors: torch.Tensor) -> None:
        self.position = {domain: place for place, domain in enumerate(domains.split())}
        self.tensors = tensors

    def named_tensors(self) -> dict[str, torch.Tensor]:
        return {name.replace("__", "."): tensor for name, tensor in self.tensors.items()}


def model(value: float, **more: torch.Tensor) -> Tensors:
    """A model whose backbone and student head are full of one value."""
    parts = {
        "backbone__weight": torch.full((2, 3), value),
        "backbone__count": torch.tensor(int(value)),
        "student_head__weight": torch.full((4, 2), value),
    }
    return Tensors(**{**parts, **more})


def started(use: str, sources: list[Tensors], new: Tensors, **options: Any) -> dict[str, Any]:
    """The tensors of a new model after an init."""
    inits.get(use)(new, sources, **options)
    return new.named_tensors()


def test_same_takes_everything_that_both_have() -> None:
    """`same` copies all tensors of one name and shape; what only the new model has stays."""
    columns = {"student_classifiers__cars__weight": torch.ones(5, 4)}
    found = started("same", [model(3.0, **columns)], model(0.0, **columns))
    assert all(torch.equal(found[name], item) for name, item in model(3.0).named_tensors().items())
    wider = {"student_classifiers__cars__weight": torch.zeros(5, 4, 3)}
    found = started("same", [model(3.0, **columns)], model(0.0, **wider))
    assert torch.equal(found["backbone.weight"], torch.full((2, 3), 3.0))
    assert not found[CLASSES].any()


def test_grow_goes_by_the_names_of_domains() -> None:
    """`grow` copies what both have, whatever the order of domains; new domains start anew, and
    those that the new model does not have are left behind.
    """
    heads = [f"{part}__{domain}__weight" for part in PARTS for domain in ("cars", "food", "toys")]
    full = {name: torch.full((5, 4), 3.0) for name in heads if "toys" not in name}
    empty = {name: torch.zeros(5, 4) for name in heads if "cars" not in name}
    old = Tensors("cars food", **model(3.0).tensors, **full)
    found = started("grow", [old], Tensors("toys food", **model(0.0).tensors, **empty))
    assert all(bool(item.any()) == ("toys" not in name) for name, item in found.items())
    assert torch.equal(found["backbone.weight"], torch.full((2, 3), 3.0))


def test_the_average_is_weighted() -> None:
    """`average` gives the mean by weights, which need not sum to 1; counters are the first's."""
    found = started("average", [model(1.0), model(4.0)], model(0.0))
    assert torch.equal(found["backbone.weight"], torch.full((2, 3), 2.5))
    found = started("average", [model(1.0), model(4.0)], model(0.0), weights=[1.0, 2.0])
    assert torch.equal(found["student_head.weight"], torch.full((4, 2), 3.0))
    assert found["backbone.count"] == 1


def test_the_average_of_one_is_it() -> None:
    """The mean of one source, or of a source with itself, has its bits."""
    weight = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    source = model(1.0, backbone__weight=weight)
    for sources in ([source], [source] * 3, [source, model(5.0)]):
        weights = [1.0] * len(sources) if sources[-1] is source else [1.0, 0.0]
        found = started("average", sources, model(0.0), weights=weights)
        assert torch.equal(found["backbone.weight"], weight)


@pytest.mark.parametrize(
    ("use", "sources", "options", "message"),
    [
        ("same", [model(1.0), model(1.0)], {}, "takes one row, got 2; name one in `from`"),
        ("grow", [model(1.0), model(1.0)], {}, "'grow' takes one row, got 2"),
        (
            "same",
            [Tensors("cars food", **model(1.0).tensors)],
            {},
            "needs a row of the same domains, got cars, food; this row has cars;",
        ),
        (
            "average",
            [model(1.0), model(1.0, backbone__weight=torch.zeros(2, 4))],
            {},
            r"'backbone.weight' is \[2, 3\] in this row and \[2, 4\] in the one that `from` names"
            r" at place 2; name rows of this backbone and student_head",
        ),
        (
            "same",
            [model(1.0, backbone__bias=torch.zeros(2))],
            {},
            r"'backbone.bias' is missing in this row and \[2\] in the one",
        ),
        ("average", [model(1.0)], {"weights": [1.0, 2.0]}, r"weights \[1.0, 2.0\] for 1 rows"),
        ("average", [model(1.0)], {"weights": [0.0]}, "not all of them 0"),
    ],
)
def test_what_does_not_fit_is_refused(
    use: str, sources: list[Tensors], options: dict[str, Any], message: str
) -> None:
    """Sources of another backbone, head or number are one sentence each."""
    with pytest.raises(ValueError, match=message):
        started(use, sources, model(0.0), **options)


def test_a_model_without_a_head_takes_the_backbone_alone() -> None:
    """Where the model has no student head to take over, whatever head the source has is left."""
    without = Tensors(
        "cars",
        **{name: item for name, item in model(0.0).tensors.items() if "student_head" not in name},
    )
    found = started("average", [model(1.0), model(4.0)], without)
    assert torch.equal(found["backbone.weight"], torch.full((2, 3), 2.5))
    with pytest.raises(
        ValueError, match=r"'student_head.weight' is \[4, 2\] in this row and missing"
    ):
        started("same", [without], model(0.0))
