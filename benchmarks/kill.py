"""Kills `udonx run` with SIGKILL, before single file operations and at random moments, and gives
the same command again until it ends.

    python benchmarks/kill.py --kills 500

Every trial must end in the files of an undisturbed run, byte for byte but for what measures time,
with no file left over. A run is a fork of this process, which has imported everything: so a kill
costs a second, and starting up is not what is killed.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [
    "run",
    str(ROOT / "experiments" / "table3_ablation.toml"),
    "--setting",
    "smoke",
    "--device",
    "cpu",
    "--workers",
    "2",
]
COMMAND += ["--set", "budget.steps=12", "--set", 'validation.every="34%"']

ROWS = "udon_dynamic,multi_head_teacher,off_the_shelf_pca"

_OPERATIONS = {
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.truncate",
    "os.chmod",
    "os.link",
    "os.symlink",
}
"""Audit events of Python that come before an operation on a file."""

_CLOCKS = {"minutes", "seconds", "when", "digest"}
"""Keys whose values hold what time it took; a digest covers them."""

_RECORDS = ("sacred", "runs.jsonl")
"""What is written at every start, so that it differs with the number of starts."""


@attrs.frozen
class Kill:
    """When a process is killed: before its file operation number `operation`, or
    after `seconds`.
    """

    operation: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        return (
            f"before file operation {self.operation}"
            if self.operation is not None
            else f"after {self.seconds:.3f} s"
        )


class Harness:
    """Runs one command in forks of this process, with a results and a cache folder
    below `folder`.
    """

    def __init__(self, folder: Path, rows: str = ROWS) -> None:
        import torch

        import udonx.forecast.probe
        import udonx.running.run  # noqa: F401  what a run needs, imported once for all forks
        from udonx.running.record import import_sacred

        torch.set_num_threads(1)  # more would not survive a fork
        import_sacred()
        self.folder = folder
        self.command = [*COMMAND, *(part for row in rows.split(",") for part in ("--row", row))]
        self.cache = folder / "cache"

    def run(self, results: Path, kill: Kill | None = None) -> int:
        """Run the command; returns its exit status, -9 where it was killed in time."""
        if (child := os.fork()) == 0:
            self._child(results, kill)
        if kill is not None and kill.seconds is not None:
            time.sleep(kill.seconds)
            os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status not in (0, -signal.SIGKILL):
            raise AssertionError(
                f"exit status {status} with"
                f" {kill}:\n{(self.folder / 'output.txt').read_text()[-4000:]}"
            )
        return status

    def _child(self, results: Path, kill: Kill | None) -> None:
        status = 70
        try:
            os.environ["UDONX_CACHE"] = str(self.cache)
            os.chdir(self.folder)
            output = os.open(self.folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            counter = _Counter(self.folder, kill.operation if kill is not None else None)
            sys.addaudithook(counter)
            from udonx.cli import main

            status = main([*self.command, "--results", str(results)])
            (self.folder / "operations.txt").write_text(str(counter.count))
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)

    def trial(self, results: Path, kills: list[Kill], undisturbed: dict[str, Any]) -> int:
        """Kill, go on, and compare; returns how many kills were in time. Raises AssertionError with
        what differs.
        """
        shutil.rmtree(results, ignore_errors=True)
        happened = [kill for kill in kills if self.run(results, kill) != 0]
        self.run(results)
        told = f"after {'; '.join(map(str, happened)) or 'no kill'}"
        found = snapshot(results)
        assert found.keys() == undisturbed.keys(), (
            f"{told}: other files: {sorted(found.keys() ^ undisturbed.keys())}"
        )
        for name, content in undisturbed.items():
            assert found[name] == content, f"{told}: {name} differs"
        assert not (left := [str(path) for path in self.folder.rglob("*.tmp")]), (
            f"{told}: left over: {left}"
        )
        return len(happened)


class _Counter:
    """An audit hook that counts this process's operations on files below `folder`, and kills it
    before number `last`.
    """

    def __init__(self, folder: Path, last: int | None) -> None:
        self.below, self.last, self.count = str(folder), last, 0

    def __call__(self, event: str, arguments: tuple) -> None:
        if (
            event in _OPERATIONS
            and self.below in str(arguments[0])
            and not (event == "open" and not _writes(arguments))
        ):
            self.count += 1
            if self.count == self.last:
                os.kill(os.getpid(), signal.SIGKILL)


def _writes(arguments: tuple) -> bool:
    """Whether an `open` event is for writing: reading changes nothing, and so is no moment of its
    own.
    """
    _, mode, flags = arguments
    return (
        bool(flags & (os.O_WRONLY | os.O_RDWR))
        if isinstance(flags, int) and mode is None
        else any(letter in mode for letter in "wax+")
    )


def snapshot(results: Path) -> dict[str, Any]:
    """What lies in a results folder, path -> content without clocks, but for the records of each
    start.
    """
    files = (path for path in sorted(results.rglob("*")) if path.is_file())
    names = ((path, path.relative_to(results)) for path in files)
    return {
        str(name): _timeless(path)
        for path, name in names
        if name.parts[0] not in _RECORDS and name.name != "lock"
    }


def _timeless(path: Path) -> Any:
    if path.suffix == ".json":
        return _without_clocks(json.loads(path.read_text()))
    if path.suffix == ".csv":
        return [_without_clocks(row) for row in csv.DictReader(io.StringIO(path.read_text()))]
    if path.suffix == ".md":
        # minutes are the last column
        return [line.rsplit("|", 2)[0] for line in path.read_text().split("\n")]
    return path.read_bytes()


def _without_clocks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_clocks(item) for key, item in value.items() if key not in _CLOCKS}
    return [_without_clocks(item) for item in value] if isinstance(value, list) else value


def plan_kills(
    total: int, most: int, operations: int, seconds: float, chance: random.Random
) -> Iterator[list[Kill]]:
    """Trials of one to `most` kills, half of them before file operations, half at random moments;
    `total` kills in all.
    """
    while total > 0:
        count = min(total, chance.randint(1, most))
        total -= count
        kinds = [chance.random() < 0.5 for _ in range(count)]
        yield [
            (
                Kill(operation=chance.randint(1, operations))
                if kind
                else Kill(seconds=chance.uniform(0, seconds))
            )
            for kind in kinds
        ]


def main() -> None:
    """Run the trials; ends with a sentence, or at the first trial that ends in other files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", default=ROWS, help="rows of table 3 that are run")
    parser.add_argument(
        "--most", type=int, default=5, help="kills before a trial is let go on to its end, at most"
    )
    parsed = parser.parse_args()
    chance = random.Random(parsed.seed)
    with tempfile.TemporaryDirectory(prefix="udonx-kill-") as name:
        harness = Harness(Path(name), parsed.rows)
        harness.run(harness.folder / "warm")  # draws the benchmark once
        began = time.monotonic()
        harness.run(harness.folder / "undisturbed")
        seconds = time.monotonic() - began
        operations = int((harness.folder / "operations.txt").read_text())
        undisturbed = snapshot(harness.folder / "undisturbed")
        size = f"{operations} file operations, {len(undisturbed)} files"
        print(f"an undisturbed run: {seconds:.1f} s, {size}; seed {parsed.seed}", flush=True)
        done = trials = 0
        for kills in plan_kills(parsed.kills, parsed.most, operations, seconds, chance):
            done += harness.trial(harness.folder / "disturbed", kills, undisturbed)
            trials += 1
            if trials % 5 == 0:
                print(f"{trials} trials, {done} kills", flush=True)
        print(
            f"{trials} trials, {done} kills in time: every run ended in the same files, with"
            " nothing left over"
        )


if __name__ == "__main__":
    main()
