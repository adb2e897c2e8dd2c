"""Searches: pure functions of seed, number and history; ranges, lists, and what they refuse."""

from __future__ import annotations

import pytest

from registry import searches
from registry.contracts import Dimension, Trial
from registry.searches.values import value_at

RATE = Dimension(path="optimiser.lr_heads", low=1e-4, high=1e-1, log=True)
DIM = Dimension(path="student_head.dim", low=8, high=64, log=True, whole=True)
HEAD = Dimension(path="student_head.use", values=("linear", "mlp"))
SPACE = (RATE, DIM, HEAD)
OPTIONS = {"grid": {"points": 3}, "random": {"seed": 1}, "tpe": {"seed": 1, "warm_up": 3}}


def make(name: str, space=SPACE, trials: int = 40, **options):
    """A search for some dimensions."""
    return searches.get(name)(space, trials, **(options or OPTIONS[name]))


def score(values) -> float:
    """The higher, the nearer the rate is to 0.01."""
    return -abs(values[RATE.path] - 0.01)


def run(name: str, count: int, history: tuple[Trial, ...] = ()) -> list[Trial]:
    """The first trials, each asked of a search of its own, the row as it is the first."""
    as_it_is = Trial(number=0, values={RATE.path: 5.0, DIM.path: 64}, score=-1.0)
    trials = list(history) or [as_it_is]
    while len(trials) < count:
        values = make(name).ask(len(trials), trials)
        trials.append(Trial(number=len(trials), values=values, score=score(values)))
    return trials


@pytest.mark.parametrize("name", OPTIONS)
def test_a_search_that_is_made_anew_goes_on_with_the_same_trials(name):
    """What is asked follows from seed, number and history alone: no search keeps a state."""
    whole = run(name, 12)
    assert run(name, 12, tuple(whole[:7])) == whole


@pytest.mark.parametrize("name", OPTIONS)
def test_values_lie_in_their_dimensions(name):
    """Every trial has a value for every dimension, within its range, whole where it is to be."""
    for trial in run(name, 15)[1:]:
        rate, dim, head = (trial.values[each.path] for each in SPACE)
        assert 1e-4 <= rate <= 1e-1 and float(f"{rate:.4g}") == rate
        assert 8 <= dim <= 64 and isinstance(dim, int)
        assert head in HEAD.values


def test_rows_draw_the_same_for_a_dimension_that_they_share():
    """At random, another dimension beside it changes nothing in the values of one."""
    alone, beside = make("random", (RATE,)), make("random", (HEAD, RATE))
    for number in range(1, 5):
        assert alone.ask(number, [])[RATE.path] == beside.ask(number, [])[RATE.path]


def test_whole_numbers_are_drawn_evenly():
    """At random, the ends of a range of whole numbers come as often as those between them."""
    count = Dimension(path="k", low=1, high=3, whole=True)
    search = make("random", (count,), seed=0)
    drawn = [search.ask(number, ())["k"] for number in range(300)]
    assert {80 < drawn.count(value) < 120 for value in (1, 2, 3)} == {True}
    assert set(drawn) == {1, 2, 3} and {type(value) for value in drawn} == {int}


def test_another_seed_draws_others():
    """The seed of a search is an option of it."""
    one, other = make("random", seed=1), make("random", seed=2)
    assert one.ask(1, []) != other.ask(1, [])
    assert make("tpe", seed=1, warm_up=3).ask(1, []) != make("tpe", seed=2, warm_up=3).ask(1, [])


def test_a_grid_has_every_combination_once():
    """The row as it is comes first, so that a grid makes one trial more than it has values."""
    grid = make("grid", (RATE, HEAD))
    found = [grid.ask(number, []) for number in range(1, grid.trials)]
    assert [(each[RATE.path], each[HEAD.path]) for each in found] == [
        (rate, head) for rate in (1e-4, 0.003162, 1e-1) for head in ("linear", "mlp")
    ]


@pytest.mark.parametrize(
    ("trials", "options", "message"),
    [
        (40, {"points": None}, "optimiser.lr_heads and student_head.dim are ranges"),
        (18, {"points": 3}, "18 combinations, for which a grid needs trials = 19"),
    ],
)
def test_a_grid_refuses_what_it_cannot_try_in_full(trials, options, message):
    """A range without points, and more combinations than trials, are said in one sentence."""
    with pytest.raises(ValueError, match=message):
        make("grid", trials=trials, **options)


def test_tpe_learns_from_what_scored():
    """Trials after those in which one rate did best are nearer to it than the first ones."""
    trials = run("tpe", 30)
    early, late = trials[1:8], trials[-7:]
    assert sum(score(each.values) for each in late) > sum(score(each.values) for each in early)


def test_tpe_learns_from_what_failed():
    """A value with which every training failed is left alone, not tried again and again."""
    space = (HEAD,)
    failed = [
        Trial(number=number, values={HEAD.path: "mlp"}, score=None) for number in range(1, 11)
    ]
    good = [
        Trial(number=number, values={HEAD.path: "linear"}, score=0.5) for number in range(11, 21)
    ]
    tpe = make("tpe", space)
    asked = [tpe.ask(number, [*failed, *good])[HEAD.path] for number in range(21, 31)]
    assert asked.count("linear") >= 8


def test_the_ends_of_a_range_and_of_a_list():
    """A share of 0 is the first value, one of 1 the last."""
    for dimension, ends in ((RATE, (1e-4, 1e-1)), (DIM, (8, 64)), (HEAD, HEAD.values)):
        assert (value_at(dimension, 0.0), value_at(dimension, 1.0)) == ends
