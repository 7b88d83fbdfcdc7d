"""Public benchmarks from the files that their authors publish; nothing of them is shipped."""

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
from domadapt_sec.benchmarks.published_files import (
    load_convfinqa,
    load_fiqa,
    load_headlines,
    load_phrasebank,
    load_tatqa,
)
from domadapt_sec.benchmarks.published_scores import headline, turn
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
    with pytest.raises(MissingError, match=r"none of the files task1_headline_ABSA_train\.json, .* is here"):
        load_fiqa(str(tmp_path))
    (tmp_path / "task1_post_ABSA_train.json").write_text('{"1": {"sentence": "a", "info": [{"target": "b"}]}}')
    with pytest.raises(DataError, match=r"task1_post_ABSA_train\.json: is not in the form of FiQA's task 1"):
        load_fiqa(str(tmp_path))
    (tmp_path / "gold-dataset-sinha-khandait.csv").write_text("News,Price Direction Up\n")
    with pytest.raises(
        DataError, match=r"khandait\.csv:1: wanted the columns News, .*; 'Asset Comparision' is missing"
    ):
        load_headlines(str(tmp_path))
    (tmp_path / "dev.json").write_text('[{"id": "a", "table": []}]')
    with pytest.raises(DataError, match=r"dev\.json: is not in the form of ConvFinQA's conversations"):
        load_convfinqa(str(tmp_path))


def test_sentiment_towards_each_target_of_a_sentence_is_asked_for(tmp_path: Path) -> None:
    headlines = {"7": {"sentence": "A up, B down ", "info": [scored("A", "0.6"), scored("B", "-0.374")]}}
    posts = {"7": {"sentence": "$C flat", "info": [scored("C", "0.05")]}}
    (tmp_path / "task1_headline_ABSA_train.json").write_text(json.dumps(headlines))
    (tmp_path / "task1_post_ABSA_train.json.xz").write_bytes(lzma.compress(json.dumps(posts).encode()))
    rows = load_fiqa(str(tmp_path))["test"].to_list()
    assert [(row["item"], row["cluster"], row["target"], row["label"]) for row in rows] == [
        ("headline/7/0", "headline/7", "A", 2),
        ("headline/7/1", "headline/7", "B", 0),
        ("post/7/0", "post/7", "C", 1),
    ]
    assert rows[0]["sentence"] == "A up, B down"


def scored(target: str, score: str) -> dict[str, str]:
    return {"snippets": "[]", "target": target, "sentiment_score": score, "aspects": "[]"}


COLUMNS = ["Dates", "URL", "News", "Price Direction Up", "Price Direction Constant", "Price Direction Down"]
COLUMNS += ["Asset Comparision", "Past Information", "Future Information", "Price Sentiment"]
FALLS = "d,u,gold falls,0,0,1,0,1,0,negative"
GOLD = {
    "commas": [",".join(COLUMNS), 'd,u,"gold up, silver down",1,0,0,1,1,0,positive', FALLS],
    "tabs": ["\t".join(COLUMNS), 'd\tu\t"gold up, silver down"\t1\t0\t0\t1\t1\t0\tpositive', FALLS.replace(",", "\t")],
    "tabs in quotation marks": [
        "\t".join(COLUMNS),
        '"d\tu\t""gold up"," silver down""\t1\t0\t0\t1\t1\t0\tpositive"',
        FALLS.replace(",", "\t"),
    ],
}


@pytest.mark.parametrize("form", GOLD)
def test_headlines_are_read_from_every_form_of_the_file_that_is_around(form: str, tmp_path: Path) -> None:
    lines = [*GOLD[form], "a line that lost its end"]
    (tmp_path / "gold-dataset-sinha-khandait.csv").write_text("\n".join(lines))
    rows = load_headlines(str(tmp_path))["test"].to_list()
    assert [row["headline"] for row in rows[::6]] == ["gold up, silver down", "gold falls"]
    assert [row["label"] for row in rows] == [1, 0, 0, 1, 1, 0, 0, 0, 1, 0, 1, 0]
    assert [row["cluster"] for row in rows[::6]] == ["2", "3"]


