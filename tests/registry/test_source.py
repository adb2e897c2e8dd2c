"""The source of a component: what it was imported from, and everything that this imports."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from registry import losses, source
from registry.registry import RegistryError
from tests.tiny import python

LOSS = """
from registry import losses
{above}
@losses.register("mine")
class Mine:
    def __call__(self, branch, batch):
        return {value}
"""


def cell(value: str, above: str = "") -> types.ModuleType:
    """A module without a file, as a notebook's is, that registers the loss `mine`."""
    losses.registry.forget({"a_cell"})
    module = sys.modules["a_cell"] = types.ModuleType("a_cell")
    exec(LOSS.format(value=value, above=above), vars(module))
    return module


@pytest.fixture(autouse=True)
def _without_cells():
    yield
    losses.registry.forget({"a_cell"})
    sys.modules.pop("a_cell", None)


def identity(value: str, above: str = "") -> str:
    """The identity of the loss that a cell defines."""
    cell(value, above)
    return losses.registry.source("mine").sha256


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("1 * branch",), ("1000 * branch",)),
        (("P * branch", "P = 1.0"), ("P * branch", "P = 50.0")),
        (("f(branch)", "def f(x): return 1 * x"), ("f(branch)", "def f(x): return 2 * x")),
        (("Base.p * branch", "class Base: p = 1"), ("Base.p * branch", "class Base: p = 2")),
        (("K['a'] * branch", "K = {'a': (1, 2)}"), ("K['a'] * branch", "K = {'a': (1, 3)}")),
        (
            ("[f(x) for x in branch]", "f = lambda x: 1 * x"),
            ("[f(x) for x in branch]", "f = lambda x: 2 * x"),
        ),
    ],
)
def test_code_without_a_file_is_known_by_its_constants_and_globals(one, other):
    """Another constant, global, function, class or nested lambda is another identity; the same text
    is the same one.
    """
    assert identity(*one) == identity(*one) != identity(*other)


def test_the_identity_of_code_without_a_file_is_the_same_in_another_process():
    """Text hashes differ from process to process; what is computed from sets of text does not."""
    text = LOSS.format(
        value="branch in NAMES and branch in {'x', 'y', 'z'}", above="NAMES = {'a', 'b', 'c', 'd'}"
    )
    code = f"{text}\nprint(losses.registry.source('mine').sha256)"
    assert len({python(code, PYTHONHASHSEED=seed) for seed in "123"}) == 1


def test_code_that_cannot_be_hashed_is_refused():
    """A global that is neither plain data nor code is named, with what to do."""
    cell("W @ branch", "import torch\nW = torch.zeros(3)")
    with pytest.raises(
        RegistryError,
        match=(
            r"losses: 'mine' is defined in no file, .*: it refers to W, a Tensor; put it into a"
            r" file"
        ),
    ):
        losses.registry.source("mine")


def write(folder: Path, **files: str) -> Path:
    """Python files in a folder that can be imported from."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        file = folder / (name.replace("__in__", "/") + ".py")
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return folder


@pytest.fixture
def importable(tmp_path, monkeypatch):
    """A folder on Python's path; what is imported from it is gone afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    new = {
        name
        for name in sys.modules
        if name not in before and str(tmp_path) in str(getattr(sys.modules[name], "__file__", ""))
    }
    source.forget(new)
    for name in new:
        del sys.modules[name]


def test_everything_that_is_imported_counts(importable):
    """Helpers, helpers of helpers, packages, imports within functions, relative ones and those by
    name; nothing that is installed, and nothing that only lies there.
    """
    write(
        importable,
        s_main=(
            "import s_one, json, attrs\ndef late():\n    from s_pack import deep\n   "
            " import_module('s_named')"
        ),
        s_one="import s_two",
        s_two="",
        s_named="",
        s_unused="",
        s_pack__in____init__="from . import near",
        s_pack__in__near="",
        s_pack__in__deep="",
        s_pack__in__other="",
    )
    names = set(source.of_module("s_main").files)
    assert names == {
        "s_main.py",
        "s_one.py",
        "s_two.py",
        "s_named.py",
        "s_pack/__init__.py",
        "s_pack/near.py",
        "s_pack/deep.py",
    }


def test_a_component_in_a_package_is_known_by_all_of_the_package(importable):
    """Every Python file of its package counts, imported or not."""
    write(importable, t_pack__in____init__="", t_pack__in__losses="", t_pack__in__other="")
    assert set(source.of_module("t_pack.losses").files) == {
        "t_pack/__init__.py",
        "t_pack/losses.py",
        "t_pack/other.py",
    }


def test_what_no_import_statement_names_counts_where_it_can_be_seen(importable):
    """A base class that came through a computed name is found from the class."""
    write(
        importable,
        u_main=(
            "import importlib\nBase = importlib.import_module('u_' + 'base').Base\nclass"
            " Mine(Base): pass"
        ),
        u_base="class Base: pass",
    )
    import u_main

    assert set(source.of_module(u_main.__name__).files) == {"u_main.py", "u_base.py"}


def test_a_file_alone_is_known_by_its_own_hash(importable):
    """The identity of a component that imports nothing of its own is that of its file, as it always
    was.
    """
    import hashlib

    write(importable, v_main="import json\n")
    assert source.of_module("v_main").sha256 == hashlib.sha256(b"import json\n").hexdigest()
