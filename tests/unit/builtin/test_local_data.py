"""Local copies of benchmark data: which file is which split, and files as their authors publish them."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domadapt.artifacts import Checkpoint, ScoreRow
from domadapt.builtin.evaluating.catalogue import catalogue
from domadapt.builtin.evaluating.lm_eval_tasks import LmEval
from domadapt.builtin.evaluating.local_data import data_override, find_splits, load, local_files
from domadapt.builtin.evaluating.published import read_rows
from domadapt.components import Benchmark, EvalRequest, Stage
from domadapt.errors import DataError, MissingError
from domadapt.pipeline.benchmarks import benchmark_files, read_task, with_data

MakeStage = Callable[..., Stage]
Rows = list[dict[str, Any]]

TASK = {"training_split": "train", "validation_split": "validation", "test_split": "test", "dataset_path": "some/data"}


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text('{"a": 1}')
    return folder


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["test.jsonl"], {"test": "test.jsonl"}),
        (["train.parquet", "test.csv.gz"], {"train": "train.parquet", "test": "test.csv.gz"}),
        (["phrases_no_exclude_test.jsonl.xz", "README.md"], {"test": "phrases_no_exclude_test.jsonl.xz"}),
        (
            ["ARC-Easy-Dev.jsonl", "ARC-Easy-Test.jsonl"],
            {"validation": "ARC-Easy-Dev.jsonl", "test": "ARC-Easy-Test.jsonl"},
        ),
        (["test/data-00000.arrow", "test/state.json"], {"test": "test/data-00000.arrow"}),
        (["latest.json", "test.json"], {"test": "test.json"}),
        (["items.json"], {"test": "items.json"}),
    ],
)
def test_files_are_the_splits_that_their_names_say(tmp_path: Path, names: list[str], wanted: dict[str, str]) -> None:
    found = find_splits(TASK, touch(tmp_path, *names), "some")
    assert {s: [str(f.relative_to(tmp_path)) for f in files] for s, files in found.splits.items()} == {
        split: [name] for split, name in wanted.items()
    }
    assert (found.evaluated, found.note) == ("test", "")


def test_shards_belong_together_and_other_files_of_one_split_are_refused(tmp_path: Path) -> None:
    shards = touch(tmp_path / "a", "test-00001-of-00002.parquet", "test-00000-of-00002.parquet")
    assert [file.name[:10] for file in find_splits(TASK, shards, "some").splits["test"]] == ["test-00000", "test-00001"]
    twice = touch(tmp_path / "b", "one_test.json", "two_test.json")
    with pytest.raises(DataError, match=r"several files of its 'test' split in .* \(one_test.json, two_test.json\)"):
        find_splits(TASK, twice, "some")
    named = {**TASK, "dataset_name": "Two"}
    assert [file.name for file in find_splits(named, twice, "some").splits["test"]] == ["two_test.json"]


def test_another_heldout_split_stands_in_and_is_said_and_the_training_split_is_not(tmp_path: Path) -> None:
    found = find_splits(TASK, touch(tmp_path / "a", "dev.json"), "some")
    assert (found.evaluated, found.note) == ("test", "on validation items")
    with pytest.raises(
        MissingError, match=r"no file of its 'test' split in .* \(there: train.json\); name it test.jsonl"
    ):
        find_splits(TASK, touch(tmp_path / "b", "train.json"), "some")
    with pytest.raises(MissingError, match=r"\(there: no data file\)"):
        find_splits(TASK, touch(tmp_path / "c", "README.md"), "some")


def test_a_subject_reads_its_own_file_only(tmp_path: Path) -> None:
    folder = touch(tmp_path, "anatomy_test.csv", "anatomy_dev.csv", "virology_test.csv")
    (anatomy,) = catalogue().find("mmlu_anatomy")
    files = local_files(with_data(anatomy, folder))
    assert [file.name for file in files or ()] == ["anatomy_dev.csv", "anatomy_test.csv"]
    (biology,) = catalogue().find("mmlu_college_biology")
    with pytest.raises(MissingError, match=r"name it college_biology_test\.jsonl"):
        local_files(with_data(biology, folder))


def test_only_splits_that_are_used_are_read(tmp_path: Path) -> None:
    touch(tmp_path, "train.json", "validation.json", "test.json")
    override, _ = data_override(TASK, tmp_path, "some", 0)
    assert override["dataset_kwargs"]["adapt_files"] == {"test": [str(tmp_path / "test.json")]}
    assert (override["training_split"], override["validation_split"]) == (None, None)
    override, _ = data_override(TASK, tmp_path, "some", 5)
    assert sorted(override["dataset_kwargs"]["adapt_files"]) == ["test", "train"]
    (tmp_path / "train.json").unlink()
    with pytest.raises(DataError, match=r"5 solved examples are wanted before each item, but .* of its 'train' split"):
        data_override(TASK, tmp_path, "some", 5)


def test_folders_that_are_not_there_and_tasks_with_code_of_their_own_are_refused(tmp_path: Path) -> None:
    (arc,) = catalogue().find("arc_easy")
    with pytest.raises(MissingError, match=r"benchmark arc_easy: data_dir .*nowhere is not a folder"):
        benchmark_files(with_data(arc, tmp_path / "nowhere"))
    (squad,) = catalogue().find("squad_completion")
    with pytest.raises(DataError, match="its own code loads its data, so it takes no data_dir"):
        benchmark_files(with_data(squad, tmp_path))


def test_data_of_the_hub_are_wanted_in_its_cache_when_the_hub_must_not_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_DATASETS_CACHE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    (arc,) = catalogue().find("arc_easy")
    assert benchmark_files(arc)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingError, match=r"arc_easy: its data \(allenai/ai2_arc\) are not in the Hugging Face cache"):
        benchmark_files(arc)
    (tmp_path / "datasets" / "allenai___ai2_arc").mkdir(parents=True)
    assert benchmark_files(arc)


ROWS = [{"question": "q1", "gold": 0}, {"question": "q2, or\nnot", "gold": 1}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("test.jsonl", LINES.encode()),
        ("test.json", LINES.encode()),
        ("test.json", b"\xef\xbb\xbf" + json.dumps(ROWS).encode()),
        ("test.json.xz", lzma.compress(json.dumps({"test": ROWS, "dev": []}).encode())),
        ("test.jsonl.gz", gzip.compress(LINES.encode())),
    ],
)
def test_rows_are_read_from_every_kind_of_json(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_rows(tmp_path / name, "test") == ROWS


def test_rows_are_read_from_tables_and_keyed_objects(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, tmp_path / "test.parquet")
    for name, writer in (("a.arrow", pa.ipc.new_stream), ("b.arrow", pa.ipc.new_file)):
        with writer(tmp_path / name, table.schema) as out:
            out.write_table(table)
    for name in ("test.parquet", "a.arrow", "b.arrow"):
        assert read_rows(tmp_path / name) == ROWS
        assert load({"test": [str(tmp_path / name)]})["test"].to_list() == ROWS
    (tmp_path / "t.tsv").write_text("question\tgold\nq\t1\n")
    assert read_rows(tmp_path / "t.tsv") == [{"question": "q", "gold": "1"}]
    (tmp_path / "keyed.json").write_text(json.dumps({"17": {"q": 1}, "18": {"q": 2}}))
    assert read_rows(tmp_path / "keyed.json") == [{"id": "17", "q": 1}, {"id": "18", "q": 2}]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b"{", "cannot be read as json"),
        ("a.json", b"[1, 2]", "a list of objects was wanted"),
        ("a.jsonl.xz", b"not xz", "cannot be read as jsonl"),
        ("a.jsonl.gz", gzip.compress(LINES.encode())[:20], "cannot be read as jsonl"),
        ("a.csv", b"x,y\n1,2,3\n", "row 2 has 3 cells, 2 were wanted: x, y"),
        ("a.parquet", b"PAR1", "cannot be read as parquet"),
        ("a.json", b"\xff\xfe\x00", "cannot be read as json"),
    ],
)
def test_damaged_files_are_said_with_their_names(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: .*{said}"):
        read_rows(tmp_path / name)


def converted(folder: Path, task: str, name: str, rows: Rows) -> Rows:
    """The rows of one published file as the task's data set has them."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (known,) = catalogue().find(task)
    override, _ = data_override(read_task(known), folder, task, 0)
    (made,) = load(**override["dataset_kwargs"]).values()
    return list(made.to_list())


