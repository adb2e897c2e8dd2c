"""Where a backbone's start weights come from.

That is a named folder in timm's own layout, timm's hub, or, if asked for, the seed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import attrs
from pydantic import BaseModel, Field, Strict, ValidationError

from registry.backbones.timm_arguments import REFUSED
from udonx.common.cache import cached_sha256
from udonx.common.errors import UdonxError
from udonx.common.files import DamagedFileError, read_bytes
from udonx.common.words import display_path
from udonx.config.backbones import BackboneConfig

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).resolve().parents[1] / "weights"
RANDOM = "random"
_FILES = ("config.json", "model.safetensors")
# arguments of the stored model that ours are given in place of
_GIVEN = ("img_size", "num_classes")


class WeightsError(UdonxError, ValueError):
    """Start weights that are missing or do not fit.

    The message says where they were looked for and how to get them.
    """


@attrs.frozen(kw_only=True)
class StartWeights:
    """Start weights, found.

    Attributes:
        sha256: their identity; "random" without any.
        source: where they were found, as people read it.
        folder: the folder that holds them; None where there are none.
        model_args: how their architecture was configured.
        mean: what is subtracted from the channels of an image.
        std: what they are then divided by.
        crop: the edge in pixels of the images that they were made for; None where nothing says it.
    """

    sha256: str
    source: str
    folder: Path | None = None
    model_args: dict[str, Any] = attrs.field(factory=dict)
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    crop: int | None = None


def search_folders(given: str | Path | None) -> list[Path]:
    """Where local weights are looked up.

    They are `--weights`, the folders of UDONX_WEIGHTS, and the package's own.
    """
    named = os.environ.get("UDONX_WEIGHTS", "")
    return [
        *([Path(given)] if given else []),
        *(Path(part) for part in named.split(os.pathsep) if part),
        SHIPPED,
    ]


def local_folder(backbone: BackboneConfig, given: str | Path | None) -> Path | None:
    """The folder of a backbone's local weights, None where there is none.

    A folder is found by the name that `local` gives. Without `local`, weights of the hub may lie in
    the folder that `prefer` gives, if that is of this model, or in `MODEL.TAG`.

    Raises:
        WeightsError: the folder does not fit.
    """
    hub = None if backbone.random else hub_name(backbone)
    names = (
        [backbone.local]
        if backbone.local
        else [backbone.prefer, hub.removeprefix("timm/")]
        if hub
        else []
    )
    for name in filter(None, names):
        for folder in search_folders(given):
            preferred = name == backbone.prefer and name != backbone.local
            if (folder / name).is_dir() and not (
                preferred and _config(folder / name)["architecture"] != backbone.options["model"]
            ):
                _check_folder(folder / name, backbone)
                return folder / name
    return None


def _check_folder(folder: Path, backbone: BackboneConfig) -> None:
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise WeightsError(
            f"{display_path(folder)} lacks {' and '.join(missing)}; a weights folder in timm's"
            f" layout holds {' and '.join(_FILES)}"
        )
    config = _config(folder)
    found, wanted = config["architecture"], backbone.options.get("model")
    if wanted not in (found, None):
        raise WeightsError(
            f"{display_path(folder)} holds weights of '{found}', but backbone '{backbone.role}' is"
            f" '{wanted}'; name the folder of the right weights, or change the model"
        )
    for key in (config.get("model_args") or {}).keys() & REFUSED.keys() - set(_GIVEN):
        raise WeightsError(
            f"{display_path(folder / 'config.json')}: model_args.{key} may not be set:"
            f" {REFUSED[key]}; take it out of the file"
        )
    _check_tensors(folder / "model.safetensors")


def _check_tensors(file: Path) -> None:
    """Refuse a file that was cut off while it was copied.

    Its header says so; no tensor is read for it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy"):
            pass
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{display_path(file)} is no whole safetensors file ({error}); copy or fetch it again"
        ) from None


class _Preprocessing(BaseModel):
    mean: tuple[Annotated[float, Strict(), Field(allow_inf_nan=False)], ...] = Field(
        min_length=3, max_length=3
    )
    std: tuple[Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)], ...] = Field(
        min_length=3, max_length=3
    )


class _FolderConfig(BaseModel):
    """What is read of a weights folder's config.json."""

    architecture: str
    model_args: dict[str, Any] | None = None
    pretrained_cfg: _Preprocessing


def _config(folder: Path) -> dict[str, Any]:
    """The content of a folder's config.json, of which the parts that are used have been looked at.

    Raises:
        WeightsError: it is damaged, or a part is missing.
    """
    file = folder / "config.json"
    try:
        config = json.loads(read_bytes(file))
    except (ValueError, RecursionError) as error:
        why = error.why if isinstance(error, DamagedFileError) else f"is not valid JSON: {error}"
        raise WeightsError(f"{display_path(file)} {why}") from None
    if not isinstance(config, dict):
        raise WeightsError(
            f"{display_path(file)} holds no JSON object; timm's layout names the model there as"
            " 'architecture'"
        )
    try:
        # older files have mean and std outside
        _FolderConfig.model_validate({"pretrained_cfg": config, **config})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise WeightsError(
            f"{display_path(file)}: {key}: {first['msg'].lower()}; weights in timm's layout come"
            " with it"
        ) from None
    return config


