"""The registry of heads: features [B, F] to L2-normalised embeddings [B, D]. Torch is imported with a component, not here."""

from registry.catalog import Registry

registry = Registry(
    "heads",
    positional=("in_dim", "dim"),
    builtin={"linear": "registry.heads.linear", "mlp": "registry.heads.mlp", "pca": "registry.heads.pca"},
    facts=lambda target: {"fitted": hasattr(target, "fit")},
)
register, get, names, describe = registry.register, registry.get, registry.names, registry.describe
