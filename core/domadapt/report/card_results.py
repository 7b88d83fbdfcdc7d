"""Evaluation results in the hub's two formats: `model-index` in a card's metadata, and `.eval_results/*.yaml`.

The second takes only benchmarks whose data is a dataset of the hub, by its id; a pack's own benchmark and bits per byte
of held-out text stand in `model-index` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domadapt.report.card_text import publishable
from domadapt.report.verdict import measure_title

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, EvalResultEntry

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class HubDataset:
    """A benchmark's data on the hub. config: its configuration there, the hub's task id; None for the only one."""

    id: str
    config: str | None = None


HUB_DATASETS = {
    "arc_challenge": HubDataset("allenai/ai2_arc", "ARC-Challenge"),
    "arc_easy": HubDataset("allenai/ai2_arc", "ARC-Easy"),
    "gsm8k": HubDataset("openai/gsm8k", "main"),
    "hellaswag": HubDataset("Rowan/hellaswag"),
    "medmcqa": HubDataset("openlifescienceai/medmcqa"),
    "medqa_4options": HubDataset("GBaker/MedQA-USMLE-4-options-hf"),
    "mmlu": HubDataset("cais/mmlu", "all"),
    "pubmedqa": HubDataset("bigbio/pubmed_qa", "pubmed_qa_labeled_fold0_source"),
    "winogrande": HubDataset("allenai/winogrande", "winogrande_xl"),
}
"""Where lm-eval 0.4.13 takes these tasks' items from (dataset_path and dataset_name of their YAML)."""

METRICS = {"acc": "accuracy", "acc_norm": "accuracy", "exact_match": "exact_match", "f1": "f1"}
"""Names of metrics as the hub lists them; others are passed on as they are."""


def hub_dataset(task: str) -> HubDataset | None:
    """The hub's dataset behind a task, None where there is none."""
    name = task.partition("@")[0]  # NAME@SHOTS
    if name.startswith("mmlu_"):
        return HubDataset("cais/mmlu", name.removeprefix("mmlu_"))
    return HUB_DATASETS.get(name)


def score_of(measure: Entry, label: str) -> Entry | None:
    """One model's score on a measure."""
    return next((s for s in measure["scores"] if s["model"] == label), None)


def model_index(measures: list[Entry], label: str) -> list[EvalResult]:
    """Every score of one model, its uncertainty in the metric's arguments."""
    from huggingface_hub import EvalResult

    results = []
    for measure in measures:
        score = score_of(measure, label)
        if score is None or score["value"] is None:
            continue
        dataset = hub_dataset(measure["task"])
        task, metric = publishable(measure["task"]), publishable(measure["metric"])
        results.append(
            EvalResult(
                task_type="text-generation",
                task_name="Text generation",
                dataset_type=dataset.id if dataset else task,
                dataset_name=task,
                dataset_config=dataset.config if dataset else None,
                metric_type=METRICS.get(metric, metric),
                metric_name=publishable(measure_title(measure)),
                metric_value=score["value"],
                metric_args=_uncertainty(measure, score),
            )
        )
    return results


def eval_results(measures: list[Entry], label: str) -> list[EvalResultEntry]:
    """The main scores of one model on benchmarks that the hub has."""
    from huggingface_hub import EvalResultEntry

    entries = []
    for measure in measures:
        score, dataset = score_of(measure, label), hub_dataset(measure["task"])
        if not measure["main"] or dataset is None or score is None or score["value"] is None:
            continue
        told = _uncertainty(measure, score)
        notes = ", ".join(f"{name} {value}" for name, value in told.items())
        entries.append(
            EvalResultEntry(
                dataset_id=dataset.id,
                task_id=dataset.config or "default",
                value=score["value"],
                notes=f"{publishable(measure['metric'])}; {notes}",
            )
        )
    return entries


def _uncertainty(measure: Entry, score: Entry) -> dict[str, Any]:
    found = {
        "stderr": score["stderr"],
        "low_95": score["low"],
        "high_95": score["high"],
        "n": score["n"],
        "unit": measure["unit"],
        "protocol": publishable(measure["protocol"]),
    }
    return {name: value for name, value in found.items() if value not in (None, "")}
