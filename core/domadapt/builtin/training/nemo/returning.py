"""What a job brings back: a Hugging Face folder that is the start model's with other weights, and the curves."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

from domadapt.artifacts import TOKENIZER_FILES
from domadapt.components import Stage, TrainRequest
from domadapt.errors import StageError

METRICS = Path("training") / "metrics.jsonl"


def bring_back(folder: Path, result: dict[str, Any], request: TrainRequest, out: Path, stage: Stage) -> dict[str, Any]:
    """Check the exported model against the start model and write it into `out`; return facts.

    Config and tokenizer are the start's: NeMo writes down less than it was given.
    Raises StageError when steps are missing, a tensor is missing, left over or of another shape, or a value is not
    finite.
    """
    from domadapt.builtin.models.weights import tensor_shapes
    from domadapt.builtin.training.probing import stability_facts

    if result.get("steps") != request.num_steps:
        raise StageError(f"train: NeMo's result is of {result.get('steps')} steps, {request.num_steps} were asked for")
    export = folder / str(result["hf_dir"])
    wanted, got = tensor_shapes(request.start.path), tensor_shapes(export)
    if wanted != got:
        differing = sorted(name for name in wanted.keys() | got.keys() if wanted.get(name) != got.get(name))
        raise StageError(
            f"train: the model that NeMo brought back is another one; {differing[0]} has shape "
            f"{got.get(differing[0])}, the start model's {wanted.get(differing[0])} ({len(differing)} tensors differ)"
        )
    dtype = _copy_weights(export, out)
    config = json.loads((request.start.path / "config.json").read_bytes())
    (out / "config.json").write_text(json.dumps({**config, "dtype": dtype}, indent=2, sort_keys=True) + "\n")
    for name in (*TOKENIZER_FILES, "generation_config.json"):
        if (request.start.path / name).is_file():
            shutil.copyfile(request.start.path / name, out / name)
    lines = merged_lines((folder / str(result["metrics"])).read_text())
    (out / METRICS).parent.mkdir()
    (out / METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {
        "steps": request.num_steps,
        "tokens": request.num_steps * request.samples_per_step * request.tokens.facts["seq_len"],
        "parameters": sum(math.prod(shape) for shape in got.values()),
        "dtype": dtype,
        "device": "cuda",
        "nemo": result.get("nemo", ""),
        "stability": stability_facts(lines),
    }


def _copy_weights(export: Path, out: Path) -> str:
    """Copy the safetensors files, tensor by tensor looked at; the type of the weights."""
    import torch
    from safetensors import safe_open

    dtypes = set()
    for file in sorted(export.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - safe_open is no mapping
                tensor = tensors.get_tensor(name)
                dtypes.add(str(tensor.dtype).removeprefix("torch."))
                if not bool(torch.isfinite(tensor).all()):
                    raise StageError(f"train: {name} has values that are not finite; lower train.lr")
        shutil.copyfile(file, out / file.name)
    index = export / "model.safetensors.index.json"
    if index.is_file():
        shutil.copyfile(index, out / index.name)
    if len(dtypes) != 1:
        raise StageError(f"train: NeMo brought back weights of several types: {', '.join(sorted(dtypes))}")
    return dtypes.pop()


def merged_lines(text: str) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl in the order of steps, each once: those after a checkpoint are written again."""
    lines: dict[tuple[int, bool], dict[str, Any]] = {}
    for line in map(json.loads, text.splitlines()):
        lines[line["step"], "loss" not in line] = line
    return [lines[key] for key in sorted(lines)]
