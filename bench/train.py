"""Training speed: adapt's torch trainer against Hugging Face's Trainer and a plain loop, on one model and batch.

    python bench/train.py            # 4 rounds of 12 steps, under 10 minutes on two cores
    python bench/train.py --quick    # 1 round of 6 steps, under 3 minutes

A random Llama of 10 M parameters (vocabulary 8,192), windows of 512 random tokens, 8 of them a step, bf16 autocast over
float32 weights, AdamW with decay on matrices, gradients clipped to 1. Every side is a process of its own in every
round, reads the same model and the same windows in the same order, and logs its loss at every step. A step's time runs
from the end of the step before to its own end; the first two do not count. The Trainer is a dependency of adapt
(transformers and accelerate), so no environment is made.

Equality comes first: in float32 the losses of three steps agree to 1e-4, in bf16 those of all timed steps to 0.02.
Ratios: tokens a second over those of `hf_trainer` and `plain_loop`, by medians of all timed steps. `matmul_share` is
the share that each side's model FLOPs are of a matrix product's speed measured in the same round. The last line is one
JSON object; exit code 1 when the sides are not equal.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from pipeline import cpu_name, known, measure

SEQ_LEN, ROWS, WARM, VOCABULARY = 512, 8, 2, 8192
FULL, QUICK = (4, 12), (1, 6)
"""Rounds, and timed steps of each side in a round."""
SIDES = ("adapt", "hf_trainer", "plain_loop")
EXACT_STEPS, EXACT_TOLERANCE, BF16_TOLERANCE = 3, 1e-4, 0.02
LIMITS = {"hf_trainer": 1.1, "plain_loop": 0.98}
RATE, DECAY, BETAS = 1e-4, 0.1, (0.9, 0.95)
PACKAGES = ("domadapt", "torch", "transformers", "accelerate", "numpy")
LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 320,
    "intermediate_size": 896,
    "num_hidden_layers": 6,
    "num_attention_heads": 5,
    "num_key_value_heads": 5,
    "max_position_embeddings": SEQ_LEN,
    "tie_word_embeddings": True,
}


def make_inputs(folder: Path, steps: int, llama: dict[str, Any] = LLAMA, rows: int = ROWS) -> None:
    """A random model in float32 with a tokenizer, and a token store of `steps` times `rows` random windows.

    llama: the model's config; a window is as long as its positions go.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from domadapt.artifacts import Checkpoint
    from domadapt.builtin.tokens.tokenizer import DocumentTokenizer
    from domadapt.pipeline.store import publish
    from domadapt.testing.models import write_byte_tokenizer

    seq_len, vocabulary = llama["max_position_embeddings"], llama["vocab_size"]
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**llama)).save_pretrained(folder / "model")
    write_byte_tokenizer(folder / "model", context=seq_len)
    work = folder / "tokens.partial"
    (work / "train").mkdir(parents=True)
    (work / "selection").mkdir()
    count, dtype = steps * rows, np.dtype(np.uint16 if vocabulary < 65_500 else np.int32)
    ids = np.random.default_rng(0).integers(0, vocabulary, (count, seq_len)).astype(dtype)
    ids.tofile(work / "train" / "domain.bin")
    (work / "selection" / "domain.bin").touch()
    np.save(work / "train" / "domain.documents.npy", np.array([[0, count * seq_len]]))
    np.save(work / "order.npy", np.stack([np.zeros(count, np.int64), np.arange(count)], 1))
    (work / "plan.json").write_text(json.dumps({"parts": [{"name": "domain"}]}))
    tokenizer = DocumentTokenizer(Checkpoint(folder / "model"))
    facts = {
        "seq_len": seq_len,
        "dtype": dtype.name,
        "vocab_size": tokenizer.vocab_size,
        "tokenizer": tokenizer.digest(),
        "windows": {"train": {"domain": count}, "selection": {"domain": 0}},
    }
    publish(work, folder / "tokens", {"kind": "tokens", "facts": facts})