def architecture(folder: Path) -> str:
    """The model whose weights a folder holds.

    Raises:
        WeightsError: its config.json is damaged or does not say it.
    """
    return _config(folder)["architecture"]


def hub_name(backbone: BackboneConfig) -> str | None:
    """The hub repository of a backbone's weights, as timm names it."""
    return (
        f"timm/{backbone.options['model']}.{backbone.hub}"
        if backbone.hub and "model" in backbone.options
        else None
    )


def problem_of(backbone: BackboneConfig, given: str | Path | None) -> str | None:
    """What is wrong with a backbone's start weights, found without a network and without torch.

    It is None where they are there, random, or still to be fetched from the hub.
    """
    try:
        if local_folder(backbone, given) is None and (
            backbone.local or not (backbone.random or hub_name(backbone))
        ):
            return _nowhere(backbone, given)
    except WeightsError as error:
        return str(error)
    return None


def _nowhere(backbone: BackboneConfig, given: str | Path | None, reason: str = "") -> str:
    hub = hub_name(backbone)
    if not backbone.local and not hub:
        return (
            f"backbone '{backbone.role}' does not say where it starts: give local (a folder's name,"
            " looked up under --weights), hub (a tag of timm's), or random = true"
        )
    folders = ", ".join(display_path(folder) for folder in search_folders(given))
    name = backbone.local or (hub or "").removeprefix("timm/")
    if backbone.local:
        other = f"; `local = false` takes {hub} from timm's hub instead" if hub else ""
    else:
        other = (
            f"; or fetch {hub} where there is a network: hf download {hub} --local-dir DIR/{name}"
        )
    return (
        f"backbone '{backbone.role}' needs the weights '{name}' ({', '.join(_FILES)}), which are in"
        f" none of {folders}{reason}; give the folder that holds them with --weights DIR or"
        f" UDONX_WEIGHTS{other}{others_that_fit(backbone, given)}"
    )


def others_that_fit(backbone: BackboneConfig, given: str | Path | None) -> str:
    """The end of a sentence about weights that are not there.

    It names the folders that hold others of the same model, in the order in which they are
    searched.
    """
    names = []
    for file in [
        file for folder in search_folders(given) for file in sorted(folder.glob("*/config.json"))
    ]:
        with contextlib.suppress(WeightsError, OSError):
            _check_folder(file.parent, backbone)
            names.append(file.parent.name)
    return (
        f'; there are {", ".join(names)} of this model, which `local = "{names[0]}"` would take'
        if names
        else ""
    )


def resolve(
    backbone: BackboneConfig,
    given: str | Path | None,
    *,
    fetch: bool = True,
) -> StartWeights:
    """Find the start weights of a backbone.

    Args:
        backbone: the backbone.
        given: the folder of `--weights`.
        fetch: whether they may be fetched from the hub; else only its cache counts.

    Raises:
        WeightsError: there are none; one sentence says where was looked and how to get them.
    """
    folder = local_folder(backbone, given)
    if folder is not None:
        return _found(folder, f"{display_path(folder)}")
    if backbone.random and not backbone.local:
        return StartWeights(sha256=RANDOM, source="random weights")
    name = hub_name(backbone)
    if backbone.local or not name:
        raise WeightsError(_nowhere(backbone, given))
    if fetch:
        logger.info(f"weights {name}: from the hub, or its cache")
    try:
        paths = [_from_hub(name, file, fetch) for file in _FILES]
    except socket.gaierror:
        raise WeightsError(
            _nowhere(backbone, given, ", and there is no network to fetch them from the hub")
        ) from None
    except (
        Exception
    ) as error:  # the hub's client raises many kinds: no network, no such file, no space
        raise WeightsError(
            _nowhere(backbone, given, f", and the hub gave {type(error).__name__}")
        ) from None
    _check_folder(paths[0].parent, backbone)
    return _found(paths[0].parent, name)


def _from_hub(name: str, file: str, fetch: bool) -> Path:
    """A file of the hub, from its cache where it is there."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.utils import LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, file, local_files_only=True))
    except LocalEntryNotFoundError:
        if not fetch:
            raise
        if not any(
            os.environ.get(proxy)
            for proxy in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
        ):
            # without a network the client would try for half a minute and print every attempt
            socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
        return Path(hf_hub_download(name, file))


def _found(folder: Path, source: str) -> StartWeights:
    config = _config(folder)
    statistics = config.get("pretrained_cfg", config)
    return StartWeights(
        sha256=cached_sha256(folder / "model.safetensors"),
        source=source,
        folder=folder,
        model_args={
            key: value
            for key, value in (config.get("model_args") or {}).items()
            if key not in _GIVEN
        },
        mean=tuple(statistics["mean"]),
        std=tuple(statistics["std"]),
        crop=(statistics.get("input_size") or [None])[-1],
    )
