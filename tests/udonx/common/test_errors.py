"""The sentences that errors end in."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest
import torch

import udonx
from registry.registry import RegistryError
from tests.tiny import ROOT
from udonx.common.errors import exit_code, sentence_of
from udonx.common.files import DamagedFileError
from udonx.config.problems import ConfigError, Problem
from udonx.data.errors import DataError, SplitError
from udonx.engine.errors import StageError, TrainingError
from udonx.inputs.weights import WeightsError


@pytest.mark.parametrize(
    "number",
    [
        *(
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EIO,
            errno.ESTALE,
            errno.EFBIG,
            errno.EPERM,
            errno.EMFILE,
            errno.EROFS,
            errno.EACCES,
        ),
        *(errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EBUSY),
    ],
)
def test_every_error_of_the_system_names_the_file_and_what_went_wrong(number):
    """Whatever its number."""
    sentence = sentence_of(OSError(number, "?", "results/done.json"))
    assert (
        sentence.startswith("results/done.json: ")
        and "the same command continues" in sentence
        and "\n" not in sentence
    )


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")],
)
def test_memory_that_runs_out_is_said_with_the_cure(error):
    """Python and torch have different words for it."""
    assert "out of memory (the machine's)" in sentence_of(error) and "budget.batch" in sentence_of(
        error
    )


def test_the_memory_of_a_gpu_is_told_from_the_machines():
    """torch's own class for it is a RuntimeError."""
    assert "the GPU's" in sentence_of(
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    )


def test_threads_that_may_not_be_started_are_said():
    """`ulimit -u` is smaller than the loading threads need."""
    assert "--workers" in sentence_of(RuntimeError("can't start new thread"))


def test_an_error_of_ours_keeps_its_traceback():
    """A sentence would hide where the fault is."""
    assert (
        sentence_of(KeyError("r1")) is None and sentence_of(RuntimeError("shape mismatch")) is None
    )


def test_errors_for_people_have_one_parent_which_knows_the_exit_code():
    """What was refused before anything started is told from what failed on the way."""
    refused = [
        ConfigError([Problem(where="a.toml", message="m")]),
        RegistryError("m"),
        SplitError("m"),
        StageError("m"),
    ]
    failed = [DataError("m"), WeightsError("m"), DamagedFileError("a", "m"), TrainingError("m")]
    assert all(isinstance(error, udonx.UdonxError) for error in (*refused, *failed))
    assert all(sentence_of(error) == str(error) for error in (*refused, *failed))
    assert [exit_code(error) for error in refused] == [2, 2, 2, 2]
    assert [exit_code(error) for error in (*failed, OSError(5, "m"))] == [1, 1, 1, 1, 1]


def test_a_system_without_posix_is_said_in_one_sentence():
    """Where there is no fcntl, as on Windows, `check` ends in a sentence that says which systems
    there are.
    """
    code = (
        "import sys; sys.modules['fcntl'] = None\nfrom udonx.cli import main;"
        " sys.exit(main(['check', 'experiments']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (
        done.returncode == 1
        and done.stderr.count("\n") == 1
        and "use Linux or macOS, or WSL on Windows" in done.stderr
    )
