"""`export`: a trained stage in other formats, each checked before it is kept."""

from __future__ import annotations

import itertools
import os
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, cast

import attrs
import numpy as np
import torch
from PIL import Image
from torch import nn

from registry.contracts import StageSpec
from udonx.common.files import naming, scratch_folder, write_atomic
from udonx.common.words import display_path
from udonx.data.demo.drawing import sample_pictures
from udonx.data.errors import DataError
from udonx.data.images import decode
from udonx.engine.embed import embed_batches
from udonx.engine.embedding import Embedding
from udonx.engine.errors import StageError
from udonx.engine.export import (
    FORMATS,
    TIMM_CONFIG,
    TIMM_FILES,
    Export,
    WrittenFormat,
    choose_branch,
    is_export,
    write_graph,
    write_manifest,
    write_timm,
)
from udonx.engine.exported_graph import GRAPH_FILES, MANIFEST
from udonx.engine.load import load_stage, read_spec
from udonx.engine.loaded_model import LoadedModel
from udonx.engine.model import Model
from udonx.evaluation.protocol import Embedder
from udonx.running.model_card import CARD, describe_model, is_model_card
from udonx.store.stage import StageFolder

Format = Literal["timm", "onnx", "torch"]
Dtype = Literal["float32", "float16", "bfloat16"]
Tta = Literal["none", "flip"]

_CHECKED = 16  # images that an export is checked on
_FILES = (*TIMM_FILES, *GRAPH_FILES, MANIFEST, CARD)
_HALF = '{"udonx": {}}'  # a config.json that nothing loads
# what a killed export leaves
_HALF_WRITTEN = re.compile(r"\.[0-9a-f]{16}\.tmp")
# how far an entry of a vector of unit length may lie from udonx's own: rounding of float32, of
# weights in half precision, and of a backbone that was evaluated in bfloat16
_TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}


def export_stage(
    stage: str | Path,
    out: str | Path,
    formats: Sequence[Format] = ("timm",),
    *,
    dtype: Dtype = "float32",
    tta: Tta = "none",
    images: str | Path | None = None,
    overwrite: bool = False,
) -> Export:
    """Write a stage's embedding as a folder that needs no udonx, with a model card.

    Every format is loaded again and compared with the stage on images. Where it differs, nothing is
    written.

    Args:
        stage: the folder of a finished stage.
        out: the folder to write; it must be new or empty.
        formats: "timm" for the backbone in timm's layout, the head and embedding.py; "onnx" for
            embedding.onnx; "torch" for embedding.pt2 of `torch.export`. The last two hold all from
            the subtraction of the mean to the unit length, with a dynamic batch; embedding.json
            says the rest.
        dtype: of timm's backbone on disk; loaded back, weights are float32.
        tta: "flip" for the mean over an image and its mirror image, inside every format.
        images: a folder of images to check on; without one, generated pictures.
        overwrite: replace an earlier export in `out`; other files there stay as they are.

    Raises:
        StageError: `stage` is no finished stage, it cannot be written in a format, a format
            differs, or `out` holds anything that may not be replaced.
        MissingExtraError: "onnx" is asked for without the extra `onnx`.
    """
    folder, out = StageFolder(Path(stage)), Path(out)
    if not formats or (unknown := [name for name in formats if name not in FORMATS]):
        got = ", ".join(unknown) if formats else "none"
        raise StageError(f"formats: got {got}; allowed are {', '.join(FORMATS)}")
    _refuse_to_overwrite(out, overwrite)
    flip: Literal["flip"] | None = "flip" if tta == "flip" else None
    model = load_stage(folder, torch.device("cpu"))
    spec, pictures = read_spec(folder), _pictures(images, model.crop)
    # a folder that is there may be another file system than the one it lies in
    place = out / "export" if out.is_dir() else out
    with naming(out), scratch_folder(place) as scratch:
        new = scratch / "export"
        new.mkdir()
        written = [
            write_timm(new, model, spec, dtype=dtype, tta=flip)
            if name == "timm"
            else write_graph(new, name, model, spec, tta=flip)
            for name in dict.fromkeys(formats)
        ]
        if any(each.name != "timm" for each in written):
            write_manifest(new, folder.read_model().id, model, spec, tta=flip)
        checked = [
            attrs.evolve(each, difference=_check(each, model, spec, flip, pictures, dtype))
            for each in written
        ]
        export = Export(
            path=out,
            written=tuple(
                attrs.evolve(each, file=out / each.file.relative_to(new)) for each in checked
            ),
            features=model.feature_dim,
            parameters=_parameters(model, spec),
            crop=model.crop,
            images=len(pictures),
        )
        write_atomic(new / CARD, describe_model(folder, spec, export, flip))
        _move(new, out)
    return export


