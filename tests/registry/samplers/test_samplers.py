"""Samplers against the official implementation's weights and counts, and against the rules of
dynamic sampling.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from registry import samplers
from registry.contracts import Sampler
from registry.samplers.schedule import step_counts, weights_from_losses
from tests.parity import read_json

THREE = ["a", "b", "c"]
SIZES = {"a": 10, "b": 30, "c": 60}
OPTIONS = {
    "round_robin": {},
    "uniform": {},
    "size_proportional": {},
    "fixed": {"shares": {"a": 1, "b": 1, "c": 2}},
    "dynamic": {"interval": 10},
}


@pytest.fixture(scope="module")
def official(shared_dir: Path):
    return read_json(shared_dir, "sampler")


def build(name, domains=THREE, sizes=SIZES, steps=100, seed=0, **options):
    return samplers.get(name)(domains, sizes, steps, seed, **(options or OPTIONS[name]))


def sequence(sampler, start=0):
    return [sampler.domain_at(step) for step in range(start, sampler.known_until())]


@pytest.mark.parametrize(
    ("name", "strategy"),
    [
        ("round_robin", "round_robin"),
        ("uniform", "balanced"),
        ("size_proportional", "dataset_size"),
        ("fixed", "specialist_top_steps"),
    ],
)
def test_weights_and_counts_are_the_official_ones(official, name, strategy):
    """Over UnED's eight domains and 1000 steps each strategy has the official weights
    and counts.
    """
    expected, domains = (
        official["strategies"][f"{strategy}_1000"],
        official["domains_in_config_order"],
    )
    options = {"shares": official["specialist_top_steps"]} if name == "fixed" else {}
    sampler = samplers.get(name)(domains, official["num_train_examples"], 1000, 0, **options)
    assert sampler.shares() == pytest.approx(expected["weights"], rel=1e-6)
    assert Counter(sequence(sampler)) == Counter(expected["counts"])
    if name == "round_robin":
        assert sequence(sampler) == [domains[index] for index in expected["sequence"]]


def test_round_robin_gives_the_remainder_to_the_first_domains():
    """Eight steps over three domains are a b c a b c a b."""
    assert "".join(sequence(build("round_robin", steps=8))) == "abcabcab"


@pytest.mark.parametrize("run", ["teacher_1000", "first_update_missing_1000"])
def test_dynamic_updates_are_the_official_ones(official, run):
    """Successive updates, some with unseen domains, give the official weights, and counts within
    one step.
    """
    domains = official["domains_in_config_order"]
    sampler = samplers.get("dynamic")(
        domains, official["num_train_examples"], 1000, 0, interval=100
    )
    initial, *updates = official["dynamic"][run]
    assert sampler.shares() == initial["initial"]["weights"]
    for expected in updates:
        window = expected["window_mean_loss_batchsize"]
        sums = {
            name: (sum(mean * size for mean, size in batches), sum(size for _, size in batches))
            for name, batches in window.items()
        }
        sampler.update(expected["at_step"], sums)
        assert sampler.shares() == pytest.approx(expected["weights"], rel=1e-5)
        counts = dict(zip(domains, step_counts(list(sampler.shares().values()), 1000), strict=True))
        assert counts == pytest.approx(expected["counts"], abs=1)


def test_an_unseen_domain_keeps_its_weight_before_all_are_divided():
    """At a first update over eight domains with one unseen, that one has (1/8) / (1 + 1/8)."""
    weights = dict.fromkeys("abcdefgh", 1 / 8)
    assert weights_from_losses(weights, {name: (4.0, 2) for name in "acdefgh"})[
        "b"
    ] == pytest.approx(1 / 9)


def test_no_samples_is_unseen():
    """A domain with zero samples in the window counts as unseen, and an empty or all-zero window
    changes nothing.
    """
    weights = {"a": 0.5, "b": 0.5}
    assert weights_from_losses(weights, {"a": (4.0, 2), "b": (0.0, 0)}) == weights_from_losses(
        weights, {"a": (4.0, 2)}
    )
    assert (
        weights_from_losses(weights, {})
        == weights_from_losses(weights, {"a": (0.0, 3), "b": (0.0, 3)})
        == weights
    )


def test_dividing_all_losses_by_a_factor_changes_nothing():
    """Shares follow the ratio of mean losses, whatever their scale and however many samples each
    domain had.
    """
    once = weights_from_losses({"a": 0.5, "b": 0.5}, {"a": (30.0, 10), "b": (2.0, 2)})
    assert once == pytest.approx(
        weights_from_losses({"a": 0.5, "b": 0.5}, {"a": (3.0, 100), "b": (1.0, 100)})
    )
    assert once == pytest.approx({"a": 0.75, "b": 0.25})


def test_a_loss_that_is_not_finite_is_refused():
    """A window with a nan mean loss stops with the domain's name."""
    with pytest.raises(ValueError, match="'a' is nan"):
        weights_from_losses({"a": 1.0}, {"a": (float("nan"), 4)})
    with pytest.raises(ValueError, match="losses for 'z'"):
        weights_from_losses({"a": 1.0}, {"z": (1.0, 4)})


