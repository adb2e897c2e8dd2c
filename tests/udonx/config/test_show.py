"""What `udonx show` prints is itself a file that plans the same stages."""

from __future__ import annotations

import tomllib

import pytest

from tests.tiny import ROOT, SETTING, write_domain, write_experiment
from udonx.config.experiment import Experiment, load_experiment
from udonx.config.show import to_diff, to_toml
from udonx.inputs.open import open_benchmark, resolve_weights
from udonx.planning.plan import make_plan


def stages(experiment: Experiment) -> dict[str, tuple[str, ...]]:
    """The stage ids of each row."""
    plan = make_plan(experiment, open_benchmark(experiment), resolve_weights(experiment))
    return {row.row.name: row.stages for row in plan.rows}


@pytest.mark.parametrize("setting", ["smoke", "demo_like"])
def test_it_plans_the_same_stages(tmp_path, setting):
    """Read again, the printed file gives each row the identities that it had, with inheritance,
    --set and defaults resolved.
    """
    inheriting = 'inherit = "smoke"\n[losses.ce]\nscale = 8.0\n[samplers.dynamic]\ninterval = 3\n'
    write_experiment(tmp_path / "settings", inheriting, "demo_like.toml")
    source = write_experiment(tmp_path, (ROOT / "experiments" / "table3_ablation.toml").read_text())
    overrides = [
        "losses.student_ce.weight=2.0",
        "rows.udon.losses.relational=false",
        "rows.baseline.transform.flip=false",
    ]
    first = load_experiment(source, setting=setting, overrides=overrides)
    again = load_experiment(write_experiment(tmp_path, to_toml(first), "shown.toml"))
    assert stages(again) == stages(first)
    assert [row.data for row in again.rows] == [row.data for row in first.rows]
    assert [row.label for row in again.rows] == [row.label for row in first.rows]


@pytest.mark.parametrize(
    "key",
    [
        'losses.kl_logit.ramp = "25%"',
        "losses.relational.weight = 0.5",
        "losses.relational = false",
        "budget.per_class = 2",
        "subset = { labelled = 0.5, long_tail = 3.0 }",
        "optimiser.layer_decay = 0.8",
        'average = { use = "tail", start = "50%" }',
        'update = { use = "sgd", momentum = 0.8 }',
        'student_classifier = { use = "sub_centre", k = 2 }',
        'domains = ["logos", "plates"]',
        'tta = "flip"',
    ],
)
def test_every_key_of_a_row_is_shown(tmp_path, key):
    """What a row says is in the printed file, so that it is the same row there, and not in the row
    without it.
    """
    text = 'title = "t"\nsetting = "smoke"\n[rows.a]\nscheme = "udon"\nsampler = "round_robin"\n'
    first = load_experiment(write_experiment(tmp_path, text + key))
    again = load_experiment(write_experiment(tmp_path, to_toml(first), "shown.toml"))
    plain = load_experiment(write_experiment(tmp_path, text, "plain.toml"))
    assert again.rows[0].spec == first.rows[0].spec != plain.rows[0].spec


def test_it_plans_the_same_stages_with_a_plug_in_and_given_data(tmp_path, monkeypatch):
    """The plug-in is named so that the printed file finds it from anywhere; --data is
    written down.
    """
    write_domain(tmp_path / "data", "cars")
    (tmp_path / "shown_losses.py").write_text(
        "from registry import losses\n@losses.register('shown')\nclass Shown:\n    def"
        " __init__(self, *, power: float = 2.0): ...\n    def __call__(self, branch, batch):"
        " return 0\n"
    )
    text = (
        'plugins = ["shown_losses.py"]\nseeds = [1, 2]\n'
        + SETTING
        + '[rows.a]\nscheme = "udon"\nsampler = "round_robin"\n'
    )
    first = load_experiment(
        write_experiment(tmp_path, text + '[rows.a.losses.more]\nuse = "shown"\npower = 3.0\n'),
        data=tmp_path / "data",
    )
    again = load_experiment(write_experiment(tmp_path / "elsewhere", to_toml(first)))
    assert stages(again) == stages(first) and len(stages(first)) == 1
    assert tomllib.loads(to_toml(first))["rows"]["a"]["losses"]["more"] == {
        "use": "shown",
        "weight": 1.0,
        "on": "student",
        "power": 3.0,
    }


def test_the_difference_is_what_the_rows_change(tmp_path):
    """The first row has what differs from the defaults, another one what differs from the first,
    and what it lacks is named.
    """
    rows = """
[rows.first]
scheme = "udon"
sampler = { use = "dynamic", interval = 3 }
[rows.second]
scheme = "udon"
sampler = "dynamic"
losses.relational = false
losses.kl_logit.student_temperature = 0.2
optimiser.lr_heads = 0.5
[rows.third]
scheme = "off_the_shelf"
"""
    rows += (
        '[rows."a b"]\nscheme = "udon"\nsampler = "round_robin"\noptimiser.lr_heads ='
        " 1e-3\nlosses.student_ce = false\n"
    )
    rows += 'losses.more = { use = "ce", m = 0.5, margin = "cosface" }\n'
    shown = to_diff(load_experiment(write_experiment(tmp_path, SETTING + rows)))
    first, second, third, last = (
        text.split("\n\n")[0].split("\n")[1:] for text in shown.split("[rows.")[1:]
    )
    assert "sampler.interval = 3" in first and not any(
        line.startswith(("losses.kl_logit.weight", "optimiser")) for line in first
    )
    assert [line for line in second if line] == [
        "optimiser.lr_heads = 0.5",
        "sampler.interval = 1000",
        "losses.kl_logit.student_temperature = 0.2",
        "losses.relational = false",
    ]
    assert (
        'scheme.use = "off_the_shelf"' in third
        and third[-1].startswith("# not in this row: ")
        and "teacher_head" in third[-1]
    )
    assert (
        shown.count('[rows."a b"]') == 1
        and "losses.more.m = 0.5" in last
        and "losses.student_ce = false" in last
    )
    parsed = tomllib.loads(shown)["rows"]
    assert parsed["second"]["losses"] == {
        "kl_logit": {"student_temperature": 0.2},
        "relational": False,
    }


def test_every_shipped_table_has_a_short_difference():
    """Table 3 in full is hundreds of lines; what its rows change is a page."""
    experiment = load_experiment(ROOT / "experiments" / "table3_ablation.toml")
    assert len(to_diff(experiment).splitlines()) < 80 < len(to_toml(experiment).splitlines())
