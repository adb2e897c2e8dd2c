"""The registry of heads: features [B, F] to L2-normalised embeddings [B, D].

A head is trained, or it has `fit(moments)` and is fitted once on the features of the training
images (registry/heads/moments.py; registry/heads/class_moments.py for a head whose `of_classes` is
true). Torch is imported with a component, not here.
"""

from registry.registry import Registry

registry = Registry(
    "heads",
    positional=("in_dim", "dim"),
    builtin={
        "lda": "registry.heads.lda",
        "linear": "registry.heads.linear",
        "mlp": "registry.heads.mlp",
        "pca": "registry.heads.pca",
    },
    reserved=("use", "dim"),
    facts=lambda target: {"fitted": hasattr(target, "fit")},
)
register, get, names, describe = registry.register, registry.get, registry.names, registry.describe
