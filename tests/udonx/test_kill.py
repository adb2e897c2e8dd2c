"""A process that is really killed, and the command given again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import pytest

import udonx
from udonx.store.stage import StageFolder

ROOT = Path(__file__).resolve().parents[2]
STEPS = 60
COMMAND = [
    *(sys.executable, "-c", "import sys; from udonx.cli import main; sys.exit(main())"),
    *("run", str(ROOT / "experiments" / "table3_ablation.toml")),
    *("--setting", "smoke", "--row", "udon_dynamic", "--device", "cpu"),
    *("--set", f"budget.steps={STEPS}", "--set", 'validation.every="10%"'),
]
KILLS = 2
EVERYTHING = [
    *("--set", 'update="dot"', "--set", 'optimiser.inactive_heads="skip"'),
    *("--set", 'average={use="ema",decay=0.9,start="50%"}'),
    *("--set", 'losses.proxies={use="pml",loss="ProxyAnchorLoss",on="student"}'),
]
"""Two momenta of the update rule, an average, and a loss with parameters of its own."""


def start(results: Path, cache: Path, changes: list[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "UDONX_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    with open(results.with_suffix(".txt"), "ab") as output:
        return subprocess.Popen(
            [*COMMAND, *changes, "--results", str(results)],
            env=environment,
            cwd=results.parent,
            stdout=output,
            stderr=output,
        )


def finish(process: subprocess.Popen[bytes], results: Path) -> None:
    assert process.wait(timeout=120) == 0, results.with_suffix(".txt").read_text()


def stage(results: Path) -> StageFolder | None:
    found = list((results / "stages").glob("*")) if (results / "stages").is_dir() else []
    return StageFolder(found[0]) if found else None


def kill_at(process: subprocess.Popen[bytes], results: Path, step: int, delay: float) -> int:
    """Kill the process when its log has reached `step`, after `delay` more; returns the last step
    in the log.
    """
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        steps = [entry["step"] for entry in folder.read_log()] if (folder := stage(results)) else []
        if steps and steps[-1] >= step:
            time.sleep(delay)
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, results.with_suffix(".txt").read_text()
    return stage(results).read_log()[-1]["step"]


def without_time(value: Any) -> Any:
    """Plain data without minutes and seconds, which are the only thing that a kill may change, and
    so without their digest.
    """
    if isinstance(value, dict):
        return {
            key: without_time(item)
            for key, item in value.items()
            if key not in ("minutes", "seconds", "digest")
        }
    return [without_time(item) for item in value] if isinstance(value, list) else value


def figures(results: Path) -> Any:
    """table.json of the one table there."""
    (file,) = (results / "tables").glob("*/*/table.json")
    return without_time(json.loads(file.read_text()))


@pytest.mark.parametrize("changes", [[], EVERYTHING], ids=["plain", "everything"])
def test_killed_at_random_moments(tmp_path: Path, changes: list[str]) -> None:
    """A run that is killed at random moments and given again ends with the figures, weights and log
    of an undisturbed run, bit for bit, whatever its checkpoint has to hold.
    """
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    finish(start(undisturbed, tmp_path, changes), undisturbed)
    reached = 0
    for number in range(KILLS):
        # each kill is later than the last, so that every start has something to continue; the last
        # one leaves some steps to do
        wanted = chance.randrange(
            reached + 1, reached + 1 + (STEPS - 20 - reached) // (KILLS - number)
        )
        reached = kill_at(
            start(disturbed, tmp_path, changes), disturbed, wanted, chance.uniform(0, 0.02)
        )
        assert stage(disturbed).done is None, "killed too late to say anything"
        (run,) = udonx.runs(disturbed)
        assert run.state == "interrupted" and run.why.startswith("killed; student and teachers ")
        print(f"killed after step {reached}")
    finish(start(disturbed, tmp_path, changes), disturbed)
    (run,) = udonx.runs(disturbed)
    assert (run.state, len(run.attempts)) == ("done", KILLS + 1)
    ours, theirs = stage(disturbed), stage(undisturbed)
    assert ours.path.name == theirs.path.name
    assert (ours.path / "best.safetensors").read_bytes() == (
        theirs.path / "best.safetensors"
    ).read_bytes()
    assert ours.read_log() == theirs.read_log()
    assert attrs.evolve(ours.done, seconds=0.0) == attrs.evolve(theirs.done, seconds=0.0)
    assert figures(disturbed) == figures(undisturbed)
    assert (
        figures(disturbed)["rows"][0]["seeds"] == [0]
        and figures(disturbed)["rows"][0]["metrics"]["r1"]["mean"] > 0
    )
    starts = (disturbed / "runs.jsonl").read_text().splitlines()
    assert len(starts) == KILLS + 1 and json.loads(starts[-1])["resumes"] is not None


def test_killed_before_single_file_operations() -> None:
    """Whatever file operation a run is killed before: given again it ends in the same files, with
    none left over (the long version of this is `python benchmarks/kill.py`).
    """
    seed = str(random.randrange(2**32))
    command = [sys.executable, str(ROOT / "benchmarks" / "kill.py"), "--kills", "4", "--seed", seed]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, f"seed {seed}\n{ended.stdout}{ended.stderr}"
    assert "with nothing left over" in ended.stdout
