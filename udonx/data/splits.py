"""UnED's layout on disk: which domains and splits there are, and what a split file holds.

    root/images/<path>
    root/info_files/<domain>/<split>.json    [{"path": "cars/car_ims/000001.jpg", "class_id": 12},
    ...]

A `class_id` may be a list of integers: a query with several correct labels. That of a training
image may be null: it has no label, and losses that read labels leave it out. Torch-free and
Pillow-free, because planning reads it. Source: UnED's published split files.
"""

from __future__ import annotations

import difflib
import json
import os
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import attrs
import numpy as np

from udonx.common.files import DamagedFileError, read_bytes
from udonx.data.errors import DataError
from udonx.data.paths import path_problem

Phase = Literal["val", "test"]
"""When queries are searched: while a stage is trained, to choose its best step, or at the end."""
PHASES: tuple[Phase, ...] = get_args(Phase)

UNLABELLED = int(np.iinfo(np.int64).min)
"""What stands for the class of a training image that has none."""

# What a message shows of what was got: enough to find it, however large it is.
_short = reprlib.Repr()
_short.maxstring = 200


@attrs.frozen(eq=False)
class Split:
    """One split file in a compact form: UnED has splits of 1.4 million entries.

    Attributes:
        domain: name of the domain's folder.
        name: name of the file without `.json`.
        paths: N paths relative to `root/images`, in the file's order.
        class_ids: int64 [N]; for an entry with several labels its first, for one without a label
            `UNLABELLED`.
        several: row -> all labels, for the entries that have several.
    """

    domain: str
    name: str
    paths: list[str] = attrs.field(repr=False)
    class_ids: np.ndarray = attrs.field(repr=False)
    several: dict[int, tuple[int, ...]] = attrs.field(repr=False)

    def __len__(self) -> int:
        return len(self.paths)

    def labels(self) -> np.ndarray | list[list[int]]:
        """Labels as the retrieval metrics take them.

        They are int64 [N], or N lists where some entry has several.
        """
        if not self.several:
            return self.class_ids
        return [
            list(self.several.get(row, (label,)))
            for row, label in enumerate(self.class_ids.tolist())
        ]

    def classes(self) -> list[int]:
        """The distinct class ids, ascending."""
        return sorted(
            {
                *np.unique(self.class_ids[self.class_ids != UNLABELLED]).tolist(),
                *(label for labels in self.several.values() for label in labels),
            }
        )


def label_map(split: Split) -> dict[int, int]:
    """Map the split's original class ids to 0..C-1, in ascending order of the ids.

    Example:
        >>> label_map(Split("cars", "train", ["a", "b", "c"], np.array([40, 7, 40]), {}))
        {7: 0, 40: 1}
    """
    return {original: label for label, original in enumerate(split.classes())}


def split_file(root: Path | str, domain: str, split: str) -> Path:
    """Where a split lies.

    Example:
        >>> split_file("uned", "cars", "train").as_posix()
        'uned/info_files/cars/train.json'
    """
    return Path(root) / "info_files" / domain / f"{split}.json"


def nearest(name: str, names: Sequence[str]) -> str:
    """The end of a sentence about an unknown name: the nearest valid ones, or all.

    Example:
        >>> nearest("carz", ["cars", "sop"])
        'did you mean cars? There are: cars, sop'
    """
    close = difflib.get_close_matches(name, names, n=3)
    return (
        f"did you mean {' or '.join(close)}? " if close else ""
    ) + f"There are: {', '.join(names) or 'none'}"


@attrs.frozen
class BenchmarkLayout:
    """The names below one root; reads folders, never split files.

    Args:
        root: the folder that holds `images` and `info_files`.
    """

    root: Path = attrs.field(converter=Path)

    def domains(self, wanted: Sequence[str] | None = None) -> list[str]:
        """The domains: folders of `info_files` with at least one JSON file.

        They are in alphabetical order, or exactly `wanted` in its order.

        Raises:
            DataError: no such root, no domain, a wanted domain that is missing or named twice, a
                domain that is a broken link.
            OSError: a folder cannot be listed.
        """
        folder = self.root / "info_files"
        if not folder.is_dir():
            raise DataError(
                f"{folder} is not a folder: the data root must hold"
                " info_files/<domain>/<split>.json and images/; give it with --data, or as [data]"
                " root."
            )
        found = self._found(folder, wanted)
        if not found:
            raise DataError(
                f"{folder} holds no domain: expected folders with split files such as"
                f" {folder}/cars/train.json."
            )
        if wanted is None:
            return found
        if missing := [domain for domain in wanted if domain not in found]:
            if len(missing) == 1:
                raise DataError(
                    f"{folder} holds no domain {missing[0]!r}; {nearest(missing[0], found)}."
                )
            raise DataError(
                f"{folder} holds none of the domains {', '.join(missing)}; there are"
                f" {', '.join(found)}; give another folder with --data, or choose domains with"
                " --set 'setting.data.domains=[...]'."
            )
        for position, domain in enumerate(wanted):
            if domain in wanted[:position]:
                raise DataError(
                    f"the list of domains names {domain!r} twice; name each domain once."
                )
        return list(wanted)

    @staticmethod
    def _found(folder: Path, wanted: Sequence[str] | None) -> list[str]:
        """The folders of `folder` that hold a JSON file, in alphabetical order."""
        found = []
        for name in sorted(os.listdir(folder)):
            entry = folder / name
            # an editor's locks are links to nothing
            asked_for = not name.startswith(".") if wanted is None else name in wanted
            if asked_for and _leads_nowhere(entry):
                # Left out in silence, it would make a table over one domain fewer.
                raise DataError(
                    f"{entry} is a link that leads nowhere: mend it, or remove it if there is no"
                    " such domain."
                )
            if entry.is_dir() and any(file.endswith(".json") for file in os.listdir(entry)):
                found.append(name)
        return found

    def split_names(self, domain: str) -> list[str]:
        """The domain's splits in alphabetical order.

        Raises:
            DataError: no such domain.
        """
        self.domains([domain])
        return sorted(
            file.removesuffix(".json")
            for file in os.listdir(self.root / "info_files" / domain)
            if file.endswith(".json")
        )

    def query_index_splits(self, domain: str, phase: Phase) -> tuple[str, str] | None:
        """The (query, index) splits of a domain in a phase.

        It is None where the domain has no such queries.

        At test the index is `index` where that exists, else the queries themselves; at validation
        it is `small_index` (met), else the validation queries.

        Raises:
            DataError: no such domain.
            ValueError: `phase` is neither "val" nor "test".
        """
        if phase not in PHASES:
            raise ValueError(f'phase must be "val" or "test", got {phase!r}.')
        names = self.split_names(domain)
        if phase not in names:
            return None
        separate = {"test": "index", "val": "small_index"}[phase]
        return phase, separate if separate in names else phase


