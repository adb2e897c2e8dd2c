"""Experiment files over other experiment files, and rows once per backbone role."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tiny import SETTING, write_experiment
from udonx.config.experiment import load_experiment
from udonx.config.problems import ConfigError
from udonx.config.show import to_toml

PARENT = """
title = "Above"
setting = "smoke"
seeds = [3]
[defaults]
sampler = "uniform"
optimiser.lr_heads = 0.5
[rows.udon]
label = "UDON"
scheme = "udon"
losses.kl_logit.weight = 0.5
[rows.baseline]
scheme = "classification"
[rows.raw]
scheme = "off_the_shelf"
backbone = "large"
reference = true
"""


def load(tmp_path: Path, text: str, **options):
    """The experiment of a file beside `parent.toml`."""
    write_experiment(tmp_path, PARENT, "parent.toml")
    return load_experiment(write_experiment(tmp_path, text, "child.toml"), **options)


def problems(tmp_path: Path, text: str) -> str:
    """The report of a broken file."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    return str(caught.value)


def test_a_file_without_rows_of_its_own_is_its_parent_under_its_own_title(tmp_path):
    """Keys and rows come from the file above; what the file says itself comes first."""
    experiment = load(tmp_path, 'title = "Below"\ninherit = "parent.toml"\n')
    assert (experiment.title, experiment.seeds, experiment.setting, experiment.name) == (
        "Below",
        (3,),
        "smoke",
        "child",
    )
    assert [row.name for row in experiment.rows] == ["udon", "baseline", "raw"]
    assert experiment.rows[0].data == load_experiment(tmp_path / "parent.toml").rows[0].data


def test_rows_are_changed_left_out_and_added(tmp_path):
    """A row of the same name lies over the parent's, key by key; `false` leaves one out; [defaults]
    lie over the parent's too.
    """
    text = """
inherit = "parent.toml"
[defaults]
optimiser.lr_backbone = 0.25
[rows]
baseline = false
udon.losses.kl_logit.student_temperature = 0.2
more.scheme = "classification"
"""
    experiment = load(tmp_path, text)
    rows = {row.name: row for row in experiment.rows}
    assert list(rows) == ["udon", "raw", "more"]
    kl = next(loss for loss in rows["udon"].spec.recipe.losses if loss.name == "kl_logit")
    assert (kl.weight, kl.options["student_temperature"], rows["udon"].label) == (0.5, 0.2, "UDON")
    optimiser = rows["more"].spec.recipe.optimiser
    assert (optimiser.lr_heads, optimiser.lr_backbone) == (0.5, 0.25)


def test_a_row_that_a_parent_leaves_out_is_there_again_where_the_file_has_one(tmp_path):
    """`false` above is for the rows above it: a row of the file's own is never dropped."""
    above = PARENT.replace("[rows.udon]", "[rows]\nghost = false\n[rows.udon]")
    write_experiment(tmp_path, above, "above.toml")
    with pytest.raises(ConfigError, match=r"rows\.ghost: got false, but this is an unknown row"):
        load_experiment(tmp_path / "above.toml")
    below = write_experiment(
        tmp_path, 'inherit = "above.toml"\n[rows.ghost]\nscheme = "classification"\n', "below.toml"
    )
    assert [row.name for row in load_experiment(below).rows] == ["udon", "baseline", "raw", "ghost"]


def test_rows_are_there_once_for_each_role(tmp_path):
    """The first role keeps the rows' names; the others put theirs before it; a row that names its
    backbone stays as it is.
    """
    experiment = load(
        tmp_path, 'inherit = "parent.toml"\nroles = ["main", "clip"]\n', rows=["clip_udon"]
    )
    assert [(row.name, row.backbone) for row in experiment.rows] == [
        ("udon", "main"),
        ("baseline", "main"),
        ("clip_udon", "clip"),
        ("clip_baseline", "clip"),
        ("raw", "large"),
    ]
    assert [row.label for row in experiment.rows] == [
        "UDON",
        "baseline",
        "clip: UDON",
        "clip: baseline",
        "raw",
    ]
    assert [row.name for row in experiment.wanted_rows()] == ["clip_udon"]
    only = load(tmp_path, 'inherit = "parent.toml"\nroles = ["large"]\n')
    assert [(row.label, row.backbone) for row in only.rows] == [
        ("UDON", "large"),
        ("baseline", "large"),
        ("raw", "large"),
    ]


