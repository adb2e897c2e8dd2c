"""The whole embedding as one graph, written as ONNX or by `torch.export`, and read back.

A graph takes prepared images, float32 [B, 3, crop, crop], 0..255, RGB, of any batch size B. Inside
are the subtraction of the mean, the backbone, the head, the unit length, and with `tta = "flip"`
the mean over each image and its mirror image. It computes in float32.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor, nn

from registry.heads.initialisers import l2_normalise
from udonx.common.errors import sentence_of
from udonx.common.extras import import_extra
from udonx.common.files import DamagedFileError, atomic_path
from udonx.common.words import display_path
from udonx.engine.errors import StageError
from udonx.engine.model import Model

INPUT, OUTPUT = "images", "embedding"
"""What a graph calls its input and its output."""
ONNX_FILE, TORCH_FILE = "embedding.onnx", "embedding.pt2"
AGAIN = "export the stage again"
_EXTRA = "onnx"
_LIMIT = 2**31  # bytes: one ONNX file holds no more
_GRAPH = "models/model.json"
# what `torch.export.save` writes of a graph, below the archive's own folder
_MEMBERS = re.compile(
    r"models/model\.json|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)|data/sample_inputs/model\.pt"
    r"|archive_format|archive_version|byteorder|\.data/(version|serialization_id)"
)


class EmbeddingGraph(nn.Module):
    """A backbone and one head, from prepared images to embeddings.

    Args:
        model: its backbone is copied, and computes in float32 whatever the model's precision.
        head: one of its heads; None for the backbone's features.
        tta: "flip" for the mean over each image and its mirror image.

    Attributes:
        crop: edge of its images in pixels.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self, model: Model, head: nn.Module | None = None, tta: Literal["flip"] | None = None
    ) -> None:
        super().__init__()
        # torch.export stores weights as they lie in memory, and warns of those that are not dense
        backbone = copy.deepcopy(cast(nn.Module, model.backbone))
        self.backbone = backbone.to(memory_format=torch.contiguous_format)
        self.head = copy.deepcopy(head)
        self.register_buffer("scale", model.scale.clone())
        self.register_buffer("shift", model.shift.clone())
        self.crop, self.tta = model.crop, tta
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings float32 [B, D] with unit rows, of images float32 [B, 3, crop, crop]."""
        if self.tta is None:
            return self._embed(images)
        # one pass for both, so that the graph holds the backbone once
        both_2BD = self._embed(torch.cat([images, images.flip(-1)]))
        return l2_normalise(both_2BD.unflatten(0, (2, -1)).sum(0))

    def _embed(self, images_B3HW: Tensor) -> Tensor:
        features_BF = self.backbone(torch.addcmul(self.shift, images_B3HW, self.scale))
        features_BF = l2_normalise(features_BF.float())
        return features_BF if self.head is None else self.head(features_BF)

    def example(self) -> Tensor:
        """Images that it can be traced with, float32 [2, 3, crop, crop]."""
        return torch.full((2, 3, self.crop, self.crop), 128.0)


# ------------------------------------------------------------------------------------- writing


def write_onnx(graph: EmbeddingGraph, path: Path) -> None:
    """Write a graph as one ONNX file with a dynamic batch.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        StageError: the graph cannot be written as ONNX, or is too large for one file.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        import_extra(package, _EXTRA, "--format onnx")
    size = sum(tensor.nbytes for tensor in graph.state_dict().values())
    if size >= _LIMIT:
        raise StageError(
            f"{path.name}: its weights take {size / 2**30:.1f} GiB, and one ONNX file holds less"
            " than 2; use --format torch"
        )
    with _explained(path, "as ONNX"):
        program = torch.onnx.export(
            graph,
            (graph.example(),),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=_dynamic_batch(),
            external_data=False,
            verbose=False,
        )
    assert program is not None  # with dynamo=True
    with atomic_path(path) as temporary:
        program.save(temporary, external_data=False)


def write_torch(graph: EmbeddingGraph, path: Path) -> None:
    """Write a graph with `torch.export`, with a dynamic batch.

    Raises:
        StageError: torch cannot export the graph.
    """
    with _explained(path, "by torch.export"):
        program = torch.export.export(
            graph, (graph.example(),), dynamic_shapes=_dynamic_batch(), strict=False
        )
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        torch.export.save(program, file)


