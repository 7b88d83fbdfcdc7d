"""Learning rates against values computed by hand, by Gupta et al. 2023 and by Ibrahim et al. 2024."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domadapt.artifacts import Checkpoint
from domadapt.builtin.training.schedule import Shape, learning_rate, rate_of, starting_rate
from domadapt.errors import DataError
from domadapt.recipe.schema import Train


def rates(num_steps: int, warmup: float, minimum: float, shape: Shape = "cosine", **more: Any) -> list[float]:
    return [
        learning_rate(step, num_steps, peak=1.0, shape=shape, warmup=warmup, minimum=minimum, **more)
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


def test_linear_falls_in_equal_parts_to_the_minimum_at_the_end() -> None:
    assert rates(6, 1 / 3, 0.2, "linear") == pytest.approx([0.5, 1.0, 1.0, 0.8, 0.6, 0.4])
    assert learning_rate(6, 6, peak=1.0, shape="linear", warmup=1 / 3, minimum=0.2) == pytest.approx(0.2)


def test_wsd_stays_at_the_peak_and_falls_by_one_minus_the_root_of_the_rest() -> None:
    """Haegele et al. 2024: 1 - sqrt(k / 4) in the last 4 of 10 steps, here between the peak and 0.2 of it."""
    falling = [0.2 + 0.8 * (1 - math.sqrt(k / 4)) for k in range(4)]
    assert rates(10, 0.2, 0.2, "wsd", anneal=0.4) == pytest.approx([0.5, 1.0, 1.0, 1.0, 1.0, 1.0, *falling])
    assert rates(10, 0.0, 0.2, "wsd", anneal=0.0) == [1.0] * 10


def test_inverse_sqrt_is_the_formula_of_vaswani_et_al_down_to_the_minimum() -> None:
    """lr ~ min(n^-0.5, n w^-1.5), n the step from 1: their formula times sqrt(w) has the peak 1."""
    w, found = 4, rates(100, 0.04, 0.3, "inverse_sqrt")
    assert found == pytest.approx([max(0.3 if n > w else 0, w**0.5 * min(n**-0.5, n * w**-1.5)) for n in range(1, 101)])
    assert found[-1] == 0.3
    assert rates(100, 0.0, 0.0, "inverse_sqrt")[:4] == pytest.approx([1.0, 0.5**0.5, 3**-0.5, 0.5])


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


@pytest.mark.parametrize(
    ("at", "wanted"),
    [(5, 1.5), (10, 3), (30, 2.325), (50, 1.65), (70, 1.65), (90, 1.65), (95, 0.70356), (100, 0.3)],
)
def test_the_rates_of_the_infinite_schedule_of_ibrahim_et_al(at: int, wanted: float) -> None:
    """Warm-up to 10, cool-down to 50, constant to 90, annealing to 100; peak 3e-4, constant 1.65e-4, minimum 3e-5."""
    step = at - 1 if at <= 10 else at  # the rate reached at the end of a step while it rises
    found = learning_rate(step, 100, peak=3e-4, shape="infinite", warmup=0.1, minimum=0.1)
    assert found == pytest.approx(wanted * 1e-4, rel=1e-5)


def test_the_infinite_schedule_cools_down_by_the_inverse_root_when_asked() -> None:
    more = {"peak": 3e-4, "shape": "infinite", "warmup": 0.1, "minimum": 0.1, "cooldown_shape": "inverse_sqrt"}
    assert learning_rate(30, 100, **more) == pytest.approx(1.8563e-4, rel=1e-5)  # type: ignore[arg-type]
    assert learning_rate(10, 100, **more) == pytest.approx(3e-4)  # type: ignore[arg-type]
    assert learning_rate(50, 100, **more) == pytest.approx(1.65e-4)  # type: ignore[arg-type]


def test_the_rate_of_the_constant_phase_does_not_depend_on_how_long_it_lasts() -> None:
    """What makes it infinite: a checkpoint of the constant phase can be trained on with any number of steps."""
    for num_steps in (100, 1000):
        middle = learning_rate(num_steps * 7 // 10, num_steps, peak=1.0, shape="infinite", warmup=0.01, minimum=0.1)
        assert middle == pytest.approx(0.55)


def test_re_warming_rises_from_the_rate_that_training_ended_with() -> None:
    found = rates(10, 0.4, 0.1, start=0.2)
    assert found[:4] == pytest.approx([0.4, 0.6, 0.8, 1.0])
    assert found[4:] == rates(10, 0.4, 0.1)[4:]


SHAPES: tuple[Shape, ...] = get_args(Shape)


@given(st.integers(1, 300), st.floats(0, 0.5), st.floats(0.01, 0.5), st.sampled_from(SHAPES))
def test_the_rate_rises_to_the_peak_and_then_never_rises_again(
    num_steps: int, warmup: float, minimum: float, shape: Shape
) -> None:
    values = rates(num_steps, warmup, minimum, shape)
    num_warmup = math.ceil(num_steps * warmup - 1e-9)
    assert all(0 < value <= 1 + 1e-12 for value in values)
    assert values[:num_warmup] == sorted(values[:num_warmup])
    assert all(later <= before + 1e-12 for before, later in itertools.pairwise(values[num_warmup:]))
    assert max(values) == pytest.approx(1.0)
    assert all(value >= minimum - 1e-12 for value in values[num_warmup:])


@given(st.integers(2, 300), st.floats(0, 0.5), st.floats(0.01, 0.5), st.sampled_from(["linear", "cosine", "wsd"]))
def test_the_end_of_the_last_step_has_the_minimum(num_steps: int, warmup: float, minimum: float, shape: Shape) -> None:
    last = learning_rate(num_steps, num_steps, peak=1.0, shape=shape, warmup=warmup, minimum=minimum)
    assert last == pytest.approx(minimum)


def test_seven_percent_of_a_hundred_steps_are_seven() -> None:
    assert rates(100, 0.07, 0.1).index(1.0) == 6


def test_the_train_section_of_a_recipe_reaches_the_function() -> None:
    settings = Train(
        lr=2.0,
        schedule="infinite",
        warmup=0.1,
        min_lr=0.2,
        cooldown=0.3,
        cooldown_shape="inverse_sqrt",
        constant_lr=0.5,
        anneal=0.2,
    )
    named = {"peak": 2.0, "shape": "infinite", "warmup": 0.1, "minimum": 0.2, "start": 0.4, "cooldown": 0.3}
    more = {**named, "cooldown_shape": "inverse_sqrt", "constant": 0.5, "anneal": 0.2}
    for step in range(50):
        assert rate_of(settings, step, 50, 0.4) == learning_rate(step, 50, **more)  # type: ignore[arg-type]


def test_the_last_rate_of_a_checkpoint_is_read_from_adapts_metrics_or_from_transformers_state(tmp_path: Path) -> None:
    settings = Train(start_lr="checkpoint")
    ours = tmp_path / "ours" / "training"
    ours.mkdir(parents=True)
    lines = [{"step": 1, "loss": 2.0, "lr": 3e-4}, {"step": 2, "loss": 1.9, "lr": 3e-5}, {"step": 2, "heldout": 2.0}]
    (ours / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert starting_rate(settings, Checkpoint(ours.parent)) == 3e-5
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    history = [{"step": 1, "learning_rate": 5e-4}, {"step": 2, "learning_rate": 4e-4}, {"step": 2, "eval_loss": 1.0}]
    (theirs / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    assert starting_rate(settings, Checkpoint(theirs)) == 4e-4
    assert starting_rate(Train(start_lr=1e-6), Checkpoint(theirs)) == 1e-6
    assert starting_rate(Train(), Checkpoint(theirs)) == 0


@pytest.mark.parametrize("state", [None, "{}", "[]", "not json", '{"log_history": []}'])
def test_a_checkpoint_that_does_not_say_its_last_rate_is_refused_with_the_way_out(
    tmp_path: Path, state: str | None
) -> None:
    if state is not None:
        (tmp_path / "trainer_state.json").write_text(state)
    with pytest.raises(DataError, match=r"train\.start_lr: .* give the rate its training ended with as a number"):
        starting_rate(Train(start_lr="checkpoint"), Checkpoint(tmp_path))