def test_what_show_prints_of_it_stands_alone(tmp_path):
    """The resolved file needs neither the parent nor the roles."""
    experiment = load(tmp_path, 'inherit = "parent.toml"\nroles = ["main", "clip"]\n')
    again = load_experiment(write_experiment(tmp_path / "elsewhere", to_toml(experiment)))
    assert [row.data for row in again.rows] == [row.data for row in experiment.wanted_rows()]


def test_a_parents_plug_ins_lie_beside_the_parent(tmp_path):
    """A plug-in that the file above lists is found from wherever the file below lies."""
    (tmp_path / "above_loss.py").write_text(
        'from registry import losses\n\n\n@losses.register("above")\nclass Above:\n   '
        ' """None."""\n\n    def __call__(self, branch, batch):\n        return'
        " branch.embedding_BD.sum()\n"
    )
    write_experiment(
        tmp_path,
        'plugins = ["above_loss.py"]\n'
        + SETTING
        + '[rows.a]\nscheme = "udon"\nsampler = "uniform"\n',
        "parent.toml",
    )
    text = 'inherit = "../parent.toml"\n[rows.a]\nlosses.more = "above"\n'
    experiment = load_experiment(write_experiment(tmp_path / "below", text))
    assert [loss.use for loss in experiment.rows[0].spec.recipe.losses][-1] == "above"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'inherit = "child.toml"\n',
            r"inherit: the files child.toml -> child.toml inherit in a circle",
        ),
        (
            'inherit = "parant.toml"\n',
            (
                r"child.toml: inherit: got \"parant.toml\", but there is no such file; did you mean"
                r" 'parent.toml'"
            ),
        ),
        ('inherit = ""\n', r"child.toml: inherit: got \"\", but there is no such file"),
        ("inherit = 3\n", r"inherit: got 3, allowed is the path of an experiment file"),
        (
            'inherit = "parent.toml"\nrows.nobody = false\n',
            r"rows.nobody: got false, but this is an unknown row; allowed: baseline, raw, udon",
        ),
        (
            'inherit = "parent.toml"\nrows.udon = 3\n',
            r"rows.udon: got 3, allowed is a table, or false",
        ),
        (
            'inherit = "parent.toml"\n[rows]\nudon = false\nbaseline = false\nraw = false\n',
            r"rows: there are no rows",
        ),
        ('inherit = "parent.toml"\nroles = "main"\n', r'roles: got "main", allowed is'),
        (
            'inherit = "parent.toml"\nroles = ["main", "main"]\n',
            r"roles: got .*, allowed is each role once",
        ),
        (
            'inherit = "parent.toml"\nroles = ["main", "a", "a_b"]\nrows.b_udon.scheme = "udon"\n',
            (
                r"roles: the row 'udon' for the role 'a_b' would be 'a_b_udon', as that of another"
                r" row and role; rename one"
            ),
        ),
        (
            'inherit = "parent.toml"\nroles = ["main"]\ndefaults.backbone = "clip"\n',
            r"roles: says which backbone all rows have, and so does",
        ),
        ('inherit = "parent.toml"\nplugins = "plug.py"\n', r'plugins: got "plug.py", allowed is'),
    ],
)
def test_what_cannot_be_inherited_is_said(tmp_path, text, message):
    """Each mistake is one sentence at its key."""
    assert re.search(message, problems(tmp_path, text)), problems(tmp_path, text)


def test_a_problem_names_the_file_that_holds_it(tmp_path):
    """A wrong key of a row is reported in the parent's file where the parent wrote it."""
    write_experiment(tmp_path, PARENT.replace("weight = 0.5", "weigth = 0.5"), "parent.toml")
    with pytest.raises(ConfigError, match=r"parent\.toml.*losses\.kl_logit\.weigth"):
        load_experiment(write_experiment(tmp_path, 'inherit = "parent.toml"\n', "child.toml"))


def test_a_mistake_in_a_row_that_roles_made_is_said_once(tmp_path):
    """The same mistake in both rows is one problem that names both."""
    text = problems(
        tmp_path,
        'inherit = "parent.toml"\nroles = ["main", "clip"]\nrows.baseline.optimiser.lr_head ='
        " 1.0\n",
    )
    assert (
        text.startswith("1 problem") and "rows baseline, clip_baseline: optimiser.lr_head: " in text
    )


