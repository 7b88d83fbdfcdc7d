"""Starting, hearing and ending ranks: with ranks that compute nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domadapt.builtin.launching import meeting
from domadapt.builtin.training import ranks
from domadapt.builtin.training.ranks import run_ranks
from domadapt.components import Stage
from domadapt.errors import Interrupted, MissingError, StageError
from domadapt.recipe.schema import Launch

from .megatron_runs import gone

MakeStage = Callable[..., Stage]

TOY = """
import os, signal, subprocess, sys, time
from pathlib import Path
from domadapt.builtin.training.rank import serve
from domadapt.errors import Interrupted, StageError

def work(rank):
    rank.say("alive")
    do = sys.argv[2]
    if do == "steps":
        for step in range(3):
            rank.say("progress", done=step + 1, total=3, unit="steps", loss=0.5)
        rank.say("heldout", step=3, heldout_domain=1.5)
    elif do == "until stopped":
        while not rank.stop_requested():
            time.sleep(0.01)
        raise Interrupted("train: stopped, saved")
    elif do == "refuse":
        raise StageError("train: the gate does not hold")
    elif do == "bug":
        raise KeyError("no such thing")
    elif do == "full disk":
        raise RuntimeError("Worker failure: [Errno 28] No space left on device")
    elif do == "memory":
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
    elif do == "fail alone":
        if rank.place.rank == 1:
            raise KeyError("of rank 1")
        time.sleep(600)
    elif do == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif do == "die with a child":
        child = subprocess.Popen(["sleep", "600"])
        Path(sys.argv[1], "child").write_text(str(child.pid))
        os.kill(os.getpid(), signal.SIGKILL)
    elif do == "hang":
        child = subprocess.Popen(["sleep", "600"])
        Path(sys.argv[1], "child").write_text(str(child.pid))
        time.sleep(600)

sys.exit(serve(Path(sys.argv[1]), work))
"""


@pytest.fixture
def run(tmp_path: Path, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stage]:
    """Runs a rank that does something, and returns the stage with its events."""
    (tmp_path / "toy_rank.py").write_text(TOY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(ranks, "GRACE_SECONDS", 2.0)
    (tmp_path / "job").mkdir()

    def start(
        do: str, silence: float = 600.0, num_ranks: int = 1, launch: Launch | None = None, **changed: Any
    ) -> Stage:
        stage = replace(make_stage(), **changed)
        run_ranks("toy_rank", [str(tmp_path / "job"), do], num_ranks, tmp_path / "job", stage, silence, launch)
        return stage

    return start


def test_what_the_first_rank_says_becomes_events_and_progress(run: Callable[..., Stage]) -> None:
    events = run("steps").facts["events"]
    assert [e["done"] for e in events if e["kind"] == "progress"] == [1, 2, 3]
    assert events[0] == {"kind": "progress", "done": 1, "total": 3, "unit": "steps", "loss": 0.5}
    assert events[-1] == {"kind": "heldout", "step": 3, "heldout_domain": 1.5}


def test_only_the_first_of_two_ranks_is_heard(run: Callable[..., Stage]) -> None:
    events = run("steps", num_ranks=2).facts["events"]
    assert [e["done"] for e in events if e["kind"] == "progress"] == [1, 2, 3]


def test_a_stop_request_reaches_the_rank(run: Callable[..., Stage]) -> None:
    with pytest.raises(Interrupted, match="stopped, saved"):
        run("until stopped", stop_requested=lambda: True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_asks_a_rank_to_stop(run: Callable[..., Stage], tmp_path: Path, number: signal.Signals) -> None:
    def send() -> None:
        file = tmp_path / "job" / "rank-0.pid"
        while not (tmp_path / "job" / "events.jsonl").exists():
            time.sleep(0.02)
        os.killpg(int(file.read_text().split()[1]), number)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(Interrupted):
        run("until stopped")
    thread.join()


@pytest.mark.parametrize(
    ("do", "error", "told"),
    [
        ("refuse", StageError, "^train: the gate does not hold$"),
        ("bug", StageError, "a rank failed with exit code 1: KeyError: 'no such thing' .all of it: .*ranks.log"),
        ("full disk", OSError, "No space left on device"),
        ("memory", MissingError, "the memory is full: lower train.micro_batch"),
        ("die", StageError, r"rank 0 was ended by signal 9 \(SIGKILL\)"),
    ],
)
def test_the_end_of_a_rank_is_the_error_of_the_stage(
    run: Callable[..., Stage], do: str, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        run(do)


def test_a_rank_that_is_killed_ends_the_others(run: Callable[..., Stage], tmp_path: Path) -> None:
    def kill() -> None:
        job = tmp_path / "job"
        while not all((job / f"rank-{rank}.pid").exists() and (job / "child").exists() for rank in (0, 1)):
            time.sleep(0.02)
        time.sleep(0.2)
        os.kill(int((job / "rank-1.pid").read_text().split()[1]), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(StageError, match=r"rank 1 was ended.*, and the others with it"):
        run("hang", num_ranks=2)
    thread.join()
    assert gone(int((tmp_path / "job" / "rank-0.pid").read_text().split()[1]))


@pytest.mark.slow
def test_a_rank_that_fails_is_named_and_not_the_others_that_are_ended_with_it(run: Callable[..., Stage]) -> None:
    with pytest.raises(StageError, match="KeyError: 'of rank 1'"):
        run("fail alone", num_ranks=2)


def test_what_a_killed_rank_had_started_is_ended(run: Callable[..., Stage], tmp_path: Path) -> None:
    with pytest.raises(StageError, match="SIGKILL"):
        run("die with a child")
    assert gone(int((tmp_path / "job" / "child").read_text()))


def test_ranks_that_say_nothing_are_ended(run: Callable[..., Stage], tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"the ranks said nothing for 3 s and were ended; .* train\.options\.timeout"):
        run("hang", silence=3.0)
    assert gone(int((tmp_path / "job" / "child").read_text()))


PARENT = """
import sys
from pathlib import Path
from domadapt.builtin.training.ranks import run_ranks
from domadapt.components import Stage