QUESTION = {"stem": "Why?", "choices": [{"text": "a", "label": "1"}, {"text": "b", "label": "2"}]}
FLAT = {"query": "Question: Why?\n", "choices": ["a", "b"], "gold": 1}
MCQ = {"id": "x", "question": "Why?", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "subject_name": "s"}


def test_the_nested_and_the_flat_form_of_arc_give_the_same_question(tmp_path: Path) -> None:
    nested = {"id": "A1", "question": QUESTION, "answerKey": "2"}
    (one,) = converted(tmp_path / "n", "arc_easy", "ARC-Easy-Test.jsonl", [nested])
    assert one == {
        "id": "A1",
        "question": "Why?",
        "choices": {"text": ["a", "b"], "label": ["1", "2"]},
        "answerKey": "2",
        "item": "A1",
    }
    (other,) = converted(tmp_path / "f", "arc_easy", "arc_easy.jsonl", [FLAT])
    assert other == {"question": "Why?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "B"}


def test_answers_of_medmcqa_counted_from_one_are_counted_from_zero(tmp_path: Path) -> None:
    published = [{**MCQ, "cop": cop} for cop in (1, 4)]
    hub = [{**MCQ, "cop": cop} for cop in (0, 3)]
    for name, rows in (("published", published), ("hub", hub)):
        assert [row["cop"] for row in converted(tmp_path / name, "medmcqa", "dev.json", rows)] == [0, 3]


def test_the_flat_forms_give_the_columns_of_their_tasks(tmp_path: Path) -> None:
    def one(task: str, row: dict[str, Any]) -> dict[str, Any]:
        (found,) = converted(tmp_path / task, task, "items.jsonl", [row])
        return found

    assert one("piqa", FLAT) == {"goal": "Why?", "sol1": "a", "sol2": "b", "label": 1}
    assert one("openbookqa", FLAT)["question_stem"] == "Why?"
    context = {"query": "Passage: A house.\nQuestion: is it so?", "choices": ["no", "yes"], "gold": 1}
    assert one("boolq", context) == {"passage": "A house.", "question": "is it so", "label": 1}
    cause = {"query": "The tap ran, because", "choices": ["he turned it.", "it rained."], "gold": 0}
    assert one("copa", cause) == {
        "premise": "The tap ran.",
        "question": "cause",
        "choice1": "he turned it.",
        "choice2": "it rained.",
        "label": 0,
    }
    swapped = {
        "context_options": ["Ann told Mary that Ann", "Ann told Mary that Mary"],
        "continuation": "won.",
        "gold": 1,
    }
    assert one("winogrande", swapped) == {
        "sentence": "Ann told Mary that _ won.",
        "option1": "Ann",
        "option2": "Mary",
        "answer": "2",
    }
    assert one("lambada_openai", {"context": "He said", "continuation": "yes"}) == {"text": "He said yes"}


def test_a_form_that_nobody_knows_is_refused_with_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"items.jsonl: has answer, text; wanted the keys .*sent1"):
        converted(tmp_path / "a", "medqa_4options", "items.jsonl", [{"text": "x", "answer": "y"}])
    rows = [{"question": "q", "options": dict.fromkeys("ABCD", "x"), "answer_idx": "A"}, {"question": "only"}]
    with pytest.raises(DataError, match=r"items\.jsonl: an item is not in the form of the others"):
        converted(tmp_path / "b", "medqa_4options", "items.jsonl", rows)


