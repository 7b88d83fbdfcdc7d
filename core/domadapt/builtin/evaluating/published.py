"""Rows of public benchmark files in the form in which their authors publish them, as lm-eval's tasks read them.

lm-eval's YAMLs expect the columns of one repository on the Hugging Face hub. The same items lie elsewhere as JSON
lines, JSON, CSV, with other names, answers counted from 1 or given as letters. A form is chosen by the task's
`dataset_path` and recognised by the keys of a row, so that a download of either kind works; what is neither is refused
with what was found.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domadapt.errors import DataError

Row = dict[str, Any]
LETTERS = "ABCDEFGHIJ"
_OPENERS: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
COMPRESSIONS = tuple(_OPENERS)


@dataclass(frozen=True)
class Shape:
    """One published form of a row: recognised by its keys, turned into the columns of the task.

    changes: what must change in the task with it, where the form lacks something the task's own code needs.
    """

    keys: frozenset[str]
    convert: Callable[[Row], Row]
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Form:
    """The rows that tasks of one `dataset_path` read. columns: what their YAML uses. header: of a CSV without one."""

    columns: frozenset[str]
    shapes: Sequence[Shape] = ()
    header: Sequence[str] = ()


def read_rows(file: Path, split: str = "", header: Sequence[str] = ()) -> list[Row]:
    """All rows of a JSON, JSON lines, CSV, TSV, Parquet or Arrow file, compressed or not. Raises DataError."""
    kind = kind_of(file)
    try:
        if kind in (".parquet", ".arrow"):
            return list(read_table(file).to_pylist())
        if kind in (".csv", ".tsv"):
            return _separated(read_text(file), "\t" if kind == ".tsv" else ",", header)
        return _json_rows(read_text(file), split)
    except (OSError, EOFError, ValueError, lzma.LZMAError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as {kind.removeprefix('.')} ({error})") from error


def read_table(file: Path) -> Any:
    """A Parquet or Arrow file as a table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if kind_of(file) == ".parquet":
        return pq.read_table(file)
    with pa.memory_map(str(file)) as source:
        try:
            return pa.ipc.open_stream(source).read_all()
        except pa.ArrowInvalid:
            return pa.ipc.open_file(source).read_all()


def kind_of(file: Path) -> str:
    """The suffix without compression: ".jsonl" of "test.jsonl.xz"."""
    return Path(file.name.removesuffix(file.suffix)).suffix if file.suffix in COMPRESSIONS else file.suffix


def read_text(file: Path) -> str:
    """The text of a file, compressed or not. Raises what reading raises."""
    raw = _OPENERS[file.suffix](file).read() if file.suffix in _OPENERS else file.read_bytes()
    return str(raw.decode("utf-8-sig"))


def _separated(text: str, delimiter: str, header: Sequence[str]) -> list[Row]:
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    first = next(lines, [])
    named = not header or first == list(header)
    names = first if named else list(header)
    rows = [] if named else [first]
    for line in lines:
        if line:
            rows.append(line)
    for number, row in enumerate(rows, 1 + named):
        if len(row) != len(names):
            raise ValueError(f"row {number} has {len(row)} cells, {len(names)} were wanted: {', '.join(names)}")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _json_rows(text: str, split: str) -> list[Row]:
    """A list, a mapping of ids to rows, a mapping of splits to lists, or one row a line."""
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        whole = [json.loads(line) for line in text.split("\n") if line.strip()]
    if isinstance(whole, dict) and whole and all(isinstance(rows, list) for rows in whole.values()):
        whole = whole[split if split in whole or len(whole) > 1 else next(iter(whole))]
    elif isinstance(whole, dict) and whole and all(isinstance(row, dict) for row in whole.values()):
        whole = [{"id": key, **row} for key, row in whole.items()]
    rows = whole if isinstance(whole, list) else [whole]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a list of objects was wanted")
    return rows


