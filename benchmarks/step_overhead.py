"""What the engine's step costs beside a bare hand-written loop, and UDON's step beside the
classification baseline's.

Three contenders train in one process, in blocks of a few steps, in turn and in an order that is
drawn anew for every round:

* engine UDON: the real loop (`Loop.steps`), with images loaded ahead, dynamic sampler, sums,
  log lines and report;
* bare UDON: plain torch on batches that are already in memory: the same backbone, heads, losses,
  drift and AdamW, nothing else;
* engine baseline: the real loop on the classification stage.

A block's time is divided by its steps; printed are median and quartiles over the rounds, and the
same of the ratios within a round.

    python benchmarks/step_overhead.py                              # about 2 minutes on 2 cores
    python benchmarks/step_overhead.py --rounds 2 --block 3         # to see that it runs
    python benchmarks/step_overhead.py --model vit_base_patch16_224 --crop 224 --batch 128 --device
    cuda --precision bf16
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image

from registry.contracts import (
    BackboneSpec,
    Batch,
    ComponentSpec,
    HeadSpec,
    LossSpec,
    Optimiser,
    Schedule,
    StageSpec,
    Training,
    Transform,
)
from udonx.data.benchmark import Benchmark
from udonx.data.images import ImageStore
from udonx.data.loader import BatchLoader
from udonx.engine.build import build_model
from udonx.engine.device import repeatable
from udonx.engine.job import Job
from udonx.engine.loop import Loop
from udonx.store.stage import StageFolder

STUDENT_DIM, TEACHER_DIM, SCALE, TEMPERATURE = 64, 256, 16.0, 0.1
MEAN = STD = (0.5, 0.5, 0.5)
UDON = (
    LossSpec(name="teacher_ce", use="ce", on="teacher"),
    LossSpec(name="student_ce", use="ce", on="student"),
    LossSpec(name="kl_logit", use="kl_logit"),
    LossSpec(name="relational", use="relational"),
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model",
        default="resnet10t",
        help="timm's name (default: resnet10t, narrowed to 32-64-128-256 channels)",
    )
    parser.add_argument(
        "--weights", type=Path, help="start weights, a folder in timm's layout (default: random)"
    )
    parser.add_argument("--crop", type=int, default=48)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--domains", type=int, default=8)
    parser.add_argument("--classes", type=int, default=40, help="per domain")
    parser.add_argument("--images", type=int, default=8, help="per class")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--block", type=int, default=60, help="steps of each contender in a round")
    parser.add_argument(
        "--workers",
        type=int,
        default=min(os.cpu_count() or 1, 8),
        help="threads that load images for the engine",
    )
    parser.add_argument("--inactive-heads", choices=["drift", "skip"], default="drift")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def write_noise(root: Path, options: argparse.Namespace) -> Benchmark:
    """A training split per domain, of smooth random images a third larger than the
    crop, as JPEG.
    """
    rng, edge = np.random.default_rng(0), options.crop * 4 // 3
    for domain in (f"domain{number}" for number in range(options.domains)):
        entries = []
        for label in range(options.classes):
            for number in range(options.images):
                path = f"{domain}/{label}/{number}.jpg"
                (root / "images" / path).parent.mkdir(parents=True, exist_ok=True)
                coarse = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
                coarse.resize((edge, edge), Image.Resampling.BICUBIC).save(root / "images" / path)
                entries.append({"path": path, "class_id": label})
        file = root / "info_files" / domain / "train.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(entries))
    return Benchmark.open(root)


def stage(options: argparse.Namespace, domains: tuple[str, ...], steps: int) -> StageSpec:
    """A UDON stage with an unfrozen backbone that is never validated within the benchmark."""
    network = {"model": options.model, "batch_norm": "fixed", "kwargs": network_kwargs(options)}
    return StageSpec(
        domains=domains,
        backbone=BackboneSpec(use="timm", options=network, weights="random", mean=MEAN, std=STD),
        transform=Transform(resize=options.crop * 9 // 8, crop=options.crop),
        precision=options.precision,
        student_head=HeadSpec(use="linear", dim=STUDENT_DIM),
        teacher_head=HeadSpec(use="linear", dim=TEACHER_DIM),
        training=Training(
            steps=steps,
            batch=options.batch,
            losses=UDON,
            sampler=ComponentSpec(
                use="dynamic", options={"interval": max(1, steps // 20), "signal": "teacher_ce"}
            ),
            optimiser=Optimiser(
                lr_heads=2e-3, lr_backbone=2e-4, frozen=0, inactive_heads=options.inactive_heads
            ),
            schedule=Schedule(),
            validate_every=steps,
        ),
        seed=0,
    )


def network_kwargs(options: argparse.Namespace) -> dict[str, object]:
    """The default network is the demo's; any other model is taken as timm has it."""
    return (
        {"channels": [32, 64, 128, 256]}
        if options.model == "resnet10t" and options.weights is None
        else {}
    )


