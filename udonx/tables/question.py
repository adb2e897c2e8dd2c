"""Which question a table answers, and so in which folder it lies.

File, setting, data, start weights and `--set` make it, but not rows or seeds.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path, PurePosixPath

import attrs

from udonx.config.experiment import Experiment
from udonx.config.toml_files import SHIPPED
from udonx.inputs.weights import SHIPPED as SHIPPED_WEIGHTS
from udonx.inputs.weights import WeightsError, local_folder

_LONGEST = 60  # bytes of a name within a folder's name
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


@attrs.frozen
class Question:
    """The folder of a table, `tables/FILE/VARIANT`.

    Runs of one question know each other by these two names.

    Examples: `table3_ablation/demo`, `table3_ablation/uned_mini+photos+1f2e3d4c`. The variant is
    the setting's name, the name of the data's folder where there is one, and a short hash of
    everything else that makes it another question. A shipped file, or one beside the results
    folder, needs no hash of its own.
    """

    file: str
    variant: str

    @property
    def folder(self) -> PurePosixPath:
        """The folder below `tables/`."""
        return PurePosixPath(self.file, self.variant)


def question_of(experiment: Experiment, root: Path) -> Question:
    """The question of an experiment whose results lie in `root`.

    The same arguments give the same folder, whatever lies there.
    """
    file, setting = _name(experiment.name), _name(PurePosixPath(experiment.setting).name)
    data = experiment.data.root.resolve() if experiment.data.root else None
    parts = {
        "name": experiment.name if experiment.name != file else "",
        "place": _place(experiment.path, root),
        "setting": experiment.setting if experiment.setting != setting else "",
        "data": str(data) if data else "",
        "weights": _weights(experiment),
        # of one key the last counts: their order stays
        "set": sorted(experiment.overrides, key=lambda text: text.partition("=")[0]),
    }
    parts = {name: part for name, part in parts.items() if part}
    names = [setting, *([_name(data.name)] if data else [])]
    if parts:
        names.append(hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8])
    return Question(file, "+".join(names))


def _name(name: str) -> str:
    """A name that is one folder's name on any disk, whatever a person wrote.

    It is never empty, no path and no hidden folder.
    """
    safe = _NOT_IN_NAMES.sub("_", name).strip(".")
    return safe.encode()[:_LONGEST].decode(errors="ignore") or "_"


def _place(path: Path, root: Path) -> str:
    """Where a file lies, as seen from beside the results folder.

    So both may move together. It is empty for a shipped file, and for one that lies there and is no
    namesake of a shipped one.
    """
    folder = path.resolve().parent
    if folder == SHIPPED:
        return ""
    beside = os.path.relpath(folder, root.resolve().parent)
    return "" if beside == "." and not (SHIPPED / path.name).is_file() else beside


def _weights(experiment: Experiment) -> dict[str, str]:
    """The folders of start weights that `--weights` or UDONX_WEIGHTS brings, by role."""
    found = {}
    for role in {row.backbone for row in experiment.rows if not row.skipped}:
        try:
            folder = local_folder(experiment.backbones[role], experiment.weights_dir)
        except WeightsError:  # weights that do not fit are no part of any table
            continue
        if folder is not None and not folder.resolve().is_relative_to(SHIPPED_WEIGHTS):
            found[role] = str(folder.resolve())
    return found
