"""Experiment files: merge order, settings, roles, overrides; what is wrong is found all at once."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path

import pytest

from tests.tiny import ROOT, SETTING, python, write_experiment
from udonx.config.experiment import load_experiment, load_experiments
from udonx.config.problems import ConfigError
from udonx.inputs.sources import source_problems

TABLE3 = ROOT / "experiments" / "table3_ablation.toml"
TWO_ROWS = (
    '[rows.a]\nscheme = "udon"\nsampler = "uniform"\n[rows.b]\nscheme = "classification"\nsampler ='
    ' "uniform"\n'
)


def load(tmp_path: Path, text: str, **options):
    """The experiment that a text stands for, on the setting `smoke` unless it holds one."""
    return load_experiment(
        write_experiment(tmp_path, text),
        **({} if "[setting" in text else {"setting": "smoke"}) | options,
    )


def rows(experiment) -> dict:
    """The typed keys of each row."""
    return {row.name: row.spec for row in experiment.rows}


def problems(tmp_path: Path, text: str, **options) -> str:
    """The report of a broken experiment."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, **options)
    return str(caught.value)


@pytest.mark.parametrize("layers", range(7))
def test_every_layer_beats_the_one_below(tmp_path, layers):
    """Component or table default < parent setting < setting < defaults < row < --set for all rows <
    --set for one row.
    """
    states = [
        f"[optimiser]\nlr_heads = {layer}.0\n" if layers >= layer else "" for layer in range(7)
    ]
    base = re.sub(
        "lr_heads = .*\n", "", (ROOT / "experiments" / "settings" / "smoke.toml").read_text()
    )
    settings = tmp_path / "settings"
    write_experiment(
        settings, re.sub(r"\[optimiser\].*\n", states[1] or "[optimiser]\n", base), "parent.toml"
    )
    write_experiment(settings, f'inherit = "parent"\n{states[2]}', "child.toml")
    text = 'setting = "child"\n' + states[3].replace("[optimiser]", "[defaults.optimiser]")
    text += '[rows.a]\nscheme = "classification"\nsampler = "uniform"\n' + states[4].replace(
        "[optimiser]", "[rows.a.optimiser]"
    )
    overrides = ["rows.a.optimiser.lr_heads=6.0", "optimiser.lr_heads=5.0"][
        6 - layers if layers >= 5 else 2 :
    ]
    experiment = load_experiment(write_experiment(tmp_path, text), overrides=overrides)
    assert rows(experiment)["a"].recipe.optimiser.lr_heads == (layers or 1e-3)


def test_component_defaults_of_a_setting_lie_below_everything(tmp_path):
    """[KIND.NAME] of a setting replaces a component's own default, for every use of it; a row still
    beats it.
    """
    text = (
        SETTING
        + "[setting.losses.ce]\nscale = 8.0\n"
        + TWO_ROWS
        + "[rows.b.losses.student_ce]\nscale = 4.0\n"
    )
    parts = rows(load(tmp_path, text))
    assert [(loss.name, loss.options["scale"]) for loss in parts["a"].recipe.losses[:2]] == [
        ("teacher_ce", 8.0),
        ("student_ce", 8.0),
    ]
    assert parts["b"].recipe.losses[0].options == {"margin": "normface", "m": 0.0, "scale": 4.0}


def test_a_schemes_default_row_lies_below_the_defaults(tmp_path):
    """The losses that a scheme brings are changed, removed and joined by the file."""
    text = TWO_ROWS + "[defaults.losses.student_ce]\nweight = 2.0\n"
    text += '[rows.a.losses]\nrelational = false\nagain = { use = "ce", weight = 0.5 }\n'
    parts = rows(load(tmp_path, text))
    assert [(loss.name, loss.weight, loss.on) for loss in parts["a"].recipe.losses] == [
        ("teacher_ce", 1.0, "teacher"),
        ("student_ce", 2.0, "student"),
        ("kl_logit", 1.0, None),
        ("again", 0.5, "student"),
    ]
    assert [(loss.name, loss.weight) for loss in parts["b"].recipe.losses] == [("student_ce", 2.0)]


def test_a_default_without_a_slot_is_dropped_for_that_row(tmp_path):
    """A default for teachers is not for a row without them."""
    parts = rows(load(tmp_path, "[defaults]\nteacher_head = { dim = 5 }\n" + TWO_ROWS))
    assert parts["a"].recipe.teacher_head.dim == 5 and parts["b"].recipe.teacher_head is None


