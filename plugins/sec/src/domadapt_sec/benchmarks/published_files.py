"""The public benchmarks of the pack, read from the files that their authors publish: what their YAMLs call.

Nothing of them is shipped: Financial PhraseBank is CC BY-NC-SA 3.0, TAT-QA CC BY 4.0. A recipe names the folder:
`{task: financial_phrasebank, data_dir: FOLDER}`.
"""

from __future__ import annotations

import json
import lzma
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


def _file(data_dir: str, names: Sequence[str]) -> Path:
    """The first of these files that the folder has, compressed or not."""
    for name in names:
        for file in (Path(data_dir) / name, Path(data_dir) / f"{name}.xz"):
            if file.is_file():
                return file
    raise MissingError(f"{data_dir}: none of the files {', '.join(names)} (or *.xz) is here")


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