job = Path(sys.argv[1])
stage = Stage("train", "0", 1, "test", lambda *_: {}, job)
run_ranks("toy_rank", [str(job), "hang"], int(sys.argv[2]), job, stage, 600.0)
"""


@pytest.mark.parametrize("num_ranks", [1, 2])
def test_ranks_do_not_outlive_a_parent_that_was_killed(
    run: Callable[..., Stage], tmp_path: Path, num_ranks: int
) -> None:
    job = tmp_path / "job"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(job), str(num_ranks)])
    while not all((job / f"rank-{rank}.pid").exists() and (job / "child").exists() for rank in range(num_ranks)):
        time.sleep(0.02)
        assert parent.poll() is None
    time.sleep(0.2)
    parent.kill()
    parent.wait()
    for rank in range(num_ranks):
        assert gone(int((job / f"rank-{rank}.pid").read_text().split()[1]))
    assert gone(int((job / "child").read_text()))


OTHER_MACHINE = """
import os, sys
from domadapt.builtin.launching import meeting
from domadapt.builtin.launching.commands import torchrun
from domadapt.recipe.schema import Launch

launch = Launch.model_validate({"executor": "torchrun", "nodes": 2})
sys.exit(meeting.join(meeting.this_machine(launch, os.environ), torchrun(launch, os.environ)))
"""


@pytest.mark.slow
def test_two_machines_share_the_ranks(
    run: Callable[..., Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    for name, value in (("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", port), ("NODE_RANK", "0")):
        monkeypatch.setenv(name, value)
    launch = Launch.model_validate({"executor": "torchrun", "nodes": 2})
    other = subprocess.Popen([sys.executable, "-c", OTHER_MACHINE], env={**os.environ, "NODE_RANK": "1"})
    with meeting.leading(meeting.this_machine(launch, os.environ), 1) as others:
        events = run("steps", num_ranks=2, launch=launch).facts["events"]
        others.close(0)
    assert [e["done"] for e in events if e["kind"] == "progress"] == [1, 2, 3]
    assert other.wait() == 0
    assert not list((tmp_path / "job").glob("rank-*.pid"))
