"""Intervals and verdicts by simulation: coverage, power and false alarms at the sizes they are claimed for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from domadapt.report.ledger import paired_difference
from domadapt.report.statistics import JointSamples

Truth = float
Draw = Callable[[np.random.Generator], tuple[JointSamples, Truth]]


def right_or_wrong(items: int, gained: float, lost: float) -> Draw:
    """Answers of a new and an old model on the same items; two thirds of the unchanged ones are right."""

    def draw(generator: np.random.Generator) -> tuple[JointSamples, Truth]:
        change = generator.choice([1, -1, 0], items, p=[gained, lost, 1 - gained - lost])
        old = np.where(change == 0, generator.random(items) < 0.66, change < 0).astype(float)
        return JointSamples.of([old + change, old], [np.ones(items)] * 2, range(items)), gained - lost

    return draw


def passages(count: int, effect: float) -> Draw:
    """Questions on passages of very unequal size (1 to about 20), with accuracies that differ by passage."""

    def draw(generator: np.random.Generator) -> tuple[JointSamples, Truth]:
        sizes = generator.geometric(0.25, count)
        cluster = np.repeat(np.arange(count), sizes)
        # uniform about .55, never cut off, so the truth is known without a further simulation
        new, old = (generator.uniform(low, low + 0.7, count)[cluster] for low in (0.2 + effect, 0.2))
        right = [(generator.random(len(cluster)) < p).astype(float) for p in (new, old)]
        return JointSamples.of(right, [np.ones(len(cluster))] * 2, list(cluster)), effect

    return draw


def documents(count: int, effect: float, spread: float = 0.6) -> Draw:
    """Bits of documents whose lengths vary by a factor exp(+-2 spread); longer ones are easier."""

    def draw(generator: np.random.Generator) -> tuple[JointSamples, Truth]:
        num_bytes = np.exp(generator.normal(9, spread, count))
        level = 1.2 - 0.05 * (np.log(num_bytes) - 9) + generator.normal(0, 0.1, count)
        change = effect + generator.normal(0, 0.04, count)
        columns = [num_bytes * (level + change), num_bytes * level]
        return JointSamples.of(columns, [num_bytes] * 2, range(count)), effect

    return draw


def covered(draw: Draw, repetitions: int, seed: int = 0) -> float:
    """Share of repetitions in which the interval of the difference holds the truth."""
    generator = np.random.default_rng(seed)
    hits = 0
    for _ in range(repetitions):
        samples, truth = draw(generator)
        estimate = samples.difference(0, 1)
        hits += estimate.low <= truth <= estimate.high
    return hits / repetitions


CASES = {
    "100 items": right_or_wrong(100, 0.12, 0.08),
    "1000 items": right_or_wrong(1000, 0.06, 0.04),
    "1000 items, few flips": right_or_wrong(1000, 0.012, 0.008),
    "8 passages": passages(8, 0.05),
    "20 passages": passages(20, 0.05),
    "80 passages": passages(80, 0.05),
    "6 documents": documents(6, 0.1),
    "10 long-tailed documents": documents(10, 0.1, spread=1.2),
    "20 documents": documents(20, 0.1),
    "200 documents": documents(200, 0.1),
}


@pytest.mark.parametrize("case", CASES)
def test_intervals_of_a_difference_hold_the_truth_93_to_97_times_in_100(case: str) -> None:
    # standard error of the share with 4000 repetitions: .0034
    assert 0.93 <= covered(CASES[case], 4000) <= 0.97


def test_bootstrap_intervals_hold_the_truth_as_often() -> None:
    generator = np.random.default_rng(3)
    hits = 0
    for _ in range(400):
        samples, truth = documents(12, 0.1)(generator)
        low, high = samples.bootstrap(0, 1)
        hits += low <= truth <= high
    assert hits / 400 == pytest.approx(0.95, abs=0.033)  # three standard errors


def test_intervals_of_a_share_hold_the_truth_93_to_97_times_in_100() -> None:
    generator = np.random.default_rng(5)
    hits = unknown = 0
    for _ in range(2500):
        level = generator.normal(2, 0.3, 25)
        gain = 0.5 + generator.normal(0, 0.3, 25)
        kept = 0.7 * gain + generator.normal(0, 0.2, 25)
        samples = JointSamples.of([level, level - gain, level - kept], [np.ones(25)] * 3, range(25))
        share = samples.gain_kept(0, 1, 2)
        hits += share.low <= 0.7 <= share.high
        unknown += bool(np.isnan(share.low))
    assert unknown == 0
    assert 0.93 <= hits / 2500 <= 0.97


def found(draw: Draw, repetitions: int, seed: int = 0) -> tuple[float, float]:
    """Shares of repetitions whose verdict is better and worse (higher is better)."""
    generator = np.random.default_rng(seed)
    verdicts = [
        paired_difference(draw(generator)[0], 0, 1, True, bootstrap=False)["verdict"] for _ in range(repetitions)
    ]
    return verdicts.count("better") / repetitions, verdicts.count("worse") / repetitions


def stated_power_size(draw_of: Callable[[float], Draw], seed: int = 1) -> float:
    """The smallest detectable effect that the report states for such samples, averaged over a few of them."""
    generator = np.random.default_rng(seed)
    stated = [
        paired_difference(draw_of(0.0)(generator)[0], 0, 1, True, bootstrap=False)["smallest_detectable"]
        for _ in range(40)
    ]
    return float(np.mean(stated))


PLANTED: dict[str, Callable[[float], Draw]] = {
    "400 items": lambda size: right_or_wrong(400, 0.05 - size / 2, 0.05 + size / 2),
    "1000 items": lambda size: right_or_wrong(1000, 0.05 - size / 2, 0.05 + size / 2),
    "40 passages": lambda size: passages(40, -size),
    "30 documents": lambda size: documents(30, -size),
}


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_regression_of_the_stated_size_is_found_four_times_in_five(case: str) -> None:
    size = stated_power_size(PLANTED[case])
    better, worse = found(PLANTED[case](size), 1500)
    assert worse == pytest.approx(0.8, abs=0.04)  # the standard error is .0103, the stated size varies a little
    assert better < 0.003


@pytest.mark.parametrize("case", PLANTED)
def test_two_equal_models_differ_significantly_in_about_5_percent_of_seeds_and_not_more(case: str) -> None:
    false_alarms = sum(found(PLANTED[case](0.0), 6000))
    # three standard errors (.0028) above .05; the exact test of right-or-wrong answers stays below it
    assert 0.025 <= false_alarms <= 0.0585


def test_half_the_stated_size_is_mostly_missed() -> None:
    size = stated_power_size(PLANTED["1000 items"]) / 2
    assert found(PLANTED["1000 items"](size), 1000)[1] < 0.4
