"""The command line: exit codes, what goes to stdout, what to stderr."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from tests.tiny import ROOT, SETTING, python, write_domain, write_experiment
from udonx import cli
from udonx.cli import main
from udonx.config.descriptions import REGISTRIES
from udonx.running import doctor

TABLE3 = str(ROOT / "experiments" / "table3_ablation.toml")
SMOKE = [TABLE3, "--setting", "smoke"]
ONE_ROW = '[rows.a]\nscheme = "udon"\nsampler = "round_robin"\n'


def stamps(results: Path) -> dict[str, int]:
    """When each file of the stages was written last."""
    return {
        str(path): path.stat().st_mtime_ns
        for path in (results / "stages").rglob("*")
        if path.name != "lock"
    }


def test_help_and_version_end_well(capsys):
    """Without a command the help is printed; --version names the version."""
    assert main([]) == 0
    assert "Run experiments" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("udonx 0.")


def test_help_imports_nothing_heavy():
    """`udonx --help` is quick because it imports no command."""
    code = "import sys\nfrom udonx.cli import main\nassert main(['--help']) == 0\n"
    code += "print([name for name in ('torch', 'pydantic', 'numpy') if name in sys.modules])"
    assert python(code).endswith("[]")


def test_check_finds_no_problem_in_table3(capsys):
    """A good file is one line and exit status 0."""
    assert main(["check", *SMOKE]) == 0
    assert capsys.readouterr().out.endswith("7 rows on setting 'smoke': no problem found\n")


def test_check_reports_all_files_at_once(tmp_path, capsys):
    """Problems of several files are one numbered report on stderr and exit status 2; a missing file
    names its neighbour.
    """
    one = write_experiment(tmp_path, '[rows.a]\nscheme = "udn"\n', "one.toml")
    two = write_experiment(tmp_path, '[rows.a]\nscheme = "udon"\nsamplr = "uniform"\n', "two.toml")
    assert main(["check", str(one), str(two), str(tmp_path / "tow.toml")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "udonx check: 4 problems; nothing was started" in err
    assert (
        "did you mean 'udon'" in err
        and "did you mean 'sampler'" in err
        and "there is no such file; " in err
        and "'two.toml'" in err
    )


def test_check_takes_a_folder(tmp_path, capsys):
    """A folder stands for its experiment files; one without any is told."""
    write_experiment(tmp_path / "files", ONE_ROW, "one.toml")
    assert main(["check", str(tmp_path / "files"), "--setting", "smoke"]) == 0
    (tmp_path / "empty").mkdir()
    assert main(["check", str(tmp_path / "empty")]) == 2
    assert "this folder holds no experiment file" in capsys.readouterr().err


def test_bad_arguments_exit_2(capsys):
    """A command line that makes no sense ends in one sentence, with what was meant."""
    for arguments, message in (
        (["rnu"], 'udonx: Unknown command "rnu". Did you mean "run"?'),
        (["data", "spilt"], 'udonx data: Unknown command "spilt". Did you mean "split"?'),
        (["check"], "udonx check: Command"),
        (["check", TABLE3, "--stting", "smoke"], "option: --stting. Did you mean --setting?"),
        (
            ["check", TABLE3, "--seeds", "a"],
            "--seeds: got 'a', allowed are whole numbers such as 0,1,2",
        ),
    ):
        assert main(arguments) == 2
        out, err = capsys.readouterr()
        assert out == "" and message in err and err.count("\n") == 1


def test_a_command_is_one_file_and_one_line(tmp_path, monkeypatch, capsys):
    """A function of the command's name in a file of its name, and what it does in COMMANDS."""
    (tmp_path / "greet.py").write_text(
        "from typing import Annotated\nfrom cyclopts import Parameter\n"
        'Name = Annotated[str, Parameter(help="who is greeted")]\n'
        'def greet(*, name: Name = "you"):\n    print(f"hello {name}")\n'
    )
    monkeypatch.setattr(cli, "__path__", [*cli.__path__, str(tmp_path)])
    monkeypatch.setitem(cli.COMMANDS, "greet", "Greet somebody.")
    assert main(["--help"]) == 0 and "Greet somebody." in capsys.readouterr().out
    assert main(["greet", "--help"]) == 0 and "who is greeted" in capsys.readouterr().out
    assert main(["greet", "--name", "Ada"]) == 0 and capsys.readouterr().out == "hello Ada\n"
    assert main(["greet", "--nmae", "Ada"]) == 2
    assert "udonx greet: Unknown option: --nmae. Did you mean --name?" in capsys.readouterr().err


