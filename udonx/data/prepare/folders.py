"""From class folders to UnED's layout.

Every class is in one of train, val and test; images are linked where they lie.
"""

from __future__ import annotations

import csv
import errno
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import attrs

from udonx.common.files import atomic_folder, atomic_path
from udonx.data.errors import SplitError
from udonx.data.prepare.class_folders import (
    DomainFolder,
    Ignored,
    Tally,
    layout_problems,
    read_domains,
)
from udonx.data.prepare.classes import LEAST, SPLITS, assign, checked_shares, fewest_classes
from udonx.data.prepare.verify import look_at
from udonx.data.splits import nearest

_TOLD_BY_NUMBER = (errno.EACCES, errno.ENOSPC, errno.EROFS)
"""Not a matter of links: the disk is full or cannot be written."""


@attrs.frozen
class Count:
    """Numbers of classes and images."""

    classes: int
    images: int


@attrs.frozen
class DomainSplit:
    """What became of a domain.

    It has its splits (no val where its share is 0), and what is in none: small classes, unreadable
    images.
    """

    name: str
    splits: dict[str, Count]
    left_out: Count


@attrs.frozen(kw_only=True)
class FolderSplit:
    """What `split_folders` did.

    Attributes:
        out: the folder that was made.
        min_images: classes with fewer readable images were left out.
        domains: in alphabetical order.
        small: the classes that were left out, as `<domain>/<class>`.
        unreadable: the images that cannot be opened (or, verified, decoded), as path and reason.
        turned: the images with an EXIF orientation other than upright.
        images: how many were looked at.
        ignored: what else lies in the tree.
    """

    out: Path
    min_images: int
    domains: tuple[DomainSplit, ...]
    small: Tally
    unreadable: Tally
    turned: Tally
    images: int
    ignored: Ignored


