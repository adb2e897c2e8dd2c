"""[tune]: which rows have which dimensions, and what is wrong with one."""

from __future__ import annotations

import importlib.util
import sys

import pytest

import udonx
from registry.contracts import Dimension
from tests.tiny import python, write_experiment
from tests.udonx.config.loading import load, problems
from udonx.config.experiment import load_experiment
from udonx.config.problems import ConfigError
from udonx.config.show import to_toml

ROWS = """
[defaults]
sampler = "round_robin"
[rows.baseline]
scheme = "classification"
[rows.udon]
scheme = "udon"
[rows.raw]
scheme = "off_the_shelf"
"""
TUNE = """
[tune]
use = "random"
trials = 4
seeds = [10, 11]
seed = 3
[tune.space]
optimiser.lr_heads = { low = 1e-4, high = 1e-2, log = true }
"student_head.dim" = { low = 16, high = 64 }
losses.kl_logit.weight = { low = 1, high = 2 }
rows.udon.sampler = { of = ["uniform", "dynamic"] }
"""


def space(text: str) -> str:
    """A file with these lines in [tune.space]."""
    return f"{ROWS}\n[tune.space]\n{text}\n"


def test_a_row_has_the_dimensions_that_it_has_a_slot_for(tmp_path):
    """Paths are those of `--set`; a key of whole numbers gets whole ones, any other key gets
    others, however its ends are written; a row's own dimension is of no other row.
    """
    tuning = load(tmp_path, ROWS + TUNE).tuning
    rate = Dimension(path="optimiser.lr_heads", low=1e-4, high=1e-2, log=True)
    dim = Dimension(path="student_head.dim", low=16, high=64, whole=True)
    assert tuning.spaces == {
        "baseline": (rate, dim),
        "udon": (
            rate,
            dim,
            Dimension(path="losses.kl_logit.weight", low=1, high=2),
            Dimension(path="sampler", values=("uniform", "dynamic")),
        ),
    }
    assert (tuning.trials, tuning.seeds, tuning.search.options) == (4, (10, 11), {"seed": 3})


def test_a_trial_is_the_row_that_a_person_would_write(tmp_path):
    """Values of a trial lie over the row as keys of [rows.NAME] do."""
    experiment = load(tmp_path / "a", ROWS + TUNE)
    row = next(row for row in experiment.rows if row.name == "udon")
    made = experiment.tuning.row_with(
        row, {"losses.kl_logit.weight": 1.5, "sampler": "uniform", "optimiser.lr_heads": 0.01}
    )
    by_hand = ROWS.replace(
        'scheme = "udon"\n',
        'scheme = "udon"\nlosses.kl_logit.weight = 1.5\nsampler = "uniform"\n'
        "optimiser.lr_heads = 0.01\n",
    )
    (written,) = [row for row in load(tmp_path / "b", by_hand).rows if row.name == "udon"]
    assert made.spec == written.spec


def test_what_show_prints_tunes_the_same(tmp_path):
    """The resolved file has the dimensions of each row, search, seeds and trials."""
    tuning = load(tmp_path, ROWS + TUNE).tuning
    text = to_toml(load(tmp_path, ROWS + TUNE))
    again = load_experiment(write_experiment(tmp_path, text, "shown.toml")).tuning
    assert again.spaces == tuning.spaces
    assert (again.search, again.trials, again.seeds) == (
        tuning.search,
        tuning.trials,
        tuning.seeds,
    )


