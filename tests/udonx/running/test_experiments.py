"""From an experiment to its table, through the Python API."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import udonx
from tests.tiny import SETTING, write_domain, write_experiment
from udonx.cli import main
from udonx.config.problems import ConfigError
from udonx.data.sources.demo import open_demo
from udonx.data.unreadable import LeftOut
from udonx.engine.errors import TrainingError
from udonx.engine.loaded_model import LoadedModel
from udonx.engine.loop import Loop
from udonx.evaluation import kept, protocol
from udonx.store.lock import StageLock
from udonx.store.results import Results
from udonx.tables.storage import read_table
from udonx.tables.table import Table

SHARED = """
[defaults]
sampler = "round_robin"
[rows.teachers]
scheme = "separate_teachers"
evaluate = ["teacher"]
[rows.gentle]
scheme = "separate_teachers"
losses.kl_logit.weight = 0.5
"""

OWN_LOSS = '''
from typing import Annotated

from pydantic import Field

from registry import losses


@losses.register("{name}")
class Align:
    """Pulls the student's embedding to itself: the smallest loss on a pair."""

    def __init__(self, *, power: Annotated[float, Field(gt=0)] = 2.0) -> None:
        self.power = power

    def __call__(self, student, teacher, batch):
        apart = (student.features_BF - teacher.features_BF.detach()).abs()
        return apart.pow(self.power).mean() + 0 * student.embedding_BD.sum()
'''


BAD_LOSS = '''from registry import losses


@losses.register("{name}")
class Bad:
    """Wrong."""

    def __call__(self, student, teacher, batch):
        return {body}
'''

BAD_HEAD = '''import torch

from registry import heads


@heads.register("{name}")
class Bad(torch.nn.Module):
    """Wrong."""

    def __init__(self, in_dim, dim):
        super().__init__()
        self.layer = torch.nn.Linear(in_dim, dim)

    def forward(self, x):
        return {forward}
