"""A stage's folder: files whole or absent, the log append-only, nothing unpickled."""

from __future__ import annotations

import ast
import os
import random
from pathlib import Path

import pytest
import safetensors.torch
import torch

from udonx.common.files import DamagedFileError
from udonx.store.stage import Done, StageFolder, StageModel

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("what", ["best", "state"])
def test_failure_amid_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """A write that fails half-way leaves the old file as it was and no other."""
    folder = StageFolder(tmp_path)
    write, read = (
        (folder.save_best, folder.load_best)
        if what == "best"
        else (folder.save_state, lambda: folder.load_state(torch.device("cpu")))
    )
    write({"a": torch.ones(2)})

    def broken(tensors: object, path: Path, *metadata: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", broken)
    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(OSError, match="No space left"):
        write({"a": torch.zeros(2)})
    assert torch.equal(read()["a"], torch.ones(2))
    assert len(list(tmp_path.iterdir())) == 1


def test_log(tmp_path: Path) -> None:
    """Entries come back in order; an unterminated last line is dropped, and a cut at a kept length
    makes room for the next entry.
    """
    folder = StageFolder(tmp_path)
    assert folder.read_log() == [] and folder.log_size() == 0
    folder.cut_log(0)
    folder.log({"step": 1})
    size = folder.log_size()
    folder.log({"step": 2})
    with open(tmp_path / "log.jsonl", "a") as handle:
        handle.write('{"step": 3')
    assert folder.read_log() == [{"step": 1}, {"step": 2}]
    folder.cut_log(size)
    folder.log({"step": 7})
    assert folder.read_log() == [{"step": 1}, {"step": 7}]


def test_life_of_a_stage(tmp_path: Path) -> None:
    """A folder is started while it holds a checkpoint, and done, without one, from done.json on."""
    folder = StageFolder(tmp_path / "stage")
    assert folder.done is None and not folder.started
    model = StageModel(
        id="x",
        data={"cars": "1"},
        plugins=[],
        spec={"seed": 0},
        classes={"cars": 2},
        class_ids={"cars": [4, 7]},
    )
    folder.write_spec({"id": "x", "seed": 0}, model)
    assert folder.read_model() == model and 'id = "x"' in (folder.path / "stage.toml").read_text()
    folder.save_state({"step": 3})
    assert folder.started and folder.load_state(torch.device("cpu")) == {"step": 3}
    done = Done(
        steps=3,
        images=6,
        seconds=1.5,
        best_step=2,
        best_r1=0.25,
        weights=folder.save_best({"a": torch.ones(2)}),
    )
    folder.finish(done)
    assert folder.done == done and not folder.started


def finished(path: Path) -> StageFolder:
    """A finished stage with weights and a log."""
    folder = StageFolder(path)
    weights = folder.save_best({"a": torch.arange(64.0)}, {"step": 2, "stage": "x"})
    folder.log({"step": 1})
    folder.finish(Done(steps=3, images=6, seconds=1.5, best_step=2, best_r1=0.25, weights=weights))
    return folder


def test_tied_weights(tmp_path: Path) -> None:
    """Tensors that share memory, whole or in part, are kept and come back as they were."""
    whole = torch.arange(6.0).reshape(2, 3)
    tensors = {"a": whole, "tied": whole, "row": whole[1], "turned": whole.T}
    StageFolder(tmp_path).save_best(tensors)
    back = StageFolder(tmp_path).load_best()
    assert back.keys() == tensors.keys() and all(
        torch.equal(back[name], value) for name, value in tensors.items()
    )


def test_equal_weights_are_equal_files(tmp_path: Path) -> None:
    """The same weights with the same metadata are the same bytes, in whatever order the metadata
    were given.
    """
    about = {"step": 8, "stage": "x", "validation_r1": 0.5}
    ours = [
        StageFolder(tmp_path / str(turn)).save_best(
            {"a": torch.ones(2)}, dict(sorted(about.items(), reverse=turn % 2))
        )
        for turn in range(8)
    ]
    assert len(set(ours)) == 1


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "missing", "pipe", "folder"])
def test_damaged_weights(tmp_path: Path, damage: str) -> None:
    """Weights that are not those that were written are refused in one sentence that names the file
    and the cure; all but a change that keeps their size are noticed by the look that every command
    takes.
    """
    folder = finished(tmp_path)
    content = bytearray(folder.best.read_bytes())
    content[-20] ^= 1
    folder.best.unlink()
    if damage in ("flipped", "cut", "empty"):
        folder.best.write_bytes({"flipped": content, "cut": content[:-9], "empty": b""}[damage])
    elif damage != "missing":
        (os.mkfifo if damage == "pipe" else os.mkdir)(folder.best)
    with pytest.raises(
        DamagedFileError, match=r"best\.safetensors .*; train the stage again with --fresh"
    ):
        folder.load_best()
    assert (folder.problem is None) == (damage == "flipped")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"steps": 1}', "9" * 5000, None])
