"""Local copies of benchmark data: which files of a folder are which split, and the data set they make.

A folder holds one file a split, named like it (`train.parquet`, `test.jsonl.xz`, `anatomy_dev.csv`,
`validation/data.arrow`), in the task's own columns or as published (`published.FORMS`). Nothing is copied or unpacked:
rows are read when a task is built.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domadapt.builtin.evaluating.published import (
    COMPRESSIONS,
    FORMS,
    Form,
    Row,
    as_task_reads,
    form_of,
    kind_of,
    read_rows,
    read_table,
)
from domadapt.components import Benchmark
from domadapt.errors import DataError, MissingError
from domadapt.pipeline.benchmarks import TaskFile, read_task

_KINDS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow")
_SPLIT = re.compile(r"(?<![a-z])(auxiliary_train|training|train|validation|valid|val|dev|test)(?![a-z])")
_SAME = {"training": "train", "valid": "validation", "val": "validation", "dev": "validation"}
_TRUE = ("1", "ON", "YES", "TRUE")
_SHARD = re.compile(r"\d+-of-\d+")
SPLIT_KEYS = ("training_split", "validation_split", "test_split", "fewshot_split")
LOAD = "domadapt.builtin.evaluating.local_data.load"
"""As a task YAML names `load`."""


@dataclass(frozen=True)
class LocalData:
    """The files of a task. splits: by the name that the task gives a split.  note: what is not as the task says."""

    splits: Mapping[str, Sequence[Path]]
    evaluated: str
    note: str = ""


def local_files(benchmark: Benchmark) -> list[Path] | None:
    """The files of a local copy that the benchmark reads, None when it has no local copy.

    Raises MissingError when the folder or a file is missing, or when the benchmark cannot do without a local copy.
    """
    task = read_task(benchmark)
    folder = benchmark.data if isinstance(benchmark, TaskFile) else None
    if folder is None:
        if "data_dir" in (task.get("dataset_kwargs") or {}):
            raise MissingError(
                f"benchmark {benchmark.name} ({benchmark.title}) brings no data; write {{task: {benchmark.name}, "
                "data_dir: FOLDER} with the folder of its files"
            )
        _check_hub(benchmark, task)
        return None
    if not folder.is_dir():
        raise MissingError(f"benchmark {benchmark.name}: data_dir {folder} is not a folder")
    if "custom_dataset" in task:
        return [folder]  # its own function reads the folder
    found = find_splits(task, folder, benchmark.name)
    return [file for split in sorted(found.splits) for file in found.splits[split]]


def _check_hub(benchmark: Benchmark, task: Mapping[str, Any]) -> None:
    """Refuse, before anything runs, data of the hub that are not in its cache when the hub must not be asked."""
    dataset = str(task.get("dataset_path") or "")
    if not any(os.environ.get(name, "").upper() in _TRUE for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")):
        return
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", dataset):
        return
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    made = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets") / dataset.replace("/", "___").lower()
    fetched = Path(os.environ.get("HF_HUB_CACHE") or home / "hub") / f"datasets--{dataset.replace('/', '--')}"
    if not any(folder.is_dir() for folder in (made, made.with_name(dataset.replace("/", "___")), fetched)):
        raise MissingError(
            f"benchmark {benchmark.name}: its data ({dataset}) are not in the Hugging Face cache {home}, and "
            f"HF_HUB_OFFLINE is set; give a local copy: {{task: {benchmark.name}, data_dir: FOLDER}}"
        )


def find_splits(task: Mapping[str, Any], folder: Path, name: str) -> LocalData:
    """Which files are which split of the task. Raises MissingError when the evaluated split is not among them."""
    if "class" in task:
        raise DataError(f"benchmark {name}: its own code loads its data, so it takes no data_dir")
    dataset = str(task.get("dataset_path") or "")
    evaluated = next((task[key] for key in ("test_split", "validation_split", "training_split") if task.get(key)), "")
    files = sorted(file for file in folder.rglob("*") if _is_data(file, folder))
    if dataset == "bigbio/pubmed_qa" and any(file.name.startswith("ori_pqal.json") for file in files):
        return _pubmedqa(files, str(evaluated))
    if dataset == "cais/mmlu" and (subject := task.get("dataset_name")):
        files = [file for file in files if re.match(rf"{subject}[_.-]", file.name)]
    elif subject := task.get("dataset_name"):
        own = [file for file in files if _belongs(file.relative_to(folder), str(subject))]
        files = own or files
    wanted = {str(task[key]) for key in SPLIT_KEYS if task.get(key)}
    wanted |= {str(split)} if (split := _fewshot_config(task).get("split")) else set()
    splits = {split: chosen for split in sorted(wanted) if (chosen := _files_of(split, files, folder, name))}
    if evaluated in splits:
        return LocalData(splits, str(evaluated))
    unnamed = [file for file in files if not _split_words(file, folder)]
    if len(unnamed) == 1 and len(files) == 1:
        return LocalData({str(evaluated): unnamed}, str(evaluated))
    for other in ("validation", "test"):
        if chosen := _files_of(other, files, folder, name):
            return LocalData({**splits, str(evaluated): chosen}, str(evaluated), f"on {other} items")
    have = ", ".join(str(file.relative_to(folder)) for file in files[:8]) or "no data file"
    what = f"{task['dataset_name']}_{evaluated}" if dataset == "cais/mmlu" else evaluated
    raise MissingError(
        f"benchmark {name}: no file of its {evaluated!r} split in {folder} (there: {have}); "
        f"name it {what}.jsonl, .json, .csv or .parquet, compressed or not"
    )


def _is_data(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    about = file.name in ("dataset_info.json", "state.json", "dataset_dict.json", "dataset_infos.json")
    return kind_of(file) in _KINDS and not hidden and not about and file.is_file()


def _split_words(file: Path, folder: Path) -> list[str]:
    """The words for splits in a file's name, last first, then in the folders above it, nearest first."""
    stem = file.name.removesuffix(file.suffix) if file.suffix in COMPRESSIONS else file.name
    words = _SPLIT.findall(stem.lower())[::-1]
    return words or [w for part in file.relative_to(folder).parts[-2::-1] for w in _SPLIT.findall(part.lower())]


