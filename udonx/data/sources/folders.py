"""Class folders, read in place: images that lie by class need no preparation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from registry import sources
from udonx.common.cache import cache_dir, cache_problem
from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.data.prepare.class_folders import DomainFolder, read_domains
from udonx.data.prepare.classes import checked_shares
from udonx.data.prepare.folders import folder_problems, split_folders
from udonx.data.sources import DataSeed, Root

_SHARES = (0.6, 0.2, 0.2)
_VERSION = 1
"""Raised when the same folders give other splits."""


@sources.register("folders")
class ClassFolders:
    """Folders of images by class, `DIR/<domain>/<class>/<image>`, read where they lie.

    The classes of each domain are split into train, val and test, as `udonx data split` does it,
    and no class is in two of them. The splits follow from the folders and the options alone. Their
    lists are kept in the cache folder and made anew when an image is added, removed or changed.
    """

    def __init__(
        self,
        *,
        root: Root = None,
        shares: Annotated[
            tuple[float, float, float],
            Field(
                description=(
                    "Which shares of a domain's classes are for train, val and test; that of val"
                    " may be 0."
                )
            ),
        ] = _SHARES,
        seed: DataSeed = 0,
        min_images: Annotated[
            int,
            Field(
                ge=2,
                description="Classes with fewer images that can be opened are left out.",
                json_schema_extra={"unit": "images"},
            ),
        ] = 2,
    ) -> None:
        self.root = Path(root) if root is not None else None
        self.shares, self.seed, self.min_images = tuple(shares), seed, min_images

    def domains(self) -> tuple[str, ...]:
        """The folders in DIR."""
        return tuple(domain.name for domain in read_domains(self._folder())[0])

    def problems(self, wanted: Sequence[str] | None) -> Iterator[tuple[str, str]]:
        """What is wrong with the folders or the shares; no image is opened for it."""
        shares = self.shares
        try:
            checked_shares(shares)
        except DataError as error:
            yield "shares", str(error)
            shares = _SHARES
        try:
            folder = self._folder()
        except DataError as error:
            yield "root", str(error)
            return
        for sentence in folder_problems(
            folder, shares=shares, min_images=self.min_images, domains=wanted
        ):
            yield "root", sentence

    def open(self, wanted: Sequence[str] | None, progress: Callable[[int, int], None]) -> Benchmark:
        """The benchmark of the folders; images are opened once, to leave out damaged ones."""
        folder = self._folder().resolve()
        domains = [item for item in read_domains(folder)[0] if not wanted or item.name in wanted]
        cache = cache_dir()
        if cache is None:
            raise DataError(f"splits of class folders need a cache folder, but {cache_problem()}")
        lists = cache / f"folders-v{_VERSION}-{self._key(folder, domains)}"
        if not lists.is_dir():
            split_folders(
                folder,
                lists,
                shares=self.shares,
                min_images=self.min_images,
                seed=self.seed,
                domains=wanted,
                progress=progress,
            )
        return Benchmark.open(lists, wanted, origin=str(folder))

    def _folder(self) -> Path:
        if self.root is None:
            raise DataError(
                "its data needs a folder of <domain>/<class>/<image>: give it with --data DIR"
            )
        return self.root

    def _key(self, folder: Path, domains: Sequence[DomainFolder]) -> str:
        """A hash of the options, and of the place, size and time of every image."""
        digest = hashlib.sha256()
        options: list[Any] = [str(folder), list(self.shares), self.seed, self.min_images]
        digest.update(json.dumps(options).encode())
        for domain in domains:
            for path in domain.paths():
                try:
                    status = (folder / path).stat()
                except OSError:  # a link that leads nowhere: it is left out where images are opened
                    described: list[Any] = [ascii(path)]
                else:
                    described = [ascii(path), status.st_size, status.st_mtime_ns]
                digest.update(json.dumps(described).encode())
        return digest.hexdigest()[:16]