def test_a_default_that_no_row_has_a_slot_for_is_an_error(tmp_path):
    """Nothing that is written is dropped in silence: neither a key nor a loss of [defaults] or
    --set that no row has.
    """
    text = problems(
        tmp_path,
        '[defaults]\nteacher_budget = "full"\n[defaults.losses.student_cee]\nweight = 2.0\n'
        + TWO_ROWS,
    )
    assert 'defaults.teacher_budget: got "full", but no row here has a slot for it' in text
    assert (
        "defaults.losses.student_cee: got { weight = 2.0 }, but this is an unknown loss of these"
        " rows; did you mean 'student_ce'" in text
    )
    assert "--set losses.kl.weight=2: losses.kl" in problems(
        tmp_path, TWO_ROWS, overrides=["losses.kl.weight=2"]
    )


def test_a_key_that_a_rows_scheme_lacks_is_an_error_in_the_row(tmp_path):
    """A row that says what its scheme has no slot for is told the keys that it has."""
    text = problems(tmp_path, TWO_ROWS + "teacher_head = { dim = 5 }\n")
    assert (
        "row b: teacher_head: got { dim = 5 }, but scheme 'classification' has no slot for it; its"
        " keys are backbone, budget" in text
    )


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


def test_set_reaches_all_rows_one_row_and_the_setting(tmp_path):
    """--set takes the paths that show prints; its values are TOML, a bare word is text."""
    given = [
        "budget.scale=0.5",
        "rows.a.sampler=dynamic",
        "setting.transform.flip=false",
        "setting.data.seed=3",
    ]
    experiment = load(tmp_path, TWO_ROWS, overrides=given)
    parts = rows(experiment)
    assert [parts[name].recipe.budget.scale for name in "ab"] == [0.5, 0.5]
    assert [parts[name].recipe.sampler.use for name in "ab"] == ["dynamic", "uniform"]
    assert [parts[name].transform.flip for name in "ab"] == [False, False]
    assert experiment.data.options["seed"] == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "budget.stepz=3",
            (
                "--set budget.stepz=3, rows a, b: budget.stepz: got 3, but this is an unknown key;"
                " did you mean 'steps'"
            ),
        ),
        (
            "budgt.steps=3",
            (
                "--set budgt.steps=3: budgt: got { steps = 3 }, but this is an unknown key; did you"
                " mean 'budget'"
            ),
        ),
        ("rows.c.seed=3", "--set rows.c.seed=3: there is no row 'c'; the rows are a, b"),
        (
            "rows.a.sampler=dynamc",
            (
                'row a: sampler.use: got "dynamc", which is an unknown component of samplers; did'
                " you mean 'dynamic'"
            ),
        ),
        (
            "setting.dataa.seed=1",
            "dataa: got { seed = 1 }, but this is an unknown key of a setting; did you mean 'data'",
        ),
        ("budget", "--set budget: must be key.path=value"),
        (
            "budget.scale=a b",
            "--set budget.scale=a b: budget.scale: got a b, allowed is one TOML value: ",
        ),
        (
            "student_head.dim=32,64",
            "student_head.dim: got 32,64, allowed is one TOML value: a number, true, false, a list",
        ),
        ("a" + ".a" * 99 + "=1", "its path has 100 parts, allowed are 32"),
    ],
)
def test_an_unknown_path_or_value_of_set_is_an_error(tmp_path, override, message):
    """A mistake in --set is reported with the whole text of the option and the
    nearest valid name.
    """
    assert message in problems(tmp_path, TWO_ROWS, overrides=[override])


def test_a_branch_is_evaluated_once(tmp_path):
    """The same branch twice would stand in the table twice, compared with itself."""
    text = TWO_ROWS + 'evaluate = ["student", "student"]\n'
    assert 'row b: evaluate: got ["student", "student"], allowed is each branch once' in problems(
        tmp_path, text
    )


def test_a_backbone_role_that_the_setting_lacks_skips_the_row(tmp_path):
    """A row with another role is said to be not in this setting; it is neither replaced nor an
    error.
    """
    text = (
        TWO_ROWS
        + 'backbone = "large"\n[rows.c]\nscheme = "off_the_shelf"\nbackbone = "large"\nlabel ='
        ' "C"\n'
    )
    experiment = load(tmp_path, text, setting="demo")
    why = "not in this setting, which has no backbone 'large'"
    assert [row.skipped for row in experiment.rows] == [None, why, why]
    assert experiment.skipped() == [f"{why}: b; C"]