def _files_of(split: str, files: Sequence[Path], folder: Path, name: str) -> list[Path]:
    """The file of a split, or its shards: of this very word, else of another word for it."""
    by_word = [(file, words[0]) for file in files if (words := _split_words(file, folder))]
    exact = [file for file, word in by_word if word == split]
    chosen = exact or [file for file, word in by_word if _SAME.get(word, word) == _SAME.get(split, split)]
    if len(chosen) > 1 and not all(_SHARD.search(file.name) for file in chosen):
        names = ", ".join(str(file.relative_to(folder)) for file in chosen[:6])
        raise DataError(
            f"benchmark {name}: several files of its {split!r} split in {folder} ({names}); give the folder of one"
        )
    return chosen


def _belongs(file: Path, subject: str) -> bool:
    def folded(text: str) -> str:
        return re.sub(r"[^a-z0-9]+", "_", text.lower())

    return any(re.match(rf"{re.escape(folded(subject))}(?![a-z0-9])", folded(part)) for part in file.parts)


def _pubmedqa(files: Sequence[Path], evaluated: str) -> LocalData:
    """The expert-labelled set with the list of its test half; without that list all of it is asked."""
    asked = [file for file in files if file.name.startswith("ori_pqal.json")][:1]
    truth = [file for file in files if file.name.startswith("test_ground_truth.json")][:1]
    if not truth:
        return LocalData({evaluated: asked}, evaluated, "all expert-labelled items")
    return LocalData({evaluated: [*asked, *truth], "train": [*asked, *truth]}, evaluated)


