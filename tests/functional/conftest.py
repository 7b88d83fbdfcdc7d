"""A pack by a stranger, built as a wheel and installed beside the core; the command line in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent

# What reaches for a network outside this machine fails at once, in every process of the tests.
NO_NETWORK = """
import socket
_connect = socket.socket.connect
def connect(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"no network in tests: {address}")
    return _connect(self, address)
socket.socket.connect = connect
"""


@pytest.fixture(scope="session")
def law_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the law pack installed from its wheel, and no way to a network."""
    folder = tmp_path_factory.mktemp("law")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    wheel = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(HERE / "law_pack")]
    subprocess.run([*pip, *wheel], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    site = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(built)], check=True, capture_output=True)
    (site / "sitecustomize.py").write_text(NO_NETWORK)
    return site


@dataclass(frozen=True)
class Adapt:
    """The command `adapt` in a working folder."""

    folder: Path
    site: Path

    @property
    def env(self) -> dict[str, str]:
        """The environment of its processes."""
        return {**os.environ, "PYTHONPATH": str(self.site), "COLUMNS": "100", "ADAPT_HOME": str(self.folder / "home")}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A process in a group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "domadapt", *arguments],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Run to the end; return stdout. Fails when the exit code is another."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=400)
        assert process.returncode == code, f"{arguments} ended with {process.returncode}\n{out}\n{err}"
        return out if code == 0 else err

    def events(self, run: str = "law") -> list[dict[str, Any]]:
        """All events of a run."""
        return [json.loads(line) for line in (self.folder / "runs" / run / "events.jsonl").read_text().splitlines()]

    def done(self, run: str = "law") -> list[str]:
        """Names of the stages that were executed, in order."""
        return [e["stage"] for e in self.events(run) if e["kind"] == "done"]

    def kill_when(self, arguments: Sequence[str], condition: Callable[[], bool], number: int = signal.SIGKILL) -> int:
        """Start, send a signal to the process as soon as the condition holds, return how it ended."""
        process = self.start(*arguments)
        deadline = time.monotonic() + 300
        while not condition() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        process.communicate(timeout=120)
        return process.returncode


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, law_site: Path) -> Adapt:
    """A finished, undisturbed run of the law pack. Tests must not change it."""
    adapt = Adapt(tmp_path_factory.mktemp("finished"), law_site)
    adapt("run", "--domain", "law")
    return adapt


@pytest.fixture
def adapt(tmp_path: Path, law_site: Path) -> Adapt:
    """The command in an empty folder."""
    return Adapt(tmp_path, law_site)


@pytest.fixture
def copied(finished: Adapt, tmp_path: Path) -> Adapt:
    """A copy of the finished run in another place."""
    subprocess.run(["cp", "-a", str(finished.folder / "runs"), str(tmp_path)], check=True)
    return Adapt(tmp_path, finished.site)
