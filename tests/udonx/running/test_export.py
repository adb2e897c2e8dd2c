"""Exported stages, read back by timm itself and by the module that is written beside them."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import random
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor

from registry.contracts import BackboneSpec, HeadSpec, InitSpec, StageSpec, Transform
from tests.conftest import SmokeRun
from tests.udonx.engine.small import ROUND_ROBIN, STUDENT_CE, TEACHER_CE, small_job, small_spec
from udonx.common.files import sha256_file
from udonx.data.benchmark import Benchmark
from udonx.engine.exported import ExportedFolder
from udonx.engine.load import load_stage
from udonx.engine.loaded_model import LoadedModel
from udonx.engine.train import run_stage
from udonx.running.export import export_stage
from udonx.store.stage import StageFolder

BACKBONES = {
    "resnet10t": small_spec().backbone.options,
    "vit_tiny_patch16_224": {
        "model": "vit_tiny_patch16_224",
        "kwargs": {
            "patch_size": 8,
            "embed_dim": 32,
            "depth": 2,
            "num_heads": 2,
            "act_layer": "gelu_tanh",
        },
    },
}
SHORT = {"steps": 1, "validate_every": 1}


def module_of(out: Path) -> ModuleType:
    """The embedding.py of an exported folder."""
    spec = importlib.util.spec_from_file_location("exported_embedding", out / "embedding.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cosines(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Row by row."""
    return (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)


@pytest.fixture
def photos(small_benchmark: Benchmark) -> list[Path]:
    """A few images of the demo."""
    return [
        small_benchmark.root / "images" / path
        for path in small_benchmark.split("logos", "val").paths[:6]
    ]


@pytest.mark.parametrize("model", BACKBONES)
def test_timm_reads_it(small_benchmark: Benchmark, tmp_path: Path, model: str) -> None:
    """`timm.create_model("local-dir:...", pretrained=True)` gives the stage's features, and a later
    stage starts from the same.
    """
    backbone = BackboneSpec(
        use="timm",
        options=BACKBONES[model],
        weights="random",
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.4),
    )
    run_stage(
        small_job(
            tmp_path / "stage",
            small_spec(backbone=backbone, steps=2, validate_every=2),
            small_benchmark,
        )
    )
    trained = load_stage(StageFolder(tmp_path / "stage"), torch.device("cpu"))
    out = export_stage(tmp_path / "stage", tmp_path / "out").path
    assert sorted(file.name for file in out.iterdir()) == [
        "README.md",
        "config.json",
        "embedding.py",
        "head.safetensors",
        "model.safetensors",
    ]
    network = timm.create_model(f"local-dir:{out}", pretrained=True, num_classes=0).eval()
    config = resolve_model_data_config(network)
    assert (config["mean"], config["std"], config["input_size"], config["crop_pct"]) == (
        [0.4, 0.5, 0.6],
        [0.2, 0.3, 0.4],
        [3, 32, 32],
        1.0,
    )
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(images), trained.backbone(images), rtol=1e-5, atol=1e-6)
    later = small_spec(
        backbone=backbone, steps=1, validate_every=1, optimiser=small_spec().training.optimiser
    )
    run_stage(small_job(tmp_path / "later", later, small_benchmark, start_folder=out))
    # its one step is frozen
    started = load_stage(StageFolder(tmp_path / "later"), torch.device("cpu"))
    assert all(
        torch.equal(value, started.backbone.state_dict()[name])
        for name, value in trained.backbone.state_dict().items()
    )


HEADS = {
    "linear": (small_spec(**SHORT), 16, "the student's head 'linear'"),
    "mlp": (
        small_spec(student_head=HeadSpec(use="mlp", dim=8, options={"hidden": [12, 10]}), **SHORT),
        8,
        "the student's head 'mlp'",
    ),
    "pca": (
        small_spec(student_head=HeadSpec(use="pca", dim=4), teacher_head=None),
        4,
        "the student's head 'pca'",
    ),
    "lda": (
        small_spec(student_head=HeadSpec(use="lda", dim=4), teacher_head=None),
        4,
        "the student's head 'lda'",
    ),
    "one teacher": (
        small_spec(domains=("logos",), student_head=None, losses=(TEACHER_CE,), **SHORT),
        32,
        "the teacher's head 'linear'",
    ),
    "none": (small_spec(student_head=None, teacher_head=None), 32, ""),
    "bf16": (
        small_spec(
            precision="bf16", teacher_head=None, losses=(STUDENT_CE,), sampler=ROUND_ROBIN, **SHORT
        ),
        16,
        "the student's head 'linear'",
    ),
}


