"""Plug-ins: the only code that an experiment file can run."""

from __future__ import annotations

import importlib
import itertools
import sys

import pytest

from registry import losses, source
from registry.contracts import ComponentSpec
from registry.registry import RegistryError
from tests.tiny import write_experiment
from udonx.common.console import logging_to_stderr
from udonx.config import plugins, specs
from udonx.config.experiment import load_experiment
from udonx.config.plugins import load_plugins
from udonx.config.problems import ConfigError
from udonx.inputs.open import resolve_weights
from udonx.planning.plan import row_evaluations

_number = itertools.count()


def loss_file(folder, extra: str = "") -> tuple[str, str]:
    """A user's own file with one loss; returns its name and the loss's."""
    number = next(_number)
    name = f"plugged_{number}"
    (folder / f"my_{name}.py").write_text(
        f'from registry import losses\n{extra}\n@losses.register("{name}")\nclass Mine:\n   '
        ' """Mine."""\n\n    def __init__(self, *, sharpness: float = 2.0) -> None:\n       '
        " self.sharpness = sharpness\n\n    def __call__(self, student, teacher, batch):\n       "
        " return self.sharpness * (student.embedding_BD.float() ** 2).mean()\n"
    )
    return f"my_{name}.py", name


def test_a_file_beside_the_experiment_adds_a_loss(tmp_path, logged):
    """`plugins = [...]` in the file imports it, said first, and its options are validated like a
    built-in's.
    """
    file, name = loss_file(tmp_path)
    text = f'plugins = ["{file}"]\n[rows.a]\nscheme = "udon"\nsampler = "uniform"\n'
    text += f'[rows.a.losses]\nmine = {{ use = "{name}", sharpness = %s }}\n'
    experiment = load_experiment(write_experiment(tmp_path, text % 3.0), setting="smoke")
    assert len(logged) == 1 and logged[0].startswith("plug-in ") and logged[0].endswith(file)
    assert experiment.plugins == (file,)
    assert experiment.rows[0].spec.recipe.losses[-1].options == {"sharpness": 3.0}
    with pytest.raises(ConfigError, match=r'losses\.mine\.sharpness: got "x", allowed is float'):
        load_experiment(write_experiment(tmp_path, text % '"x"'), setting="smoke")


def test_a_plug_in_of_the_command_is_looked_up_from_the_working_directory(
    tmp_path, monkeypatch, logged
):
    """--plugin FILE is relative to where the command runs, and imported once however often it is
    named.
    """
    file, name = loss_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert load_plugins([file, str(tmp_path / file)], None, where="--plugin") == [
        file,
        str(tmp_path / file),
    ]
    assert logged == [f"plug-in {file}"]
    assert name in losses.names()


def test_a_plug_in_is_logged_before_it_is_imported(tmp_path, capsys):
    """The line stands before anything that the plug-in prints itself."""
    file, _ = loss_file(tmp_path, "import sys; print('imported', file=sys.stderr)")
    with logging_to_stderr():
        load_plugins([file], tmp_path, where="here")
    assert capsys.readouterr().err.split("\n")[1] == "imported"


def test_refused_plug_ins_are_not_imported(tmp_path):
    """--no-plugins refuses those of the file and of the command, and imports nothing."""
    file, name = loss_file(tmp_path)
    path = write_experiment(tmp_path, f'plugins = ["{file}"]\n[rows.a]\nscheme = "udon"\n')
    with pytest.raises(
        ConfigError, match=f"{file}: plug-ins are refused by --no-plugins; nothing was imported"
    ):
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
    assert str(caught.value).startswith("2 problems") and f"table.toml: plugins: {file}" in str(
        caught.value
    )
    assert message in str(caught.value)
    assert (
        "not_there.py: there is no such file beside the experiment file or in the working directory"
        in str(caught.value)
    )


LOSS = """
from registry import losses
{imports}
@losses.register("{name}")
class Mine:
    def __call__(self, branch, batch):
        return {value}
"""


