"""Files and folders written whole or not at all, and read back only as what was written."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from udonx.common.files import (
    DamagedFileError,
    atomic_folder,
    atomic_path,
    folder_problem,
    read_bytes,
    sweep,
    write_atomic,
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


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    """As is a folder."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(DamagedFileError, match="is no regular file"):
            read_bytes(path)


def test_a_folder_that_may_not_be_written_is_a_problem(tmp_path, monkeypatch):
    """It is found before anything is trained, also where it would have to be made."""
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(tmp_path))
    assert "cannot be written" in (folder_problem(tmp_path / "results") or "")
    assert folder_problem(tmp_path / "results", written=False) is None
    (tmp_path / "results").mkdir()
    assert folder_problem(tmp_path / "results") is None