def test_a_file_over_one_that_is_tuned_is_tuned_alike(tmp_path):
    """[tune] is inherited as a whole, and one of the file's own takes its place."""
    write_experiment(tmp_path, f'setting = "smoke"\n{ROWS}{TUNE}', "above.toml")
    heir = load_experiment(write_experiment(tmp_path, 'inherit = "above.toml"', "a.toml"))
    assert heir.tuning.trials == 4 and "udon" in heir.tuning.spaces
    own = 'inherit = "above.toml"\n[tune.space]\nrows.udon.budget.batch = { of = [4, 8] }'
    other = load_experiment(write_experiment(tmp_path, own, "b.toml"))
    assert other.tuning.trials == 8 and list(other.tuning.spaces) == ["udon"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer.lr = { low = 1, high = 2 }", "unknown key; did you mean 'optimiser'?"),
        ("optimiser.lr = { low = 1, high = 2 }", "rows baseline, udon: tune.space.optimiser.lr:"),
        ("optimiser.eps = { low = 2, high = 1 }", "but `low` must be less than `high`"),
        ("optimiser.eps = { low = 1, high = 1 }", "but `low` must be less than `high`"),
        ("optimiser.eps = { low = 0, high = 1, log = true }", "the range must lie above 0"),
        ("optimiser.eps = { low = 1 }", "allowed are both `low` and `high`"),
        ("optimiser.eps = { of = [] }", "a list of one value or more"),
        ("optimiser.eps = { of = [1e-8, 1e-8] }", "allowed is each value once"),
        ("optimiser.eps = { of = [1], low = 0 }", "or `of` alone"),
        ("optimiser.eps = [1e-8]", "allowed is a table; write { of = [...] }"),
        ("optimiser.eps = { low = 1, hihg = 2 }", "unknown key; did you mean 'high'?"),
        ("student_head.dim = { low = 1.5, high = 3 }", "got 1.5, allowed is int > 0"),
        ("student_head.use = { of = ['linnear'] }", "did you mean 'linear'?"),
        ("losses.kl_logt.weight = { of = [1] }", "but no row here has a slot for it"),
        ("rows.udn.sampler = { of = ['uniform'] }", "no row 'udn'; did you mean 'udon'?"),
        ("rows.raw.optimiser.eps = { low = 1, high = 2 }", "has no slot for it"),
        (
            "rows.udon.student_head.dim = { low = 1.5, high = 3 }",
            "row udon: tune.space.rows.udon.student_head.dim: got 1.5",
        ),
        ("label = { of = ['a'] }", "says how a row is shown"),
        ("setting.data.seed = { of = [1] }", "all trials have the same setting"),
        ('sampler = { of = ["uniform"] }\nsampler.use = { of = ["dynamic"] }', "is not valid TOML"),
        (
            'sampler = { of = ["uniform"] }\n"sampler.use" = { of = ["dynamic"] }',
            "but so has 'sampler' around it",
        ),
        ("", "tune.space: is empty"),
    ],
)
def test_what_is_wrong_with_a_dimension_is_said(tmp_path, text, message):
    """Each has one sentence with its key, what was got and what is allowed."""
    assert message in problems(tmp_path, space(text))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('use = "tpee"', "unknown component of searches; did you mean 'tpe'?"),
        ("trials = 1", "tune.trials: got 1, allowed is int >= 2 and <= 1000"),
        ('use = "random"\npoints = 3', "tune.points: got 3, but this is an unknown key"),
        ('use = "grid"', 'rows baseline, udon: tune.use: got "grid", but optimiser.eps is a range'),
        ('use = "grid"\npoints = 9', "needs trials = 10"),
    ],
)
def test_what_is_wrong_with_a_search_is_said(tmp_path, table, message):
    """Search, trials and options are judged with the rest of the file."""
    text = f"{ROWS}\n[tune]\n{table}\nspace.optimiser.eps = {{ low = 1, high = 2 }}\n"
    assert message in problems(tmp_path, text)


def test_all_of_it_is_reported_at_once(tmp_path):
    """A mistake in a row does not hide those of [tune]."""
    text = space("optimiser.eps = { low = 2, high = 1 }").replace(
        'scheme = "classification"', 'scheme = "classification"\nsamplr = "uniform"'
    )
    found = problems(tmp_path, f"{text}optimiser.beta1 = {{ of = [2] }}\n")
    assert "samplr" in found and "`low` must be" in found and "got 2, allowed is float" in found


def test_a_missing_extra_keeps_from_tuning_alone(tmp_path, monkeypatch):
    """`tpe` needs optuna, which is looked for and not imported: check and tune say in one sentence
    how it is installed, and the rows of the file can be run without it.
    """
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "optuna" else find(name)
    )
    text = f'{ROWS}\n[tune]\nuse = "tpe"\nspace.optimiser.eps = {{ low = 1, high = 2 }}\n'
    file = write_experiment(tmp_path, f'setting = "smoke"\n{text}')
    for function in (udonx.check, udonx.tune):
        with pytest.raises(ConfigError, match=r"needs the package optuna: pip install 'udonx\["):
            function(file)
    assert load_experiment(file).tuning is not None


def test_a_check_imports_no_optuna(tmp_path):
    """A file that uses `tpe` is looked at without importing optuna or torch."""
    text = f'setting = "smoke"\n{ROWS}{TUNE}'.replace('"random"', '"tpe"')
    file = write_experiment(tmp_path, text)
    code = (
        "import sys\nfrom udonx.config.experiment import load_experiment\n"
        f"print(load_experiment({str(file)!r}).tuning.search.use)\n"
        "print([name for name in ('torch', 'optuna') if name in sys.modules])"
    )
    assert python(code, PYTHONPATH=":".join(sys.path)).splitlines() == ["tpe", "[]"]
