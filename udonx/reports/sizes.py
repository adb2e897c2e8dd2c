"""How large the models behind a table's rows are: parameters, and the length of their vectors."""

from __future__ import annotations

import math

import attrs
from safetensors import SafetensorError, safe_open

from udonx.common.files import DamagedFileError
from udonx.reports.curves import evaluated_stages
from udonx.reports.source import TableSource
from udonx.store.stage import StageFolder
from udonx.tables.content import TableRow

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@attrs.frozen
class ModelSize:
    """The size of what embeds images for a row.

    Attributes:
        parameters: of all its backbones and heads, without classifiers; None where not known.
        dim: the length of a vector; None where not known, as of a backbone without a head.
    """

    parameters: int | None = None
    dim: int | None = None


def read_size(source: TableSource, row: TableRow) -> ModelSize:
    """The size of a row's models at its first seed; unknown where a stage's folder is gone."""
    try:
        stages = evaluated_stages(source, row.evaluations[0], row) if row.evaluations else []
        folders = [source.results.stage(stage) for stage in stages]
        counts = [_parameters(folder, row.branch) for folder in folders]
        dims = {_dim(folder, row.branch) for folder in folders}
    except (DamagedFileError, SafetensorError, OSError):
        return ModelSize()
    return ModelSize(sum(counts) if counts else None, dims.pop() if len(dims) == 1 else None)


def _dim(folder: StageFolder, branch: str) -> int | None:
    head = folder.read_model().spec.get(f"{branch}_head")
    return head.get("dim") if isinstance(head, dict) else None


def _parameters(folder: StageFolder, branch: str) -> int:
    """The parameters of backbone and heads, from the header of the weights alone."""
    wanted = ("backbone.", "student_head." if branch == "student" else "teacher_heads.")
    with safe_open(folder.best, framework="numpy") as tensors:
        return sum(
            math.prod(tensors.get_slice(name).get_shape())
            for name in tensors.keys()  # noqa: SIM118 (it is no dict)
            if name.startswith(wanted) and not name.endswith(_STATISTICS)
        )