def test_a_backbone_role_that_no_setting_has_is_a_mistake(tmp_path):
    """A misspelt role is no row of another setting: it is named with the nearest; a role of a
    setting beside the file is known.
    """
    text = problems(tmp_path, TWO_ROWS + 'backbone = "larg"\n', setting="demo")
    assert (
        "rows.b.backbone: got \"larg\", which is an unknown backbone role; did you mean 'large'"
        in text
    )
    text = problems(tmp_path, 'roles = ["main", "clipp"]\n' + TWO_ROWS, setting="demo")
    assert (
        "roles: got \"clipp\", which is an unknown backbone role; did you mean 'clip'" in text
        and text.startswith("1 problem")
    )
    write_experiment(
        tmp_path / "settings",
        'inherit = "demo"\n[backbones.larg]\nmodel = "resnet18"\nrandom = true\n',
        "mine.toml",
    )
    assert load(tmp_path, TWO_ROWS + 'backbone = "larg"\n', setting="demo").rows[1].skipped


def test_a_key_of_the_setting_in_set_is_told_its_full_name(tmp_path):
    """`--set data.domains=...` is what a person tries; the message says how the keys of the setting
    are written.
    """
    assert "but this is a key of the setting: write setting.data..." in problems(
        tmp_path, TWO_ROWS, overrides=["data.seed=1"]
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "rows: there are no rows; add at least one table [rows.NAME]"),
        ("rows = 3", "rows: there are no rows"),
        (
            TWO_ROWS + "[defaults.optimiser]\nlr_head = 1.0",
            "rows a, b: defaults.optimiser.lr_head: got 1.0, but this is an unknown key",
        ),
        (
            'title = 3\nseeds = []\nresults = "x"\n' + TWO_ROWS,
            'results: got "x", allowed is a table',
        ),
        (
            "optimiser = { frozen = 1 }\n" + TWO_ROWS,
            "(a key of a row: put it under [defaults] or [rows.NAME])",
        ),
        (
            "[setting]\ndata = 3\nbackbones = 3\nlosses = 3\n" + TWO_ROWS,
            "setting.losses: got 3, allowed is a table",
        ),
        (
            "[setting.losses]\nce = 3\n[setting.data]\nsede = 1\n" + TWO_ROWS,
            "setting.losses.ce: got 3, allowed is a table",
        ),
        (
            "[setting]\ninherit = 3\n" + TWO_ROWS,
            "setting: got 3, allowed is the name of a setting or a table",
        ),
        (
            SETTING.replace('"resnet10t"', '"resnet10x"') + TWO_ROWS,
            'model: got "resnet10x", which is an unknown timm model; did you mean resnet10t',
        ),
        ("rows = [", "is not valid TOML"),
        (
            'setting = "smoke"\n[setting.backbones.mine]\nmodel = "resnet18"\n',
            (
                "'setting' is a name and a table at once: write [setting] with inherit = \"smoke\","
                " and beside it what differs"
            ),
        ),
        (
            '[rows.a]\nsampler = "dynamic"\nsampler.interval = 3\n',
            (
                "'sampler' is a name and a table at once: write a table with use = \"dynamic\", and"
                " beside it what differs"
            ),
        ),
        (
            "[rows.a]\nlabel = 3\n[rows.a.label]\n",
            "is not valid TOML: Cannot overwrite a value (at line 3",
        ),
        (TWO_ROWS + "x = " + "[" * 2000, "is not valid TOML: it is nested too deeply"),
        (TWO_ROWS + "x" + ".x" * 2000 + " = 1", "its tables and lists are more than 32 deep"),
        (TWO_ROWS + "x = " + "[" * 40 + "]" * 40, "its tables and lists are more than 32 deep"),
        (TWO_ROWS + "budget.steps = " + "9" * 5000, "a whole number has more than 4300 digits"),
        (TWO_ROWS + "budget.steps = 1" + "0" * 400, "a whole number has more than 64 bits"),
        (
            TWO_ROWS + "budget.epochs = 1e308",
            "row b: budget.epochs: got 1e+308, allowed is float > 0 and <= 1000000",
        ),
        ('inherit = "a\\u0000b"\n' + TWO_ROWS, r'inherit: got "a\x00b", but there is no such file'),
        (f'inherit = "{"a" * 300}"\n' + TWO_ROWS, "but there is no such file"),
        ('inherit = "."\n' + TWO_ROWS, "but there is no such file"),
        (f'[setting]\ninherit = "{"a" * 300}"\n' + TWO_ROWS, "which is an unknown setting"),
        (
            '[setting]\ninherit = "a\\u0000b"\n' + TWO_ROWS,
            r'setting: got "a\x00b", which is an unknown setting',
        ),
        (
            TWO_ROWS.replace('"udon"', '"u\\u0000"'),
            r'scheme.use: got "u\x00", which is an unknown component',
        ),
        (
            SETTING + '[setting.backbones."a\\u0000"]\nmodel = 3\n' + TWO_ROWS,
            "model: got 3, allowed is text",
        ),
        (
            "[defaults]\nlosses = false\n" + TWO_ROWS + "losses.student_ce.weight = 2",
            "defaults.losses: got false, allowed are named",
        ),
    ],
)
def test_a_malformed_file_is_told_and_never_a_traceback(tmp_path, text, message):
    """Wrong shapes at the top of a file, in its setting and in its defaults end in a sentence."""
    assert message in problems(tmp_path, text)


