"""The registry of schemes: who teaches whom. A scheme plans stages and imports no torch."""

from registry.registry import Registry

registry = Registry(
    "schemes",
    builtin={
        "classification": "registry.schemes.classification",
        "specialists": "registry.schemes.specialists",
        "separate_teachers": "registry.schemes.separate_teachers",
        "multi_head_teacher": "registry.schemes.multi_head_teacher",
        "udon": "registry.schemes.udon",
        "off_the_shelf": "registry.schemes.off_the_shelf",
        "as_is": "registry.schemes.as_is",
    },
)
register, get, names, describe = registry.register, registry.get, registry.names, registry.describe
