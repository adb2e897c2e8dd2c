"""A trained stage as an embedding ready for use."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from registry.contracts import Transform
from tests.udonx.engine.small import DOMAINS, small_job, small_spec
from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.data.images import ImageStore
from udonx.engine.load import load_stage
from udonx.engine.loaded_model import LoadedModel
from udonx.engine.train import run_stage
from udonx.evaluation.protocol import Embedder, embed_paths
from udonx.running.export import export_stage
from udonx.store.stage import StageFolder


@pytest.mark.parametrize("branch", ["student", "teacher", "feature"])
def test_equals_the_protocol(
    stage: Path, small_benchmark: Benchmark, images: list[Path], branch: str
) -> None:
    """Embeddings of files are those that the evaluation searches, with unit rows, in
    every branch.
    """
    loaded = LoadedModel(stage)
    got = loaded.embed(images, branch=branch, domain="logos")
    embedder = Embedder(load_stage(StageFolder(stage), torch.device("cpu")), branch)
    paths = small_benchmark.split("logos", "val").paths
    expected, _ = embed_paths(
        embedder, ImageStore(small_benchmark.root), paths, "logos", torch.device("cpu"), 2
    )
    np.testing.assert_allclose(got, expected, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)
    assert got.dtype == np.float32 and got.shape == (
        len(images),
        {"student": 16, "teacher": 32, "feature": 32}[branch],
    )


def test_a_flip_gives_the_unit_mean_over_mirror_images(stage: Path, images: list[Path]) -> None:
    """It is that of the evaluation with `tta`."""
    loaded = LoadedModel(stage)
    arrays = [np.asarray(Image.open(path).convert("RGB")) for path in images]
    both = loaded.embed(arrays) + loaded.embed([array[:, ::-1].copy() for array in arrays])
    expected = both / np.linalg.norm(both, axis=1, keepdims=True)
    np.testing.assert_allclose(loaded.embed(images, tta="flip"), expected, atol=1e-5)
    with pytest.raises(ValueError, match='tta must be "none" or "flip"; got \'mirror\''):
        loaded.embed(images, tta="mirror")


def test_kinds_of_images(stage: Path, images: list[Path]) -> None:
    """Paths as text, PIL images, arrays and tensors of the same pixels give the same embedding; no
    image gives no row.
    """
    loaded = LoadedModel(stage)
    expected = loaded.embed(images[:3])
    opened = [Image.open(path) for path in images[:3]]
    arrays = [np.asarray(image.convert("RGB")) for image in opened]
    for kind in (
        [str(path) for path in images[:3]],
        opened,
        arrays,
        [torch.tensor(array) for array in arrays],
    ):
        np.testing.assert_array_equal(loaded.embed(kind), expected)
    assert loaded.embed([]).shape == (0, 16)
    assert (loaded.dim, loaded.crop, loaded.domains, loaded.branch) == (16, 32, DOMAINS, "student")
    about = (
        "feature 32, teacher 32, student 16; default student; crop 32; glyphs, silhouettes, logos"
    )
    assert repr(loaded) == f"LoadedModel({str(stage)!r}: {about})"


def test_transparency_lies_over_white(stage: Path, tmp_path: Path) -> None:
    """A PIL image with transparency is treated as its file is."""
    image = Image.fromarray(
        np.random.default_rng(0).integers(0, 255, (32, 32, 4), dtype=np.uint8), "RGBA"
    )
    image.save(tmp_path / "a.png")
    loaded = LoadedModel(stage)
    np.testing.assert_array_equal(loaded.embed([image]), loaded.embed([tmp_path / "a.png"]))


def test_refusals(stage: Path, images: list[Path], tmp_path: Path) -> None:
    """What cannot be embedded is refused in one sentence: other arrays, missing files, a branch or
    domain that is not there.
    """
    loaded = LoadedModel(stage)
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\].*float64 \[4, 4\]"):
        loaded.embed([np.zeros((4, 4))])
    with pytest.raises(DataError, match="does not exist"):
        loaded.embed([tmp_path / "missing.png"])
    with pytest.raises(ValueError, match="no branch 'studnt'; it has feature, teacher, student"):
        loaded.embed(images, branch="studnt")
    with pytest.raises(
        ValueError,
        match="needs the domain of the images, one of glyphs, silhouettes, logos; got None",
    ):
        loaded.embed(images, branch="teacher")
    with pytest.raises(ValueError, match="got 'cars'"):
        loaded.embed(images, branch="teacher", domain="cars")
    with pytest.raises(ValueError, match="is no trained stage"):
        LoadedModel(tmp_path)
    for nothing, name in (
        (None, "NoneType"),
        ((path for path in images), "generator: make it a list"),
        ({"a": 1}, "dict"),
        (3, "int"),
    ):
        with pytest.raises(ValueError, match=f"images must be a list of paths.*got {name}"):
            loaded.embed(nothing)
    with pytest.raises(ValueError, match='errors must be "raise" or "nan"; got \'skip\''):
        loaded.embed(images, errors="skip")
    with pytest.raises(DataError, match="is too large"):
        loaded.embed(images, max_pixels=10)


@pytest.mark.parametrize("workers", [1, 3])
def test_many_images_in_threads(stage: Path, images: list[Path], workers: int) -> None:
    """However many threads decode, rows stand in the order of the images, beyond one batch;
    progress is not printed into a result.
    """
    loaded = LoadedModel(stage)
    rows = loaded.embed(images)
    many = loaded.embed(images * 40, workers=workers)
    np.testing.assert_allclose(many, np.tile(rows, (40, 1)), atol=1e-6)
    opened = Image.open(images[0])
    np.testing.assert_allclose(
        loaded.embed([opened] * 50, workers=workers), np.tile(rows[:1], (50, 1)), atol=1e-6
    )


def test_bad_files_lose_nothing_where_it_is_asked_for(
    stage: Path, images: list[Path], tmp_path: Path
) -> None:
    """With errors="nan" a file that cannot be read has a row of NaN and is named in one warning;
    all other rows are there.
    """
    loaded = LoadedModel(stage)
    (tmp_path / "bad.png").write_bytes(images[0].read_bytes()[:60])
    given = [images[0], tmp_path / "bad.png", images[1], tmp_path / "missing.png"]
    with pytest.raises(DataError, match=r"bad\.png cannot be decoded"):
        loaded.embed(given)
    with pytest.warns(
        UserWarning,
        match=(
            r"the rows of 2 of 4 images are NaN: .*bad\.png cannot be decoded.*missing\.png does"
            r" not exist"
        ),
    ):
        got = loaded.embed(given, errors="nan")
    assert np.isnan(got[[1, 3]]).all()
    np.testing.assert_allclose(got[[0, 2]], loaded.embed(images[:2]), atol=1e-6)


def test_a_model_that_was_trained_upright_turns_its_images(
    small_benchmark: Benchmark, tmp_path: Path
) -> None:
    """A stage keeps its orientation: files and PIL images are turned as in its training, arrays are
    taken as they are.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(pixels)).save(tmp_path / "turned.png", exif=exif)
    opened = Image.open(tmp_path / "turned.png")
    for orientation in (None, "exif"):
        spec = small_spec(
            steps=1,
            validate_every=1,
            transform=Transform(resize=36, crop=32, orientation=orientation),
        )
        run_stage(small_job(tmp_path / f"{orientation}", spec, small_benchmark))
        loaded = LoadedModel(tmp_path / f"{orientation}")
        upright, *turned = loaded.embed(
            [pixels, tmp_path / "turned.png", opened, np.asarray(opened)]
        )
        same = [bool(np.allclose(row, upright, atol=1e-5)) for row in turned]
        assert same == ([True, True, False] if orientation else [False] * 3) and loaded.upright == (
            orientation == "exif"
        )


