"""Which rank a process is: read from what torchrun or srun put into its environment, never guessed.

A batch script and an interactive allocation have SLURM_PROCID=0 and SLURM_NTASKS as well, without being a rank; only
srun sets SLURM_STEP_NUM_TASKS, so that is what counts.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from domadapt.errors import MissingError

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
STEP = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_STEP_TASKS_PER_NODE")
FIRST_PORT, PORTS = 20_000, 20_000


@dataclass(frozen=True)
class Place:
    """A process among all that train together.

    rank: 0 .. world_size - 1.  local_rank: number on its machine, and of its GPU.  local_world_size: processes of its
    machine.  master_addr, master_port: where they meet.
    """

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    master_addr: str
    master_port: int

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that speaks: rank 0 alone prints."""
        return self.rank == 0

    def as_environment(self) -> dict[str, str]:
        """The variables that torch.distributed reads (`init_method="env://"`)."""
        values = (
            self.rank,
            self.world_size,
            self.local_rank,
            self.local_world_size,
            self.master_addr,
            self.master_port,
        )
        return {name: str(value) for name, value in zip(TORCHRUN, values, strict=True)}


def expand_hosts(nodes: str) -> list[str]:
    """The machines of a Slurm node list ("node[01-04]"), by `scontrol show hostnames`, which knows its syntax.

    Raises MissingError when scontrol is not there or refuses the list.
    """
    command = ["scontrol", "show", "hostnames", nodes]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except FileNotFoundError as error:
        raise MissingError("scontrol is not on the PATH; set MASTER_ADDR to the first machine of the job") from error
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise MissingError(
            f"{' '.join(command)} failed ({error}); set MASTER_ADDR to the job's first machine"
        ) from error
    return done.stdout.split()


def read_place(environment: Mapping[str, str], hosts: Callable[[str], list[str]] = expand_hosts) -> Place | None:
    """Where this process stands, None when it is no rank.

    environment: of the process; torchrun's variables go before Slurm's.
    hosts: what expands a node list.
    Raises MissingError when the variables of a rank are there only in part, or are no numbers.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return _of_torchrun(environment)
    if "SLURM_STEP_NUM_TASKS" in environment and "SLURM_PROCID" in environment:
        return _of_srun(environment, hosts)
    return None


def job_port(job: str) -> int:
    """A port for a job: the same for all of its ranks, seldom that of another job on the same machine."""
    digits = re.match(r"[0-9]+", job)
    return FIRST_PORT + (int(digits[0]) if digits else 0) % PORTS


def _of_torchrun(environment: Mapping[str, str]) -> Place:
    return Place(
        _number(environment, "RANK"),
        _number(environment, "WORLD_SIZE"),
        _number(environment, "LOCAL_RANK"),
        _number(environment, "LOCAL_WORLD_SIZE"),
        _text(environment, "MASTER_ADDR"),
        _number(environment, "MASTER_PORT"),
    )


def _of_srun(environment: Mapping[str, str], hosts: Callable[[str], list[str]]) -> Place:
    address = environment.get("MASTER_ADDR") or hosts(_text(environment, "SLURM_STEP_NODELIST"))[0]
    given = "MASTER_PORT" in environment
    port = _number(environment, "MASTER_PORT") if given else job_port(_text(environment, "SLURM_JOB_ID"))
    node = _number(environment, "SLURM_NODEID")
    tasks = tasks_per_node(_text(environment, "SLURM_STEP_TASKS_PER_NODE"))
    if node >= len(tasks):
        raise MissingError(f"SLURM_NODEID is {node}, but SLURM_STEP_TASKS_PER_NODE names {len(tasks)} machines")
    return Place(
        _number(environment, "SLURM_PROCID"),
        _number(environment, "SLURM_STEP_NUM_TASKS"),
        _number(environment, "SLURM_LOCALID"),
        tasks[node],
        address,
        port,
    )


def tasks_per_node(text: str) -> list[int]:
    """Tasks of each machine from Slurm's short form: "8(x2),4" is 8, 8, 4. Raises MissingError for anything else."""
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]+)(?:\(x([0-9]+)\))?", part)
        if match is None:
            raise MissingError(f"SLURM_STEP_TASKS_PER_NODE is {text!r}; wanted counts such as 8(x2),4")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _text(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name)
    if not value:
        raise MissingError(f"this process is a rank, but {name} is not set; start it with torchrun or srun")
    return value


def _number(environment: Mapping[str, str], name: str) -> int:
    text = _text(environment, name)
    if not text.isdecimal():
        raise MissingError(f"{name} is {text!r}; a whole number is wanted")
    return int(text)