def test_a_pipe_is_never_waited_for(tmp_path):
    """A pipe in the place of an experiment file is refused, not read."""
    os.mkfifo(tmp_path / "table.toml")
    with pytest.raises(ConfigError, match=r"table\.toml: is no regular file"):
        load_experiment(tmp_path / "table.toml")


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


def test_data_is_refused_where_it_would_be_ignored(tmp_path):
    """--data with a generated benchmark is an error that says what to do."""
    assert (
        "--data: got /x, but the data of this setting is 'demo', which has no folder"
        in problems(tmp_path, TWO_ROWS, data="/x")
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
    assert len(
        load_experiments([Path(name).parent if "/" in name else "experiments"], setting="smoke")
    ) == (1 if "/" in name else 15)
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
            r" reduction, use, weight"
        ),
    ):
        load_experiment(path, setting="smoke")


def test_a_misspelt_scheme_key_is_named(tmp_path):
    """Where the scheme is missing because its key is misspelt, the message says so."""
    path = write_experiment(tmp_path, '[rows.a]\nschema = "udon"\n')
    with pytest.raises(
        ConfigError,
        match=r"schema: got \"udon\", but this is an unknown key; did you mean 'scheme'",
    ):
        load_experiment(path, setting="smoke")


@pytest.mark.parametrize(
    "key", ["checkpoint_path", "pretrained_cfg", "cache_dir", "no_jit", "img_size"]
)
def test_timms_own_switches_are_refused_by_a_check(tmp_path, key):
    """What would load weights past the stage's identity is a problem at its key, found without
    torch.
    """
    text = SETTING.replace("stem_width = 8", f'stem_width = 8, {key} = "evil.pth"') + TWO_ROWS
    assert f'backbones.main.kwargs.{key}: got "evil.pth", but this may not be set: ' in problems(
        tmp_path, text
    )


def test_false_removes_where_inherited_weights_come_from(tmp_path):
    """`local = false` and `hub = false` in a setting undo what its parent says; without either a
    backbone says where it starts.
    """
    write_experiment(
        tmp_path / "settings",
        SETTING.replace("setting.", "")
        .replace("[setting]\n", "")
        .replace("random = true", 'local = "x"\nhub = "c3_in1k"'),
        "mine.toml",
    )
    child = '[setting]\ninherit = "mine"\n[setting.backbones.main]\n'
    experiment = load(tmp_path, child + "local = false\n" + TWO_ROWS)
    assert (experiment.backbones["main"].local, experiment.backbones["main"].hub) == (
        None,
        "c3_in1k",
    )
    experiment = load(tmp_path, child + "hub = false\n" + TWO_ROWS)
    assert (experiment.backbones["main"].local, experiment.backbones["main"].hub) == ("x", None)
    text = problems(
        tmp_path, child + "hub = false\nlocal = false\n" + TWO_ROWS, sources=source_problems
    )
    assert "backbone 'main' does not say where it starts" in text


def test_a_misspelt_folder_of_weights_is_a_problem_though_the_hub_has_some(tmp_path):
    """What a file states over its setting's tag of the hub is found or is an error."""
    child = '[setting]\ninherit = "uned_mini"\n[setting.backbones.main]\nlocal = "miine"\n'
    text = problems(tmp_path, child + TWO_ROWS, sources=source_problems)
    assert (
        "needs the weights 'miine'" in text
        and "`local = false` takes timm/mobilenetv2_100.ra_in1k from timm's hub instead" in text
    )