def test_teacher_of_one_domain(
    small_benchmark: Benchmark, images: list[Path], tmp_path: Path
) -> None:
    """A teacher stage of one domain embeds with that teacher, unasked."""
    spec = small_spec(
        domains=("logos",),
        student_head=None,
        losses=small_spec().training.losses[:1],
        steps=1,
        validate_every=1,
    )
    run_stage(small_job(tmp_path, spec, small_benchmark))
    loaded = LoadedModel(tmp_path)
    assert (loaded.branch, loaded.dim) == ("teacher", 32)
    np.testing.assert_array_equal(
        loaded.embed(images[:2]), loaded.embed(images[:2], branch="teacher", domain="logos")
    )


def test_needs_neither_data_nor_results(
    small_benchmark: Benchmark, images: list[Path], tmp_path: Path
) -> None:
    """The folder of a stage alone, moved elsewhere, is enough: data and results may be gone."""
    root = tmp_path / "data"
    shutil.copytree(small_benchmark.root, root)
    run_stage(
        small_job(
            tmp_path / "results/stages/x",
            small_spec(steps=2, validate_every=2),
            Benchmark.open(root, list(DOMAINS)),
        )
    )
    expected = LoadedModel(tmp_path / "results/stages/x").embed(images[:2])
    moved = tmp_path / "moved"
    shutil.move(tmp_path / "results/stages/x", moved)
    shutil.rmtree(tmp_path / "results")
    shutil.rmtree(root)
    for name in ("log.jsonl", "done.json", "stage.toml"):
        (moved / name).unlink()
    np.testing.assert_array_equal(LoadedModel(moved).embed(images[:2]), expected)


def test_an_export_and_a_backbone_are_loaded_too(
    stage: Path, images: list[Path], tmp_path: Path
) -> None:
    """An export gives the vectors of its stage; a backbone off the shelf gives its features."""
    export_stage(stage, tmp_path / "out")
    exported, trained = LoadedModel(tmp_path / "out"), LoadedModel(stage)
    assert (exported.branch, exported.dim, exported.domains) == ("student", 16, DOMAINS)
    for branch in ("student", "feature"):
        np.testing.assert_allclose(
            exported.embed(images, branch=branch), trained.embed(images, branch=branch), atol=1e-6
        )
    shelf = LoadedModel("smoke:main")
    assert (shelf.branch, shelf.domains) == ("feature", ())
    assert shelf.embed(images[:2]).shape == (2, shelf.dim)
    assert repr(shelf).startswith("LoadedModel('smoke:main': feature ")


def test_an_identity_is_that_of_the_vectors(stage: Path, tmp_path: Path) -> None:
    """A stage that was moved is the same model; a branch, a teacher or a flip make another."""
    shutil.copytree(stage, tmp_path / "moved")
    loaded, moved = LoadedModel(stage), LoadedModel(tmp_path / "moved")
    assert loaded.identity() == moved.identity() == loaded.identity(branch="student")
    assert (loaded.identity().dim, loaded.identity().source) == (16, str(stage.resolve()))
    export_stage(stage, tmp_path / "out")
    others = [
        loaded.identity(),
        loaded.identity(tta="flip"),
        loaded.identity(branch="feature"),
        loaded.identity(branch="teacher", domain="logos"),
        loaded.identity(branch="teacher", domain="glyphs"),
        LoadedModel(tmp_path / "out").identity(),
    ]
    assert len(set(others)) == len(others)
