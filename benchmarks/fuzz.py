"""Damaged and hostile files, fed to what reads them: anything but success or one sentence for
people is a finding.

Three kinds of input: experiment files (check, show, plan), split files of a data folder (plan), and
what a run has stored: stage folders, evaluations, tables, runs.jsonl, start weights and caches
(plan, table, load_model). Each input follows from its kind, seed and number alone, so that a
finding can be made again.

    python benchmarks/fuzz.py                                        # 10,000 inputs
    python benchmarks/fuzz.py --count 300 --seed 1
    python benchmarks/fuzz.py --kind split --only 4711               # one of them again, with its
    traceback
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import tomli_w
from PIL import Image

from udonx.cli import main as command
from udonx.common.errors import sentence_of
from udonx.common.json_files import write_json
from udonx.inputs.sources import source_problems

ROOT = Path(__file__).resolve().parents[1]
SHARES = {"experiment": 0.6, "split": 0.2, "result": 0.2}
"""How the inputs are divided among the kinds."""

SECONDS = 60  # an input that takes longer hangs

NASTY: tuple[Any, ...] = (
    True,
    False,
    0,
    -1,
    1.5,
    10**9,
    2**62,
    math.nan,
    math.inf,
    1e308,
    5e-324,
    "",
    " ",
    "\0",
    "a" * 300,
    "\x1b[31m",
    "line\nbreak | bar",
    "../../x",
    "/etc/passwd",
    "#U002e#U002e#U002fx",
    "{domains} {0} {x!r} %s",
    "\U0001f987\u202e",
    "1/0",
    "9" * 5000,
    "nan%",
    [],
    {},
    [[]],
    [{}],
    [1, "a", None],
    {"": ""},
    {"use": "ce"},
    {"use": []},
)
"""Values that stand in place of others."""

RAW = (
    "x = " + "[" * 3000,
    "x = " + "[" * 200 + "]" * 200,
    "x" + ".x" * 2000 + " = 1",
    "budget.steps = " + "9" * 5000,
    "budget.steps = 1" + "0" * 400,
    "inherit = 'table.toml'",
    "inherit = '.'",
    'inherit = "a\\u0000b"',
    "seeds = [0, 0, -1, 4294967296]",
    "day = 1979-05-27",
    "setting = 'smoke'",
    "[setting]\ninherit = 'smoke'",
    "[rows]\na = false",
    "[defaults]\nlosses = false",
    "roles = ['main', 'main', 'clip']",
    "plugins = ['no_such_plugin.py', 'no.such.module']",
    "[results]\nobservers = ['foo', 'mongodb://', '://']",
    '"\\ud800" = 1',
    "\ufeff",
    "\0",
)
"""Lines that are put into a file."""


class Hang(BaseException):
    """An input took too long; no `except Exception` holds it up."""


@attrs.frozen(kw_only=True)
class Finding:
    """An input that ended in neither success nor a sentence."""

    kind: str
    number: int
    error: str
    trace: str

    def __str__(self) -> str:
        return f"--kind {self.kind} --only {self.number}: {self.error}"


# -------------------------------------------------------------------------------------- mutators


def mutated_bytes(draw: random.Random, data: bytes) -> bytes:
    """A file's content, damaged in one of the ways that disks, editors and people have."""
    start, end = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    match draw.randrange(9):
        case 0:
            return data[:end]  # cut off
        case 1:
            return b""
        case 2:
            return data[:start] + data[end:]
        case 3:
            return data[:end] + data[start:end] + data[end:]
        case 4:
            return data[:start] + draw.randbytes(draw.randrange(1, 20)) + data[start:]
        case 5:
            # a block of zeros, as a crash leaves it
            return data[:start] + bytes(end - start) + data[end:]
        case 6:
            return draw.randbytes(len(data))
        case 7:
            return (
                data[:start]
                + draw.choice(
                    [b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"9" * 5000, b"[" * 3000, b'{"a":' * 3000]
                )
                + data[start:]
            )
    flipped = bytearray(data)
    for _ in range(min(len(data), draw.choice([1, 1, 8]))):
        flipped[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(flipped)


def mutated_tree(draw: random.Random, tree: Any) -> Any:
    """Plain data with one to three of its values or keys changed, removed, moved or doubled."""
    tree = json.loads(json.dumps(tree, default=str))
    for _ in range(draw.choice([1, 1, 2, 3])):
        places = list(_places(tree))
        if not places:
            return draw.choice(NASTY)
        parent, key = draw.choice(places)
        match draw.randrange(7):
            case 0 | 1 | 2:
                parent[key] = draw.choice(NASTY)
            case 3:
                del parent[key]
            case 4:
                other, name = draw.choice(places)  # a value that is right elsewhere
                with contextlib.suppress(KeyError, IndexError):
                    parent[key] = json.loads(json.dumps(other[name]))
            case 5 if isinstance(parent, dict):
                parent[
                    key[: draw.randrange(len(key) + 1)] + draw.choice(["", "x", "_", "\0", "."])
                ] = parent.pop(key)
            case 5:
                parent.append(parent[key])
            case 6:
                parent[key] = draw.choice(
                    [
                        [parent[key]],
                        {key if isinstance(key, str) else "x": parent[key]},
                        str(parent[key]),
                    ]
                )
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """(parent, key or index) of every value in plain data."""
    if isinstance(tree, dict | list):
        for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
            yield tree, key
            yield from _places(tree[key])


def replace_file(draw: random.Random, path: Path) -> None:
    """Something else in place of a file: nothing, a folder, a pipe, a link that leads nowhere or to
    itself, an endless device.
    """
    path.unlink()
    match draw.randrange(6):
        case 0:
            path.mkdir()
        case 1:
            os.mkfifo(path)
        case 2:
            path.symlink_to("nowhere")
        case 3:
            path.symlink_to(path.name)
        case 4:
            path.symlink_to("/dev/zero")


def damage(draw: random.Random, path: Path) -> None:
    """Damage a file of any kind. JSON is damaged as text or as data, with and without a digest that
    fits.
    """
    if draw.randrange(10) == 0:
        replace_file(draw, path)
    elif path.suffix in (".json", ".jsonl") and draw.randrange(3):
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        number = draw.randrange(len(lines))
        tree = mutated_tree(draw, json.loads(lines[number]))
        if path.suffix == ".json" and isinstance(tree, dict) and draw.randrange(2):
            write_json(path, {key: value for key, value in tree.items() if key != "digest"})
        else:
            lines[number] = json.dumps(tree)
            path.write_text("\n".join(lines) + "\n")
    else:
        path.write_bytes(mutated_bytes(draw, path.read_bytes()))


# ----------------------------------------------------------------------------------- experiments

ROWS = """
[rows.baseline]
scheme = "classification"
sampler = "uniform"
[rows.udon]
label = "UDON"
scheme = "udon"
sampler = { use = "dynamic", interval = "25%" }
losses.relational = { use = "relational", weight = 0.5 }
[rows.raw]
scheme = { use = "off_the_shelf", reduce = "pca" }
reference = true
reported.r1 = 41.2
"""
OWN_SETTING = (
    'title = "T"\nseeds = [0, 1]\n[setting]\ninherit = "smoke"\nbudget = { steps = 4, batch = 8'
    " }\n[setting.losses.ce]\nscale = 8.0\n"
)
SHIPPED = (
    "table3_ablation",
    "table2_components",
    "table9_mlp_projector",
    "temperature",
    "teacher_dim",
    "distill_gradient",
)


class Experiments:
    """Experiment files on the setting `smoke`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"
        shipped = [(ROOT / "experiments" / f"{name}.toml").read_text() for name in SHIPPED]
        self.corpus = [OWN_SETTING + ROWS, 'setting = "smoke"\n' + ROWS, *shipped]

    def make(self, draw: random.Random) -> Path:
        """Write one input."""
        text = draw.choice(self.corpus)
        match draw.randrange(4):
            case 0:
                content = mutated_bytes(draw, text.encode())
            case 1:
                lines = text.split("\n")
                lines.insert(draw.randrange(len(lines)), draw.choice(RAW))
                content = "\n".join(lines).encode()
            case _:
                content = _toml(mutated_tree(draw, tomllib.loads(text))).encode(
                    "utf-8", "surrogatepass"
                )
        path = self.folder / "table.toml"
        path.write_bytes(content)
        return path

    def feed(self, path: Path) -> None:
        """What `check`, `show` and `plan` do; only data that are drawn already are planned on."""
        from udonx.config.experiment import load_experiments
        from udonx.config.show import to_toml
        from udonx.inputs.sources import from_hub

        setting = None if b"[setting]" in path.read_bytes() else "smoke"
        for experiment in load_experiments([path], setting=setting, sources=source_problems):
            experiment.skipped()
            from_hub(experiment, None)
            tomllib.loads(to_toml(experiment))
            data = experiment.data
            if (data.source, data.options) == ("demo", {"seed": 0, "size": "smoke"}):
                self._plan(experiment)

    def _plan(self, experiment: Any) -> None:
        from udonx.forecast.costs import Timings
        from udonx.forecast.listing import Listing
        from udonx.forecast.remaining import workload
        from udonx.planning.load import load_plan
        from udonx.store.results import Results

        plan = load_plan(experiment, fetch=False)
        str(Listing(workload([plan], Results(self.results)), Timings("cpu")))


def _toml(tree: Any) -> str:
    """Plain data as TOML, without what TOML cannot say."""
    return tomli_w.dumps(_without_none(tree)) if isinstance(tree, dict) else str(tree)


def _without_none(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_none(value) for key, value in tree.items() if value is not None}
    return (
        [_without_none(value) for value in tree if value is not None]
        if isinstance(tree, list)
        else tree
    )


# ----------------------------------------------------------------------------------- split files

TINY = """
seeds = [0]
[setting]
student_head = { use = "linear", dim = 4 }
teacher_head = { use = "linear", dim = 4 }
transform = { resize = 36, crop = 32 }
budget = { steps = 2, batch = 4 }
[setting.data]
source = "uned"
[setting.backbones.main]
model = "resnet10t"
kwargs = { channels = [8, 8, 16, 32], stem_width = 8 }
random = true
[rows.baseline]
scheme = "classification"
sampler = "uniform"
"""


def write_data(root: Path) -> None:
    """Two domains in UnED's layout, with images of their own."""
    for first, domain in enumerate(("cars", "food")):
        for split in ("train", "val", "test", "index"):
            entries = [
                {"path": f"{domain}/{split}_{number}.png", "class_id": 2 * first + number % 2}
                for number in range(6)
            ]
            entries[0]["class_id"] = [2 * first, 9] if split == "test" else 2 * first
            file = root / "info_files" / domain / f"{split}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(entries))
            for number, entry in enumerate(entries):
                image = root / "images" / entry["path"]
                image.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.random.default_rng([first, number]).integers(
                    0, 256, (40, 40, 3), dtype=np.uint8
                )
                Image.fromarray(pixels).save(image)


class Splits:
    """Split files of a small data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.results = folder, folder / "results"
        write_data(folder / "whole")
        self.file = folder / "table.toml"
        self.file.write_text(TINY)

    def make(self, draw: random.Random) -> Path:
        """Write one input: the folder with one or two files damaged, or one of another name."""
        root = self.folder / "data"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.folder / "whole", root)
        files = sorted((root / "info_files").rglob("*.json"))
        for file in draw.sample(files, draw.choice([1, 1, 2])):
            damage(draw, file)
        if draw.randrange(10) == 0:
            domain = draw.choice(sorted((root / "info_files").iterdir()))
            domain.rename(
                domain.with_name(
                    draw.choice(
                        ["\x1b[31m", "a|b", "a" * 200, " ", "line\nbreak", "#U002e", "\udcff"]
                    )
                )
            )
        return root

    def feed(self, root: Path) -> None:
        """What `check` and `plan` do, and every split read."""
        from udonx.data.benchmark import Benchmark
        from udonx.data.splits import PHASES

        run_command("plan", self.file, "--data", root, "--results", self.results, "--device", "cpu")
        benchmark = Benchmark.open(root)
        for domain in benchmark.domains:
            for phase in PHASES:
                for split in benchmark.evaluated_splits(domain, phase):
                    benchmark.split(domain, split).classes()


def run_command(*arguments: Any) -> None:
    """A command of the command line; it raises what is not meant for people."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        command([str(argument) for argument in arguments])


# ---------------------------------------------------------------------------------- result files


_READ = {".json", ".jsonl", ".npz", ".pt", ".safetensors"}


class ResultFiles:
    """What a small run has stored: every file of its results folder, of its start weights and of
    the cache.
    """

    def __init__(self, folder: Path) -> None:
        import udonx
        from udonx.store.stage import StageFolder

        self.folder, self.file, self.data = folder, folder / "table.toml", folder / "data"
        write_data(self.data)
        self.file.write_text(TINY.replace("random = true", 'local = "start"'))
        self.whole, self.now = folder / "whole", folder / "now"
        _write_weights(self.whole / "weights" / "start")
        with _cache(self.whole / "cache"):
            udonx.run(
                self.file,
                data=self.data,
                weights=self.whole / "weights",
                results=self.whole / "results",
                device="cpu",
            )
        for name in ("components.json", "libraries.json", "weights.json", "timings.json"):
            # so that the inputs are the same, whatever this process has done before
            if not (self.whole / "cache" / name).exists():
                write_json(self.whole / "cache" / name, {})
        (stage,) = (self.whole / "results" / "stages").iterdir()
        half = StageFolder(self.whole / "half")  # as training leaves it when it is stopped
        half.path.mkdir()
        half.save_state(
            {
                "model": StageFolder(stage).load_best(),
                "step": 1,
                "best_step": None,
                "sampler": {"weights": {"cars": 0.5}},
            }
        )
        paths = (path.relative_to(self.whole) for path in self.whole.rglob("*") if path.is_file())
        self.names = sorted(
            path
            for path in paths
            if not {"sacred", "locks"} & set(path.parts) and path.suffix in _READ
        )

    def make(self, draw: random.Random) -> Path:
        """Write one input: a copy of everything with one file damaged."""
        shutil.rmtree(self.now, ignore_errors=True)
        shutil.copytree(self.whole, self.now)
        damage(draw, self.now / draw.choice(self.names))
        return self.now

    def feed(self, root: Path) -> None:
        """What `plan`, `table` and `load_model` do, and reading a checkpoint."""
        import torch

        import udonx
        from udonx.store.stage import StageFolder

        given = ["--data", self.data, "--weights", root / "weights", "--results", root / "results"]
        with _cache(root / "cache"):
            run_command("plan", self.file, *given, "--device", "cpu")
            run_command("table", self.file, *given)
            run_command("table", root / "results" / "tables")
            StageFolder(root / "half").load_state(torch.device("cpu"))
            for stage in sorted((root / "results" / "stages").iterdir()):
                try:
                    udonx.load_model(stage)
                except ValueError as error:
                    if str(stage) not in str(error):  # the sentence names the folder
                        raise


@contextlib.contextmanager
def _cache(folder: Path) -> Iterator[None]:
    before = os.environ.get("UDONX_CACHE")
    os.environ["UDONX_CACHE"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("UDONX_CACHE")
        if before is not None:
            os.environ["UDONX_CACHE"] = before


def _write_weights(folder: Path) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    options = {"channels": [8, 8, 16, 32], "stem_width": 8}
    network = timm.create_model("resnet10t", num_classes=0, **options)
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()},
        folder / "model.safetensors",
    )
    statistics = {"mean": [0.5] * 3, "std": [0.5] * 3}
    config = {
        "architecture": "resnet10t",
        "num_classes": 0,
        "model_args": options,
        "pretrained_cfg": statistics,
    }
    (folder / "config.json").write_text(json.dumps(config))


