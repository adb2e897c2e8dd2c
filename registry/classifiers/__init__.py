"""The registry of classifiers: an embedding [B, dim] to a cosine with every class [B, classes].

A classifier is a torch.nn.Module. Each of its parameters has the classes along its first dimension,
so that those of several domains can be joined. Torch is imported with a component, not here.
"""

from registry.registry import Registry

DEFAULT = "cosine"
"""What a head has that names none."""

registry = Registry(
    "classifiers",
    positional=("dim", "classes"),
    builtin={
        "cosine": "registry.classifiers.cosine",
        "sub_centre": "registry.classifiers.sub_centre",
    },
)
register, get, names, describe = registry.register, registry.get, registry.names, registry.describe
