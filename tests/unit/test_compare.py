"""`adapt compare`: two models or two runs on the items in common, from scorecards made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domadapt.cli import adapt
from domadapt.report.significance import mcnemar

from .scores import answers, scorecard

ITEMS = 120


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two small runs: `one` scored 120 quiz items, `two` the last 100 of them, in another order."""
    monkeypatch.setenv("ADAPT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    right = {"cpt": range(60), "ties": range(90)}
    shared = np.random.default_rng(0).normal(1, 0.05, 30) * 1000
    for run, level in (("one", 1.5), ("two", 1.2)):
        stages = tmp_path / "runs" / run / "stages"
        for label, own in right.items():
            values = answers(ITEMS, own if run == "one" else range(30, 30 + len(own)))
            names = [f"q{i}" for i in range(ITEMS)]
            if run == "two":
                names, values = names[:19:-1], values[:19:-1]
            scorecard(stages / f"eval.{label}.quiz", "quiz", "general", values, items=names)
            bits = level * shared * np.random.default_rng([*run.encode()]).normal(1, 0.01, 30)
            scorecard(
                stages / f"eval.{label}.bits_per_byte.domain",
                "bits_per_byte.domain",
                "domain",
                list(bits),
                weights=[1000.0] * 30,
            )
    return tmp_path / "runs"


def compare(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """stdout of the command, or stderr where it fails."""
    assert adapt.main(["compare", *arguments], standalone_mode=False) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


def data(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(compare(capsys, *arguments, "--json"))


def test_two_models_of_one_run_are_paired_item_by_item(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = data(capsys, "one:cpt", "one:merge.ties", "--tasks", "quiz")
    (pair,) = found["pairs"]
    (row,) = pair["rows"]
    assert (pair["a"], pair["b"]) == ("one:cpt", "one:ties")
    assert row["value"] == pytest.approx((60 - 90) / ITEMS)
    assert (row["gained"], row["lost"], row["n"], row["clusters"]) == (0, 30, ITEMS, ITEMS)
    assert row["p"] == row["p_holm"] == pytest.approx(mcnemar(0, 30))
    assert row["verdict"] == "worse"
    assert row["smallest_detectable"] > 0


def test_two_runs_are_paired_on_the_items_in_common(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = data(capsys, "one", "two")
    assert [(pair["a"], pair["b"]) for pair in found["pairs"]] == [("one:cpt", "two:cpt"), ("one:ties", "two:ties")]
    assert found["comparisons"] == 4
    row = next(row for row in found["pairs"][0]["rows"] if row["task"] == "quiz")
    # of the items 20 to 119, run one has 20 to 59 right and run two 30 to 89
    assert (row["n"], row["items_a"], row["items_b"]) == (100, 120, 100)
    assert (row["a"], row["b"]) == (0.4, 0.6)
    assert (row["gained"], row["lost"]) == (10, 30)
    bits = next(row for row in found["pairs"][0]["rows"] if row["task"] == "bits_per_byte.domain")
    assert (bits["verdict"], bits["test"]) == ("worse", "Student t")
    assert bits["p"] <= bits["p_holm"]


def test_the_table_shows_every_number_and_is_not_cut(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = compare(capsys, "one", str(runs / "two"))
    assert "…" not in text
    line = next(line for line in text.splitlines() if line.lstrip().startswith("quiz (acc)"))
    assert line.split()[3:6] == ["40.0", "60.0", "−20.0"]
    assert "100 common" in line
    assert "▼" in line
    assert "Of 2 measures, A is worse on 2." in text


def test_two_runs_of_one_name_are_told_apart(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "two").rename(runs.parent / "one")
    found = data(capsys, "one", str(runs.parent / "one"))
    assert found["pairs"][0]["a"] == "one:cpt"
    assert found["pairs"][0]["b"] == f"{runs.parent / 'one'}:cpt"


def test_scores_of_another_protocol_are_not_paired(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"q{i}" for i in range(ITEMS)]
    folder = runs / "two" / "stages" / "eval.cpt.quiz"
    scorecard(folder, "quiz", "general", answers(ITEMS, range(60)), items=names, protocol="5 examples")
    (pair,) = data(capsys, "one:cpt", "two:cpt")["pairs"]
    assert [row["task"] for row in pair["rows"]] == ["bits_per_byte.domain"]
    (skipped,) = pair["skipped"]
    assert skipped["reason"] == "scored differently: protocol 'zero-shot' against '5 examples'"
    err = compare(capsys, "one:cpt", "two:cpt", "-t", "quiz", code=1)
    assert "nothing can be compared (quiz: scored differently" in err


def test_items_of_one_name_and_another_size_are_not_paired(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = runs / "two" / "stages" / "eval.cpt.bits_per_byte.domain"
    scorecard(folder, "bits_per_byte.domain", "domain", [1200.0] * 30, weights=[999.0] * 30)
    skipped = data(capsys, "one:cpt", "two:cpt")["pairs"][0]["skipped"]
    assert "different sizes: their content is not the same" in skipped[0]["reason"]


def test_runs_without_a_common_item_have_nothing_to_compare(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = runs / "two" / "stages" / "eval.cpt.quiz"
    scorecard(folder, "quiz", "general", answers(5, [1]), items=[f"other{i}" for i in range(5)])
    assert "no item in common" in compare(capsys, "one:cpt", "two:cpt", "-t", "quiz", code=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("one:ctp", "one:ties"), "run one has no scores of 'ctp'; did you mean 'cpt'?"),
        (("one", "three"), "there is no run 'three'"),
        (("one", "three"), "there is one, two"),
        (("one", "two:cpt"), "two:cpt is a model and one a whole run; name a model, one:MODEL"),
        (("one", "one"), "one is one run; name two of its models"),
        (("one:cpt", "one:cpt"), "one:cpt would be compared with itself"),
        (("one", "two", "-t", "quizz"), "no task 'quizz'; did you mean 'quiz'?"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_a_way_out(
    runs: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert said in compare(capsys, *arguments, code=2)


def test_two_models_that_answer_alike_are_not_called_equal(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = runs / "one" / "stages"
    for label in ("cpt", "ties"):
        scorecard(stages / f"eval.{label}.quiz", "quiz", "general", answers(20, range(10)))
    (row,) = data(capsys, "one:cpt", "one:ties", "-t", "quiz")["pairs"][0]["rows"]
    assert (row["value"], row["p"], row["verdict"]) == (0.0, 1.0, "not distinguishable")
    assert row["low"] < -0.1
    assert row["smallest_detectable"] > 0.15