# ------------------------------------------------------------------------------------------ runs

KINDS: dict[str, Callable[[Path], Any]] = {
    "experiment": Experiments,
    "split": Splits,
    "result": ResultFiles,
}


def fuzz(kind: str, numbers: range | list[int], seed: int, folder: Path) -> Iterator[Finding]:
    """Feed the inputs with these numbers; yields what is neither success nor a sentence.

    Args:
        kind: one of `KINDS`.
        numbers: of the inputs.
        seed: of all inputs.
        folder: where files are written; it must exist and be empty.
    """
    target = KINDS[kind](folder)
    for number in numbers:
        made = target.make(random.Random(f"{kind} {seed} {number}"))
        try:
            with _alarm():
                target.feed(made)
        except (Exception, Hang) as error:
            if sentence_of(error) is None:
                words = f"{type(error).__name__}: {str(error)[:200]} {_place(error)}"
                yield Finding(kind=kind, number=number, error=words, trace=traceback.format_exc())


def _place(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"({Path(frame.filename).name}:{frame.lineno})"


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def hang(*_: Any) -> None:
        raise Hang(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main() -> int:
    """Exit status 1 where there are findings."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--only", type=int, metavar="NUMBER", help="one input, with its traceback")
    parsed = parser.parse_args()
    findings = 0
    for kind in [parsed.kind] if parsed.kind else KINDS:
        count = parsed.count if parsed.kind else round(parsed.count * SHARES[kind])
        numbers = range(count) if parsed.only is None else [parsed.only]
        start, places = time.monotonic(), Counter()
        with tempfile.TemporaryDirectory() as folder:
            for finding in fuzz(kind, numbers, parsed.seed, Path(folder)):
                places[finding.error] += 1
                print(finding if parsed.only is None else finding.trace, flush=True)
        findings += places.total()
        print(
            f"{kind}: {len(numbers)} inputs, {places.total()} findings,"
            f" {time.monotonic() - start:.0f} s",
            flush=True,
        )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
