"""Tuning: trials are stages, scored on validation alone; the result is an experiment file."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import udonx
from tests.tiny import SETTING, write_domain, write_experiment
from udonx.cli import main
from udonx.config.experiment import load_experiment
from udonx.config.problems import ConfigError
from udonx.data.splits import read_split
from udonx.planning.load import load_plan
from udonx.running.errors import RowsNotTuned
from udonx.running.tune import plan_tuning
from udonx.store.results import Results
from udonx.store.stage import StageFolder

TEXT = f"""{SETTING}
[defaults]
sampler = "round_robin"
[rows.plain]
scheme = "classification"
[rows.udon]
scheme = "udon"
[rows.raw]
scheme = "off_the_shelf"
[tune]
use = "random"
trials = 3
[tune.space]
optimiser.lr_heads = {{ low = 1e-3, high = 1.0, log = true }}
losses.kl_logit.weight = {{ of = [0.25, 4.0] }}
"""
OTHER = """
[setting.backbones.other]
model = "resnet10t"
kwargs = { channels = [8, 8, 16, 48], stem_width = 8 }
random = true
"""
DIVERGES = TEXT + "optimiser.lr_backbone = { of = [1e30] }\noptimiser.frozen = { of = [0] }\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two domains with training, validation and test images, each class of a tint of its own."""
    root = tmp_path / "data"
    for number, domain in enumerate(("cars", "dishes")):
        write_domain(root, domain, first_class=2 * number)
    for file in root.glob("info_files/*/*.json"):
        for entry in json.loads(file.read_text()):
            chance = np.random.default_rng(list(entry["path"].encode()))
            tint = np.random.default_rng(entry["class_id"]).integers(0, 128, 3)
            pixels = chance.integers(0, 128, (40, 40, 3)) + tint
            Image.fromarray(pixels.astype(np.uint8)).save(root / "images" / entry["path"])
    return root


def tune(file: Path, data: Path, **options):
    """Tune a file on these data."""
    options = {"results": file.parent / "results", "device": "cpu"} | options
    return udonx.tune(file, data=data, **options)


def stages(folder: Path) -> dict[str, bytes]:
    """The weights of the stages in a results folder, by id."""
    return {
        path.name: (path / "best.safetensors").read_bytes()
        for path in (folder / "stages").glob("*")
        if StageFolder(path).finished
    }


def trials(tuned) -> list[tuple]:
    """What was tried, without times."""
    return [
        (row.name, trial.number, dict(trial.values), trial.score)
        for row in tuned.rows
        for trial in row.trials
    ]


def test_each_row_gets_as_many_trials_and_the_first_is_the_row_as_it_is(tmp_path, data):
    """So a tuned row never validates worse than before, and no row is searched longer; a row that
    nothing was named of stays as it is.
    """
    file = write_experiment(tmp_path, TEXT)
    tuned = tune(file, data)
    assert [(row.name, len(row.trials)) for row in tuned.rows] == [("plain", 3), ("udon", 3)]
    for row in tuned.rows:
        first, *others = row.trials
        assert first.number == 0 and first.values["optimiser.lr_heads"] == 1e-3
        assert all(trial.values.keys() == first.values.keys() for trial in others)
        assert row.best.score == max(trial.score for trial in row.trials) >= first.score
    results = Results(tmp_path / "results")
    plan = load_plan(load_experiment(file, data=data, rows="udon"))
    assert results.stage(plan.rows[0].stages[-1]).done.best_r1 == tuned.row("udon").trials[0].score


def test_the_file_that_it_writes_runs_as_it_is(tmp_path, data):
    """It inherits the tuned one, has the best values, trains nothing anew, and a row that is best
    as it is stays so.
    """
    file = write_experiment(tmp_path, TEXT)
    tuned = tune(file, data)
    assert tuned.path == tmp_path / "table.tuned.toml"
    before = stages(tmp_path / "results")
    experiment = load_experiment(tuned.path, data=data)
    for row in experiment.rows:
        if row.name != "raw":
            values = tuned.row(row.name).best.values
            assert row.data["optimiser"]["lr_heads"] == values["optimiser.lr_heads"]
    table = udonx.run(
        tuned.path, data=data, results=tmp_path / "results", rows=("plain", "udon"), device="cpu"
    )
    assert table.title == "table (tuned)"
    assert stages(tmp_path / "results") == before