def test_a_row_that_roles_made_is_changed_and_left_out_under_its_name(tmp_path):
    """What the file has under the made name lies over the made row; `false` leaves it out."""
    text = (
        'inherit = "parent.toml"\nroles = ["main", "clip"]\n[rows]\nclip_udon.optimiser.lr_heads ='
        " 0.25\nclip_baseline = false\n"
    )
    experiment = load(tmp_path, text)
    assert [row.name for row in experiment.rows] == ["udon", "baseline", "clip_udon", "raw"]
    rates = {
        row.name: row.spec.recipe.optimiser.lr_heads for row in experiment.rows if row.spec.recipe
    }
    assert rates == {"udon": 0.5, "baseline": 0.5, "clip_udon": 0.25}
    assert experiment.rows[2].backbone == "clip"


def test_a_role_that_is_another_roles_backbone_is_not_run_twice(tmp_path):
    """Where two roles are one backbone, the rows of the second are said to be there already."""
    text = (
        'inherit = "parent.toml"\nroles = ["main", "twin"]\n[setting]\ninherit ='
        ' "smoke"\n[setting.backbones.twin]\n'
    )
    text += (
        'model = "resnet10t"\nkwargs = { channels = [8, 8, 16, 32], stem_width = 8 }\nrandom ='
        " true\n"
    )
    experiment = load(tmp_path, text)
    twins = [row for row in experiment.rows if row.name.startswith("twin_")]
    assert len(twins) == 2
    assert {row.skipped for row in twins} == {
        "already there, since the backbone 'twin' of this setting is its 'main' too"
    }


def test_a_setting_is_looked_up_beside_the_file_that_names_it(tmp_path):
    """A parent in another folder keeps its own settings; a setting given on the command line is
    looked up beside the file itself.
    """
    write_experiment(
        tmp_path / "above" / "settings", 'inherit = "smoke"\n[budget]\nsteps = 3\n', "mine.toml"
    )
    write_experiment(tmp_path / "above", PARENT.replace('"smoke"', '"mine"'), "parent.toml")
    child = write_experiment(tmp_path / "below", 'inherit = "../above/parent.toml"\n', "child.toml")
    experiment = load_experiment(child)
    assert (experiment.setting, experiment.rows[0].spec.recipe.budget.steps) == ("mine", 3)
    with pytest.raises(ConfigError, match="unknown setting"):
        load_experiment(child, setting="mine")


def test_a_setting_of_its_own_lies_over_the_parents_own(tmp_path):
    """[setting] over [setting], key by key; one that inherits a setting by name, or a name,
    replaces it.
    """
    own = (
        PARENT.replace('setting = "smoke"\n', "")
        + '[setting]\ninherit = "smoke"\nbudget = { steps = 5, batch = 4 }\n'
    )
    write_experiment(tmp_path, own, "parent.toml")
    over = write_experiment(
        tmp_path, 'inherit = "parent.toml"\n[setting.budget]\nsteps = 6\n', "over.toml"
    )
    budget = load_experiment(over).rows[0].spec.recipe.budget
    assert (budget.steps, budget.batch) == (6, 4)
    instead = write_experiment(
        tmp_path, 'inherit = "parent.toml"\nsetting = "smoke"\n', "instead.toml"
    )
    assert load_experiment(instead).rows[0].spec.recipe.budget.batch == 8


def test_a_problem_of_a_parents_plain_key_or_setting_names_the_parent(tmp_path):
    """Not the file below, which is healthy."""
    own = (
        PARENT.replace('setting = "smoke"\nseeds = [3]', "seeds = []")
        + '[setting]\ninherit = "smoke"\nbudget.stepz = 5\n'
    )
    write_experiment(tmp_path, own, "parent.toml")
    with pytest.raises(ConfigError) as caught:
        load_experiment(write_experiment(tmp_path, 'inherit = "parent.toml"\n', "child.toml"))
    assert re.search(r"parent\.toml: seeds: got \[\]", str(caught.value)), caught.value
    assert re.search(r"parent\.toml, row.*: setting\.budget\.stepz", str(caught.value)), (
        caught.value
    )
    assert "child.toml" not in str(caught.value)
