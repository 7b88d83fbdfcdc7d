"""Samples of an evaluation: one row an item, from which every score and every interval is computed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domadapt.artifacts import ScoreRow
from domadapt.components import EvalRequest

LONGEST_TEXT = 600
"""Most characters of a text that is kept of an item."""


@dataclass
class Samples:
    """Items of one metric in their order. cluster: items that share a passage or a company."""

    metric: str
    unit: str
    higher_is_better: bool
    items: list[str]
    clusters: list[str]
    values: list[float]
    weights: list[float]

    def row(self, request: EvalRequest, protocol: str) -> ScoreRow:
        """The score: sum of values over sum of weights, with its interval."""
        import numpy as np

        from domadapt.report.statistics import interval

        value, stderr, low, high = interval(np.array(self.values), np.array(self.weights), self.clusters)
        return ScoreRow(
            task=request.task,
            metric=self.metric,
            side=request.side,
            value=value,
            stderr=stderr,
            low=low,
            high=high,
            n=len(self.items),
            unit=self.unit,
            higher_is_better=self.higher_is_better,
            protocol=protocol,
        )


def write_samples(samples: Sequence[Samples], out: Path) -> None:
    """Write `samples.parquet` into `out`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[str] | list[float]] = {
        "metric": [s.metric for s in samples for _ in s.items],
        "item": [i for s in samples for i in s.items],
        "cluster": [c for s in samples for c in s.clusters],
        "value": [v for s in samples for v in s.values],
        "weight": [w for s in samples for w in s.weights],
    }
    pq.write_table(pa.table(columns), out / "samples.parquet", compression="zstd", write_page_checksum=True)


def metric_samples(result: Mapping[str, Any], task: str) -> Iterator[Samples]:
    """The samples of each metric that is a mean over items, of each filter apart ("exact_match,strict-match").

    result: lm-eval's, with its log of samples.
    """
    logged = _by_filter(result["samples"][task])
    for metric, higher in result["higher_is_better"][task].items():
        for name, rows in logged.items():
            scored = [row for row in rows if isinstance(row.get(metric), int | float)]
            score = result["results"][task].get(f"{metric},{name}")
            values = [float(row[metric]) for row in scored]
            if not scored or score is None or abs(sum(values) / len(values) - score) > 1e-9:
                continue  # not a mean over items: a corpus-level metric has no samples to pair
            items = _item_names(scored)
            clusters = [str(row["doc"].get("cluster", item)) for row, item in zip(scored, items, strict=True)]
            label = metric if len(logged) == 1 else f"{metric},{name}"
            yield Samples(label, "share", bool(higher), items, clusters, values, [1.0] * len(scored))


def logged_items(result: Mapping[str, Any], task: str, output_type: str) -> Iterator[dict[str, str]]:
    """What each item asked, what was wanted and what the model gave, by the task's first filter."""
    rows = next(iter(_by_filter(result["samples"][task]).values()))
    for item, row in zip(_item_names(rows), rows, strict=True):
        prompt, wanted, given = _told(row, output_type)
        yield {"item": item, "prompt": prompt[-LONGEST_TEXT:], "wanted": clipped(wanted), "given": clipped(given)}


def _told(row: Mapping[str, Any], output_type: str) -> tuple[str, str, str]:
    """(prompt, wanted, given) of one logged sample."""
    arguments, given = row["arguments"], row["filtered_resps"]
    if output_type == "multiple_choice":
        return _told_choice(row, [(str(a[0]), str(a[1]), float(r[0])) for a, r in zip(arguments, given, strict=True)])
    return str(arguments[0][0]), _text(row["target"]), _text(given[0] if given else "")


def _told_choice(row: Mapping[str, Any], options: Sequence[tuple[str, str, float]]) -> tuple[str, str, str]:
    """options: (prompt, choice, log-likelihood)."""
    # without a prompt: what a choice is worth by itself, for mutual information
    options = [option for option in options if option[0]] or options
    prompt = options[0][0]
    best = max(range(len(options)), key=lambda number: options[number][2])
    if len({choice for _, choice, _ in options}) > 1:
        choices = [choice.strip() for _, choice, _ in options]
        return prompt, _wanted(row["target"], choices), choices[best]
    # the choices stand in the prompts and go on alike; lm-eval does not log which is right, but whether it was found
    given = options[best][0]
    others = [asked for asked, _, _ in options if asked != given]
    wanted = given if row.get("acc") == 1 else others[0] if len(others) == 1 else ""
    return f"… {options[0][1].strip()}", wanted, given


def _wanted(target: Any, choices: Sequence[str]) -> str:
    if isinstance(target, int) and 0 <= target < len(choices):
        return choices[target]
    if isinstance(target, list) and all(isinstance(one, int) and 0 <= one < len(choices) for one in target):
        return " | ".join(choices[one] for one in target)
    return _text(target)


def _text(value: Any) -> str:
    return " | ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def clipped(text: str) -> str:
    """A text of bounded length, its beginning kept."""
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _by_filter(logged: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The logged samples of each filter in the order of the items; lm-eval may have sorted them by request."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in logged:
        found.setdefault(str(row.get("filter", "none")), []).append(row)
    return {name: sorted(rows, key=lambda row: int(row["doc_id"])) for name, rows in found.items()}


def _item_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of items that are the same for every model: the data's own where they tell items apart, else numbers."""
    named = [str(row["doc"].get("item", "")) for row in rows]
    return named if "" not in named and len(set(named)) == len(named) else [str(row["doc_id"]) for row in rows]


def write_items(items: Iterable[Mapping[str, str]], out: Path) -> None:
    """Write `items.jsonl` into `out`."""
    lines = [json.dumps(dict(item), ensure_ascii=False) + "\n" for item in items]
    (out / "items.jsonl").write_text("".join(lines), encoding="utf-8")
