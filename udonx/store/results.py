"""The results folder: where everything lies, and evaluations on disk (docs/results.md)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import attrs
import numpy as np

from registry.metrics import DEFAULTS, names
from udonx.common.files import DamagedFileError, atomic_path, open_regular
from udonx.common.json_files import read_json, write_json
from udonx.data.unreadable import LeftOut, left_out
from udonx.evaluation.metrics import DomainMetrics, Means, PerQuery, RetrievalMetrics, version_of
from udonx.evaluation.protocol import ProtocolResult
from udonx.store.neighbours import StoredNeighbours, read_neighbours, write_neighbours
from udonx.store.runs import Run, append_run, read_runs
from udonx.store.stage import StageFolder

logger = logging.getLogger(__name__)

AGAIN = "the same `udonx run` makes it again, and trains nothing for it"
_RETRY = "`udonx tune` with --retry-failed tries the trial again"


def _shares(_: Any, attribute: attrs.Attribute, values: dict[str, float]) -> None:
    if not set(DEFAULTS) <= set(values):
        raise ValueError(f"{attribute.name} must hold {', '.join(DEFAULTS)}, got {list(values)}")
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {value}")


@attrs.frozen(kw_only=True)
class StoredFigures(Means):
    """What metrics.json keeps of one index.

    In the file each metric is a key of its own beside the others, of the index and of its domains.

    Attributes:
        means: means over domains, fractions by the metric's name.
        per_domain: each domain's own.
        without_positives: queries without a relevant item in the index.
    """

    means: dict[str, float] = attrs.field(validator=_shares)
    per_domain: dict[str, DomainMetrics]
    without_positives: int

    @classmethod
    def of(cls, metrics: RetrievalMetrics) -> StoredFigures:
        """What is kept of an evaluation's metrics."""
        without = int((metrics.per_query.positives == 0).sum())
        per_domain = {str(domain): means for domain, means in metrics.per_domain.items()}
        return cls(means=metrics.means, per_domain=per_domain, without_positives=without)

    def to_plain(self) -> dict[str, Any]:
        """The index as it stands in metrics.json."""
        per_domain = {
            name: {**domain.means, "queries": domain.queries}
            for name, domain in self.per_domain.items()
        }
        return {
            **self.means,
            "per_domain": per_domain,
            "without_positives": self.without_positives,
        }


def _nested(content: dict[str, Any]) -> dict[str, Any]:
    """metrics.json as StoredEvaluation has it: the metrics of an index and of a domain together."""

    def means_apart(figures: dict[str, Any], *others: str) -> dict[str, Any]:
        means = {name: value for name, value in figures.items() if name not in others}
        return {"means": means, **{name: figures[name] for name in others}}

    nested = dict(content)
    for index in ("merged", "own"):
        if nested[index] is not None:
            figures = means_apart(nested[index], "per_domain", "without_positives")
            figures["per_domain"] = {
                name: means_apart(domain, "queries")
                for name, domain in figures["per_domain"].items()
            }
            nested[index] = figures
    return nested


@attrs.frozen(kw_only=True)
class StoredEvaluation:
    """metrics.json: an evaluation's figures, and what it was.

    Attributes:
        merged: the figures with the merged index; None where its embeddings are not of one space.
        own: the figures with the own-domain index.
        stages: the stages that embedded each domain.
        branch: the branch that was evaluated.
        tta: how test images were augmented; None where they were not.
        row: the row that it was made for.
        seed: the training seed that it was made for.
        data: hashes of the test files by domain.
        versions: of the packages.
        metrics: the version of each metric (`version_of`); one that is not named is of version 1.
        unreadable: images that could not be decoded and are in neither queries nor index; None for
            none.
    """

    merged: StoredFigures | None
    own: StoredFigures
    stages: dict[str, str]
    branch: str = ""
    tta: str | None = None
    row: str = ""
    seed: int | None = None
    data: dict[str, str] = attrs.field(factory=dict)
    versions: dict[str, str] = attrs.field(factory=dict)
    metrics: dict[str, str] = attrs.field(factory=dict)
    unreadable: LeftOut | None = None

    def lacking(self, names: Iterable[str]) -> list[str]:
        """Which metrics are not there, or were computed by an earlier version of them."""
        return [
            name
            for name in names
            if name not in self.own.means or self.metrics.get(name, "1") != version_of(name)
        ]

    def to_plain(self) -> dict[str, Any]:
        """What stands in metrics.json."""
        merged = None if self.merged is None else self.merged.to_plain()
        return {**attrs.asdict(self), "merged": merged, "own": self.own.to_plain()}

    def figures(self, *, own_index: bool) -> tuple[str, StoredFigures]:
        """The index that is shown, "merged" or "own", and its figures."""
        return ("own", self.own) if own_index or self.merged is None else ("merged", self.merged)


