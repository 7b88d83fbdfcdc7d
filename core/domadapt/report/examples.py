"""What numbers cannot show: the same prompts answered by each stage, and the items whose outcome changed.

Texts are clipped and examples are few: they are for reading. The counts beside them are over all items.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.errors import DataError

if TYPE_CHECKING:
    from domadapt.artifacts import Scorecard
    from domadapt.report.results import RunResults

Entry = Mapping[str, Any]

ITEMS = "items.jsonl"
ANSWERS = "answers.jsonl"
MAX_PROMPTS = 12
MAX_PROMPT, MAX_ANSWER, MAX_GIVEN = 320, 480, 140
MAX_CHANGED = 20
"""Items of one task that went one way, at most."""
ALL_CHANGED = 160
"""Items shown in all, over all tasks and both ways: about 100 kB of page."""


def answered_prompts(results: RunResults, labels: Sequence[str]) -> list[dict[str, Any]]:
    """By task with kept answers, up to MAX_PROMPTS prompts spread over its items, with each model's answer.

    An answer is {model, answer, ended}; ended is False where the model was cut off.
    """
    tasks = []
    for task in results.tasks:
        by_model = {
            m.label: {str(line["item"]): line for line in _lines(m.scorecards[task], ANSWERS, ("item", "prompt"))}
            for m in results.models
            if m.label in labels and task in m.scorecards and (m.scorecards[task].path / ANSWERS).is_file()
        }
        if by_model:
            tasks.append({"task": task, "prompts": list(_prompts(by_model))})
    return tasks


def _prompts(by_model: Mapping[str, Mapping[str, Entry]]) -> Iterator[dict[str, Any]]:
    first = next(iter(by_model.values()))
    # every n-th, so that each kind of prompt in the list has its turn
    for item in list(first)[:: max(1, -(-len(first) // MAX_PROMPTS))]:
        answers = [
            {
                "model": label,
                "answer": clipped(lines[item].get("answer"), MAX_ANSWER),
                "ended": lines[item].get("ended"),
            }
            for label, lines in by_model.items()
            if item in lines
        ]
        yield {"item": item, "prompt": clipped(first[item]["prompt"], MAX_PROMPT), "answers": answers}


def changed_items(results: RunResults, ledger: Entry, labels: Sequence[str]) -> list[dict[str, Any]]:
    """By task of right-or-wrong items: how many each model lost and gained against the reference, with examples.

    labels: the models to compare, the reference first.  items: {item, prompt, wanted, outcomes}, an outcome
    {model, right, given}; "lost" are right for the reference and wrong for another, "gained" the other way round.
    """
    outcomes = {}
    for measure in ledger["measures"]:
        if measure["main"] and (found := _outcomes(results, measure["task"], measure["metric"], labels)):
            outcomes[measure["task"], measure["metric"]] = found
    most = max(2, min(MAX_CHANGED, ALL_CHANGED // (2 * max(1, len(outcomes)))))
    return [_changed(results, task, metric, rights, labels, most) for (task, metric), rights in outcomes.items()]


def _outcomes(results: RunResults, task: str, metric: str, labels: Sequence[str]) -> dict[str, dict[str, bool]] | None:
    """Model -> item -> right, None where items are not simply right or wrong or the reference has none."""
    found: dict[str, dict[str, bool]] = {}
    for model in results.models:
        if model.label not in labels or task not in model.scorecards:
            continue
        samples = model.scorecards[task].samples(metric).to_pydict()
        if not samples["item"] or any(v not in (0, 1) for v in samples["value"]) or set(samples["weight"]) != {1.0}:
            return None
        found[model.label] = dict(zip(samples["item"], map(bool, samples["value"]), strict=True))
    return found if labels[0] in found and len(found) > 1 else None


def _changed(
    results: RunResults,
    task: str,
    metric: str,
    rights: Mapping[str, Mapping[str, bool]],
    labels: Sequence[str],
    most: int,
) -> dict[str, Any]:
    reference, *others = [label for label in labels if label in rights]
    before = rights[reference]
    counts: list[dict[str, Any]] = []
    lost: list[str] = []
    gained: list[str] = []
    for label in others:
        own = rights[label]
        counts.append(
            {
                "model": label,
                "lost": sum(before[i] and not own[i] for i in before),
                "gained": sum(own[i] and not before[i] for i in before),
            }
        )
    for item, right in before.items():
        if any(rights[label][item] != right for label in others):
            (lost if right else gained).append(item)
    chosen = lost[:most] + gained[:most]
    texts = {m.label: _texts(m.scorecards[task], set(chosen)) for m in results.models if m.label in rights}
    return {
        "task": task,
        "metric": metric,
        "reference": reference,
        "counts": counts,
        "num_items": len(before),
        "num_lost": len(lost),
        "num_gained": len(gained),
        "items": [_item(item, rights, texts) for item in chosen],
    }


def _item(item: str, rights: Mapping[str, Mapping[str, bool]], texts: Mapping[str, Mapping[str, Entry]]) -> Entry:
    about = next((t[item] for t in texts.values() if item in t), {})
    return {
        "item": item,
        "prompt": clipped(about.get("prompt"), MAX_PROMPT),
        "wanted": clipped(about.get("wanted"), MAX_GIVEN),
        "outcomes": [
            {
                "model": label,
                "right": own[item],
                "given": clipped(texts[label].get(item, {}).get("given"), MAX_GIVEN),
            }
            for label, own in rights.items()
        ],
    }


def _texts(card: Scorecard, items: set[str]) -> dict[str, Entry]:
    """The texts of those items; empty when the evaluator kept none."""
    found: dict[str, Entry] = {}
    if not (card.path / ITEMS).is_file():
        return found
    for line in _lines(card, ITEMS, ("item",)):
        if (item := str(line["item"])) in items:
            found[item] = line
            if len(found) == len(items):
                break
    return found


def _lines(card: Scorecard, name: str, keys: Sequence[str]) -> Iterator[Entry]:
    file: Path = card.path / name
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                missing = [key for key in keys if key not in entry]
            except (ValueError, TypeError):
                missing = list(keys)
            if missing:
                told = f"a JSON object with {', '.join(keys)} was wanted, {line[:60]!r} found"
                raise DataError(f"{file}:{number}: {told}")
            yield entry


def clipped(value: Any, longest: int) -> str:
    """Text of any value, cut in the middle of nothing: the end of a long prompt is what is asked, so both ends stay."""
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text.strip()
    if len(text) <= longest:
        return text
    head = longest * 2 // 5
    return f"{text[:head].rstrip()} … {text[-(longest - head - 3) :].lstrip()}"
