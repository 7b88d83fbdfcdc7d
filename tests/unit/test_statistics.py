"""The report's statistics: cases computed by hand, published oracles, and what must hold for any samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from domadapt.report.statistics import (
    JointSamples,
    holm,
    interval,
    mcnemar,
    percentile_interval,
    smallest_detectable,
)


def flips(items: int, both_right: int, only_new: int, only_old: int) -> JointSamples:
    """Right-or-wrong answers of a new and an old model with the given numbers of agreements and flips."""
    old, new = np.zeros(items), np.zeros(items)
    old[:both_right] = new[:both_right] = 1
    new[both_right : both_right + only_new] = 1
    old[both_right + only_new : both_right + only_new + only_old] = 1
    return JointSamples.of([new, old], [np.ones(items)] * 2, range(items))


@pytest.fixture(scope="module")
def oracle() -> JointSamples:
    """1000 items, .72 against .70 right, 60 gained and 40 lost."""
    return flips(1000, 660, 60, 40)


def test_paired_difference_of_the_oracle_has_its_standard_error_and_z(oracle: JointSamples) -> None:
    difference = oracle.difference(0, 1)
    assert difference.value == pytest.approx(0.02, abs=1e-12)
    assert difference.stderr == pytest.approx(0.00998497, abs=5e-9)
    assert difference.value / difference.stderr == pytest.approx(2.00301, abs=5e-6)
    normal = [difference.value + sign * 1.959964 * difference.stderr for sign in (-1, 1)]
    assert normal == pytest.approx([0.000429, 0.039571], abs=5e-6)


def test_paired_bootstrap_of_the_oracle_has_its_interval(oracle: JointSamples) -> None:
    difference = oracle.difference(0, 1)
    replicates = oracle.replicates[:, 0] - oracle.replicates[:, 1]
    assert replicates.std() == pytest.approx(0.0101, abs=2e-4)
    # the difference moves in steps of .001: the percentiles may land one step beside those of another generator
    assert (difference.low, difference.high) == pytest.approx((0.0, 0.04), abs=0.0011)


def test_pairing_is_twice_as_sharp_as_the_separate_scores_of_the_oracle(oracle: JointSamples) -> None:
    unpaired = math.hypot(oracle.score(0).stderr, oracle.score(1).stderr)
    # the published .0202879 divides by n, ours by n - 1
    assert unpaired == pytest.approx(0.0202879, rel=1e-3)
    assert unpaired / oracle.difference(0, 1).stderr > 2


def test_exact_mcnemar_of_the_oracle(oracle: JointSamples) -> None:
    assert mcnemar(60, 40) == pytest.approx(0.0568879, abs=5e-8)
    assert oracle.p_value(0, 1) == mcnemar(60, 40)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_two_sided_binomial_test(gained: int, lost: int) -> None:
    if gained + lost:
        expected = stats.binomtest(gained, gained + lost, 0.5).pvalue
        assert mcnemar(gained, lost) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(gained, lost) == mcnemar(lost, gained)


def test_mcnemar_without_a_flip_is_1() -> None:
    assert mcnemar(0, 0) == 1.0


def test_clustered_standard_error_of_the_oracle() -> None:
    samples = JointSamples.of([[1, 1, 0, 0]], [[1, 1, 1, 1]], ["a", "a", "b", "b"])
    assert samples.stderr(np.array([1.0])) == pytest.approx(0.353553, abs=5e-7)
    alone = JointSamples.of([[1, 1, 0, 0]], [[1, 1, 1, 1]], range(4))
    assert alone.stderr(np.array([1.0])) == pytest.approx(0.288675, abs=5e-7)


def test_bits_per_byte_of_the_oracle() -> None:
    bits = 1000 * 2.0 / math.log(2)
    assert interval([bits * 0.25, bits * 0.75], [1200, 3000], ["a", "b"]).value == pytest.approx(0.686998, abs=5e-7)


@pytest.mark.parametrize(
    ("items", "points"), [(100, 8.9), (200, 6.3), (500, 4.0), (1000, 2.8), (1273, 2.5), (4183, 1.4)]
)
def test_smallest_detectable_effect_at_ten_percent_discordance(items: int, points: float) -> None:
    assert 100 * smallest_detectable(math.sqrt(0.1 / items)) == pytest.approx(points, abs=0.06)


def test_an_effect_of_the_smallest_detectable_size_is_found_in_80_percent_of_repetitions() -> None:
    generator = np.random.default_rng(3)
    items, repetitions = 400, 4000
    effect = smallest_detectable(1 / math.sqrt(items))
    z = generator.normal(effect, 1, (repetitions, items)).mean(1) * math.sqrt(items)
    # the standard error of this share is .0063
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.80, abs=0.02)


def test_bootstrap_of_a_ratio_agrees_with_its_closed_standard_error() -> None:
    generator = np.random.default_rng(5)
    weights = generator.integers(500, 4000, 300).astype(float)
    samples = JointSamples.of([weights * generator.normal(1, 0.1, 300)], [weights], range(300))
    assert samples.replicates[:, 0].std() == pytest.approx(samples.score(0).stderr, rel=0.04)


def test_bootstrap_over_clusters_agrees_with_the_clustered_standard_error() -> None:
    generator = np.random.default_rng(6)
    clusters = np.repeat(np.arange(150), 4)
    values = (generator.normal(0, 1, 150)[clusters] + generator.normal(0, 0.3, 600))[np.newaxis]
    samples = JointSamples.of(list(values), [np.ones(600)], list(clusters))
    clustered = samples.score(0)
    assert samples.replicates[:, 0].std() == pytest.approx(clustered.stderr, rel=0.04)
    assert clustered.stderr > 1.7 * JointSamples.of(list(values), [np.ones(600)], range(600)).score(0).stderr


@pytest.mark.parametrize("clusters", [8, 40])
def test_intervals_cover_the_truth_about_95_times_in_100_even_with_few_clusters(clusters: int) -> None:
    generator = np.random.default_rng(11)
    covered = 0
    for _ in range(400):
        values = generator.normal(0, 1, clusters)
        # the means of the resamples of one sample, drawn here in bulk to keep the test quick
        resampled = values[generator.integers(0, clusters, (1000, clusters))].mean(1)
        low, high = percentile_interval(resampled, clusters)
        covered += low <= 0 <= high
    # standard error .011; plain percentiles cover .88 with 8 clusters
    assert covered / 400 == pytest.approx(0.945, abs=0.03)


def test_the_same_samples_give_the_same_interval_to_the_last_bit() -> None:
    generator = np.random.default_rng(1)
    values, weights = generator.random(97), generator.random(97) + 1
    assert interval(values, weights, range(97)) == interval(values, weights, range(97))


def test_the_order_of_models_and_the_presence_of_others_changes_no_difference() -> None:
    generator = np.random.default_rng(2)
    a, b, c = generator.random((3, 50))
    ones = np.ones(50)
    pair = JointSamples.of([a, b], [ones] * 2, range(50)).difference(0, 1)
    among = JointSamples.of([c, b, a], [ones] * 3, range(50)).difference(2, 1)
    assert among == pytest.approx(pair, rel=1e-12)


def test_wilson_interval_of_a_textbook_case() -> None:
    # 81 of 263 (Newcombe 1998, table I, method 3)
    estimate = interval([1.0] * 81 + [0.0] * 182, [1.0] * 263, range(263))
    assert (estimate.low, estimate.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_all_right_is_not_taken_for_certain() -> None:
    alone = interval([1.0] * 20, [1.0] * 20, range(20))
    assert alone.high == 1.0
    assert 0.83 < alone.low < 0.84
    five_passages = interval([1.0] * 20, [1.0] * 20, [i // 4 for i in range(20)])
    assert five_passages.low < 0.6


def test_one_document_has_a_score_and_no_interval() -> None:
    estimate = interval([3.0, 4.0], [2.0, 3.0], ["same", "same"])
    assert estimate.value == pytest.approx(1.4)
    assert all(map(math.isnan, estimate[1:]))
    assert not estimate.excludes(0)


def test_shares_have_the_same_meaning_for_either_direction_of_a_metric() -> None:
    generator = np.random.default_rng(8)
    noise = generator.normal(0, 0.02, 60)
    instruct, cpt, merged = 3.0 + noise, 1.0 + noise, 1.5 + noise
    ones = [np.ones(60)] * 3
    lower = JointSamples.of([instruct, cpt, merged], ones, range(60))
    higher = JointSamples.of([-instruct, -cpt, -merged], ones, range(60))
    for samples in (lower, higher):
        assert samples.gain_kept(0, 1, 2).value == pytest.approx(0.75)
        assert samples.loss_won_back(0, 1, 2).value == pytest.approx(0.25)


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1), st.integers(0, 2**16))
def test_share_kept_and_share_undone_sum_to_1(share: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    before, after = generator.normal(2, 0.1, 30), generator.normal(1, 0.1, 30)
    merged = share * after + (1 - share) * before
    samples = JointSamples.of([before, after, merged], [np.ones(30)] * 3, range(30))
    kept, undone = samples.gain_kept(0, 1, 2), samples.loss_won_back(0, 1, 2)
    # a merge that lies exactly between two models keeps the same share in every resample
    assert [kept.value, kept.low, kept.high] == pytest.approx([share] * 3, abs=1e-9)
    assert kept.value + undone.value == pytest.approx(1)


def test_the_interval_of_a_share_covers_the_truth() -> None:
    generator = np.random.default_rng(21)
    covered = 0
    for _ in range(60):
        documents = generator.normal(0, 0.3, 40)
        noisy = [level + documents + generator.normal(0, 0.1, 40) for level in (3.0, 1.0, 1.6)]
        share = JointSamples.of(noisy, [np.ones(40)] * 3, range(40)).gain_kept(0, 1, 2)
        covered += share.low <= 0.7 <= share.high
    assert covered >= 52


def test_no_change_has_no_share() -> None:
    same = np.linspace(0, 1, 20)
    share = JointSamples.of([same, same, same + 1], [np.ones(20)] * 3, range(20)).gain_kept(0, 1, 2)
    assert math.isnan(share.value)
    assert math.isnan(share.low)


def test_holm_of_a_textbook_case() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    by_rank = [a for _, a in sorted(zip(p_values, adjusted, strict=True))]
    assert by_rank == sorted(by_rank)


def test_student_p_of_paired_scores_is_scipys() -> None:
    generator = np.random.default_rng(4)
    a, b = generator.normal(0.2, 1, 25), generator.normal(0, 1, 25)
    samples = JointSamples.of([a, b], [np.ones(25)] * 2, range(25))
    assert samples.p_value(0, 1) == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-9)


@pytest.mark.parametrize(
    ("values", "weights", "clusters", "complaint"),
    [
        ([1.0], [1.0, 1.0], ["a"], "same length"),
        ([], [], [], "at least 1"),
        ([math.nan], [1.0], ["a"], "finite"),
        ([1.0], [0.0], ["a"], "more than 0"),
    ],
)
def test_samples_that_cannot_be_used_are_refused(
    values: list[float], weights: list[float], clusters: list[str], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        interval(values, weights, clusters)
