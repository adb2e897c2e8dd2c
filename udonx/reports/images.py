"""The images behind a stored table, opened as its runs were recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from udonx.common.files import DamagedFileError
from udonx.common.json_files import read_json
from udonx.config.data import ROOT, DataConfig, read_data
from udonx.config.merge import Layer
from udonx.config.problems import Problem
from udonx.data.errors import DataError
from udonx.inputs.open import OpenData, image_store, open_source
from udonx.inputs.sources import data_problems
from udonx.planning.plan import Identities
from udonx.reports.source import TableSource

_ELSEWHERE = "give the folder of its images with --data"


class ImagesError(Exception):
    """The images behind a table cannot be opened; `str()` says why, in one sentence."""


@attrs.define(eq=False)
class ImageFinder:
    """Opens the images of tables, each source of data once.

    Args:
        folder: where the images of all tables lie now; None for where they lay.
    """

    folder: Path | None = None
    _opened: dict[str, OpenData | ImagesError] = attrs.field(factory=dict, init=False)
    _identities: dict[str, Identities] = attrs.field(factory=dict, init=False)

    def open(self, source: TableSource) -> OpenData:
        """The images of a table; generated ones that are gone are drawn again.

        Raises:
            ImagesError: they are not here any more, or others than those that were evaluated.
        """
        config = self._config(source)
        key = repr(config)
        if key not in self._opened:
            try:
                self._opened[key] = _opened(config)
            except ImagesError as error:
                self._opened[key] = error
        opened = self._opened[key]
        if isinstance(opened, ImagesError):
            raise opened
        self._check(source, opened, self._identities.setdefault(key, Identities(opened.benchmark)))
        return opened

    def _config(self, source: TableSource) -> DataConfig:
        """Where the images of a table came from, as the record of its runs says it."""
        recorded = _recorded_data(source)
        folder: str | Path | None = None
        if ROOT in recorded:
            # the record has the folder as it was typed, the table has the whole path
            folder = self.folder or source.table.about.data or None
        problems: list[Problem] = []
        layer = Layer(where="the run record", prefix="", data={"data": recorded})
        config = read_data([layer], folder, problems)
        if problems:
            raise ImagesError(f"its data cannot be opened: {problems[0].message}")
        return config

    def _check(self, source: TableSource, opened: OpenData, identities: Identities) -> None:
        """Raise ImagesError where the images are others than those that were evaluated."""
        stored = None
        for row in source.table.rows:
            try:
                stored = stored or source.results.read_evaluation(row.evaluations[0])
            except DamagedFileError:
                continue
        for domain, manifest in (stored.data if stored else {}).items():
            there = domain in opened.benchmark.domains
            if not there or identities.test_manifest(domain) != manifest:
                raise ImagesError(
                    f"the test images of {domain} in {opened.benchmark.root} are not those that"
                    f" were evaluated; {_ELSEWHERE}"
                )


def _opened(config: DataConfig) -> OpenData:
    if problems := data_problems("data", config):
        raise ImagesError(f"its images are not here: {problems[0].message}; {_ELSEWHERE}")
    try:
        benchmark = open_source(config)
    except (DataError, OSError) as error:
        raise ImagesError(f"its images cannot be opened: {error}") from error
    return OpenData(benchmark, image_store(config, benchmark))


def _recorded_data(source: TableSource) -> dict[str, Any]:
    """The keys of [data] of a run of the table.

    Raises:
        ImagesError: no run of it is recorded.
    """
    runs = (
        run
        for run in source.results.runs()
        if (run.file, run.setting) == (source.file, source.variant) and run.sacred_id
    )
    for run in runs:
        file = source.results.root / "sacred" / str(run.sacred_id) / "config.json"
        try:
            data = read_json(file, dict[str, Any]).get("data")
        except (DamagedFileError, OSError):
            continue
        if isinstance(data, dict):
            return data
    raise ImagesError(
        f"where its images came from is not recorded (no run of {source.name} in"
        f" {source.results.root / 'sacred'})"
    )