def test_dynamic_is_round_robin_until_its_first_update():
    """Before the first update the dynamic sampler is round robin, and knows no further than it."""
    sampler = build("dynamic", interval=7)
    assert sampler.known_until() == 7
    assert "".join(sequence(sampler)) == "abcabca"
    with pytest.raises(ValueError, match="not step 7"):
        sampler.domain_at(7)


def test_dynamic_reads_a_rebuilt_schedule_on_at_the_current_position():
    """After every update the next interval is a sample, without a repeated block, of a whole
    schedule with the new shares.
    """
    sampler = build("dynamic", steps=4000, interval="25%")
    blocks = []
    for step in (1000, 2000, 3000):
        sampler.update(step, {"a": (6.0, 1), "b": (3.0, 1), "c": (1.0, 1)})
        assert sampler.known_until() == step + 1000
        blocks.append(sequence(sampler, step))
        counts = Counter(blocks[-1])
        assert [counts[name] / 1000 for name in THREE] == pytest.approx([0.6, 0.3, 0.1], abs=0.05)
    assert blocks[0] != blocks[1] != blocks[2]


def test_the_last_interval_ends_with_the_budget():
    """Where the interval does not divide the budget, the last one is shorter, and updates come in
    their turn only.
    """
    sampler = build("dynamic", steps=25, interval=10)
    with pytest.raises(ValueError, match="before step 10, not before step 20"):
        sampler.update(20, {"a": (1.0, 1)})
    sampler.update(10, {"a": (1.0, 1)})
    sampler.update(20, {"a": (1.0, 1)})
    assert sampler.known_until() == 25 and len(sequence(sampler, 20)) == 5


def test_an_interval_is_at_least_one_step():
    """A share that rounds to nothing is one step."""
    assert build("dynamic", steps=20, interval="1%").known_until() == 1


def test_the_window_of_since_update_is_cleared_with_every_update():
    """With `since_update` the window starts anew at multiples of the interval, and nowhere else."""
    sampler = build("dynamic", steps=100, interval=30)
    assert [step for step in range(100) if sampler.clears_at(step)] == [30, 60, 90]


def test_the_window_of_since_log_is_cleared_when_the_released_code_logs():
    """With `since_log` it starts anew after the first step and after each (1-based) that is 1
    modulo the log interval.
    """
    sampler = build("dynamic", steps=100, interval=30, window="since_log", log_interval="25%")
    assert [step for step in range(100) if sampler.clears_at(step)] == [1, 26, 51, 76]
    every = build("dynamic", steps=10, interval=5, window="since_log", log_interval=1)
    assert [step for step in range(10) if every.clears_at(step)] == list(range(1, 10))