def as_task_reads(rows: list[Row], form: Form, place: str) -> tuple[list[Row], Mapping[str, Any]]:
    """The rows in the columns of the task, and what must change in the task. Raises DataError for an unknown form."""
    if not rows:
        raise DataError(f"{place}: holds no items")
    for shape in form.shapes:
        if shape.keys <= rows[0].keys():
            try:
                return [shape.convert(row) for row in rows], shape.changes
            except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
                raise DataError(f"{place}: an item is not in the form of the others ({error!r})") from error
    if form.columns <= rows[0].keys():
        return rows, {}
    wanted = " or ".join(", ".join(sorted(keys)) for keys in (form.columns, *(s.keys for s in form.shapes)))
    raise DataError(f"{place}: has {', '.join(sorted(map(str, rows[0])))}; wanted the keys {wanted}")


def _of(*keys: str) -> frozenset[str]:
    return frozenset(keys)


def _letters(count: int) -> list[str]:
    return list(LETTERS[:count])


def _medqa(row: Row) -> Row:
    options = row["options"]
    endings = {f"ending{number}": options[letter] for number, letter in enumerate("ABCD")}
    return {"sent1": row["question"], "sent2": "", **endings, "label": "ABCD".index(row["answer_idx"])}


def _medmcqa(row: Row) -> Row:
    # the published files count the answer from 1, the hub's copy from 0; the kind of choice is told in both
    return {key: row[key] for key in ("id", "question", "opa", "opb", "opc", "opd", "subject_name")} | {
        "cop": row["cop"] - 1
    }


def _pubmedqa(row: Row) -> Row:
    return {key: row[key] for key in ("QUESTION", "CONTEXTS", "final_decision")} | {"item": str(row["id"])}


def _pubmedqa_hub(row: Row) -> Row:
    contexts = row["context"]["contexts"]
    return {
        "QUESTION": row["question"],
        "CONTEXTS": contexts,
        "final_decision": row["final_decision"],
        "item": str(row["pubid"]),
    }


def _arc(row: Row) -> Row:
    choices = row["question"]["choices"]
    return {
        "id": row["id"],
        "question": row["question"]["stem"],
        "choices": {"text": [c["text"] for c in choices], "label": [c["label"] for c in choices]},
        "answerKey": row["answerKey"],
        "item": row["id"],
    }


def _lettered(row: Row, question: str) -> Row:
    labels = _letters(len(row["choices"]))
    return {
        question: row["query"].removeprefix("Question: ").rstrip("\n"),
        "choices": {"text": row["choices"], "label": labels},
        "answerKey": labels[row["gold"]],
    }


def _piqa(row: Row) -> Row:
    first, second = row["choices"]
    goal = row["query"].removeprefix("Question: ").rstrip("\n")
    return {"goal": goal, "sol1": first, "sol2": second, "label": row["gold"]}


def _winogrande(row: Row) -> Row:
    options = row["context_options"]
    shared = 0
    while len({option[: shared + 1] for option in options}) == 1 and shared < min(map(len, options)):
        shared += 1
    shared = options[0].rfind(" ", 0, shared) + 1  # names may begin alike
    first, second = (option[shared:] for option in options)
    sentence = f"{options[0][:shared]}_ {row['continuation']}"
    return {"sentence": sentence, "option1": first, "option2": second, "answer": str(row["gold"] + 1)}


def _super_glue(row: Row) -> Row:
    if row["query"].startswith("Passage: "):
        passage, _, question = row["query"].removeprefix("Passage: ").rpartition("\nQuestion: ")
        return {"passage": passage, "question": question.rstrip("?"), "label": row["gold"]}
    premise, _, connector = row["query"].rpartition(", ")
    asked = {"because": "cause", "therefore": "effect"}[connector]
    first, second = row["choices"]
    return {"premise": f"{premise}.", "question": asked, "choice1": first, "choice2": second, "label": row["gold"]}


def _lambada(row: Row) -> Row:
    return {"text": f"{row['context']} {row['continuation']}"}


def _mmlu(row: Row) -> Row:
    return {
        "question": row["question"],
        "choices": [row[letter] for letter in "ABCD"],
        "answer": "ABCD".index(row["answer"].strip()),
    }


def _hellaswag(row: Row) -> Row:
    labels = sorted(row["choices"])
    return {
        "query": _plain(row["question"]),
        "choices": [_plain(row["choices"][label]) for label in labels],
        "label": labels.index(row["answer"]),
        "item": str(row["id"]),
    }


