"""The registry of update rules: from groups of parameters to a torch.optim.Optimizer.

A group has "params" and "lr"; the engine sets its "lr" before every step. A rule that takes the
gradients of task and distillation apart inherits from `registry.updates.split.SplitUpdate`. Torch
is imported with a component, not here.
"""

from registry.registry import Registry

registry = Registry(
    "updates",
    positional=("groups", "options"),
    builtin={
        "adamw": "registry.updates.adamw",
        "dot": "registry.updates.dot",
        "dot_adam": "registry.updates.dot",
        "sgd": "registry.updates.sgd",
        "timm": "registry.updates.timm",
    },
    facts=lambda target: {"splits_losses": bool(getattr(target, "splits_losses", False))},
)
register, get, names, describe = registry.register, registry.get, registry.names, registry.describe
