"""Financial PhraseBank and TAT-QA from the files that their authors publish; nothing of them is shipped."""

from __future__ import annotations

import json
import lzma
import os
from pathlib import Path
from typing import Any

import pytest

from domadapt.artifacts import Checkpoint
from domadapt.builtin.evaluating.lm_eval_tasks import LmEval
from domadapt.components import Benchmark, EvalRequest, Stage
from domadapt.errors import DataError, MissingError
from domadapt.pipeline.benchmarks import benchmark_files, with_data
from domadapt_sec.benchmarks import BENCHMARKS
from domadapt_sec.benchmarks.published_files import load_phrasebank, load_tatqa
from domadapt_sec.benchmarks.tatqa_scores import as_number, process_results

OWN = ("sec_continuation", "sec_items", "sec_tables")
PUBLIC = {benchmark.name: benchmark for benchmark in BENCHMARKS if benchmark.name not in OWN}

CONTEXT = {
    "table": {"uid": "t1", "table": [["", "2019"], ["Sales", "$1,496.5"]]},
    "paragraphs": [{"order": 2, "text": "Second."}, {"order": 1, "text": "First."}],
    "questions": [
        {"uid": "q1", "question": "Sales?", "answer": ["$1,496.5"], "scale": "million", "answer_type": "span"},
        {"uid": "q2", "question": "Change?", "answer": -5.4, "scale": "percent", "answer_type": "arithmetic"},
    ],
}


@pytest.mark.parametrize("benchmark", PUBLIC.values(), ids=list(PUBLIC))
def test_without_a_folder_of_data_the_benchmark_says_what_to_write(benchmark: Benchmark) -> None:
    with pytest.raises(MissingError, match=rf"brings no data; write {{task: {benchmark.name}, data_dir: FOLDER}}"):
        benchmark_files(benchmark)


def test_sentences_are_read_with_their_labels_from_either_encoding(tmp_path: Path) -> None:
    text = "Profit rose @ home .@positive\r\nNokia\u2019s sales fell .@negative\r\n"
    (tmp_path / "Sentences_50Agree.txt.xz").write_bytes(lzma.compress(text.encode("utf-8-sig")))
    rows = load_phrasebank(str(tmp_path))["test"].to_list()
    assert [(row["sentence"], row["label"]) for row in rows] == [
        ("Profit rose @ home .", 2),
        ("Nokia\u2019s sales fell .", 0),
    ]
    (tmp_path / "Sentences_AllAgree.txt").write_bytes("Säljer .@neutral\n".encode("latin-1"))
    (row,) = load_phrasebank(str(tmp_path))["test"].to_list()
    assert (row["sentence"], row["label"], row["item"]) == ("Säljer .", 1, "Sentences_AllAgree/1")


def test_files_that_are_not_there_or_not_of_their_form_are_said(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"none of the files Sentences_AllAgree\.txt, .* is here"):
        load_phrasebank(str(tmp_path))
    (tmp_path / "Sentences_50Agree.txt").write_text("no label here\n")
    with pytest.raises(DataError, match=r"Sentences_50Agree\.txt:1: SENTENCE@negative\|neutral\|positive was wanted"):
        load_phrasebank(str(tmp_path))
    (tmp_path / "tatqa_dataset_dev.json").write_text('[{"table": 3}]')
    with pytest.raises(DataError, match=r"tatqa_dataset_dev\.json: is not in the form of TAT-QA"):
        load_tatqa(str(tmp_path))


def test_questions_on_one_table_share_a_cluster_and_read_its_text_in_order(tmp_path: Path) -> None:
    (tmp_path / "tatqa_dataset_dev.json").write_text(json.dumps([CONTEXT]))
    rows = load_tatqa(str(tmp_path))["test"].to_list()
    assert [(row["item"], row["cluster"]) for row in rows] == [("q1", "t1"), ("q2", "t1")]
    assert rows[0]["text"] == "First.\nSecond."
    assert rows[0]["table"] == " | 2019\nSales | $1,496.5"
    assert [row["answers"] for row in rows] == [["$1,496.5"], ["-5.4"]]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("$1,496.5 million", 1496.5),
        ("(12.3)", -12.3),
        ("-5.4%", -5.4),
        ("5.4 percent", 5.4),
        ("€ 44", 44),
        ("3 contracts", None),
        ("2018 and 2019", None),
        ("none", None),
    ],
)
def test_an_answer_is_a_number_when_nothing_else_is_in_it(text: str, number: float | None) -> None:
    assert as_number(text) == number


@pytest.mark.parametrize(
    ("answers", "scale", "given", "exact", "f1"),
    [
        (["$1,496.5"], "million", "$1,496.5 million", 1, 1),
        (["$1,496.5"], "million", "1496.5", 1, 1),
        (["$1,496.5"], "million", "1,496,500,000", 1, 1),
        (["$1,496.5"], "million", "1,496.5 thousand", 0, 0),
        (["1.5"], "billion", "1,500 million", 1, 1),
        (["-5.4"], "percent", "(5.4)%", 1, 1),
        (["-5.4"], "percent", "5.4%", 0, 0),
        (["the customer"], "", "Customer.", 1, 1),
        (["the customer"], "", "a paying customer", 0, 2 / 3),
        (["fixed-price", "cost-plus"], "", "cost-plus; fixed-price", 1, 1),
        (["fixed-price", "cost-plus"], "", "cost-plus", 0, 2 / 3),
        (["yes"], "", "", 0, 0),
    ],
)
def test_answers_score_by_their_value_or_their_words(
    answers: list[str], scale: str, given: str, exact: float, f1: float
) -> None:
    scores = process_results({"answers": answers, "scale": scale}, [given])
    assert scores == pytest.approx({"exact_match": exact, "f1": f1})


@pytest.fixture(scope="module")
def real() -> Path:
    root = os.environ.get("ADAPT_REAL_DATA")
    if not root:
        pytest.skip("ADAPT_REAL_DATA is not set: no real benchmark files to read")
    return Path(root) / "sec" / "bench"


@pytest.mark.parametrize("name", PUBLIC)
def test_the_real_files_are_scored_by_name(name: str, real: Path, tmp_path: Path) -> None:
    import domadapt

    model = Checkpoint(Path(domadapt.__file__).parent / "builtin" / "models" / "tiny")
    stage = Stage(f"eval.base.{name}", "0" * 16, 1, "lm_eval", lambda *_: {}, tmp_path / "scratch")
    benchmark = with_data(PUBLIC[name], real / name)
    assert benchmark_files(benchmark)[-1] == real / name
    out = tmp_path / "out"
    out.mkdir()
    rows = LmEval().evaluate(model, EvalRequest(name, "domain", benchmark, None, 8, 2048), out, stage)
    assert {row.n for row in rows} == {8}
    told: list[dict[str, Any]] = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
    assert len({line["item"] for line in told}) == 8
    assert all(line["wanted"] for line in told)


def test_real_answers_of_tatqa_are_right_by_their_own_measure(real: Path) -> None:
    rows = load_tatqa(str(real / "tatqa"))["test"].to_list()
    wanted = [f"{'; '.join(row['answers'])} {row['scale']}".strip() for row in rows]
    scores = [process_results(row, [text])["exact_match"] for row, text in zip(rows, wanted, strict=True)]
    assert len(rows) > 1500
    assert sum(scores) / len(scores) > 0.99


def test_real_sentences_are_all_read(real: Path) -> None:
    rows = load_phrasebank(str(real / "financial_phrasebank"))["test"].to_list()
    assert len(rows) == 2966
    assert [sum(row["label"] == label for row in rows) for label in range(3)] == [374, 1751, 841]