def write_loss(folder, name: str, value: str = "1.0", imports: str = "") -> str:
    """A plug-in with the loss `name`, which returns `value`; returns the file's name."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}_file.py").write_text(LOSS.format(name=name, value=value, imports=imports))
    return f"{name}_file.py"


def loaded(folder, file: str) -> tuple[float, str]:
    """What the loss of a plug-in gives after it is loaded, and its identity."""
    name = file.removesuffix("_file.py")
    load_plugins([file], folder, where="here")
    return losses.get(name)()(None, None), specs.source_hash("losses", name)


def test_an_edited_plug_in_is_imported_again(tmp_path, logged):
    """Within one process, at once, and with the same length: identity and code are those of the
    edited file; it is logged.
    """
    first = loaded(tmp_path, write_loss(tmp_path, "one", "1.0"))
    again = loaded(tmp_path, "one_file.py")
    edited = loaded(tmp_path, write_loss(tmp_path, "one", "5.0"))
    assert (first[0], edited[0]) == (1.0, 5.0) and first == again and first[1] != edited[1]
    assert len(logged) == 2 and logged[1].endswith(
        "one_file.py, again: it, or a file that it imports, was edited"
    )


def test_a_plug_in_imports_the_file_beside_it_and_is_known_by_it(tmp_path):
    """Without PYTHONPATH; an edited helper is another identity, and is imported again with what
    uses it.
    """
    (tmp_path / "a_helper.py").write_text("P = 1.0")
    file = write_loss(tmp_path, "two", "P", "from a_helper import P")
    first = loaded(tmp_path, file)
    (tmp_path / "a_helper.py").write_text("P = 5.0")
    edited = loaded(tmp_path, file)
    assert (first[0], edited[0]) == (1.0, 5.0) and first[1] != edited[1]


def test_a_helper_that_is_imported_late_counts(tmp_path):
    """A helper that only a function imports is found beside the plug-in and is part of its
    identity.
    """
    (tmp_path / "late_helper.py").write_text("P = 1.0")
    file = write_loss(
        tmp_path, "three", "f()", "def f():\n    import late_helper\n    return late_helper.P"
    )
    first = loaded(tmp_path, file)
    (tmp_path / "late_helper.py").write_text("P = 5.0")
    edited = loaded(tmp_path, file)
    assert (first[0], edited[0]) == (1.0, 5.0) and first[1] != edited[1]


def test_the_order_of_plug_ins_changes_no_identity(tmp_path):
    """Two plug-ins that share a helper have the same identities whichever is imported first."""
    (tmp_path / "both_helper.py").write_text("P = 1.0")
    files = [
        write_loss(tmp_path, name, "P", "from both_helper import P") for name in ("four", "five")
    ]
    forward = {file: loaded(tmp_path, file)[1] for file in files}
    plugins.unload_plugins()
    assert {file: loaded(tmp_path, file)[1] for file in reversed(files)} == forward


def test_helpers_of_one_name_do_not_mix(tmp_path):
    """The second of two plug-ins with different helpers of one name is refused with both files;
    nothing of it stays.
    """
    for folder in ("a", "b"):
        write_loss(tmp_path / folder, f"six_{folder}", "P", "from mixed_helper import P")
        (tmp_path / folder / "mixed_helper.py").write_text(f"P = {ord(folder)}")
    load_plugins(["six_a_file.py"], tmp_path / "a", where="here")
    with pytest.raises(
        ConfigError,
        match=(
            r"imports 'mixed_helper', .*b/mixed_helper\.py, but .*a/mixed_helper\.py has this name"
            r" already"
        ),
    ):
        load_plugins(["six_b_file.py"], tmp_path / "b", where="here")
    assert "six_b" not in losses.names()


def test_a_plug_in_that_failed_is_imported_again(tmp_path, logged):
    """What it registered before it failed is gone, so that the mended file is imported."""
    file = write_loss(tmp_path, "seven")
    (tmp_path / file).write_text((tmp_path / file).read_text() + "raise ValueError('half')")
    with pytest.raises(ConfigError, match="half"):
        load_plugins([file], tmp_path, where="here")
    assert loaded(tmp_path, write_loss(tmp_path, "seven"))[0] == 1.0


def test_a_module_plug_in_is_known_by_its_package(tmp_path, monkeypatch):
    """Another file of the package is part of the identity, and an edit of it imports the package
    again.
    """
    monkeypatch.syspath_prepend(tmp_path)
    write_loss(tmp_path / "my_eight", "eight", "P", "from .part import P")
    for name, text in (("__init__.py", ""), ("part.py", "P = 1.0"), ("other.py", "")):
        (tmp_path / "my_eight" / name).write_text(text)
    seen = []
    for part, other in (("P = 1.0", ""), ("P = 5.0", ""), ("P = 5.0", "# more")):
        (tmp_path / "my_eight" / "part.py").write_text(part)
        (tmp_path / "my_eight" / "other.py").write_text(other)
        load_plugins(["my_eight.eight_file"], None, where="here")
        seen.append((losses.get("eight")()(None, None), specs.source_hash("losses", "eight")))
    assert [value for value, _ in seen] == [1.0, 5.0, 5.0] and len(
        {identity for _, identity in seen}
    ) == 3


def test_what_a_script_imported_before_it_was_edited_is_refused(tmp_path, monkeypatch):
    """Where udonx did not import a component, it does not import it again: the check says what to
    do.
    """
    monkeypatch.syspath_prepend(tmp_path)
    write_loss(tmp_path, "nine")
    importlib.import_module("nine_file")
    write_loss(tmp_path, "nine", "5.0")
    path = write_experiment(
        tmp_path,
        '[rows.a]\nscheme = "classification"\nsampler = "uniform"\nlosses.x = { use = "nine", on ='
        ' "student" }',
    )
    with pytest.raises(
        ConfigError,
        match=(
            r"losses\.x: losses: 'nine' was imported before .*nine_file\.py was edited; start"
            r" Python"
        ),
    ):
        load_experiment(path, setting="smoke")
    losses.registry.forget({"nine_file"})
    source.forget({"nine_file"})
    del sys.modules["nine_file"]


def test_an_experiment_that_was_loaded_before_an_edit_does_not_run_the_edited_code(tmp_path):
    """A spec is built only from the source that it was made for."""
    file = write_loss(tmp_path, "ten")
    spec = ComponentSpec(use="ten", source=loaded(tmp_path, file)[1])
    assert specs.component_of("losses", spec) is losses.get("ten")
    loaded(tmp_path, write_loss(tmp_path, "ten", "5.0"))
    with pytest.raises(
        RegistryError, match=r"losses: 'ten' at .*ten_file\.py:\d+ is not what this stage is of"
    ):
        specs.component_of("losses", spec)


OPTIONS = """
from pathlib import Path
from registry import losses