class PerQueryError(Exception):
    """per_query.npz of an evaluation is missing or damaged.

    `str()` says which of them, in a few words.
    """


@attrs.frozen(eq=False)
class StoredQueries:
    """What per_query.npz says of an evaluation's queries with one index, in the order of the file.

    Attributes:
        file: the per_query.npz.
        index: "merged" or "own".
        hit_Q: the hits of R@1, bool [Q].
        checksum: equal where the queries and their order are.
    """

    file: Path
    index: str
    hit_Q: np.ndarray
    checksum: tuple[int, ...]

    def values(self, metric: str) -> np.ndarray:
        """The values of a metric by its name: bool [Q] for R@1, else float64 [Q].

        Raises:
            PerQueryError: they are missing or damaged.
        """
        if metric == "r1":
            return self.hit_Q
        values_Q = self.read(f"{self.index}_{metric}")
        if values_Q.dtype != np.float64 or not ((values_Q >= 0) & (values_Q <= 1)).all():
            raise PerQueryError("unreadable")
        return values_Q

    def read(self, name: str) -> np.ndarray:
        """An array of the file by its name, such as the queries' "domain" or "id" [Q].

        Raises:
            PerQueryError: it is missing or damaged.
        """
        with _open_arrays(self.file) as arrays:
            array_Q = arrays[name]
            if array_Q.shape != self.hit_Q.shape:
                raise ValueError(f"{name} and hits have different lengths")
        return array_Q


