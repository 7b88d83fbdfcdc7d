"""The nemo training backend: a job for nemo-toolkit 2.7.3, run in its own environment, and its result brought back.

nemo-toolkit 2.7.3 is the last with the LLM collection. It wants transformers 4 and numpy 1, adapt wants 5 and 2, so the
two never share a process: what passes between them are folders.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from domadapt.components import NO_EFFECT, Options, Stage, TrainingBackend, TrainRequest
from domadapt.errors import Interrupted, MissingError, StageError

if TYPE_CHECKING:
    from domadapt.recipe.schema import Launch

JOB, OUTPUT = "job", "nemo.log"
POLL_SECONDS = 1.0


class NemoOptions(Options):
    """Options of the nemo backend. It needs an interpreter or a container in which nemo-toolkit 2.7.3 works."""

    python: str | None = Field(None, min_length=1, json_schema_extra=NO_EFFECT)
    """Interpreter of an environment made from requirements/nemo.txt."""
    container: str | None = Field(None, min_length=1)
    """Image instead: run by docker on this machine, by srun (pyxis) in a Slurm job."""
    run: Literal["now", "print"] = Field("now", json_schema_extra=NO_EFFECT)
    """now: run the job. print: write it, say the command, and stop; once it has run, the same command goes on."""
    tensor_parallel: int = Field(1, ge=1, json_schema_extra=NO_EFFECT)
    """Ranks that share every layer; divides the model's key-value heads."""
    pipeline_parallel: int = Field(1, ge=1, json_schema_extra=NO_EFFECT)
    """Ranks that have the layers one after the other; divides the number of layers."""
    gradient_checkpointing: bool = Field(False, json_schema_extra=NO_EFFECT)
    """Recompute activations in the backward pass: about a third more time for much less memory."""


class NemoBackend(TrainingBackend):
    """Training of Llama models with NVIDIA NeMo 2.7.3, launched in its own environment."""

    name: ClassVar[str] = "nemo"
    Config: ClassVar[type[Options]] = NemoOptions
    caveat: ClassVar[str] = (
        "the job is generated and its data read in a NeMo environment without GPU; no training with NeMo has ever run"
    )

    def requirements(self) -> list[str]:
        """What is missing to run the job."""
        options: NemoOptions = self.config
        if options.run == "print":
            return []
        if (options.python is None) == (options.container is None):
            return [
                "name train.options.python (an environment made from requirements/nemo.txt) or "
                "train.options.container; or set train.options.run: print"
            ]
        if options.python is not None and not Path(options.python).is_file():
            return [f"train.options.python: there is no interpreter {options.python}"]
        return []

    def train(self, request: TrainRequest, out: Path, stage: Stage) -> dict[str, Any]:
        """Write the job into the scratch folder, run it, and bring its model back."""
        from domadapt.builtin.training.nemo.job import COMMANDS, read_result, write_job
        from domadapt.builtin.training.nemo.returning import bring_back
        from domadapt.builtin.training.torch_run import check_vocabulary

        options: NemoOptions = self.config
        folder = stage.scratch / JOB
        result = read_result(folder)
        if result is None or result["status"] != "done":
            check_vocabulary(request)
            write_job(folder, request, options, _gpus(request.launch), stage.seed)
            if options.run == "print":
                raise Interrupted(
                    f"train: the job is written; run `bash {folder / COMMANDS}` where NeMo is, bring result.json and "
                    "export back with it, then run the same command again"
                )
            result = _run(folder, request, stage)
        return bring_back(folder, result, request, out, stage)


def _gpus(launch: Launch | None) -> int:
    """GPUs of each machine. Raises MissingError when there are none or more machines than one without Slurm."""
    import torch

    if launch is not None and launch.nodes > 1 and launch.executor != "slurm":
        raise MissingError("train: the nemo backend spreads over several machines with launch.executor: slurm only")
    count = launch.gpus_per_node if launch is not None else None
    count = torch.cuda.device_count() if count is None else count
    if not count:
        raise MissingError(
            "train: NeMo trains on GPUs, and there are none; set launch.gpus_per_node for another machine"
        )
    return count


def _run(folder: Path, request: TrainRequest, stage: Stage) -> dict[str, Any]:
    """Run launch.sh to its end and read its result; what the training writes is shown as progress."""
    from domadapt.builtin.training.nemo.job import COMMANDS, read_result

    (folder / "result.json").unlink(missing_ok=True)
    with (folder / OUTPUT).open("ab") as log:
        process = subprocess.Popen(
            ["bash", str(folder / COMMANDS)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _watch(process, folder, request, stage)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    result = read_result(folder)
    if result is not None and result["status"] == "done":
        return result
    if result is not None or stage.stop_requested():
        raise Interrupted("train: stopped, saved by NeMo; run the same command to continue")
    lines = (folder / OUTPUT).read_text(errors="replace").strip().splitlines()
    told = lines[-1] if lines else "it wrote nothing"
    raise StageError(
        f"train: NeMo ended with code {process.returncode} and without a result: {told} (all of it: {folder / OUTPUT})"
    )


def _watch(process: subprocess.Popen[bytes], folder: Path, request: TrainRequest, stage: Stage) -> None:
    """Until the job has ended; a request to stop is handed on once."""
    told, read = False, 0
    metrics = folder / "metrics.jsonl"
    while process.poll() is None:
        if stage.stop_requested() and not told:
            told = True
            os.killpg(process.pid, signal.SIGTERM)
        text = metrics.read_text() if metrics.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        for line in map(json.loads, whole[read:].splitlines()):
            if "loss" in line:
                shown = {"loss": round(line["loss"], 3), "tokens": line["tokens"]}
                stage.progress(line["step"], request.num_steps, "steps", **shown)
        read = len(whole)
        time.sleep(POLL_SECONDS)
