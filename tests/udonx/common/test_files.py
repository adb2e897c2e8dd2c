"""Files and folders written whole or not at all, and read back only as what was written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import attrs
import pytest

from udonx.common.files import (
    DamagedFileError,
    append_json_line,
    atomic_folder,
    atomic_path,
    read_bytes,
    read_json,
    read_json_lines,
    sweep,
    write_atomic,
    write_json,
)


def test_a_failure_removes_the_folder_but_not_what_links_in_it_lead_to(tmp_path):
    """Nothing stays of a folder that was not finished; originals behind a link do."""
    (tmp_path / "originals").mkdir()
    (tmp_path / "originals" / "a.txt").write_text("mine")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "new") as temporary:
        (temporary / "link").symlink_to(tmp_path / "originals")
        raise RuntimeError
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        "originals",
        "originals/a.txt",
    ]


def test_a_folder_that_holds_something_is_never_replaced(tmp_path):
    """What was put there meanwhile stays."""
    with pytest.raises(OSError), atomic_folder(tmp_path / "new") as temporary:
        (temporary / "ours.txt").touch()
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "theirs.txt").touch()
    assert os.listdir(tmp_path) == ["new"] and os.listdir(tmp_path / "new") == ["theirs.txt"]


@attrs.frozen
class Kept:
    """What a test file holds."""

    r1: float
    name: str


def test_processes_of_one_id_and_threads_never_meet_in_a_temporary_name(tmp_path, monkeypatch):
    """Two containers have the process id 1 each; so do threads share theirs."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    failures = []

    def write(text: str) -> None:
        for _ in range(50):
            try:
                write_atomic(tmp_path / "table.md", text * 1000)
            except OSError as error:
                failures.append(error)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert (tmp_path / "table.md").read_text() in {letter * 1000 for letter in "abc"}
    assert os.listdir(tmp_path) == ["table.md"]


def test_a_file_has_the_mode_that_the_umask_gives(tmp_path):
    """Whatever its writer makes of the temporary file."""
    mask = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "a") as temporary:
            temporary.unlink()
            os.close(os.open(temporary, os.O_CREAT, 0o600))
    finally:
        os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), OSError(122, "Disk quota exceeded")]
)
def test_an_error_of_the_disk_names_the_file(tmp_path, error):
    """Not the temporary one, and never None."""
    with pytest.raises(OSError) as caught, atomic_path(tmp_path / "a.bin"):
        raise error
    assert caught.value.filename == str(tmp_path / "a.bin") and caught.value.errno == error.errno


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_stays(tmp_path):
    """The lock of a temporary folder dies with its process."""
    script = (
        "import sys, time; from udonx.common.files import atomic_path\nwith"
        " atomic_path(sys.argv[1]): print(flush=True); time.sleep(60)"
    )
    files = [str(tmp_path / name / "file") for name in ("dead", "alive")]
    processes = [
        subprocess.Popen([sys.executable, "-c", script, file], stdout=subprocess.PIPE)
        for file in files
    ]
    for process in processes:
        process.stdout.readline()
    try:
        processes[0].kill()
        processes[0].wait()
        sweep(tmp_path)
        assert os.listdir(tmp_path / "dead") == []
        assert len(os.listdir(tmp_path / "alive")) == 1
    finally:
        processes[1].kill()
        processes[1].wait()


def test_every_flipped_bit_of_a_json_file_is_noticed_or_harmless(tmp_path):
    """A damaged figure is never believed."""
    file = tmp_path / "a.json"
    write_json(file, {"r1": 0.5, "name": "a"})
    whole = file.read_bytes()
    for position in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        file.write_bytes(damaged)
        try:
            assert read_json(file, Kept) == Kept(0.5, "a")
        except DamagedFileError as error:
            assert str(file) in str(error)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "null",
        "3",
        "[]",
        "{}",
        '{"r1": 0.5}',
        '{"r1": 0.5, "name": "a", "more": 1}',
        "[" * 5000,
        "9" * 5000,
    ],
)
def test_json_of_another_kind_is_one_sentence_with_the_cure(tmp_path, content):
    """Where, what, and what to do."""
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DamagedFileError, match=r"a\.json .*; make it again$"):
        read_json(tmp_path / "a.json", Kept, "make it again")


def test_a_json_file_that_is_not_there_is_not_damaged(tmp_path):
    """What has not been made yet and what is broken are two things."""
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "a.json", dict[str, int])


def test_a_file_of_an_earlier_version_has_no_digest_and_is_believed(tmp_path):
    """Nothing that was earned is lost."""
    (tmp_path / "a.json").write_text(json.dumps({"r1": 0.5, "name": "a"}))
    assert read_json(tmp_path / "a.json", Kept) == Kept(0.5, "a")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    """As is a folder."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(DamagedFileError, match="is no regular file"):
            read_bytes(path)


def test_damaged_lines_are_numbered_and_the_others_read(tmp_path):
    """One bad line costs that line; half a line at the end is what a kill leaves."""
    file = tmp_path / "log.jsonl"
    for step in range(3):
        append_json_line(file, {"step": step})
    file.write_text(file.read_text().replace('"step": 1', '"step": 7') + '{"step"')
    assert read_json_lines(file) == ([{"step": 0}, {"step": 2}], [2])
    append_json_line(file, {"step": 3})
    assert read_json_lines(file) == ([{"step": 0}, {"step": 2}, {"step": 3}], [2])
    assert read_json_lines(tmp_path / "none.jsonl") == ([], [])
