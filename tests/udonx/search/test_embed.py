"""Images to a folder of vectors: what is embedded, kept, gone on with and refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import udonx
from tests.tiny import ROOT
from udonx.cli import main
from udonx.common.json_files import read_json_lines
from udonx.data.errors import DataError
from udonx.engine import embed as engine_embed
from udonx.engine.loaded_model import LoadedModel
from udonx.search import embed as search_embed
from udonx.search.vectors import Vectors, VectorsError

MODEL = "smoke:main"


def write_photos(folder: Path, names: list[str]) -> None:
    for name in names:
        pixels = np.random.default_rng(len(name) * 97 + ord(name[-5])).integers(
            0, 256, (40, 48, 3), dtype=np.uint8
        )
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eleven images in two folders, embedded four at a time."""
    monkeypatch.setattr(engine_embed, "BATCH", 4)
    folder = tmp_path / "photos"
    write_photos(folder, [f"{kind}/{letter}.png" for kind in ("one", "two") for letter in "abcde"])
    write_photos(folder, ["z.png"])
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def forbid_embedding(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The images of each later call that embeds."""
    calls, real = [], search_embed.embed_batches

    def embed_batches(embedder, images, *args, **kwargs):
        calls.append([Path(image).name for image in images])
        return real(embedder, images, *args, **kwargs)

    monkeypatch.setattr(search_embed, "embed_batches", embed_batches)
    return calls


def test_vectors_are_those_of_the_model(photos: Path, tmp_path: Path) -> None:
    """Each image's vector is what `load_model(...).embed` gives, under its path below the root."""
    made = udonx.embed(MODEL, photos, out=tmp_path / "v", device="cpu")
    kept, model = Vectors.open(tmp_path / "v"), LoadedModel(MODEL)
    assert (made.count, made.new, made.unreadable, made.folder) == (11, 11, {}, tmp_path / "v")
    assert kept.paths[0] == "one/a.png" and kept.paths[-1] == "z.png" and kept.root == photos
    assert kept.model == made.model == model.identity() and kept.vectors.dtype == np.float32
    np.testing.assert_allclose(kept.vectors, model.embed(kept.files), atol=1e-6)
    assert set(content(tmp_path / "v")) == {"images.jsonl", "vectors.json", "vectors.npy"}


@pytest.mark.parametrize("storage", ["parquet", "safetensors"])
def test_another_form_half_the_size(photos: Path, tmp_path: Path, storage: str) -> None:
    """Form, type, branch and flip are those that are asked for, at once and when more is added."""
    form = {"storage": storage, "dtype": "float16", "tta": "flip", "device": "cpu"}
    udonx.embed(MODEL, photos / "one", out=tmp_path / "v", **form)
    udonx.embed(MODEL, photos, out=tmp_path / "v", **form)
    kept, model = Vectors.open(tmp_path / "v"), LoadedModel(MODEL)
    assert (kept.vectors.dtype, kept.model.tta, len(kept)) == (np.float16, "flip", 11)
    np.testing.assert_allclose(kept.vectors, model.embed(kept.files, tta="flip"), atol=1e-3)


def test_only_new_and_changed_images_are_embedded_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More images join those that are there, in the order of their names; a changed one is embedded
    anew; with nothing new no file is touched.
    """
    udonx.embed(MODEL, photos / "two", out=tmp_path / "v", device="cpu")
    calls = forbid_embedding(monkeypatch)
    made = udonx.embed(MODEL, [photos / "z.png", photos], out=tmp_path / "v", device="cpu")
    assert calls == [["a.png", "b.png", "c.png", "d.png", "e.png", "z.png"]]
    assert (made.count, made.new) == (11, 6)
    write_photos(photos, ["two/c.png"])
    Image.new("RGB", (32, 32), "red").save(photos / "two" / "c.png")
    assert udonx.embed(MODEL, photos, out=tmp_path / "v", device="cpu").new == 1
    assert calls[1:] == [["c.png"]]
    kept = Vectors.open(tmp_path / "v")
    assert kept.paths[0] == "one/a.png" and kept.paths[-1] == "z.png"
    np.testing.assert_allclose(kept.vectors, LoadedModel(MODEL).embed(kept.files), atol=1e-6)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "v").iterdir()}
    assert udonx.embed(MODEL, photos, out=tmp_path / "v", device="cpu").new == 0
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "v").iterdir()} == before


KILLED = """
import os, signal, sys
from udonx.engine import embed as engine_embed
from udonx.search import partial, vectors
engine_embed.BATCH = 4
def kill_at(module, name, when):
    real, count = getattr(module, name), [0]
    def wrapper(*args, **kwargs):
        count[0] += 1
        if count[0] == when:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    setattr(module, name, wrapper)
place, when = sys.argv[1].split(":")
if place == "batch":
    kill_at(partial, "append_json_line", int(when))
elif place == "ready":
    kill_at(vectors, "write_json", int(when))
else:
    kill_at(vectors, "install", int(when))
from udonx.cli import main
main(["embed", *sys.argv[2:]])
"""


@pytest.mark.parametrize("moment", ["batch:3", "ready:1", "install:2"])
def test_a_killed_process_is_gone_on_with_to_the_same_bytes(
    photos: Path, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between numbers and line of a batch, before the new files are whole, or before they
    are put in place: the same call ends in the files of an undisturbed one, nothing left over.
    """
    (photos / "two" / "bb.png").write_text("no image")
    udonx.embed(MODEL, photos, out=tmp_path / "undisturbed", device="cpu")
    arguments = [MODEL, str(photos), "--out", str(tmp_path / "v"), "--device", "cpu"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, moment, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    calls = forbid_embedding(monkeypatch)
    assert main(["embed", *arguments]) == 0
    left = {"batch:3": 8, "ready:1": 1, "install:2": 1}[moment]
    assert [len(call) for call in calls] == [left]
    assert content(tmp_path / "v") == content(tmp_path / "undisturbed")


def test_a_stopped_call_keeps_its_batches(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches whose bytes are not what was written are embedded again, the others are not; another
    model is refused meanwhile.
    """

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(search_embed, "write_vectors", stop)
    with pytest.raises(KeyboardInterrupt):
        udonx.embed(MODEL, photos, out=tmp_path / "v", device="cpu")
    monkeypatch.undo()
    monkeypatch.setattr(engine_embed, "BATCH", 4)
    with pytest.raises(VectorsError, match=r"v, which is not finished, holds vectors of .*feature"):
        udonx.embed(MODEL, photos, out=tmp_path / "v", tta="flip", device="cpu")
    numbers = tmp_path / "v" / "partial" / "vectors.f32"
    data = bytearray(numbers.read_bytes())
    data[len(data) * 5 // 11] ^= 1
    numbers.write_bytes(data)
    calls = forbid_embedding(monkeypatch)
    made = udonx.embed(MODEL, photos, out=tmp_path / "v", device="cpu")
    assert (made.new, [len(call) for call in calls]) == (7, [7])
    kept = Vectors.open(tmp_path / "v")
    np.testing.assert_allclose(kept.vectors, LoadedModel(MODEL).embed(kept.files), atol=1e-6)


def test_images_that_cannot_be_read_are_left_out_and_listed(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """What is damaged, too large, missing or no image has no vector and a line in unreadable.jsonl;
    once it is mended it gets its vector; --strict refuses the first of them.
    """
    whole = (photos / "z.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[:99])
    (photos / "text.jpg").write_text("no image")
    Image.new("1", (20_000, 10_000)).save(photos / "bomb.png")
    (photos / "gone.png").symlink_to(photos / "nowhere")
    options = ["--out", str(tmp_path / "v"), "--device", "cpu"]
    assert main(["embed", MODEL, str(photos), *options]) == 0
    told = capsys.readouterr().err
    assert f"{tmp_path / 'v'}: 11 vectors of " in told and ", 11 of them new" in told
    assert f"left out: 4 images, listed in {tmp_path / 'v'}/unreadable.jsonl; the first: " in told
    lines, _ = read_json_lines(tmp_path / "v" / "unreadable.jsonl")
    why = {Path(line["path"]).name: line["why"] for line in lines}
    assert "bomb.png is too large (more than 178,956,970 pixels, allowed" in why["bomb.png"]
    assert "cannot be decoded (no JPEG" in why["text.jpg"]
    assert "cannot be decoded" in why["cut.png"] and "does not exist" in why["gone.png"]
    assert json.loads((tmp_path / "v" / "vectors.json").read_text())["unreadable"] == 4
    for name in ("bomb.png", "text.jpg", "gone.png"):
        (photos / name).unlink()
    with pytest.raises(DataError, match=r"cut.png cannot be decoded"):
        udonx.embed(MODEL, photos, out=tmp_path / "strict", strict=True, device="cpu")
    (photos / "cut.png").write_bytes(whole)
    assert main(["embed", MODEL, str(photos), *options, "--strict"]) == 0
    assert len(Vectors.open(tmp_path / "v")) == 12
    assert not (tmp_path / "v" / "unreadable.jsonl").exists()


def test_bad_input_is_one_sentence(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """No model, a picture that is none, a folder of other things, vectors of another model, form or
    other images: refused with exit code 2 and nothing written.
    """
    assert main(["embed", MODEL, str(photos), "--out", str(tmp_path / "v"), "--device", "cpu"]) == 0
    before = content(tmp_path / "v")
    capsys.readouterr()
    (tmp_path / "none.jpg").write_text("no image")
    given, out, new = str(photos), str(tmp_path / "v"), str(tmp_path / "new")
    for arguments, sentence in (
        (["results/stages/0", given, "--out", new], "is neither here nor a model of timm"),
        ([MODEL, str(tmp_path / "none.jpg"), "--out", new], "none of the 1 images can be read"),
        ([MODEL, given, "--out", given], "is not empty and holds no vectors (it holds one, two,"),
        ([MODEL, given, "--out", out, "--tta", "flip"], "holds vectors of smoke:main (feature"),
        ([MODEL, given, "--out", out, "--dtype", "float16"], "give --format npy --dtype float32"),
        ([MODEL, f"{given}/one", "--out", out], "of 6 images that are not given now, such as"),
        ([MODEL, given, "--out", new, "--branch", "student"], "has no branch 'student'; it has"),
        ([MODEL, given, "--out", f"{given}/z.png"], "--out: "),
        ([MODEL, given, "--out", new, "--device", "cuda:99"], "--device: got cuda:99"),
    ):
        assert main(["embed", *arguments]) == 2
        told = capsys.readouterr().err
        assert sentence in told and "udonx embed: " in told
        assert "Traceback" not in told
    assert content(tmp_path / "v") == before and not (tmp_path / "new").exists()
    options = ["--tta", "flip", "--dtype", "float16", "--overwrite", "--device", "cpu"]
    assert main(["embed", MODEL, f"{given}/one", "--out", out, *options]) == 0
    assert (len(Vectors.open(out)), Vectors.open(out).model.tta) == (5, "flip")


def test_a_full_disk_is_one_sentence(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """What was embedded stays, and the same command goes on."""
    real = search_embed.PartialVectors.append
    calls = []

    def append(self, images, vectors_BD):
        calls.append(len(images))
        if len(calls) == 2:
            raise OSError(28, "No space left on device", str(self.folder))
        real(self, images, vectors_BD)

    monkeypatch.setattr(search_embed.PartialVectors, "append", append)
    arguments = ["embed", MODEL, str(photos), "--out", str(tmp_path / "v"), "--device", "cpu"]
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert "partial: No space left on device; free some space on that disk; what was" in told
    assert main(arguments) == 0
    assert calls == [4, 4, 4, 3]


def test_two_processes_do_not_write_one_folder(photos: Path, tmp_path: Path) -> None:
    """While another process holds the folder, a second is refused and says who."""
    lock = search_embed.StageLock(tmp_path / "v" / "partial")
    assert lock.acquire()
    with lock, pytest.raises(VectorsError, match=rf"process {os.getpid()} on .* is writing there"):
        udonx.embed(MODEL, photos, out=tmp_path / "v", device="cpu")
