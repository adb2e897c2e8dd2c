"""Folders of images by class, `root/<domain>/<class>/<image>`.

What is there, and what is not as it should be.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from udonx.data.errors import SplitError

PHOTOS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})

_SHOWN = 3  # of many things of a kind, so many are named


@attrs.define
class Tally:
    """How many there are of a kind, and the first few of them."""

    count: int = 0
    first: list[str] = attrs.field(factory=list)

    def add(self, *things: str) -> None:
        """Count some more, by name."""
        self.count += len(things)
        self.first += things[: max(0, _SHOWN - len(self.first))]

    def merge(self, other: Tally) -> None:
        """Count those of another tally too."""
        self.first += other.first[: max(0, _SHOWN - len(self.first))]
        self.count += other.count


@attrs.frozen
class Ignored:
    """What lies in a tree without being an image of a class, as paths below its root.

    What is hidden is not even counted.

    Attributes:
        files: files that are no images by their suffix.
        loose: images that lie outside class folders.
        folders: folders inside class folders.
    """

    files: Tally = attrs.field(factory=Tally)
    loose: Tally = attrs.field(factory=Tally)
    folders: Tally = attrs.field(factory=Tally)

    def merge(self, other: Ignored) -> None:
        """Count those of another part of the tree too."""
        for kind in attrs.fields_dict(Ignored):
            getattr(self, kind).merge(getattr(other, kind))


@attrs.frozen
class DomainFolder:
    """A domain: its class folders, each with the names of its images.

    Both are in alphabetical order.
    """

    name: str
    classes: dict[str, list[str]]
    ignored: Ignored

    def paths(self) -> Iterator[str]:
        """The images, as `<domain>/<class>/<image>`."""
        for name, images in self.classes.items():
            yield from (f"{self.name}/{name}/{image}" for image in images)


def read_domains(root: Path) -> tuple[list[DomainFolder], Ignored]:
    """The domains of a tree of class folders, and what is ignored in all of it; opens no image.

    Domains are in alphabetical order; nothing depends on the order in which the disk lists files.

    Raises:
        SplitError: there is no such folder, or no folder in it; or one that cannot be read.
    """
    if not root.is_dir():
        raise SplitError(
            f"{root} is {'no folder' if root.exists() else 'not there'}; give a folder of"
            " <domain>/<class>/<image>"
        )
    folders, images, others = _listing(root)
    if {"images", "info_files"} <= set(folders):
        raise SplitError(
            f"{root} is in UnED's layout already (images and info_files): give it to `udonx run"
            " --data`"
        )
    if not folders:
        holds = (
            "images itself: give the folder two levels above, of"
            if images
            else "no folders: it must hold"
        )
        raise SplitError(f"{root} holds {holds} <domain>/<class>/<image>")
    ignored = Ignored()
    ignored.loose.add(*images)
    ignored.files.add(*others)
    domains = [_read_domain(root, name) for name in folders]
    for domain in domains:
        ignored.merge(domain.ignored)
    return domains, ignored


def _read_domain(root: Path, domain: str) -> DomainFolder:
    classes, ignored = {}, Ignored()
    folders, images, others = _listing(root / domain)
    ignored.loose.add(*(f"{domain}/{name}" for name in images))
    ignored.files.add(*(f"{domain}/{name}" for name in others))
    for name in folders:
        deeper, classes[name], others = _listing(root / domain / name)
        ignored.folders.add(*(f"{domain}/{name}/{folder}" for folder in deeper))
        ignored.files.add(*(f"{domain}/{name}/{other}" for other in others))
    return DomainFolder(domain, classes, ignored)


def _listing(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Names of (folders, images, other files) in a folder, sorted, without hidden ones."""
    folders, images, others = [], [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    folders.append(entry.name)
                elif os.path.splitext(entry.name)[1].lower() in PHOTOS and _is_file(entry):
                    images.append(entry.name)
                else:
                    others.append(entry.name)
    except OSError as error:
        raise SplitError(f"{printable(str(folder))} cannot be read: {error.strerror}") from error
    return sorted(folders), sorted(images), sorted(others)


def _is_folder(entry: os.DirEntry) -> bool:
    # A DirEntry raises for a link that leads to itself.
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _is_file(entry: os.DirEntry) -> bool:
    """A file, or a link that leads nowhere, which is an image to be reported.

    A pipe would be waited for without end.
    """
    return (
        not os.path.exists(entry.path) or os.path.isfile(entry.path)
        if entry.is_symlink()
        else entry.is_file()
    )


def layout_problems(root: Path, domains: Sequence[DomainFolder]) -> dict[str, str]:
    """What is wrong with names and levels of folders: domain -> sentence; "" for the whole tree."""
    flat = [f"{root}/{domain.name}" for domain in domains if domain.ignored.loose.count]
    deep = [domain.ignored.folders.first[0] for domain in domains if domain.ignored.folders.count]
    if len(domains) > 1 and not any(any(domain.classes.values()) for domain in domains):
        # Not one image is where it should be: the level is wrong, and a sentence for each domain
        # would only hide that.
        if len(flat) > 1:
            name, above = root.resolve().name, root.resolve().parent
            one = (
                f"{flat[0]} and {flat[1] if len(flat) == 2 else f'{len(flat) - 1} more folders'}"
                " hold images directly"
            )
            cure = f"give the folder above it ({above}), or a new folder into which you move {name}"
            return {"": f"{one}, so {root} is one domain and they are its classes; {cure}"}
        if deep:
            cure = "give a folder further down, or move the classes up"
            return {
                "": (
                    f"no image lies at {root}/<domain>/<class>/<image>, but there are deeper"
                    f" folders such as {root}/{deep[0]}; {cure}"
                )
            }
    problems = (
        (domain.name, _name_problem(root, domain) or _level_problem(root, domain))
        for domain in domains
    )
    return {name: problem for name, problem in problems if problem}


def _name_problem(root: Path, domain: DomainFolder) -> str:
    # A domain's name becomes a column of tables, in Markdown too; a class's stands in a UTF-8 file.
    if "|" in domain.name or any(
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in domain.name
    ):
        return (
            f"the domain's name {domain.name!a} has a '|', a control character or is not UTF-8;"
            f" rename the folder in {root}"
        )
    for name in domain.classes:
        if not is_utf8(name):
            return (
                f"domain '{domain.name}': the class folder {name!a} has a name that is not UTF-8;"
                " rename it"
            )
    return ""


def _level_problem(root: Path, domain: DomainFolder) -> str:
    if any(domain.classes.values()):
        return ""
    wanted = f"images must lie in {root}/{domain.name}/<class>/"
    loose, deeper = domain.ignored.loose, domain.ignored.folders
    if loose.count:
        return (
            f"domain '{domain.name}': its images lie directly in {root}/{domain.name}, without"
            f" class folders; {wanted}"
        )
    if deeper.count:
        return (
            f"domain '{domain.name}': its class folders hold no images but further folders"
            f" ({deeper.first[0]}); {wanted}"
        )
    if domain.classes:
        return f"domain '{domain.name}': there is no image in any of its class folders; {wanted}"
    return f"domain '{domain.name}': {root}/{domain.name} holds no class folders; {wanted}"


def is_utf8(name: str) -> bool:
    r"""Whether a name on disk is text: other bytes come from Python as lone surrogates.

    Example:
        >>> is_utf8("Škoda"), is_utf8(b"\xff".decode("utf-8", "surrogateescape"))
        (True, False)
    """
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def printable(name: str) -> str:
    r"""A name as it is, or escaped where a terminal could not show it.

    Example:
        >>> printable("中.jpg"), printable("a\nb")
        ('中.jpg', "'a\\nb'")
    """
    return name if name.isprintable() else ascii(name)
