"""Losses, heads and samplers that would fail while they train are found before."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import udonx
from tests.tiny import SETTING, write_domain, write_experiment

LOSSES = {
    "raises": (
        "student.embedding_BD @ teacher.embedding_BD.T",
        r"loss 'mine' \('raises'\) failed at .*mine\.py:\d+: RuntimeError: .*mat1 and",
    ),
    "matrix": (
        "student.embedding_BD",
        (
            r"loss 'mine' \('matrix', .*mine\.py:\d+\) returned a tensor of shape \[4, 4\]"
            r" \(torch\.float32\), allowed is a float tensor, one scalar or one value per image, of"
            r" shape \[4\]"
        ),
    ),
    "nothing": ("None", "returned NoneType, allowed is a float tensor, one scalar or one"),
    "nan": (
        "student.embedding_BD.sum() * float('nan')",
        r"gave nan for the first 4 images of 'cars', allowed is a finite number",
    ),
    "detached": (
        "student.embedding_BD.sum().detach()",
        "has no gradient for the student, so it would train nothing; look for detach",
    ),
    "other": ("teacher.embedding_BD.sum()", r"'other', .* has no gradient for the student"),
    "inplace": (
        "student.embedding_BD.mul_(2).sum()",
        r"changes student\.embedding_BD in place, which every other loss then sees",
    ),
    "labels": (
        "student.embedding_BD.sum() * batch.labels.add_(1).sum()",
        r"changes batch\.labels in place",
    ),
    "features": (
        "student.features_BF.mul_(2).sum()",
        r"'features'\) failed at .*: RuntimeError: a leaf Variable that requires grad",
    ),
    "saved": (
        "twice(student.embedding_BD.exp())",
        r"the backward pass of loss 'mine' \('saved', .* failed at .*modified by an inplace",
    ),
}
STATEFUL = {
    "lists": (
        "self.past = []",
        "self.past.append(0); return branch.embedding_BD.sum() * len(self.past)",
        r"'lists', .*mine\.py:\d+\) goes on otherwise after load_state_dict\(state_dict\(\)\): ",
    ),
    "draws": (
        "pass",
        "return branch.embedding_BD.sum() * np.random.rand()",
        r"'draws', .*\) goes on otherwise .*; keep what it remembers in buffers, and draw random",
    ),
    "late_buffer": (
        "pass",
        "self.register_buffer('b', torch.ones(1)); return branch.embedding_BD.sum()",
        r"'late_buffer', .*\) failed at .*: RuntimeError: .* Unexpected key\(s\) in state_dict: ",
    ),
    "unused": (
        "self.w = torch.nn.Parameter(torch.ones(1))",
        "return branch.embedding_BD.sum() * self.w.detach()[0]",
        r"'unused', .*\) has parameters, but no gradient for any of them; make them buffers, or",
    ),
    "root": (
        "pass",
        "return (branch.embedding_BD - branch.embedding_BD.detach()).square().sum().sqrt()",
        r"'root', .*\) has a gradient that is not finite for the first 4 images of 'cars'; ",
    ),
    "no_init": (
        "del self._modules",
        "return branch.embedding_BD.sum()",
        r"loss 'mine' \('no_init'\) does not call super\(\)\.__init__\(\)",
    ),
}
SAMPLERS = {
    "still": (
        "def known_until(self): return 1",
        (
            r"sampler 'still' stands still: known_until\(\) is 1 after update\(1\), allowed is more"
            r" than 1"
        ),
    ),
    "empty": (
        "def known_until(self): return 0",
        r"sampler 'empty' stands still: known_until\(\) is 0 at the start",
    ),
    "stranger": (
        "def domain_at(self, step): return 'boats'",
        "sampler 'stranger' names domain 'boats', allowed are the domains' names: cars, food",
    ),
    "number": (
        "def domain_at(self, step): return 0",
        "sampler 'number' names domain 0, allowed are",
    ),
    "domain": (
        "def domain_at(self, step): return {}[step]",
        r"sampler 'domain' failed at .*mine\.py:\d+: KeyError: 0",
    ),
    "window": (
        "def clears_at(self, step): return 1 / 0",
        r"sampler 'window' failed at .*mine\.py:\d+: ZeroDivisionError",
    ),
    "update": (
        "def known_until(self): return 1\n    def update(self, step, sums): raise IndexError('no')",
        r"sampler 'update' failed at .*mine\.py:\d+: IndexError: no",
    ),
    "numpy": (
        "def state_dict(self): return {'shares': {'cars': np.float64(0.5)}}",
        (
            r"sampler 'numpy': state_dict\(\)\['shares'\]\['cars'\] is a numpy.float64, which a"
            r" checkpoint cannot hold; allowed are numbers"
        ),
    ),
    "path": (
        "def state_dict(self): return [Path('x')]",
        r"sampler 'path': state_dict\(\)\[0\] is a pathlib\..*Path",
    ),
    "forgets": (
        (
            "now = 0\n    def known_until(self): return self.now + 1\n    def update(self, step,"
            " sums): self.now = step"
        ),
        "sampler 'forgets' goes on otherwise after load_state_dict",
    ),
}
HEAD = "def forward(self, x): return normalize(self.layer(x)) if not self.training else 1 / 0"
PLUGIN = """from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

from registry import heads, losses, samplers
from registry.samplers.schedule import FixedOrder


