"""Copies of the run record in databases: MongoDB and SQL, in the layouts of Sacred's observers.

A copy is made of the files of a run (`results/sacred/ID`), as a whole and as often as is wanted:
what is there already is brought up to date. So a database that was away misses nothing for good.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import mimetypes
import re
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol
from urllib.parse import urlsplit

import attrs

from udonx.common.files import DamagedFileError, read_bytes
from udonx.planning.identity import digest
from udonx.running.events import without_nan

_SECONDS = 5  # until a database that does not answer counts as away


@attrs.frozen(kw_only=True)
class StoredRun:
    """A run of the record, as its files hold it.

    Attributes:
        folder: where it lies.
        about: run.json.
        config: config.json.
        info: info.json.
        metrics: metrics.json: steps, values and timestamps by name.
        output: what was logged.
    """

    folder: Path
    about: dict[str, Any]
    config: dict[str, Any]
    info: dict[str, Any]
    metrics: dict[str, dict[str, list[Any]]]
    output: str

    @classmethod
    def read(cls, folder: Path) -> StoredRun:
        """Read a run.

        Raises:
            DamagedFileError: a file of it is damaged, or missing.
        """
        try:
            output = read_bytes(folder / "cout.txt").decode(errors="replace")
        except FileNotFoundError:
            output = ""
        return cls(
            folder=folder,
            about=_read_json(folder / "run.json"),
            config=_read_json(folder / "config.json"),
            info=_read_json(folder / "info.json", missing={}),
            metrics=_read_json(folder / "metrics.json", missing={}),
            output=output,
        )

    @property
    def key(self) -> str:
        """What tells it from all other runs, of other results folders too."""
        about = self.about
        return digest([about["start_time"], about["host"]["hostname"], self.config])

    @property
    def mark(self) -> str:
        """Sacred's comment of its copies, by which they are found again."""
        return f"udonx {self.key}"

    @property
    def experiment(self) -> dict[str, Any]:
        """What Sacred says of the program; the source that it lists is one file of udonx."""
        return {**self.about["experiment"], "sources": []}

    @property
    def artifacts(self) -> dict[str, Path]:
        """Its files by name, but for those that were removed since."""
        files = {name: self.folder / name for name in self.about.get("artifacts", ())}
        return {name: file for name, file in files.items() if file.is_file()}

    @property
    def resources(self) -> dict[str, Path]:
        """Copies of the files that it read, by their paths; without those that were removed."""
        kept = self.folder.parent / "_resources"
        files = {name: kept / Path(copy).name for name, copy in self.about.get("resources", ())}
        return {name: file for name, file in files.items() if file.is_file()}

    def time(self, name: str) -> datetime | None:
        """A time of run.json, UTC, as databases keep it: to the millisecond; None for none."""
        text = self.about.get(name)
        if text is None:
            return None
        time = datetime.fromisoformat(text)
        return time.replace(microsecond=time.microsecond // 1000 * 1000)

    @property
    def state(self) -> tuple[Any, ...]:
        """What changes whenever the run goes on."""
        return (
            self.about["status"],
            self.time("heartbeat"),
            self.time("stop_time"),
            sorted(self.artifacts),
        )

    @property
    def result(self) -> float | None:
        """Its first R@1, for a database that has room for one number."""
        tests = (name for name in self.metrics if re.fullmatch(r"test\.\w+\.r1", name))
        return next((self.metrics[name]["values"][-1] for name in tests), None)


class Database(Protocol):
    """Where copies of runs are kept."""

    def write(self, run: StoredRun) -> bool:
        """Bring the copy of a run up to date; returns whether there was anything to do."""
        ...


class MongoDatabase:
    """Copies in the layout of Sacred's MongoObserver: `runs`, `metrics` and GridFS.

    Args:
        url: mongodb://HOST/DATABASE; `sacred` where it names no database.
    """

    def __init__(self, url: str) -> None:
        import_sacred()
        from sacred.observers import MongoObserver

        name = urlsplit(url).path.strip("/") or "sacred"
        wait: dict[str, Any] = {"serverSelectionTimeoutMS": 1000 * _SECONDS}
        self._observer: Any = MongoObserver(url=url, db_name=name, **wait)

    def write(self, run: StoredRun) -> bool:
        """Bring the copy of a run up to date; returns whether there was anything to do."""
        observer = self._observer
        found = observer.runs.find_one({"meta.comment": run.mark})
        entry: dict[str, Any] = found or {"_id": None, "artifacts": [], "resources": []}
        names = sorted(each["name"] for each in entry["artifacts"])
        state = (entry.get("status"), entry.get("heartbeat"), entry.get("stop_time"), names)
        if state == run.state:
            return False
        entry |= {
            "experiment": run.experiment,
            "format": observer.VERSION,
            "command": run.about["command"],
            "host": run.about["host"],
            "config": _mongo_keys(run.config),
            "meta": {**run.about.get("meta", {}), "comment": run.mark},
            "result": _mongo_keys(run.about.get("result")),
            "captured_out": run.output,
            "start_time": run.time("start_time"),
            "info": _mongo_keys(run.info),
            "status": "RUNNING",  # until all of it is there
        }
        observer.run_entry = entry
        if found is None:
            observer.insert()
        self._write_metrics(run)
        for name, file in run.artifacts.items():
            if name not in names:
                kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
                observer.artifact_event(name, str(file), content_type=kind)
        entry["resources"] = [self._keep_resource(*item) for item in run.resources.items()]
        for key in ("heartbeat", "stop_time"):
            entry[key] = run.time(key)
        entry |= {"status": run.about["status"], "fail_trace": run.about.get("fail_trace")}
        observer.runs.replace_one({"_id": entry["_id"]}, entry)
        return True

    def _keep_resource(self, name: str, file: Path) -> tuple[str, str]:
        """Keep a file that a run read, once; returns its path and its md5, as Sacred does."""
        content = file.read_bytes()
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if not self._observer.fs.exists({"filename": name, "metadata.md5": md5}):
            self._observer.fs.put(content, filename=name, metadata={"md5": md5})
        return name, md5

    def _write_metrics(self, run: StoredRun) -> None:
        """Replace the curves; the run's `info` names them, as Sacred's readers expect it."""
        entry, metrics = self._observer.run_entry, self._observer.metrics
        entry["info"]["metrics"] = []
        for name, curve in run.metrics.items():
            times = [datetime.fromisoformat(time) for time in curve["timestamps"]]
            same = {"run_id": entry["_id"], "name": name}
            metrics.update_one(same, {"$set": {**curve, "timestamps": times}}, upsert=True)
            stored = metrics.find_one(same, {"_id": 1})
            entry["info"]["metrics"].append({"name": name, "id": str(stored["_id"])})


class SqlDatabase:
    """Copies in the tables of Sacred's SqlObserver.

    These have no place for curves, which stand in `info`, and for a result that is one number: R@1.

    Args:
        url: as SQLAlchemy takes it.
    """

    def __init__(self, url: str) -> None:
        import_sacred()
        from sacred.observers import SqlObserver

        self._observer: Any = SqlObserver(url)

    def write(self, run: StoredRun) -> bool:
        """Bring the copy of a run up to date; returns whether there was anything to do."""
        from sacred.observers import sql_bases as tables

        tables.Base.metadata.create_all(self._observer.engine)
        session = self._observer.session
        try:
            with session.no_autoflush:  # Sacred's classes look things up while they are half made
                changed = self._write(run, session, tables)
            session.commit()
        except BaseException:
            session.rollback()
            raise
        finally:
            session.remove()
        return changed

    def _write(self, run: StoredRun, session: Any, tables: Any) -> bool:
        row = session.query(tables.Run).filter_by(comment=run.mark).first()
        if row is None:
            experiment, host = _for_columns(run)
            last = session.query(tables.Run).order_by(tables.Run.id.desc()).first()
            row = tables.Run(
                run_id=str(last.id + 1 if last else 1),
                comment=run.mark,
                priority=0,
                command=run.about["command"],
                config=json.dumps(run.config),
                start_time=run.time("start_time"),
                experiment=tables.Experiment.get_or_create(experiment, session),
                host=tables.Host.get_or_create(host, session),
            )
            session.add(row)
        names = {each.filename: each for each in row.artifacts}
        wanted = {name[-64:]: file for name, file in run.artifacts.items()}
        state = (row.status, row.heartbeat, row.stop_time, sorted(names))
        if state == (*run.state[:3], sorted(wanted)):
            return False
        row.heartbeat, row.stop_time = run.time("heartbeat"), run.time("stop_time")
        row.status, row.captured_out = run.about["status"], run.output
        row.fail_trace = "\n".join(run.about.get("fail_trace", ())) or None
        row.info = json.dumps({**run.info, "metrics": run.metrics})
        row.result = run.result
        for name, file in wanted.items():
            if name not in names:
                row.artifacts.append(tables.Artifact.create(name, str(file)))
        for file in run.resources.values():
            resource = tables.Resource.get_or_create(str(file), session)
            if resource not in row.resources:
                row.resources.append(resource)
        return True


def open_database(url: str) -> Database:
    """A database by its URL; nothing is connected to.

    Raises:
        Exception: what the packages of databases raise for a URL that they cannot use.
    """
    return MongoDatabase(url) if url.startswith("mongodb") else SqlDatabase(url)


def without_password(url: str) -> str:
    """A URL that may be shown.

    >>> without_password("mongodb://me:secret@host/db")
    'mongodb://me:...@host/db'
    """
    return re.sub(r"(://[^:/@]*):[^/]*@", r"\1:...@", url)


def import_sacred() -> ModuleType:
    """Sacred, without the warning that its import of pkg_resources gives.

    setuptools is held below the version that drops it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        return importlib.import_module("sacred")


def run_folders(sacred: Path) -> Iterator[Path]:
    """The folders of the runs of a record, in their order."""
    numbered = (folder for folder in sacred.glob("*") if folder.name.isdigit())
    yield from sorted(numbered, key=lambda folder: int(folder.name))


def _read_json(file: Path, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    """A JSON file of Sacred's, null in place of NaN.

    Raises:
        DamagedFileError: it is damaged, or missing although it must be there.
    """
    try:
        content = json.loads(read_bytes(file))
    except FileNotFoundError:
        if missing is None:
            raise DamagedFileError(file, "is missing") from None
        return missing
    except ValueError as error:
        raise DamagedFileError(file, f"is no valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise DamagedFileError(file, "does not hold what was written")
    return dict(without_nan(content))


def _mongo_keys(value: Any) -> Any:
    """Plain data whose keys MongoDB takes: text, without dots, not beginning with a dollar."""
    if isinstance(value, dict):
        return {
            re.sub(r"^\$", "@", str(key)).replace(".", ","): _mongo_keys(item)
            for key, item in value.items()
        }
    return [_mongo_keys(item) for item in value] if isinstance(value, list) else value


def _for_columns(run: StoredRun) -> tuple[dict[str, Any], dict[str, Any]]:
    """Experiment and host, cut to the widths of Sacred's columns: some databases insist on them."""
    experiment = {**run.experiment, "name": run.experiment["name"][:32]}
    experiment["base_dir"] = str(experiment["base_dir"])[-64:]
    host = {key: run.about["host"].get(key) or "" for key in ("hostname", "cpu", "python_version")}
    widths = {"hostname": 64, "cpu": 64, "python_version": 16}
    system, release = (*run.about["host"].get("os", ()), "", "")[:2]
    return experiment, {
        **{key: str(text)[: widths[key]] for key, text in host.items()},
        "os": [str(system)[:16], str(release)[:64]],
    }
