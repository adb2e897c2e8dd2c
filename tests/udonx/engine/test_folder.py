"""A stage's folder: files whole or absent, the log append-only, nothing unpickled."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import safetensors.torch
import torch

from udonx.engine.folder import StageFolder

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("what", ["best", "state"])
def test_failure_amid_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """A write that fails half-way leaves the old file as it was and no other."""
    folder = StageFolder(tmp_path)
    write, read = (
        (folder.save_best, folder.load_best) if what == "best" else (folder.save_state, lambda: folder.load_state(torch.device("cpu")))
    )
    write({"a": torch.ones(2)})

    def broken(tensors: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", broken)
    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(OSError, match="No space left"):
        write({"a": torch.zeros(2)})
    assert torch.equal(read()["a"], torch.ones(2))
    assert len(list(tmp_path.iterdir())) == 1


def test_log(tmp_path: Path) -> None:
    """Entries come back in order; an unterminated last line is dropped, and a cut at a kept length makes room for the next entry."""
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
    folder.write_spec({"id": "x", "seed": 0}, {"id": "x"})
    assert folder.read_model() == {"id": "x"} and 'id = "x"' in (folder.path / "stage.toml").read_text()
    folder.save_state({"step": 3})
    assert folder.started and folder.load_state(torch.device("cpu")) == {"step": 3}
    folder.finish({"steps": 3})
    assert folder.done == {"steps": 3} and not folder.started


def test_state_is_not_unpickled(tmp_path: Path) -> None:
    """A checkpoint with anything but tensors and plain data is refused."""
    torch.save({"step": Path("x")}, tmp_path / "state.pt")
    with pytest.raises(Exception, match="weights_only"):
        StageFolder(tmp_path).load_state(torch.device("cpu"))


def test_nothing_unpickles() -> None:
    """No code of the packages calls torch.load without weights_only=True, or imports pickle."""
    calls = 0
    for file in [*ROOT.glob("udonx/**/*.py"), *ROOT.glob("registry/**/*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not {"pickle", "cPickle", "dill", "joblib"} & {name.split(".")[0] for name in names}, f"{file}:{node.lineno}"
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "load_state_dict_from_url", "np.load", "numpy.load"):
                calls += 1
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                safe = (
                    given.get("weights_only") == "True"
                    if ast.unparse(node.func) == "torch.load"
                    else given.get("allow_pickle", "False") == "False"
                )
                assert safe, f"{file}:{node.lineno}"
    assert calls
