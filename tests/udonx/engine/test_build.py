"""Components of one's own that are none: each mistake is one sentence before anything trains."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import torch

from registry.contracts import (
    BackboneSpec,
    Batch,
    Branch,
    ComponentSpec,
    HeadSpec,
    InitSpec,
    LossSpec,
    TeacherSpec,
)
from registry.heads.initialisers import l2_normalise
from tests.udonx.engine.small import DOMAINS, small_spec
from udonx.config.plugins import load_plugins
from udonx.data.benchmark import Benchmark
from udonx.engine.build import apply_init, build_losses, build_model
from udonx.engine.errors import TrainingError
from udonx.engine.objective import class_counts
from udonx.engine.rehearsal import rehearse_sampler

CLASSES = {"glyphs": 3, "silhouettes": 4, "logos": 5}
HEAD = """
import torch
from registry import heads

@heads.register("mine")
class Mine{base}:
    def __init__(self, in_dim, dim):
        {init}

    def __call__(self, features_BF):
        {call}
"""
BACKBONE = """
import torch
from registry import backbones

@backbones.register("mine")
class Mine(torch.nn.Module):
    def __init__(self, start):
        super().__init__()
        {init}

    def forward(self, images):
        return {call}
"""
SAMPLER = """
from registry import samplers
from registry.samplers.schedule import FixedOrder, shuffled_order

@samplers.register("mine")
class Mine(FixedOrder):
    def __init__(self, domains, train_counts, steps, seed):
        super().__init__(domains, dict.fromkeys(domains, 0.5), {order})
"""


def plug_in(folder: Path, text: str) -> None:
    """Import a plug-in of this text."""
    (folder / "mine_file.py").write_text(text)
    load_plugins(["mine_file.py"], folder, where="here")


@pytest.mark.parametrize(
    ("base", "init", "call", "message"),
    [
        ("", "pass", "pass", r"head 'mine' is a Mine, allowed is a torch\.nn\.Module"),
        ("(torch.nn.Module)", "pass", "pass", r"head 'mine' does not call super\(\)\.__init__\(\)"),
        (
            "(torch.nn.Module)",
            "self.a = torch.nn.Linear(2, 2)",
            "pass",
            r"head 'mine' failed at .*mine_file\.py:8: AttributeError: ",
        ),
        (
            "(torch.nn.Module)",
            "super().__init__(); raise KeyError(in_dim)",
            "pass",
            r"head 'mine' failed at .*mine_file\.py:8: KeyError",
        ),
        (
            "(torch.nn.Module)",
            "super().__init__()",
            "return None",
            r"turns features \[4, 32\] into a NoneType, allowed is a tensor \[4, 16\]",
        ),
        (
            "(torch.nn.Module)",
            "super().__init__()",
            "return 1 / 0",
            r"head 'mine' failed at .*mine_file\.py:11: ZeroDivisionError",
        ),
    ],
)
def test_a_head_that_is_none_is_one_sentence(tmp_path, base, init, call, message):
    """No module, a forgotten super().__init__(), an error of its own with its line, and an output
    that is no tensor.
    """
    plug_in(tmp_path, HEAD.format(base=base, init=init, call=call))
    with pytest.raises((ValueError, TrainingError), match=message):
        build_model(
            small_spec(student_head=HeadSpec(use="mine", dim=16)), dict.fromkeys(DOMAINS, 2), None
        )


PROJECTING_HEAD = """
import torch
from registry import heads
from registry.heads.initialisers import l2_normalise

@heads.register("mine")
class Mine(torch.nn.Module):
    def __init__(self, in_dim, dim):
        super().__init__()
        self.layer = torch.nn.Linear(in_dim, dim)
        {init}

    {project}

    def forward(self, features_BF):
        return l2_normalise(self.layer(features_BF))
