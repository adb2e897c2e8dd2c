"""A head that is fitted: interruptions, memory, and images that cannot be used."""

from __future__ import annotations

import json
import os
import shutil
import signal
import weakref
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from registry.contracts import HeadSpec, InitSpec
from registry.heads.class_moments import ClassMoments
from registry.heads.lda import LdaHead
from registry.heads.moments import Moments
from tests.udonx.engine.small import (
    Interrupted,
    fitted_spec,
    kept,
    small_job,
    small_spec,
)
from udonx.common import interrupts
from udonx.data.benchmark import Benchmark
from udonx.data.images import ImageStore
from udonx.data.transforms import CentreCrop
from udonx.engine.errors import TrainingError
from udonx.engine.load import load_stage
from udonx.engine.model import Model
from udonx.engine.train import run_stage
from udonx.evaluation import protocol
from udonx.store.stage import StageFolder


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are embedded four at a time."""
    monkeypatch.setattr(protocol, "EMBED_BATCH", 4)


def test_unreadable_images_are_left_out_of_a_fit(
    small_benchmark: Benchmark, tmp_path: Path
) -> None:
    """A head is fitted on the images that can be decoded, and done.json counts and names the
    others.
    """
    root = tmp_path / "data"
    shutil.copytree(small_benchmark.root, root)
    benchmark = Benchmark.open(root, list(small_benchmark.domains))
    path = benchmark.split("logos", "train").paths[3]
    (root / "images" / path).write_bytes(b"no image")
    spec = small_spec(
        training=None, teacher_head=None, student_head=HeadSpec(use="pca", dim=8), seed=None
    )
    done = run_stage(
        attrs.evolve(small_job(tmp_path / "stage", spec, benchmark), store=ImageStore(root))
    )
    assert (done.unreadable.images, done.unreadable.first) == (1, [path])


@pytest.mark.parametrize("head", ["pca", "lda"])
@pytest.mark.parametrize("after", [1, 7, 10])
@pytest.mark.usefixtures("small_batches")
def test_a_fit_goes_on_where_it_was_killed(
    small_benchmark: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
    head: str,
) -> None:
    """A fit that is killed amid any domain goes on after the images that its checkpoint holds, to
    the same bytes.
    """
    whole = small_job(tmp_path / "whole", fitted_spec(head), small_benchmark)
    run_stage(whole)
    job = small_job(tmp_path / "killed", fitted_spec(head), small_benchmark, checkpoint_seconds=0.0)
    calls, embed = [], Model.embed

    def counted(self: Model, *args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(len(args[0]))
        if len(calls) == after + 1:
            raise Interrupted
        return embed(self, *args, **kwargs)

    monkeypatch.setattr(Model, "embed", counted)
    with pytest.raises(Interrupted):
        run_stage(job)
    assert job.folder.started and run_stage(job).images == sum(calls) - calls[after]
    assert kept(job.folder) == kept(whole.folder) and not job.folder.started


@pytest.mark.usefixtures("small_batches")
def test_a_signal_stops_a_fit(
    small_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM ends a fit after the batch that is under way, with a checkpoint."""
    add = Moments.add

    def signalled(self: Moments, features_BF: torch.Tensor) -> Moments:
        if self.count == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        return add(self, features_BF)

    monkeypatch.setattr(Moments, "add", signalled)
    job = small_job(tmp_path, fitted_spec(), small_benchmark)
    with pytest.raises(
        interrupts.Stopped,
        match=r"stopped after 12 of \d+ images; the same command continues there",
    ):
        run_stage(job)
    assert sum(job.folder.load_state(torch.device("cpu"))["taken"].values()) == 12


