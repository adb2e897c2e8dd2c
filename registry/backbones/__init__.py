"""The registry of backbones: images [B, 3, H, W], normalised, to features [B, F].

Torch is imported with a component, not here.
"""

from registry.registry import Registry

registry = Registry(
    "backbones",
    positional=("start",),
    builtin={"timm": "registry.backbones.timm"},
    checks={"timm": "registry.backbones.timm_arguments"},
    reserved=("use", "local", "hub", "prefer", "random"),
)
register, get, names, describe = registry.register, registry.get, registry.names, registry.describe
