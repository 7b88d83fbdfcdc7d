"""Evaluating four models: adapt's scorer against lm-eval's hf back end, whole processes.

    python bench/eval.py            # 500 four-choice items and 2 x 40 documents, under 15 minutes on two cores
    python bench/eval.py --quick    # 40 items and 2 x 6 documents, under 3 minutes

Four random models of one configuration (14 M parameters, vocabulary 32,000) and one tokenizer; items and documents cut
from the general sample text. lm-eval runs as a user would run it: its command line, one process a model, batch 16,
float32. adapt runs `bench/eval_ours.py`: one process. Starting, imports and loading count on both sides. The peer is a
dependency of adapt, so no environment is made.

Equality comes first: the same accuracies and choices, log-likelihoods within 5e-4 (of a document of thousands of nats:
within two units of float32's last place, which is lm-eval's own rounding). Ratios: `lm_eval` is its wall time over
ours, for all four models; `memory_bs16` and `memory_bs64` are our peak memory over that of one of its processes at
these batch sizes; `forward_share` is the share of our evaluators' time in the models' own code. The batch of 64 is
measured on one model and at most 100 items, the longest of which make its peak. The last line is one JSON object; exit
code 1 when the sides are not equal.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from pipeline import Measured, cpu_name, known, measure

HERE = Path(__file__).parent
FULL, QUICK = (500, 40), (40, 6)
"""Items, and documents of each of the two sets."""
NUM_MODELS = 4
BATCH, LARGE_BATCH, LARGE_LIMIT = 16, 64, 100
TOLERANCE = 5e-4
LAST_PLACES = 2**-22
LIMITS = {"lm_eval": 5.0, "memory_bs16": 0.5, "memory_bs64": 0.2, "forward_share": 0.85}
PACKAGES = ("domadapt", "torch", "transformers", "lm_eval", "datasets", "tokenizers", "numpy")
CHOICE = """
task: choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
output_type: multiple_choice
test_split: test
num_fewshot: 0
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""
DOCUMENTS = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
output_type: loglikelihood_rolling
test_split: test
num_fewshot: 0
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list:
  - {{metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}}
metadata: {{version: 1.0}}
"""


def make_models(folder: Path) -> None:
    """Random Llamas with the built-in tokenizer; its 2,048 tokens are the first of 32,000 rows."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    import domadapt.builtin.models

    tiny = Path(domadapt.builtin.models.__file__).parent / "tiny"
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=320,
        intermediate_size=896,
        num_hidden_layers=4,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.05,  # wider than usual: likelihoods of choices lie further apart than rounding
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=4,
    )
    for number in range(NUM_MODELS):
        torch.manual_seed(number)
        LlamaForCausalLM(config).save_pretrained(folder / f"model-{number}")
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(tiny / name, folder / f"model-{number}" / name)


def make_items(texts: Sequence[str], count: int, draw: random.Random) -> list[dict[str, Any]]:
    """Passages of 20 to 60 words with four ways to go on for 1 to 8 words, one of them the text's own."""

    def passage(num_words: int) -> list[str]:
        words = draw.choice(texts).split()
        start = draw.randrange(len(words) - num_words)
        return words[start : start + num_words]

    items = []
    for _ in range(count):
        length, answer = draw.randint(20, 60), draw.randrange(4)
        choices = [" ".join(passage(draw.randint(1, 8))) for _ in range(4)]
        words = passage(length + draw.randint(1, 8))
        choices[answer] = " ".join(words[length:])
        items.append({"question": " ".join(words[:length]), "choices": choices, "answer": answer})
    return items


def make_tasks(folder: Path, num_items: int, num_documents: int) -> None:
    """The three tasks: YAML and data for lm-eval, corpora for adapt, of the same texts."""
    from domadapt.builtin.corpora.general import FILE

    draw = random.Random(20)
    with lzma.open(FILE, "rt", encoding="utf-8") as lines:
        texts = [text for text in (json.loads(line)["text"] for line in lines) if len(text.split()) > 120]
    tasks = folder / "tasks"
    tasks.mkdir()
    rows: dict[str, list[dict[str, Any]]] = {"choice": make_items(texts, num_items, draw)}
    for name in ("first", "second"):
        rows[name] = [{"text": draw.choice(texts)[: draw.randint(200, 1200)]} for _ in range(num_documents)]
        write_corpus(folder / "corpora" / name, [row["text"] for row in rows[name]])
    for name, data in rows.items():
        file = tasks / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in data))
        (tasks / f"{name}.yaml").write_text((CHOICE if name == "choice" else DOCUMENTS).format(name=name, file=file))


