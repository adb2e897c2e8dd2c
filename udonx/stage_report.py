"""The stages of one or more plans as text: what `udonx plan` prints."""

from __future__ import annotations

from collections.abc import Sequence

from udonx.plan import Plan, stage_title
from udonx.results.store import Results


def describe_stages(plans: Sequence[Plan], results: Results, *, fresh: bool = False) -> str:
    """One line per stage (id, what it is, state, steps, images, rows that use it), then what is left to train: with `fresh`, everything."""
    users: dict[str, list[str]] = {}
    specs = {}
    skipped = []
    for plan in plans:
        prefix = f"{plan.experiment.name}." if len(plans) > 1 else ""
        for identity, rows in plan.users.items():
            specs[identity] = plan.stages[identity]
            users.setdefault(identity, []).extend(f"{prefix}{row}" for row in rows)
        skipped += [f"{prefix}{row.name}: {row.skipped}" for row in plan.experiment.wanted_rows() if row.skipped]
    lines = [f"{'stage':16}  {'what':26} {'seed':>4} {'state':11} {'steps':>7} {'images':>10}  rows"]
    left_steps = left_images = left = 0
    for identity, spec in specs.items():
        folder = results.stage(identity)
        done = folder.done is not None and not fresh
        state = "trained" if done else "to train" if fresh else "started" if folder.started else "to train"
        steps = spec.training.steps if spec.training else 0
        images = steps * spec.training.batch if spec.training else 0
        if not done:
            left, left_steps, left_images = left + 1, left_steps + steps, left_images + images
        seed = "-" if spec.seed is None else str(spec.seed)
        shared = " (shared)" if len(users[identity]) > 1 else ""
        figures = f"{seed:>4} {state:11} {steps:7} {images:10}"
        lines.append(f"{identity:16}  {stage_title(spec):26.26} {figures}  {', '.join(users[identity])}{shared}")
    lines += skipped
    there = f"{len(specs)} stages, {len(specs) - left} already trained"
    lines.append(f"{there}; left to train: {left} stages, {left_steps} steps, {left_images} images")
    return "\n".join(lines)