def _dynamic_batch() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim("batch", min=1)},)


@contextmanager
def _explained(path: Path, how: str) -> Iterator[None]:
    """Turn what torch raises over a graph into one sentence, and keep its own lines away."""
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside torch, of no use to a reader
            yield
    except Exception as error:  # plug-ins may do what cannot be traced, in as many ways
        if sentence_of(error) is not None:
            raise
        why = " ".join(str(error).split())
        raise StageError(
            f"{path.name}: the model cannot be written {how} ({type(error).__name__}: {why:.200});"
            " export it with --format timm"
        ) from error
    finally:
        logging.getLogger("torch.onnx").setLevel(level)


# ------------------------------------------------------------------------------------- reading


class Graph(Protocol):
    """A graph that was read back."""

    def __call__(self, images_B3HW: Tensor) -> Tensor:
        """Embeddings float32 [B, D] of images float32 [B, 3, crop, crop], 0..255."""


def read_onnx(path: Path, device: torch.device) -> Graph:
    """A graph of an ONNX file, computed by ONNX Runtime.

    Args:
        path: what `write_onnx` wrote.
        device: where it computes; on a GPU where the ONNX Runtime that is installed can.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        DamagedFileError: it is no such file.
    """
    runtime = import_extra("onnxruntime", _EXTRA, display_path(path))
    wanted = "CUDAExecutionProvider" if device.type == "cuda" else "CPUExecutionProvider"
    providers = [name for name in (wanted,) if name in runtime.get_available_providers()]
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = runtime.InferenceSession(
            str(path), options, providers=providers or ["CPUExecutionProvider"]
        )
    except Exception as error:  # classes of its own for a file that is none of ONNX
        raise DamagedFileError(path, "cannot be read as ONNX", AGAIN) from error

    def embed(images_B3HW: Tensor) -> Tensor:
        (embedding_BD,) = session.run([OUTPUT], {INPUT: images_B3HW.cpu().numpy()})
        return torch.from_numpy(embedding_BD)

    return embed


def read_torch(path: Path, device: torch.device) -> Graph:
    """A graph of a file of `torch.export`.

    `torch.export.load` unpickles what a file marks as pickled, and loads compiled libraries. Files
    with any of these are refused; what `write_torch` writes has none.

    Raises:
        DamagedFileError: it is no such file, or holds pickled objects or libraries.
    """
    from torch.export.passes import move_to_device_pass

    _refuse_programs(path)
    try:
        program = torch.export.load(path)
    except Exception as error:
        if sentence_of(error) is not None:
            raise
        why = " ".join(str(error).split())
        raise DamagedFileError(path, f"cannot be loaded by torch ({why:.200})", AGAIN) from error
    return move_to_device_pass(program, device).module()


def _refuse_programs(path: Path) -> None:
    """Refuse a file with anything but a graph and its plain tensors.

    The archive of `torch.export` may also hold pickled objects and compiled libraries.

    Raises:
        DamagedFileError: it holds such a thing, or is no archive of `torch.export`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            refused = list(_refused_members(archive))
    except Exception as error:  # zipfile, json and torch raise many kinds over a damaged archive
        if isinstance(error, OSError):
            raise
        raise DamagedFileError(path, "is no file of torch.export", AGAIN) from error
    if refused:
        raise DamagedFileError(
            path, f"holds more than a graph and tensors ({refused[0]}), which is never loaded"
        )


def _refused_members(archive: zipfile.ZipFile) -> Iterator[str]:
    """What of an archive is neither graph nor plain tensor."""
    names = [name.partition("/")[2] for name in archive.namelist()]
    if _GRAPH not in names:
        raise ValueError("no graph in it")
    for member, name in zip(archive.namelist(), names, strict=True):
        if not _MEMBERS.fullmatch(name):
            yield name
        elif name.endswith("_config.json"):
            tensors = json.loads(archive.read(member))["config"]
            yield from (tensor for tensor, about in tensors.items() if about["use_pickle"])
        elif name.endswith(".pt"):
            # torch.export.load would unpickle it with all objects where this fails
            torch.load(io.BytesIO(archive.read(member)), weights_only=True)