def write_corpus(folder: Path, texts: Sequence[str]) -> None:
    """A published corpus whose report split is these texts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from domadapt.artifacts import document_schema
    from domadapt.pipeline.store import publish

    work = folder.with_suffix(".partial")
    (work / "report").mkdir(parents=True)
    names = [str(number) for number in range(len(texts))]
    constant = {"source": "bench", "license": "", "meta": "{}"}
    columns = {"id": names, "text": list(texts), "group": names} | {k: [v] * len(names) for k, v in constant.items()}
    table = pa.table({name: columns[name] for name in document_schema().names}, document_schema())
    pq.write_table(table, work / "report" / "documents-00000.parquet")
    publish(work, folder, {"kind": "corpus", "facts": {}})


class Bench:
    """One folder for everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def lm_eval(self, model: str, batch: int, *extra: str) -> Measured:
        """lm-eval's command on one model."""
        name = f"lm_eval-{model}-{batch}"
        command = [
            sys.executable, "-m", "lm_eval", "--model", "hf",
            "--model_args", f"pretrained={self.folder / 'models' / model},dtype=float32", "--device", "cpu",
            "--tasks", "choice,first,second", "--include_path", str(self.folder / "tasks"),
            "--batch_size", str(batch), "--log_samples", "--output_path", str(self.folder / name), *extra,
        ]  # fmt: skip
        return measure(command, self._environment(name), self.folder / f"{name}.log")

    def ours(self) -> Measured:
        """adapt's evaluators on all models."""
        (self.folder / "ours").mkdir()
        command = [sys.executable, str(HERE / "eval_ours.py"), str(self.folder), str(self.folder / "ours")]
        return measure(command, self._environment("ours"), self.folder / "ours.log")

    def _environment(self, name: str) -> dict[str, str]:
        return os.environ | {
            "ADAPT_HOME": str(self.folder / "home" / name),
            "HF_HOME": str(self.folder / "home" / name),  # its own: no side finds what another prepared
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "OMP_WAIT_POLICY": "passive",  # adapt's default, for both sides
        }

    def our_results(self) -> dict[str, Any]:
        """What eval_ours.py wrote."""
        return dict(json.loads((self.folder / "ours" / "results.json").read_bytes()))

    def their_results(self, model: str) -> dict[str, Any]:
        """Scores and likelihoods of one of lm-eval's runs, in the shape of ours."""
        (folder,) = (self.folder / f"lm_eval-{model}-{BATCH}").iterdir()
        (file,) = folder.glob("results_*.json")
        results = json.loads(file.read_bytes())["results"]
        nats = {}
        for task in ("choice", "first", "second"):
            (samples,) = folder.glob(f"samples_{task}_*.jsonl")
            logged = sorted(map(json.loads, samples.read_text().splitlines()), key=lambda s: s["doc_id"])
            answers = [answer[0] for sample in logged for answer in sample["resps"]]
            nats[task] = [float(answer[0] if isinstance(answer, list) else answer) for answer in answers]
        found: dict[str, Any] = {metric: results["choice"][f"{metric},none"] for metric in ("acc", "acc_norm")}
        for task in ("first", "second"):
            found[task] = {"bits_per_byte": results[task]["bits_per_byte,none"], "nats": nats[task]}
        return {**found, "choice": nats["choice"]}


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[list[str], float]:
    """Where the results of one model differ, in words, and the largest difference of a choice's likelihood."""
    found = [
        f"{metric}: {ours[metric]} and {theirs[metric]}"
        for metric in ("acc", "acc_norm")
        if abs(ours[metric] - theirs[metric]) > 1e-12
    ]
    for number, (one, other) in enumerate(zip(fours(ours["choice"]), fours(theirs["choice"]), strict=True)):
        if one.index(max(one)) != other.index(max(other)):
            found.append(f"item {number}: another choice")
    gaps = [abs(a - b) for a, b in zip(ours["choice"], theirs["choice"], strict=True)]
    found += [f"request {n}: {gap:.1e} nats apart" for n, gap in enumerate(gaps) if not gap <= TOLERANCE]
    for task in ("first", "second"):
        for number, (a, b) in enumerate(zip(ours[task]["nats"], theirs[task]["nats"], strict=True)):
            if not abs(a - b) <= max(TOLERANCE, LAST_PLACES * abs(b)):
                found.append(f"{task}, document {number}: {a!r} and {b!r} nats")
        if not abs(ours[task]["bits_per_byte"] - theirs[task]["bits_per_byte"]) <= 1e-6:
            found.append(f"{task}: {ours[task]['bits_per_byte']!r} and {theirs[task]['bits_per_byte']!r} bits per byte")
    return found, max(gaps)