def split_folders(
    source: Path | str,
    out: Path | str,
    *,
    shares: Sequence[float] = (0.6, 0.2, 0.2),
    min_images: int = 2,
    seed: int = 0,
    domains: Sequence[str] | None = None,
    verify: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> FolderSplit:
    """Turn folders `source/<domain>/<class>/<image>` into a benchmark in UnED's layout.

    No class is in two splits.

    Writes `out/info_files/<domain>/{train,val,test}.json` and beside them `classes.csv` (class_id,
    name, split, images). `out/images/<domain>` is a link to the domain's folder: no image is
    copied, so `source` must stay where it is. Class ids are the places of the kept classes in
    alphabetical order. The same tree and options give the same bytes; a domain's split does not
    depend on the other domains. `out` is there whole, or not at all.

    Args:
        source: the class folders. Images are .jpg, .jpeg, .png, .webp, .bmp, .gif, .tif and .tiff
            files directly in a class folder; other files are ignored and counted, hidden ones just
            ignored.
        out: the folder to make, outside `source`; it may exist if it is empty.
        shares: of each domain's classes for train, val and test, rounded as `split_classes.allot`
            says; val may be 0.
        min_images: classes with fewer images that can be opened are left out; at least 2, since a
            query needs a positive.
        seed: which classes are drawn.
        domains: only these; None for all.
        verify: decode every image in whole; else only headers are read, and damage further on shows
            when an image is first used.
        progress: `progress(done, total)` is called with numbers of opened images.

    Raises:
        SplitError: all that is wrong with the folders and options; nothing is written.
        OSError: `out` cannot be written (no space, no permission); nothing is left behind.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> cars = folder / "photos" / "cars"
        >>> for name in ("audi", "bmw", "saab", "seat"):
        ...     (cars / name).mkdir(parents=True)
        ...     for number in range(2):
        ...         Image.new("RGB", (8, 8)).save(cars / name / f"{number}.png")
        >>> split = split_folders(folder / "photos", folder / "benchmark")
        >>> split.domains[0].splits["train"]
        Count(classes=2, images=4)
        >>> print((folder / "benchmark" / "info_files" / "cars" / "val.json").read_text(), end="")
        [
        {"path": "cars/bmw/0.png", "class_id": 1},
        {"path": "cars/bmw/1.png", "class_id": 1}
        ]
    """
    source, out = Path(source), Path(out)
    problems, exact, found, ignored = _examine(source, shares, min_images, domains, out)
    _refuse(problems)
    paths = [path for domain in found for path in domain.paths()]
    looked = look_at(paths, lambda path: source / path, whole=verify, progress=progress)
    reasons = looked.unreadable
    kept = [_kept(domain, reasons, min_images) for domain in found]
    _refuse(_few(kept, found, exact, min_images, reasons))
    assigned = {
        domain.name: assign(domain.classes, exact, seed=seed, domain=domain.name) for domain in kept
    }
    try:
        with atomic_folder(out.resolve()) as temporary:
            for domain in kept:
                _link(temporary / "images" / domain.name, source.resolve() / domain.name, out)
                _write_lists(temporary / "info_files" / domain.name, domain, assigned[domain.name])
    except OSError as error:
        # Named is the folder that was asked for, not a temporary one in it.
        raise OSError(error.errno, error.strerror or str(error), str(out)) from error
    small, unreadable = Tally(), Tally()
    for before, after in zip(found, kept, strict=True):
        small.add(
            *(f"{before.name}/{name}" for name in before.classes if name not in after.classes)
        )
    unreadable.add(*(f"{path} ({reason})" for path, reason in reasons.items()))
    return FolderSplit(
        out=out,
        min_images=min_images,
        domains=tuple(
            _outcome(*pair, assigned[pair[0].name]) for pair in zip(found, kept, strict=True)
        ),
        small=small,
        unreadable=unreadable,
        turned=looked.turned,
        images=len(paths),
        ignored=ignored,
    )


def folder_problems(
    source: Path,
    *,
    shares: Sequence[float],
    min_images: int,
    domains: Sequence[str] | None = None,
) -> list[str]:
    """What is wrong with class folders and how they are to be split, a sentence each.

    No image is opened for it. The arguments are those of `split_folders`.
    """
    return _examine(source, shares, min_images, domains)[0]


def _examine(
    source: Path,
    shares: Sequence[float],
    min_images: int,
    wanted: Sequence[str] | None,
    out: Path | None = None,
) -> tuple[list[str], dict[str, Fraction], list[DomainFolder], Ignored]:
    """What is known to be wrong before images are opened.

    Beside it: shares, domains, and what lies beside them.
    """
    problems: list[str] = []
    exact: dict[str, Fraction] = {}
    domains: list[DomainFolder] = []
    ignored = Ignored()
    try:
        exact = checked_shares(shares)
    except SplitError as error:
        problems.append(str(error))
    if min_images < 2:
        problems.append(
            f"min-images is {min_images}; allowed is 2 or more, since a query needs another image"
            " of its class"
        )
    try:
        domains, ignored = read_domains(source)
    except SplitError as error:
        problems.append(str(error))
    if wanted is not None and domains:
        there = [domain.name for domain in domains]
        problems += [
            f"{source} holds no domain '{name}'; {nearest(name, there)}"
            for name in wanted
            if name not in there
        ]
        problems += [
            f"the list of domains names '{name}' twice; name each domain once"
            for position, name in enumerate(wanted)
            if name in wanted[:position]
        ]
        domains = [domain for domain in domains if domain.name in wanted]
    problems += _out_problem(source, out) if out else []
    wrong = layout_problems(source, domains) if domains else {}
    problems += wrong.values()
    if exact and min_images >= 2 and "" not in wrong:
        # Unreadable images can only make classes fewer: what is too few now need not wait for them
        # to be opened.
        sound = [domain for domain in domains if domain.name not in wrong]
        kept = [_kept(domain, {}, min_images) for domain in sound]
        problems += _few(kept, sound, exact, min_images, {})
    return problems, exact, domains, ignored


def _out_problem(source: Path, out: Path) -> list[str]:
    whole = out.resolve()
    if whole.is_relative_to(source.resolve()):
        return [f"{out} lies in {source}, where it would become a domain; name a folder outside it"]
    if whole.exists() and not whole.is_dir():
        return [f"{out} is a file; name a new folder"]
    if whole.is_dir() and any(whole.iterdir()):
        return [f"{out} exists and is not empty; remove it or name a new folder"]
    above = next(folder for folder in whole.parents if folder.exists())
    if not above.is_dir():
        return [f"{out} cannot be made, because {above} is a file; name another folder"]
    if whole.is_mount():
        return [
            f"{out} is where a disk is mounted, which cannot be replaced; name a new folder in it"
        ]
    return []


def _refuse(problems: Sequence[str]) -> None:
    if len(problems) == 1:
        raise SplitError(f"{problems[0]}.")
    if problems:
        lines = (f"  {number}. {problem}" for number, problem in enumerate(problems, 1))
        raise SplitError("\n".join([f"{len(problems)} problems; nothing was written", *lines]))


def _kept(domain: DomainFolder, unreadable: Mapping[str, str], min_images: int) -> DomainFolder:
    """The domain without unreadable images and without classes that have too few of the others."""
    classes = {}
    for name, images in domain.classes.items():
        readable = [image for image in images if f"{domain.name}/{name}/{image}" not in unreadable]
        if len(readable) >= min_images:
            classes[name] = readable
    return attrs.evolve(domain, classes=classes)


def _few(
    kept: Iterable[DomainFolder],
    domains: Iterable[DomainFolder],
    shares: Mapping[str, Fraction],
    min_images: int,
    unreadable: Mapping[str, str],
) -> list[str]:
    """A sentence for each domain that has too few classes left."""
    needed = fewest_classes(shares)
    parts = ", ".join(f"{LEAST[split]} for {split}" for split in shares)
    problems = []
    for after, before in zip(kept, domains, strict=True):
        usable, small = len(after.classes), len(before.classes) - len(after.classes)
        if usable >= needed:
            continue
        sentence = (
            f"domain '{before.name}' has {usable} usable class{'' if usable == 1 else 'es'}, but"
            f" needs at least {needed} ({parts})"
        )
        if small:
            were = "was" if small == 1 else "were"
            sentence += (
                f"; {small} with fewer than {min_images} readable images {were} left out"
                " (min-images)"
            )
        if broken := [path for path in before.paths() if path in unreadable]:
            sentence += (
                f"; {len(broken)} of its images cannot be opened, such as {broken[0]}"
                f" ({unreadable[broken[0]]})"
            )
        problems.append(sentence)
    return problems


def _link(link: Path, target: Path, out: Path) -> None:
    link.parent.mkdir(exist_ok=True)
    try:
        link.symlink_to(target, target_is_directory=True)
    except (OSError, NotImplementedError) as error:
        number = getattr(error, "errno", None)
        if number in _TOLD_BY_NUMBER:
            raise
        why = os.strerror(number) if number else error
        raise SplitError(
            f"{out} is on a file system without symbolic links ({why}); name a folder on another"
            " one."
        ) from error


def _write_lists(folder: Path, domain: DomainFolder, assigned: Mapping[str, str]) -> None:
    """Write the split files, one entry a line, and classes.csv.

    That one is no .json file, since every one in the folder counts as a split.
    """
    entries: dict[str, list[str]] = {}
    rows = []
    for number, (name, images) in enumerate(domain.classes.items()):
        split = assigned[name]
        paths = (f"{domain.name}/{name}/{image}" for image in images)
        lines = (
            json.dumps({"path": path, "class_id": number}, ensure_ascii=False) for path in paths
        )
        entries.setdefault(split, []).extend(lines)
        rows.append((number, name, split, len(images)))
    for split in SPLITS:
        if split in entries:
            with (
                atomic_path(folder / f"{split}.json") as file,
                open(file, "w", encoding="utf-8", newline="\n") as handle,
            ):
                handle.write("[\n" + ",\n".join(entries[split]) + "\n]\n")
    with (
        atomic_path(folder / "classes.csv") as file,
        open(file, "w", encoding="utf-8", newline="") as handle,
    ):
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(("class_id", "name", "split", "images"))
        writer.writerows(rows)


def _outcome(before: DomainFolder, after: DomainFolder, assigned: Mapping[str, str]) -> DomainSplit:
    splits = {}
    for split in (split for split in SPLITS if split in assigned.values()):
        sizes = [len(after.classes[name]) for name, where in assigned.items() if where == split]
        splits[split] = Count(classes=len(sizes), images=sum(sizes))
    left_out = Count(
        classes=len(before.classes) - len(after.classes),
        images=sum(map(len, before.classes.values())) - sum(map(len, after.classes.values())),
    )
    return DomainSplit(after.name, splits, left_out)
