"""What people read while a stage trains."""

from __future__ import annotations

from udonx.engine.hooks import Lap, Validation


def lap_line(lap: Lap) -> str:
    """Losses, images per second and the domains' shares, the largest first."""
    losses = lap.losses.items() if len(lap.losses) > 1 else ()
    largest_first = sorted(lap.shares.items(), key=lambda share: share[1], reverse=True)
    return ", ".join(
        [
            f"loss {lap.total:.3f}",
            *(f"{name} {value:.3f}" for name, value in losses),
            f"{lap.images_per_second:.0f} images/s",
            *(f"{domain[:5]} {share:.0%}" for domain, share in largest_first),
        ]
    )


def validation_line(validation: Validation, steps: int, best_step: int, best_r1: float) -> str:
    """R@1 after a step of `steps`, and which step is the best so far."""
    best = (
        "the best so far"
        if best_step == validation.step
        else f"the best is {100 * best_r1:.1f} after step {best_step}"
    )
    r1 = validation.result.main.r1
    return f"after step {validation.step} of {steps}: validation R@1 {100 * r1:.1f}, {best}"
