"""The public benchmarks of the pack, read from the files that their authors publish: what their YAMLs call.

Nothing of them is shipped: Financial PhraseBank and the headlines are CC BY-NC-SA, TAT-QA is CC BY 4.0, ConvFinQA MIT,
FiQA's terms are unclear. A recipe names the folder: `{task: financial_phrasebank, data_dir: FOLDER}`.
"""

from __future__ import annotations

import csv
import json
import lzma
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from domadapt.errors import DataError, MissingError

LABELS = ("negative", "neutral", "positive")
AGREEMENTS = ("AllAgree", "75Agree", "66Agree", "50Agree")


def load_phrasebank(data_dir: str, **_: object) -> dict[str, Any]:
    """Financial PhraseBank, `Sentences_50Agree.txt` or another of its four files: one SENTENCE@LABEL a line.

    Of several the one on which most annotators agree. Malo et al. 2014, arXiv 1307.5336.
    """
    file = _file(data_dir, [f"Sentences_{agreement}.txt" for agreement in AGREEMENTS])
    rows = [
        {"sentence": sentence.strip(), "label": LABELS.index(label), "item": f"{file.name.split('.')[0]}/{number}"}
        for number, (sentence, label) in enumerate(_labelled(file), 1)
    ]
    return {"test": _dataset(rows, file)}


