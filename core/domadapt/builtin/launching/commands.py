"""The command that starts the ranks of a training, from inside the training's stage.

Under Slurm it is srun alone: srun hands signals on to every rank, so that all of them save before a preemption. A
torchrun in between would be one more process that can die of a signal first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from domadapt.builtin.launching import meeting
from domadapt.errors import MissingError
from domadapt.recipe.schema import Launch

SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
"""What torchrun hands on to the ranks; without being told, it dies of SIGUSR1 and leaves them behind."""


def rank_command(
    launch: Launch,
    ranks_per_node: int,
    program: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> list[str]:
    """The command whose processes are the ranks of this machine or job; each finds its place with `read_place`.

    program: what follows the interpreter: ["-m", "package.module", "argument"].  environment: of this process: which
    machine of several this is, or which job.
    Where the ranks are spread over several machines without a scheduler, the others are told to start theirs.
    Raises MissingError when the executor's surroundings are not there.
    """
    environment = os.environ if environment is None else environment
    if launch.executor == "slurm":
        return _srun(launch, ranks_per_node, [python, *program], environment)
    check_nodes(launch)
    if launch.nodes > 1:
        meeting.announce([f"--nproc-per-node={ranks_per_node}", *program])
    return [*torchrun(launch, environment, python), f"--nproc-per-node={ranks_per_node}", *program]


def torchrun(launch: Launch, environment: Mapping[str, str], python: str = sys.executable) -> list[str]:
    """torchrun for this machine, to which --nproc-per-node and the program are appended.

    Raises MissingError when it is one of several and does not know which.
    """
    # ranks save when they are told to end, and torchrun's 30 s are too short for that
    command = [python, "-m", "torch.distributed.run"]
    command += [f"--signals-to-handle={SIGNALS}", f"--shutdown-timeout={launch.options.grace}"]
    if launch.nodes == 1:
        return [*command, "--standalone"]
    machine = meeting.this_machine(launch, environment)
    where = [f"--node-rank={machine.number}", f"--master-addr={machine.address}", f"--master-port={machine.port}"]
    return [*command, f"--nnodes={launch.nodes}", *where]


def check_nodes(launch: Launch) -> None:
    """Raises MissingError when the recipe wants several machines of an executor that knows one."""
    if launch.nodes > 1 and launch.executor == "local":
        raise MissingError(
            f"launch.nodes is {launch.nodes}, but launch.executor is local, which is this machine; "
            "set launch.executor to torchrun or slurm"
        )


def _srun(launch: Launch, ranks_per_node: int, program: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    if not environment.get("SLURM_JOB_ID"):
        raise MissingError(
            "launch.executor is slurm, but this is no Slurm job (SLURM_JOB_ID is not set); "
            "`adapt launch` submits one, --set launch.executor=local works here"
        )
    return [
        "srun",
        f"--nodes={launch.nodes}",
        f"--ntasks-per-node={ranks_per_node}",
        *([f"--gpus-per-node={launch.gpus_per_node}"] if launch.gpus_per_node else []),
        "--kill-on-bad-exit=1",
        *launch.options.srun,
        *program,
    ]
