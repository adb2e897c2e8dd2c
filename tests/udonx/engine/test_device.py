"""Which device a run uses, and what it leaves of the caller's process."""

from __future__ import annotations

import os
import random

import numpy as np
import torch

import udonx
from tests.tiny import ROOT


def state() -> tuple:
    """What training and Sacred change of a process, in a form that compares."""
    switches = (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.allow_tf32,
    )
    environment = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    return (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
        switches,
        environment,
    )


def test_a_run_leaves_the_callers_random_generators_and_switches_alone(tmp_path):
    """A program that calls udonx goes on with its own random numbers."""
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    before = state()
    file = ROOT / "experiments" / "table3_ablation.toml"
    udonx.run(
        file,
        setting="smoke",
        rows=["baseline"],
        results=tmp_path / "results",
        device="cpu",
    )
    assert state() == before
