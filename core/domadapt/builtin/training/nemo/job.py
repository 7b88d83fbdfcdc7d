"""The job directory: everything that a training with NeMo needs, and nothing of adapt.

data/       the token store's windows (.bin/.idx), their order, where documents end, the rate of every step
init/       the start model, readable by transformers 4
job.json    the resolved numbers     run_nemo.py  what NeMo runs     launch.sh  the commands, each step once
result.json written there: {status: done | interrupted, hf_dir, steps, tokens, metrics}
It can be carried to another machine and back; nothing in it names a place.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.builtin.training.nemo.handover import model_arguments, write_for_transformers_4
from domadapt.errors import DataError
from domadapt.pipeline.store import link_or_copy

if TYPE_CHECKING:
    from domadapt.builtin.training.nemo.backend import NemoOptions
    from domadapt.components import TrainRequest
    from domadapt.recipe.schema import Launch

SCRIPT, COMMANDS, NUMBERS = "run_nemo.py", "launch.sh", "job.json"
MOUNT = "/job"
"""Where a container sees the job."""


def write_job(folder: Path, request: TrainRequest, options: NemoOptions, gpus: int, seed: int) -> None:
    """Fill `folder`; what an earlier attempt trained there stays.

    gpus: of each machine.  Raises DataError for what NeMo cannot do as adapt means it.
    """
    settings, tokens = request.settings, request.tokens
    if settings.document_mask:
        raise DataError("train: the nemo backend knows no train.document_mask; set it to false, or another backend")
    config = write_for_transformers_4(request.start, folder / "init")
    parts = [part["name"] for part in tokens.plan["parts"]]
    if parts != tokens.sides:
        raise DataError("train: the nemo backend knows no mix.sources; leave them out, or take another backend")
    _write_data(folder / "data", request, parts)
    nodes = request.launch.nodes if request.launch is not None else 1
    ranks = options.tensor_parallel * options.pipeline_parallel
    if (gpus * nodes) % ranks:
        raise DataError(
            f"train: {gpus * nodes} GPUs cannot be divided by {ranks} ranks of tensor and pipeline parallelism"
        )
    copies = gpus * nodes // ranks
    if request.samples_per_step % (copies * settings.micro_batch):
        raise DataError(
            f"train: {request.samples_per_step} windows a step cannot be divided among {copies} copies of the model in "
            f"micro-batches of {settings.micro_batch}; change train.batch_tokens or train.micro_batch"
        )
    numbers = {
        "model": model_arguments(config, tokens.facts["seq_len"]),
        "parts": parts,
        "seq_len": tokens.facts["seq_len"],
        "num_steps": request.num_steps,
        "samples_per_step": request.samples_per_step,
        "micro_batch": settings.micro_batch,
        "lr": settings.lr,
        "weight_decay": settings.weight_decay,
        "beta1": settings.beta1,
        "beta2": settings.beta2,
        "clip": settings.clip,
        "bf16": settings.precision == "bf16",
        "checkpoint_every": settings.checkpoint_every,
        "eval_every": settings.eval_every,
        "held_out_windows": _held_out(tokens.facts["windows"]["selection"][parts[0]], request),
        "tensor_parallel": options.tensor_parallel,
        "pipeline_parallel": options.pipeline_parallel,
        "recompute": options.gradient_checkpointing,
        "nodes": nodes,
        "gpus_per_node": gpus,
        "seed": seed,
    }
    (folder / NUMBERS).write_text(json.dumps(numbers, indent=2, sort_keys=True) + "\n")
    shutil.copyfile(Path(__file__).with_name(SCRIPT), folder / SCRIPT)
    (folder / COMMANDS).write_text(commands(options, request.launch, gpus))


def _write_data(folder: Path, request: TrainRequest, parts: Sequence[str]) -> None:
    """Windows are linked, not copied; the order is cut to the samples that are trained on."""
    import numpy as np

    from domadapt.builtin.training.schedule import rate_of, starting_rate

    for split in ("train", "selection"):
        (folder / split).mkdir(parents=True, exist_ok=True)
        for part in parts:
            for suffix in (".bin", ".idx", ".documents.npy"):
                link_or_copy(request.tokens.path / split / f"{part}{suffix}", folder / split / f"{part}{suffix}")
    order = request.tokens.order()[: request.num_steps * request.samples_per_step]
    np.save(folder / "order.npy", np.asarray(order, dtype=np.int64))
    start = starting_rate(request.settings, request.start)
    rates = [rate_of(request.settings, step, request.num_steps, start) for step in range(request.num_steps)]
    np.save(folder / "rates.npy", np.array(rates))


def _held_out(windows: int, request: TrainRequest) -> int:
    """The most held-out windows that divide a step's samples: NeMo measures whole steps, and saves the last so."""
    if not windows:
        raise DataError("train: the domain's held-out split has no window, NeMo needs one; raise corpus.holdout")
    most = min(windows, request.settings.eval_windows, request.samples_per_step)
    return next(n for n in range(most, 0, -1) if request.samples_per_step % n == 0)