def engine(
    options: argparse.Namespace,
    spec: StageSpec,
    benchmark: Benchmark,
    store: ImageStore,
    folder: Path,
) -> Loop:
    """The real loop of a stage, not started."""
    folder.mkdir()
    classes = {domain: len(benchmark.labels(domain)) for domain in spec.domains}
    device = torch.device(options.device)
    job = Job(
        spec=spec,
        id=folder.name,
        title=folder.name,
        folder=StageFolder(folder),
        benchmark=benchmark,
        store=store,
        device=device,
        workers=options.workers,
        start_folder=options.weights,
    )
    return Loop(job, build_model(spec, classes, options.weights).to(device))


def bare(options: argparse.Namespace, start: Loop, batches: list[Batch]) -> Iterator[torch.Tensor]:
    """UDON in plain torch, from the engine's start weights, over batches in memory; yields each
    step's total loss.
    """
    device = torch.device(options.device)
    kept, domains = start.model.state_dict(), start.job.spec.domains

    def parameter(name: str) -> torch.nn.Parameter:
        return torch.nn.Parameter(kept[name].clone())

    size = {"img_size": options.crop} if hasattr(start.model.backbone.model, "patch_embed") else {}
    backbone = timm.create_model(options.model, num_classes=0, **size, **network_kwargs(options))
    backbone.load_state_dict(
        {
            name.removeprefix("backbone.model."): value
            for name, value in kept.items()
            if name.startswith("backbone.")
        }
    )
    layout = start.model.backbone.memory_format
    backbone.to(device, memory_format=layout).train()
    for module in backbone.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
    student_w, student_b = (
        parameter("student_head.projection.weight"),
        parameter("student_head.projection.bias"),
    )
    teacher_w = [
        parameter(f"teacher_heads.{number}.projection.weight") for number in range(len(domains))
    ]
    teacher_b = [
        parameter(f"teacher_heads.{number}.projection.bias") for number in range(len(domains))
    ]
    student_c = [
        parameter(f"student_classifiers.parts.{number}.kernel_CD") for number in range(len(domains))
    ]
    teacher_c = [
        parameter(f"teacher_classifiers.parts.{number}.kernel_CD") for number in range(len(domains))
    ]
    heads = [student_w, student_b, *teacher_w, *teacher_b, *student_c, *teacher_c]
    optimiser = torch.optim.AdamW(
        [{"params": heads, "lr": 2e-3}, {"params": backbone.parameters(), "lr": 2e-4}],
        weight_decay=1e-6,
        fused=True,
    )
    drift = options.inactive_heads == "drift"
    if drift:
        for head in heads:
            head.grad = torch.zeros_like(head)
    mean, std = (
        torch.tensor(value, device=device).reshape(1, 3, 1, 1) * 255 for value in (MEAN, STD)
    )
    numbers = {domain: number for number, domain in enumerate(domains)}
    memory = [
        (batch.images.to(device), batch.labels.to(device), numbers[batch.domain])
        for batch in batches
    ]

    def train() -> Iterator[torch.Tensor]:
        while True:
            for images, labels, domain in memory:
                optimiser.zero_grad(set_to_none=not drift)
                pixels = ((images - mean) / std).contiguous(memory_format=layout)
                with torch.autocast(
                    device.type, dtype=torch.bfloat16, enabled=options.precision == "bf16"
                ):
                    features = backbone(pixels)
                features = F.normalize(features.float())
                student = F.normalize(F.linear(features, student_w, student_b))
                teacher = F.normalize(F.linear(features, teacher_w[domain], teacher_b[domain]))
                student_cos = student @ F.normalize(student_c[domain]).T
                teacher_cos = teacher @ F.normalize(teacher_c[domain]).T
                fixed, fixed_cos = teacher.detach(), teacher_cos.detach()
                classification = F.cross_entropy(SCALE * teacher_cos, labels) + F.cross_entropy(
                    SCALE * student_cos, labels
                )
                logits = F.kl_div(
                    F.log_softmax(student_cos / TEMPERATURE, 1),
                    F.log_softmax(fixed_cos / TEMPERATURE, 1),
                    reduction="batchmean",
                    log_target=True,
                )
                relations = (student @ student.T - fixed @ fixed.T).square().mean() * (
                    len(labels) / 4
                )
                total = (classification + logits + relations) / 4
                total.backward()
                optimiser.step()
                yield total.detach()

    return train()  # the weights above are copied now, not at the first step


