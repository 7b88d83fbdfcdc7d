"""Gates of `fail_if`: what can be written, what is refused and how, and what comes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt.report.gate_results import evaluate_gates
from domadapt.report.gates import check_gate, check_gates
from domadapt.report.results import RunResults

from .scores import answers, run_of, scorecard

TASKS = {
    "bits_per_byte.domain": "domain",
    "bits_per_byte.general": "general",
    "law-orders": "domain",
    "quiz": "general",
}
LABELS = ["base", "instruct", "cpt", "ties", "slerp", "control.self_merge"]
RIGHT = {"base": 40, "instruct": 160, "cpt": 120, "ties": 150, "slerp": 130, "control.self_merge": 160}
LAW = {"base": 60, "instruct": 100, "cpt": 150, "ties": 149, "slerp": 140, "control.self_merge": 100}
BITS = {"base": 1.5, "instruct": 1.5, "cpt": 1.9, "ties": 1.53, "slerp": 1.7, "control.self_merge": 1.5}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    folder = tmp_path_factory.mktemp("gates")
    shared = np.random.default_rng(0).normal(1, 0.03, 40) * 1000
    models: dict[str, Any] = {}
    for label in LABELS:
        noise = shared * np.random.default_rng([*label.encode()]).normal(1, 0.01, 40)
        own = folder / label
        models[label] = {
            "law-orders": scorecard(own / "l", "law-orders", "domain", answers(200, range(LAW[label]))),
            "quiz": scorecard(own / "q", "quiz", "general", answers(200, range(RIGHT[label]))),
        }
        for side in ("domain", "general"):
            task = f"bits_per_byte.{side}"
            models[label][task] = scorecard(own / side, task, side, list(BITS[label] * noise), weights=[1000.0] * 40)
    return run_of(models, TASKS)


def gate(results: RunResults, text: str) -> dict[str, Any]:
    (found,) = evaluate_gates([text], results, "ties")
    return found


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("merged.general < 0.97 * instruct.general", False),  # .75 < .776
        ("merged.general < 0.9 * instruct.general", True),
        ("merged.quiz.acc >= 150/200", False),
        ("merged.bits_per_byte.general > instruct.bits_per_byte.general + 0.05", True),
        ("cpt.bits_per_byte.general > instruct.bits_per_byte.general + 0.05", False),
        ("merged.law-orders < cpt.law-orders - 0.02", True),
        ("merged.law-orders<cpt.law-orders-0.002", False),
        ("merged.law-orders/cpt.law-orders < 1", False),
        ("control.self_merge.quiz < instruct.quiz", True),
        ("0.5 < merged.general < 0.8", False),
        ("merged.general < 0.5 or cpt.general < 0.7", False),
        ("merged.general < 0.5 and cpt.general < 0.7", True),
        ("not (merged.general > 0.5)", True),
        ("-merged.general < -0.5", False),
        ("merged.general < 0.97 *\n  instruct.general", False),
        ("merged.general worse", False),
        ("merged.bits_per_byte.domain is worse", False),
        ("merged.law-orders worse than cpt", True),  # one item of 200
        ("merged is worse than cpt on law-orders", True),
        ("slerp is worse than ties on quiz", False),
        ("merged is not better than control.self_merge on domain", True),
        ("cpt is not better than instruct on quiz", False),
    ],
)
def test_a_gate_is_met_where_its_condition_does_not_hold(results: RunResults, text: str, met: bool) -> None:
    assert check_gate(text, LABELS, TASKS) is None
    found = gate(results, text)
    assert found["met"] is met, found
    assert found["gate"] == text


def test_a_gate_shows_its_numbers_and_the_interval_of_the_difference(results: RunResults) -> None:
    found = gate(results, "merged.general < 0.97 * instruct.general")
    assert [(n["model"], n["task"], n["metric"], n["value"]) for n in found["numbers"]] == [
        ("ties", "quiz", "acc", 0.75),
        ("instruct", "quiz", "acc", 0.8),
    ]
    (comparison,) = found["comparisons"]
    assert comparison["value"] == pytest.approx(0.75 - 0.97 * 0.8)
    # right answers of both are nested, so the interval can be had by hand: items score 1 - .97, 0 - .97 or 0
    scores = np.array([0.03] * 150 + [-0.97] * 10 + [0.0] * 40)
    half = 1.971957 * scores.std(ddof=1) / np.sqrt(200)
    assert comparison["low"] == pytest.approx(comparison["value"] - half, rel=1e-5)
    assert comparison["high"] == pytest.approx(comparison["value"] + half, rel=1e-5)
    assert "ties quiz (acc) 75.0" in found["sentence"]
    assert "left − right −2.6 points (95 % interval" in found["sentence"]
    assert "which chance could turn round" in found["sentence"]


def test_two_tasks_in_one_comparison_add_their_errors(results: RunResults) -> None:
    both = gate(results, "merged.quiz + merged.law-orders < 1.6")["comparisons"][0]
    one, other = (gate(results, f"merged.{task} < 2")["comparisons"][0] for task in ("quiz", "law-orders"))
    width = [entry["high"] - entry["low"] for entry in (both, one, other)]
    # the total has nearly twice the degrees of freedom
    assert width[0] == pytest.approx(np.hypot(width[1], width[2]), rel=0.01)


def test_a_quotient_has_the_error_of_the_delta_method(results: RunResults) -> None:
    quotient = gate(results, "merged.quiz / instruct.quiz < 1")["comparisons"][0]
    product = gate(results, "merged.quiz < 0.9375 * instruct.quiz")["comparisons"][0]
    assert quotient["value"] + 1 == pytest.approx(0.9375)
    assert quotient["high"] - quotient["low"] == pytest.approx((product["high"] - product["low"]) / 0.8, rel=1e-9)


def test_a_trend_tells_what_it_could_have_missed(results: RunResults) -> None:
    found = gate(results, "merged is worse than cpt on law-orders")
    assert "ties is not distinguishable against cpt on law-orders (acc): −0.5 points" in found["sentence"]
    assert "could go unnoticed" in found["sentence"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mergd.general < 1", "there is no model 'mergd'; did you mean 'merged'?"),
        ("merged.genral < 1", "there is no measure 'genral'; did you mean 'general'?"),
        ("merged.law-order < 1", "there is no measure 'law-order'; did you mean 'law-orders'?"),
        ("merged < 1", "'merged' is a model; write merged.MEASURE"),
        ("merged is worse than ctp on quiz", "there is no model 'ctp'; did you mean 'cpt'?"),
        ("merged is worse than cpt on quizz", "there is no measure 'quizz'; did you mean 'quiz'?"),
        ("merged.quiz", "wanted a comparison"),
        ("merged.quiz == 1", "wanted a comparison"),
        ("merged.quiz ** 2 < 1", "wanted numbers"),
        ("merged.quiz < 'a'", "there is no model 'a'"),
        ("merged.quiz < '1'", "wanted numbers"),
        ("merged.quiz <", "wanted a condition such as"),
        ("", "wanted a condition such as"),
        ("merged.quiz if 1 else 2", "there is no model 'if'"),
        ("__import__('os').system('true') < 1", "there is no model '__import__'"),
        ("(lambda: 1)() < 1", "there is no model 'lambda"),
        ("[merged.quiz][0] < 1", "wanted numbers"),
        ("True < merged.quiz", "there is no model 'True'"),
        ("_0 < merged.quiz", "there is no model '_0'"),
        ("(" * 900 + "1", "wanted a condition such as"),
        ("merged.quiz < 1" + " " * 1000, "more than a condition needs"),
    ],
)
def test_what_is_no_gate_is_refused_with_a_way_out(text: str, said: str) -> None:
    told = check_gate(text, LABELS, TASKS)
    assert told is not None
    assert said in told


def test_a_side_without_a_benchmark_must_be_written_out() -> None:
    only = {"bits_per_byte.general": "general"}
    told = check_gate("merged.general < instruct.general", LABELS, only)
    assert told is not None
    assert "lower is better; write merged.bits_per_byte.general" in told
    assert check_gate("merged.general worse", LABELS, only) is None


def test_without_a_merge_there_is_no_merged() -> None:
    told = check_gate("merged.quiz < 1", ["base", "cpt", "control.domain_prompt"], TASKS)
    assert told is not None
    assert "there is no model 'merged'" in told


def test_only_what_is_wrong_is_told() -> None:
    assert check_gates(["cpt.quiz < 1", "ctp.quiz < 1", "cpt.quiz worse"], LABELS, TASKS) == [
        "gate 'ctp.quiz < 1': 'ctp.quiz': there is no model 'ctp'; did you mean 'cpt'?"
    ]


@pytest.mark.parametrize(
    "text",
    ["merged.quiz.f1 < 1", "merged.quiz / (cpt.quiz - cpt.quiz) < 1", "ties is worse than merged on quiz", "x < 1"],
)
def test_a_gate_that_cannot_be_evaluated_is_not_met(results: RunResults, text: str) -> None:
    found = gate(results, text)
    assert found["met"] is False
    assert "cannot be evaluated" in found["sentence"]


def test_no_gates_read_nothing(results: RunResults) -> None:
    assert evaluate_gates([], results, None) == []


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="mergd.quiz cpt<>=+-*/()0.19andornot\n\"'[]:_", max_size=40))
def test_no_text_makes_the_parser_fail_otherwise_than_by_a_sentence(text: str) -> None:
    told = check_gate(text, LABELS, TASKS)
    assert told is None or told.startswith("gate '")
