"""A folder in UnED's layout, read in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from registry import sources
from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.data.sources import Root
from udonx.data.splits import BenchmarkLayout


@sources.register("uned")
class Uned:
    """Any folder in UnED's layout: `images/`, and `info_files/<domain>/<split>.json`.

    Source: Towards Universal Image Embeddings, ICCV 2023.
    """

    def __init__(self, *, root: Root = None) -> None:
        self.root = Path(root) if root is not None else None

    def domains(self) -> tuple[str, ...]:
        """The folders of `info_files` that hold a split."""
        return tuple(BenchmarkLayout(self._folder()).domains())

    def problems(self, wanted: Sequence[str] | None) -> Iterator[tuple[str, str]]:
        """A folder that is not there or not in this layout, and domains that it lacks."""
        try:
            BenchmarkLayout(self._folder()).domains(wanted)
        except DataError as error:
            yield "root", f"{error}{self._hint()}"

    def open(self, wanted: Sequence[str] | None, progress: Callable[[int, int], None]) -> Benchmark:
        """The benchmark in the folder."""
        return Benchmark.open(self._folder(), wanted)

    def _hint(self) -> str:
        """How to read a folder that holds class folders, it seems."""
        if self.root is None or not self.root.is_dir() or (self.root / "info_files").exists():
            return ""
        if not any(item.is_dir() and item.name != "images" for item in self.root.iterdir()):
            return ""
        return (
            " If it is a folder of <domain>/<class>/<image>, read it with --set"
            " setting.data.source=folders."
        )

    def _folder(self) -> Path:
        if self.root is None:
            raise DataError(
                "its data needs a folder in UnED's layout (images/ and info_files/): give it with"
                " --data DIR"
            )
        return self.root
