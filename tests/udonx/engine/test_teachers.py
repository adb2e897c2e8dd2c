"""Named teachers: what they make of a batch, how the student answers them, and what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from registry.contracts import ComponentSpec, HeadSpec, LossSpec, StageSpec, TeacherSpec, Transform
from tests.udonx.engine.small import DOMAINS, UDON, small_job, small_spec, training
from tests.udonx.engine.test_train import Interrupted, kept
from udonx.data.benchmark import Benchmark
from udonx.engine.job import teacher_sizes
from udonx.engine.load import load_stage
from udonx.engine.loop import Loop
from udonx.engine.train import run_stage
from udonx.store.stage import StageFolder

MATCH = LossSpec(name="match", use="cosine_match", teacher="*")
LINEAR = ComponentSpec(use="linear")


@pytest.fixture(scope="module")
def teachers(
    small_benchmark: Benchmark, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[StageSpec, StageFolder]]:
    """A trained student of another length, and a backbone as it is."""
    root = tmp_path_factory.mktemp("teachers")
    head = HeadSpec(use="linear", dim=24)
    row = small_spec(steps=2, validate_every=2, student_head=head, domains=DOMAINS[:1])
    bare = attrs.evolve(
        small_spec(), student_head=None, teacher_head=None, training=None, seed=None
    )
    found = {"row": row, "bare": bare}
    for name, spec in found.items():
        run_stage(small_job(root / name, spec, small_benchmark))
    return {name: (spec, StageFolder(root / name)) for name, spec in found.items()}


def job_of(folder: Path, benchmark: Benchmark, teachers: dict, **changes: Any) -> Any:
    """A stage that both teach, the one through its embedding, the other through its features."""
    specs = (
        TeacherSpec(stage=teachers["row"][0], name="row", adapter=LINEAR, **changes),
        TeacherSpec(stage=teachers["bare"][0], name="bare", adapter=LINEAR, reads="features"),
    )
    spec = small_spec(teachers=specs, losses=(*UDON, MATCH), steps=8, validate_every=4)
    folders = (teachers["row"][1], teachers["bare"][1])
    return small_job(folder, spec, benchmark, teachers=folders, checkpoint_seconds=0.0)


def test_adapters_are_trained_and_not_kept(
    teachers: dict, small_benchmark: Benchmark, tmp_path: Path
) -> None:
    """They have the lengths of the teachers' embeddings, move, and are no part of the model; the
    teachers stay as they are.
    """
    loop = training(job_of(tmp_path / "stage", small_benchmark, teachers))
    answers = loop.objective.answers
    before = {name: answer.adapter.projection.weight.clone() for name, answer in answers.items()}
    frozen = {
        name: {key: value.clone() for key, value in teacher.model.state_dict().items()}
        for name, teacher in loop.teachers.named.items()
    }
    assert before["row"].shape == (24, 16) and before["bare"].shape == (32, 32)
    loop.run()
    for name, answer in answers.items():
        assert not torch.equal(answer.adapter.projection.weight, before[name])
        state = loop.teachers.named[name].model.state_dict()
        assert all(torch.equal(value, frozen[name][key]) for key, value in state.items())
    run_stage(job_of(tmp_path / "kept", small_benchmark, teachers))
    model = load_stage(StageFolder(tmp_path / "kept"), torch.device("cpu"))
    assert not [name for name in model.state_dict() if "adapter" in name]
    plain = small_spec(steps=2, validate_every=2)
    run_stage(small_job(tmp_path / "plain", plain, small_benchmark))
    alone = load_stage(StageFolder(tmp_path / "plain"), torch.device("cpu"))
    assert model.state_dict().keys() == alone.state_dict().keys()


def test_a_stopped_stage_goes_on_with_its_adapters(
    teachers: dict, small_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends in the same bytes and the same log."""
    run_stage(job_of(tmp_path / "whole", small_benchmark, teachers))
    step_of = Loop._train_step

    def stopping(self: Loop, step: int, batch: Any) -> None:
        if step == 5:
            raise Interrupted
        step_of(self, step, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_train_step", stopping)
        with pytest.raises(Interrupted):
            run_stage(job_of(tmp_path / "stopped", small_benchmark, teachers))
    run_stage(job_of(tmp_path / "stopped", small_benchmark, teachers))
    assert kept(StageFolder(tmp_path / "stopped")) == kept(StageFolder(tmp_path / "whole"))


def test_a_teacher_sees_images_at_its_own_size(
    teachers: dict, small_benchmark: Benchmark, tmp_path: Path
) -> None:
    """A backbone with another crop sees the same parts with more pixels, not the student's blown
    up; a size that the student has anyway is not made twice.
    """
    bare = attrs.evolve(teachers["bare"][0], transform=Transform(crop=64))
    run_stage(small_job(tmp_path / "large", bare, small_benchmark))
    teacher = TeacherSpec(stage=bare, name="large", adapter=LINEAR, reads="features")
    spec = small_spec(teachers=(teacher,), losses=(*UDON, MATCH), steps=2, validate_every=2)
    folders = (StageFolder(tmp_path / "large"),)
    loop = training(small_job(tmp_path / "stage", spec, small_benchmark, teachers=folders))
    batch = loop.job.loader({}).load(DOMAINS[0], 0)
    assert list(batch.sizes) == [64] and batch.images.shape[-1] == 32
    model = loop.teachers.named["large"].model
    _, named = loop.teachers.teach(batch)
    assert torch.equal(named["large"].features_BF, model.features(batch.sizes[64]))
    assert not torch.allclose(named["large"].features_BF, model.features(batch.images), atol=1e-3)
    assert loop.run().steps == 2
    assert teacher_sizes(job_of(tmp_path, small_benchmark, teachers).spec) == []


def test_a_teacher_teaches_its_domains_alone(
    teachers: dict, small_benchmark: Benchmark, tmp_path: Path
) -> None:
    """Where `domains` leaves one out, losses learn from the others; without it a teacher says what
    it makes of domains that it was not trained on too, but has no classes there.
    """
    loop = training(job_of(tmp_path, small_benchmark, teachers, domains=(DOMAINS[1],)))
    loader = loop.job.loader({})
    for domain, names in ((DOMAINS[0], {"bare"}), (DOMAINS[1], {"row", "bare"})):
        own, named = loop.teachers.teach(loader.load(domain, 0))
        assert own is None and set(named) == names
        assert not any(branch.embedding_BD.requires_grad for branch in named.values())
    assert named["row"].cosine_BC is None and named["row"].embedding_BD.shape == (8, 24)
    assert torch.equal(named["bare"].embedding_BD, named["bare"].features_BF)
    with pytest.raises(ValueError, match="the teacher has no classes of this domain"):
        _ = named["bare"].domain_cosine_BC
