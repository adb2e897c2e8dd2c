"""Experiment files: merge order, settings, roles, overrides; what is wrong is found all at once."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from tests.tiny import ROOT, SETTING, python, write_experiment
from tests.udonx.config.loading import TWO_ROWS, load, problems, rows
from udonx.config.experiment import load_experiment, load_experiments
from udonx.config.problems import ConfigError
from udonx.inputs.sources import source_problems

TABLE3 = ROOT / "experiments" / "table3_ablation.toml"


def test_settings_inherit_and_do_not_run_in_circles(tmp_path):
    """A parent's keys lie below the child's; a circle and an unknown parent are said."""
    write_experiment(
        tmp_path / "settings", 'inherit = "smoke"\n[budget]\nsteps = 3\n', "short.toml"
    )
    experiment = load_experiment(write_experiment(tmp_path, 'setting = "short"\n' + TWO_ROWS))
    budget = rows(experiment)["a"].recipe.budget
    assert (experiment.setting, budget.steps, budget.batch, experiment.data.options["size"]) == (
        "short",
        3,
        8,
        "smoke",
    )
    write_experiment(tmp_path / "settings", 'inherit = "one"\n', "two.toml")
    write_experiment(tmp_path / "settings", 'inherit = "two"\n', "one.toml")
    assert "one -> two -> one inherit in a circle" in problems(tmp_path, TWO_ROWS, setting="one")
    assert "got \"smok\", which is an unknown setting; did you mean 'smoke'?" in problems(
        tmp_path, TWO_ROWS, setting="smok"
    )


def test_a_branch_is_evaluated_once(tmp_path):
    """The same branch twice would stand in the table twice, compared with itself."""
    text = TWO_ROWS + 'evaluate = ["student", "student"]\n'
    assert 'row b: evaluate: got ["student", "student"], allowed is each branch once' in problems(
        tmp_path, text
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("optimiser.lr_heads = -1.0", "row b: optimiser.lr_heads: got -1.0, allowed is float >= 0"),
        ("optimiser.beta1 = 1.0", "optimiser.beta1: got 1.0, allowed is float >= 0 and < 1"),
        (
            'optimiser.frozen = "120%"',
            "optimiser.frozen: got \"120%\", allowed is steps (400) or a share ('20%', '2/7')",
        ),
        ('transform.flip = "yes"', 'transform.flip: got "yes", allowed is true or false'),
        ("budget.batch = 2.5", "budget.batch: got 2.5, allowed is int > 0"),
        ('precision = "fp16"', "precision: got \"fp16\", allowed is one of 'fp32', 'bf16'"),
        ("student_head.dim = 0", "student_head.dim: got 0, allowed is int > 0"),
        (
            'losses.student_ce.scale = "big"',
            'losses.student_ce.scale: got "big", allowed is float > 0',
        ),
        (
            "losses.student_ce.weight = -1",
            "losses.student_ce.weight: got -1, allowed is float >= 0",
        ),
        ("losses = 3", "losses: got 3, allowed are named tables, [rows.b.losses.NAME]"),
        (
            "losses.student_ce = 3",
            "losses.student_ce: got 3, allowed is a name or a table with 'use'",
        ),
        (
            "losses.student_cee = false",
            (
                "losses.student_cee: got false, but this is an unknown loss of this row; did you"
                " mean 'student_ce'"
            ),
        ),
        (
            'evaluate = ["teacher"]',
            "evaluate: got \"teacher\", allowed with scheme 'classification': student",
        ),
        ("evaluate = []", "evaluate: got [], allowed is list of text of length >= 1"),
        ("transform.resize = 20", "transform.resize: got 20, allowed is at least crop = 32"),
        (
            "budget.epochs = 2\nbudget.steps = 2",
            "budget: got both steps and epochs, allowed is one of them",
        ),
        (
            'student_head = "pca"',
            (
                "student_head.use: got \"pca\", but scheme 'classification' needs a head that is"
                " trained: linear, mlp"
            ),
        ),
        ("sampler.use = 3", "sampler.use: got 3, allowed is text"),
        (
            'sampler = { use = "dynamic" }',
            "sampler.signal: got \"teacher_ce\", an impossible pair with scheme 'classification'",
        ),
        ("budget = 3", "budget: got 3, allowed is a table"),
        (
            'losses = { use = "ce" }',
            (
                "losses.use: got { use = \"ce\" }, but 'use' is a key of a loss, no name of one;"
                " write losses.NAME"
            ),
        ),
        (
            "student_head = false",
            (
                "row b: student_head: got false, but this row cannot be without it; it must name"
                " one of linear, mlp"
            ),
        ),
        ("transform.crop = 40", "row b: transform.crop: got 40, allowed is at most resize = 36"),
        (
            'losses.student_ce = { margin = "arcface", m = 3.5 }',
            "losses.student_ce.m: got 3.5, allowed is float >= 0 and <= 1.5",
        ),
    ],
)
def test_a_wrong_value_names_what_was_got_and_what_is_allowed(tmp_path, line, message):
    """Types, bounds and impossible pairs are reported with the row and the dotted key."""
    assert message in problems(
        tmp_path,
        TWO_ROWS.replace('sampler = "uniform"\n', "", 2)
        + f'{line}\n[defaults]\nsampler = "uniform"\n',
    )


def test_a_wrong_plain_key_hides_nothing(tmp_path):
    """A problem in a plain key of the file does not keep the rows from being looked at."""
    text = problems(
        tmp_path, 'title = 3\nseeds = [-1]\nresult = 1\n[rows.a]\nscheme = "udn"\nwidth = 3\n'
    )
    for expected in (
        "title: got 3",
        "seeds: got -1",
        "result: got 1",
        "unknown component of schemes; did you mean 'udon'",
        "width: got 3",
    ):
        assert expected in text
    assert "5 problems" in text


BROKEN = """
[defaults]
sampler = "uniform"
[rows.misspelt]
scheme = "udon"
optimiser = { lr_head = 1e-3 }
[rows.typed]
scheme = "classification"
budget = { batch = "many" }
[rows.unknown]
scheme = "udon"
sampler = "dynamik"
losses = { kl_logit = { use = "kl_logits" } }
[rows.impossible]
scheme = "classification"
losses = { kl = "kl_logit" }
classifer = "joint"
"""


def test_everything_wrong_is_shown_at_once(tmp_path, monkeypatch):
    """A misspelt key, a wrong type, unknown components, an impossible pair and a missing data
    folder are one numbered report.
    """
    monkeypatch.chdir(tmp_path)
    text = problems(tmp_path, SETTING + BROKEN, data=tmp_path / "nowhere", sources=source_problems)
    lines = text.split("\n")
    assert lines[0] == "7 problems; nothing was started"
    assert [line.split(". ", 1)[0].strip() for line in lines[1:]] == list("1234567")
    for expected in (
        (
            "table.toml, row misspelt: optimiser.lr_head: got 0.001, but this is an unknown key;"
            " did you mean 'lr_heads'"
        ),
        'table.toml, row typed: budget.batch: got "many", allowed is int > 0',
        (
            'table.toml, row unknown: sampler.use: got "dynamik", which is an unknown component'
            " of samplers; did you mean 'dynamic'"
        ),
        (
            'table.toml, row unknown: losses.kl_logit.use: got "kl_logits", which is an unknown'
            " component of losses; did you mean 'kl_logit'"
        ),
        (
            'table.toml, row impossible: classifer: got "joint", but this is an unknown key; did'
            " you mean 'classifier'"
        ),
        (
            "table.toml, row impossible: losses.kl: got 'kl_logit', which needs a teacher: an"
            " impossible pair with scheme 'classification'; schemes with a teacher are"
            " multi_head_teacher, separate_teachers, udon"
        ),
        "nowhere/info_files is not a folder",
    ):
        assert expected in text, text


def test_missing_start_weights_and_unknown_domains_are_problems_of_the_setting(tmp_path):
    """Weights that are nowhere and domains that the data lacks are found without torch and told
    with the rows they touch.
    """
    setting = SETTING.replace("random = true", 'local = "not_there"')
    setting = setting.replace('source = "uned"', 'source = "demo"\ndomains = ["glyphs", "food"]')
    text = problems(tmp_path, setting + TWO_ROWS, sources=source_problems)
    assert "data.domains: 'demo' has no domain 'food'" in text
    assert (
        "rows a, b: backbones.main: backbone 'main' needs the weights 'not_there'" in text
        and "--weights DIR" in text
    )


def test_metrics_are_the_files_in_its_order_once_each(tmp_path):
    """Without the key R@1 and mMP@5; a file that inherits has its parent's."""
    row = '[rows.a]\nscheme = "off_the_shelf"\n'
    for name, text in (
        ("above", f'metrics = ["map_r", "r1", "map_r"]\n{row}'),
        ("below", 'inherit = "above.toml"\n'),
        ("plain", row),
    ):
        (tmp_path / f"{name}.toml").write_text(text)
    for name in ("above", "below"):
        assert load_experiment(tmp_path / f"{name}.toml").metrics == ("map_r", "r1")
    assert load_experiment(tmp_path / "plain.toml").metrics == ("r1", "mmp5")


