"""A results folder as `run` leaves it, made without training anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs

from tests.udonx.tables.small import table, table_row
from udonx.common.json_files import append_json_line, write_json
from udonx.store.runs import Run, append_run
from udonx.tables.storage import write_table

DATA = {"food": "0123"}
FIGURES = {"r1": 0.5, "mmp5": 0.25, "per_domain": {"food": {"r1": 0.5, "queries": 4}}}


@attrs.define
class Folder:
    """Adds to a results folder."""

    root: Path
    attempts: int = 0

    def stage(self, identity: str, *, steps: int = 10, done: bool = True) -> Path:
        """A stage that is finished, or one that was stopped at half of its steps."""
        folder = self.root / "stages" / identity
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "stage.toml").write_text(f"[spec.training]\nsteps = {steps}\n")
        (folder / "best.safetensors").write_bytes(b"weights")
        (folder / "lock").touch()
        if done:
            took = {"steps": steps, "images": 40, "seconds": 90.0, "best_step": steps}
            write_json(folder / "done.json", {**took, "best_r1": 0.75})
        else:
            append_json_line(folder / "log.jsonl", {"step": steps // 2})
            (folder / "state.pt").touch()
        return folder

    def evaluation(self, identity: str, stage: str, **about: Any) -> dict[str, Any]:
        """An evaluation of a stage; returns what it holds."""
        content = {
            "merged": FIGURES,
            "own": {**FIGURES, "r1": 0.75},
            "stages": {"food": stage},
            "branch": "student",
            "data": DATA,
            "tta": None,
            **about,
        }
        write_json(self.root / "evaluations" / identity / "metrics.json", content)
        return content

    def run(
        self,
        row: str,
        *stages: str,
        status: str = "COMPLETED",
        file: str = "mine",
        seed: int | None = 0,
        result: dict[str, Any] | None = None,
        trace: tuple[str, ...] = (),
        **config: Any,
    ) -> str:
        """A run and its Sacred run, of whose stages and evaluation nothing is made here."""
        self.attempts += 1
        identity = str(self.attempts)
        line = Run(
            file=file,
            setting="demo",
            row=row,
            seed=seed,
            stages=stages,
            sacred_id=identity,
            resumes=None,
        )
        append_run(self.root / "runs.jsonl", line)
        folder = self.root / "sacred" / identity
        folder.mkdir(parents=True)
        record = {"status": status, "result": result and {"student": result}}
        if trace:
            record["fail_trace"] = list(trace)
        (folder / "run.json").write_text(json.dumps(record))
        command = f"/venv/bin/python /venv/bin/udonx run {file}.toml"
        (folder / "config.json").write_text(json.dumps({"command": command, **config}))
        return identity

    def done(self, row: str, *stages: str, **about: Any) -> str:
        """A run whose stages are trained, and whose evaluation is made."""
        for stage in stages:
            if not (self.root / "stages" / stage).is_dir():
                self.stage(stage)
        result = self.evaluation(f"of-{stages[-1]}", stages[-1], row=row, seed=0)
        return self.run(row, *stages, result=result, **about)

    def table(self, file: str = "mine", **rows: tuple[str, ...]) -> None:
        """A stored table: the stages behind each of its rows."""
        shown = [
            attrs.evolve(
                table_row(name), stages=stages, evaluations=tuple(f"of-{one}" for one in stages)
            )
            for name, stages in rows.items()
        ]
        write_table(table(*shown), self.root / "tables" / file / "demo")
