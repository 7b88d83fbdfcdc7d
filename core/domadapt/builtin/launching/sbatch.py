"""The job of a Slurm cluster: a file that runs `adapt run`, hands on the signal to save, and goes back into the queue.

All stages but the training work on the job's first machine; the training starts its ranks with srun. Nothing of the
state is in the job: the same file submitted again continues.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from domadapt.errors import INTERRUPTED, UsageError
from domadapt.recipe.schema import Launch


def batch_script(launch: Launch, name: str, command: Sequence[str], work_folder: Path, run_folder: Path) -> str:
    """The text of the sbatch file.

    name: of the job.  command: what runs, `adapt run ...`.  work_folder: where it runs.  run_folder: of the run, where
    the log goes.
    Raises UsageError when the recipe does not say how many GPUs a machine gives.
    """
    if launch.gpus_per_node is None:
        raise UsageError("launch.gpus_per_node: say how many GPUs of each machine the job wants (0 for none)")
    return "\n".join([*_directives(launch, name, run_folder), "", *_body(launch, command, work_folder)]) + "\n"


def _directives(launch: Launch, name: str, run_folder: Path) -> Iterator[str]:
    options, gpus = launch.options, launch.gpus_per_node
    wanted: list[tuple[str, str | int | None]] = [
        ("job-name", name),
        ("partition", options.partition),
        ("account", options.account),
        ("nodes", launch.nodes),
        ("ntasks-per-node", gpus or None),
        ("gpus-per-node", gpus or None),
        ("cpus-per-task", options.cpus_per_task),
        ("time", options.time),
        ("signal", f"B:USR1@{options.grace}"),
        ("open-mode", "append"),
        ("output", _quoted(f"{run_folder}/slurm-%j.out")),
    ]
    yield "#!/bin/bash"
    yield from (f"#SBATCH --{key}={value}" for key, value in wanted if value is not None)
    yield "#SBATCH --requeue" if options.requeue else "#SBATCH --no-requeue"
    yield from (f"#SBATCH {line}" for line in options.sbatch)


def _quoted(path: str) -> str:
    """A path for a directive: sbatch reads quotes, and % as the beginning of a pattern."""
    folder, _, file = path.rpartition("/")
    text = f"{folder.replace('%', '%%')}/{file}"
    return f'"{text}"' if any(c.isspace() for c in text) else text


def _body(launch: Launch, command: Sequence[str], work_folder: Path) -> Iterator[str]:
    yield f"cd {shlex.quote(str(work_folder))} || exit 4"
    yield from launch.options.setup
    yield ""
    yield "# where the ranks of the training meet"
    yield 'export MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"'
    yield 'export MASTER_PORT="$((20000 + SLURM_JOB_ID % 20000))"'
    if launch.options.cpus_per_task is not None:
        yield 'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"  # srun does not take it over by itself'
    yield ""
    yield f"{shlex.join(command)} &"
    yield "adapt=$! code=0"
    yield f"# USR1 comes to this script alone, {launch.options.grace} s before the end: save. TERM comes to everything"
    yield """trap 'told=1; kill -USR1 "$adapt" 2>/dev/null' USR1"""
    yield "trap told=1 TERM"
    yield "# a signal ends `wait` before the process has ended; 127: its code is known already"
    yield 'while told=; wait "$adapt"; now=$?; [ "$now" -ne 127 ] && code=$now; [ -n "$told" ]; do :; done'
    if launch.options.requeue:
        yield f"# {INTERRUPTED}: stopped, and saved; the job goes back into the queue and continues"
        yield f'if [ "$code" -eq {INTERRUPTED} ]; then scontrol requeue "$SLURM_JOB_ID" && exit 0; fi'
    yield 'exit "$code"'