def test_yes_and_no_weigh_the_same_for_each_question(tmp_path: Path) -> None:
    lines = [",".join(COLUMNS), *(f"d,u,headline {n},{int(n < 2)},0,0,0,1,0,none" for n in range(8))]
    (tmp_path / "gold-dataset-sinha-khandait.csv").write_text("\n".join(lines))
    rows = load_headlines(str(tmp_path))["test"].to_list()
    up = [row for row in rows if row["question"].endswith("goes up?")]
    assert [row["weight"] for row in up] == [2.0] * 2 + [2 / 3] * 6
    always_no = [headline(row, [(-1.0, True), (-2.0, False)]) for row in up]
    assert sum(score["acc"] for score in always_no) == 6
    assert sum(score["acc_balanced"] for score in always_no) / 8 == pytest.approx(0.5)


CONVERSATION = {
    "id": "Single_JKHY/2009/page_28.pdf-3",
    "pre_text": ["In 2009", "we earned ."],
    "post_text": ["See note 3 ."],
    "table": [["", "2009", "2008"], ["net cash", "206588", "181001"]],
    "annotation": {
        "dialogue_break": ["what is the net cash in 2009?", "what about 2008?", "and the change?", "is it more?"],
        "exe_ans_list": [206588.0, 181001.0, 0.14136, "yes"],
    },
}


def test_a_turn_of_a_conversation_follows_the_right_answers_before_it(tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_text(json.dumps([CONVERSATION]))
    rows = load_convfinqa(str(tmp_path))["test"].to_list()
    assert [row["answer"] for row in rows] == ["206588.0", "181001.0", "0.14136", "yes"]
    assert {row["cluster"] for row in rows} == {"Single_JKHY/2009/page_28.pdf-3"}
    assert rows[0]["said"] == ""
    assert rows[1]["said"] == "Question: what is the net cash in 2009?\nAnswer: 206588.0\n"
    assert (rows[0]["table"], rows[0]["before"]) == (
        " | 2009 | 2008\nnet cash | 206588 | 181001",
        "In 2009 we earned .",
    )


@pytest.mark.parametrize(
    ("wanted", "given", "right"),
    [
        ("206588.0", "206,588", 1),
        ("206588.0", "$206,588", 1),
        ("206588.0", "206,600", 0),
        ("0.14136", "14.1%", 1),
        ("0.14136", "14%", 1),
        ("0.14136", "0.141", 1),
        ("0.14136", "14.2%", 0),
        ("0.14136", "0.1", 0),
        ("0.14136", "0", 0),
        ("-0.14136", "(14.1)%", 1),
        ("-0.14136", "14.1%", 0),
        ("14.136", "14.1%", 1),
        ("0.0", "0", 1),
        ("yes", "Yes.", 1),
        ("yes", "206,588", 0),
        ("206588.0", "yes", 0),
    ],
)
def test_a_number_is_right_in_percent_and_rounded(wanted: str, given: str, right: int) -> None:
    assert turn({"answer": wanted}, [given]) == {"exact_match": right}


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
    if name == "convfinqa":  # not among the real files: one conversation in the published form
        real = tmp_path
        (real / name).mkdir()
        (real / name / "dev.json").write_text(json.dumps([CONVERSATION] * 2 + [CONVERSATION | {"id": "b"}]))
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


def test_real_headlines_and_sentiments_are_all_read(real: Path) -> None:
    rows = load_headlines(str(real / "gold_headlines"))["test"].to_list()
    assert len(rows) == 6 * 6555
    assert sum(row["label"] for row in rows[::6]) == 2737
    assert sum(row["weight"] for row in rows) == pytest.approx(len(rows))
    rows = load_fiqa(str(real / "fiqa"))["test"].to_list()
    assert [sum(row["label"] == label for row in rows) for label in range(3)] == [294, 71, 589]