def twice(x):
    total = x.sum()
    x.mul_(2)
    return total

"""


def plugin(folder: Path) -> str:
    """A file of components of which each is wrong in its own way; returns the lines of rows that
    use one each.
    """
    code, rows = PLUGIN, ""
    for name, (body, _) in LOSSES.items():
        code += (
            f"@losses.register('{name}')\nclass L_{name}:\n    def __call__(self, student, teacher,"
            f" batch):\n        return {body}\n\n"
        )
        rows += f"[rows.{name}]\nscheme = 'udon'\nsampler = 'round_robin'\nlosses.mine = '{name}'\n"
    for name, (init, body, _) in STATEFUL.items():
        code += (
            f"@losses.register('{name}')\nclass S_{name}(torch.nn.Module):\n"
            f"    def __init__(self):\n        super().__init__()\n        {init}\n"
            f"    def forward(self, branch, batch):\n        {body}\n\n"
        )
        rows += f"[rows.{name}]\nscheme = 'udon'\nsampler = 'round_robin'\nlosses.mine = '{name}'\n"
    for name, (body, _) in SAMPLERS.items():
        code += (
            f"@samplers.register('{name}')\nclass S_{name}(FixedOrder):\n    def __init__(self,"
            " domains, train_counts, steps, seed):\n"
        )
        code += (
            "        super().__init__(domains, dict.fromkeys(domains, 0.5), np.arange(steps,"
            " dtype=np.int16) % 2)\n"
        )
        code += f"    {body}\n    def load_state_dict(self, state): pass\n\n"
        rows += f"[rows.{name}]\nscheme = 'classification'\nsampler = '{name}'\n"
    code += (
        "@heads.register('late')\nclass Late(torch.nn.Module):\n    def __init__(self, in_dim,"
        " dim):\n        super().__init__()\n"
    )
    code += f"        self.layer = torch.nn.Linear(in_dim, dim)\n    {HEAD}\n"
    rows += (
        "[rows.late]\nscheme = 'classification'\nsampler = 'round_robin'\nstudent_head = 'late'\n"
    )
    rows += (
        "[rows.frozen]\nscheme = 'separate_teachers'\nsampler = 'round_robin'\nlosses.mine ="
        " 'raises'\n"
    )
    rows += "[rows.below]\nscheme = 'udon'\nlosses.teacher_ce = { use = 'below', on = 'teacher' }\n"
    rows += "sampler = { use = 'dynamic', interval = 1 }\n"
    code += "@losses.register('below')\nclass Below:\n    def __call__(self, branch, batch):\n"
    code += "        return branch.embedding_BD.sum() * 0 - 3\n"
    code += "\n\n@losses.register('pairless')\nclass Pairless(torch.nn.Module):\n"
    code += "    def __init__(self):\n        super().__init__()\n"
    code += "        self.w = torch.nn.Parameter(torch.ones(1))\n"
    code += "    def forward(self, branch, batch):\n        return branch.embedding_BD.sum() * 0\n"
    rows += "[rows.pairless]\nscheme = 'udon'\nsampler = 'round_robin'\nlosses.mine = 'pairless'\n"
    (folder / "mine.py").write_text(code)
    return rows


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The problems of all rows, of one call that starts nothing."""
    folder = tmp_path_factory.mktemp("rehearsal")
    for number, domain in enumerate(("cars", "food")):
        write_domain(folder / "data", domain, first_class=2 * number)
    setting = SETTING.replace(
        'teacher_head = { use = "linear", dim = 4 }', 'teacher_head = { use = "linear", dim = 6 }'
    )
    file = write_experiment(folder, f'plugins = ["mine.py"]\n{setting}{plugin(folder)}')
    with pytest.raises(udonx.ConfigError) as caught:
        udonx.run(file, data=folder / "data", results=folder / "results", device="cpu")
    assert not (folder / "results").exists()
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("row", "expected"),
    [(row, expected) for row, (*_, expected) in {**LOSSES, **STATEFUL, **SAMPLERS}.items()],
)
def test_what_would_fail_while_it_trains_is_found_before(
    report: list[str], row: str, expected: str
) -> None:
    """Every loss and sampler is tried before anything trains: one sentence names row, component,
    what was got and what is allowed.
    """
    own = [line for line in report if re.search(rf"rows? (\w+, )*{row}\b.*: ", line)]
    assert len(own) == 1 and re.search(expected, own[0]) and "\n" not in own[0], own or report


def test_a_loss_that_finds_nothing_in_the_batch_may_leave_its_parameters_alone(
    report: list[str],
) -> None:
    """A loss on pairs whose value is 0, as the few images have no pair, is no problem."""
    assert not any("pairless" in line for line in report)


def test_heads_teachers_and_signals_are_tried_too(report: list[str]) -> None:
    """A head that fails in training mode alone, a loss on a frozen teacher that is not trained yet,
    and a signal below zero are found.
    """
    text = "\n".join(report)
    assert re.search(
        r"row late: the student head failed at .*mine\.py:\d+: ZeroDivisionError", text
    )
    assert re.search(r"rows raises, frozen: loss 'mine' \('raises'\) failed at", text)
    assert re.search(
        r"row below: sampler 'dynamic' failed at .*: ValueError: the mean loss of domain 'cars' is"
        r" -3\.0",
        text,
    )
