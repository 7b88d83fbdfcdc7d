"""`adapt launch`: run where the recipe says: here, on several machines, or as a job of a cluster."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from domadapt.cli.preparing import recipe_options
from domadapt.errors import OK, MissingError

if TYPE_CHECKING:
    from domadapt.recipe.schema import Launch

JOB = "launch.sbatch"


@click.command()
@recipe_options
@click.option("--print", "only_print", is_flag=True, help="Show the sbatch file or the commands, and do nothing.")
def command(
    recipe: Path | None,
    domain: str | None,
    merge: tuple[str, ...],
    overrides: tuple[str, ...],
    name: str | None,
    only_print: bool,
) -> int | None:
    """Run a recipe where its section `launch` says: here, on several machines, or as a job of a Slurm cluster.

    A job that is preempted or out of time saves its work, goes back into the queue and continues.

    `adapt launch my.yaml --print`
    `adapt launch my.yaml --set launch.executor=slurm --set launch.nodes=4 --set launch.gpus_per_node=8`
    """
    from domadapt.builtin.launching.commands import check_nodes
    from domadapt.cli.preparing import choose, runs_folder

    chosen = choose(recipe, domain, merge, overrides, name).recipe
    launch, called = chosen.launch, chosen.name or chosen.domain
    check_nodes(launch)
    arguments = _arguments(recipe, domain, merge, overrides, name)
    if launch.executor == "slurm":
        from domadapt.builtin.launching.sbatch import batch_script

        folder = runs_folder().absolute() / called
        program = [sys.executable, "-m", "domadapt", "run", *arguments]
        script = batch_script(launch, called, program, Path.cwd(), folder)
        click.echo(script, nl=False) if only_print else _submit(script, folder)
        return None
    if only_print:
        click.echo("\n".join(_commands(launch, arguments)))
        return None
    return _work_here(launch, recipe, domain, merge, overrides, name)


def _work_here(
    launch: Launch,
    recipe: Path | None,
    domain: str | None,
    merge: Sequence[str],
    overrides: Sequence[str],
    name: str | None,
) -> int | None:
    """`adapt run` on the first machine; on the others, their part of the training."""
    from domadapt.builtin.launching import meeting
    from domadapt.builtin.launching.commands import torchrun
    from domadapt.cli.preparing import prepare
    from domadapt.cli.run import execute

    if launch.nodes == 1:
        return execute(prepare(recipe, domain, merge, overrides, name), [])
    machine = meeting.this_machine(launch, os.environ)
    if machine.number > 0:
        return meeting.join(machine, torchrun(launch, os.environ))
    with meeting.leading(machine, launch.nodes - 1) as others:
        code = execute(prepare(recipe, domain, merge, overrides, name), [])
        others.close(code or OK)
        return code


def _arguments(
    recipe: Path | None, domain: str | None, merge: Sequence[str], overrides: Sequence[str], name: str | None
) -> list[str]:
    """The arguments of `adapt run` that say the same."""
    given = [str(recipe)] if recipe is not None else []
    given += ["--domain", domain] if domain is not None else []
    given += [part for method in merge for part in ("--merge", method)]
    given += [part for override in overrides for part in ("--set", override)]
    return [*given, *(["--name", name] if name is not None else [])]


def _commands(launch: Launch, arguments: Sequence[str]) -> list[str]:
    """What to type on each machine."""
    if launch.nodes == 1:
        return [shlex.join(["adapt", "run", *arguments])]
    typed = shlex.join(["adapt", "launch", *arguments])
    return [
        f"# on each of {launch.nodes} machines, in a folder that all of them see",
        *(f"MASTER_ADDR=FIRST_MACHINE MASTER_PORT=29500 NODE_RANK={n} {typed}" for n in range(launch.nodes)),
    ]


def _submit(script: str, folder: Path) -> None:
    """Write the job's file into the run's folder and hand it to sbatch."""
    from domadapt.pipeline.store import write_file

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / JOB
    write_file(file, script.encode())
    try:
        done = subprocess.run(["sbatch", "--parsable", str(file)], capture_output=True, text=True, timeout=120)
    except FileNotFoundError as error:
        raise MissingError(f"sbatch is not on the PATH; {file} is written, submit it where Slurm is") from error
    except subprocess.TimeoutExpired as error:
        raise MissingError(f"sbatch did not answer within 120 s; {file} is written") from error
    if done.returncode:
        raise MissingError(f"sbatch refused {file}: {' '.join(done.stderr.split())}")
    job = done.stdout.strip().partition(";")[0]
    click.echo(f"job {job}  {file}\nlog  {folder / f'slurm-{job}.out'}")