def test_unknown_metrics_are_problems_with_the_nearest_names(tmp_path):
    """Beside whatever else is wrong."""
    text = problems(tmp_path, 'metrics = ["r1", "mapr"]\n[rows.a]\nscheme = "udn"\n')
    assert "metrics: got \"mapr\", which is an unknown metric; did you mean 'map_r'" in text
    assert "2 problems" in text


def test_rows_and_seeds_are_selected(tmp_path):
    """--row keeps the rows named, --seeds replaces the file's, each seed once; unknown rows and
    negative seeds are errors.
    """
    experiment = load(tmp_path, TWO_ROWS, rows=["b"], seeds=[2, 0, 2])
    assert ([row.name for row in experiment.wanted_rows()], experiment.seeds) == (["b"], (2, 0))
    text = problems(tmp_path, TWO_ROWS, rows=["c"], seeds=[-1])
    assert "--seeds: got -1, allowed is" in text
    assert re.search(r"--row c: \S+ has no such row; its rows are a, b$", text, re.MULTILINE)
    text = problems(tmp_path, TWO_ROWS.replace("rows.a", "rows.udon"), rows=["udn"])
    assert "has no such row; did you mean 'udon'? its rows are udon" in text


@pytest.mark.parametrize(
    "name", ["table3_ablation", "table3_ablation.toml", "experiments/table3_ablation.toml"]
)
def test_shipped_experiments_are_found_by_name(tmp_path, monkeypatch, name):
    """Outside the clone too; a file of the person's own comes first, and what is nowhere is
    answered with the nearest shipped name.
    """
    monkeypatch.chdir(tmp_path)
    assert load_experiment(name, setting="smoke").path == TABLE3
    own = write_experiment(
        (tmp_path / name).parent, 'setting = "smoke"\n' + TWO_ROWS, Path(name).name
    )
    assert load_experiment(name).path.resolve() == own
    shipped = list(TABLE3.parent.glob("*.toml"))
    assert len(
        load_experiments([Path(name).parent if "/" in name else "experiments"], setting="smoke")
    ) == (1 if "/" in name else len(shipped))
    with pytest.raises(
        ConfigError,
        match=r"table3\.toml: there is no such file; did you mean .*'table3_ablation.toml'",
    ):
        load_experiment("../table3.toml")