def test_damaged_done(tmp_path: Path, text: str | None) -> None:
    """A done.json that is not what was written is refused in one sentence, and a pipe in its place
    is not waited for.
    """
    folder = finished(tmp_path)
    file = tmp_path / "done.json"
    if text is None:
        file.unlink()
        os.mkfifo(file)
    else:
        file.write_text(text)
    with pytest.raises(
        DamagedFileError, match=r"done\.json .*train the stage again with --fresh"
    ) as caught:
        _ = folder.done
    assert folder.problem == str(caught.value) and "\n" not in folder.problem


def test_a_flipped_bit_of_a_checkpoint(tmp_path: Path) -> None:
    """Whichever bit of a checkpoint is flipped, it is refused or comes back as it was written;
    never as something else.
    """
    folder, chance = StageFolder(tmp_path), random.Random(0)
    folder.save_state({"step": 3, "model": {"a": torch.arange(256.0)}})
    content, refused = (tmp_path / "state.pt").read_bytes(), 0
    for bit in chance.sample(range(8 * len(content)), 60):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / "state.pt").write_bytes(flipped)
        try:
            state = folder.load_state(torch.device("cpu"))
        except DamagedFileError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            assert state["step"] == 3 and torch.equal(state["model"]["a"], torch.arange(256.0))
    assert refused > 20


@pytest.mark.parametrize("name", ["state.pt", "log.jsonl"])
def test_pipes(tmp_path: Path, name: str) -> None:
    """A pipe in place of a checkpoint or a log is refused, and nothing waits for it."""
    folder = StageFolder(tmp_path)
    os.mkfifo(tmp_path / name)
    reads = (
        [lambda: folder.load_state(torch.device("cpu"))]
        if name == "state.pt"
        else [folder.read_log, folder.log_size, lambda: folder.cut_log(0)]
    )
    for read in reads:
        with pytest.raises(DamagedFileError, match=f"{name} is no regular file"):
            read()


def test_what_an_earlier_version_wrote(tmp_path: Path) -> None:
    """Stages of the revision before digests are read: no digest, no weights in done.json, log lines
    without a checksum.
    """
    folder = StageFolder(tmp_path)
    safetensors.torch.save_file({"a": torch.ones(2)}, folder.best)
    (tmp_path / "done.json").write_text(
        '{"steps": 8, "images": 64, "seconds": 1.5, "best_step": 2, "best_r1": 0.25, "batches":'
        ' {"cars": 8}}'
    )
    (tmp_path / "model.json").write_text(
        '{"id": "x", "data": {}, "plugins": [], "spec": {"seed": 0}, "classes": {},'
        ' "class_ids": {}}'
    )
    (tmp_path / "log.jsonl").write_text('{"step": 1, "total": 2.5}\n')
    assert (folder.done.steps, folder.done.weights, folder.read_model().spec) == (
        8,
        None,
        {"seed": 0},
    )
    assert torch.equal(folder.load_best()["a"], torch.ones(2)) and folder.read_log() == [
        {"step": 1, "total": 2.5}
    ]


def test_tidy(tmp_path: Path) -> None:
    """A checkpoint beside done.json, of a process that was killed between the two, goes; one of a
    stage that is not finished stays.
    """
    done, going = finished(tmp_path / "done"), StageFolder(tmp_path / "going")
    for folder in (done, going):
        folder.save_state({"step": 3})
        folder.tidy()
    assert (done.started, going.started) == (False, True)


def test_state_is_not_unpickled(tmp_path: Path) -> None:
    """A checkpoint with anything but tensors and plain data is refused."""
    torch.save({"step": Path("x")}, tmp_path / "state.pt")
    with pytest.raises(DamagedFileError, match=r"state\.pt is damaged \(Weights only load failed"):
        StageFolder(tmp_path).load_state(torch.device("cpu"))


def test_nothing_unpickles() -> None:
    """No code of the packages calls torch.load without weights_only=True, or imports pickle."""
    calls = 0
    for file in [*ROOT.glob("udonx/**/*.py"), *ROOT.glob("registry/**/*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not {"pickle", "cPickle", "dill", "joblib"} & {
                    name.split(".")[0] for name in names
                }, f"{file}:{node.lineno}"
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "torch.load",
                "load_state_dict_from_url",
                "np.load",
                "numpy.load",
            ):
                calls += 1
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                safe = (
                    given.get("weights_only") == "True"
                    if ast.unparse(node.func) == "torch.load"
                    else given.get("allow_pickle", "False") == "False"
                )
                assert safe, f"{file}:{node.lineno}"
    assert calls
