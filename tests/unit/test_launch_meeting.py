"""Several machines without a scheduler, here two processes of one: the first works, the other joins its training."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from domadapt.builtin.launching import meeting
from domadapt.builtin.launching.commands import rank_command
from domadapt.builtin.launching.meeting import Machine, this_machine
from domadapt.errors import MissingError, StageError
from domadapt.recipe.schema import Launch

TWO = Launch(executor="torchrun", nodes=2)
HERE = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "NODE_RANK": "1"}

FOLLOWER = """
import os, sys
from domadapt.builtin.launching import meeting
from domadapt.builtin.launching.commands import torchrun
from domadapt.recipe.schema import Launch
launch = Launch(executor="torchrun", nodes=2)
machine = meeting.this_machine(launch, os.environ)
sys.exit(meeting.join(machine, [sys.executable] if os.environ.get("PLAIN") else torchrun(launch, os.environ)))
"""


def free_port() -> int:
    """A port whose successor is free too."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as one:
            port = one.getsockname()[1]
            try:
                socket.create_server(("127.0.0.1", port + 1)).close()
            except (OSError, OverflowError):
                continue
            return int(port)


def follow(port: int, **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "1", **variables}
    return subprocess.Popen([sys.executable, "-c", FOLLOWER], env=environment, text=True, stderr=subprocess.PIPE)


def test_a_machine_reads_which_one_it_is() -> None:
    assert this_machine(TWO, HERE) == Machine(1, "127.0.0.1", 29500)


def test_a_machine_that_does_not_know_which_one_it_is_is_told_how() -> None:
    with pytest.raises(MissingError, match=r"MASTER_PORT, NODE_RANK not set; `adapt launch --print` shows"):
        this_machine(TWO, {"MASTER_ADDR": "a"})
    with pytest.raises(MissingError, match=r"NODE_RANK is '2'; wanted 0 to 1 \(launch\.nodes\)"):
        this_machine(TWO, HERE | {"NODE_RANK": "2"})
    with pytest.raises(MissingError, match="MASTER_PORT is '65535'"):
        this_machine(TWO, HERE | {"MASTER_PORT": "65535"})


def test_the_others_run_what_the_first_machine_says_and_end_with_its_code(tmp_path: Path) -> None:
    port = free_port()
    done = tmp_path / "done"
    with follow(port, PLAIN="1") as other:
        with meeting.leading(Machine(0, "127.0.0.1", port), 1) as first:
            first.announce(["-c", f"open({str(done)!r}, 'w').write('here')"])
            deadline = time.monotonic() + 60
            while not (done.exists() and done.read_text() == "here"):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            first.close(3)
        assert other.wait(60) == 3


def test_a_first_machine_that_goes_away_leaves_nobody_waiting() -> None:
    port = free_port()
    with follow(port, PLAIN="1") as other:
        with meeting.leading(Machine(0, "127.0.0.1", port), 1) as first:
            first.announce(["-c", "pass"])
        assert other.wait(60) == 1


def test_machines_that_do_not_come_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "PATIENCE", 0.05)
    port = free_port()
    with (
        meeting.leading(Machine(0, "127.0.0.1", port), 2) as first,
        pytest.raises(StageError, match=r"0 of 2 other machines came within 0 s; start `adapt launch` on each"),
    ):
        first.announce(["-c", "pass"])


def test_a_first_machine_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "PATIENCE", 0.0)
    port = free_port()
    with pytest.raises(MissingError, match=rf"the first machine \(127\.0\.0\.1:{port + 1}\) does not answer"):
        meeting.join(Machine(1, "127.0.0.1", port), [sys.executable])


def test_a_training_on_several_machines_wants_adapt_launch() -> None:
    with pytest.raises(MissingError, match="is started with `adapt launch`, not with `adapt run`"):
        rank_command(TWO, 1, ["-c", "pass"], environment=HERE | {"NODE_RANK": "0"})


@pytest.mark.slow
def test_ranks_of_two_machines_are_one_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With real torchrun on both sides: four ranks agree on a sum."""
    port = free_port()
    program = tmp_path / "rank.py"
    program.write_text(
        "import os, sys, torch, torch.distributed as dist\n"
        "dist.init_process_group('gloo')\n"
        "mine = torch.tensor([float(dist.get_rank() + 1)])\n"
        "dist.all_reduce(mine)\n"
        "open(os.path.join(sys.argv[1], str(dist.get_rank())), 'w').write(str(mine.item()))\n"
        "dist.destroy_process_group()\n"
    )
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    monkeypatch.setenv("NODE_RANK", "0")
    with follow(port) as other:
        with meeting.leading(Machine(0, "127.0.0.1", port), 1) as first:
            subprocess.run(rank_command(TWO, 2, [str(program), str(tmp_path)]), check=True, timeout=300)
            first.close(0)
        assert other.wait(60) == 0
    assert [(tmp_path / str(rank)).read_text() for rank in range(4)] == ["10.0"] * 4