def commands(options: NemoOptions, launch: Launch | None, gpus: int) -> str:
    """The text of launch.sh: import, train, export."""
    slurm = launch is not None and launch.executor == "slurm"
    program = ["python", SCRIPT] if options.container else [options.python or "python", SCRIPT]
    if slurm:
        assert launch is not None
        box = _pyxis(options)
        one = ["srun", "--nodes=1", "--ntasks=1", *_gpus(1 if gpus else 0), *box]
        many = ["srun", f"--nodes={launch.nodes}", f"--ntasks-per-node={gpus}", *_gpus(gpus), "--kill-on-bad-exit=1"]
        many += [*launch.options.srun, *box]
        train = [*many, *program]
    else:
        one = _docker(options)
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}"]
        torchrun += ["--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1", "--shutdown-timeout=600"]
        train = [*one, program[0], *torchrun, SCRIPT]
    return "\n".join(
        [
            "#!/bin/bash",
            "# Continual pre-training with nemo-toolkit 2.7.3. Each step is skipped when it is done; again: continues.",
            "set -eu",
            'cd "$(dirname "$0")"',
            "export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false",
            "trap : TERM USR1  # the training saves and ends by itself",
            f"{_shell([*one, *program])} import",
            f"{_shell(train)} train",
            f"{_shell([*one, *program])} export",
            "",
        ]
    )


def _gpus(count: int) -> list[str]:
    return [f"--gpus-per-node={count}"] if count else []


def _docker(options: NemoOptions) -> list[str]:
    if not options.container:
        return []
    shared = ["--rm", "--gpus=all", "--ipc=host", "--network=host", "--env=HF_HUB_OFFLINE"]
    return ["docker", "run", *shared, f"--volume=$PWD:{MOUNT}", f"--workdir={MOUNT}", options.container]


def _pyxis(options: NemoOptions) -> list[str]:
    if not options.container:
        return []
    return [
        f"--container-image={options.container}",
        f"--container-mounts=$PWD:{MOUNT}",
        f"--container-workdir={MOUNT}",
    ]


def _shell(command: Sequence[str]) -> str:
    """A command line; $PWD is the shell's to fill in."""
    return " ".join(f'"{word}"' if word.count("$PWD") else shlex.quote(word) for word in command)


def read_result(folder: Path) -> dict[str, Any] | None:
    """result.json, None when the job wrote none. Raises DataError when it is not what was agreed."""
    file = folder / "result.json"
    if not file.is_file():
        return None
    try:
        result = json.loads(file.read_bytes())
        status = result["status"]
        if status not in ("done", "interrupted"):
            raise ValueError(f"status is {status!r}")
        if status == "done" and not (folder / result["hf_dir"] / "config.json").is_file():
            raise ValueError(f"there is no model in {result['hf_dir']}")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: is not the result of a job ({error}); delete it and run again") from error
    return dict(result)