def _labelled(file: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(_text(file).splitlines(), 1):
        sentence, at, label = line.strip().rpartition("@")
        if not line.strip():
            continue
        if not at or label not in LABELS:
            raise DataError(f"{file}:{number}: SENTENCE@{'|'.join(LABELS)} was wanted, came {line[:80]!r}")
        yield sentence, label


def load_tatqa(data_dir: str, **_: object) -> dict[str, Any]:
    """TAT-QA, `tatqa_dataset_dev.json` or `tatqa_dataset_test_gold.json`: questions on a table and its text.

    Questions on one table share a cluster. Zhu et al. 2021, arXiv 2105.07624.
    """
    file = _file(data_dir, ["tatqa_dataset_test_gold.json", "tatqa_dataset_dev.json"])
    try:
        rows = [row for context in json.loads(_text(file)) for row in _questions(context)]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: is not in the form of TAT-QA ({error!r})") from error
    return {"test": _dataset(rows, file)}


def _questions(context: dict[str, Any]) -> Iterator[dict[str, Any]]:
    table = "\n".join(" | ".join(cell.strip() for cell in row) for row in context["table"]["table"])
    paragraphs = sorted(context["paragraphs"], key=lambda paragraph: int(paragraph["order"]))
    for question in context["questions"]:
        answer = question["answer"]
        yield {
            "item": question["uid"],
            "cluster": context["table"]["uid"],
            "table": table,
            "text": "\n".join(paragraph["text"] for paragraph in paragraphs),
            "question": question["question"],
            "answers": [str(one) for one in answer] if isinstance(answer, list) else [str(answer)],
            "scale": question["scale"],
            "kind": question["answer_type"],
        }


FIQA_FILES = ("task1_headline_ABSA_train.json", "task1_post_ABSA_train.json")
FIQA_NEUTRAL = 0.1
"""Scores from -1 to 1 that are nearer to 0 are neutral: the files hold scores, the task asks for classes."""


def load_fiqa(data_dir: str, **_: object) -> dict[str, Any]:
    """FiQA task 1, `task1_headline_ABSA_train.json`, `task1_post_ABSA_train.json` or both: sentiment towards a target.

    The targets of a sentence share a cluster. Maia et al. 2018, doi 10.1145/3184558.3192301.
    """
    files = [file for name in FIQA_FILES if (file := _found(data_dir, name))] or [_file(data_dir, FIQA_FILES)]
    rows: list[dict[str, Any]] = []
    for file in files:
        try:
            for key, entry in json.loads(_text(file)).items():
                rows += _targets(f"{file.name.split('_')[1]}/{key}", entry)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{file}: is not in the form of FiQA's task 1 ({error!r})") from error
    return {"test": _dataset(rows, files[0])}


def _targets(item: str, entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for number, info in enumerate(entry["info"]):
        score = float(info["sentiment_score"])
        label = 1 if abs(score) < FIQA_NEUTRAL else 2 if score > 0 else 0
        row = {"sentence": entry["sentence"].strip(), "target": info["target"].strip(), "label": label}
        yield {"item": f"{item}/{number}", "cluster": item, **row}


HEADLINES = {
    "Price Direction Up": "Does the headline say that the price goes up?",
    "Price Direction Constant": "Does the headline say that the price stays the same?",
    "Price Direction Down": "Does the headline say that the price goes down?",
    "Asset Comparision": "Does the headline compare gold with another asset?",
    "Past Information": "Does the headline tell of the past?",
    "Future Information": "Does the headline tell of the future?",
}
"""The columns of the published file, spelt as there, with what they stand for."""


def load_headlines(data_dir: str, **_: object) -> dict[str, Any]:
    """Headlines about gold, `gold-dataset-sinha-khandait.csv`: six questions each, answered yes or no.

    The questions on one headline share a cluster. `weight` makes yes and no of a question weigh the same: 97 % of all
    headlines tell of the past. Sinha and Khandait 2020, arXiv 2009.04202.
    """
    file = _file(data_dir, ["gold-dataset-sinha-khandait.csv"])
    header, *lines = _text(file).splitlines() or [""]
    separator = "\t" if "\t" in header else ","
    names = header.split(separator)
    if missing := {"News", *HEADLINES} - set(names):
        raise DataError(f"{file}:1: wanted the columns News, {', '.join(HEADLINES)}; {sorted(missing)[0]!r} is missing")
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 2):
        cells = _cells(line, separator)
        entry = dict(zip(names, cells, strict=False))
        if len(cells) != len(names) or any(entry[column] not in ("0", "1") for column in HEADLINES):
            continue  # one line of the published file has lost its end
        for column, question in HEADLINES.items():
            row = {"headline": entry["News"].strip(), "question": question, "label": int(entry[column])}
            rows.append({"item": f"{number}/{column}", "cluster": str(number), **row})
    answers = Counter((row["question"], row["label"]) for row in rows)
    for row in rows:
        asked = answers[row["question"], 0] + answers[row["question"], 1]
        row["weight"] = asked / (2 * answers[row["question"], row["label"]])
    return {"test": _dataset(rows, file)}


def _cells(line: str, separator: str) -> list[str]:
    """The cells of a line; one between tabs may have got its quotation marks from a program for commas."""
    line = ",".join(next(csv.reader([line]), [])) if separator == "\t" else line
    return next(csv.reader([line], delimiter=separator), [])


def load_convfinqa(data_dir: str, **_: object) -> dict[str, Any]:
    """ConvFinQA, `dev.json` (or `test.json`, where its answers are public): the turns of conversations about a report.

    A turn comes after the questions and right answers before it; the turns of a conversation share a cluster. Chen et
    al. 2022, arXiv 2210.03849.
    """
    file = _file(data_dir, ["dev.json", "test.json"])
    try:
        rows = [row for conversation in json.loads(_text(file)) for row in _turns(conversation)]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: is not in the form of ConvFinQA's conversations ({error!r})") from error
    return {"test": _dataset(rows, file)}


def _turns(conversation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    table = "\n".join(" | ".join(str(cell).strip() for cell in row) for row in conversation["table"])
    annotation = conversation["annotation"]
    said = ""
    for number, (question, answer) in enumerate(
        zip(annotation["dialogue_break"], annotation["exe_ans_list"], strict=True)
    ):
        yield {
            "item": f"{conversation['id']}/{number}",
            "cluster": conversation["id"],
            "before": " ".join(conversation["pre_text"]),
            "table": table,
            "after": " ".join(conversation["post_text"]),
            "said": said,
            "question": question.strip(),
            "answer": str(answer),
        }
        said += f"Question: {question.strip()}\nAnswer: {answer}\n"


def _file(data_dir: str, names: Sequence[str]) -> Path:
    """The first of these files that the folder has, compressed or not."""
    for name in names:
        if file := _found(data_dir, name):
            return file
    raise MissingError(f"{data_dir}: none of the files {', '.join(names)} (or *.xz) is here")


def _found(data_dir: str, name: str) -> Path | None:
    files = (Path(data_dir) / name, Path(data_dir) / f"{name}.xz")
    return next((file for file in files if file.is_file()), None)


def _text(file: Path) -> str:
    try:
        raw = lzma.decompress(file.read_bytes()) if file.suffix == ".xz" else file.read_bytes()
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # the PhraseBank's own download


def _dataset(rows: list[dict[str, Any]], file: Path) -> Any:
    import datasets

    if not rows:
        raise DataError(f"{file}: holds no items")
    return datasets.Dataset.from_list(rows)
