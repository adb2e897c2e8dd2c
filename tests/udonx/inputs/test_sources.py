"""Data sources as an experiment names them: shipped ones, and one of a plug-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry import sources
from registry.registry import RegistryError
from tests.tiny import SETTING, write_domain, write_experiment
from udonx.config.experiment import Experiment, load_experiment
from udonx.config.problems import ConfigError
from udonx.inputs.open import open_benchmark
from udonx.inputs.sources import source_problems
from udonx.running.run import run

ROWS = '[rows.a]\nscheme = "classification"\nsampler = "round_robin"\n'
PLUGIN = """
from registry import sources
from udonx.data.benchmark import Benchmark


@sources.register("shelf")
class Shelf:
    \"\"\"Benchmarks on a shelf.\"\"\"

    def __init__(self, *, place: str, floor: int = 0) -> None:
        self.folder = f"{place}/{floor}"

    def domains(self):
        return Benchmark.open(self.folder).domains

    def problems(self, wanted):
        if "ladder" in self.folder:
            raise RuntimeError("do not climb")
        if "0" not in self.folder:
            yield "floor", "there is only a ground floor"

    def open(self, wanted, progress):
        return Benchmark.open(self.folder, wanted)
"""


def load(folder: Path, data: str, **options) -> Experiment:
    """An experiment on other data, with the plug-in beside it."""
    (folder / "shelf.py").write_text(PLUGIN)
    text = SETTING.replace('source = "uned"', data) + ROWS
    file = write_experiment(folder, f'plugins = ["shelf.py"]\n{text}')
    return load_experiment(file, sources=source_problems, **options)


@pytest.fixture(autouse=True)
def _no_plugins_left():
    from udonx.config.plugins import unload_plugins

    yield
    unload_plugins()


def test_a_plug_in_adds_a_source_and_runs_on_it(tmp_path):
    """Two files, the plug-in and the experiment, train and evaluate on a source of one's own."""
    for first, domain in enumerate(("cars", "food")):
        write_domain(tmp_path / "books" / "0", domain, first_class=5 * first)
    experiment = load(tmp_path, f'source = "shelf"\nplace = "{tmp_path / "books"}"')
    assert experiment.data.to_plain()["floor"] == 0
    assert open_benchmark(experiment).domains == ("cars", "food")
    only = 'setting.data.domains=["food"]'
    table = run(experiment.path, results=tmp_path / "results", device="cpu", overrides=[only])
    assert table.row("a").r1.mean is not None and table.domains == ("food",)


def test_options_of_a_source_are_checked(tmp_path):
    """An unknown source, an unknown option, a wrong type and what the source says itself are
    problems at their keys.
    """
    for data, expected in (
        ('source = "shelv"', 'setting.data.source: got "shelv", which is an unknown component'),
        ('source = "shelf"', "setting.data.place: is missing; it must be text"),
        ('source = "shelf"\nplace = "a"\nroot = "b"', 'setting.data.root: got "b", but this is'),
        ('source = "shelf"\nplace = 3', "setting.data.place: got 3, allowed is text"),
        ('source = "shelf"\nplace = "a"\nfloor = 2', "data.floor: there is only a ground floor"),
        ('source = "shelf"\nplace = "ladder"', "data.source: 'shelf' failed: RuntimeError: do not"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(tmp_path, data)
        assert expected in str(caught.value)


def test_a_source_that_fails_to_open_is_one_sentence(tmp_path):
    """Code of a plug-in that fails when data are opened is named."""
    (tmp_path / "books" / "0").mkdir(parents=True)
    experiment = load(tmp_path, f'source = "shelf"\nplace = "{tmp_path / "books"}"')
    with pytest.raises(ValueError, match="info_files is not a folder"):
        open_benchmark(experiment)


def test_another_source_has_other_options(tmp_path):
    """A setting that lies over another and names its own source inherits none of its options."""
    write_domain(tmp_path, "cars")
    file = write_experiment(
        tmp_path,
        '[setting]\ninherit = "smoke"\n[setting.data]\nsource = "uned"\n'
        f'root = "{tmp_path}"\n{ROWS}',
    )
    data = load_experiment(file, sources=source_problems).data
    assert (data.source, data.options) == ("uned", {"root": str(tmp_path)})
    set_again = load_experiment(file, overrides=["setting.data.source=demo"]).data
    assert set_again.options == {"seed": 0, "size": "full"}


def test_what_is_no_source_is_refused():
    """A function, and a class without the methods of a source, cannot be registered."""
    with pytest.raises(RegistryError, match="a source is a class"):
        sources.register("no_class")(lambda: None)
    with pytest.raises(RegistryError, match="also needs the methods domains, problems, open"):
        sources.register("no_methods")(type("Empty", (), {}))


def test_a_domain_that_a_row_trains_on_and_the_data_have_not_is_named(tmp_path):
    """The nearest ones and the rows stand beside it, and no torch is needed for that."""
    write_domain(tmp_path / "data", "cars")
    write_domain(tmp_path / "data", "food", first_class=5)
    file = write_experiment(tmp_path, SETTING + ROWS + 'domains = ["carz"]\n')
    with pytest.raises(ConfigError) as caught:
        load_experiment(file, data=tmp_path / "data", sources=source_problems)
    assert (
        "row a: domains: got \"carz\", which is an unknown domain; did you mean 'cars'? allowed:"
        " cars, food"
    ) in str(caught.value)