# --------------------------------------------------------------------------------------- checking


def _pictures(folder: str | Path | None, crop: int) -> Sequence[Path | Image.Image]:
    """What an export is checked on: images of a folder, else generated ones.

    Raises:
        StageError: there is no such folder, or no image in it that can be read.
    """
    if folder is None:
        return sample_pictures(_CHECKED, crop * 5 // 4)  # larger, so that they are resized
    if not Path(folder).is_dir():
        raise StageError(f"--images: {display_path(folder)} is no folder; give a folder of images")
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    random.Random(0).shuffle(files)
    found = list(itertools.islice(filter(_can_be_read, files), _CHECKED))
    if not found:
        raise StageError(
            f"--images: {display_path(folder)} holds no image that can be read; give another"
            " folder, or leave it out"
        )
    return found


def _can_be_read(path: Path) -> bool:
    try:
        decode(path)
    except DataError:
        return False
    return True


def _check(
    written: WrittenFormat,
    model: Model,
    spec: StageSpec,
    tta: Literal["flip"] | None,
    pictures: Sequence[Path | Image.Image],
    dtype: Dtype,
) -> float:
    """The largest difference between what was written and udonx's own output.

    Raises:
        StageError: it is larger than rounding explains.
    """
    embedder = Embedder(model, written.branch, tta)
    batches = embed_batches(
        embedder, pictures, torch.device("cpu"), domain=choose_branch(model, spec).domain
    )
    expected_ND = np.concatenate([batch.vectors_BD for batch in batches])
    embed = _loaded(written)
    # a single image too: the batch is to be of any size
    got_ND = np.concatenate([embed(part) for part in (pictures[:1], pictures[1:]) if part])
    difference = float(np.abs(got_ND - expected_ND).max())
    kind = "bfloat16" if spec.precision == "bf16" else "float32"
    allowed = max(_TOLERANCE[kind], _TOLERANCE[dtype] if written.name == "timm" else 0)
    if not difference <= allowed:  # NaN is no less
        raise StageError(
            f"{written.name}: the export differs from the stage by {difference:.2g} in an entry of"
            f" a vector, allowed are {allowed:g}; nothing was written: choose another --format"
        )
    return difference


def _loaded(written: WrittenFormat) -> Callable[[Sequence[Path | Image.Image]], np.ndarray]:
    """What was written, as a person would load it."""
    if written.name == "timm":  # without udonx
        return Embedding.load(written.file).embed
    return LoadedModel(written.file).embed


def _parameters(model: Model, spec: StageSpec) -> int:
    """Numbers that are learned, of backbone and head."""
    head = choose_branch(model, spec).head
    modules = [cast(nn.Module, model.backbone), *([head] if head is not None else [])]
    return sum(tensor.numel() for module in modules for tensor in module.parameters())


# ---------------------------------------------------------------------------------------- writing


def _refuse_to_overwrite(out: Path, overwrite: bool) -> None:
    """Refuse a folder that holds anything that may not be replaced.

    Raises:
        StageError: it does.
    """
    if out.exists() and not out.is_dir():
        raise StageError(f"{out} is a file; give a folder")
    there = sorted(file.name for file in out.iterdir()) if out.is_dir() else []
    there = [name for name in there if name != "__pycache__" and not _HALF_WRITTEN.fullmatch(name)]
    if there and not overwrite:
        raise StageError(
            f"{out} is not empty (it holds {', '.join(there[:4])}); give another folder, or"
            " --overwrite for an earlier export"
        )
    ours = [name for name in there if name in _FILES]
    if CARD in ours and not is_model_card((out / CARD).read_text(errors="replace")):
        raise StageError(
            f"{out} holds a {CARD} that no export of udonx wrote; rename it, or give another folder"
        )
    if ours and not is_export(out) and not (out / MANIFEST).is_file():
        raise StageError(
            f"{out} holds {', '.join(ours)}, which no export of udonx wrote; give another folder"
        )


def _move(new: Path, out: Path) -> None:
    """Put an export where it belongs, in place of an earlier one.

    First a config.json that nothing can load, last the real one: an export that was stopped is
    never taken for a whole one.
    """
    if not os.path.lexists(out):
        os.replace(new, out)
        return
    names = {file.name for file in new.iterdir()}
    out.mkdir(exist_ok=True)
    write_atomic(out / TIMM_CONFIG, _HALF)
    for name in _FILES:
        if name not in (*names, TIMM_CONFIG):
            (out / name).unlink(missing_ok=True)
    for name in sorted(names, key=lambda name: (name in (MANIFEST, TIMM_CONFIG), name)):
        os.replace(new / name, out / name)
    if TIMM_CONFIG not in names:
        (out / TIMM_CONFIG).unlink()