def fours(values: Sequence[float]) -> list[Sequence[float]]:
    """The choices of each item."""
    return [values[at : at + 4] for at in range(0, len(values), 4)]


def main() -> None:
    """Run both sides, equality, then the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer items and documents, under 3 minutes")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-eval-") as name:
        folder = Path(name)
        make_models(folder / "models")
        make_tasks(folder, *size)
        result = {"bench": "eval", "quick": options.quick, "ratios": {}, **run(Bench(folder))}
    result |= {
        "items": size[0],
        "documents": 2 * size[1],
        "load_before": round(load, 2),
        "machine": f"{os.uname().machine}, {os.cpu_count()} CPUs, {cpu_name()}",
        "versions": {name: version(name) for name in PACKAGES},
        "date": date.today().isoformat(),
    }
    print(json.dumps(result))
    sys.exit(0 if result["equal"] else 1)


def run(bench: Bench) -> dict[str, Any]:
    """Our process stands in the middle of lm-eval's four, so that a change of the machine meets both sides."""
    models = sorted(path.name for path in (bench.folder / "models").iterdir())
    half = len(models) // 2
    theirs = [told(model, bench.lm_eval(model, BATCH)) for model in models[:half]]
    ours = told("ours", bench.ours())
    theirs += [told(model, bench.lm_eval(model, BATCH)) for model in models[half:]]
    results = bench.our_results()
    compared = {model: differences(results["models"][model], bench.their_results(model)) for model in models}
    if wrong := [f"{model}: {what}" for model, (found, _) in compared.items() for what in found]:
        print("not equal:", *wrong[:20], sep="\n  ")
        return {"equal": False, "limits": LIMITS}
    large = told("batch 64", bench.lm_eval(models[0], LARGE_BATCH, "--limit", str(LARGE_LIMIT)))
    ratios = {
        "lm_eval": sum(m.wall for m in theirs) / ours.wall,
        "memory_bs16": ours.peak / median(m.peak for m in theirs),
        "memory_bs64": ours.peak / large.peak,
        "forward_share": results["forward_seconds"] / results["evaluate_seconds"],
    }
    at_least = ("lm_eval", "forward_share")
    return {
        "ratios": {name: round(value, 4) for name, value in ratios.items()},
        "limits": LIMITS,
        "equal": True,
        "met": {name: (v >= LIMITS[name]) if name in at_least else (v <= LIMITS[name]) for name, v in ratios.items()},
        "largest_difference_nats": max(gap for _, gap in compared.values()),
        "cpu_ratio": round(sum(m.cpu for m in theirs) / ours.cpu, 4),
        "wall_seconds": {"ours": round(ours.wall, 2), "lm_eval": [round(m.wall, 2) for m in theirs]},
        "cpu_seconds": {"ours": round(ours.cpu, 2), "lm_eval": [round(m.cpu, 2) for m in theirs]},
        "evaluate_seconds": round(results["evaluate_seconds"], 2),
        "peak_bytes": {"ours": ours.peak, "bs16": [m.peak for m in theirs], "bs64": large.peak},
        "others_cpu_seconds": {"ours": known(ours.others), "lm_eval": [known(m.others) for m in theirs]},
    }


def told(name: str, measured: Measured) -> Measured:
    """Print what a process took."""
    print(
        f"{name:<10}{measured.wall:>8.1f} s{measured.cpu:>8.1f} s of CPU{measured.peak / 1e6:>8.0f} MB   "
        f"others used {measured.others:.1f} s of CPU",
        flush=True,
    )
    return measured


if __name__ == "__main__":
    main()
