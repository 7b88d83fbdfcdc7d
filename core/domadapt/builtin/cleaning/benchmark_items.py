"""The texts of a benchmark's items, through lm-eval, so that items are the very ones that will be scored.

Texts are the fields of an item's row, not its rendered prompt: the wording of a prompt is the task's and leaks nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domadapt.builtin.cleaning.words import folded_words
from domadapt.components import Benchmark

EVALUATOR = "lm_eval"
"""The evaluator whose benchmarks can be read."""


@dataclass(frozen=True)
class Item:
    """One item. name: as `samples.parquet` calls it.  texts: its fields, each by itself, words folded."""

    task: str
    name: str
    texts: Sequence[Sequence[str]]


def benchmark_items(benchmark: Benchmark, folder: Path, shortest: int) -> list[Item]:
    """All items of a benchmark's evaluated split. folder: for a file that lm-eval reads.

    shortest: texts of fewer words are left out; an item with no other is its question and answer in one.
    Raises MissingError or DataError when its data cannot be had.
    """
    from lm_eval.tasks import TaskManager

    from domadapt.builtin.evaluating.lm_eval_tasks import data_errors, offline, quiet
    from domadapt.builtin.evaluating.task_override import write_override

    folder.mkdir(parents=True, exist_ok=True)
    override = write_override(benchmark, folder, 0)
    with quiet(), offline(override.local), data_errors(benchmark):
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        task = manager.load([override.task])["tasks"][override.task]
        rows = list(task.eval_docs)
        names = _names(rows)
        texts = [_texts(task, row, shortest) for row in rows]
    return [Item(benchmark.name, name, found) for name, found in zip(names, texts, strict=True)]


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The data's own names where they tell items apart, else numbers: as the evaluator calls them."""
    named = [str(row.get("item", "")) for row in rows]
    return named if "" not in named and len(set(named)) == len(named) else [str(number) for number in range(len(rows))]


def _texts(task: Any, row: Mapping[str, Any], shortest: int) -> list[list[str]]:
    texts = [words for text in _strings(row) if len(words := folded_words(text)) >= shortest]
    if not texts:
        whole = folded_words(f"{task.doc_to_text(row)} {_answer(task, row)}")
        texts = [whole] if len(whole) >= shortest else []
    return list({" ".join(words): words for words in texts}.values())


def _strings(value: Any) -> Iterator[str]:
    """All texts in a row, however deep; a list of texts is also one text (choices, tokens of a sentence)."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _strings(part)
        if len(value) > 1 and all(isinstance(part, str) for part in value):
            yield " ".join(value)


def _answer(task: Any, row: Mapping[str, Any]) -> str:
    """The right answer in words, where the task says it."""
    target = task.doc_to_target(row)
    choices = task.doc_to_choice(row) if getattr(task.config, "doc_to_choice", None) is not None else None
    if isinstance(target, int) and choices and 0 <= target < len(choices):
        return str(choices[target])
    return " ".join(map(str, target)) if isinstance(target, list) else str(target)