def test_the_shell_can_complete_commands(tmp_path, monkeypatch, capsys):
    """--install-completion writes what the shell needs to complete commands and options."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["--install-completion", "--shell", "bash"]) == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any("--checkpoint-minutes" in path.read_text() for path in files)


def test_show_prints_a_runnable_file(tmp_path, capsys):
    """What show prints is TOML that check accepts."""
    assert main(["show", *SMOKE, "--row", "udon", "--set", "budget.steps=3"]) == 0
    text = capsys.readouterr().out
    assert tomllib.loads(text)["rows"]["udon"]["budget"]["steps"] == 3
    assert main(["check", str(write_experiment(tmp_path, text))]) == 0


def test_plan_says_what_is_shared_and_what_is_trained(smoke_run, tmp_path, capsys):
    """One line per stage with state, steps and images, then what is left."""
    assert main(["plan", *SMOKE, "--results", str(smoke_run.results)]) == 0
    assert (
        "16 stages, 16 already trained; left to train: 0 stages, 0 steps, 0 images"
        in capsys.readouterr().out
    )
    assert (
        main(["plan", *SMOKE, "--results", str(tmp_path), "--seeds", "0,1", "--device", "cpu"]) == 0
    )
    out = capsys.readouterr().out
    # 14 stages with a seed, twice, and 2 without; 8 + 16 + 16 + 8 + 8 steps of 8 images a seed
    assert "30 stages, 0 already trained; left to train: 30 stages, 112 steps, 896 images" in out
    # what the smoke run has measured: an estimate for every stage
    assert (
        "896 images, about " in out and out.endswith("(evaluations included)\n") and "?" not in out
    )
    assert main(["plan", TABLE3, TABLE3, "--setting", "smoke", "--results", str(tmp_path)]) == 0
    assert "(shared)" in capsys.readouterr().out


def test_a_second_run_trains_nothing(smoke_run, capsys):
    """Everything is there: the same table comes from what is stored, no stage is touched, no run is
    added.
    """
    before, runs = stamps(smoke_run.results), (smoke_run.results / "runs.jsonl").read_bytes()
    assert main(["run", *SMOKE, "--results", str(smoke_run.results), "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == smoke_run.table.to_text()
    assert err.count("already there") == 7 and "table, CSV and JSON in" in err
    assert (
        stamps(smoke_run.results) == before
        and (smoke_run.results / "runs.jsonl").read_bytes() == runs
    )


def test_table_runs_nothing(smoke_run, tmp_path, capsys):
    """The table comes from what is stored; where nothing is stored, its rows are said to be not
    run; a folder that is not there is told.
    """
    before = stamps(smoke_run.results)
    assert main(["table", *SMOKE, "--results", str(smoke_run.results)]) == 0
    assert capsys.readouterr().out.strip() == smoke_run.table.to_text()
    assert stamps(smoke_run.results) == before
    stored = str(smoke_run.results / "tables")
    for form, printed in (
        ("markdown", smoke_run.table.to_markdown()),
        ("latex", smoke_run.table.to_latex()),
        ("csv", smoke_run.table.to_csv()),
        ("json", smoke_run.table.to_json()),
    ):
        assert main(["table", stored, "--format", form]) == 0
        assert capsys.readouterr().out.strip() == printed.strip()
    (tmp_path / "empty").mkdir()
    assert main(["table", *SMOKE, "--results", str(tmp_path / "empty")]) == 0
    assert re.search(r"not run yet: .*UDON", capsys.readouterr().out) and not list(
        (tmp_path / "empty").iterdir()
    )
    assert main(["table", *SMOKE, "--results", str(tmp_path / "none")]) == 2
    assert "there is no such folder, so nothing has been run with it" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_fresh_trains_again(smoke_run, tmp_path, capsys):
    """--fresh trains the stages of the rows that are asked for again, and no other; the numbers are
    the same.
    """
    results = tmp_path / "results"
    shutil.copytree(smoke_run.results, results)
    before = stamps(results)
    assert (
        main(
            [
                "run",
                *SMOKE,
                "--results",
                str(results),
                "--row",
                "udon",
                "--fresh",
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    again, first = (
        capsys.readouterr().out.split("\n")[4:9],
        smoke_run.table.to_text().split("\n")[3:8],
    )
    # all but the minutes
    assert [line.rpartition(" ")[0] for line in again] == [
        line.rpartition(" ")[0] for line in first
    ]
    (stage,) = smoke_run.table.row("udon").stages
    changed = {
        path.split("/stages/")[1].split("/")[0]
        for path, stamp in stamps(results).items()
        if before.get(path) != stamp
    }
    assert changed == {stage}


def test_run_reports_preflight_problems_and_starts_nothing(tmp_path, capsys):
    """What only the data tells is exit status 2 as well, with nothing in the results folder."""
    write_domain(tmp_path / "data", "cars")
    (tmp_path / "data" / "images" / "cars" / "test_0.png").unlink()
    file = write_experiment(tmp_path, SETTING + ONE_ROW)
    assert (
        main(
            [
                "run",
                str(file),
                "--data",
                str(tmp_path / "data"),
                "--results",
                str(tmp_path / "results"),
                "--device",
                "cpu",
            ]
        )
        == 2
    )
    assert "domain 'cars': 1 image is not below" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("command", ["run", "plan"])
def test_an_unknown_device_is_told(command, tmp_path, capsys):
    """A device that is not there is exit status 2, not a traceback."""
    assert main([command, *SMOKE, "--results", str(tmp_path), "--device", "cuda:99"]) == 2
    assert "cuda:99" in capsys.readouterr().err


def test_components_lists_options_types_and_places(capsys):
    """All kinds, one kind, one component; unknown ones are exit status 2."""
    assert main(["components"]) == 0
    out = capsys.readouterr().out
    kinds = [line for line in out.split("\n") if line and not line.startswith(" ")]
    assert kinds == list(REGISTRIES)
    assert main(["components", "losses", "ce"]) == 0
    out = capsys.readouterr().out
    assert (
        "scale = 16.0  (float > 0)" in out
        and "registry/losses/ce.py:" in out
        and "margin = \"normface\"  (one of 'normface'" in out
    )
    assert main(["components", "losses", "kl"]) == 2
    assert main(["components", "loss"]) == 2
    assert "'loss' is no kind of component; there are backbones" in capsys.readouterr().err
    assert main(["components", "optimiser"]) == 2
    assert "for the table of keys: udonx keys optimiser" in capsys.readouterr().err


def test_components_says_what_an_option_is_for(capsys):
    """An option has its sentence below it, and a component its whole first paragraph."""
    assert main(["components", "losses", "ce"]) == 0
    assert (
        "The margin: subtracted from the target's cosine, or added to its angle."
        in capsys.readouterr().out
    )
    assert main(["components", "schemes", "specialists"]) == 0
    assert "no universal embedding." in " ".join(capsys.readouterr().out.split())


def test_show_prints_differences_on_request(capsys):
    """`show --diff` says what the rows change, much shorter than the whole."""
    assert main(["show", *SMOKE, "--diff"]) == 0
    out = capsys.readouterr().out
    assert tomllib.loads(out)["rows"]["udon_dynamic"]["sampler"] == {
        "use": "dynamic",
        "interval": 2,
    }


def test_keys_shows_one_table_or_all(capsys):
    """One table by its name, all of them without a name, and with --markdown the page; an unknown
    one is exit status 2.
    """
    assert main(["keys", "optimiser"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("optimiser: ") and "lr_heads = 0.001" in out and "budget" not in out
    assert main(["keys"]) == 0
    out = capsys.readouterr().out
    assert "teacher_budget = " in out and "lr_heads = 0.001" in out
    assert main(["keys", "--markdown"]) == 0
    assert "| `lr_heads` |" in capsys.readouterr().out
    assert main(["keys", "optimizer"]) == 2
    assert "did you mean 'optimiser'" in capsys.readouterr().err


def test_components_takes_a_plug_in(tmp_path, capsys):
    """--plugin is imported first, and said."""
    (tmp_path / "cli_losses.py").write_text(
        "from registry import losses\n@losses.register('from_cli')\nclass FromCli:\n    '''Of a"
        " plug-in.'''\n    def __call__(self, branch, batch): return 0\n"
    )
    assert (
        main(["components", "losses", "from_cli", "--plugin", str(tmp_path / "cli_losses.py")]) == 0
    )
    out, err = capsys.readouterr()
    assert "from_cli: Of a plug-in." in out and "plug-in " in err


def test_schema_is_json(capsys):
    """The schema is printed as JSON."""
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "udonx experiment"


def test_doctor_looks_at_the_machine(tmp_path, capsys):
    """Versions, the torch pair, Sacred and the disk are looked at; a data folder that is none is
    exit status 1.
    """
    assert main(["doctor", "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "torch and torchvision fit each other" in out and "acred" in out
    assert main(["doctor", "--results", str(tmp_path), "--data", str(tmp_path / "nowhere")]) == 1


def test_doctor_looks_at_the_images_of_a_data_folder(tmp_path, capsys):
    """Headers are opened, and turned images are said with the key; --verify decodes everything,
    names what fails, and is exit status 1.
    """
    write_domain(tmp_path / "data", "cars")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "data" / "images" / "cars" / "train_0.png", exif=exif)
    damaged = tmp_path / "data" / "images" / "cars" / "test_1.png"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    arguments = ["doctor", "--results", str(tmp_path), "--data", str(tmp_path / "data")]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "images: 14 can be opened; damage further on than the header is found by --verify" in out
    assert (
        "1 of 14 images has an EXIF orientation other than upright (cars/train_0.png)" in out
        and "transform.orientation" in out
    )
    assert main([*arguments, "--verify"]) == 1
    assert (
        "BAD  image cars/test_1.png cannot be decoded (image file is truncated"
        in capsys.readouterr().out
    )
    assert main(["doctor", "--results", str(tmp_path), "--verify"]) == 1
    assert "give it with --data DIR" in capsys.readouterr().out


def test_doctor_opens_some_of_very_many_images(tmp_path, monkeypatch, capsys):
    """Where images are many, so many headers are opened, from everywhere, and the sentence says of
    how many.
    """
    write_domain(tmp_path / "data", "cars")
    monkeypatch.setattr(doctor, "_HEADERS", 7)
    main(["doctor", "--results", str(tmp_path), "--data", str(tmp_path / "data")])
    assert "images: 7 of 14 can be opened" in capsys.readouterr().out


def test_export_writes_a_stages_backbone_in_timms_layout(smoke_run, tmp_path, capsys):
    """The exported folder holds the architecture's name; a folder that is no stage is exit status
    2.
    """
    (stage,) = smoke_run.table.row("udon").stages
    assert main(["export", str(smoke_run.results / "stages" / stage), str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architecture"] == "resnet10t"
    assert main(["export", str(tmp_path), str(tmp_path / "out2")]) == 2
    assert "is no trained stage" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "check", "show", "plan", "table", "tune"])
def test_every_experiment_command_takes_the_same_options(command, capsys):
    """One shared set of options, whatever the command."""
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    for option in (
        "setting",
        "data",
        "weights",
        "set",
        "row",
        "seeds",
        "plugin",
        "no-plugins",
    ):
        assert f"--{option}" in out
    # none where it would do nothing
    assert ("--results" in out) == (command != "show")
    assert ("--device" in out) == (command in ("run", "check", "plan", "tune"))
    assert ("--fresh" in out) == (command in ("run", "plan"))


@pytest.mark.parametrize("device", ["tpu", "cuda:", "cuda:x", "CPU", ""])
def test_check_knows_what_a_device_may_be_called(device, capsys):
    """What no machine has is refused before anything is read."""
    assert main(["check", *SMOKE, "--device", device]) == 2
    assert f"--device: got {device!r}, allowed are cpu, cuda and cuda:N" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "foo",
            (
                'results.observers: got "foo", which is no URL; allowed is mongodb://HOST/DATABASE'
                " or a URL of SQLAlchemy"
            ),
        ),
        (
            "sqlite:///runs.db",
            (
                'results.observers: "sqlite:///runs.db" needs the package sqlalchemy; install it'
                ' with pip install "udonx[sql]"'
            ),
        ),
    ],
)
def test_check_sees_observers_that_cannot_be_had(tmp_path, monkeypatch, capsys, url, message):
    """Found by check, as everything that needs no data and no network."""
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    file = write_experiment(
        tmp_path, f'setting = "smoke"\n{ONE_ROW}[results]\nobservers = ["{url}"]\n'
    )
    assert main(["check", str(file)]) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_kind_of_schema_is_told(capsys):
    """The message names the argument as the help does."""
    assert main(["schema", "foo"]) == 2
    assert 'Invalid value "foo" for KIND. Choose from: "experiment", "setting"' in (
        capsys.readouterr().err
    )


def test_plan_fits_the_terminal(tmp_path, monkeypatch, capsys):
    """Where more rows use a stage than a line holds, it says how many more."""
    rows = "".join(
        f'[rows.a_row_with_a_long_name_{number}]\nscheme = "udon"\nsampler = "uniform"\n'
        for number in range(20)
    )
    monkeypatch.setenv("COLUMNS", "150")
    file = write_experiment(tmp_path, 'setting = "smoke"\n' + rows)
    assert main(["plan", str(file), "--results", str(tmp_path / "results"), "--device", "cpu"]) == 0
    line = capsys.readouterr().out.split("\n")[1]
    assert line.endswith("(shared) a_row_with_a_long_name_0 and 19 more") and len(line) <= 150


def test_table_of_a_seed_that_was_not_run_is_empty(smoke_run, capsys):
    """`table --seeds` shows those seeds only; one that was never run shows no figure of another."""
    arguments = [
        "table",
        str(smoke_run.file),
        "--setting",
        "smoke",
        "--results",
        str(smoke_run.results),
        "--seeds",
        "5",
        "--row",
        "udon",
    ]
    assert main(arguments) == 0
    assert re.search(r"not run yet: .*UDON", capsys.readouterr().out)


def test_check_says_which_weights_come_from_the_hub(capsys, tmp_path):
    """Weights that are in no folder are no problem where a hub has them, but a person without a
    network wants to know it beforehand.
    """
    write_domain(tmp_path, "cars")
    arguments = ["check", str(TABLE3), "--setting", "uned_mini", "--data", str(tmp_path)]
    assert main(arguments) == 0
    said = (
        "weights timm/mobilenetv2_100.ra_in1k are in no folder here: run takes them from the hub,"
        " or its cache"
    )
    assert said in capsys.readouterr().err
    assert main(["check", str(TABLE3)]) == 0 and "weights" not in capsys.readouterr().err


@pytest.mark.parametrize("workers", ["-3", "0", "two"])
def test_a_number_of_threads_that_makes_no_sense_is_refused(workers, capsys):
    """Before anything is looked at."""
    assert main(["run", *SMOKE, "--workers", workers]) == 2
    assert "allowed is a whole number from 1 on" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["file", "device", "loop", "below a file"])
def test_a_results_folder_that_is_none_is_refused_at_once(kind, tmp_path, capsys):
    """Not after the first stage was trained."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    results = {
        "file": tmp_path / "file",
        "device": "/dev/null",
        "loop": tmp_path / "loop",
        "below a file": tmp_path / "file" / "results",
    }
    assert main(["run", *SMOKE, "--results", str(results[kind]), "--device", "cpu"]) == 2
    assert "--results: " in capsys.readouterr().err


