"""The arithmetic of the simulated papers, against hand computation and scipy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt_medical.sample.estimates import (
    Contrast,
    chi_square_p,
    heterogeneity_p,
    mantel_haenszel,
    mean_difference,
    p_text,
    pooled,
    wilson,
)


def test_wilson_agrees_with_the_textbook() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857, table I: 81 of 263
    estimate = wilson(81, 263)
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (0.2553, 0.3662)
    assert estimate.text(1, percent=True) == "30.8% (95% CI 25.5 to 36.6)"


def test_a_risk_ratio_by_hand() -> None:
    ratio = Contrast(15, 100, 30, 100).risk_ratio()
    half = 1.959964 * math.sqrt(1 / 15 - 1 / 100 + 1 / 30 - 1 / 100)
    assert ratio.value == pytest.approx(0.5)
    assert ratio.low == pytest.approx(0.5 * math.exp(-half), rel=1e-6)
    assert ratio.high == pytest.approx(0.5 * math.exp(half), rel=1e-6)


def test_an_odds_ratio_and_a_difference_by_hand() -> None:
    contrast = Contrast(15, 100, 30, 100)
    assert contrast.odds_ratio().value == pytest.approx((15 * 70) / (30 * 85))
    assert contrast.risk_difference().value == pytest.approx(-0.15)


# no deadline: the first example imports scipy
@settings(deadline=None)
@given(st.floats(0, 60), st.integers(1, 12))
def test_chi_square_tails_agree_with_scipy(x: float, df: int) -> None:
    from scipy.stats import chi2

    assert chi_square_p(x, df) == pytest.approx(float(chi2.sf(x, df)), rel=1e-9, abs=1e-15)


# no deadline: the first example imports scipy
@settings(deadline=None)
@given(st.integers(0, 30), st.integers(1, 30), st.integers(0, 30), st.integers(1, 30))
def test_p_values_agree_with_scipy(a: int, extra: int, c: int, more: int) -> None:
    from scipy.stats import chi2_contingency, fisher_exact

    contrast = Contrast(a, a + extra, c, c + more)
    if a + c == 0:
        assert contrast.p_value() == 1.0
        return
    table = [[a, extra], [c, more]]
    result = chi2_contingency(table, correction=False)
    small = result.expected_freq.min() < 5
    expected = fisher_exact(table).pvalue if small else result.pvalue
    assert contrast.p_value() == pytest.approx(float(expected), rel=1e-6, abs=1e-12)


def test_several_proportions_agree_with_scipy() -> None:
    from scipy.stats import chi2_contingency

    events, totals = [12, 30, 22], [100, 140, 90]
    table = [events, [n - k for k, n in zip(events, totals, strict=True)]]
    assert heterogeneity_p(events, totals) == pytest.approx(float(chi2_contingency(table).pvalue))


def test_pooling_equal_trials_gives_their_ratio_without_heterogeneity() -> None:
    estimate, i2, p = pooled([Contrast(15, 100, 30, 100)] * 4)
    assert estimate.value == pytest.approx(0.5)
    assert i2 == 0.0
    assert p == pytest.approx(1.0)
    assert estimate.high < Contrast(15, 100, 30, 100).risk_ratio().high


def test_mantel_haenszel_of_one_stratum_is_the_crude_ratio() -> None:
    contrast = Contrast(15, 100, 30, 120)
    assert mantel_haenszel([contrast]).value == pytest.approx(contrast.risk_ratio().value)


def test_mantel_haenszel_removes_confounding_by_the_stratum() -> None:
    # ratio 1 within strata, exposure commoner where risk is higher
    strata = [Contrast(10, 100, 40, 400), Contrast(160, 400, 40, 100)]
    assert mantel_haenszel(strata).value == pytest.approx(1.0)


def test_a_difference_of_means_by_hand() -> None:
    estimate, p = mean_difference(5.0, 2.0, 100, 4.0, 2.0, 100)
    assert estimate.value == 1.0
    assert estimate.low == pytest.approx(1 - 1.959964 * math.sqrt(0.08), rel=1e-6)
    assert p == pytest.approx(0.000407, rel=1e-2)


@pytest.mark.parametrize(
    ("p", "wanted"),
    [(0.00001, "P<0.001"), (0.0042, "P=0.004"), (0.0321, "P=0.03"), (0.0496, "P=0.050"), (0.7, "P=0.70")],
)
def test_p_values_are_written_as_journals_want(p: float, wanted: str) -> None:
    assert p_text(p) == wanted
