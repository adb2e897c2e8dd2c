"""Plug-ins: the only code that an experiment file can run."""

from __future__ import annotations

import itertools

import pytest

from registry import losses
from tests.tiny import write_experiment
from udonx.config.experiment import load_experiment
from udonx.config.plugins import load_plugins
from udonx.config.problems import ConfigError

_number = itertools.count()


def loss_file(folder, extra: str = "") -> tuple[str, str]:
    """A user's own file with one loss; returns its name and the loss's."""
    number = next(_number)
    name = f"plugged_{number}"
    (folder / f"my_{name}.py").write_text(
        f'from registry import losses\n{extra}\n@losses.register("{name}")\nclass Mine:\n    """Mine."""\n\n'
        "    def __init__(self, *, sharpness: float = 2.0) -> None:\n        self.sharpness = sharpness\n\n"
        "    def __call__(self, student, teacher, batch):\n"
        "        return self.sharpness * (student.embedding_BD.float() ** 2).mean()\n"
    )
    return f"my_{name}.py", name


def test_a_file_beside_the_experiment_adds_a_loss(tmp_path):
    """`plugins = [...]` in the file imports it, said first, and its options are validated like a built-in's."""
    file, name = loss_file(tmp_path)
    text = f'plugins = ["{file}"]\n[rows.a]\nscheme = "udon"\nsampler = "uniform"\n'
    text += f'[rows.a.losses]\nmine = {{ use = "{name}", sharpness = %s }}\n'
    said: list[str] = []
    experiment = load_experiment(write_experiment(tmp_path, text % 3.0), setting="smoke", say=said.append)
    assert len(said) == 1 and said[0].startswith("plug-in ") and said[0].endswith(file)
    assert experiment.plugins == (file,)
    assert experiment.rows[0].parts["losses"][-1].options == {"sharpness": 3.0}
    with pytest.raises(ConfigError, match=r'losses\.mine\.sharpness: got "x", allowed is float'):
        load_experiment(write_experiment(tmp_path, text % '"x"'), setting="smoke")


def test_a_plug_in_of_the_command_is_looked_up_from_the_working_directory(tmp_path, monkeypatch):
    """--plugin FILE is relative to where the command runs, and imported once however often it is named."""
    file, name = loss_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    assert load_plugins([file, str(tmp_path / file)], None, where="--plugin", say=said.append) == [file, str(tmp_path / file)]
    assert said == [f"plug-in {file}"]
    assert name in losses.names()


def test_a_plug_in_is_said_before_it_is_imported(tmp_path, capsys):
    """The line stands before anything that the plug-in prints itself."""
    file, _ = loss_file(tmp_path, "print('imported')")
    load_plugins([file], tmp_path, where="here", say=print)
    assert capsys.readouterr().out.split("\n")[1] == "imported"


def test_refused_plug_ins_are_not_imported(tmp_path):
    """--no-plugins refuses those of the file and of the command, and imports nothing."""
    file, name = loss_file(tmp_path)
    path = write_experiment(tmp_path, f'plugins = ["{file}"]\n[rows.a]\nscheme = "udon"\n')
    with pytest.raises(ConfigError, match=f"{file}: plug-ins are refused by --no-plugins; nothing was imported"):
        load_experiment(path, setting="smoke", allow_plugins=False)
    assert name not in losses.names()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("raise KeyError('x')", "failed while it was imported: KeyError: 'x'"),
        ("import sys; sys.exit(3)", "failed while it was imported: SystemExit: 3"),
        ("import does_not_exist", "ModuleNotFoundError: No module named 'does_not_exist'"),
    ],
)
def test_a_failing_plug_in_gives_one_sentence(tmp_path, extra, message):
    """Whatever foreign code raises becomes a problem that names the plug-in, beside the others."""
    file, _ = loss_file(tmp_path, extra)
    with pytest.raises(ConfigError) as caught:
        load_plugins([file, "not_there.py"], tmp_path, where="table.toml")
    assert str(caught.value).startswith("2 problems") and f"table.toml: plugins: {file}" in str(caught.value)
    assert message in str(caught.value)
    assert "not_there.py: there is no such file beside the experiment file or in the working directory" in str(caught.value)