def test_it_never_opens_a_test_split(tmp_path, data, monkeypatch):
    """The same trials, scores and weights come out where there are no test files at all, and where
    there are, none is read and nothing is evaluated.
    """
    opened = []
    monkeypatch.setattr(
        "udonx.data.benchmark.read_split",
        lambda root, domain, name: opened.append(name) or read_split(root, domain, name),
    )
    found = {}
    for name in ("whole", "without"):
        root = tmp_path / name / "data"
        shutil.copytree(data, root)
        if name == "without":
            for file in [*root.glob("info_files/*/test.json"), *root.glob("images/*/test_*.png")]:
                file.unlink()
        tuned = tune(write_experiment(tmp_path / name, TEXT), root)
        found[name] = (trials(tuned), stages(tmp_path / name / "results"))
        assert not (tmp_path / name / "results" / "evaluations").exists()
    assert found["whole"] == found["without"]
    assert set(opened) == {"train", "val"}


def test_without_a_validation_split_it_refuses(tmp_path, data):
    """There is nothing to score by, which is said before anything is trained."""
    for domain in ("cars", "dishes"):
        (data / "info_files" / domain / "val.json").unlink()
    with pytest.raises(ConfigError, match="none of cars, dishes has a validation split"):
        tune(write_experiment(tmp_path, TEXT), data)
    assert not (tmp_path / "results" / "stages").exists()


def test_a_domain_without_validation_does_not_count(tmp_path, data):
    """Teachers of single domains are scored by those that have a validation split."""
    (data / "info_files" / "dishes" / "val.json").unlink()
    text = TEXT.replace('"classification"', '"separate_teachers"\nevaluate = ["teacher"]')
    row = tune(write_experiment(tmp_path, text), data, rows="plain").row("plain")
    assert all(trial.score is not None for trial in row.trials)


def test_a_trial_that_fails_does_not_stop_the_others(tmp_path, data):
    """It counts as a trial, with its reason; the best of the others is chosen."""
    file = write_experiment(tmp_path, DIVERGES.replace("[1e30]", "[1e30, 1e-4]"))
    tuned = tune(file, data, rows="plain", trials=6)
    row = tuned.row("plain")
    assert "# not tuned, so as they are: udon, raw\n" in tuned.path.read_text()
    failed = [trial for trial in row.trials if trial.score is None]
    assert 0 < len(failed) < 5 and len(row.trials) == 6
    assert all(trial.values["optimiser.lr_backbone"] == 1e30 for trial in failed)
    assert all(trial.failure.startswith("student: ") for trial in failed), failed[0].failure
    assert row.best.score is not None


def test_a_failed_trial_is_not_made_again_unless_it_is_asked_for(tmp_path, data, capsys):
    """Later calls and `--plan` count it as failed, for its reason; `--retry-failed` trains it."""
    file = write_experiment(tmp_path, DIVERGES.replace("[1e30]", "[1e30, 1e-4]"))
    options = {"rows": "plain", "trials": 6}
    first = tune(file, data, **options).row("plain")
    failed = sum(trial.score is None for trial in first.trials)
    assert failed > 0
    runs = tmp_path / "results" / "runs.jsonl"
    started = len(runs.read_text().splitlines())
    again = tune(file, data, **options).row("plain")
    assert [trial.failure for trial in again.trials] == [trial.failure for trial in first.trials]
    assert len(runs.read_text().splitlines()) == started
    command = ["tune", str(file), "--data", str(data), "--results", str(runs.parent)]
    command += ["--row", "plain", "--trials", "6", "--device", "cpu", "--plan"]
    assert main(command) == 0
    out = capsys.readouterr().out
    there = f"6 already there ({failed} failed; --retry-failed tries again)"
    assert f"{there}; left to train: 0 stages" in out, out
    assert main([*command, "--retry-failed"]) == 0
    assert "left to train: 0 stages" not in capsys.readouterr().out
    tune(file, data, retry_failed=True, **options)
    assert len(runs.read_text().splitlines()) == started + failed