'''


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two healthy domains."""
    write_domain(tmp_path / "data", "cars")
    write_domain(tmp_path / "data", "food", first_class=5)
    return tmp_path / "data"


def logs(results: Path) -> int:
    """How many stages there are."""
    return len(list((results / "stages").glob("*/done.json")))


def test_run_returns_the_table(smoke_run):
    """One file gives one table object, whose figures are fractions."""
    assert isinstance(smoke_run.table, Table)
    assert 0 <= smoke_run.table.row("udon").r1.mean <= 1
    assert smoke_run.table.row("udon").seeds == (0,)
    assert logs(smoke_run.results) == 16
    with pytest.raises(KeyError):
        smoke_run.table.row("nobody")


def test_rows_that_share_a_stage_train_it_once(data, tmp_path):
    """Two rows of one table, and a later call with another file, use the same teachers: each is
    trained once.
    """
    file = write_experiment(tmp_path, SETTING + SHARED)
    table = udonx.run(file, data=data, results=tmp_path / "results", device="cpu")
    assert (
        set(table.row("teachers").stages) < set(table.row("gentle").stages)
        and logs(tmp_path / "results") == 3
    )
    assert (table.row("teachers").index, table.row("gentle").index) == ("own", "merged")
    assert any(note.startswith("* own-domain index (teachers): ") for note in table.footer)
    before = {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "results" / "stages").glob("*/best.safetensors")
    }
    other = write_experiment(
        tmp_path,
        SETTING + SHARED.replace("0.5", "0.25").replace("[rows.teachers]", "[rows.first]"),
        "other.toml",
    )
    again, second = udonx.run([file, other], data=data, results=tmp_path / "results", device="cpu")
    assert again.row("gentle").stages == table.row("gentle").stages
    assert (
        second.row("first").stages
        == table.row("teachers").stages
        == second.row("gentle").stages[:2]
    )
    assert logs(tmp_path / "results") == 4 and all(
        path.stat().st_mtime_ns == stamp for path, stamp in before.items()
    )


def test_what_is_shown_is_what_was_asked_and_what_is_kept_is_everything(data, tmp_path):
    """`seeds` shows these seeds alone; the table on disk, and a call without `seeds`, are over
    every seed that any call has trained.
    """
    rows = (
        '[defaults]\nscheme = "classification"\nsampler ='
        ' "uniform"\n[rows.a]\n[rows.b]\nbudget.scale = 2.0\n'
    )
    file = write_experiment(tmp_path, SETTING + rows)
    arguments = {
        "data": data,
        "rows": ["a"],
        "results": tmp_path / "results",
        "device": "cpu",
    }
    first = udonx.run(file, **arguments).row("a")
    second = udonx.run(file, seeds=[1], **arguments).row("a")
    assert (first.seeds, second.seeds) == ((0,), (1,)) and second.r1.std is None
    both = udonx.run(file, **arguments)
    row = both.row("a")
    assert (
        row.seeds == (0, 1)
        and row.r1.std is not None
        and row.evaluations == (*first.evaluations, *second.evaluations)
    )
    assert both.missing == ("not run yet: b",)
    (folder,) = (tmp_path / "results" / "tables" / "table").iterdir()
    assert read_table(folder) == both and logs(tmp_path / "results") == 2


def test_a_table_in_which_nothing_is_random_has_no_seed(data, tmp_path):
    """Rows that train nothing name their start weights and no seed."""
    file = write_experiment(tmp_path, SETTING + '[rows.a]\nscheme = "off_the_shelf"\n')
    table = udonx.run(file, data=data, results=tmp_path / "results", device="cpu")
    assert (
        table.footer[0]
        == "no seed: nothing in it is random; start weights: main random weights (random)"
    )


def test_a_loss_in_a_users_own_file_trains(data, tmp_path):
    """`from registry import losses` and a decorator are all that a new loss needs, from the file to
    the table and the log.
    """
    (tmp_path / "my_losses.py").write_text(OWN_LOSS.replace("{name}", "align"))
    text = (
        'plugins = ["my_losses.py"]\n'
        + SETTING
        + '[rows.mine]\nscheme = "udon"\nsampler = "round_robin"\n'
    )
    text += (
        '[rows.mine.losses]\nrelational = false\nalign = { use = "align", power = 1.0, weight ='
        " 0.5 }\n"
    )
    table = udonx.run(
        write_experiment(tmp_path, text),
        data=data,
        results=tmp_path / "results",
        device="cpu",
    )
    (stage,) = table.row("mine").stages
    folder = tmp_path / "results" / "stages" / stage
    assert json.loads((folder / "model.json").read_text())["plugins"] == ["my_losses.py"]
    assert (
        "align" in (folder / "log.jsonl").read_text()
        and "relational" not in (folder / "log.jsonl").read_text()
    )
    assert udonx.load_model(folder).embed([data / "images" / "cars" / "test_0.png"]).shape == (1, 4)


def test_problems_of_several_files_are_one_error(tmp_path):
    """Nothing is trained where any of the files has a problem."""
    good = write_experiment(
        tmp_path, '[rows.a]\nscheme = "udon"\nsampler = "uniform"\n', "good.toml"
    )
    bad = write_experiment(tmp_path, '[rows.a]\nscheme = "udn"\n', "bad.toml")
    with pytest.raises(udonx.ConfigError, match="did you mean 'udon'"):
        udonx.run([good, bad], setting="smoke", results=tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_an_edited_plugin_is_trained_again(data, tmp_path):
    """The source of a component that does not ship with the project is part of the identity: an
    edit never reuses the old stage.
    """
    results, ids = tmp_path / "results", []
    for power in ("2.0", "3.0"):
        code = OWN_LOSS.replace("{name}", "align_edited").replace("= 2.0", f"= {power}")
        (tmp_path / "edited.py").write_text(code)
        text = (
            SETTING
            + '[rows.mine]\nscheme = "udon"\nsampler = "round_robin"\nlosses.relational = { use ='
            ' "align_edited", power = 2.0 }\n'
        )
        file = write_experiment(tmp_path, 'plugins = ["edited.py"]\n' + text)
        command = [
            sys.executable,
            "-m",
            "udonx.cli",
            "run",
            str(file),
            "--data",
            str(data),
            "--results",
            str(results),
            "--device",
            "cpu",
        ]
        subprocess.run(command, check=True, capture_output=True)
        ids.append({path.parent.name for path in (results / "stages").glob("*/done.json")})
    assert len(ids[0]) == 1 and len(ids[1]) == 2


def test_fresh_trains_again_what_it_names_and_nothing_else(data, tmp_path):
    """`fresh` removes the stages of the call and every evaluation of them; another row's stage
    stays.
    """
    rows = (
        '[rows.a]\nscheme = "classification"\nsampler = "uniform"\n[rows.b]\nscheme ='
        ' "off_the_shelf"\n'
    )
    file, results = write_experiment(tmp_path, SETTING + rows), tmp_path / "results"
    first = udonx.run(file, data=data, results=results, device="cpu")
    times = {
        row.name: (results / "stages" / row.stages[0] / "done.json").stat().st_mtime_ns
        for row in first.rows
    }
    second = udonx.run(file, data=data, results=results, device="cpu", fresh=True, rows=["a"])
    again = {
        row.name: (results / "stages" / row.stages[0] / "done.json").stat().st_mtime_ns
        for row in second.rows
    }
    assert again["a"] > times["a"] and again["b"] == times["b"]
    assert second.row("a").r1 == first.row("a").r1


TIRING_LOSS = '''from registry import losses