def test_an_error_of_the_disk_is_one_sentence(monkeypatch, capsys):
    """Quota, stale handles and their kin end like a full disk."""

    def fail(*_: object) -> None:
        raise OSError(122, "Disk quota exceeded", "results/runs.jsonl")

    monkeypatch.setattr("udonx.cli.check.check_files", fail)
    assert main(["check", TABLE3]) == 1
    assert capsys.readouterr().err.startswith(
        "udonx check: results/runs.jsonl: Disk quota exceeded; free some of your quota"
    )


def test_ctrl_c_while_modules_are_imported_ends_like_any_other(monkeypatch, capsys):
    """The first second of a command is spent on imports."""

    def interrupted(*_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.import_module", interrupted)
    assert main(["check", TABLE3]) == 130
    assert "stopped" in capsys.readouterr().err


def test_ctrl_c_before_the_arguments_are_parsed_shows_no_traceback():
    """The command line's own libraries take a while to import."""
    code = """
import sys

class Interrupted:
    def find_spec(self, name, path, target=None):
        if name == "cyclopts":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
from udonx.cli import main
sys.exit(main(["keys"]))
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 130, run.stderr
    assert "stopped" in run.stderr and "Traceback" not in run.stderr


def test_a_title_that_the_terminal_cannot_show_is_escaped(tmp_path):
    """All the work is done by then: a missing letter is no reason to fail."""
    file = write_experiment(tmp_path, 'title = "Schäfer \u2192 Hütte"\n' + ONE_ROW)
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "udonx.cli",
            "table",
            str(file),
            "--setting",
            "smoke",
            "--results",
            str(tmp_path),
        ],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert r"Sch\xe4fer \u2192 H\xfctte" in run.stdout


def test_a_working_directory_that_is_gone_is_said(tmp_path):
    """The shell does not say it."""
    gone = tmp_path / "gone"
    gone.mkdir()
    code = (
        f"import os, sys; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); sys.path.insert(0,"
        f" {str(ROOT)!r}); "
    )
    code += "from udonx.cli import main; sys.exit(main(['run', 'table.toml']))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode in (1, 2) and "Traceback" not in run.stderr, run.stderr
    assert "the working directory has been removed" in run.stderr


def test_a_stored_table_is_shown_without_torch_data_or_experiment_file(smoke_run, tmp_path):
    """`udonx table` takes a table's folder, its table.json, or a folder of tables; it reads nothing
    else and never imports torch.
    """
    folder = tmp_path / "tables" / "table3_ablation" / "smoke"
    shutil.copytree(smoke_run.results / "tables" / "table3_ablation" / "smoke", folder)
    for named in (folder, folder / "table.json", tmp_path / "tables", tmp_path):
        code = (
            f"import sys\nfrom udonx.cli import main\nassert main(['table', {str(named)!r}]) =="
            " 0\nprint('torch' in sys.modules)"
        )
        assert python(code) == f"{smoke_run.table}\nFalse"


def test_the_stored_table_is_shown_where_the_data_are_gone(tmp_path, capsys):
    """Without --data, or where that folder is gone, `udonx table FILE` shows the table as it was
    written, and says why.
    """
    write_domain(tmp_path / "data", "cars")
    file = write_experiment(tmp_path, SETTING + '[rows.a]\nscheme = "off_the_shelf"\n')
    results = ["--results", str(tmp_path / "results")]
    assert (
        main(["run", str(file), "--data", str(tmp_path / "data"), *results, "--device", "cpu"]) == 0
    )
    printed = capsys.readouterr().out
    assert main(["table", str(file), *results]) == 0
    out, err = capsys.readouterr()
    assert (
        out.strip() == printed.strip()
        and "shown as it was written" in err
        and "give it with --data DIR" in err
    )
    (tmp_path / "data").rename(tmp_path / "moved")
    assert main(["table", str(file), "--data", str(tmp_path / "data"), *results]) == 0
    assert capsys.readouterr().out.strip() == printed.strip()
    assert main(["table", str(file), "--setting", "uned_mini", *results]) == 2
    assert "give it with --data DIR" in capsys.readouterr().err


def test_run_says_something_at_once(tmp_path):
    """Before anything heavy is imported: the first line comes with the first second."""
    code = "import logging, sys\nfrom udonx.cli import main\n"
    code += "def show(record):\n    print('torch' in sys.modules, record.msg)\n    sys.exit()\n"
    code += (
        f"logging.getLogger('udonx.cli.run').addFilter(show)\nmain(['run', {TABLE3!r}, '--results',"
        f" {str(tmp_path)!r}])"
    )
    assert python(code).startswith("False looking at files")


def test_one_step_is_one_step(tmp_path, capsys):
    """Counts agree with their words."""
    assert (
        main(
            ["plan", *SMOKE, "--row", "udon", "--set", "budget.steps=1", "--results", str(tmp_path)]
        )
        == 0
    )
    assert "1 stage, 1 step, 8 images" in capsys.readouterr().out
