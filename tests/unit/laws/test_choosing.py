"""`mix.replay: law` without the training: small runs, matched repetition, the choice, prediction beside outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domadapt.artifacts import Corpus
from domadapt.errors import StageError
from domadapt.laws import choosing
from domadapt.laws.choosing import choose
from domadapt.laws.dcpt import DCPT
from domadapt.laws.fitting import predict
from domadapt.laws.observations import Observations
from domadapt.laws.planned import SmallRuns, repetition, unmatched
from domadapt.laws.study import Study, study
from domadapt.laws.table import Table
from domadapt.pipeline.sampled import SampledCorpus
from domadapt.report.law import law_data, law_lines, law_section

from .published import GENERAL_TRUTH, S2_TRUTH

SHARES = (0.01, 0.05, 0.1, 0.25, 0.5)
STEPS = 32
RUNS = SmallRuns(SHARES, STEPS, 2 * STEPS, int(1e9 / 4), STEPS // 8, 0.03)
"""8 B tokens a small run, 16 B the planned one."""
START = 2.7


def measured(noise: float = 5e-4, seed: int = 0) -> Table:
    """What small runs of planted D-CPT laws measure: a cosine's areas, eight points each, the start."""
    from domadapt.laws.schedules import areas

    s1, s2 = areas(0.5e-3 * (1 + np.cos(np.pi * np.arange(STEPS) / STEPS)))
    steps = np.r_[0, np.arange(4, STEPS + 1, 4)]
    rng = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for share in SHARES:
        tokens = steps * RUNS.step_tokens / 1e9
        for step, count in zip(steps, tokens, strict=True):
            losses = [START, START]
            if step:
                at = {"params": 1.8, "tokens": count}
                losses = [
                    float(predict(DCPT(), truth, {**at, "ratio": ratio})) * np.exp(noise * rng.standard_normal())
                    for truth, ratio in ((S2_TRUTH, 1 - share), (GENERAL_TRUTH, share))
                ]
            row = [f"{share:g}", 1.8e9, count * 1e9, float(step), *losses, 1 - share]
            row += [s1[step - 1] if step else 0.0, s2[step - 1] if step else 0.0]
            for name, value in zip(COLUMNS, row, strict=True):
                columns[name].append(value)
    arrays = {name: np.array(values, object if name == "run" else float) for name, values in columns.items()}
    return Table(arrays, "small runs")


COLUMNS = ("run", "params", "tokens", "step", "domain_loss", "general_loss", "domain_share", "s1", "s2")
AREAS = (0.08, 0.05)


STUDIES: dict[bytes, Study] = {}


def quick_study(observations: Observations, *, seed: int) -> Study:
    """With fewer starts and resamples, and once for the same losses."""
    losses = observations.inputs["loss"].tobytes()
    if losses not in STUDIES:
        STUDIES[losses] = study(observations, seed=seed, draws=20, starts=3)
    return STUDIES[losses]


