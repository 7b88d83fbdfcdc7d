"""Learning rates against values computed by hand and by Gupta et al. 2023."""

from __future__ import annotations

import math
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domadapt.builtin.training.schedule import learning_rate

Shape = Literal["cosine", "constant"]


def rates(num_steps: int, warmup: float, minimum: float, shape: Shape = "cosine") -> list[float]:
    return [
        learning_rate(step, num_steps, peak=1.0, shape=shape, warmup=warmup, minimum=minimum)
        for step in range(num_steps)
    ]


def test_ten_steps_with_two_of_warm_up_by_hand() -> None:
    # step 2 + k of the 8 after the warm-up: 0.1 + 0.45 (1 + cos(pi k / 8))
    half = math.sqrt(0.5)
    assert rates(10, 0.2, 0.1) == pytest.approx(
        [0.5, 1.0, 1.0, 0.965746, 0.55 + 0.45 * half, 0.722208, 0.55, 0.377792, 0.55 - 0.45 * half, 0.134254],
        abs=1e-6,
    )


def test_without_warm_up_the_first_step_has_the_peak() -> None:
    assert rates(4, 0.0, 0.0) == pytest.approx([1.0, 0.853553, 0.5, 0.146447], abs=1e-6)


def test_constant_stays_at_the_peak_after_the_warm_up() -> None:
    assert rates(5, 0.4, 0.1, "constant") == [0.5, 1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("tokens", "wanted"), [(1.485, 1.5e-4), (2.97, 3.0e-4), (60, 2.63236e-4), (120, 1.67657e-4), (240, 0.3e-4)]
)
def test_the_rates_of_gupta_et_al_at_their_token_counts(tokens: float, wanted: float) -> None:
    """Warm-up over 2.97 B tokens, cosine from 3e-4 to a tenth at 240 B; a step of ours is 0.015 B tokens.

    They hold the minimum until 297 B; our schedule ends where the minimum is reached.
    """
    size = 0.015
    step = round(tokens / size)
    found = learning_rate(
        # their rate at t tokens is the rate reached there: ours of the step that ends there while it rises
        step - 1 if tokens <= 2.97 else step,
        round(240 / size),
        peak=3e-4,
        shape="cosine",
        warmup=2.97 / 240,
        minimum=0.1,
    )
    assert found == pytest.approx(wanted, rel=2e-6)


@given(st.integers(1, 300), st.floats(0, 0.99), st.floats(0, 1), st.sampled_from(["cosine", "constant"]))
def test_the_rate_rises_to_the_peak_and_then_never_rises_again(
    num_steps: int, warmup: float, minimum: float, shape: Shape
) -> None:
    values = rates(num_steps, warmup, minimum, shape)
    num_warmup = math.ceil(num_steps * warmup)
    assert all(0 < value <= 1 + 1e-12 for value in values)
    assert values[:num_warmup] == sorted(values[:num_warmup])
    assert values[num_warmup:] == sorted(values[num_warmup:], reverse=True)
    assert max(values) == pytest.approx(1.0)
    assert all(value >= minimum - 1e-12 for value in values[num_warmup:])
