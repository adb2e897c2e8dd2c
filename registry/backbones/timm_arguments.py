"""Which of timm's arguments `kwargs` may not hold; kept apart from the backbone so that a check
reads it without importing timm.
"""

from __future__ import annotations

_FILES = (
    "it names weights, which would then be no part of what the stage is known by; say where a"
    " backbone starts with local or hub"
)
_BUILD = "it changes how timm builds models, not which model"
_PLACE = "the run decides where the model lies and in which precision it computes"

REFUSED: dict[str, str] = {
    "checkpoint_path": _FILES,
    "pretrained": _FILES,
    "pretrained_cfg": _FILES,
    "pretrained_cfg_overlay": _FILES,
    "pretrained_custom_load": _FILES,
    "pretrained_filter_fn": _FILES,
    "pretrained_model_args": _FILES,
    "pretrained_strict": _FILES,
    "default_cfg": _FILES,
    "external_default_cfg": _FILES,
    "cache_dir": _FILES,
    "scriptable": _BUILD,
    "exportable": _BUILD,
    "no_jit": _BUILD,
    "kwargs_filter": _BUILD,
    "feature_cfg": _BUILD,
    "model_cfg": _BUILD,
    "model_cls": _BUILD,
    "model_name": "the model is named by the key model",
    "variant": "the model is named by the key model",
    "features_only": "a backbone gives one vector per image",
    "num_classes": "a backbone has no classifier",
    "img_size": "the input size is the transform's crop",
    "in_chans": "images have three channels",
    "device": _PLACE,
    "dtype": _PLACE,
}
"""Arguments of `timm.create_model` and of what it calls, in this and earlier versions of timm, each
with the reason.
"""
