"""The stability gap: numbers by hand, what must hold for any curve, and how often noise alone is called a dip."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domadapt.report.stability import LEVEL, stability_gap

CURVE = [36.2, 34.0, 34.9, 35.8, 36.4, 37.0, 37.4]
"""Depth 2.2 at 1, recovery at 4, area 2.2 + 1.3 + 0.4 = 3.9, gain 1.2."""

values = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12)


def test_the_numbers_of_a_v_shaped_curve() -> None:
    gap = stability_gap(range(7), CURVE)
    assert gap["depth"] == pytest.approx(2.2)
    assert (gap["depth_at"], gap["recovered_at"]) == (1, 4)
    assert gap["area"] == pytest.approx(3.9)
    assert gap["gain"] == pytest.approx(1.2)
    assert (gap["found"], gap["inside"], gap["noise"]) == (True, False, None)
    assert gap["sentence"] == (
        "Stability gap: the score fell by 2.2 from 36.2 at step 1 (noise unknown) and was back at its start by step 4."
    )


def test_the_area_counts_steps_also_where_they_are_uneven() -> None:
    gap = stability_gap([0, 10, 40, 50], [5.0, 3.0, 4.0, 6.0])
    assert gap["area"] == pytest.approx(10 * 2 / 2 + 30 * (2 + 1) / 2 + 10 * 1 / 2)
    assert (gap["depth_at"], gap["recovered_at"]) == (10, 50)


def test_a_loss_is_the_same_curve_upside_down() -> None:
    loss = stability_gap(range(7), [-v for v in CURVE], higher_is_better=False, name="the held-out loss")
    score = stability_gap(range(7), CURVE)
    for name in ("depth", "depth_at", "recovered_at", "area", "gain", "inside", "found"):
        assert loss[name] == score[name]  # type: ignore[literal-required]
    assert loss["sentence"].startswith("Stability gap: the held-out loss rose by 2.2 from -36.2 at step 1")


def test_a_curve_that_ends_below_its_start_ends_inside_the_dip() -> None:
    gap = stability_gap([0, 15, 30], [0.5, 0.2, 0.3], errors=[0.03, 0.03, 0.03])
    assert (gap["inside"], gap["recovered_at"]) == (True, None)
    assert gap["sentence"].endswith(
        "and was not back at its start at the last step, 30 (0.2 below it): it ends inside the dip."
    )
    near = stability_gap([0, 15, 30], [0.5, 0.2, 0.49], errors=[0.03, 0.03, 0.03])
    assert near["inside"]
    assert near["sentence"].endswith("30 (0.01 below it, within the noise).")
    again = stability_gap([0, 1, 2, 3], [0.5, 0.2, 0.6, 0.3], errors=[0.03] * 4)
    assert (again["inside"], again["recovered_at"]) == (True, 2)
    assert again["sentence"].endswith(
        "and after a recovery at the last step, 3 (0.2 below it): it ends inside the dip."
    )
    wobble = stability_gap([0, 1, 2, 3], [0.5, 0.2, 0.6, 0.49], errors=[0.03] * 4)
    assert (wobble["inside"], wobble["recovered_at"]) == (False, 2)


def test_a_loss_that_only_rises_is_not_called_a_stability_gap() -> None:
    gap = stability_gap([0, 15, 30], [4.0, 4.5, 4.6], higher_is_better=False, name="the general loss")
    assert (gap["found"], gap["inside"], gap["recovered_at"]) == (True, True, None)
    assert gap["sentence"] == (
        "the general loss rose by 0.6 from 4 at step 30, the last (noise unknown): it has not turned, so this is "
        "forgetting, or a gap that still opens."
    )
    turned = stability_gap([0, 15, 30], [4.0, 4.6, 4.5], higher_is_better=False, name="the general loss")
    assert turned["sentence"].startswith("Stability gap: the general loss rose by 0.6")


def test_a_drop_within_the_noise_is_no_dip() -> None:
    """Two later points share 5 %: z(0.975) = 1.959964, times sqrt(2) * 0.03 = 0.0832."""
    errors = [0.03, 0.03, 0.03]
    small = stability_gap([0, 15, 30], [0.5, 0.42, 0.6], errors=errors)
    assert (small["found"], small["inside"]) == (False, False)
    assert small["noise"] == pytest.approx(1.959964 * math.sqrt(2) * 0.03)
    assert small["sentence"] == (
        "the score fell by 0.08 from 0.5 at step 15, not more than its noise of 0.0832: no stability gap is shown."
    )
    assert stability_gap([0, 15, 30], [0.5, 0.41, 0.6], errors=errors)["found"]


def test_errors_of_the_paired_change_are_preferred() -> None:
    gap = stability_gap([0, 15, 30], [0.5, 0.45, 0.6], errors=[0.03] * 3, change_errors=[0.0, 0.02, 0.02])
    assert gap["found"]
    assert gap["noise"] == pytest.approx(1.959964 * 0.02)
    unknown = stability_gap([0, 15, 30], [0.5, 0.1, 0.6], change_errors=[0.0, math.nan, 0.02])
    assert (unknown["found"], unknown["noise"]) == (False, None)
    assert "not more than what its noise explains" in unknown["sentence"]


def test_one_measurement_is_no_curve() -> None:
    gap = stability_gap([0], [0.5], errors=[0.1])
    assert (gap["found"], gap["inside"], gap["depth"], gap["area"]) == (False, False, 0, 0)
    assert gap["sentence"] == "the score was measured once, at step 0: there is no curve to judge."


@pytest.mark.parametrize(
    ("steps", "given", "told"),
    [
        ([], [], "at least 1"),
        ([0, 1], [0.5], "same length"),
        ([0, 0], [0.5, 0.5], "steps must rise"),
        ([0, 1], [0.5, math.nan], "finite"),
    ],
)
def test_what_is_no_curve_is_refused(steps: list[int], given: list[float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        stability_gap(steps, given)


@given(values)
def test_a_rising_curve_has_no_gap_and_any_curve_keeps_its_bounds(curve: list[float]) -> None:
    rising = stability_gap(range(len(curve)), sorted(curve))
    assert (rising["depth"], rising["area"], rising["found"], rising["inside"]) == (0, 0, False, False)
    assert rising["recovered_at"] is None

    gap = stability_gap(range(len(curve)), curve)
    assert gap["depth"] == max(0.0, curve[0] - min(curve))
    assert 0 <= gap["area"] <= gap["depth"] * (len(curve) - 1) * (1 + 1e-9)
    assert gap["inside"] <= gap["found"]
    assert gap["found"] == (min(curve) < curve[0])  # without a noise estimate every drop counts
    if gap["recovered_at"] is not None:
        assert gap["recovered_at"] > gap["depth_at"]
        assert curve[gap["recovered_at"]] >= curve[0]
    elif gap["found"]:
        assert gap["inside"]
        assert curve[-1] < curve[0]
    json.dumps(gap, allow_nan=False)


@given(values, st.sampled_from([0.25, 2.0, 64.0]), st.integers(1, 9))
def test_depth_scales_with_the_values_and_area_with_both(curve: list[float], scale: float, stride: int) -> None:
    gap = stability_gap(range(len(curve)), curve)
    scaled = stability_gap(range(0, len(curve) * stride, stride), [scale * v for v in curve])
    assert scaled["depth"] == pytest.approx(scale * gap["depth"])
    assert scaled["area"] == pytest.approx(scale * stride * gap["area"])
    assert scaled["depth_at"] == stride * gap["depth_at"]
    assert (scaled["found"], scaled["inside"]) == (gap["found"], gap["inside"])


@given(values.filter(lambda v: len(v) > 1), st.floats(0.01, 10))
def test_more_noise_never_makes_a_dip(curve: list[float], error: float) -> None:
    steps = range(len(curve))
    quiet = stability_gap(steps, curve, errors=[error] * len(curve))
    loud = stability_gap(steps, curve, errors=[2 * error] * len(curve))
    assert loud["found"] <= quiet["found"]
    assert quiet["depth"] == loud["depth"]


def test_a_curve_that_only_wobbles_is_called_a_dip_in_at_most_five_of_a_hundred_cases() -> None:
    """Six probes of one unchanging model on items of their own: the drop to each has the stated error."""
    draw, error, trials = random.Random(0), 0.03, 4000
    found = 0
    for _ in range(trials):
        changes = [draw.gauss(0, error) for _ in range(5)]
        gap = stability_gap(range(6), [0.5, *(0.5 + c for c in changes)], change_errors=[0.0, *[error] * 5])
        found += gap["found"]
    assert 0.03 < found / trials < LEVEL + 0.01
