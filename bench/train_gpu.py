"""Training on one GPU: adapt's torch and megatron trainers beside a plain loop, with the share of the GPU's peak.

    python bench/train_gpu.py            # 20 steps of each side, some minutes on one H100
    python bench/train_gpu.py --quick    # 5 steps

A random Llama of the 1B class (2,048 wide, 16 layers, 128,256 tokens, tied), windows of 4,096 random tokens, 16 a step
in passes of 4, bf16 products over float32 weights. The torch trainer compiles its layers, as one would on a GPU; the
plain loop does not. Every side is a process of its own, reads the same model and the same windows in the same order.

Equality comes first: losses of all sides agree to 0.05 nats at every step (kernels and roundings of bf16 differ). The
ratios are the share of the peak in the GPU's data sheet that model FLOPs reach (MFU, `adapt plan`'s count) of the torch
trainer, at least 0.45, and its speed over the plain loop's. Peak memory is what torch's allocator held at most. Without
a CUDA GPU it says so and ends with exit code 4.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from train import BETAS, DECAY, RATE, Clock, make_inputs, unequal

SEQ_LEN, ROWS, MICRO, WARM, STEPS, QUICK_STEPS = 4096, 16, 4, 5, 20, 5
LLAMA = {
    "vocab_size": 128_256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": SEQ_LEN,
    "tie_word_embeddings": True,
}
SIDES = ("torch", "megatron", "plain_loop")
LIMITS = {"mfu": 0.45, "plain_loop": 0.98}
TOLERANCE = 0.05


def ours(name: str, folder: Path, steps: int, clock: Clock) -> float:
    """One of adapt's backends, as a recipe runs it; the peak of the GPU's memory in bytes."""
    from domadapt.artifacts import Checkpoint, TokenStore
    from domadapt.builtin.training.megatron.backend import MegatronBackend, MegatronOptions
    from domadapt.builtin.training.torch_loop import TorchBackend, TorchOptions
    from domadapt.components import Stage, TrainRequest
    from domadapt.recipe.schema import Train

    def emit(kind: str, data: Any) -> None:
        if kind == "progress":
            clock.step()

    settings = Train.model_validate(
        {
            "batch_tokens": ROWS * SEQ_LEN,
            "micro_batch": MICRO,
            "lr": RATE,
            "schedule": "constant",
            "warmup": 0.0,
            "weight_decay": DECAY,
            "precision": "bf16",
            "eval_every": 10_000,
            "checkpoint_every": 10_000,
        }
    )
    out, scratch = folder / "out", folder / "scratch"
    for path in (out, scratch):
        path.mkdir()
    stage = Stage("train", "0" * 16, 0, name, lambda *_: {}, scratch, emit=emit)
    start, tokens = Checkpoint(folder.parent / "model"), TokenStore(folder.parent / "tokens")
    request = TrainRequest(start, tokens, settings, steps, ROWS)
    if name == "torch":
        TorchBackend(TorchOptions(num_processes=1, compile=True)).train(request, out, stage)
    else:
        MegatronBackend(MegatronOptions(data_parallel=1)).train(request, out, stage)
    lines = [json.loads(line) for line in (out / "training" / "metrics.jsonl").read_text().splitlines()]
    clock.losses = [line["loss"] for line in lines if "loss" in line]
    return float(stage.measured["device_peak_bytes"])


def plain_loop(folder: Path, steps: int, clock: Clock) -> float:
    """What one writes by hand; the peak of the GPU's memory in bytes."""
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM

    ids = np.fromfile(folder.parent / "tokens" / "train" / "domain.bin", np.int32)[: steps * ROWS * SEQ_LEN]
    windows = torch.from_numpy(ids.astype(np.int64)).view(steps, ROWS // MICRO, MICRO, SEQ_LEN)
    model = AutoModelForCausalLM.from_pretrained(folder.parent / "model", dtype=torch.float32).cuda().train()
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2]},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=BETAS, weight_decay=DECAY, fused=True)
    for step in windows:
        total = torch.zeros((), device="cuda")
        for rows in step:
            with torch.autocast("cuda", torch.bfloat16):
                there = rows.cuda()
                loss = model(input_ids=there, labels=there, use_cache=False).loss / len(step)
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        clock.step(total.item())
    return float(torch.cuda.max_memory_allocated())


