"""The registry of samplers: which domain the next batch comes from. No sampler needs torch."""

from registry.catalog import Registry

registry = Registry(
    "samplers",
    positional=("domains", "train_counts", "steps", "seed"),
    builtin={
        "round_robin": "registry.samplers.round_robin",
        "uniform": "registry.samplers.shares",
        "size_proportional": "registry.samplers.shares",
        "fixed": "registry.samplers.shares",
        "dynamic": "registry.samplers.dynamic",
    },
    facts=lambda target: {"needs_signal": bool(getattr(target, "needs_signal", False))},
)
register, get, names, describe = registry.register, registry.get, registry.names, registry.describe
