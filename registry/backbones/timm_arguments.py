"""What may be wrong with the options of a timm backbone.

It is apart from the backbone so that a check needs no import of timm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from registry.registry import Names, Remember, nearest

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


def problems(options: Mapping[str, Any], remember: Remember) -> Iterator[tuple[str, str]]:
    """What is wrong with the options of a timm backbone, found without importing timm.

    A model or tag may be one that timm does not have, a kwarg one that is not allowed.

    Args:
        options: the options of the backbone, complete.
        remember: keeps the names that timm has between runs, for timm is slow to import.

    Yields:
        (key, sentence) of each problem.
    """
    models = remember("timm", _models)
    model, hub = options["model"], options.get("hub")
    if model not in models:
        close = nearest(model, models, 3)
        hint = f"did you mean {', '.join(close)}?" if close else "see timm.list_models()"
        yield "model", f"which is an unknown timm model; {hint}"
    for name in sorted((options.get("kwargs") or {}).keys() & REFUSED.keys()):
        yield f"kwargs.{name}", f"but this may not be set: {REFUSED[name]}"
    if model in models and hub and not options.get("random") and hub not in models[model]:
        close = nearest(hub, models[model], 2)
        hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
        allowed = ", ".join(sorted(models[model])) or "none"
        what = f"unknown tag of timm's weights of {model}"
        yield "hub", f"which is an {what}; {hint}allowed: {allowed}"


def _models() -> Names:
    """The model names of timm, each with its tags of pre-trained weights, best first."""
    import timm

    models: Names = {name: [] for name in timm.list_models()}
    for full in timm.list_models(pretrained=True):
        name, _, tag = full.partition(".")
        models.setdefault(name, []).append(tag)
    return models
