"""What does not go together in one row, although each key is good by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from registry import schemes
from registry.contracts import LossSpec, Recipe, RowSpec, Scheme
from udonx.common.words import format_value, unknown
from udonx.config import descriptions as components
from udonx.config.merge import Merged
from udonx.config.slots import head_kinds, heads
from udonx.config.teachers import ALL

Complaints = Iterator[tuple[str, str]]
"""(key, sentence) of each problem."""


@attrs.frozen(kw_only=True)
class Candidate:
    """A row whose pairs are looked at.

    Attributes:
        spec: the row; a key in `broken` has its default.
        recipe: how it is trained; one of defaults where it is not.
        scheme: who teaches whom in it.
        merged: where its keys come from.
        broken: keys with a problem of their own, of which nothing more is said.
    """

    spec: RowSpec
    recipe: Recipe
    scheme: Scheme
    merged: Merged
    broken: frozenset[str]

    @property
    def trains(self) -> bool:
        """Whether rows of this scheme have losses."""
        return "losses" in self.scheme.slots


def impossible_pairs(spec: RowSpec, scheme: Scheme, merged: Merged, broken: set[str]) -> Complaints:
    """Everything in a row that does not go together."""
    row = Candidate(
        spec=spec,
        recipe=spec.recipe or Recipe(),
        scheme=scheme,
        merged=merged,
        broken=frozenset(broken),
    )
    for complaints_of in _PAIRS:
        yield from complaints_of(row)
    if row.trains:
        for complaints_of in _PAIRS_OF_TRAINING:
            yield from complaints_of(row)


def _branches(row: Candidate) -> Complaints:
    """`evaluate` names branches that the scheme has, each once."""
    if "evaluate" in row.broken:
        return
    wanted = row.spec.evaluate
    for branch in wanted:
        if branch not in row.scheme.branches:
            allowed = f"with scheme '{row.spec.scheme.use}': {', '.join(row.scheme.branches)}"
            yield "evaluate", f"got {format_value(branch)}, allowed {allowed}"
    if len(set(wanted)) < len(wanted):
        yield "evaluate", f"got {format_value(list(wanted))}, allowed is each branch once"


def _domains(row: Candidate) -> Complaints:
    """`domains` names each once, and who is evaluated embeds the others too."""
    wanted = row.spec.domains
    if wanted is None:
        return
    if len(set(wanted)) < len(wanted):
        yield "domains", f"got {format_value(list(wanted))}, allowed is each domain once"
    if "teacher" in row.spec.evaluate and "evaluate" not in row.broken:
        got = format_value(list(row.spec.evaluate))
        yield (
            "evaluate",
            f"got {got}, but a row with `domains` has no teacher of the other domains, on which it"
            ' is tested too: evaluate ["student"] alone',
        )


def _sizes(row: Candidate) -> Complaints:
    """A crop fits into the resized image, and a range runs upwards."""
    transform = row.spec.transform
    if "transform" in row.broken:
        return
    if transform.mode == "resize_crop" and transform.resize < transform.crop:
        key = row.merged.latest("transform.resize", "transform.crop")
        if key == "transform.crop":
            yield key, f"got {transform.crop}, allowed is at most resize = {transform.resize}"
        else:
            yield key, f"got {transform.resize}, allowed is at least crop = {transform.crop}"
    if transform.scale[0] > transform.scale[1]:
        got = format_value(list(transform.scale))
        yield "transform.scale", f"got {got}, allowed is [smallest, largest]"


def _heads(row: Candidate) -> Complaints:
    """A scheme that trains needs heads that are trained, one that does not may need fitted ones."""
    slots = {"student_head": row.spec.student_head, "teacher_head": row.recipe.teacher_head}
    for key, head in slots.items():
        allowed = head_kinds(frozenset(row.scheme.slots))
        if head and components.describe("heads", head.use).facts["fitted"] not in allowed:
            wanted = "fitted" if True in allowed else "trained"
            names = ", ".join(heads(fitted=True in allowed))
            yield (
                f"{key}.use",
                (
                    f"got \"{head.use}\", but scheme '{row.spec.scheme.use}' needs a head that is"
                    f" {wanted}: {names}"
                ),
            )


def _init(row: Candidate) -> Complaints:
    """An init has a student's stage to start, and a scheme that only takes over has an init."""
    init, scheme = row.recipe.init, row.spec.scheme.use
    if "init" in row.broken or "init" not in row.scheme.slots:
        return
    if init is None and not row.trains:
        yield (
            "init",
            (
                f"is missing, but scheme '{scheme}' trains nothing; say what it takes over, such as"
                ' { use = "average", from = ["ROW", "ROW"] }'
            ),
        )
    elif init and "student" not in row.spec.evaluate and row.scheme.teacher == "beforehand":
        yield (
            "init",
            (
                f"starts the student's stage, but with scheme '{scheme}' and evaluate ="
                f" {format_value(list(row.spec.evaluate))} there is none; evaluate the student too,"
                " or leave init out"
            ),
        )


def _budget(row: Candidate) -> Complaints:
    """A budget is in steps or in epochs, and batches hold whole classes."""
    budget = row.recipe.budget
    if "budget" not in row.broken and (budget.steps is None) == (budget.epochs is None):
        got = "both steps and epochs" if budget.steps else "neither steps nor epochs"
        yield "budget", f"got {got}, allowed is one of them"
    if "budget" not in row.broken and budget.per_class and budget.batch % budget.per_class:
        yield (
            "budget.per_class",
            f"got {budget.per_class}, but a batch of {budget.batch} is no multiple of it; change"
            " one of the two",
        )
    if "subset" not in row.broken and row.recipe.subset.long_tail and budget.epochs is not None:
        yield (
            "subset.long_tail",
            "got a number, but the budget is in epochs, which would count the images that are left"
            " out; give budget.steps",
        )


