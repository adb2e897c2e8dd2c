"""The registry of update rules: from groups of parameters to a torch.optim.Optimizer.

A group has "params" and "lr"; the engine sets its "lr" before every step. Torch is imported with a
component, not here.
"""

from registry.registry import Registry

registry = Registry(
    "updates",
    positional=("groups", "options"),
    builtin={
        "adamw": "registry.updates.adamw",
        "sgd": "registry.updates.sgd",
        "timm": "registry.updates.timm",
    },
)
register, get, names, describe = registry.register, registry.get, registry.names, registry.describe
