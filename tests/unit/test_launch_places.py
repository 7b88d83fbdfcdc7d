"""Ranks read where they are from torchrun's and Slurm's variables, and a batch script is none."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from domadapt.builtin.launching.places import Place, expand_hosts, job_port, read_place, tasks_per_node
from domadapt.errors import MissingError

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "29500",
}
BATCH = {  # what sbatch gives to the script
    "SLURM_JOB_ID": "4242",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_NTASKS": "16",
    "SLURM_JOB_NODELIST": "gpu[07-08]",
}
STEP = BATCH | {  # and srun to each of its tasks
    "SLURM_STEP_ID": "1",
    "SLURM_STEP_NUM_TASKS": "16",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_STEP_TASKS_PER_NODE": "8(x2)",
    "SLURM_PROCID": "11",
    "SLURM_LOCALID": "3",
    "SLURM_NODEID": "1",
}


def two_hosts(nodes: str) -> list[str]:
    assert nodes == "gpu[07-08]"
    return ["gpu07", "gpu08"]


def no_hosts(nodes: str) -> list[str]:
    raise AssertionError("the node list must not be asked for")


def test_torchruns_variables_are_taken_as_they_are() -> None:
    assert read_place(TORCHRUN, no_hosts) == Place(5, 8, 1, 4, "10.0.0.1", 29500)


def test_a_task_of_srun_reads_slurms_variables() -> None:
    assert read_place(STEP, two_hosts) == Place(11, 16, 3, 8, "gpu07", 24242)


def test_what_the_job_exported_goes_before_the_node_list() -> None:
    place = read_place(STEP | {"MASTER_ADDR": "gpu07.cluster", "MASTER_PORT": "31000"}, no_hosts)
    assert place is not None
    assert (place.master_addr, place.master_port) == ("gpu07.cluster", 31000)


def test_torchrun_inside_a_step_of_srun_goes_before_slurm() -> None:
    place = read_place(STEP | TORCHRUN, no_hosts)
    assert place is not None
    assert (place.rank, place.world_size) == (5, 8)


@pytest.mark.parametrize("environment", [{}, BATCH, {"SLURM_NTASKS": "16"}, {"WORLD_SIZE": "8"}])
def test_a_process_outside_of_a_step_is_no_rank(environment: Mapping[str, str]) -> None:
    assert read_place(environment, no_hosts) is None


@pytest.mark.parametrize("name", ["LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"])
def test_a_variable_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(MissingError, match=f"{name} is not set; start it with torchrun or srun"):
        read_place({k: v for k, v in TORCHRUN.items() if k != name})


def test_a_variable_that_is_no_number_is_named() -> None:
    with pytest.raises(MissingError, match="RANK is 'first'; a whole number is wanted"):
        read_place(TORCHRUN | {"RANK": "first"})


def test_uneven_machines_have_their_own_numbers_of_ranks() -> None:
    place = read_place(STEP | {"SLURM_STEP_TASKS_PER_NODE": "8,3"}, two_hosts)
    assert place is not None
    assert place.local_world_size == 3
    with pytest.raises(MissingError, match="SLURM_NODEID is 1, but SLURM_STEP_TASKS_PER_NODE names 1 machines"):
        read_place(STEP | {"SLURM_STEP_TASKS_PER_NODE": "16"}, two_hosts)


def test_slurms_short_form_of_counts() -> None:
    assert tasks_per_node("8(x2),4") == [8, 8, 4]
    assert tasks_per_node("1") == [1]
    with pytest.raises(MissingError, match=r"'8x2'; wanted counts such as 8\(x2\),4"):
        tasks_per_node("8x2")


def test_jobs_have_ports_of_their_own() -> None:
    assert job_port("4242") == 24242
    assert job_port("1234567") == 34567
    assert job_port("4242") != job_port("4243")


def test_the_place_is_what_torch_distributed_reads() -> None:
    place = read_place(STEP, two_hosts)
    assert place is not None
    assert read_place(place.as_environment(), no_hosts) == place
    assert not place.is_first


def test_hosts_come_from_scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "scontrol"
    fake.write_text('#!/bin/sh\n[ "$*" = "show hostnames gpu[07-08]" ] || exit 1\necho gpu07; echo gpu08\n')
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert expand_hosts("gpu[07-08]") == ["gpu07", "gpu08"]
    with pytest.raises(MissingError, match=r"scontrol show hostnames other failed .* set MASTER_ADDR"):
        expand_hosts("other")


def test_without_scontrol_the_way_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="scontrol is not on the PATH; set MASTER_ADDR"):
        expand_hosts("gpu[07-08]")


@pytest.mark.slow
def test_real_torchrun_gives_what_is_read(tmp_path: Path) -> None:
    program = tmp_path / "rank.py"
    program.write_text(
        "import json, os, sys\n"
        "from domadapt.builtin.launching.places import read_place\n"
        "place = read_place(os.environ)\n"
        "open(os.path.join(sys.argv[1], f'{place.rank}.json'), 'w').write(json.dumps(place.as_environment()))\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*command, str(program), str(tmp_path)], check=True, capture_output=True, timeout=300)
    places = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert [place["RANK"] for place in places] == ["0", "1"]
    assert {place["WORLD_SIZE"] for place in places} == {"2"}
    assert places[0]["MASTER_PORT"] == places[1]["MASTER_PORT"]