@losses.register("tiring")
class Tiring:
    """Works twice."""

    def __call__(self, branch, batch):
        self.mine = getattr(self, "mine", 0) + 1
        return branch.embedding_BD.sum() * (1 / (0 if self.mine == 3 else 1))
'''
ONE_BAD_ROW = """
[defaults]
sampler = "round_robin"
[rows.a]
scheme = "classification"
[rows.b]
scheme = "separate_teachers"
losses.teacher_ce = { use = "tiring", on = "teacher" }
[rows.c]
scheme = "off_the_shelf"
[rows.d]
scheme = "separate_teachers"
losses.teacher_ce = { use = "tiring", on = "teacher" }
evaluate = ["teacher"]
"""


@pytest.fixture
def night(data, tmp_path):
    """A file in which the teachers of rows b and d, which they share, fail in their third step,
    and another that is well.
    """
    (tmp_path / "tiring.py").write_text(TIRING_LOSS)
    bad = write_experiment(
        tmp_path,
        'plugins = ["tiring.py"]\n' + SETTING.replace("steps = 2", "steps = 8") + ONE_BAD_ROW,
        "bad.toml",
    )
    return [
        bad,
        write_experiment(tmp_path, SETTING + '[rows.z]\nscheme = "off_the_shelf"\n', "well.toml"),
    ]


def test_a_row_that_fails_leaves_the_others(data, tmp_path, night, capsys):
    """Rows and files after one that fails are run; at the end one error names each failed row, and
    the table says why it lacks it. A stage that another row could not train is not tried again.
    """
    with pytest.raises(udonx.RowsFailed) as caught:
        udonx.run(night, data=data, results=tmp_path / "results", device="cpu")
    bad, well = caught.value.tables
    assert [row.name for row in bad.rows] == ["a", "c"] and [row.name for row in well.rows] == ["z"]
    reason = "loss 'teacher_ce' ('tiring') failed at "
    failed = [line for line in bad.missing if line.startswith("failed: ")]
    assert failed[0].startswith(f"failed: b, seed 0: {reason}") and failed[0].endswith(
        "tiring.py:10: ZeroDivisionError: division by zero"
    )
    assert failed[1].startswith(
        f"failed: d, seed 0: it needs a stage that failed: b, seed 0: teacher of cars: {reason}"
    )
    assert str(caught.value).startswith("2 rows failed; the others are done") and reason in str(
        caught.value
    )
    capsys.readouterr()
    assert (
        main(
            [
                "run",
                *map(str, night),
                "--data",
                str(data),
                "--results",
                str(tmp_path / "results"),
                "--device",
                "cpu",
            ]
        )
        == 1
    )
    shown = capsys.readouterr()
    assert (
        "failed: b, seed 0" in shown.out
        and "Traceback" not in shown.err
        and "udonx run: 2 rows failed" in shown.err
    )


def test_fail_fast_ends_at_the_first_row_that_fails(data, tmp_path, night):
    """With `fail_fast` nothing is run after a row that fails, whose own error comes out."""
    with pytest.raises(TrainingError, match="loss 'teacher_ce'") as caught:
        udonx.run(night, data=data, results=tmp_path / "results", device="cpu", fail_fast=True)
    assert not isinstance(caught.value, udonx.RowsFailed)
    assert [path.name for path in (tmp_path / "results" / "tables").iterdir()] == ["bad"] and logs(
        tmp_path / "results"
    ) == 1


TEACHERS = SHARED.split("[rows.gentle]")[0]


@pytest.mark.parametrize("damage", ["done.json", "cut", "missing"])
def test_a_damaged_stage_is_named_and_trained_again_on_demand(data, tmp_path, damage):
    """A finished stage whose files are damaged fails its rows in one sentence with the cure, is not
    touched, and shows in the table; the cure works.
    """
    file, results = (
        write_experiment(tmp_path, SETTING + TEACHERS + '[rows.z]\nscheme = "off_the_shelf"\n'),
        tmp_path / "results",
    )
    whole = udonx.run(file, data=data, results=results, device="cpu")
    best = results / "stages" / whole.row("teachers").stages[0] / "best.safetensors"
    if damage == "done.json":
        (best.parent / "done.json").write_text("{}")
    elif damage == "cut":
        best.write_bytes(best.read_bytes()[:-1])
    else:
        best.unlink()
    with pytest.raises(
        udonx.RowsFailed,
        match=r"1 row failed.*\n.*teachers, seed 0: .* train the stage again with --fresh",
    ) as caught:
        udonx.run(file, data=data, results=results, device="cpu")
    assert any(best.parent.name in line for line in caught.value.tables[0].missing)
    assert (best.parent / "done.json").exists() and len(caught.value.tables[0].rows) == 2
    again = udonx.run(file, data=data, results=results, device="cpu", fresh=True, rows=["teachers"])
    assert (
        again.row("teachers").r1 == whole.row("teachers").r1
        and best.exists()
        and again.missing == ()
    )


def test_flipped_bits_of_weights_are_noticed_before_they_are_used(data, tmp_path):
    """Weights of the right size that are not those that were trained are never evaluated."""
    file, results = write_experiment(tmp_path, SETTING + TEACHERS), tmp_path / "results"
    table = udonx.run(file, data=data, results=results, device="cpu")
    best = results / "stages" / table.row("teachers").stages[0] / "best.safetensors"
    content = bytearray(best.read_bytes())
    content[-20] ^= 1
    best.write_bytes(content)
    shutil.rmtree(results / "evaluations")
    with pytest.raises(
        udonx.RowsFailed,
        match=r"best\.safetensors is damaged: it is not what was written; train the stage again",
    ):
        udonx.run(file, data=data, results=results, device="cpu")


def stopping_at(monkeypatch, number, *, sent=None):
    """Let the `number`th stage that is trained be stopped after its first step; returns the ids of
    those that were begun.
    """
    begun, step = [], Loop._train_step

    def stopped(self, at, batch):
        if at == 0:
            begun.append(self.job.id)
            if len(begun) == number:
                os.kill(os.getpid(), sent or signal.SIGINT)
        step(self, at, batch)

    monkeypatch.setattr(Loop, "_train_step", stopped)
    return begun


def test_a_fresh_call_that_was_stopped_goes_on(data, tmp_path, monkeypatch):
    """A call with `fresh` that is stopped and given again trains what is left of it; given once
    more, it begins anew.
    """
    file, results = write_experiment(tmp_path, SETTING + TEACHERS), tmp_path / "results"
    arguments = {"data": data, "results": results, "device": "cpu"}
    ids = udonx.run(file, **arguments).row("teachers").stages
    begun = stopping_at(monkeypatch, 2)
    with pytest.raises(udonx.Stopped):
        udonx.run(file, **arguments, fresh=True)
    assert begun == list(ids)
    first = (results / "stages" / ids[0] / "done.json").read_bytes()
    udonx.run(file, **arguments, fresh=True)
    assert begun == list(ids) and (results / "stages" / ids[0] / "done.json").read_bytes() == first
    assert not (results / "fresh").exists()
    udonx.run(file, **arguments, fresh=True)
    assert begun == [*ids, *ids]


def test_fresh_also_removes_students_of_other_tables(data, tmp_path, logged):
    """A student whose teachers are trained again does not stand as it was, whichever file it
    belongs to; a line says so.
    """
    arguments = {"data": data, "results": tmp_path / "results", "device": "cpu"}
    teachers = write_experiment(tmp_path, SETTING + TEACHERS, "teachers.toml")
    student = write_experiment(
        tmp_path, SETTING + SHARED.replace("[rows.teachers]", "[rows.first]"), "student.toml"
    )
    before = udonx.run(student, **arguments).row("gentle")
    udonx.run(teachers, **arguments, fresh=True)
    (learned,) = set(before.stages) - set(before.stages[:2])
    removed = f"--fresh: also removed 1 stage of other tables that learned from these ({learned})"
    assert any(line.startswith(removed) for line in logged)
    assert logs(tmp_path / "results") == 2
    assert udonx.run(student, **arguments).row("gentle").r1 == before.r1


STARTS = """
[defaults]
scheme = "udon"
sampler = "round_robin"
[rows.old]
domains = ["cars"]
[rows.grown]
init = { use = "grow", from = "old" }
[rows.soup]
scheme = "as_is"
init = { use = "average", from = ["old", "grown"] }
"""


def test_rows_that_start_from_rows_bring_them(data, tmp_path):
    """`--row` trains what a row starts from, and shows the row alone; its mean of weights can be
    loaded. With the first row trained afresh, what started from it is removed.
    """
    file = write_experiment(tmp_path, SETTING + STARTS)
    arguments = {"data": data, "results": tmp_path / "results", "device": "cpu"}
    shown = udonx.run(file, **arguments, rows=["soup"]).row("soup")
    old, grown, soup = shown.stages
    assert (logs(tmp_path / "results"), shown.steps) == (3, 4)
    model = LoadedModel(tmp_path / "results" / "stages" / soup)
    assert (model.domains, model.dim) == (("cars", "food"), 4)
    whole = udonx.run(file, **arguments)
    assert (whole.row("grown").stages, whole.row("soup").r1) == ((old, grown), shown.r1)
    alone = write_experiment(tmp_path, SETTING + STARTS.partition("[rows.grown]")[0], "old.toml")
    udonx.run(alone, **arguments, fresh=True)
    assert logs(tmp_path / "results") == 1


def test_fresh_waits_for_nobody_and_removes_nothing_that_is_in_use(data, tmp_path):
    """A finished stage that another process reads, to evaluate it or to learn from it, is not
    removed under its hands.
    """
    file, results = write_experiment(tmp_path, SETTING + TEACHERS), tmp_path / "results"
    stage = udonx.run(file, data=data, results=results, device="cpu").row("teachers").stages[1]
    with (
        StageLock(results / "stages" / stage, shared=True) as reading,
        StageLock(results / "stages" / stage, shared=True) as other,
    ):
        assert reading.acquire() and other.acquire()
        with pytest.raises(
            udonx.ConfigError,
            match=(
                rf"--fresh: stage {stage} is in use by process {os.getpid()} on .*nothing was"
                r" removed"
            ),
        ):
            udonx.run(file, data=data, results=results, device="cpu", fresh=True)
    assert logs(results) == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_command_ends_with_the_status_of_its_signal(
    data, tmp_path, monkeypatch, capsys, number, code
):
    """SIGINT and SIGTERM end `udonx run` with 130 and 143 and one sentence; Sacred's run is
    INTERRUPTED; no other row is begun, and the same command goes on.
    """
    begun = stopping_at(monkeypatch, 1, sent=number)
    file, results = write_experiment(tmp_path, SETTING + TEACHERS), tmp_path / "results"
    command = ["run", str(file), "--data", str(data), "--results", str(results), "--device", "cpu"]
    assert main(command) == code
    assert capsys.readouterr().err.endswith(
        "teachers, seed 0: teacher of cars: stopped after step 1 of 1; the same command continues"
        " there\n"
    )
    (record,) = (results / "sacred").glob("*/run.json")
    assert json.loads(record.read_text())["status"] == "INTERRUPTED" and len(begun) == 1
    assert main(command) == 0


def test_what_killed_processes_left_is_removed(data, tmp_path):
    """A run removes files half written and the checkpoint beside a done.json, of processes that
    were killed at such a moment.
    """
    file, results = write_experiment(tmp_path, SETTING + TEACHERS), tmp_path / "results"
    stage = (
        results
        / "stages"
        / udonx.run(file, data=data, results=results, device="cpu").row("teachers").stages[0]
    )
    before = sorted(results.rglob("*"))
    (stage / "state.pt").write_bytes(b"of no more use")
    for folder in (stage, results / "tables"):
        (folder / ".0123456789abcdef.tmp").mkdir()
        (folder / ".0123456789abcdef.tmp" / "file").write_text("half")
    udonx.run(file, data=data, results=results, device="cpu")
    assert sorted(results.rglob("*")) == before


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "student.embedding_BD @ teacher.embedding_BD.T",
            r"loss 'mine' \('bad_\d'\) failed at .*bad_\d\.py:9: RuntimeError",
        ),
        (
            "student.embedding_BD * 1.0",
            (
                r"loss 'mine' \('bad_\d', .*bad_\d\.py:4\) returned a tensor of shape \[4, 4\]"
                r" \(torch\.float32\), allowed is a float tensor, one scalar or one value per"
            ),
        ),
        ("None", r"returned NoneType, allowed is a float tensor"),
    ],
)
def test_a_mistake_in_a_users_loss_is_one_sentence_with_its_line(
    data, tmp_path, request, body, message
):
    """A loss that raises, or returns what is no scalar, ends in a sentence that names the loss, the
    file and the line.
    """
    name = f"bad_{request.node.callspec.indices['body']}"
    code = BAD_LOSS.format(name=name, body=body)
    (tmp_path / f"{name}.py").write_text(code)
    setting = SETTING.replace(
        'teacher_head = { use = "linear", dim = 4 }', 'teacher_head = { use = "linear", dim = 6 }'
    )
    text = (
        f'plugins = ["{name}.py"]\n{setting}[rows.mine]\nscheme = "udon"\nsampler ='
        f' "round_robin"\nlosses.mine = "{name}"\n'
    )
    with pytest.raises(udonx.ConfigError, match=message):
        udonx.run(
            write_experiment(tmp_path, text),
            data=data,
            results=tmp_path / "results",
            device="cpu",
        )


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        ("self.layer(x)", "not of unit length"),
        ("torch.nn.functional.normalize(x)", r"into \[4, \d+\], allowed is \[4, 4\], its dim"),
    ],
)
def test_a_head_of_another_width_or_length_is_refused_before_training(
    data, tmp_path, request, forward, message
):
    """A head must give unit rows of its dim: anything else would train and give figures that mean
    nothing.
    """
    name = f"head_{request.node.callspec.indices['forward']}"
    code = BAD_HEAD.format(name=name, forward=forward)
    (tmp_path / f"{name}.py").write_text(code)
    text = (
        f'plugins = ["{name}.py"]\n{SETTING}[rows.mine]\nscheme = "classification"\nsampler ='
        f' "round_robin"\nstudent_head = "{name}"\n'
    )
    with pytest.raises(udonx.ConfigError, match=message):
        udonx.run(
            write_experiment(tmp_path, text),
            data=data,
            results=tmp_path / "results",
            device="cpu",
        )
    assert not (tmp_path / "results" / "stages").exists()


def test_a_killed_evaluation_goes_on(tmp_path, monkeypatch):
    """An evaluation that is killed amid its domains embeds only the rest when it is run again, to
    the same figures, and leaves nothing of what it kept; nor does one that was killed when all but
    that was done.
    """
    monkeypatch.setattr(kept, "WORTH_SECONDS", 0.0)
    for number, domain in enumerate(("cars", "food", "sop")):
        write_domain(tmp_path / "data", domain, first_class=2 * number)
    file = write_experiment(tmp_path, SETTING + '[rows.plain]\nscheme = "off_the_shelf"\n')
    options = {"data": tmp_path / "data", "device": "cpu"}
    expected = udonx.run(file, results=tmp_path / "whole", **options).row("plain").r1
    embed, asked = protocol.embed_paths, []

    def killed(embedder, store, paths, domain, *args):
        if domain == "food" and "food" not in asked:
            asked.append(domain)
            raise KeyboardInterrupt
        asked.append(domain)
        return embed(embedder, store, paths, domain, *args)

    monkeypatch.setattr(protocol, "embed_paths", killed)
    with pytest.raises(KeyboardInterrupt):
        udonx.run(file, results=tmp_path / "killed", **options)
    (folder,) = (tmp_path / "killed" / "evaluations").iterdir()
    assert [path.name for path in folder.rglob("*.npz")] == ["test.npz"]
    got = udonx.run(file, results=tmp_path / "killed", **options).row("plain").r1
    assert asked == ["cars", "food", "food", "sop"] and got == expected
    files = ["metrics.json", "neighbours.npz", "per_query.npz"]
    assert sorted(path.name for path in folder.iterdir()) == files
    (folder / "embeddings" / "cars").mkdir(parents=True)
    udonx.run(file, results=tmp_path / "killed", **options)
    assert sorted(path.name for path in folder.iterdir()) == files


def test_damaged_images_are_counted_with_the_result(tmp_path, logged):
    """A run on images of which some are cut off ends well; done.json and metrics.json say how many
    were left out and which, and each was said once.
    """
    write_domain(tmp_path / "data", "cars")
    damaged = [f"cars/{name}_1.png" for name in ("train", "val", "test")]
    for path in damaged:
        file = tmp_path / "data" / "images" / path
        file.write_bytes(file.read_bytes()[:2000])
    rows = (
        '[rows.base]\nscheme = "classification"\nsampler = "round_robin"\n[rows.other]\nscheme ='
        ' "udon"\nsampler = "round_robin"\n'
    )
    table = udonx.run(
        write_experiment(tmp_path, SETTING + rows),
        data=tmp_path / "data",
        results=tmp_path / "results",
        device="cpu",
    )
    results = Results(tmp_path / "results")
    assert len(table.rows) == 2 and all(row.r1 for row in table.rows)
    for row in table.rows:
        assert results.stage(row.stages[-1]).done.unreadable == LeftOut(2, sorted(damaged[:2]))
    for file in (tmp_path / "results" / "evaluations").glob("*/metrics.json"):
        assert json.loads(file.read_text())["unreadable"] == {"images": 1, "first": [damaged[2]]}
    lines = "\n".join(logged)
    assert [lines.count(f"{path} cannot be decoded") for path in damaged] == [1, 1, 1]


def test_a_damaged_demo_image_is_said_with_its_cure(tmp_path, monkeypatch):
    """An image of a generated benchmark is never left out: the sentence names the
    folder to remove.
    """
    monkeypatch.setenv("UDONX_CACHE", str(tmp_path / "cache"))
    benchmark = open_demo("demo", seed=0, size="smoke")
    path = benchmark.root / "images" / benchmark.split("logos", "train").paths[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:60].ljust(len(whole), b"\0"))
    rows = '[rows.base]\nscheme = "classification"\nsampler = "round_robin"\n'
    overrides = ["budget.steps=30", 'setting.data.domains=["logos"]']
    file = write_experiment(tmp_path, 'setting = "smoke"\n' + rows)
    with pytest.raises(
        (ConfigError, TrainingError),
        match=rf"cannot be decoded.*remove the folder {re.escape(str(benchmark.root))}",
    ):
        udonx.run(file, overrides=overrides, results=tmp_path / "results", device="cpu")