class Clock:
    """Ends of steps, and their losses."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.losses: list[float] = []

    def step(self, loss: float | None = None) -> None:
        """A step has ended."""
        self.ends.append(time.perf_counter())
        if loss is not None:
            self.losses.append(loss)


def adapt(folder: Path, steps: int, precision: str, clock: Clock) -> None:
    """The trainer as a recipe runs it: metrics, progress, checks of every step; nothing is saved within these steps."""
    from domadapt.artifacts import Checkpoint, TokenStore
    from domadapt.builtin.training.torch_loop import TorchBackend, TorchOptions
    from domadapt.components import Stage, TrainRequest
    from domadapt.recipe.schema import Train

    def emit(kind: str, data: Any) -> None:
        if kind == "progress":
            clock.step()

    settings = Train.model_validate(
        {
            "batch_tokens": ROWS * SEQ_LEN,
            "micro_batch": ROWS,
            "lr": RATE,
            "schedule": "constant",
            "warmup": 0.0,
            "weight_decay": DECAY,
            "precision": precision,
            "eval_every": 10_000,
        }
    )
    out, scratch = folder / "out", folder / "scratch"
    for path in (out, scratch):
        path.mkdir()
    stage = Stage("train", "0" * 16, 0, "torch", lambda *_: {}, scratch, emit=emit)
    request = TrainRequest(
        Checkpoint(folder.parent / "model"), TokenStore(folder.parent / "tokens"), settings, steps, ROWS
    )
    TorchBackend(TorchOptions(threads=os.cpu_count() or 1)).train(request, out, stage)
    lines = [json.loads(line) for line in (out / "training" / "metrics.jsonl").read_text().splitlines()]
    clock.losses = [line["loss"] for line in lines if "loss" in line]


def windows(folder: Path, steps: int) -> Any:
    """All windows as int64 [steps, ROWS, SEQ_LEN]."""
    import torch

    ids = np.fromfile(folder.parent / "tokens" / "train" / "domain.bin", np.uint16)[: steps * ROWS * SEQ_LEN]
    return torch.from_numpy(ids.astype(np.int64)).view(steps, ROWS, SEQ_LEN)


def hf_trainer(folder: Path, steps: int, precision: str, clock: Clock) -> None:
    """Hugging Face's Trainer with its defaults, in the order of the windows."""
    import torch
    from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

    class Ends(TrainerCallback):  # type: ignore[misc] # transformers is untyped
        def on_step_end(self, *arguments: Any, **more: Any) -> None:
            clock.step()

        def on_log(self, *arguments: Any, logs: dict[str, float] | None = None, **more: Any) -> None:
            if logs and "loss" in logs:
                clock.losses.append(float(logs["loss"]))

    class InOrder(Trainer):  # type: ignore[misc]
        def _get_train_sampler(self, *arguments: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=ROWS,
        max_steps=steps,
        use_cpu=True,
        bf16=precision == "bf16",
        learning_rate=RATE,
        lr_scheduler_type="constant",
        weight_decay=DECAY,
        adam_beta1=BETAS[0],
        adam_beta2=BETAS[1],
        max_grad_norm=1.0,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    model = AutoModelForCausalLM.from_pretrained(folder.parent / "model", dtype=torch.float32)
    rows = [{"input_ids": row, "labels": row} for row in windows(folder, steps).view(-1, SEQ_LEN)]
    InOrder(model=model, args=arguments, train_dataset=rows, callbacks=[Ends()]).train()


def plain_loop(folder: Path, steps: int, precision: str, clock: Clock) -> None:
    """What one writes by hand."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder.parent / "model", dtype=torch.float32).train()
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2]},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=BETAS, weight_decay=DECAY, fused=True)
    for ids in windows(folder, steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        clock.step(loss.item())


def side(name: str, folder: Path, steps: int, precision: str) -> None:
    """One side in this process; its step times, losses and a matrix product's speed go into result.json."""
    import torch

    from domadapt.builtin.training.speed import matmul_flops

    torch.set_num_threads(os.cpu_count() or 1)
    clock = Clock()
    run: Callable[[Path, int, str, Clock], None] = globals()[name]
    run(folder, steps, precision, clock)
    seconds = [b - a for a, b in zip(clock.ends, clock.ends[1:], strict=False)][WARM - 1 :]
    peak = matmul_flops(torch.device("cpu"), precision)
    result = {"seconds": seconds, "losses": clock.losses, "matmul_flops": peak}
    (folder / "result.json").write_text(json.dumps(result))


class Bench:
    """One folder for everything."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, 0

    def run(self, name: str, steps: int, precision: str) -> dict[str, Any]:
        """One side in a process of its own; its result with what the process took."""
        self.number += 1
        folder = self.folder / f"{self.number:02d}-{name}"
        folder.mkdir()
        command = [sys.executable, __file__, "--side", name, str(folder), str(steps), precision]
        environment = os.environ | {
            "OMP_WAIT_POLICY": "passive",  # adapt's default, for all sides
            "OMP_NUM_THREADS": str(os.cpu_count()),
            "HF_HUB_OFFLINE": "1",
            "TQDM_DISABLE": "1",
        }
        took = measure(command, environment, folder / "log")
        found: dict[str, Any] = json.loads((folder / "result.json").read_bytes())
        speed = f"{ROWS * SEQ_LEN / median(found['seconds']):,.0f} tokens/s" if found["seconds"] else ""
        print(f"{name:<12} {precision} {took.wall:6.1f} s  {speed}", file=sys.stderr, flush=True)
        return {**found, "peak": took.peak, "others": took.others}


def unequal(results: dict[str, list[float]], tolerance: float) -> list[str]:
    """Where losses differ from the plain loop's, in words."""
    wanted = results["plain_loop"]
    return [
        f"{name}, step {step + 1}: {a!r} and {b!r}"
        for name, losses in results.items()
        for step, (a, b) in enumerate(zip(losses, wanted, strict=True))
        if not abs(a - b) <= tolerance
    ]


def compare(bench: Bench, rounds: int, steps: int) -> dict[str, Any]:
    """Equality, then the rounds; in every other round the sides go in the opposite order."""
    exact = {name: bench.run(name, EXACT_STEPS, "fp32")["losses"] for name in SIDES}
    wrong = unequal(exact, EXACT_TOLERANCE)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
    for number in range(rounds if not wrong else 0):
        for name in SIDES if number % 2 == 0 else SIDES[::-1]:
            found[name].append(bench.run(name, WARM + steps, "bf16"))
        wrong += unequal({name: found[name][-1]["losses"] for name in SIDES}, BF16_TOLERANCE)
    if wrong:
        print("not equal:", *wrong[:20], sep="\n  ")
        return {"equal": False, "limits": LIMITS}
    return {"equal": True, "limits": LIMITS, **figures(bench.folder, found)}


def figures(folder: Path, found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians, ratios and shares of all rounds."""
    from domadapt.planning.flops import flops_per_token
    from domadapt.planning.shapes import read_shape

    speeds = {name: ROWS * SEQ_LEN / median(s for run in runs for s in run["seconds"]) for name, runs in found.items()}
    ratios = {name: speeds["adapt"] / speeds[name] for name in LIMITS}
    peak = median(run["matmul_flops"] for runs in found.values() for run in runs)
    flops = flops_per_token(read_shape(folder / "model"), SEQ_LEN)
    return {
        "ratios": {name: round(value, 4) for name, value in ratios.items()},
        "met": {name: value >= LIMITS[name] for name, value in ratios.items()},
        "tokens_per_second": {name: round(value) for name, value in speeds.items()},
        "rounds": {
            name: [round(ROWS * SEQ_LEN / median(run["seconds"])) for run in runs] for name, runs in found.items()
        },
        "matmul_share": {name: round(value * flops / peak, 4) for name, value in speeds.items()},
        "matmul_gflops": round(peak / 1e9, 1),
        "peak_bytes": {name: max(run["peak"] for run in runs) for name, runs in found.items()},
        "others_cpu_seconds": {name: [known(run["others"]) for run in runs] for name, runs in found.items()},
    }


def main() -> None:
    """Run all sides, equality, then the figures."""
    if sys.argv[1:2] == ["--side"]:
        name, folder, steps, precision = sys.argv[2:]
        side(name, Path(folder), int(steps), precision)
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of fewer steps, under 3 minutes")
    options = parser.parse_args()
    rounds, steps = QUICK if options.quick else FULL
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-train-") as name:
        make_inputs(Path(name), WARM + steps)
        result = {"bench": "train", "quick": options.quick, "ratios": {}, **compare(Bench(Path(name)), rounds, steps)}
    result |= {
        "parameters": "10.2M",
        "batch": f"{ROWS} x {SEQ_LEN} tokens, bf16",
        "load_before": round(load, 2),
        "machine": f"{os.uname().machine}, {os.cpu_count()} CPUs, {cpu_name()}",
        "versions": {name: version(name) for name in PACKAGES},
        "date": date.today().isoformat(),
    }
    print(json.dumps(result))
    sys.exit(0 if result["equal"] else 1)


if __name__ == "__main__":
    main()