def test_where_all_trials_fail_the_row_stays_and_the_others_are_written(tmp_path, data):
    """The error names the row; the file is there, without it."""
    text = DIVERGES.replace("optimiser.lr_backbone", "rows.plain.optimiser.lr_backbone").replace(
        'scheme = "classification"',
        'scheme = "classification"\noptimiser = { lr_backbone = 1e30, frozen = 0 }',
    )
    with pytest.raises(RowsNotTuned, match=r"all trials failed of table\.plain; the row stays"):
        tune(write_experiment(tmp_path, text), data)
    written = (tmp_path / "table.tuned.toml").read_text()
    assert "# plain: all 3 trials failed; the row stays as it is" in written
    assert "[rows.plain]" not in written and "# udon: " in written


def test_values_that_do_not_fit_together_are_a_failed_trial(tmp_path, data):
    """Each value fits the row by itself; of those that do not fit together the reason is kept."""
    text = TEXT.partition("[tune]")[0] + (
        '[tune]\nuse = "grid"\n[tune.space]\n'
        "rows.plain.transform.resize = { of = [33, 36] }\n"
        "rows.plain.transform.crop = { of = [34] }\n"
    )
    row = tune(write_experiment(tmp_path, text), data, rows="plain").row("plain")
    assert [trial.failure for trial in row.trials] == [
        None,
        "got 34, allowed is at most resize = 33",
        None,
    ]


def test_several_seeds_are_averaged(tmp_path, data):
    """A trial is trained with each seed of [tune], and those of the rows are left alone."""
    file = write_experiment(tmp_path, TEXT.replace("trials = 3", "trials = 2\nseeds = [10, 11]"))
    both = tune(file, data, rows="plain").row("plain")
    alone = [
        tune(file, data, rows="plain", seeds=seed, output=tmp_path / f"{seed}.toml").row("plain")
        for seed in (10, 11)
    ]
    for number, trial in enumerate(both.trials):
        assert trial.score == sum(row.trials[number].score for row in alone) / 2
    assert load_experiment(tmp_path / "table.tuned.toml", data=data).seeds == (0,)


def test_a_trial_is_no_row_of_the_files_table(tmp_path, data):
    """Seeds of trials are not shown in the table of the file that was tuned."""
    file = write_experiment(tmp_path, TEXT.replace("trials = 3", "trials = 2\nseeds = [10]"))
    tune(file, data, rows="plain")
    table = udonx.run(file, data=data, results=tmp_path / "results", rows=("plain",), device="cpu")
    assert table.row("plain").seeds == (0,)


def test_given_again_it_trains_nothing_and_writes_the_same(tmp_path, data, logged):
    """Trials are known by their stages, so that the same file comes out, byte for byte."""
    file = write_experiment(tmp_path, TEXT)
    tune(file, data)
    written, before = (tmp_path / "table.tuned.toml").read_bytes(), stages(tmp_path / "results")
    logged.clear()
    tune(file, data)
    assert (tmp_path / "table.tuned.toml").read_bytes() == written
    assert stages(tmp_path / "results") == before
    assert sum("already there" in line for line in logged) >= 6


