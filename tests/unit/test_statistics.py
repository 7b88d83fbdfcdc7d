"""The report's statistics: cases computed by hand, published oracles, and what must hold for any samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from domadapt.report.significance import holm, items_needed, mcnemar, planned_detectable, smallest_detectable
from domadapt.report.statistics import JointSamples, fieller, interval, percentile_interval


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


def test_paired_interval_is_scipys(oracle: JointSamples) -> None:
    expected = stats.ttest_rel(oracle.values[:, 0], oracle.values[:, 1]).confidence_interval(0.95)
    found = oracle.difference(0, 1)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_bootstrap_interval_is_close_to_scipys() -> None:
    generator = np.random.default_rng(12)
    num_bytes = generator.integers(500, 4000, 60).astype(float)
    bits = num_bytes * generator.normal(1, 0.1, 60), num_bytes * generator.normal(1.1, 0.1, 60)
    samples = JointSamples.of(bits, [num_bytes] * 2, range(60))

    def difference(a: np.ndarray, b: np.ndarray, size: np.ndarray, axis: int) -> np.ndarray:
        return (a.sum(axis) - b.sum(axis)) / size.sum(axis)

    expected = stats.bootstrap(
        (*bits, num_bytes), difference, paired=True, vectorized=True, method="percentile", n_resamples=9999, rng=1
    )
    low, high = samples.bootstrap(0, 1)
    # ours is wider by Student's t at the effective number of documents, here 3.5 %
    width = expected.confidence_interval.high - expected.confidence_interval.low
    assert (high - low) / width == pytest.approx(1.035, abs=0.025)
    assert (low + high) / 2 == pytest.approx(sum(expected.confidence_interval) / 2, abs=0.02 * width)


def test_paired_bootstrap_of_the_oracle_has_its_interval(oracle: JointSamples) -> None:
    difference = oracle.bootstrap(0, 1)
    replicates = oracle.replicates[:, 0] - oracle.replicates[:, 1]
    assert replicates.std() == pytest.approx(0.0101, abs=2e-4)
    # the difference moves in steps of .001: the percentiles may land one step beside those of another generator
    assert difference == pytest.approx((0.0, 0.04), abs=0.0011)


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


def test_perplexities_of_the_oracle_are_ratios_of_sums() -> None:
    # 1000 tokens of 2 nats, 4200 bytes, 700 words, spread unevenly over two documents
    nats = np.array([500.0, 1500.0])

    def score(unit: float, *counts: float) -> float:
        return interval(nats / unit, counts, ["a", "b"]).value

    assert score(math.log(2), 1200, 3000) == pytest.approx(0.686998, abs=5e-7)  # bits per byte
    assert math.exp(score(1, 400, 600)) == pytest.approx(7.389056, abs=5e-7)  # by token
    assert math.exp(score(1, 1200, 3000)) == pytest.approx(1.609930, abs=5e-7)  # by byte
    assert math.exp(score(1, 300, 400)) == pytest.approx(17.411708, abs=5e-7)  # by word


@pytest.mark.parametrize(
    ("items", "points"), [(100, 8.9), (200, 6.3), (500, 4.0), (1000, 2.8), (1273, 2.5), (4183, 1.4)]
)
def test_smallest_detectable_effect_at_ten_percent_discordance(items: int, points: float) -> None:
    assert 100 * smallest_detectable(math.sqrt(0.1 / items)) == pytest.approx(points, abs=0.06)


@pytest.mark.parametrize(("points", "items"), [(1, 7849), (2, 1962)])
def test_items_that_a_planned_comparison_needs(points: int, items: int) -> None:
    assert items_needed(points / 100) == items
    assert 100 * planned_detectable(items) == pytest.approx(points, rel=1e-3)


def test_few_independent_units_can_show_less_than_many() -> None:
    assert smallest_detectable(0.01, 8) == pytest.approx((2.364624 + 0.896030) * 0.01, rel=1e-5)
    assert smallest_detectable(0.01, 10_000) == pytest.approx(smallest_detectable(0.01), rel=1e-3)
    assert math.isnan(smallest_detectable(0.01, 1))


def test_an_effect_of_the_smallest_detectable_size_is_found_in_80_percent_of_repetitions() -> None:
    generator = np.random.default_rng(3)
    items, repetitions = 400, 4000
    effect = smallest_detectable(1 / math.sqrt(items))
    z = generator.normal(effect, 1, (repetitions, items)).mean(1) * math.sqrt(items)
    # the standard error of this share is .0063
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.80, abs=0.02)


def test_jackknife_of_unequal_documents_leaves_each_out_once() -> None:
    values, weights = np.array([3.0, 9.0, 4.0, 30.0]), np.array([2.0, 8.0, 5.0, 20.0])
    samples = JointSamples.of([values], [weights], range(4))
    left_out = [(values.sum() - v) / (weights.sum() - w) for v, w in zip(values, weights, strict=True)]
    whole = values.sum() / weights.sum()
    expected = math.sqrt(3 / 4 * sum((score - whole) ** 2 for score in left_out))
    spread, units = samples.uncertainty(np.array([1.0]))
    assert spread == pytest.approx(expected, rel=1e-12)
    assert units == pytest.approx(35**2 / (4 + 64 + 25 + 400))


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


def test_models_that_answer_all_items_alike_are_not_taken_for_equal() -> None:
    same = flips(20, 15, 0, 0).difference(0, 1)
    assert (same.value, same.stderr) == (0.0, 0.0)
    # one item gained and one lost among 22 (Bonett & Price)
    assert same.high == -same.low == pytest.approx(2.093024 * math.sqrt(2) / 22, rel=1e-5)
    many = flips(2000, 1500, 0, 0).difference(0, 1)
    assert many.high < 0.0015


def test_identical_bits_per_byte_are_equal() -> None:
    bits = np.linspace(1, 2, 30)
    same = JointSamples.of([bits, bits], [np.ones(30)] * 2, range(30)).difference(0, 1)
    assert (same.low, same.high) == (0.0, 0.0)


def test_a_share_of_answers_that_are_all_alike_is_not_taken_for_exact() -> None:
    reference = np.array([1.0] * 19 + [0.0])
    cpt = np.array([1.0] * 2 + [0.0] * 18)
    share = JointSamples.of([reference, cpt, reference], [np.ones(20)] * 3, range(20)).loss_won_back(0, 1, 2)
    assert share.value == 1.0
    assert 0.75 < share.low < 0.9
    assert 1.1 < share.high < 1.25


def test_fieller_interval_of_a_textbook_case() -> None:
    # means 2 and 4, variances .04 and .01, independent, t 1.96: the quadratic solved by hand
    low, high = fieller(0.5, 4.0, np.array([[0.04 + 0.25 * 0.01, -0.5 * 0.01], [-0.5 * 0.01, 0.01]]), 1.96)
    for bound in (low, high):
        assert (2 - 4 * bound) ** 2 == pytest.approx(1.96**2 * (0.04 + bound**2 * 0.01), rel=1e-9)
    assert low < 0.5 < high
    unclear = fieller(0.5, 0.1, np.eye(2), 1.96)
    assert all(map(math.isnan, unclear))


def test_no_change_has_no_share() -> None:
    same = np.linspace(0, 1, 20)
    share = JointSamples.of([same, same, same + 1], [np.ones(20)] * 3, range(20)).gain_kept(0, 1, 2)
    assert math.isnan(share.value)
    assert math.isnan(share.low)


MEDICAL_ITEMS = [1273, 4183, 500, 1172, 10042, 14042]
PARENTS = [38.40, 35.45, 73.40, 44.20, 55.40, 46.37]
SLERP = [39.20, 36.91, 75.60, 46.84, 58.67, 47.97]


def test_four_of_six_gains_of_a_published_merge_table_lie_below_two_standard_errors() -> None:
    """MergeKit's medical table (arXiv 2403.13257): SLERP against the better parent on each task.

    Only scores were published, so the standard errors are those of independent samples.
    """
    z = []
    for items, parent, merged in zip(MEDICAL_ITEMS, PARENTS, SLERP, strict=True):
        right = [np.arange(items) < round(items * score / 100) for score in (merged, parent)]
        samples = JointSamples.of([r.astype(float) for r in right], [np.ones(items)] * 2, range(items))
        unpaired = math.hypot(samples.score(0).stderr, samples.score(1).stderr)
        z.append((samples.scores[0] - samples.scores[1]).item() / unpaired)
    assert z == pytest.approx([0.4, 1.4, 0.8, 1.3, 4.7, 2.7], abs=0.06)
    assert sum(value < 2 for value in z) == 4


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