def read_split(root: Path | str, domain: str, split: str) -> Split:
    """Read and check one split file.

    Args:
        root: the folder that holds `images` and `info_files`.
        domain: a domain's name.
        split: "train", "val", "test", "index", "small_index" or any other that has a file.

    Raises:
        DataError: the file is missing, is not JSON, is empty, or an entry lacks `path` or
            `class_id` or has one of a wrong type.
    """
    file = split_file(root, domain, split)
    entries = _entries(file, root, domain, split)
    if not isinstance(entries, list) or not entries:
        got = "an empty list" if entries == [] else f"a JSON {type(entries).__name__}"
        raise DataError(
            f'{file} holds {got}: it must be a list of {{"path": ..., "class_id": ...}}; remove the'
            " file if there is no such split."
        )
    paths, class_ids, several = [], np.empty(len(entries), dtype=np.int64), {}
    for number, entry in enumerate(entries):
        path, labels = _checked(file, number, entry, may_lack=split == "train")
        paths.append(path)
        class_ids[number] = labels[0]
        if len(labels) > 1:
            several[number] = labels
    if (class_ids == UNLABELLED).all():
        raise DataError(
            f'{file} has no "class_id" but null: some image of a train split needs a label; give'
            " one, or leave the domain out."
        )
    return Split(domain, split, paths, class_ids, several)


def _entries(file: Path, root: Path | str, domain: str, split: str) -> object:
    """What a split file holds, each well-formed entry as a pair.

    Raises:
        DataError: it is missing or malformed.
    """
    try:
        # The hook keeps a pair in place of every entry's dict as soon as it is parsed: less memory
        # at 1.4 M entries.
        return json.loads(read_bytes(file).decode(), object_hook=_as_pair)
    except (FileNotFoundError, NotADirectoryError):
        if _leads_nowhere(file):
            raise DataError(
                f"{file} is a link that leads nowhere: mend it, or remove it if there is no such"
                " split."
            ) from None
        names = BenchmarkLayout(root).split_names(domain)
        raise DataError(
            f"{file} does not exist: domain {domain!r} has no split {split!r};"
            f" {nearest(split, names)}."
        ) from None
    except DamagedFileError as error:
        raise DataError(f"{file} {error.why}: put the list of the split's images there.") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text ({error}); write it anew as UTF-8.") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{file} is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno};"
            " repair it."
        ) from error
    except RecursionError:
        raise DataError(
            f'{file} is nested too deeply: it must be a list of {{"path": ..., "class_id": ...}};'
            " repair it."
        ) from None
    except (
        ValueError
    ) as error:  # the one that is left: Python reads no integer of thousands of digits
        raise DataError(
            f"{file} holds an integer of thousands of digits: class_id takes at most 63 bits;"
            " repair it."
        ) from error


def _leads_nowhere(path: Path | str) -> bool:
    """Whether a path is a link to something that does not exist, or to itself."""
    return os.path.islink(path) and not os.path.exists(path)


def _as_pair(entry: dict) -> tuple | dict:
    """(path, class_id) of a well-formed entry, else the entry as it is, for the message."""
    return (entry["path"], entry["class_id"]) if "path" in entry and "class_id" in entry else entry


def _checked(
    file: Path, number: int, entry: object, *, may_lack: bool
) -> tuple[str, tuple[int, ...]]:
    """Path and labels of one entry, numbered from 0; `may_lack` allows it to have no label."""
    where = f"{file}, entry {number}"
    if not isinstance(entry, tuple):
        got = (
            f"the keys {', '.join(map(_short.repr, list(entry)[:5])) or 'none'}"
            if isinstance(entry, dict)
            else _short.repr(entry)
        )
        raise DataError(f'{where} has {got}: every entry needs "path" and "class_id".')
    path, class_id = entry
    if problem := path_problem(path) if isinstance(path, str) else "it is no text":
        raise DataError(
            f"{where} has path {_short.repr(path)}: {problem}; it must be text, relative to the"
            " folder images and inside it."
        )
    if class_id is None and may_lack:
        return path, (UNLABELLED,)
    labels = tuple(class_id) if isinstance(class_id, list) else (class_id,)
    # bool is a subclass of int, but `true` in a split file is a mistake.
    if not labels or any(type(label) is not int or abs(label) >= 2**63 for label in labels):
        raise DataError(
            f"{where} has class_id {_short.repr(class_id)}: it must be an integer or a non-empty"
            f" list of integers{', or null' if may_lack else ''}."
        )
    return path, labels
