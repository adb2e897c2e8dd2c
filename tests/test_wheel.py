"""The wheel: what an installation puts where, and that it runs from an empty folder."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this checkout, built without a network."""
    for tool in ("pip", "hatchling"):
        if importlib.util.find_spec(tool) is None:
            pytest.skip(f"{tool} is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    _run([sys.executable, "-m", "pip", "wheel", *options, "-w", str(folder), str(ROOT)], folder)
    return next(folder.glob("*.whl"))


def _run(command: list[str], folder: Path) -> str:
    """What a command that succeeds prints, run in `folder` without this checkout on the path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=environment,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def test_only_our_two_packages_are_installed(wheel):
    """Nothing but `registry` and `udonx` lands in site-packages: no `experiments`, no `tests`."""
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"registry", "udonx"}
    assert {"registry/py.typed", "udonx/py.typed"} <= names
    shipped = {
        f"udonx/{file.relative_to(ROOT)}"
        for pattern in ("*.toml", "*.json")
        for file in (ROOT / "experiments").rglob(pattern)
    }
    assert shipped <= names


def test_an_installed_udonx_runs_in_an_empty_folder(wheel, tmp_path):
    """In a fresh environment, `check` and `run` find the shipped experiment and run it."""
    _run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(
        _run([str(python), "-c", "import site; print(site.getsitepackages()[0])"], tmp_path).strip()
    )
    # The dependencies of this environment, without its own (editable) udonx: Python reads no path
    # file in a folder that is itself named by one.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    options = ["--no-deps", "--no-index", "--disable-pip-version-check", "--ignore-installed"]
    _run([*install, *options, str(wheel)], tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()

    where = _run([str(python), "-c", "import udonx; print(udonx.__file__)"], empty)
    assert Path(where).is_relative_to(site)
    udonx = str(python.with_name("udonx"))
    asked = ["table3_ablation", "--setting", "smoke"]
    _run([udonx, "check", *asked], empty)
    table = _run([udonx, "run", *asked, "--row", "baseline"], empty)
    assert "classification baseline" in table
    assert (empty / "results" / "stages").is_dir()