def test_reading_a_file_runs_no_code_and_no_torch(tmp_path):
    """A file beside an experiment is not imported unless it is listed; resolving a shipped
    experiment needs no torch.
    """
    (tmp_path / "losses.py").write_text("raise SystemExit('this was run')")
    path = write_experiment(tmp_path, TWO_ROWS)
    code = (
        "import sys\nfrom udonx.inputs.sources import source_problems\n"
        "from udonx.config.experiment import"
        f" load_experiment\nload_experiment({str(path)!r}, setting='smoke',"
        " sources=source_problems)\nprint('torch' in sys.modules)"
    )
    python(code)  # describes the components, where no process has done that yet
    assert python(code) == "False"
    load_experiment(path, setting="smoke")
    assert "losses" not in sys.modules


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "experiments" / "settings").glob("uned-*.toml")),
    ids=lambda path: path.stem,
)
def test_every_setting_of_uned_is_the_official_one(path):
    """Official behaviour comes from settings/official.toml, not from a name: every uned-* inherits
    it and changes none of it.
    """
    official = tomllib.loads((path.parent / "official.toml").read_text())
    experiment = load_experiment(TABLE3, setting=path.stem)
    udon = next(row.data for row in experiment.rows if row.name == "udon_dynamic")
    udon["transform"].setdefault("orientation", "stored")  # the default, which no row names
    for table in ("transform", "optimiser", "schedule", "validation"):
        assert {key: udon[table][key] for key in official[table]} == official[table]
    assert udon["sampler"] == {"use": "dynamic", **official["samplers"]["dynamic"]}
    assert udon["losses"]["teacher_ce"]["scale"] == official["losses"]["ce"]["scale"]


def test_the_shipped_experiments_resolve():
    """Table 3 has its five rows and two references on every setting that needs no data."""
    for setting in ("demo", "smoke"):
        experiment = load_experiment(TABLE3, setting=setting)
        assert [row.name for row in experiment.wanted_rows()] == [
            "baseline",
            "separate_teachers",
            "multi_head_teacher",
            "udon",
            "udon_dynamic",
            "off_the_shelf",
            "off_the_shelf_pca",
        ]
        assert [row.reference for row in experiment.wanted_rows()] == [False] * 5 + [True] * 2


def test_slot_keys_are_among_the_allowed_ones(tmp_path):
    """A misspelt key of a loss is compared with the slot's own keys too: `weight` is what people
    set most.
    """
    path = write_experiment(
        tmp_path,
        '[rows.a]\nscheme = "udon"\nsampler = "round_robin"\nlosses.relational.wieght = 1.0\n',
    )
    with pytest.raises(
        ConfigError,
        match=(
            r"losses\.relational\.wieght: got 1\.0, .*did you mean 'weight'\? allowed: on,"
            r" ramp, reduction, teacher, use, weight"
        ),
    ):
        load_experiment(path, setting="smoke")
