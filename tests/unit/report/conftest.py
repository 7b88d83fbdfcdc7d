"""Made-up runs for the report: as many merges as asked for, with answers, items, probes and a funnel."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domadapt.artifacts import SPLITS, Checkpoint, Corpus, Scorecard, TokenStore, document_schema
from domadapt.report.build import report_data
from domadapt.report.results import ModelResult, RunResults
from domadapt.report.statistics import interval

METHODS = ("ties", "dare_ties", "slerp", "task_arithmetic")
WEIGHTS, DENSITIES = (0.3, 0.5, 0.7), (0.5, 0.9)
DOMAIN_TASKS = ("sec_continuation", "sec_qa", "sec_headline")
GENERAL_TASKS = ("instruct_format", "hellaswag", "arc_challenge", "mmlu", "gsm8k", "truthfulqa_mc2", "winogrande")
ITEMS, DOCUMENTS = 120, 30
STAGE_SECONDS = {"corpus.domain": 2.8, "corpus.general": 0.6, "tokens": 9.1, "train": 3725.0}

MakeRun = Callable[..., RunResults]


@dataclass(frozen=True)
class Kind:
    """A model: its ability on the domain and in general, from 0 to 1, and what its maker said."""

    label: str
    role: str
    domain: float
    general: float
    facts: Mapping[str, Any]


def kinds(merges: int) -> Iterator[Kind]:
    yield Kind("base", "base", 0.2, 0.75, {})
    yield Kind("instruct", "instruct", 0.22, 0.8, {})
    yield Kind("control.domain_prompt", "control", 0.26, 0.79, {})
    cpt = {"steps": 600, "tokens": 2_457_600, "parameters": 1_066_112, "dtype": "bfloat16", "device": "cpu"}
    yield Kind("cpt", "cpt", 0.75, 0.45, cpt)
    settings = [(m, w, d) for m in METHODS for w in WEIGHTS for d in DENSITIES][:merges]
    for number, (method, weight, density) in enumerate(settings):
        lift = 0.02 * ((number * 7) % 5)
        facts = {"method": method, "weight": weight, "density": density, "dtype": "bfloat16"}
        ability = 0.22 + 0.55 * weight + lift, 0.82 - 0.32 * weight - 0.06 * (1 - density) + lift / 2
        yield Kind(f"{method}-w{weight}-d{density}", "merged", *ability, facts)


def artifact(path: Path, facts: Mapping[str, Any], files: Sequence[str] = ()) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    sizes = {name: {"bytes": (path / name).stat().st_size} for name in files}
    (path / "artifact.json").write_text(json.dumps({"facts": facts, "files": sizes}))
    return path


def scorecard(
    path: Path, task: str, metric: str, side: str, unit: str, values: np.ndarray, weights: np.ndarray
) -> Scorecard:
    artifact(path, {"task": task})
    names = [f"{task}-{i}" for i in range(len(values))]
    columns = {"metric": [metric] * len(names), "item": names, "cluster": names, "value": values, "weight": weights}
    pq.write_table(pa.table(columns), path / "samples.parquet")
    row = {"task": task, "metric": metric, "side": side, "n": len(names), "unit": unit, "protocol": "greedy, 0-shot"}
    row |= interval(list(values), list(weights), names)._asdict() | {"higher_is_better": not unit}
    (path / "scores.json").write_text(json.dumps({"rows": [row]}))
    return Scorecard(path)


def right_or_wrong(path: Path, kind: Kind, task: str, side: str) -> Scorecard:
    """Items get harder from the first to the last; models of more ability get more of them right."""
    ability = kind.domain if side == "domain" else kind.general
    hardness = np.random.default_rng([*task.encode()]).permutation(np.linspace(0, 1, ITEMS))
    luck = np.random.default_rng([*task.encode(), *kind.label.encode()]).normal(0, 0.12, ITEMS)
    right = (hardness + luck < ability).astype(float)
    card = scorecard(path, task, "acc", side, "", right, np.ones(ITEMS))
    lines = [
        {
            "item": f"{task}-{i}",
            "prompt": f"Question {i} of {task}: which of these statements about the filing does the text support? " * 2,
            "wanted": f"statement {i % 4}",
            "given": f"statement {i % 4 if r else (i + 1) % 4}",
        }
        for i, r in enumerate(right)
    ]
    (path / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return card


def bits(path: Path, kind: Kind, side: str) -> Scorecard:
    ability = kind.domain if side == "domain" else kind.general
    generator = np.random.default_rng(3)
    num_bytes = generator.integers(800, 3000, DOCUMENTS).astype(float)
    shared = generator.normal(1, 0.05, DOCUMENTS)
    own = np.random.default_rng([*side.encode(), *kind.label.encode()]).normal(1, 0.01, DOCUMENTS)
    level = 4 - 3 * ability if side == "domain" else 2.6 - ability
    values = level * num_bytes * shared * own
    return scorecard(path, f"bits_per_byte.{side}", "bits_per_byte", side, "bits/byte", values, num_bytes)


def probes(path: Path, kind: Kind) -> Scorecard:
    """Generated answers of one model."""
    card = scorecard(path, "probes", "answered", "general", "", np.ones(8), np.ones(8))
    lines = [
        {
            "item": f"follow-{i}",
            "prompt": f"Answer in one sentence: what does item {i} of an annual report describe?",
            "answer": f"As {kind.label}, I would say that it describes the business of the company in year {i}. "
            * (1 + i % 3),
            "ended": kind.role != "base",
        }
        for i in range(8)
    ]
    (path / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return card


def curves(checkpoint: Path, steps: int) -> None:
    """Training with a dip of the probed benchmark and held-out losses of both sides."""
    lines: list[dict[str, Any]] = []
    for step in range(steps + 1):
        if step:
            loss = 2.4 + 3.2 / (1 + step / 40) + 0.1 * np.sin(step)
            lines.append({"step": step, "loss": loss, "lr": 1e-3 * (1 - step / steps / 1.1), "grad_norm": 1.0})
            lines[-1]["tokens"] = step * 4096
        if step % 60 == 0:
            general = 4.06 + 0.5 * step / (step + 60)
            lines.append({"step": step, "heldout_domain": 2.4 + 3.1 / (1 + step / 40), "heldout_general": general})
            dip = 0.3 - 0.18 * np.exp(-((step - 90) ** 2) / 4000) + 0.00035 * step
            probe = {"step": step, "probe_task": "sec_continuation", "probe_value": dip, "probe_stderr": 0.025}
            lines.append({**probe, "probe_n": 300})
    (checkpoint / "training").mkdir()
    (checkpoint / "training" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    shape = {"model_type": "llama", "num_hidden_layers": 4, "num_attention_heads": 4, "hidden_size": 128}
    shape |= {"intermediate_size": 352, "vocab_size": 2048, "tie_word_embeddings": True}
    (checkpoint / "config.json").write_text(json.dumps(shape))


def corpus(path: Path, side: str) -> Corpus:
    sources = {"domain": ("sec.edgar", "sec.sample"), "general": ("general.sample",)}[side]
    for split in SPLITS:
        (path / split).mkdir(parents=True)
        names = [f"{split}-{i}" for i in range(40)]
        columns = {
            "id": names,
            "text": ["The company faces risks. " * (1 + i % 7) for i in range(40)],
            "source": [sources[i % len(sources)] for i in range(40)],
            "license": ["public domain" if i % 3 else "" for i in range(40)],
            "group": names,
            "meta": ["{}"] * 40,
        }
        pq.write_table(pa.table(columns, document_schema()), path / split / "documents-00000.parquet")
    funnel = [
        {"step": "read", "in": 424, "kept": 380, "dropped": {"XBRL or XML data": 24, "uuencoded": 20}},
        {"step": "normalize", "in": 380, "kept": 380, "dropped": {"empty": 0}, "tally": {"lines": 17}},
        {"step": "dedup.minhash", "in": 380, "kept": 370, "dropped": {"near-duplicate": 10}},
    ]
    counts = {"train": 316, "selection": 27, "report": 27}
    sizes = {k: 6000 * v for k, v in counts.items()}
    accounts = [
        {
            "source": source,
            "seen": 424 // len(sources),
            "kept": 370 // len(sources),
            "duplicates": 10 // len(sources),
            "dropped": 44 // len(sources),
            "reasons": {},
            "documents": counts,
            "bytes": {k: v // len(sources) for k, v in sizes.items()},
            "share": 1 / len(sources),
            "licenses": {"": {"documents": 40, "bytes": 900}, "public domain": {"documents": 80, "bytes": 3000}},
        }
        for source in sources
    ]
    tasks = {"sec_qa": {"items": 120, "searchable": 118, "found": 7}}
    steps = {"decontaminate": {"tasks": tasks, "unchecked": ["own_task"], "documents": {}, "dropped": True}}
    facts = {"documents": counts, "bytes": sizes, "funnel": funnel, "sources": accounts, "steps": steps}
    return Corpus(artifact(path, facts, [f"{split}/documents-00000.parquet" for split in SPLITS]))


def tokens(path: Path) -> TokenStore:
    artifact(path, {})
    domain = {"name": "domain", "windows": 3403, "windows_used": 1140, "epochs": 0.33, "tokens": 2_334_720}
    general = {"name": "general", "windows": 3117, "windows_used": 60, "epochs": 0.02, "tokens": 122_880}
    parts = [
        {**domain, "share_asked": 0.95, "share_achieved": 0.95},
        {**general, "share_asked": 0.05, "share_achieved": 0.05},
    ]
    plan = {"parts": parts, "tokens": 2_457_600, "seq_len": 256, "seed": 1234}
    (path / "plan.json").write_text(json.dumps(plan))
    return TokenStore(path)


def build_run(
    root: Path, merges: int, name: str = "sec-sweep", domain_tasks: Sequence[str] = DOMAIN_TASKS
) -> RunResults:
    tasks: dict[str, Any] = {"bits_per_byte.domain": "domain", "bits_per_byte.general": "general"}
    tasks |= dict.fromkeys(domain_tasks, "domain") | dict.fromkeys(GENERAL_TASKS, "general") | {"probes": "general"}
    models = []
    stages = dict(STAGE_SECONDS)
    for kind in kinds(merges):
        cards = {}
        for number, (task, side) in enumerate(tasks.items()):
            folder = root / kind.label / str(number)
            if task.startswith("bits_per_byte."):
                cards[task] = bits(folder, kind, side)
            else:
                cards[task] = probes(folder, kind) if task == "probes" else right_or_wrong(folder, kind, task, side)
            stages[f"eval.{kind.label}.{task}"] = 5.0 + number
        folder = artifact(root / kind.label / "model", kind.facts)
        if kind.role == "cpt":
            curves(folder, 600)
        if kind.role == "merged":
            stages[f"merge.{kind.label}"] = 6.2
        checkpoint = Checkpoint(folder, kind.role, "0123456789abcdef" * 4)  # type: ignore[arg-type]
        models.append(ModelResult(kind.label, kind.role, checkpoint, kind.facts, cards))
    started = 0.0
    facts: dict[str, Any] = {}
    for stage, seconds in stages.items():
        facts[stage] = {"seconds": seconds, "started": started, "peak_bytes": 10**9, "disk_bytes": 2_000_000}
        started += seconds
    return RunResults(
        name=name,
        domain="sec",
        models=models,
        tasks=tasks,
        corpora={side: corpus(root / f"corpus-{side}", side) for side in ("domain", "general")},  # type: ignore[misc]
        tokens=tokens(root / "tokens"),
        recipe={"train.lr": 1e-3, "train.checkpoint_every": 100, "merge.methods": list(METHODS), "seed": 1234},
        origins={"train.lr": "--set train.lr=1e-3", "merge": "recipe.yaml:7", "seed": "core default"},
        providers={"merger ties": "domadapt 0.1.0", "source sec.sample": "domadapt-sec 0.1.0"},
        run_facts={"stages": facts, "versions": {"torch": "2.13.0"}, "host": "laptop", "command": "adapt run my.yaml"},
    )


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """Make a run with so many merges; the same arguments give equal runs in different places."""

    def make(merges: int, **options: Any) -> RunResults:
        return build_run(tmp_path_factory.mktemp("run"), merges, **options)

    return make


@pytest.fixture(scope="session")
def default_data(make_run: MakeRun) -> dict[str, Any]:
    """The report of a run with two merges."""
    return report_data(make_run(2))


@pytest.fixture(scope="session")
def sweep_data(make_run: MakeRun) -> dict[str, Any]:
    """The report of a run with 24 merges, with gates."""
    gates = [
        {"gate": "merged.general >= 0.97 * instruct.general", "met": True, "sentence": "0.72 against 0.70."},
        {"gate": "merged.domain > cpt.domain", "met": False, "sentence": "0.48 against 0.75 wanted."},
    ]
    return {**report_data(make_run(24)), "gates": gates}
