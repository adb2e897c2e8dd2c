"""Losses of pytorch-metric-learning, by their names."""

from __future__ import annotations

import importlib.util
import inspect
from typing import Any

import pytest
import torch

from registry.contracts import LossContext
from registry.losses.pml import Pml
from registry.losses.pml_arguments import REFUSED, problems
from registry.registry import Names
from tests.registry.losses.branches import batch_of, branch_of, unit_rows

library = pytest.importorskip("pytorch_metric_learning.losses")

LOSSES = sorted(
    name
    for name, value in vars(library).items()
    if inspect.isclass(value) and not name.endswith("Mixin")
)
LABELS = [0, 1, 0, 2, 1, 0, 3, 3]
NEEDED: dict[str, dict[str, Any]] = {"RankedListLoss": {"margin": 0.4, "Tn": 1}}
"""Arguments of losses that have no defaults."""


def context(**changes: Any) -> LossContext:
    """What a loss on the student of two domains, with 4 and 6 classes, is built with."""
    values = {
        "name": "pairs",
        "on": "student",
        "domains": ("cars", "birds"),
        "class_counts": {"cars": torch.full((4,), 3), "birds": torch.full((6,), 3)},
        "student_dim": 5,
        "teacher_dim": 7,
        "steps": 10,
    }
    return LossContext(**{**values, **changes})


def found(**options: Any) -> list[tuple[str, str]]:
    """What is wrong with options, with the names that the installed library has."""

    def remember(name: str, make: Any) -> Names:
        return make()

    return list(problems({"use": "pml", **options}, remember))


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_the_library_trains_or_says_why_not(name: str) -> None:
    """Each class of the library gives a finite loss with a gradient for the embeddings and for its
    own parameters, twice, or is refused with a reason.
    """
    if name in REFUSED:
        assert found(loss=name) == [("loss", REFUSED[name])]
        with pytest.raises(ValueError, match=f"loss 'pml' \\({name}\\): "):
            Pml(context(), loss=name)
        return
    assert found(loss=name, kwargs=NEEDED.get(name)) == []
    torch.manual_seed(0)
    loss = Pml(context(), loss=name, kwargs=NEEDED.get(name))
    embedding_BD = unit_rows(len(LABELS), 5)
    for _ in range(2):
        value = loss(branch_of(embedding_BD), batch_of(LABELS))
        assert value.shape == () and value.dtype == torch.float32 and bool(value.isfinite())
        value.backward()
    assert embedding_BD.grad.norm() > 0
    assert all(parameter.grad is not None for parameter in loss.parts[0].parameters())


def test_the_refused_ones_are_of_the_library() -> None:
    """Nothing is refused that the library does not have."""
    assert set(REFUSED) <= set(LOSSES)


@pytest.mark.parametrize("name", ["ContrastiveLoss", "MultiSimilarityLoss", "TripletMarginLoss"])
def test_it_is_the_librarys_own_value(name: str) -> None:
    """A loss on pairs has the value of the library's class with these kwargs."""
    kwargs = {"MultiSimilarityLoss": {"alpha": 3, "beta": 40.0}}.get(name, {})
    embedding_BD = unit_rows(len(LABELS), 5).float()
    ours = Pml(context(), loss=name, kwargs=kwargs)(branch_of(embedding_BD), batch_of(LABELS))
    theirs = getattr(library, name)(**kwargs)(embedding_BD, torch.tensor(LABELS))
    assert ours.item() == theirs.item() > 0


def test_proxies_are_one_set_per_domain() -> None:
    """A loss with proxies has them for the classes of each domain, in the dimension of its branch;
    a batch trains those of its domain alone. One on pairs is one for all domains.
    """
    shapes = {
        on: [tuple(p.shape) for p in Pml(context(on=on), loss="ProxyNCALoss").parameters()]
        for on in ("student", "teacher")
    }
    assert shapes == {"student": [(4, 5), (6, 5)], "teacher": [(4, 7), (6, 7)]}
    loss = Pml(context(), loss="ProxyNCALoss")
    loss(branch_of(unit_rows(2, 5)), batch_of([0, 1])).backward()
    assert [parameter.grad is None for parameter in loss.parameters()] == [False, True]
    assert len(Pml(context(), loss="SupConLoss").parts) == 1


@pytest.mark.parametrize(
    ("options", "key", "message"),
    [
        (
            {"loss": "MultiSimilarity"},
            "loss",
            r"does not have; did you mean MultiSimilarityLoss\?$",
        ),
        ({"loss": "qqq"}, "loss", "does not have; it has AngularLoss, ArcFaceLoss"),
        (
            {"loss": "CircleLoss", "kwargs": {"gama": 2}},
            "kwargs.gama",
            r"did you mean gamma\? allowed: gamma, m$",
        ),
        (
            {"loss": "SphereFaceLoss", "kwargs": {"t": 2}},
            "kwargs.t",
            "SphereFaceLoss does not take; allowed: margin, scale$",
        ),
        ({"loss": "NPairsLoss", "kwargs": {"k": 2}}, "kwargs.k", "allowed: none$"),
        (
            {"loss": "ProxyNCALoss", "kwargs": {"num_classes": 2}},
            "kwargs.num_classes",
            "the run sets itself",
        ),
        (
            {"loss": "TripletMarginLoss", "kwargs": {"distance": "cosine"}},
            "kwargs.distance",
            "an object of Python",
        ),
    ],
)
def test_mistakes_are_found_before_training(
    options: dict[str, Any], key: str, message: str
) -> None:
    """An unknown loss and a kwarg that it does not take are one sentence with the nearest names."""
    ((where, why),) = found(**options)
    assert where == key
    with pytest.raises(ValueError, match=message) as caught:
        Pml(context(), **options)
    assert why in str(caught.value)


def test_a_kwarg_that_the_loss_refuses_is_one_sentence() -> None:
    """What the library raises while it builds a loss names the loss and the kwargs."""
    with pytest.raises(
        ValueError, match=r"RankedListLoss cannot be built with kwargs = \{\}: .*Tn"
    ):
        Pml(context(), loss="RankedListLoss")


def test_without_the_library_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is not installed, a check says how to install it and asks for no names."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    options = {"use": "pml", "loss": "SupConLoss"}
    ((key, why),) = problems(options, lambda library, make: pytest.fail("it was imported"))
    assert (key, why) == (
        "use",
        "which needs pytorch-metric-learning; install it with pip install 'udonx[metric]'",
    )
    with pytest.raises(ValueError, match="pip install 'udonx"):
        Pml(context(), loss="SupConLoss")
