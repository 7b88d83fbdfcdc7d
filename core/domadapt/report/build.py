"""report.json and report.html of a run, from its results.

Floats are rounded to 6 significant digits and keys are sorted, so that two equal runs write equal bytes; all that
may differ between equal runs (times, memory, host) lies under "run_facts" and nowhere else. Needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.artifacts import SPLITS
from domadapt.errors import DataError
from domadapt.report.ledger import build_ledger
from domadapt.report.verdict import build_verdict

if TYPE_CHECKING:
    from domadapt.artifacts import Corpus
    from domadapt.report.results import ModelResult, RunResults

SIGNIFICANT_DIGITS = 6
MAX_CURVE_POINTS = 240
JSON_NAME = "report.json"
HTML_NAME = "report.html"


def report_data(results: RunResults) -> dict[str, Any]:
    """Everything the report shows, as plain data that json can write.

    Keys: schema, name, domain, verdict, ledger, models, tasks, corpora, mixture, training, recipe, origins,
    providers, run_facts. What a run does not have (no tokens, training made elsewhere) is None.
    Raises DataError when results do not fit together.
    """
    ledger = build_ledger(results)
    data = {
        "schema": 1,
        "name": results.name,
        "domain": results.domain,
        "verdict": build_verdict(ledger),
        "ledger": ledger,
        "models": [_model(model) for model in results.models],
        "tasks": [{"task": task, "side": side} for task, side in results.tasks.items()],
        "corpora": {side: _corpus(corpus) for side, corpus in results.corpora.items()},
        "mixture": None if results.tokens is None else dict(results.tokens.plan),
        "training": _training(results),
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
        return {str(key): _rounded(item) for key, item in value.items()}
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
    }


def _training(results: RunResults) -> dict[str, Any] | None:
    """The curves of the CPT model that this run trained; None when it was trained elsewhere."""
    if results.tokens is None:
        return None
    checkpoint = next((m.checkpoint for m in results.models if m.role == "cpt"), None)
    file = checkpoint.path / "training" / "metrics.jsonl" if checkpoint is not None else None
    if file is None or not file.is_file():
        return None
    steps: dict[int, Mapping[str, Any]] = {}
    evaluations: dict[int, Mapping[str, Any]] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            # a run that was resumed wrote some steps twice: the later line is the one that counts
            (steps if "loss" in record else evaluations)[record["step"]] = record
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{file}:{number}: a JSON object with a step was wanted, {line[:60]!r} found") from None
    held_out = ("heldout_domain", "heldout_general")
    return {
        "num_logged": len(steps),
        "steps": _thinned([steps[step] for step in sorted(steps)], ("loss", "lr", "grad_norm")),
        "evaluations": [
            {"step": step, **{name: evaluations[step].get(name) for name in held_out}} for step in sorted(evaluations)
        ],
    }


def _thinned(records: Sequence[Mapping[str, Any]], names: Iterable[str]) -> list[dict[str, Any]]:
    """At most MAX_CURVE_POINTS points: neighbours are averaged, a point stands at the last step it holds."""
    width = max(1, math.ceil(len(records) / MAX_CURVE_POINTS))
    points = []
    for start in range(0, len(records), width):
        part = records[start : start + width]
        point = {"step": part[-1]["step"], "tokens": part[-1].get("tokens")}
        for name in names:
            values = [record[name] for record in part if record.get(name) is not None]
            point[name] = sum(values) / len(values) if values else None
        points.append(point)
    return points
