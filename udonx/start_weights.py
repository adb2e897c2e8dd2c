"""Where a backbone's start weights come from: a local folder in timm's own layout, else timm's hub, else, if asked for, the seed."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from udonx.config.files import shown
from udonx.files import cache_dir, sha256_file, write_atomic

SHIPPED = Path(__file__).resolve().parent / "weights"
RANDOM = "random"
_FILES = ("config.json", "model.safetensors")


class WeightsError(ValueError):
    """Start weights that are missing or do not fit; the message says where they were looked for and how to get them."""

    for_people = True


@attrs.frozen(kw_only=True)
class BackboneConfig:
    """One role of a setting: the component with its options, and where its start weights come from."""

    role: str
    use: str
    options: dict[str, Any]
    version: int
    local: str | None
    hub: str | None
    random: bool
    source: str | None = None


@attrs.frozen(kw_only=True)
class StartWeights:
    """Start weights, found: `sha256` is their identity ("random" without any), `folder` holds them, `model_args` is how their
    architecture was configured, `mean` and `std` are the statistics that images are normalised with."""

    sha256: str
    source: str
    folder: Path | None = None
    model_args: dict[str, Any] = attrs.field(factory=dict)
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)


def search_folders(given: str | Path | None) -> list[Path]:
    """Where local weights are looked up: `--weights`, the folders of UDONX_WEIGHTS, the package's own."""
    named = os.environ.get("UDONX_WEIGHTS", "")
    return [*([Path(given)] if given else []), *(Path(part) for part in named.split(os.pathsep) if part), SHIPPED]


def local_folder(backbone: BackboneConfig, given: str | Path | None) -> Path | None:
    """The folder of a backbone's local weights, None where there is none. Raises WeightsError where it does not fit.

    A folder is found by the name that `local` gives, else by `MODEL.TAG`, as on the hub.
    """
    names = [name for name in (backbone.local, hub_name(backbone) and hub_name(backbone).removeprefix("timm/")) if name]
    for folder in search_folders(given):
        for name in names:
            if (folder / name).is_dir():
                _check_folder(folder / name, backbone)
                return folder / name
    return None


def _check_folder(folder: Path, backbone: BackboneConfig) -> None:
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise WeightsError(f"{shown(folder)} lacks {' and '.join(missing)}; a weights folder in timm's layout holds {' and '.join(_FILES)}")
    architecture = _config(folder).get("architecture")
    if "model" in backbone.options and architecture != backbone.options["model"]:
        raise WeightsError(
            f"{shown(folder)} holds weights of '{architecture}', but backbone '{backbone.role}' is '{backbone.options['model']}'; "
            "name the folder of the right weights, or change the model"
        )


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text())
    except ValueError as error:
        raise WeightsError(f"{shown(folder / 'config.json')} is not valid JSON: {error}") from None
    if not isinstance(config, dict):
        raise WeightsError(f"{shown(folder / 'config.json')} holds no JSON object; timm's layout names the model there as 'architecture'")
    return config


def hub_name(backbone: BackboneConfig) -> str | None:
    """The hub repository of a backbone's weights, as timm names it."""
    return f"timm/{backbone.options['model']}.{backbone.hub}" if backbone.hub and "model" in backbone.options else None


def problem_of(backbone: BackboneConfig, given: str | Path | None) -> str | None:
    """What is wrong with a backbone's start weights, found without a network and without torch; None where they are there, random, or
    still to be fetched from the hub."""
    try:
        if local_folder(backbone, given) is None and not backbone.random and not hub_name(backbone):
            return _nowhere(backbone, given)
    except WeightsError as error:
        return str(error)
    return None


def _nowhere(backbone: BackboneConfig, given: str | Path | None, reason: str = "") -> str:
    if not backbone.local and not hub_name(backbone):
        return (
            f"backbone '{backbone.role}' does not say where it starts: give local (a folder's name, looked up under --weights), hub (a tag "
            "of timm's), or random = true"
        )
    folders = ", ".join(shown(folder) for folder in search_folders(given))
    hub = hub_name(backbone)
    name = backbone.local or hub.removeprefix("timm/")
    fetch = f"; or fetch {hub} where there is a network: hf download {hub} --local-dir DIR/{name}" if hub else ""
    return (
        f"backbone '{backbone.role}' needs the weights '{name}' ({', '.join(_FILES)}), which are in none of {folders}{reason}; "
        f"give the folder that holds them with --weights DIR or UDONX_WEIGHTS{fetch}"
    )


def resolve(
    backbone: BackboneConfig, given: str | Path | None, say: Callable[[str], None] = lambda line: None, *, fetch: bool = True
) -> StartWeights:
    """Find the start weights of a backbone, fetching them from the hub if they are only there (and `fetch`; else only its cache counts).

    Raises WeightsError with one sentence that says where was looked and how to get them.
    """
    folder = local_folder(backbone, given)
    if folder is not None:
        return _found(folder, f"{shown(folder)}")
    if backbone.random:
        return StartWeights(sha256=RANDOM, source="random weights")
    if not hub_name(backbone):
        raise WeightsError(_nowhere(backbone, given))
    name = hub_name(backbone)
    if fetch:
        say(f"weights {name}: from the hub, or its cache")
    try:
        paths = [_from_hub(name, file, fetch) for file in _FILES]
    except socket.gaierror:
        raise WeightsError(_nowhere(backbone, given, ", and there is no network to fetch them from the hub")) from None
    except Exception as error:  # the hub's client raises many kinds: no network, no such file, no space
        raise WeightsError(_nowhere(backbone, given, f", and the hub gave {type(error).__name__}")) from None
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
        if not any(os.environ.get(proxy) for proxy in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
            # without a network the client would try for half a minute and print every attempt
            socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
        return Path(hf_hub_download(name, file))


def _found(folder: Path, source: str) -> StartWeights:
    config = _config(folder)
    statistics = config.get("pretrained_cfg", config)
    if "mean" not in statistics or "std" not in statistics:
        raise WeightsError(f"{shown(folder / 'config.json')} lacks pretrained_cfg.mean or .std, by which images are normalised; add both")
    return StartWeights(
        sha256=_cached_sha256(folder / "model.safetensors"),
        source=source,
        folder=folder,
        model_args=dict(config.get("model_args") or {}),
        mean=tuple(statistics["mean"]),
        std=tuple(statistics["std"]),
    )


def _cached_sha256(path: Path) -> str:
    stat = path.stat()
    key = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    folder = cache_dir()
    store = folder / "weights.json" if folder else None
    known: dict[str, str] = {}
    if store and store.exists():
        try:
            known = json.loads(store.read_text())
        except ValueError:  # a cache that cannot be read is rebuilt
            known = {}
    if key not in known:
        known[key] = sha256_file(path)
        if store:
            write_atomic(store, json.dumps(known))
    return known[key]