def test_official_since_log_windows_are_short_now_and_then(official):
    """At the official setting windows reach from a handful of steps to a log interval, with a
    median near half of it.
    """
    steps, log_interval = official["total_steps_10_epochs"], official["log_summary_steps"]
    sampler = build(
        "dynamic", steps=steps, interval=1000, window="since_log", log_interval=log_interval
    )
    lengths, start = [], 0
    for step in range(steps):
        if step == sampler.known_until():
            lengths.append(step - start)
            sampler.update(step, {})
        if sampler.clears_at(step):
            start = step
    assert len(lengths) == 221
    assert (min(lengths), sorted(lengths)[110], max(lengths)) == (8, 1109, 2200)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_loaded_state_has_the_same_future(name):
    """A sampler built anew with a state that went through JSON continues as the first one does."""
    first, second = build(name, steps=50), build(name, steps=50)
    if name == "dynamic":
        first.update(10, {"a": (9.0, 3), "c": (1.0, 1)})
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    if name == "dynamic":
        for sampler in (first, second):
            sampler.update(20, {"b": (2.0, 1), "c": (7.0, 2)})
    start = 20 if name == "dynamic" else 0
    assert sequence(first, start) == sequence(second, start)
    assert first.shares() == second.shares() and first.known_until() == second.known_until()


def test_the_state_of_another_sampler_is_refused():
    """A state with other domains, or for a sampler without state, is an error."""
    with pytest.raises(ValueError, match="the state is for x"):
        build("dynamic").load_state_dict({"weights": {"x": 1.0}, "updated": 0})
    with pytest.raises(ValueError, match="belongs to another sampler"):
        build("uniform").load_state_dict({"weights": {}, "updated": 0})


@pytest.mark.parametrize("name", ["uniform", "size_proportional", "fixed"])
def test_the_seed_decides_the_order_and_nothing_else(name):
    """Equal seeds give equal orders, other seeds other orders with the same counts."""
    orders = [sequence(build(name, seed=seed)) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert Counter(orders[0]) == Counter(orders[2])


def test_the_last_domain_takes_the_rest():
    """Counts are floors, exact products keep their step, and the last domain takes what remains."""
    assert step_counts([1 / 3, 1 / 3, 1 / 3], 100) == [33, 33, 34]
    assert step_counts([0.29, 0.57, 0.14], 100) == [29, 57, 14]


def test_fixed_shares_must_name_every_domain():
    """A missing, an extra and an all-zero share are refused by name."""
    with pytest.raises(ValueError, match="no share for c; z is not trained on"):
        build("fixed", shares={"a": 1, "b": 1, "z": 1})
    with pytest.raises(ValueError, match="all zero"):
        build("fixed", shares={"a": 0, "b": 0, "c": 0})


@pytest.mark.parametrize("name", OPTIONS)
def test_built_in_samplers_follow_the_protocol(name):
    """Every built-in sampler has the protocol's methods, says whether it needs a signal, and
    refuses steps beyond its budget.
    """
    sampler = build(name)
    assert isinstance(sampler, Sampler)
    assert samplers.describe(name).facts["needs_signal"] is (name == "dynamic")
    assert sum(sampler.shares().values()) == pytest.approx(1)
    with pytest.raises(ValueError, match="step 100"):
        sampler.domain_at(100)


def test_a_domain_without_a_share_gets_no_step():
    """What is left over goes to the last domain that has a share."""
    assert step_counts([0.29, 0.71, 0.0], 99) == [28, 71, 0]
    assert Counter(sequence(build("fixed", shares={"a": 1, "b": 2, "c": 0}))) == {"a": 33, "b": 67}


@pytest.mark.parametrize("shares", [[0.5, 0.6], [1.5, -0.5], [0.0, 0.0]])
def test_shares_that_are_none_are_refused(shares):
    """A sum other than 1, and a negative share, are said with the shares."""
    with pytest.raises(ValueError, match="allowed are shares from 0 on that sum to 1"):
        step_counts(shares, 10)