"""


def student_branch(head: str) -> Branch:
    """What a student with such a head makes of random features."""
    spec = small_spec(student_head=HeadSpec(use=head, dim=16))
    model = build_model(spec, dict.fromkeys(DOMAINS, 2), None)
    return model.student(torch.rand(4, 32), "logos")


def test_a_branch_has_the_embedding_before_its_normalisation(tmp_path: Path) -> None:
    """A head with a method `project` gives `raw_BD`, whose normalised rows are the embedding; any
    other head gives None, also with a layer of that name.
    """
    for head in ("linear", "mlp"):
        branch = student_branch(head)
        assert torch.equal(l2_normalise(branch.raw_BD), branch.embedding_BD)
        assert (branch.raw_BD.norm(dim=1) - 1).abs().min() > 1e-3
    layer = "self.project = torch.nn.Linear(1, 1)"
    plug_in(tmp_path, PROJECTING_HEAD.format(init=layer, project=""))
    assert student_branch("mine").raw_BD is None


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        ("self.layer(features_BF) + 1", "its forward is not the L2 normalisation of what that ret"),
        ("features_BF", r"`project` of head 'mine' turns features .* into \[4, 32\], allowed is"),
    ],
)
def test_a_head_that_embeds_what_it_does_not_project_is_refused(
    tmp_path: Path, returns: str, message: str
) -> None:
    """A `project` that `forward` does not normalise is one sentence before anything trains."""
    project = f"def project(self, features_BF): return {returns}"
    plug_in(tmp_path, PROJECTING_HEAD.format(init="pass", project=project))
    with pytest.raises(ValueError, match=message):
        student_branch("mine")


@pytest.mark.parametrize(
    ("init", "call", "message"),
    [
        (
            "pass",
            "images.mean((2, 3))",
            (
                "backbone 'mine' has dim = None, allowed is the width of its features, a whole"
                " number from 1 on"
            ),
        ),
        ("self.dim = 3.0", "images.mean((2, 3))", "has dim = 3.0, allowed is"),
        (
            "self.dim = 4",
            "images.mean((2, 3))",
            r"turns images \[2, 3, 32, 32\] into \[2, 3\], allowed is \[2, 4\], its dim",
        ),
        (
            "self.dim = 3",
            "images.mean((2, 3)).no",
            r"backbone 'mine' failed at .*mine_file\.py:12: AttributeError",
        ),
    ],
)
def test_a_backbone_of_another_width_is_one_sentence(tmp_path, init, call, message):
    """A missing dim, one that is no number, and one that is not the width of what comes out."""
    plug_in(tmp_path, BACKBONE.format(init=init, call=call))
    backbone = BackboneSpec(use="mine", weights="random", mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises((ValueError, TrainingError), match=message):
        build_model(small_spec(backbone=backbone), dict.fromkeys(DOMAINS, 2), None)


def test_a_backbone_of_ones_own_is_built(tmp_path):
    """One that keeps the contract becomes a model, in training mode as it was."""
    plug_in(tmp_path, BACKBONE.format(init="self.dim = 3", call="images.mean((2, 3))"))
    backbone = BackboneSpec(use="mine", weights="random", mean=(0.5,) * 3, std=(0.5,) * 3)
    model = build_model(small_spec(backbone=backbone), dict.fromkeys(DOMAINS, 2), None)
    assert model.backbone.dim == 3 and model.backbone.training


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (
            "[domains[0]] * steps",
            (
                r"failed at .*mine_file\.py:8: ValueError: the order of a sampler starts with"
                r" \['glyphs', .*positions"
            ),
        ),
        ("[3] * steps", r"starts with \[3, 3, 3\], allowed are positions of its domains, 0 to 2"),
        (
            "shuffled_order([0.5, 0.6, 0.1], steps, seed)",
            r"got the shares 0\.5, 0\.6, 0\.1, allowed are shares from 0 on that sum to 1",
        ),
        (
            "[0] * (steps - 1)",
            (
                r"sampler 'mine' stands still: known_until\(\) is 19 after update\(19\), allowed is"
                r" more than 19, up to 20"
            ),
        ),
    ],
)
def test_a_sampler_with_a_wrong_order_is_one_sentence(tmp_path, order, message):
    """An order of names, of other positions, or too short, and shares that are none; with the
    plug-in's line.
    """
    plug_in(tmp_path, SAMPLER.format(order=order))
    with pytest.raises((ValueError, TrainingError), match=message):
        rehearse_sampler(small_spec(sampler=ComponentSpec(use="mine")), dict.fromkeys(DOMAINS, 10))


def test_a_head_of_ones_own_keeps_its_mode_and_the_random_stream(tmp_path):
    """Looking at a head changes neither its mode nor what is drawn after it."""
    plug_in(
        tmp_path,
        HEAD.format(
            base="(torch.nn.Module)",
            init="super().__init__()",
            call="return torch.nn.functional.normalize(features_BF[:, :16] + 0 * torch.rand(1))",
        ),
    )
    spec = small_spec(student_head=HeadSpec(use="mine", dim=16))
    one, other = (
        build_model(each, dict.fromkeys(DOMAINS, 2), None).state_dict()
        for each in (spec, attrs.evolve(spec, student_head=HeadSpec(use="linear", dim=16)))
    )
    shared = set(one) & set(other)
    assert any("teacher" in name for name in shared) and all(
        (one[name] == other[name]).all() for name in shared
    )


def test_a_loss_knows_its_stage(small_benchmark: Benchmark, proxies: type) -> None:
    """The context of a loss has its name, its branch, and the stage's domains, class counts,
    dimensions and steps.
    """
    counts = class_counts(small_benchmark, DOMAINS)
    loss = LossSpec(name="p", use="proxies", on="teacher")
    context = build_losses(small_spec(losses=(loss,)), counts)["p"].context
    assert (context.name, context.on, context.domains, context.steps) == (
        "p",
        "teacher",
        DOMAINS,
        20,
    )
    assert (context.student_dim, context.teacher_dim) == (16, 32)
    for domain in DOMAINS:
        labels = small_benchmark.labels(domain)
        own = [labels[one] for one in small_benchmark.split(domain, "train").class_ids.tolist()]
        assert context.class_counts[domain].tolist() == [
            own.count(label) for label in range(len(labels))
        ]
    teachers = tuple(
        TeacherSpec(stage=small_spec(domains=(domain,), student_head=None)) for domain in DOMAINS
    )
    student = LossSpec(name="p", use="proxies", on="student")
    for spec, dim in (
        (small_spec(losses=(student,), teacher_head=None, teachers=teachers), 32),
        (small_spec(losses=(student,), teacher_head=None), None),
    ):
        assert build_losses(spec, counts)["p"].context.teacher_dim == dim


def test_a_loss_is_initialised_by_its_own_stream(small_benchmark: Benchmark, proxies: type) -> None:
    """The parameters of a loss follow from the seed and its name, whatever is built before it."""
    counts = class_counts(small_benchmark, DOMAINS)
    one, other = (LossSpec(name=name, use="proxies", on="student") for name in ("one", "other"))
    alone = build_losses(small_spec(losses=(one,)), counts)["one"].proxies["logos"]
    torch.rand(3)
    both = build_losses(small_spec(losses=(other, one)), counts)
    assert torch.equal(both["one"].proxies["logos"], alone)
    assert not torch.equal(both["other"].proxies["logos"], alone)


def test_a_grown_model_embeds_the_old_domains_as_before() -> None:
    """Before its first step a model of further domains, in another order, embeds images of the old
    ones to the bit as its source: student and teachers, with their cosines to the old classes.
    """
    old = build_model(small_spec(domains=("logos", "glyphs"), seed=7), CLASSES, None)
    spec = small_spec(classifier="joint")
    init = InitSpec(use="grow", stages=(small_spec(domains=("logos", "glyphs"), seed=7),))
    model = build_model(spec, CLASSES, None)
    apply_init(model, init, [old])
    fresh = build_model(spec, CLASSES, None)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255
    for domain in ("logos", "glyphs"):
        batch = Batch(images=images, labels=None, domain=domain)
        for ours, theirs in zip(model.eval()(batch), old.eval()(batch), strict=True):
            assert torch.equal(ours.embedding_BD, theirs.embedding_BD)
            columns = slice(ours.class_range.start, ours.class_range.stop)
            torch.testing.assert_close(ours.cosine_BC[:, columns], theirs.cosine_BC)
    new, untouched = (one.named_tensors() for one in (model, fresh))
    names = [name for name in new if ".silhouettes." in name]
    assert names and all(torch.equal(new[name], untouched[name]) for name in names)