def _plain(text: str) -> str:
    # WikiHow's marks, taken out as lm-eval's own task takes them out
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")


def _truthfulqa(row: Row) -> Row:
    right, wrong = ([a.strip() for a in row[f"{kind} Answers"].split(";") if a.strip()] for kind in _TRUTH)
    best = row["Best Answer"].strip()
    return {
        "question": row["Question"].strip(),
        "mc1_targets": {"choices": [best, *wrong], "labels": [1, *[0] * len(wrong)]},
        "mc2_targets": {"choices": [*right, *wrong], "labels": [*[1] * len(right), *[0] * len(wrong)]},
        "type": row["Type"],
        "category": row["Category"],
        "best_answer": best,
        "correct_answers": right,
        "incorrect_answers": wrong,
    }


_TRUTH = ("Correct", "Incorrect")
_FOUNDRY = _of("query", "choices", "gold")
MMLU_HEADER = ("question", "A", "B", "C", "D", "answer")

FORMS: dict[str, Form] = {
    "GBaker/MedQA-USMLE-4-options-hf": Form(
        _of("sent1", "ending0", "label"), [Shape(_of("question", "options", "answer_idx"), _medqa)]
    ),
    "openlifescienceai/medmcqa": Form(_of("question", "opa", "cop")),
    "bigbio/pubmed_qa": Form(
        _of("QUESTION", "CONTEXTS", "final_decision"),
        [
            Shape(_of("id", "QUESTION", "CONTEXTS", "final_decision"), _pubmedqa),
            Shape(_of("pubid", "context", "final_decision"), _pubmedqa_hub),
        ],
    ),
    "allenai/ai2_arc": Form(
        _of("question", "choices", "answerKey"),
        [Shape(_FOUNDRY, lambda row: _lettered(row, "question"))],
    ),
    "allenai/openbookqa": Form(
        _of("question_stem", "choices", "answerKey"),
        [Shape(_FOUNDRY, lambda row: _lettered(row, "question_stem"))],
    ),
    "Rowan/hellaswag": Form(
        _of("ctx_a", "ctx_b", "activity_label", "endings", "label"),
        [Shape(_of("question", "choices", "answer"), _hellaswag, {"process_docs": None, "doc_to_target": "label"})],
    ),
    "baber/piqa": Form(_of("goal", "sol1", "sol2", "label"), [Shape(_FOUNDRY, _piqa)]),
    "allenai/winogrande": Form(
        _of("sentence", "option1", "option2", "answer"),
        [Shape(_of("context_options", "continuation", "gold"), _winogrande)],
    ),
    "aps/super_glue": Form(_of("label"), [Shape(_FOUNDRY, _super_glue)]),
    "EleutherAI/lambada_openai": Form(_of("text"), [Shape(_of("context", "continuation"), _lambada)]),
    "cais/mmlu": Form(_of("question", "choices", "answer"), [Shape(_of(*MMLU_HEADER), _mmlu)], MMLU_HEADER),
    "truthfulqa/truthful_qa": Form(
        _of("question"), [Shape(_of("Question", "Best Answer", "Correct Answers", "Incorrect Answers"), _truthfulqa)]
    ),
}
"""Forms by the `dataset_path` of a task. Any other task takes files in its own columns."""

# the files of the ARC download nest what the hub's copy has flat, under the same names
_ARC_NESTED = Shape(_of("id", "question", "answerKey"), _arc)


def form_of(dataset: str, rows: list[Row]) -> Form | None:
    """The form of a task's rows. Two published forms share their keys with the hub's and are told by their values."""
    form = FORMS.get(dataset)
    if form is None or not rows:
        return form
    if dataset == "allenai/ai2_arc" and isinstance(rows[0].get("question"), dict):
        return Form(form.columns, [_ARC_NESTED])
    if dataset == "openlifescienceai/medmcqa" and all(row.get("cop") in (1, 2, 3, 4) for row in rows):
        return Form(form.columns, [Shape(_of("cop"), _medmcqa)])
    return form