@pytest.mark.parametrize("kind", HEADS)
def test_the_head_goes_with_it(
    small_benchmark: Benchmark, photos: list[Path], tmp_path: Path, kind: str
) -> None:
    """`Embedding.load(DIR).embed(...)` gives what `load_model(...).embed(...)` gives, for every
    head that ships with udonx.
    """
    spec, dim, head = HEADS[kind]
    if kind in ("pca", "lda", "none"):
        spec = StageSpec(
            domains=spec.domains,
            backbone=spec.backbone,
            transform=Transform(crop=32),
            student_head=spec.student_head,
        )
    run_stage(small_job(tmp_path / "stage", spec, small_benchmark))
    (written,) = export_stage(tmp_path / "stage", tmp_path / "out").written
    assert (written.dim, written.head, bool(written.without)) == (dim, head, not head)
    embedding = module_of(tmp_path / "out").Embedding.load()
    ours, theirs = embedding.embed(photos), LoadedModel(tmp_path / "stage").embed(photos)
    assert ours.dtype == np.float32 and ours.shape == (6, dim)
    assert cosines(ours, theirs).min() > 0.9999
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
    flipped = LoadedModel(tmp_path / "stage").embed(photos, tta="flip")
    assert cosines(embedding.embed(photos, flip=True), flipped).min() > 0.9999