def _teachers(row: Candidate) -> Complaints:
    """A loss between student and teacher has no branch of its own, and needs a teacher."""
    for loss in row.recipe.losses:
        needs_teacher = components.describe("losses", loss.use).facts["needs_teacher"]
        if needs_teacher and loss.on:
            yield (
                f"losses.{loss.name}.on",
                (
                    f"got \"{loss.on}\", but '{loss.use}' is a loss between student and teacher;"
                    " leave `on` out"
                ),
            )
        if loss.teacher is not None:
            yield from _asked_teacher(row, loss, needs_teacher)
        elif row.scheme.teacher == "none" and (needs_teacher or loss.on == "teacher"):
            yield (
                f"losses.{loss.name}",
                (
                    f"got '{loss.use}', which needs a teacher: an impossible pair with scheme"
                    f" '{row.spec.scheme.use}'; schemes with a teacher are"
                    f" {', '.join(_schemes_with_teacher())}"
                ),
            )


def _asked_teacher(row: Candidate, loss: LossSpec, needs_teacher: bool) -> Complaints:
    """A loss asks for a teacher that the row names, and learns from it."""
    key, names = f"losses.{loss.name}.teacher", [each.name for each in row.recipe.teachers]
    got = f"got {format_value(loss.teacher)}"
    if not needs_teacher:
        yield key, f"{got}, but '{loss.use}' learns from no teacher; leave `teacher` out"
    elif "teachers" not in row.broken and loss.teacher != ALL and loss.teacher not in names:
        yield key, f"{got}, which is an {unknown(loss.teacher or '', names, 'teacher of the row')}"
    elif "teachers" not in row.broken and not names:
        yield key, f"{got}, but the row names no teachers; add [teachers.NAME]"


def _unasked_teachers(row: Candidate) -> Complaints:
    """A named teacher that no loss asks for would do nothing."""
    asked = {loss.teacher for loss in row.recipe.losses}
    for teacher in row.recipe.teachers if ALL not in asked and "losses" not in row.broken else ():
        if teacher.name not in asked:
            yield (
                f"teachers.{teacher.name}",
                f'no loss learns from it; give one `teacher = "{teacher.name}"`, or "{ALL}"',
            )


def _schemes_with_teacher() -> list[str]:
    names = schemes.names()
    return [name for name in names if getattr(schemes.get(name), "teacher", "none") != "none"]


def _trained_branches(row: Candidate) -> Complaints:
    """Each branch has a loss that trains its classifier.

    What a row lacks may be what has a problem of its own, so nothing is said of a row with
    problems.
    """
    if row.broken:
        return
    for branch in ("student",) if row.scheme.teacher == "none" else ("teacher", "student"):
        if not any(loss.on == branch and loss.weight > 0 for loss in row.recipe.losses):
            yield (
                "losses",
                (
                    f"no loss is on the {branch}, whose classifier would stay untrained; add one"
                    f' with on = "{branch}"'
                ),
            )


def _signal(row: Candidate) -> Complaints:
    """A sampler that follows a loss names one of the stage that trains the student."""
    sampler = row.recipe.sampler
    if row.broken or "sampler" not in row.scheme.slots:
        return
    if not components.describe("samplers", sampler.use).facts["needs_signal"]:
        return
    signals = [loss.name for loss in row.recipe.losses if _is_signal(loss, row.scheme)]
    if sampler.options.get("signal") not in signals:
        cure = f': write sampler.signal = "{signals[0]}"' if signals else ""
        yield (
            "sampler.signal",
            (
                f"got {format_value(sampler.options.get('signal'))}, an impossible pair with"
                f" scheme '{row.spec.scheme.use}': the stage that trains the student has no such"
                f" classification loss; it has {', '.join(signals) or 'none'}{cure}"
            ),
        )


def _is_signal(loss: LossSpec, scheme: Scheme) -> bool:
    """Whether a loss is a classification in the stage that trains the student."""
    return loss.on == "student" or (loss.on == "teacher" and scheme.teacher == "together")


def _inactive_heads(row: Candidate) -> Complaints:
    """A rule that splits losses must see which of them reach a head."""
    update = row.recipe.update
    if {"update", "optimiser"} & row.broken or not {"update", "optimiser"} <= row.scheme.slots:
        return
    splits = components.describe("updates", update.use).facts["splits_losses"]
    if splits and row.recipe.optimiser.inactive_heads == "drift":
        key = row.merged.latest("optimiser.inactive_heads", "update.use")
        got = update.use if key == "update.use" else "drift"
        yield (
            key,
            (
                f"got {format_value(got)}, but '{update.use}' must know which losses reach a head,"
                ' and inactive_heads = "drift" gives a gradient to all; write'
                ' optimiser.inactive_heads = "skip"'
            ),
        )


_PAIRS: tuple[Callable[[Candidate], Complaints], ...] = (
    _branches,
    _domains,
    _sizes,
    _heads,
    _init,
)
_PAIRS_OF_TRAINING: tuple[Callable[[Candidate], Complaints], ...] = (
    _budget,
    _teachers,
    _unasked_teachers,
    _trained_branches,
    _signal,
    _inactive_heads,
)