def _fewshot_config(task: Mapping[str, Any]) -> Mapping[str, Any]:
    config = task.get("fewshot_config")
    return config if isinstance(config, Mapping) else {}


def data_override(task: Mapping[str, Any], folder: Path, name: str, num_fewshot: int) -> tuple[dict[str, Any], str]:
    """What an override of a task's YAML must say to read a local copy, and a note for the protocol.

    Only the splits that are used are read. Raises DataError when solved examples are wanted and none are there.
    """
    if "custom_dataset" in task:
        return {"dataset_kwargs": {**(task.get("dataset_kwargs") or {}), "data_dir": str(folder)}}, ""
    found = find_splits(task, folder, name)
    config = _fewshot_config(task)
    examples = config.get("split") or next(
        (task[key] for key in ("fewshot_split", "training_split", "validation_split") if task.get(key)), None
    )
    needed = {found.evaluated}
    if num_fewshot and not config.get("samples"):
        if examples is None or examples not in found.splits:
            raise DataError(
                f"benchmark {name}: {num_fewshot} solved examples are wanted before each item, but {folder} has no "
                f"file of its {examples or 'training'!r} split"
            )
        needed.add(examples)
    dataset = str(task.get("dataset_path") or "")
    override: dict[str, Any] = {key: None for key in SPLIT_KEYS if task.get(key) and task[key] not in needed}
    if config.get("split") and config["split"] not in needed:
        override["fewshot_config"] = {key: value for key, value in config.items() if key != "split"}
    files = {split: [str(file) for file in found.splits[split]] for split in sorted(needed)}
    override |= _form_changes(dataset, found)
    override |= {"dataset_name": None, "dataset_kwargs": {"adapt_files": files, "adapt_dataset": dataset}}
    return override, found.note


def _form_changes(dataset: str, found: LocalData) -> Mapping[str, Any]:
    """What the published form changes in the task itself."""
    if dataset not in FORMS or not any(shape.changes for shape in FORMS[dataset].shapes):
        return {}
    return _rows(found.splits[found.evaluated], found.evaluated, dataset)[1]


def load(adapt_files: Mapping[str, Sequence[str]], adapt_dataset: str = "", **_: object) -> dict[str, Any]:
    """The data set of a task, by split: what a task's `custom_dataset` gives to lm-eval."""
    import datasets

    made: dict[str, Any] = {}
    for split, names in adapt_files.items():
        files = [Path(name) for name in names]
        columns = FORMS[adapt_dataset].columns if adapt_dataset in FORMS else frozenset()
        if all(kind_of(file) in (".parquet", ".arrow") for file in files):
            tables = [datasets.Dataset(datasets.table.InMemoryTable(read_table(file))) for file in files]
            if all(columns <= set(table.column_names) for table in tables):
                made[split] = datasets.concatenate_datasets(tables)
                continue
        made[split] = datasets.Dataset.from_list(_rows(files, split, adapt_dataset)[0])
    return made


def _rows(files: Sequence[Path], split: str, dataset: str) -> tuple[list[Row], Mapping[str, Any]]:
    """The rows of a split in the task's columns, and what their form changes in the task."""
    form = FORMS.get(dataset, Form(frozenset()))
    place = str(files[0])
    if dataset == "bigbio/pubmed_qa" and len(files) == 2 and files[1].name.startswith("test_ground_truth"):
        asked = {row["id"] for row in _keyed(files[1])}
        rows = [row for row in read_rows(files[0]) if (row["id"] in asked) == (split != "train")]
    else:
        rows = [row for file in files for row in read_rows(file, _SAME.get(split, split), form.header)]
    return as_task_reads(rows, form_of(dataset, rows) or form, place)


def _keyed(file: Path) -> list[Row]:
    import json

    from domadapt.builtin.evaluating.published import read_text

    try:
        keys = json.loads(read_text(file))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    return [{"id": str(key)} for key in keys]
