"""The registry of inits: how a model starts from those of earlier stages.

An init is called with the new model and its sources (`NamedTensors` in
registry/contracts/protocols.py), and changes the model in place, before its first step. Sources are
frozen. Nothing of it is random.
"""

from registry.inits.agreement import agreed_keys
from registry.registry import Registry

registry = Registry(
    "inits",
    positional=("model", "sources"),
    builtin={
        "same": "registry.inits.same",
        "grow": "registry.inits.grow",
        "inherit": "registry.inits.inherit",
        "average": "registry.inits.average",
    },
    reserved=("use", "from"),
    facts=lambda target: {"agreed": agreed_keys(target)},
)
register, get, names, describe = registry.register, registry.get, registry.names, registry.describe
