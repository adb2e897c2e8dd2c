"""`udonx data split`: exit codes, what goes to stdout, what to stderr."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.tiny import python, write_classes
from udonx.cli import main


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two domains."""
    for domain in ("cars", "food"):
        write_classes(tmp_path / "photos", domain, {"a": 2, "b": 3, "c": 2, "d": 4, "e": 2})
    return tmp_path / "photos"


def test_the_report_goes_to_stdout_and_progress_to_stderr(photos, tmp_path, capsys):
    """A table, then the command to try; the benchmark is there."""
    assert main(["data", "split", str(photos), "--out", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    assert "domain   train val test   train val test   classes images\n" in out and out.endswith(
        f"--data {tmp_path / 'out'}\n"
    )
    assert (
        f"looking for images in {photos}" in err
        and "opening every image once: 26 images in " in err
    )
    assert (tmp_path / "out" / "info_files" / "cars" / "val.json").is_file()


def test_options_reach_the_split(photos, tmp_path, capsys):
    """Shares, the least number of images and the seed are used as given."""
    arguments = ["--shares", "0.7,0,0.3", "--min-images", "2", "--seed", "7"]
    assert main(["data", "split", str(photos), "--out", str(tmp_path / "out"), *arguments]) == 0
    assert not (tmp_path / "out" / "info_files" / "cars" / "val.json").exists()
    assert (
        main(["data", "split", str(photos), "--out", str(tmp_path / "out2"), "--min-images", "3"])
        == 2
    )
    assert "has 2 usable classes" in capsys.readouterr().err


def test_bad_input_exits_2_and_writes_nothing(photos, tmp_path, capsys):
    """Folders and options that are wrong are told on stderr, after the command's name."""
    for arguments, message in (
        ([str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")], "nowhere is not there"),
        ([str(photos), "--out", str(photos / "out")], "where it would become a domain"),
        ([str(photos), "--out", str(tmp_path / "out"), "--shares", "0.5,0.2,0.2"], "sum to 0.9"),
        ([str(photos / "cars"), "--out", str(tmp_path / "out")], "hold images directly"),
    ):
        assert main(["data", "split", *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == "" and "udonx data split: " in err and message in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "split"], "parameter DIR requires an argument"),
        (["data", "split", "photos"], "parameter --out requires an argument"),
        (
            ["data", "split", "photos", "--out", "out", "--shares", "a,b"],
            "got 'a,b', allowed are three numbers such as 0.6,0.2,0.2",
        ),
    ],
)
def test_bad_arguments_exit_2(arguments, message, capsys):
    """A command line that makes no sense is exit status 2 as well."""
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("failure", "status", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "out"),
            1,
            "udonx data split: No space left on device: out; nothing was written",
        ),
        (KeyboardInterrupt(), 130, "stopped; nothing was written"),
    ],
)
def test_failures_on_the_way_are_one_sentence(monkeypatch, capsys, failure, status, message):
    """A full disk and Ctrl-C end without a traceback, with their own exit status."""

    def fail(*_, **__):
        raise failure

    monkeypatch.setattr("udonx.data.prepare.folders.split_folders", fail)
    assert main(["data", "split", "photos", "--out", "out"]) == status
    assert message in capsys.readouterr().err


def test_the_command_imports_no_torch(photos, tmp_path):
    """From the first line to the report, in a fresh process."""
    arguments = ["data", "split", str(photos), "--out", str(tmp_path / "out")]
    assert python(
        f"import sys\nfrom udonx.cli import main\nmain({arguments})\nprint('torch' in sys.modules)"
    ).endswith("False")


def test_help_imports_nothing_heavy():
    """Help of the commands below `data` is as quick as that of the others."""
    code = "import sys\nfrom udonx.cli import main\nassert main(['data', 'split', '--help']) == 0\n"
    code += "print([name for name in ('torch', 'pydantic', 'numpy', 'PIL') if name in sys.modules])"
    assert python(code).endswith("[]")