@pytest.mark.usefixtures("small_batches")
def test_a_fit_does_not_hold_the_features(
    small_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many images there are, the features of one batch are held at a time."""
    held, embed = [], Model.embed

    def watched(self: Model, *args: Any, **kwargs: Any) -> torch.Tensor:
        assert not any(reference() is not None for reference in held)
        features_BF = embed(self, *args, **kwargs)
        held.append(weakref.ref(features_BF))
        return features_BF

    monkeypatch.setattr(Model, "embed", watched)
    run_stage(small_job(tmp_path, fitted_spec(), small_benchmark))
    assert len(held) > 10


def test_too_few_images_for_a_fit(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """Fewer images than components are said in a sentence."""
    root = tmp_path / "data"
    shutil.copytree(small_benchmark.root, root)
    file = root / "info_files" / "logos" / "train.json"
    file.write_text(json.dumps(json.loads(file.read_text())[:3]))
    with pytest.raises(
        TrainingError, match="small: pca: 3 items do not determine 8 principal components"
    ):
        run_stage(small_job(tmp_path, fitted_spec(domains=("logos",)), Benchmark.open(root)))


def test_a_mean_of_stages_is_kept_without_training(
    small_benchmark: Benchmark, short: StageFolder, tmp_path: Path
) -> None:
    """A stage of no steps takes backbone and student head over and keeps their validation R@1; the
    mean of one stage embeds to the bit as it does, and can be a source itself.
    """
    init = InitSpec(use="average", stages=(small_spec(),))
    spec = small_spec(training=None, teacher_head=None, seed=None, init=init)
    job = small_job(tmp_path / "mean", spec, small_benchmark, sources=(short,))
    done = run_stage(job)
    assert (done.steps, done.images, done.best_r1) == (0, 0, short.done.best_r1)
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255
    mean, source = (load_stage(folder, torch.device("cpu")) for folder in (job.folder, short))
    assert torch.equal(mean.embed(images, "student"), source.embed(images, "student"))
    assert mean.student_classifiers is None
    further = small_spec(steps=2, init=InitSpec(use="same", stages=(spec,)))
    run_stage(small_job(tmp_path / "further", further, small_benchmark, sources=(job.folder,)))


def test_lda_knows_the_class_of_each_image(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """The head is that of the features of all training images and their classes, also where one of
    them cannot be decoded.
    """
    root = tmp_path / "data"
    shutil.copytree(small_benchmark.root, root)
    benchmark = Benchmark.open(root, list(small_benchmark.domains))
    missing = benchmark.split("logos", "train").paths[3]
    (root / "images" / missing).write_bytes(b"no image")
    job = attrs.evolve(
        small_job(tmp_path / "stage", fitted_spec("lda"), benchmark), store=ImageStore(root)
    )
    run_stage(job)
    model = load_stage(job.folder, job.device)
    labels = {domain: benchmark.labels(domain) for domain in job.spec.domains}
    moments = ClassMoments(
        model.backbone.dim, {domain: len(labels[domain]) for domain in job.spec.domains}
    )
    for domain in job.spec.domains:
        split = benchmark.split(domain, "train")
        for path, class_id in zip(split.paths, split.class_ids.tolist(), strict=True):
            if path != missing:
                image = job.store.prepared(path, CentreCrop(model.crop), upright=model.upright)
                features_1F = model.embed(image[None], "feature")
                moments.add(features_1F, torch.tensor([labels[domain][class_id]]), domain)
    expected = LdaHead(model.backbone.dim, 8).fit(moments)
    torch.testing.assert_close(
        model.student_head.components_FD, expected.components_FD, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("head", ["pca", "lda"])
def test_a_head_is_fitted_on_the_backbone_of_a_stage(
    small_benchmark: Benchmark, short: StageFolder, tmp_path: Path, head: str
) -> None:
    """A fitted head takes the place of the trained one: the backbone is the source's to the bit,
    the head is fitted on its features, and both together are validated.
    """
    init = InitSpec(use="same", stages=(small_spec(),))
    job = small_job(
        tmp_path / "refit", fitted_spec(head, init=init), small_benchmark, sources=(short,)
    )
    done = run_stage(job)
    trained = [each for each in small_benchmark.facts if each.name in job.spec.domains]
    assert done.images == sum(each.train_images for each in trained)
    assert done.best_r1 is not None and done.best_r1 != short.done.best_r1
    refit, source = (load_stage(folder, torch.device("cpu")) for folder in (job.folder, short))
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255
    features_BF = source.embed(images, "feature")
    assert torch.equal(refit.embed(images, "feature"), features_BF)
    assert torch.equal(refit.embed(images, "student"), refit.student_head(features_BF))
