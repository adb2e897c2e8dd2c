"""Class columns of a stage that names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from registry import classifiers
from registry.contracts import Batch, ComponentSpec, HeadSpec, StageSpec
from tests.udonx.config.loading import load, problems, rows
from tests.udonx.engine.small import Interrupted, kept, small_job, small_spec
from udonx.config.show import to_toml
from udonx.data.benchmark import Benchmark
from udonx.engine.build import build_model
from udonx.engine.loop import Loop
from udonx.engine.train import run_stage
from udonx.planning.identity import from_plain, to_plain
from udonx.planning.load import load_plan
from udonx.store.stage import StageFolder

SUB_CENTRE = ComponentSpec(use="sub_centre", options={"k": 2})
COUNTS = {"glyphs": 3, "silhouettes": 4, "logos": 2}
ROW = '[rows.a]\nscheme = "udon"\nsampler = "uniform"\n'


def sub_centred(**changes: Any) -> StageSpec:
    """A small UDON stage whose student has several centres per class."""
    head = HeadSpec(use="linear", dim=16, classifier=SUB_CENTRE)
    return small_spec(student_head=head, **changes)


def test_equal_parts_start_equal() -> None:
    """A joint classifier of several centres gives the cosines of the separate ones."""
    joint, separate = (
        build_model(sub_centred(classifier=kind), COUNTS, None) for kind in ("joint", "separate")
    )
    assert len(joint.student_classifiers.parts) == 1
    for domain in COUNTS:
        batch = Batch(images=torch.rand(2, 3, 32, 32) * 255, labels=None, domain=domain)
        (ours, _), (theirs, _) = joint(batch), separate(batch)
        own = ours.cosine_BC[:, ours.class_range.start : ours.class_range.stop]
        torch.testing.assert_close(own, theirs.cosine_BC)
        assert ours.cosine_BC.shape == (2, 9)


def test_resume_is_exact(
    small_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage of several centres that was stopped ends with the bits of one that was not."""
    spec = sub_centred(steps=6, batch=4, validate_every=3)
    run_stage(small_job(tmp_path / "whole", spec, small_benchmark))
    whole = Loop._train_step

    def stopping(self: Loop, step: int, batch: Any) -> None:
        if step == 4:
            raise Interrupted
        whole(self, step, batch)

    job = small_job(tmp_path / "stopped", spec, small_benchmark, checkpoint_seconds=0.0)
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_train_step", stopping)
        with pytest.raises(Interrupted):
            run_stage(job)
    run_stage(small_job(tmp_path / "stopped", spec, small_benchmark))
    assert kept(StageFolder(tmp_path / "stopped")) == kept(StageFolder(tmp_path / "whole"))


def test_the_spec_is_kept_and_read_again() -> None:
    """A stage's plain form holds the classifier where one is named, and nothing of it elsewhere."""
    assert from_plain(to_plain(sub_centred())) == sub_centred()
    assert "classifier" not in to_plain(small_spec())["student_head"]


def test_rows_name_class_columns(tmp_path: Path) -> None:
    """`cosine` keeps the id of a row that names none; another classifier is another stage."""
    ids = {}
    for use in ("", 'student_classifier = "cosine"\n', "student_classifier.use = 'sub_centre'\n"):
        ids[use] = list(load_plan(load(tmp_path, ROW + use)).stages)
    plain, cosine, sub_centre = ids.values()
    assert plain == cosine != sub_centre
    text = ROW + 'student_classifier = { use = "sub_centre", k = 2 }\n'
    experiment = load(tmp_path, text)
    spec = rows(experiment)["a"].recipe.student_classifier
    assert attrs.evolve(spec, version=1) == SUB_CENTRE
    again = load(tmp_path, to_toml(experiment))
    assert [row.data for row in again.rows] == [row.data for row in experiment.rows]


def test_a_wrong_option_is_named_with_its_place(tmp_path: Path) -> None:
    """A number of centres that cannot be is refused in one sentence."""
    text = problems(tmp_path, ROW + 'student_classifier = { use = "sub_centre", k = 0 }\n')
    assert "row a: student_classifier.k: got 0, allowed is int > 0" in text


def test_a_classifier_that_cannot_be_joined_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in whose parameters do not begin with the classes is named with their shapes."""

    @classifiers.register("transposed")
    class Transposed(torch.nn.Module):
        """Columns where rows should be."""

        def __init__(self, dim: int, classes: int) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(dim, classes))

        def forward(self, embedding_BD: torch.Tensor) -> torch.Tensor:
            """Cosines [B, C]."""
            return embedding_BD @ self.weight

    head = HeadSpec(use="linear", dim=16, classifier=ComponentSpec(use="transposed"))
    try:
        with pytest.raises(ValueError, match=r"classifier 'transposed' has parameters of the shap"):
            build_model(small_spec(student_head=head), COUNTS, None)
    finally:
        classifiers.registry.forget({__name__})