@pytest.fixture(scope="module")
def real() -> Path:
    root = os.environ.get("ADAPT_REAL_DATA")
    if not root:
        pytest.skip("ADAPT_REAL_DATA is not set: no real benchmark files to read")
    return Path(root)


@pytest.fixture(scope="module")
def tiny() -> Checkpoint:
    import domadapt

    return Checkpoint(Path(domadapt.__file__).parent / "builtin" / "models" / "tiny")


FILES = {
    "medqa_4options": "medical/bench/medqa",
    "medmcqa": "medical/bench/medmcqa",
    "pubmedqa": "medical/bench/pubmedqa",
    "mmlu_anatomy": "medical/bench/mmlu",
    "mmlu_virology": "general/bench/mmlu",
    "hellaswag": "general/bench/hellaswag",
    "arc_easy": "general/bench/llm_foundry/arc_easy.jsonl.xz",
    "piqa": "general/bench/llm_foundry/piqa.jsonl.xz",
    "openbookqa": "general/bench/llm_foundry/openbook_qa.jsonl.xz",
    "boolq": "general/bench/llm_foundry/boolq.jsonl.xz",
    "copa": "general/bench/llm_foundry/copa.jsonl.xz",
    "winogrande": "general/bench/llm_foundry/winogrande.jsonl.xz",
    "truthfulqa_mc1": "general/bench/truthfulqa",
    "truthfulqa_mc2": "general/bench/truthfulqa",
    "sciq": "general/bench/hf_arrow/sciq",
    "rte": "general/bench/hf_arrow/glue/rte",
}


