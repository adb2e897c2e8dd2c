"""What a component of each kind has to be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from registry.contracts.rows import Row
from registry.contracts.stages import (
    DomainFacts,
    EvaluationSpec,
)
from registry.contracts.step import Batch, Branch


class BranchLoss(Protocol):
    """A loss on one branch.

    One with parameters or buffers is a torch.nn.Module. One whose `__init__` takes a positional
    `context` is built with a `LossContext`.
    """

    def __call__(self, branch: Branch, batch: Batch) -> Any:
        """The term of this batch: a float scalar, or float [B], of which the mean is taken."""
        ...


class PairLoss(Protocol):
    """A loss between the student and its teacher; the teacher's side is never trained by it.

    It may have a state and a context as a `BranchLoss` may.
    """

    def __call__(self, student: Branch, teacher: Branch, batch: Batch) -> Any:
        """The term of this batch: a float scalar, or float [B], of which the mean is taken."""
        ...


class NamedTensors(Protocol):
    """What an init knows of a model: of the one that it changes, and of its frozen sources.

    Attributes:
        position: the place of each domain that the model is of, by its name.
    """

    position: Mapping[str, int]

    def named_tensors(self) -> dict[str, Any]:
        """Every parameter and buffer by name; to write into one changes the model.

        Those of a student head that is fitted are left out: it is fitted anew.

        Names begin with `backbone.`, `student_head.`, or, for what the model has of one domain,
        `teacher_heads.DOMAIN.`, `student_classifiers.DOMAIN.` or `teacher_classifiers.DOMAIN.`.
        """
        ...


@runtime_checkable
class Sampler(Protocol):
    """Which domain the next batch comes from.

    A sampler that follows a loss decides some steps ahead. The engine sums that loss per domain
    over a window of steps and hands the sums over where the sampler can decide no further.
    """

    def domain_at(self, step: int) -> str:
        """The domain of a step below `known_until()`."""
        ...

    def known_until(self) -> int:
        """The first step whose domain is not decided; there the engine calls `update`."""
        ...

    def clears_at(self, step: int) -> bool:
        """Whether the window of sums starts anew before this step."""
        ...

    def update(self, step: int, sums: Mapping[str, tuple[float, int]]) -> None:
        """Decide the domains of further steps.

        Args:
            step: `known_until()`.
            sums: per domain the sum of the loss over the images of the window, and their number.
        """
        ...

    def shares(self) -> dict[str, float]:
        """The share of each domain in the steps that come next."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the sampler has learnt, as plain data."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from such a state."""
        ...


class Source(Protocol):
    """Where the images and splits of a benchmark come from.

    Its options are keys of `[data]`; one called `root` is what `--data` sets.

    A source is no part of what a stage is known by: that follows from the splits and images alone.
    """

    def domains(self) -> tuple[str, ...]:
        """All domains that the source has, in alphabetical order."""
        ...

    def problems(self, wanted: Sequence[str] | None) -> Iterable[tuple[str, str]]:
        """What is wrong, as (key of `[data]`, sentence), found without torch and without a network.

        Args:
            wanted: the domains that are to be used, in this order; None for all.
        """
        ...

    def open(self, wanted: Sequence[str] | None, progress: Callable[[int, int], None]) -> Any:
        """The benchmark (`udonx.data.benchmark.Benchmark`) with the wanted domains.

        Args:
            wanted: the domains that are to be used, in this order; None for all.
            progress: told of something long: how many of how many images are done.
        """
        ...


class Scheme(Protocol):
    """Who teaches whom.

    Attributes:
        slots: keys that a row of this scheme may have beside the common ones.
        default_row: the base layer of its rows.
        fixed_row: what it decides over settings and defaults.
        teacher: whether there is one and when it is trained, so that a loss or sampler that needs
            one can be refused.
        branches: what `evaluate` may name.
    """

    slots: frozenset[str]
    default_row: Mapping[str, Any]
    fixed_row: Mapping[str, Any]
    teacher: Literal["none", "together", "beforehand"]
    branches: tuple[str, ...]

    def plan(self, row: Row, facts: tuple[DomainFacts, ...]) -> tuple[EvaluationSpec, ...]:
        """The evaluations that a row wants and, through them, the stages they need.

        It is a pure function of the row and its domains.

        Args:
            row: what is planned.
            facts: of the domains that the row trains on. Those that its `domains` leaves out are
                added to the evaluations afterwards, where one stage embeds all domains.
        """
        ...


class Metric(Protocol):
    """A retrieval metric: a pure function of where the relevant items stand in a query's ranking.

    Shapes: Q queries, K neighbours.

    Attributes:
        label: the header of the metric's column in a table, such as `R@1`.
        depth: how many neighbours it reads; None for as many as the query with the most relevant
            items has.
    """

    label: str
    depth: int | None

    def __call__(self, relevant_QK: Any, relevant_Q: Any) -> Any:
        """The metric of every query; a query's value depends on its own row alone.

        Args:
            relevant_QK: bool [Q, K], whether the neighbour at each rank is relevant, best first.
                K is `depth`. The query itself is left out; behind the end of the index is False.
            relevant_Q: int64 [Q], relevant items in the whole index, without the query itself.

        Returns:
            float64 [Q], each between 0 and 1.
        """
        ...
