"""Claims files, and what runs can say about them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from domadapt.claims.judging import Finding, Outcome, judge
from domadapt.claims.schema import ClaimsFile, load_claims
from domadapt.errors import DataError
from domadapt.report.finished_run import open_run

from .finished_runs import BITS, make_run

HUB = {"model.base": "org/base@main", "model.instruct": "hub:org/chat", "train.from": "org/cpt"}
PAPER = {"title": "A paper", "where": "Table 1", "arxiv": "2403.13257"}
VALUE: dict[str, Any] = {
    "id": "x.value",
    "kind": "value",
    "paper": PAPER,
    "setting": {"base": "org/base", "instruct": "org/chat", "cpt": "org/cpt"},
    "model": {"role": "merged", "method": "ties"},
    "task": "quiz",
    "metric": "acc",
    "value": 68.0,
    "unit": "percent",
    "n": 100,
    "tolerance": 0.1,
}
ORDER: dict[str, Any] = {
    "id": "x.order",
    "kind": "direction",
    "says": "merging wins general ability back",
    "paper": PAPER,
    "setting": {"base": "org/base", "data": "their corpus"},
    "ahead": [[{"role": "merged", "method": "ties"}], [{"role": "cpt"}]],
    "tasks": ["mmlu*"],
    "miniature": ["general"],
}

Judge = Callable[..., Finding]


def claims_file(folder: Path, *claims: dict[str, Any]) -> Path:
    (folder / "claims.yaml").write_text(yaml.safe_dump({"version": 1, "claims": list(claims)}))
    return folder / "claims.yaml"


@pytest.fixture
def judged(tmp_path: Path) -> Judge:
    """Judge a claim by the given run folders."""

    def work(claim: dict[str, Any], *folders: Path) -> Finding:
        (parsed,) = ClaimsFile.model_validate({"version": 1, "claims": [claim]}).claims
        return judge(parsed, [open_run(folder) for folder in folders])

    return work


def test_a_published_number_in_the_runs_interval_is_reproduced(tmp_path: Path, judged: Judge) -> None:
    found = judged(VALUE, make_run(tmp_path, changes=HUB))
    assert (found.outcome, found.run) == (Outcome.REPRODUCED, "demo")
    assert found.why.startswith("70 (60.")
    assert found.why.endswith("here, 68 published")


def test_a_published_number_outside_the_interval_is_not_reproduced(tmp_path: Path, judged: Judge) -> None:
    folder = make_run(tmp_path, changes=HUB)
    assert judged({**VALUE, "value": 95.0}, folder).outcome == Outcome.NOT_REPRODUCED
    # the tolerance widens the interval, nothing else
    assert judged({**VALUE, "value": 95.0, "tolerance": 30.0}, folder).outcome == Outcome.REPRODUCED
    assert judged({**VALUE, "value": 0.68, "unit": "share", "tolerance": 0.001}, folder).outcome == Outcome.REPRODUCED


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"task": "medqa_4options"}, "run demo did not score medqa_4options (acc)"),
        ({"metric": "acc_norm"}, "run demo did not score quiz (acc_norm)"),
        ({"n": 1273}, "run demo scored 100 items of quiz, not 1273"),
        ({"model": {"role": "merged", "method": "slerp"}}, "run demo has no model slerp"),
        ({"unit": "perplexity"}, "run demo gives quiz in share or without an interval"),
        ({"setting": {"base": "org/other"}}, "no run here with org/other (then score quiz)"),
        ({"setting": {"base": "org/base", "data": "their text"}}, "needs their text, which is not public"),
    ],
)
def test_what_cannot_be_tested_says_what_is_missing(
    tmp_path: Path, judged: Judge, change: dict[str, Any], why: str
) -> None:
    found = judged({**VALUE, **change}, make_run(tmp_path, changes=HUB))
    assert (found.outcome, found.run, found.why) == (Outcome.NOT_TESTABLE, "", why)


def test_an_order_shown_by_other_models_is_shown_in_miniature_and_no_more(tmp_path: Path, judged: Judge) -> None:
    found = judged(ORDER, make_run(tmp_path))
    assert found.outcome == Outcome.MINIATURE
    assert "ties against cpt on general bits per byte: −0.4" in found.why
    assert "ties against cpt on quiz (acc): +40.0 points" in found.why


def test_the_opposite_order_is_not_shown_and_told(tmp_path: Path, judged: Judge) -> None:
    turned = {**ORDER, "ahead": ORDER["ahead"][::-1]}
    found = judged(turned, make_run(tmp_path))
    assert found.outcome == Outcome.NOT_MINIATURE
    assert found.why.startswith("the opposite: cpt against ties on general bits per byte: +0.4")


def test_an_order_that_chance_could_make_is_not_distinguishable(tmp_path: Path, judged: Judge) -> None:
    right = {"base": 50, "instruct": 50, "cpt": 50, "ties": 52}
    found = judged({**ORDER, "miniature": ["quiz"]}, make_run(tmp_path, right=right))
    assert found.outcome == Outcome.NOT_MINIATURE
    assert found.why.startswith("not distinguishable: ties against cpt on quiz (acc): +2.0 points")


def test_an_order_under_the_published_conditions_is_reproduced(tmp_path: Path, judged: Judge) -> None:
    same = {**ORDER, "setting": {"base": "org/base", "instruct": "org/chat"}, "tasks": ["quiz"]}
    assert judged(same, make_run(tmp_path, changes=HUB)).outcome == Outcome.REPRODUCED
    assert judged(same, make_run(tmp_path, name="tiny")).outcome == Outcome.MINIATURE


def test_every_pair_of_neighbouring_groups_must_hold(tmp_path: Path, judged: Judge) -> None:
    chain = [[{"role": "instruct"}], [{"role": "merged", "method": "ties"}], [{"role": "cpt"}]]
    assert judged({**ORDER, "ahead": chain}, make_run(tmp_path)).outcome == Outcome.MINIATURE
    swapped = [chain[1], chain[0], chain[2]]
    found = judged({**ORDER, "ahead": swapped}, make_run(tmp_path, name="second"))
    assert found.outcome == Outcome.NOT_MINIATURE
    assert "ties against instruct" in found.why


def test_a_missing_merge_names_the_command_that_makes_it(tmp_path: Path, judged: Judge) -> None:
    methods = [[{"role": "merged", "method": "slerp"}], [{"role": "merged", "method": "dare_ties"}]]
    found = judged({**ORDER, "ahead": methods}, make_run(tmp_path))
    assert found.outcome == Outcome.NOT_TESTABLE
    assert found.why == "run demo has no model slerp, dare_ties; run it with --merge slerp --merge dare_ties"


def test_no_run_is_picked_for_its_result(tmp_path: Path, judged: Judge) -> None:
    good = make_run(tmp_path, name="good")
    bad = make_run(tmp_path, name="bad", bits={**BITS, "ties": (1.1, 2.6)})
    found = judged(ORDER, good, bad)
    assert (found.outcome, found.run) == (Outcome.NOT_MINIATURE, "good, bad")
    assert found.why.startswith("holds in 1 of 2 runs; bad: the opposite")


def test_a_statement_is_never_testable_and_says_why(judged: Judge) -> None:
    claim = {k: VALUE[k] for k in ("id", "paper", "setting")} | {
        "kind": "statement",
        "says": "31 days",
        "why_not": "GPUs",
    }
    assert (judged(claim).outcome, judged(claim).why) == (Outcome.NOT_TESTABLE, "GPUs")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"valeu": 1.0}, "claims[0] (x.value).valeu: Extra inputs are not permitted"),
        ({"value": "much"}, "claims[0] (x.value).value: Input should be a valid number"),
        ({"paper": {"title": "t", "where": "w"}}, "claims[0] (x.value).paper: Value error, wanted arxiv or url"),
        ({"paper": {**PAPER, "arxiv": "24.1"}}, "claims[0] (x.value).paper.arxiv: String should match"),
        ({"model": {"role": "cpt", "method": "ties"}}, "claims[0] (x.value).model: Value error, only a merged model"),
        ({"unit": "points"}, "claims[0] (x.value).unit: Input should be 'percent'"),
        ({"kind": "guess"}, "claims[0] (x.value): Input tag 'guess'"),
        ({"compared_with": "x.other"}, "the file: Value error, x.value: compared_with names no claim"),
    ],
)
def test_a_claims_file_is_strict_and_says_where(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError) as caught:
        load_claims(claims_file(tmp_path, {**VALUE, **change}))
    assert told in str(caught.value)


def test_two_claims_of_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ids given twice: x\.value"):
        load_claims(claims_file(tmp_path, VALUE, VALUE))


def test_a_file_that_is_no_yaml_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "claims.yaml").write_text("a: [")
    with pytest.raises(DataError, match=r"claims\.yaml: no YAML"):
        load_claims(tmp_path / "claims.yaml")
    with pytest.raises(DataError, match="cannot be read"):
        load_claims(tmp_path / "none.yaml")


def test_the_documented_claims_file_is_valid() -> None:
    text = (Path(__file__).parents[3] / "docs" / "publishing.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(ClaimsFile.model_validate(yaml.safe_load(block)).claims) == 2