@losses.register("with_file")
class Mine:
    def __init__(self, *, table: Path, more: list[Path] = ()) -> None:
        self.table = table

    def __call__(self, branch, batch):
        return 1.0
"""


def test_files_that_options_name_count(tmp_path):
    """What a file or a folder holds that an option of type Path names is part of the component's
    identity; a missing one is a problem.
    """
    (tmp_path / "opts.py").write_text(OPTIONS)
    (tmp_path / "folder").mkdir()
    text = 'plugins = ["opts.py"]\n[rows.a]\nscheme = "classification"\nsampler = "uniform"\n'
    text += (
        f'losses.x = {{ use = "with_file", on = "student", table = "{tmp_path}/t.csv", more ='
        f' ["{tmp_path}/folder"] }}\n'
    )
    path = write_experiment(tmp_path, text)
    with pytest.raises(
        ConfigError, match=r"losses\.x: got .*t\.csv, but there is no such file or folder"
    ):
        load_experiment(path, setting="smoke")
    seen = []
    for table, inner in (("1", "1"), ("2", "1"), ("2", "1"), ("2", "2")):
        (tmp_path / "t.csv").write_text(table)
        (tmp_path / "folder" / "a.txt").write_text(inner)
        seen.append(load_experiment(path, setting="smoke").rows[0].spec.recipe.losses[-1].files)
    assert set(seen[0]) == {"table.0", "more.0"}
    assert seen[0] != seen[1] == seen[2] != seen[3] and seen[2]["table.0"] == seen[3]["table.0"]


SCHEME = """
from registry import schemes

@schemes.register("mine")
class Mine:
    {body}
"""
WHOLE = (
    "slots = frozenset(); default_row = {}; fixed_row = {}; teacher = 'none'; branches ="
    " ('student',)"
)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "pass",
            (
                "scheme: 'mine' lacks slots, default_row, fixed_row, teacher, branches, plan; see"
                " Scheme in registry/contracts/protocols.py"
            ),
        ),
        (
            f"{WHOLE}; plan = None; slots = ['losses']",
            r"scheme: 'mine' has the slots \['losses'\], allowed is a set of ",
        ),
        (
            "def __init__(self): raise KeyError('x')",
            "scheme: 'mine' failed while it was built: KeyError: 'x'",
        ),
    ],
)
def test_a_scheme_that_is_none_is_a_problem(tmp_path, body, message):
    """What it lacks is named, before its row is read."""
    (tmp_path / "scheme.py").write_text(SCHEME.format(body=body))
    path = write_experiment(tmp_path, 'plugins = ["scheme.py"]\n[rows.a]\nscheme = "mine"\n')
    with pytest.raises(ConfigError, match=message):
        load_experiment(path, setting="smoke")


def test_a_scheme_that_cannot_plan_is_one_sentence(tmp_path):
    """What its plan raises is a problem of the row."""
    (tmp_path / "scheme.py").write_text(
        SCHEME.format(body=f"{WHOLE}\n    def plan(self, row, facts): return 1 / 0")
    )
    path = write_experiment(tmp_path, 'plugins = ["scheme.py"]\n[rows.a]\nscheme = "mine"\n')
    experiment = load_experiment(path, setting="smoke")
    with pytest.raises(
        ConfigError, match="row a: scheme: 'mine' cannot plan this row: ZeroDivisionError"
    ):
        row_evaluations(experiment, experiment.rows[0], 0, resolve_weights(experiment), ())
