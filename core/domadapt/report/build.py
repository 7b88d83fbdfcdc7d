"""report.json and report.html of a run, from its results.

Floats are rounded to 6 significant digits and keys are sorted, so that two equal runs write equal bytes; all that
may differ between equal runs (times, memory, host) lies under "run_facts" and nowhere else. Needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.artifacts import SPLITS
from domadapt.report.examples import answered_prompts, changed_items
from domadapt.report.gate_results import evaluate_gates
from domadapt.report.law import law_data
from domadapt.report.ledger import build_ledger
from domadapt.report.origins import text_origins
from domadapt.report.training import training_data
from domadapt.report.verdict import build_verdict

if TYPE_CHECKING:
    from domadapt.artifacts import Corpus
    from domadapt.report.results import ModelResult, RunResults

SIGNIFICANT_DIGITS = 6
JSON_NAME = "report.json"
HTML_NAME = "report.html"


def report_data(results: RunResults) -> dict[str, Any]:
    """Everything the report shows, as plain data that json can write.

    Keys: schema, name, domain, verdict, gates, ledger, models, tasks, corpora, sweep, text_origins, mixture, law,
    training, answers, changed_items, recipe, origins, providers, run_facts. What a run does not have (no tokens,
    training made elsewhere) is None. Raises DataError when results do not fit together.
    """
    ledger = build_ledger(results)
    verdict = build_verdict(ledger)
    compared = [ledger["reference"], ledger["cpt"], verdict["chosen_merge"]]
    training = training_data(results)
    shown = [m.label for m in results.models if m.role in ("base", "control") or m.label in compared]
    data = {
        "schema": 1,
        "name": results.name,
        "domain": results.domain,
        "verdict": verdict,
        "gates": evaluate_gates(results.fail_if, results, verdict["chosen_merge"]),
        "ledger": ledger,
        "models": [_model(model) for model in results.models],
        "tasks": [{"task": task, "side": side} for task, side in results.tasks.items()],
        "corpora": {side: _corpus(corpus) for side, corpus in results.corpora.items()},
        "sweep": results.sweep,
        "text_origins": text_origins(results),
        "mixture": None if results.tokens is None else dict(results.tokens.plan),
        "law": law_data(results.law, training),
        "training": training,
        "answers": answered_prompts(results, shown),
        "changed_items": changed_items(results, ledger, [label for label in compared if label is not None]),
        "recipe": results.recipe,
        "origins": results.origins,
        "providers": results.providers,
        "run_facts": results.run_facts,
    }
    rounded: dict[str, Any] = _rounded(data)
    return rounded


def write_report(data: Mapping[str, Any], out: Path) -> None:
    """Write report.json and report.html into the folder `out`."""
    from domadapt.report.page import render_page

    out.mkdir(parents=True, exist_ok=True)
    (out / JSON_NAME).write_bytes(canonical_json(data))
    (out / HTML_NAME).write_text(render_page(data), encoding="utf-8", newline="\n")


def canonical_json(data: Mapping[str, Any]) -> bytes:
    """The one way data is written: sorted keys, two spaces, UTF-8, newline at the end."""
    return (json.dumps(data, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def digest_without_run_facts(path: Path) -> str:
    """sha256 of a report.json without its run_facts: equal for equal runs."""
    data = json.loads(path.read_bytes())
    data.pop("run_facts", None)
    return hashlib.sha256(canonical_json(data)).hexdigest()


def _rounded(value: Any) -> Any:
    """Plain data with floats rounded and NaN or infinity as None.

    Raises TypeError for anything that is not plain data, which is a bug of whoever put it there.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        # in the order of report.json, so that what is read back makes the same page
        return {
            key: _rounded(item)
            for key, item in sorted(((str(key), item) for key, item in value.items()), key=itemgetter(0))
        }
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_rounded(item) for item in value]
    raise TypeError(f"report: {type(value).__name__} is not plain data: {value!r}")


def _model(model: ModelResult) -> dict[str, Any]:
    return {"label": model.label, "role": model.role, "digest": model.checkpoint.digest, "facts": model.facts}


def _corpus(corpus: Corpus) -> dict[str, Any]:
    facts = corpus.facts
    return {
        "documents": {split: facts["documents"][split] for split in SPLITS},
        "bytes": {split: facts["bytes"][split] for split in SPLITS},
        "funnel": facts["funnel"],
        "sources": facts.get("sources", []),
        "steps": facts.get("steps", {}),
    }