def side(name: str, folder: Path, steps: int) -> None:
    """One side in this process; seconds of a step, losses and peak of memory go into result.json."""
    clock = Clock()
    peak = plain_loop(folder, steps, clock) if name == "plain_loop" else ours(name, folder, steps, clock)
    seconds = (clock.ends[-1] - clock.ends[WARM - 1]) / (steps - WARM)
    (folder / "result.json").write_text(json.dumps({"seconds": seconds, "losses": clock.losses, "peak": peak}))


def run(folder: Path, steps: int) -> dict[str, dict[str, Any]]:
    """All sides, one after the other, each in a process of its own."""
    found = {}
    for name in SIDES:
        work = folder / name
        work.mkdir()
        subprocess.run([sys.executable, __file__, "--side", name, str(work), str(steps)], check=True)
        found[name] = json.loads((work / "result.json").read_bytes())
        print(f"{name:<12} {ROWS * SEQ_LEN / found[name]['seconds']:,.0f} tokens/s", file=sys.stderr, flush=True)
    return found


def figures(folder: Path, found: dict[str, dict[str, Any]], gpu: str) -> dict[str, Any]:
    """Ratios, tokens a second, MFU and memory of all sides."""
    from domadapt.planning.devices import device_of
    from domadapt.planning.flops import flops_per_token
    from domadapt.planning.shapes import read_shape

    speeds = {name: ROWS * SEQ_LEN / side["seconds"] for name, side in found.items()}
    known, flops = device_of(gpu), flops_per_token(read_shape(folder / "model"), SEQ_LEN)
    mfu = {name: speed * flops / known.peak_flops for name, speed in speeds.items()} if known is not None else {}
    ratios = {**({"mfu": mfu["torch"]} if mfu else {}), "plain_loop": speeds["torch"] / speeds["plain_loop"]}
    return {
        "ratios": {name: round(value, 4) for name, value in ratios.items()},
        "met": {name: value >= LIMITS[name] for name, value in ratios.items()},
        "tokens_per_second": {name: round(value) for name, value in speeds.items()},
        "mfu": {name: round(value, 4) for name, value in mfu.items()},
        "peak_gpu_bytes": {name: round(side["peak"]) for name, side in found.items()},
    }


def main() -> None:
    """Run all sides, equality, then the figures."""
    if sys.argv[1:2] == ["--side"]:
        name, folder, count = sys.argv[2:]
        side(name, Path(folder), int(count))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("bench/train_gpu.py: no CUDA GPU here; bench/train.py measures on a CPU", file=sys.stderr)
        sys.exit(4)
    gpu, steps = torch.cuda.get_device_name(0), WARM + (QUICK_STEPS if options.quick else STEPS)
    with tempfile.TemporaryDirectory(prefix="bench-train-gpu-") as name:
        make_inputs(Path(name), steps, LLAMA, ROWS)
        found = run(Path(name), steps)
        wrong = unequal({side: result["losses"] for side, result in found.items()}, TOLERANCE)
        if wrong:
            print("not equal:", *wrong[:20], sep="\n  ")
        told = {} if wrong else figures(Path(name), found, gpu)
    packages = ["domadapt", "torch", "transformers", "megatron-core"]
    result = {
        "bench": "train_gpu",
        "quick": options.quick,
        "ratios": {},
        "limits": LIMITS,
        "equal": not wrong,
        **told,
        "batch": f"{ROWS} x {SEQ_LEN} tokens in passes of {MICRO}, bf16",
        "machine": f"{gpu}, {os.cpu_count()} CPUs",
        "transformer_engine": find_spec("transformer_engine") is not None,
        "versions": {name: version(name) for name in packages},
        "date": date.today().isoformat(),
    }
    print(json.dumps(result))
    sys.exit(0 if result["equal"] else 1)


if __name__ == "__main__":
    main()