def test_kinds_of_images(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """Transparency, 16-bit grey, palettes and odd sizes are prepared as udonx prepares them."""
    run_stage(small_job(tmp_path / "stage", small_spec(**SHORT), small_benchmark))
    export_stage(tmp_path / "stage", tmp_path / "out")
    draw = np.random.default_rng(0)
    images = [
        Image.fromarray(draw.integers(0, 256, (57, 41, 4), dtype=np.uint8)),
        Image.fromarray(draw.integers(0, 2**16, (40, 70), dtype=np.uint16)),
    ]
    images.append(images[0].convert("RGB").quantize(16))
    files = [tmp_path / f"{number}.png" for number in range(len(images))]
    for image, file in zip(images, files, strict=True):
        image.save(file)
    ours, theirs = (
        module_of(tmp_path / "out").Embedding.load().embed(files),
        LoadedModel(tmp_path / "stage").embed(files),
    )
    assert cosines(ours, theirs).min() > 0.9999


@pytest.mark.parametrize("orientation", ["stored", "exif"])
def test_photos_that_lie_on_their_side(
    small_benchmark: Benchmark, tmp_path: Path, orientation: str
) -> None:
    """They are turned upright where the stage was trained so, and only there."""
    run_stage(
        small_job(
            tmp_path / "stage",
            small_spec(transform=Transform(resize=36, crop=32, orientation=orientation), **SHORT),
            small_benchmark,
        )
    )
    export_stage(tmp_path / "stage", tmp_path / "out")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(
        tmp_path / "a.jpg", exif=exif
    )
    ours = module_of(tmp_path / "out").Embedding.load().embed([tmp_path / "a.jpg"])
    assert cosines(ours, LoadedModel(tmp_path / "stage").embed([tmp_path / "a.jpg"])).min() > 0.9999


def test_it_needs_no_udonx(small_benchmark: Benchmark, photos: list[Path], tmp_path: Path) -> None:
    """The folder alone is enough: its module imports nothing of udonx."""
    run_stage(small_job(tmp_path / "stage", small_spec(**SHORT), small_benchmark))
    export_stage(tmp_path / "stage", tmp_path / "out")
    code = (
        "import sys, embedding\nprint(embedding.Embedding.load('.').embed([sys.argv[1]]).shape)\n"
    )
    code += "print([name for name in sys.modules if name.split('.')[0] in ('udonx', 'registry')])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(photos[0])],
        cwd=tmp_path / "out",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split("\n") == ["(1, 16)", "[]", ""], done.stderr


@pytest.fixture(scope="module")
def real(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """64 photos of uned_mini."""
    archive = shared_dir / "uned_mini" / "images" / "flowers.tar"
    if not archive.is_file():
        pytest.skip(f"{archive} is absent: it holds the photos")
    folder = tmp_path_factory.mktemp("photos")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return random.Random(0).sample(sorted(path for path in folder.rglob("*") if path.is_file()), 64)


def test_real_photos(
    small_benchmark: Benchmark, shared_dir: Path, real: list[Path], tmp_path: Path
) -> None:
    """With embedding.py plain timm gives udonx's features of 64 real photos; with timm's own
    transform it comes as near as timm can.
    """
    crop, start = 80, shared_dir / "weights" / "mobilenetv2_100_in1k"
    backbone, weights = small_spec().backbone, None
    if start.is_dir():
        options, weights = {"model": "mobilenetv2_100", "kwargs": {"pad_type": "same"}}, start
        backbone = BackboneSpec(
            use="timm",
            options=options,
            weights=sha256_file(start / "model.safetensors"),
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
        )
    spec = small_spec(
        backbone=backbone,
        transform=Transform(resize=90, crop=crop),
        student_head=HeadSpec(use="linear", dim=64),
        **SHORT,
    )
    run_stage(small_job(tmp_path / "stage", spec, small_benchmark, start_folder=weights))
    out = export_stage(tmp_path / "stage", tmp_path / "out").path
    loaded, module = LoadedModel(tmp_path / "stage"), module_of(out)
    assert cosines(module.Embedding.load().embed(real), loaded.embed(real)).min() > 0.9999

    network = timm.create_model(f"local-dir:{out}", pretrained=True, num_classes=0).eval()
    config = resolve_model_data_config(network)
    images, features = (
        [Image.open(path).convert("RGB") for path in real],
        loaded.embed(real, branch="feature"),
    )
    mean, std = (torch.tensor(config[name]).reshape(3, 1, 1) for name in ("mean", "std"))

    def nearness(prepared: list[Tensor]) -> np.ndarray:
        with torch.no_grad():
            return cosines(network(torch.stack(prepared)).numpy(), features)

    assert (
        nearness([(module.preprocess(image, crop) / 255 - mean) / std for image in images]).min()
        > 0.9999
    )
    modes = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
    by_mode = {
        mode: nearness([*map(create_transform(**config | {"interpolation": mode}), images)]).mean()
        for mode in modes
    }
    assert config["interpolation"] == max(by_mode, key=by_mode.get), by_mode
    assert by_mode[config["interpolation"]] > 0.99, by_mode


def test_half_precision(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """A float16 export is half as large and comes back as float32 within its rounding."""
    run_stage(small_job(tmp_path / "stage", small_spec(**SHORT), small_benchmark))
    whole, half = (
        export_stage(tmp_path / "stage", tmp_path / "a").path,
        export_stage(tmp_path / "stage", tmp_path / "b", dtype="float16").path,
    )
    sizes = [(out / "model.safetensors").stat().st_size for out in (whole, half)]
    assert sizes[1] < 0.7 * sizes[0]
    ours, theirs = (
        timm.create_model(f"local-dir:{out}", pretrained=True, num_classes=0).state_dict()
        for out in (half, whole)
    )
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-4)


def test_refuses_what_is_no_stage(tmp_path: Path) -> None:
    """A folder that is no trained stage is refused by name, and nothing is written."""
    with pytest.raises(ValueError, match="is no trained stage"):
        export_stage(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_in_silence(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """A folder with anything in it is refused; with `overwrite` an earlier export is replaced, and
    nothing else.
    """
    run_stage(small_job(tmp_path / "stage", small_spec(**SHORT), small_benchmark))
    features = StageSpec(
        domains=("logos",), backbone=small_spec().backbone, transform=Transform(crop=32)
    )
    run_stage(small_job(tmp_path / "features", features, small_benchmark))
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(
        ValueError,
        match=r"out is not empty \(it holds notes.txt\); give another folder, or --overwrite",
    ):
        export_stage(tmp_path / "stage", out)
    export_stage(tmp_path / "stage", out, overwrite=True)
    with pytest.raises(ValueError, match="is not empty"):
        export_stage(tmp_path / "features", out)
    # a head that does not belong to it would be worse than none
    export_stage(tmp_path / "features", out, overwrite=True)
    assert sorted(file.name for file in out.iterdir()) == [
        "README.md",
        "config.json",
        "embedding.py",
        "model.safetensors",
        "notes.txt",
    ]
    assert (out / "notes.txt").read_text() == "mine"
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "config.json").write_text('{"architecture": "resnet10t"}')
    with pytest.raises(ValueError, match=r"holds config\.json, which no export of udonx wrote"):
        export_stage(tmp_path / "stage", weights, overwrite=True)
    with pytest.raises(ValueError, match="is a file; give a folder"):
        export_stage(tmp_path / "stage", weights / "config.json", overwrite=True)


def test_an_export_that_fails_leaves_the_earlier_one(
    small_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an export cannot be written, nothing of it is there, and an earlier one stays whole."""
    run_stage(small_job(tmp_path / "stage", small_spec(**SHORT), small_benchmark))
    export_stage(tmp_path / "stage", tmp_path / "out")
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", lambda *_: 1 / 0)
        for out in ("out", "other"):
            with pytest.raises(ZeroDivisionError):
                export_stage(tmp_path / "stage", tmp_path / out, overwrite=True)
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "stage"]


def test_an_empty_folder_is_written_from_within(
    small_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is there may be a disk of its own: no file is moved into it from outside, and
    what a killed export left in it is in nobody's way.
    """
    run_stage(small_job(tmp_path / "stage", small_spec(**SHORT), small_benchmark))
    out, replace = tmp_path / "out", os.replace
    (out / ".0123456789abcdef.tmp").mkdir(parents=True)

    def on_one_disk(source: Path, target: Path) -> None:
        if (out in Path(source).parents) != (out in Path(target).parents):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        replace(source, target)

    monkeypatch.setattr(os, "replace", on_one_disk)
    export_stage(tmp_path / "stage", out)
    assert LoadedModel(out).dim == 16


def test_half_an_export_is_none(
    small_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that dies while it replaces an export leaves nothing that could be taken for
    either; --overwrite completes it.
    """
    run_stage(small_job(tmp_path / "stage", small_spec(**SHORT), small_benchmark))
    export_stage(tmp_path / "stage", tmp_path / "out")
    replace = os.replace

    def dies(source: Path, target: Path) -> None:
        if Path(target).name == "model.safetensors" and Path(target).parent == tmp_path / "out":
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            export_stage(tmp_path / "stage", tmp_path / "out", overwrite=True)
    with pytest.raises(ValueError, match="is half an export; export it again"):
        LoadedModel(tmp_path / "out")
    export_stage(tmp_path / "stage", tmp_path / "out", overwrite=True)
    assert timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True, num_classes=0)


def test_it_says_what_it_has_learned_from(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """The domains of the stages that it starts from are among them; without training none are."""
    run_stage(small_job(tmp_path / "short", small_spec(**SHORT), small_benchmark))
    short = StageFolder(tmp_path / "short")
    init = InitSpec(use="grow", stages=(small_spec(**SHORT),))
    grown = small_spec(domains=("plates",), init=init, **SHORT)
    run_stage(small_job(tmp_path / "grown", grown, small_benchmark, sources=(short,)))
    plain = small_spec(student_head=None, teacher_head=None, training=None, seed=None)
    run_stage(small_job(tmp_path / "plain", plain, small_benchmark))
    for name in ("grown", "plain"):
        export_stage(tmp_path / name, tmp_path / f"{name}_out")
    assert ExportedFolder(tmp_path / "grown_out").learned == {*small_spec().domains, "plates"}
    assert ExportedFolder(tmp_path / "plain_out").learned is None


# --------------------------------------------------------------------------------- graphs


@pytest.fixture(scope="module")
def whole(small_benchmark: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All formats of a stage, with flips; not to be written to. The stage lies beside them."""
    folder = tmp_path_factory.mktemp("whole")
    run_stage(small_job(folder / "stage", small_spec(**SHORT), small_benchmark))
    export_stage(folder / "stage", folder / "out", ("timm", "onnx", "torch"), tta="flip")
    return folder


@pytest.mark.parametrize("file", ["", "embedding.onnx", "embedding.pt2"])
def test_load_model_takes_every_format(whole: Path, photos: list[Path], file: str) -> None:
    """The folder and each graph give the vectors of the stage with the flip that was exported."""
    loaded, stage = LoadedModel(whole / "out" / file), LoadedModel(whole / "stage")
    assert (loaded.branch, loaded.dim, loaded.crop) == ("student", 16, 32)
    assert loaded.domains == stage.domains
    expected = stage.embed(photos, tta="flip")
    np.testing.assert_allclose(loaded.embed(photos), expected, atol=1e-5)
    # a second flip changes nothing, and the flip does change something
    np.testing.assert_allclose(loaded.embed(photos, tta="flip"), expected, atol=1e-5)
    assert np.abs(stage.embed(photos) - expected).max() > 1e-3


def test_models_of_different_formats_are_different_models(whole: Path) -> None:
    """Vectors of one format are not taken for those of another."""
    files = [whole / "out" / name for name in ("", "embedding.onnx", "embedding.pt2")]
    identities = {LoadedModel(file).identity() for file in (*files, whole / "stage")}
    assert len(identities) == 4


def test_a_graph_has_one_branch(whole: Path, photos: list[Path]) -> None:
    """A graph refuses other branches than its own by name."""
    loaded = LoadedModel(whole / "out" / "embedding.pt2")
    with pytest.raises(ValueError, match="has no branch 'feature'; it has student"):
        loaded.embed(photos, branch="feature")
    with pytest.raises(ValueError, match="got the branch 'feature' for an exported graph"):
        loaded.model.embed(torch.zeros(1, 3, 32, 32), "feature")


@pytest.mark.parametrize("name", ["embedding.onnx", "embedding.pt2"])
def test_a_changed_file_is_refused(whole: Path, tmp_path: Path, name: str) -> None:
    """A graph whose digest is not that of embedding.json is never opened, nor one without it."""
    for file in (name, "embedding.json"):
        (tmp_path / file).write_bytes((whole / "out" / file).read_bytes())
    with (tmp_path / name).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"is not the file that embedding\.json .* describes"):
        LoadedModel(tmp_path)
    (tmp_path / "embedding.json").unlink()
    with pytest.raises(ValueError, match=r"embedding\.json is missing beside it"):
        LoadedModel(tmp_path / name)


def test_embedding_json_says_how_images_are_prepared(whole: Path, photos: list[Path]) -> None:
    """A program that follows its steps by itself gets the vectors of the stage."""
    manifest = json.loads((whole / "out" / "embedding.json").read_text())
    steps = {
        name: about for step in manifest["preprocessing"]["outside"] for name, about in step.items()
    }
    resize, edge = steps["resize"], steps["resize"]["smaller_edge"]
    assert (resize["interpolation"], resize["antialias"], "turn" in steps) == (
        "bilinear",
        False,
        False,
    )
    pixels = torch.from_numpy(np.array(Image.open(photos[0]).convert("RGB"))).permute(2, 0, 1)
    height, width = (side * edge // min(pixels.shape[1:]) for side in pixels.shape[1:])
    resized = torch.nn.functional.interpolate(
        pixels[None].float(), (height, width), mode="bilinear", antialias=False
    )
    size = steps["centre_crop"]["size"]
    top, left = (height - size) // 2, (width - size) // 2
    graph = torch.export.load(whole / "out" / "embedding.pt2").module()
    got = graph(resized[..., top : top + size, left : left + size]).numpy()
    expected = LoadedModel(whole / "stage").embed(photos[:1], tta="flip")
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert {"tta", "normalise"} < {
        name for step in manifest["preprocessing"]["inside"] for name in step
    }


def test_the_model_card_loads_what_it_shows(whole: Path) -> None:
    """Every block of Python of the model card runs as it stands, and gives vectors."""
    text = (whole / "out" / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    Image.new("RGB", (50, 40), "teal").save(whole / "photo.jpg")
    code = "\n".join(f"{block}\nprint(vectors.shape[1])" for block in blocks)
    done = subprocess.run(
        [sys.executable, "-c", code.replace("photo.jpg", "../photo.jpg")],
        cwd=whole / "out",
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(whole / "out"), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["16"] * 4, done.stderr


@pytest.mark.parametrize("kind", ["lda", "one teacher", "none", "mlp", "bf16"])
def test_a_graph_of_every_head(
    small_benchmark: Benchmark, photos: list[Path], tmp_path: Path, kind: str
) -> None:
    """Fitted heads, an only teacher, plain features and a stage in bf16 are exported as graphs."""
    spec, dim, head = HEADS[kind]
    if kind in ("lda", "none"):
        spec = StageSpec(
            domains=spec.domains,
            backbone=spec.backbone,
            transform=Transform(crop=32),
            student_head=spec.student_head,
        )
    run_stage(small_job(tmp_path / "stage", spec, small_benchmark))
    (written,) = export_stage(tmp_path / "stage", tmp_path / "out", ("torch",)).written
    assert (written.dim, written.head) == (dim, head)
    loaded, stage = LoadedModel(tmp_path / "out"), LoadedModel(tmp_path / "stage")
    assert loaded.branch == stage.branch
    tolerance = 5e-2 if kind == "bf16" else 1e-5
    np.testing.assert_allclose(loaded.embed(photos), stage.embed(photos), atol=tolerance)


# ------------------------------------------------------------------------- check and model card


def test_what_differs_is_not_written(
    small_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export whose vectors are not those of the stage is refused, and leaves nothing."""
    run_stage(small_job(tmp_path / "stage", small_spec(**SHORT), small_benchmark))
    with monkeypatch.context() as patch:
        patch.setattr(
            "udonx.engine.embedding.preprocess", lambda image, crop: torch.ones(3, 32, 32)
        )
        with pytest.raises(ValueError, match=r"timm: the export differs .* nothing was written"):
            export_stage(tmp_path / "stage", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["stage"]
    (written,) = export_stage(tmp_path / "stage", tmp_path / "out").written
    assert written.difference < 1e-5


def test_it_is_checked_on_images_that_are_given(
    small_benchmark: Benchmark, photos: list[Path], tmp_path: Path
) -> None:
    """`images` names the folder; what in it is no image is passed over, and one suffices."""
    run_stage(small_job(tmp_path / "stage", small_spec(**SHORT), small_benchmark))
    folder = tmp_path / "photos"
    with pytest.raises(ValueError, match="photos is no folder; give a folder of images"):
        export_stage(tmp_path / "stage", tmp_path / "out", images=folder)
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds no image that can be read"):
        export_stage(tmp_path / "stage", tmp_path / "out", images=folder)
    (folder / "one.png").write_bytes(photos[0].read_bytes())
    assert export_stage(tmp_path / "stage", tmp_path / "out", images=folder).images == 1


def test_an_unknown_format(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """A format that is none is refused with those that are."""
    with pytest.raises(ValueError, match="formats: got tflite; allowed are timm, onnx, torch"):
        export_stage(tmp_path, tmp_path / "out", ("tflite",))
    with pytest.raises(ValueError, match="formats: got none"):
        export_stage(tmp_path, tmp_path / "out", ())


def test_other_formats_take_the_place_of_an_earlier_export(
    small_benchmark: Benchmark, tmp_path: Path
) -> None:
    """--overwrite removes the files of formats that are not asked for, and no README of others."""
    run_stage(small_job(tmp_path / "stage", small_spec(**SHORT), small_benchmark))
    out = tmp_path / "out"
    for formats, files in (
        (("timm",), {"config.json", "embedding.py", "head.safetensors", "model.safetensors"}),
        (("torch",), {"embedding.json", "embedding.pt2"}),
        (("timm",), {"config.json", "embedding.py", "head.safetensors", "model.safetensors"}),
    ):
        export_stage(tmp_path / "stage", out, formats, overwrite=True)
        assert {file.name for file in out.iterdir()} == {"README.md", *files}
        assert LoadedModel(out).dim == 16
    (out / "README.md").write_text("my own words")
    with pytest.raises(ValueError, match=r"holds a README\.md that no export of udonx wrote"):
        export_stage(tmp_path / "stage", out, overwrite=True)


def test_the_model_card_has_figures_of_the_same_embedding(
    smoke_run: SmokeRun, tmp_path: Path
) -> None:
    """Test figures of the exported branch and tta stand in it with their intervals, no others."""
    row = smoke_run.table.row("udon")
    stage = smoke_run.results / "stages" / row.stages[-1]
    export_stage(stage, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    mean = re.search(
        r"\*\*mean over domains\*\* \| [\d,]+ \| ([\d.]+) \(([\d.]+) to ([\d.]+)\)", card
    )
    figure, low, high = map(float, mean.groups())
    assert figure == round(100 * row.r1.mean, 1) and low < figure < high
    assert "# udon, seed 0" in card and "| glyphs |" in card
    assert "none: initialised at random" in card
    export_stage(stage, tmp_path / "flipped", tta="flip")
    card = (tmp_path / "flipped" / "README.md").read_text()
    assert "No evaluation of this embedding" in card and "mirror image" in card
