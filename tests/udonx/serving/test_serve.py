"""`udonx serve`: its address, its end, and what keeps it from starting."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from udonx.cli import main
from udonx.common.extras import MissingExtraError
from udonx.search.vectors import VectorsError
from udonx.serving.errors import ServeError
from udonx.serving.limits import Limits
from udonx.serving.serve import LOOPBACK, listen, serve


def test_it_serves_until_ctrl_c_and_says_how_fast(index_folder: Path, photos: Path) -> None:
    """The address is printed, SIGINT ends it well, and the last line has the throughput."""
    command = [
        *(sys.executable, "-c", "import sys; from udonx.cli import main; sys.exit(main())"),
        *("serve", str(index_folder), "--port", "0", "--device", "cpu"),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        line = server.stderr.readline()
        found = re.search(r"serving 12 images at (http://127\.0\.0\.1:\d+); Ctrl-C ends it", line)
        assert found, line + server.stderr.read()
        content = (photos / "cars" / "0.png").read_bytes()
        answer = httpx.post(f"{found[1]}/search", content=content, timeout=60)
        server.send_signal(signal.SIGINT)
        rest = server.stderr.read()
        assert (answer.status_code, server.wait(60)) == (200, 0), rest
    assert re.fullmatch(
        r"(?s)answered 1 picture, \d+\.\d per second while there were any\n", rest
    ), rest


def test_a_port_in_use_is_one_sentence(index_folder: Path, capsys: pytest.CaptureFixture) -> None:
    """Nothing is loaded for it, and the exit code is that of bad input."""
    with listen(LOOPBACK, 0) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(index_folder), "--port", str(port)]) == 2
    sentence = f"udonx serve: --port: {port} of 127.0.0.1 is in use; give another one, or 0 for any"
    assert capsys.readouterr().err.strip() == sentence


def test_an_index_of_another_model_is_refused(index_folder: Path) -> None:
    """Before anything is served."""
    with pytest.raises(VectorsError, match="cannot be compared"):
        serve(index_folder, port=0, model="smoke:main", device="cpu")


def test_no_index_is_refused(tmp_path: Path) -> None:
    """A folder that is none is named."""
    with pytest.raises(VectorsError, match="no index"):
        serve(tmp_path, port=0, device="cpu")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"port": 70000}, "--port: got 70000, allowed is 0 to 65535"),
        ({"host": "no.such.host.invalid"}, "--host: got 'no.such.host.invalid', which is no"),
        ({"host": "192.0.2.1"}, "--host: cannot listen on 192.0.2.1:8000"),
    ],
)
def test_an_address_that_cannot_be_had_is_refused(tmp_path: Path, options, sentence: str) -> None:
    """In one sentence."""
    with pytest.raises(ServeError) as caught:
        serve(tmp_path, **options)
    assert str(caught.value).startswith(sentence)


def test_limits_are_above_zero() -> None:
    """What would refuse everything is refused itself."""
    with pytest.raises(ServeError, match="--max-requests: got 0, allowed is a number above 0"):
        Limits(max_requests=0)


def test_a_missing_extra_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'udonx\[serve\]'"):
        serve(tmp_path)