@attrs.frozen
class Results:
    """`root` holds stages/, evaluations/, tables/, trials/, runs.jsonl and sacred/."""

    root: Path = attrs.field(converter=Path)

    def stage(self, identity: str) -> StageFolder:
        """The folder of a stage."""
        return StageFolder(self.root / "stages" / identity)

    def evaluation(self, identity: str) -> Path:
        """The folder of an evaluation."""
        return self.root / "evaluations" / identity

    def embeddings(self, identity: str) -> Path:
        """Where an evaluation that is under way keeps what it has embedded."""
        return self.evaluation(identity) / "embeddings"

    def table(self, folder: PurePosixPath) -> Path:
        """The folder of a table."""
        return self.root / "tables" / folder

    def write_failed_trial(self, identity: str, failure: str) -> None:
        """Keep why a trial of tuning failed, in one sentence, for later calls."""
        write_json(self._failed_trial(identity), {"failure": failure})

    def read_failed_trial(self, identity: str) -> str | None:
        """Why a trial of tuning failed; None for one of which nothing is known.

        Raises:
            DamagedFileError: its file is damaged.
        """
        try:
            return read_json(self._failed_trial(identity), dict[str, str], _RETRY)["failure"]
        except FileNotFoundError:
            return None

    def _failed_trial(self, identity: str) -> Path:
        return self.root / "trials" / f"{identity}.json"

    def read_evaluation(self, identity: str) -> StoredEvaluation | None:
        """metrics.json of an evaluation, None where it has not been made.

        Raises:
            DamagedFileError: its sentence says what to do.
        """
        try:
            file = self.evaluation(identity) / "metrics.json"
            return read_json(file, StoredEvaluation, AGAIN, upgrade=_nested)
        except FileNotFoundError:
            return None

    def has_evaluation(self, identity: str, metrics: Iterable[str] = DEFAULTS) -> bool:
        """Whether an evaluation is there, whole and with all of `metrics`."""
        if self.evaluation_problem(identity) is not None:
            return False
        stored = self.read_evaluation(identity)
        return stored is not None and not stored.lacking([*DEFAULTS, *metrics])

    def metrics_to_compute(self, identity: str, metrics: Iterable[str]) -> tuple[str, ...]:
        """The metrics that an evaluation is made with.

        They are those that are wanted, and those that it had before and that are still registered,
        for the tables that show them.
        """
        whole = self.evaluation_problem(identity) is None
        stored = self.read_evaluation(identity) if whole else None
        before = [name for name in stored.own.means if name in names()] if stored else []
        return tuple(dict.fromkeys((*DEFAULTS, *metrics, *before)))

    def evaluation_problem(self, identity: str) -> str | None:
        """Why an evaluation that was made cannot be used, in one sentence.

        It is damaged, or lacks its per-query results. None for one that is whole, or was not made.
        """
        try:
            if (stored := self.read_evaluation(identity)) is not None:
                self.read_queries(identity, "own" if stored.merged is None else "merged")
        except DamagedFileError as error:
            return str(error)
        except PerQueryError as error:
            return f"{self.evaluation(identity) / 'per_query.npz'} is {error}; {AGAIN}"
        return None

    def write_evaluation(
        self, identity: str, result: ProtocolResult, about: dict[str, Any]
    ) -> None:
        """Write per_query.npz, then metrics.json, whose presence says that the evaluation is whole.

        neighbours.npz comes first, where the result has any.

        `about` are the other fields of StoredEvaluation.
        """
        folder = self.evaluation(identity)
        write_neighbours(folder, result)
        own = result.own.per_query
        arrays: dict[str, Any] = {
            "id": np.array(own.ids),
            "domain": np.array(own.domain),
            "positives": own.positives,
        }
        for name, metrics in (("own", result.own), ("merged", result.merged)):
            if metrics is not None:
                arrays |= _query_arrays(name, metrics.per_query)
        with atomic_path(folder / "per_query.npz") as temporary, open(temporary, "wb") as handle:
            np.savez_compressed(handle, **arrays)
        merged = None if result.merged is None else StoredFigures.of(result.merged)
        stored = StoredEvaluation(
            merged=merged,
            own=StoredFigures.of(result.own),
            metrics={name: version_of(name) for name in result.own.means},
            unreadable=left_out(result.unreadable),
            **about,
        )
        write_json(folder / "metrics.json", stored.to_plain())

    def read_queries(self, identity: str, index: str) -> StoredQueries:
        """What per_query.npz says of the queries with the index "merged" or "own".

        The names of the queries take a hundred times as long to read as their hits; so they are
        compared by the checksums that the archive holds anyway, and read only where those differ.

        Raises:
            PerQueryError: it is missing or damaged.
        """
        file = self.evaluation(identity) / "per_query.npz"
        with _open_arrays(file) as arrays:
            hit_Q = arrays[f"{index}_hit"]
            if hit_Q.dtype != bool or hit_Q.ndim != 1 or not len(hit_Q):
                raise ValueError(f"{index}_hit is no list of hits")
            assert arrays.zip is not None  # it is open
            members = [arrays.zip.getinfo(f"{name}.npy") for name in ("domain", "id")]
        return StoredQueries(
            file,
            index,
            hit_Q,
            tuple(number for member in members for number in (member.CRC, member.file_size)),
        )

    def read_neighbours(self, identity: str, index: str) -> StoredNeighbours:
        """The nearest images of the queries with the index "merged" or "own".

        They are in the order of `read_queries`.

        Raises:
            NeighboursError: they are missing, damaged or of another search.
            PerQueryError: per_query.npz is missing or damaged.
        """
        hit_Q = self.read_queries(identity, index).hit_Q
        return read_neighbours(self.evaluation(identity), index, hit_Q)

    def forget_evaluations(self, stages: set[str]) -> None:
        """Remove every evaluation that looked at one of `stages`, and every damaged one.

        They are made again when they are wanted.
        """
        for file in (self.root / "evaluations").glob("*/metrics.json"):
            try:
                stored = self.read_evaluation(file.parent.name)
            except DamagedFileError:
                stored = None
            if stored is None or stages & set(stored.stages.values()):
                file.unlink(missing_ok=True)

    def append_run(self, run: Run) -> None:
        """Add a line to runs.jsonl: a (row, seed) that starts."""
        append_run(self._runs_file, run)

    def runs(self) -> list[Run]:
        """The lines of runs.jsonl. Damaged ones, and an unterminated last one, are left out.

        Raises:
            DamagedFileError: it is no file.
        """
        return read_runs(self._runs_file)[0]

    def log_damaged_runs(self) -> None:
        """Log how many lines of runs.jsonl are damaged, where there are any.

        Raises:
            DamagedFileError: it is no file.
        """
        _, left_out = read_runs(self._runs_file)
        if left_out:
            what = f"{left_out} line{'s' * (left_out != 1)} damaged and left out"
            logger.warning(
                f"{self._runs_file}: {what}; where the table lacks a seed, name it with --seeds"
            )

    @property
    def _runs_file(self) -> Path:
        return self.root / "runs.jsonl"


def _query_arrays(index: str, queries: PerQuery) -> dict[str, np.ndarray]:
    """The arrays of per_query.npz with an index's values: R@1 as hits, which need a bit each."""
    others = {name: values_Q for name, values_Q in queries.values.items() if name != "r1"}
    return {
        f"{index}_hit": queries.hit,
        **{f"{index}_{name}": values_Q for name, values_Q in others.items()},
    }


@contextlib.contextmanager
def _open_arrays(file: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """The arrays of a per_query.npz.

    What goes wrong while they are read becomes a PerQueryError.
    """
    if file.exists() and not file.is_file():  # a pipe would be waited for
        raise PerQueryError("no regular file")
    try:
        with open_regular(file) as handle, np.load(handle) as arrays:
            yield arrays
    except FileNotFoundError:
        raise PerQueryError("missing") from None
    except Exception as error:
        # a damaged archive fails in as many ways as it has bytes, and a table is shown all the same
        raise PerQueryError("unreadable") from error