def test_killed_and_given_again_it_makes_the_same_trials(tmp_path, data):
    """A call that is killed (SIGKILL) after its second trial, and given again, ends with the file
    of one that was not.
    """
    folders = [tmp_path / name for name in ("undisturbed", "killed")]
    text = TEXT.replace('"random"', '"tpe"\nwarm_up = 1').replace("trials = 3", "trials = 4")
    undisturbed, killed = (write_experiment(folder, text) for folder in folders)
    whole = tune(undisturbed, data, rows="udon")
    command = [
        *(sys.executable, "-c", "import sys; from udonx.cli import main; sys.exit(main())"),
        *("tune", str(killed), "--data", str(data), "--row", "udon", "--device", "cpu"),
        *("--results", str(killed.parent / "results")),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with open(tmp_path / "output.txt", "wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if len(stages(killed.parent / "results")) >= 2:
                break
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, (tmp_path / "output.txt").read_text()
    assert not (killed.parent / "table.tuned.toml").exists()
    again = tune(killed, data, rows="udon")
    assert trials(again) == trials(whole)
    assert stages(killed.parent / "results") == stages(undisturbed.parent / "results")


def test_what_a_person_edited_is_not_overwritten(tmp_path, data):
    """A tuned file that was edited, or that is none, is refused before anything is trained, unless
    `--force` is given; one as it was written is written anew.
    """
    file = write_experiment(tmp_path, TEXT)
    path = tune(file, data, rows="plain").path
    tune(file, data, rows="plain", trials=2)
    path.write_text(path.read_text() + "# mine\n")
    edited = path.read_text()
    with pytest.raises(ConfigError, match="you have edited it"):
        tune(file, data, rows="plain", results=tmp_path / "others")
    assert path.read_text() == edited and not (tmp_path / "others").exists()
    tune(file, data, rows="plain", force=True)
    assert "# mine" not in path.read_text()


def test_the_file_lies_over_the_tuned_one_wherever_it_is_written(tmp_path, data):
    """With --output in another folder it still names the file that it is over."""
    file = write_experiment(tmp_path / "files", TEXT)
    path = tmp_path / "elsewhere" / "best.toml"
    tuned = tune(file, data, rows="plain", trials=2, output=path)
    rows = load_experiment(path, data=data).rows
    assert [row.name for row in rows] == ["plain", "udon", "raw"]
    assert tuned.path == path


def test_the_setting_of_the_command_is_that_of_the_file(tmp_path):
    """What was tuned with `--setting` is run on that setting; what changed with `--set` is named
    in a comment.
    """
    text = TEXT.replace(SETTING, "")
    file = write_experiment(tmp_path, text)
    options = {"setting": "smoke", "overrides": "budget.steps=2", "rows": "plain", "trials": 2}
    tuned = udonx.tune(file, results=tmp_path / "results", device="cpu", **options)
    assert load_experiment(tuned.path).setting == "smoke"
    assert "# Its table: udonx run table.tuned.toml --set budget.steps=2" in tuned.to_toml()


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (TEXT.partition("[tune]")[0], {}, "table.toml: tune: is missing; say what to try"),
        (TEXT, {"trials": 1}, "--trials: got 1, allowed is int >= 2"),
        (TEXT, {"overrides": "optimiser.lr_heads=0.1"}, "lr_heads: is searched by [tune.space]"),
        ('roles = ["main", "other"]\n' + TEXT + OTHER, {}, "cannot tune a file with `roles`"),
        (TEXT, {"fresh": True}, "--fresh: is no option of tune"),
        (TEXT, {"rows": "raw"}, "tune.space: names nothing that is trained"),
        (
            TEXT.replace("random", "grid").replace("trials", "points = 9\ntrials"),
            {},
            "needs trials",
        ),
    ],
)
def test_what_it_cannot_do_is_refused(tmp_path, data, text, options, message):
    """In one sentence, before torch is imported."""
    with pytest.raises(ConfigError) as caught:
        tune(write_experiment(tmp_path, text), data, **options)
    assert message in str(caught.value)


