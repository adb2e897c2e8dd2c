"""What `import udonx` offers: one function for each command, and what goes in and comes out."""

from __future__ import annotations

import inspect

import pytest

import udonx
from tests.tiny import ROOT, SETTING, write_domain, write_experiment
from udonx.cli import COMMANDS

TABLE3 = ROOT / "experiments" / "table3_ablation.toml"


@pytest.mark.parametrize("name", [*COMMANDS, "split"])
def test_every_command_is_a_function_too(name):
    """Each has the command's name, but where that is a package's, and a docstring."""
    function = getattr(udonx, {"search": "search_images"}.get(name, name))
    assert inspect.isfunction(function) and inspect.getdoc(function)


def test_all_names_are_there():
    """Whatever `__all__` names can be had, and `dir` shows it."""
    assert all(getattr(udonx, name) is not None for name in udonx.__all__)
    assert set(udonx.__all__) <= set(dir(udonx))
    with pytest.raises(AttributeError, match="no attribute 'rnu'"):
        udonx.rnu  # noqa: B018


def test_check_returns_the_experiments_and_raises_all_problems(tmp_path):
    """Options of both kinds are given by their names."""
    (experiment,) = udonx.check(TABLE3, setting="smoke", rows="udon", results=tmp_path)
    assert (experiment.setting, experiment.selected) == ("smoke", ("udon",))
    (tmp_path / "file").touch()
    with pytest.raises(udonx.ConfigError, match=r"--results: .*file is no folder"):
        udonx.check(TABLE3, setting="smoke", results=tmp_path / "file")


def test_show_and_plan_return_what_their_commands_print(tmp_path):
    """One text for one file, a list for several; the listing of a plan holds its stages."""
    assert udonx.show(TABLE3, setting="smoke", diff=True).startswith("# ")
    assert len(udonx.show([TABLE3, TABLE3], setting="smoke")) == 2
    listing = udonx.plan(TABLE3, setting="smoke", rows="udon", results=tmp_path, device="cpu")
    assert len(listing.todo.stages) == 1 and "left to train: 1 stage" in str(listing)


def test_run_and_table_return_one_table_for_one_file(tmp_path):
    """`table` makes the very table again, of the file or from the stored one."""
    write_domain(tmp_path / "data", "cars")
    file = write_experiment(tmp_path, SETTING + '[rows.a]\nscheme = "off_the_shelf"\n')
    given = {"data": tmp_path / "data", "results": tmp_path / "results"}
    table = udonx.run(file, device="cpu", **given)
    assert udonx.table(file, **given) == table
    assert udonx.table([file], **given) == [table]
    assert udonx.table(tmp_path / "results") == [table]


def test_components_keys_and_schema_are_data():
    """What their commands print, as objects."""
    assert [component.name for component in udonx.components("losses", "ce")] == ["ce"]
    assert [section.name for section in udonx.keys("budget")] == ["budget"]
    assert udonx.schema("setting")["properties"].keys() >= {"data", "backbones"}


def test_an_option_that_there_is_not_is_refused_with_what_was_meant():
    """Whichever of the two classes it would be of."""
    with pytest.raises(TypeError, match="there is no option 'stting'; did you mean 'setting'"):
        udonx.run(TABLE3, stting="smoke")
