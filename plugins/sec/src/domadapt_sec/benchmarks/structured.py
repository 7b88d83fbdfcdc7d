"""Make `sec_items.jsonl` and `sec_tables.jsonl`: python -m domadapt_sec.benchmarks.structured

Both ask for what the structure of a filing says and nobody has to judge. `sec_items`: which item of a 10-K a passage is
from, among four. `sec_tables`: which of four numbers of a table stands in a row under a column; the wrong ones are
numbers of the same table, of the same row and the same column where there are such, so that position must be read.
The companies are those of `sec_continuation`: the sample source never emits them.
"""

from __future__ import annotations

import json
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from domadapt_sec.benchmarks.make import NUM_CHOICES, NUM_COMPANIES, SEED, Paragraph, paragraphs
from domadapt_sec.sample import submissions
from domadapt_sec.sample_bodies import figure
from domadapt_sec.sample_statements import Row, Table

NUM_ITEMS = 200
PASSAGE_CHARACTERS = 400
TABLE_ROWS = 6
TABLE_CHARACTERS = 420  # the smallest model reads 256 tokens
TITLES = {
    "business": "Business",
    "risk factors": "Risk Factors",
    "properties": "Properties",
    "legal proceedings": "Legal Proceedings",
    "market for equity": "Market for Registrant's Common Equity",
    "discussion of results": "Management's Discussion and Analysis",
    "market risk": "Quantitative and Qualitative Disclosures About Market Risk",
    "notes": "Financial Statements",
    "controls": "Controls and Procedures",
}


def item_questions() -> list[dict[str, object]]:
    """Passages with four items to choose from; the items in turn, so that each is right about as often."""
    rng = random.Random(f"sec_items/{SEED}")
    waiting: defaultdict[str, list[Paragraph]] = defaultdict(list)
    for paragraph in {_passage(found): found for found in paragraphs()}.values():
        waiting[paragraph.kind].append(paragraph)
    for own in waiting.values():
        rng.shuffle(own)
    made: list[dict[str, object]] = []
    while len(made) < NUM_ITEMS:
        for kind in sorted(waiting):
            if waiting[kind] and len(made) < NUM_ITEMS:
                made.append(_item_question(waiting[kind].pop(), len(made), rng))
    return made


def _item_question(paragraph: Paragraph, number: int, rng: random.Random) -> dict[str, object]:
    others = sorted(title for kind, title in TITLES.items() if kind != paragraph.kind)
    answer = number % NUM_CHOICES
    choices = rng.sample(others, NUM_CHOICES - 1)
    choices.insert(answer, TITLES[paragraph.kind])
    prompt = f"{_passage(paragraph)}\n\nThe passage is from the item"
    return _item("sec_items", number, str(paragraph.cik), prompt, choices, answer)


def _passage(paragraph: Paragraph) -> str:
    """As many words of the paragraph as fit."""
    words = list(paragraph.words)
    while len(" ".join(words)) > PASSAGE_CHARACTERS:
        words.pop()
    return " ".join(words)


def table_questions() -> list[dict[str, object]]:
    """Excerpts of statements with four numbers of theirs, one or two a company."""
    rng = random.Random(f"sec_tables/{SEED}")
    waiting = dict(_tables())
    made: list[dict[str, object]] = []
    while len(made) < NUM_ITEMS:
        before = len(made)
        for cik, tables in waiting.items():
            question = None
            while tables and question is None:
                question = _table_question(tables.pop(rng.randrange(len(tables))), cik, len(made), rng)
            if question and len(made) < NUM_ITEMS:
                made.append(question)
        if len(made) == before:
            raise ValueError(f"{before} questions from all tables, {NUM_ITEMS} wanted; raise NUM_COMPANIES")
    return made


def _tables() -> Iterator[tuple[str, list[Table]]]:
    """The statements of each company's 10-Ks."""
    found: defaultdict[str, list[Table]] = defaultdict(list)
    for submission in submissions(SEED, NUM_COMPANIES, for_benchmark=True):
        if submission.form == "10-K":
            for section in submission.documents[0].sections:
                found[str(submission.company.cik)] += [block for block in section.blocks if isinstance(block, Table)]
    yield from found.items()


def _table_question(table: Table, cik: str, number: int, rng: random.Random) -> dict[str, object] | None:
    """A question on some rows of a table; None when the table is too small or its numbers too few."""
    width = len(table.columns)
    rows = [row for row in table.rows if len(row.values) == width and all(isinstance(v, int) for v in row.values)]
    if width < 2 or len(rows) < 3 or len({row.label for row in rows}) < len(rows):
        return None
    first = rng.randrange(max(1, len(rows) - TABLE_ROWS + 1))
    rows = rows[first : first + TABLE_ROWS]
    while len(prompt := _excerpt(table, rows)) > TABLE_CHARACTERS and len(rows) > 3:
        rows = rows[:-1]
    row, column = rng.randrange(len(rows)), rng.randrange(width)
    true = figure(rows[row].values[column])
    near = [rows[row].values[c] for c in range(width)] + [other.values[column] for other in rows]
    wrong = sorted({figure(value) for value in near} - {true})
    if len(prompt) > TABLE_CHARACTERS or len(wrong) < NUM_CHOICES - 1:
        return None
    answer = number % NUM_CHOICES
    choices = rng.sample(wrong, NUM_CHOICES - 1)
    choices.insert(answer, true)
    asked = f"{prompt}\n\n{rows[row].label}, {table.columns[column]}:"
    return _item("sec_tables", number, cik, asked, choices, answer)


def _excerpt(table: Table, rows: Sequence[Row]) -> str:
    """Rows as the pack reads them from HTML: a tab between cells, the corner empty."""
    lines = ["\t" + "\t".join(table.columns)]
    lines += ["\t".join([row.label, *map(figure, row.values)]) for row in rows]
    return "\n".join([f"{table.title} {table.note}", *lines])


def _item(task: str, number: int, cluster: str, prompt: str, choices: list[str], answer: int) -> dict[str, object]:
    return {
        "item": f"{task}/{number:03d}",
        "cluster": cluster,
        "prompt": prompt,
        "choices": choices,
        "answer": answer,
    }


QUESTIONS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "sec_items": item_questions,
    "sec_tables": table_questions,
}


def encoded(name: str) -> bytes:
    """The bytes of one of the files."""
    return b"".join(json.dumps(item, ensure_ascii=False).encode() + b"\n" for item in QUESTIONS[name]())


def main() -> None:
    """Write the files beside this module."""
    for name in QUESTIONS:
        path = Path(__file__).with_name(f"{name}.jsonl")
        path.write_bytes(encoded(name))
        sys.stderr.write(f"{path}: {NUM_ITEMS} items\n")


if __name__ == "__main__":
    main()