def test_the_plan_says_what_it_will_train(tmp_path, data, capsys):
    """The first trial's stages, and for each other trial those that differ; what is there is not
    counted again; nothing is trained.
    """
    text = (
        TEXT.replace('"udon"', '"separate_teachers"')
        .replace("optimiser.lr_heads", "student_head.dim")
        .replace("{ low = 1e-3, high = 1.0, log = true }", "{ low = 8, high = 16 }")
    )
    file = write_experiment(tmp_path, text)
    command = ["tune", str(file), "--data", str(data), "--results", str(tmp_path / "results")]
    command += ["--row", "udon", "--device", "cpu"]
    assert main([*command, "--plan"]) == 0
    out = capsys.readouterr().out
    # two teachers and a student, then two students: their head is no part of a teacher
    assert "table, udon: 3 trials; left to train: 5 stages" in out, out
    assert not (tmp_path / "results" / "stages").exists()
    assert main(command) == 0
    assert len(stages(tmp_path / "results")) == 5
    capsys.readouterr()
    assert main([*command, "--plan"]) == 0
    assert "3 trials, 3 already there; left to train: 0 stages" in capsys.readouterr().out


@pytest.mark.parametrize("search", ["grid", "random"])
def test_the_plan_counts_every_trial_of_a_search_that_needs_no_scores(tmp_path, data, search):
    """One that has the values of the row as it is costs nothing, and the others what they need."""
    text = TEXT.partition("[tune]")[0] + (
        f'[tune]\nuse = "{search}"\ntrials = 4\n[tune.space]\n'
        "optimiser.lr_heads = { of = [1e-3, 1e-2, 1e-1] }\n"
    )
    file = write_experiment(tmp_path, text)
    plan = plan_tuning(file, data=data, results=tmp_path / "results", rows="plain", device="cpu")
    tune(file, data, rows="plain")
    trained = len(stages(tmp_path / "results"))
    assert trained > 1
    assert f"4 trials; left to train: {trained} stage" in plan, plan


def test_the_command_prints_trials_and_winners(tmp_path, data, capsys):
    """A line for each trial with values, score and seconds; what was written comes last."""
    file = write_experiment(tmp_path, TEXT)
    command = ["tune", str(file), "--data", str(data), "--results", str(tmp_path / "results")]
    assert main([*command, "--row", "plain", "--trials", "2", "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    assert "no test image was looked at" in captured.out
    assert captured.out.rstrip().endswith("table.tuned.toml")
    lines = [line for line in captured.out.splitlines() if "optimiser.lr_heads" in line]
    assert lines[0].split() == ["trial", "R@1", "seconds", "optimiser.lr_heads"]
    assert "plain, trial 1 (2 of 2): optimiser.lr_heads = " in captured.err


def test_trials_are_runs_of_the_record(tmp_path, data):
    """Each trial that is trained is a line of runs.jsonl, apart from those of the file's table."""
    tune(write_experiment(tmp_path, TEXT), data, rows="plain", trials=2)
    lines = (tmp_path / "results" / "runs.jsonl").read_text().splitlines()
    runs = [json.loads(line) for line in lines]
    assert [(run["file"], run["row"], run["seed"]) for run in runs] == [
        ("table.tune", "plain", 0),
        ("table.tune", "plain", 0),
    ]


def test_a_row_that_starts_from_another_is_tuned_on_what_was_best_of_it(tmp_path, data):
    """So the written file's row has the stages whose validation was the best, and given again the
    call trains nothing.
    """
    text = TEXT.partition("[tune]")[0].replace(
        "[rows.plain]", "[rows.plain]\noptimiser = { lr_backbone = 1e30, frozen = 0 }"
    )
    text = text.replace("[rows.udon]", '[rows.udon]\ninit = { use = "same", from = "plain" }')
    text += """
        [tune.space]
        rows.plain.optimiser.lr_backbone = { of = [1e-4] }
        losses.kl_logit.weight = { of = [0.25, 4.0] }
    """
    file = write_experiment(tmp_path, text)
    tuned = tune(file, data, trials=2)
    assert (tuned.row("plain").trials[0].score, tuned.row("plain").best.number) == (None, 1)
    before = stages(tmp_path / "results")
    plan = load_plan(load_experiment(tuned.path, data=data, rows="udon"))
    done = Results(tmp_path / "results").stage(plan.rows[0].stages[-1]).done
    assert done is not None and done.best_r1 == tuned.row("udon").best.score
    assert trials(tune(file, data, trials=2)) == trials(tuned)
    assert stages(tmp_path / "results") == before