def real_benchmark(name: str, real: Path, folder: Path) -> Benchmark:
    """The task on its real files; a file that lies among those of other tasks gets a folder of its own."""
    data = real / FILES[name]
    if not data.is_dir():
        folder.mkdir()
        data = Path(shutil.copy(data, folder)).parent
    (task,) = catalogue().find(name)
    return with_data(task, data)


def scored(
    benchmark: Benchmark, model: Checkpoint, out: Path, stage: Stage, limit: int
) -> tuple[list[ScoreRow], list[dict[str, str]]]:
    out.mkdir()
    rows = LmEval().evaluate(model, EvalRequest(benchmark.name, "domain", benchmark, None, limit, 4096), out, stage)
    return rows, [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", FILES)
def test_real_files_are_scored_by_the_name_of_their_task(
    name: str, real: Path, tiny: Checkpoint, tmp_path: Path, make_stage: MakeStage
) -> None:
    rows, told = scored(real_benchmark(name, real, tmp_path / "own"), tiny, tmp_path / "out", make_stage("eval"), 8)
    assert {row.n for row in rows} == {8}
    assert "acc" in [row.metric for row in rows]
    assert all(0 <= row.value <= 1 for row in rows)
    assert len(told) == 8
    assert all(line["prompt"] and line["wanted"] and line["given"] for line in told)


def test_the_real_questions_of_pubmedqa_are_those_of_its_test_half(
    real: Path, tiny: Checkpoint, tmp_path: Path, make_stage: MakeStage
) -> None:
    truth = json.loads((real / FILES["pubmedqa"] / "test_ground_truth.json").read_text())
    benchmark = real_benchmark("pubmedqa", real, tmp_path)
    _, told = scored(benchmark, tiny, tmp_path / "out", make_stage("eval"), 20)
    assert {line["item"]: line["wanted"] for line in told} == {line["item"]: truth[line["item"]] for line in told}
    files = [Path(name) for name in map(str, local_files(benchmark) or ())]
    made = load({"test": [str(file) for file in files[:2]]}, "bigbio/pubmed_qa")["test"]
    assert {row["item"]: row["final_decision"] for row in made} == truth


def test_real_answers_are_those_of_the_files(real: Path) -> None:
    asked = read_rows(next((real / FILES["medqa_4options"]).glob("*.jsonl.xz")))
    file = str(next((real / FILES["medqa_4options"]).glob("*.jsonl.xz")))
    made = load({"test": [file]}, "GBaker/MedQA-USMLE-4-options-hf")["test"].to_list()
    assert [row[f"ending{row['label']}"] for row in made] == [row["answer"] for row in asked]
    file = str(real / "medical/bench/mmlu/anatomy_test.csv")
    made = load({"test": [file]}, "cais/mmlu")["test"].to_list()
    # the first line of the file, whose right answer is its first
    assert made[0]["choices"][made[0]["answer"]] == "paralysis of the facial muscles."
    assert len(made) == 135


def test_generated_answers_of_gsm8k_come_with_examples_and_two_filters(
    real: Path, tiny: Checkpoint, tmp_path: Path, make_stage: MakeStage
) -> None:
    (task,) = catalogue().find("gsm8k")
    benchmark = with_data(task, real / "general" / "bench" / "gsm8k")
    rows, told = scored(benchmark, tiny, tmp_path / "out", make_stage("eval"), 2)
    assert [row.metric for row in rows] == ["exact_match,strict-match", "exact_match,flexible-extract"]
    assert ", 5-shot" in rows[0].protocol
    assert told[0]["prompt"].count("Question: ") >= 1
