"""Which device a run uses, and what makes its numbers repeatable there."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator

import numpy as np
import torch

from udonx.common.words import plural
from udonx.config.problems import ConfigError, Problem


def choose(name: str | None) -> torch.device:
    """The torch device that is asked for.

    Args:
        name: `cpu`, `cuda` or `cuda:N`; None takes the GPU where there is one.

    Raises:
        ValueError: the device is not there.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise _refuse(f"got {name}, allowed are cpu, cuda and cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= count:
        there = f"torch sees {plural(count, 'GPU')}" if count else "torch sees no GPU here"
        raise _refuse(f"got {name}, but {there}; use --device cpu, and see `udonx doctor`")
    return torch.device(name)


def _refuse(message: str) -> ConfigError:
    return ConfigError([Problem(where="--device", message=message)])


def describe(device: torch.device) -> str:
    """What a device is, as far as its speed goes: `cpu, 2 cores`, or the GPU's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cores = os.cpu_count() or 1
    return f"cpu, {cores} core{'s' * (cores != 1)}"


def loading_threads(device: torch.device) -> int:
    """How many threads load images where nobody says it.

    They are as many as the CPU's cores, at most 8, or 16 to feed a GPU.
    """
    return min(os.cpu_count() or 1, 16 if device.type == "cuda" else 8)


@contextlib.contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Work with algorithms that give the same numbers again.

    On the CPU torch's algorithms are repeatable, at a fixed number of threads. Afterwards the
    random generators of Python, NumPy and torch, and torch's switches, are as before. So a program
    that calls udonx finds them as it left them, though training and Sacred seed them.
    """
    cudnn, deterministic = torch.backends.cudnn, torch.utils.deterministic
    switches = [
        (cudnn, "benchmark"),
        (cudnn, "allow_tf32"),
        (deterministic, "fill_uninitialized_memory"),
    ]
    before = [(place, name, getattr(place, name)) for place, name in switches]
    algorithms = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            if device.type == "cuda":
                os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
                cudnn.benchmark = False
                cudnn.allow_tf32 = False  # fp32 means fp32, in convolutions as in matrix products
                torch.use_deterministic_algorithms(True, warn_only=True)
                # a debugging aid that writes every fresh tensor once more
                # torch.utils.deterministic gets this property by replacing its module's class
                deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for place, name, value in before:
            setattr(place, name, value)
        torch.use_deterministic_algorithms(algorithms[0], warn_only=algorithms[1])
        if workspace is None:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