@pytest.fixture(scope="module")
def _quick(few_starts: None) -> Iterator[None]:
    """D-CPT alone."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(choosing, "CANDIDATES", ("dcpt",))
        patched.setattr(choosing, "study", quick_study)
        yield


@pytest.fixture(scope="module")
def chosen(_quick: None) -> dict[str, Any]:
    return {**choose(measured(), RUNS, AREAS, None, 0), "repetition": []}


def truth(general_share: float) -> dict[str, float]:
    """The planted losses at the end of the planned training."""
    at = {"params": 1.8, "tokens": RUNS.target_tokens / 1e9}
    return {
        "domain": float(predict(DCPT(), S2_TRUTH, {**at, "ratio": 1 - general_share})),
        "general": float(predict(DCPT(), GENERAL_TRUTH, {**at, "ratio": general_share})),
    }


def test_the_share_chosen_keeps_the_bound_at_the_planned_length(chosen: dict[str, Any]) -> None:
    advice = chosen["advice"]
    assert advice["reference"] == pytest.approx(START)
    assert advice["bound"] == pytest.approx(1.03 * START)
    assert 0.01 < advice["replay"] < 0.5
    outcome = truth(advice["replay"])
    assert outcome["general"] == pytest.approx(advice["bound"], rel=0.01)
    for side, loss in outcome.items():
        expected = advice[side]
        assert expected["low"] <= loss <= expected["high"]
        assert (expected["high"] - expected["low"]) / 2 <= 0.05 * expected["value"]


@pytest.mark.usefixtures("_quick")
def test_losses_that_follow_no_law_end_with_the_reasons() -> None:
    table = measured()
    losses = np.random.default_rng(0).uniform(1, 4, len(table))
    noisy = Table({**table.columns, "domain_loss": losses, "general_loss": losses}, "small runs")
    with pytest.raises(
        StageError, match=r"no mixture can be advised from the small runs: law dcpt: nothing is advised"
    ):
        choose(noisy, RUNS, AREAS, None, 0)


@pytest.mark.usefixtures("_quick")
def test_a_training_too_long_to_see_how_far_the_laws_reach_ends_with_the_reason() -> None:
    with pytest.raises(StageError, match="too short to tell how a length 8 times theirs is predicted"):
        choose(measured(), replace(RUNS, target_steps=8 * STEPS), AREAS, None, 0)


def test_the_error_on_lengths_as_far_beyond_is_in_the_account(chosen: dict[str, Any]) -> None:
    for found in chosen["studies"]:
        held = {h["what"]: h for h in found["held_out"]}
        assert held["all beyond 1/2 of each run"]["rmse"] < 0.01
        assert held["all beyond 1/2 of each run"]["folds"][0]["n"] == 20


@pytest.mark.usefixtures("_quick")
def test_a_bound_that_no_share_tried_keeps_ends_with_the_least_that_is_predicted() -> None:
    with pytest.raises(StageError, match=r"no domain share from 0\.5 to 0\.99 keeps the general loss within 1\.0000"):
        choose(measured(), replace(RUNS, bound=0.0), AREAS, 1.0, 0)


def test_small_runs_say_what_they_cost() -> None:
    told = RUNS.told()
    assert "5 small runs of 32 steps (0.01, 0.05, 0.1, 0.25, 0.5 general text)" in told
    assert "40,000,000,000 tokens in all, 2.50 times the planned training's 16,000,000,000" in told
    assert RUNS.figure().value == 40e9


def test_text_that_would_repeat_more_often_than_in_the_small_run_is_told() -> None:
    plan = {"parts": [{"name": "domain", "epochs": 1.0}, {"name": "general", "epochs": 0.5}]}
    assert not unmatched(repetition(RUNS, 0.1, plan, {"domain": 0.5, "general": 0.5}))
    (reason,) = unmatched(repetition(RUNS, 0.1, plan, {"domain": 1.0, "general": 0.5}))
    assert "domain text is seen 1.00 times in the small run and would be 2.00 times in the planned one" in reason


def test_a_sampled_corpus_holds_its_share_and_a_larger_one_holds_a_smaller_one(
    make_corpus: Callable[..., Corpus], tmp_path: Path
) -> None:
    texts = [f"{number} " * (number % 7 + 1) for number in range(200)]
    corpus = make_corpus({"train": texts, "report": ["held out"]})
    found = {}
    for share in (0.25, 0.5, 1.0):
        sampled = SampledCorpus(corpus.path, share, tmp_path / f"sampled-{share}")
        found[share] = {name for batch in sampled.batches("train", ["id"]) for name in batch["id"].to_pylist()}
        assert sampled.achieved == pytest.approx(share, abs=0.01)
        assert [b.num_rows for b in sampled.batches("report")] == [b.num_rows for b in corpus.batches("report")]
    assert found[0.25] < found[0.5] < found[1.0]
    assert len(found[1.0]) == 200
    assert isinstance(sampled, Corpus)


def test_prediction_and_outcome_stand_side_by_side(chosen: dict[str, Any]) -> None:
    expected = chosen["advice"]
    outside = expected["general"]["high"] * 1.01
    training = {"evaluations": [
        {"step": 0, "heldout_domain": START, "heldout_general": START},
        {"step": 128, "heldout_domain": expected["domain"]["value"], "heldout_general": outside},
    ]}  # fmt: skip
    law = law_data(chosen, training)
    assert law is not None
    domain, general = law["outcome"]
    assert (domain["inside"], general["inside"]) == (True, False)
    assert general["measured"] == outside
    lines = list(law_lines(law))
    assert "general text (95 % interval" in lines[0]
    assert lines[1].endswith("inside.")
    assert lines[2].endswith("OUTSIDE.")
    section = law_section({"law": law})
    assert section is not None
    assert [row[-1] for row in section["outcome"].rows] == ["inside", "outside"]
    assert len(section["charts"]) == 2
    assert law_data(None, training) is None
    assert law_section({}) is None


def test_what_was_not_measured_is_told_as_such(chosen: dict[str, Any]) -> None:
    law = law_data(chosen, None)
    assert law is not None
    assert [entry["measured"] for entry in law["outcome"]] == [None, None]
    assert list(law_lines(law))[1].endswith("not measured.")