def seconds(advance: Callable[[], object], steps: int, device: torch.device) -> float:
    """Mean seconds of a step over a block; the loader's threads come to rest first, so that none
    works in another's block. The few batches that they have loaded by then (2 per thread and one)
    are outside the clock, hence blocks of many more steps.
    """
    time.sleep(0.2)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    for _ in range(steps):
        advance()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - began) / steps


def first_losses(loop: Loop, steps: Iterator[int], count: int) -> list[float]:
    """The engine's first total losses, read from its log."""
    for _ in range(count):
        next(steps)
    return [entry["total"] for entry in loop.job.folder.read_log() if "total" in entry]


def main() -> None:
    options = arguments()
    device = torch.device(options.device)
    warm_up = 2 * options.domains
    with repeatable(device), tempfile.TemporaryDirectory() as name:
        root = Path(name)
        benchmark = write_noise(root / "data", options)
        store = ImageStore(benchmark.root)
        spec = stage(options, benchmark.domains, warm_up + options.rounds * options.block + 1)
        baseline_training = attrs.evolve(
            spec.training, losses=UDON[1:2], sampler=ComponentSpec(use="round_robin")
        )
        baseline_spec = attrs.evolve(spec, teacher_head=None, training=baseline_training)
        udon = engine(options, spec, benchmark, store, root / "udon")
        baseline = engine(options, baseline_spec, benchmark, store, root / "baseline")
        udon.log_every = 1  # while warming up, to compare losses
        loader = BatchLoader(
            benchmark, store, spec.domains, spec.transform, options.batch, 0, options.workers
        )
        batches = [
            loader.load(domain, turn * options.batch)
            for turn in range(2)
            for domain in spec.domains
        ]
        for domain in spec.domains:
            for path in benchmark.split(domain, "train").paths:
                store.load(path)
        bare_steps, udon_steps, baseline_steps = (
            bare(options, udon, batches),
            udon.steps(),
            baseline.steps(),
        )
        # the sampler takes turns until its first update
        same = min(options.domains, spec.training.sampler.options["interval"])
        ours = first_losses(udon, udon_steps, warm_up)[:same]
        theirs = [next(bare_steps).item() for _ in range(warm_up)][:same]
        for _ in range(warm_up):
            next(baseline_steps)
        worst = max(abs(a - b) / b for a, b in zip(ours, theirs, strict=True))
        print(
            f"the first {same} total losses of engine and bare loop differ by at most {worst:.1e}"
            " of their value"
        )
        udon.log_every = baseline.log_every  # what a stage of this length has

        contenders = {
            "engine UDON": lambda: next(udon_steps),
            "bare UDON": lambda: next(bare_steps),
            "engine baseline": lambda: next(baseline_steps),
        }
        times: dict[str, list[float]] = {name: [] for name in contenders}
        order = list(contenders)
        for _ in range(options.rounds):
            random.shuffle(order)
            for name in order:
                times[name].append(seconds(contenders[name], options.block, device))
        for steps in (udon_steps, bare_steps, baseline_steps):
            steps.close()

    print(
        f"{options.model}, {options.crop} px, batch {options.batch}, {options.precision},"
        f" {options.device}, {options.inactive_heads}, ",
        end="",
    )
    print(
        f"{torch.get_num_threads()} torch threads, {options.workers} loading threads,"
        f" {options.rounds} rounds of {options.block} steps"
    )
    print(f"{'ms per step':<28}{'median':>9}{'quartiles':>18}")
    for name, values in times.items():
        print(line(name, 1000 * np.array(values)))
    print(f"{'ratio within a round':<28}{'median':>9}{'quartiles':>18}")
    for name, other in (("engine UDON", "bare UDON"), ("engine UDON", "engine baseline")):
        print(line(f"{name} / {other}", np.array(times[name]) / np.array(times[other])))


def line(name: str, values: np.ndarray) -> str:
    """Median and quartiles."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{name:<32}{middle:>9.3f}{low:>9.3f}{high:>9.3f}"


if __name__ == "__main__":
    main()
