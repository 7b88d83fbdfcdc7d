"""Learning-rate schedules: pure functions of the step, the same for every training backend.

Phases are shares of the steps, so that a recipe fits any length of training. In the warm-up a step has the rate
reached at its end, after it the rate at its begin; the final rate is that at the end of the last step.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from domadapt.errors import DataError

if TYPE_CHECKING:
    from domadapt.artifacts import Checkpoint
    from domadapt.recipe.schema import Train

Shape = Literal["constant", "linear", "cosine", "wsd", "inverse_sqrt", "infinite"]
Cooldown = Literal["cosine", "inverse_sqrt"]

_STEEPNESS = 10.0
"""Of the inverse-square-root cool-down: h(x) = 1 / sqrt(1 + 10 x) - 1."""


def learning_rate(
    step: int,
    num_steps: int,
    *,
    peak: float,
    shape: Shape,
    warmup: float,
    minimum: float,
    start: float = 0.0,
    cooldown: float = 0.4,
    cooldown_shape: Cooldown = "cosine",
    constant: float = 0.55,
    anneal: float = 0.1,
) -> float:
    """The rate of optimizer step `step` (0-based) of `num_steps`.

    peak, start: rates.  minimum, constant: rates as shares of the peak.  warmup, cooldown, anneal: shares of the steps.
    The rate moves linearly from `start` to the peak, reached at the last step of the warm-up, and then:

    constant      stays.
    linear        falls in a straight line to the minimum.
    cosine        follows half a cosine to the minimum (Gupta et al. 2023, arXiv 2308.04014, section 3).
    wsd           stays until the last `anneal` of the steps, in which it falls as 1 - sqrt(x) to the minimum
                  (Haegele et al. 2024, arXiv 2405.18392, section 3).
    inverse_sqrt  falls with the root of the step number, never below the minimum (Vaswani et al. 2017, arXiv
                  1706.03762, equation 3).
    infinite      cools down to `constant` within `cooldown` of the steps, stays, and falls exponentially to the minimum
                  in the last `anneal` (Ibrahim et al. 2024, arXiv 2403.08763, section 7.4). Its minimum is above 0.
    """
    num_warmup = _steps(num_steps, warmup)
    if step < num_warmup:
        return start + (peak - start) * (step + 1) / num_warmup
    if shape == "constant":
        return peak
    if shape == "inverse_sqrt":
        return peak * max(minimum, math.sqrt(max(1, num_warmup) / (step + 1)))
    if shape in ("wsd", "infinite"):
        cool = num_warmup + (_steps(num_steps, cooldown) if shape == "infinite" else 0)
        annealed = _progress(step, max(cool, num_steps - _steps(num_steps, anneal)), num_steps)
        if shape == "wsd":
            return peak * (minimum + (1 - minimum) * (1 - math.sqrt(annealed)))
        cooled = _progress(step, num_warmup, cool)
        return peak * _infinite(cooled, annealed, minimum, constant, cooldown_shape)
    progress = (step - num_warmup) / max(1, num_steps - num_warmup)
    falling = 1 - progress if shape == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return peak * (minimum + (1 - minimum) * falling)


def _infinite(cooled: float, annealed: float, minimum: float, constant: float, shape: Cooldown) -> float:
    """Share of the peak. cooled, annealed: how far the two phases are, 0 to 1."""
    if annealed > 0:
        return constant * math.pow(minimum / constant, annealed)
    if shape == "cosine":
        return constant + (1 - constant) * 0.5 * (1 + math.cos(math.pi * cooled))
    return 1 + (constant - 1) * _h(cooled) / _h(1.0)


def _h(x: float) -> float:
    return 1 / math.sqrt(1 + _STEEPNESS * x) - 1


def _steps(num_steps: int, share: float) -> int:
    """A share of the steps as whole steps, rounded up. 7 % of 100 are 7, though 100 * 0.07 is a little more."""
    return math.ceil(num_steps * share - 1e-9)


def _progress(step: int, first: int, end: int) -> float:
    """How far a phase of the steps first .. end - 1 is at the begin of a step, 0 before and 1 behind it."""
    if step >= end:
        return 1.0
    return (step - first) / (end - first) if step > first else 0.0


def rate_of(settings: Train, step: int, num_steps: int, start: float) -> float:
    """The rate that a recipe's `train` section asks for. start: what `starting_rate` gave."""
    return learning_rate(
        step,
        num_steps,
        peak=settings.lr,
        shape=settings.schedule,
        warmup=settings.warmup,
        minimum=settings.min_lr,
        start=start,
        cooldown=settings.cooldown,
        cooldown_shape=settings.cooldown_shape,
        constant=settings.constant_lr,
        anneal=settings.anneal,
    )


def starting_rate(settings: Train, model: Checkpoint) -> float:
    """The rate that the warm-up rises from: `train.start_lr`, or the last one of the training that made the model.

    Raises DataError when the model says nothing of it: it is read from the metrics that adapt leaves beside a model it
    trained, or from the trainer_state.json of transformers.
    """
    if settings.start_lr != "checkpoint":
        return settings.start_lr
    rate = _last_rate(model.path)
    if rate is None:
        raise DataError(
            f"train.start_lr: {model.path} has neither training/metrics.jsonl nor trainer_state.json with a learning "
            "rate; give the rate its training ended with as a number"
        )
    return rate


def _last_rate(folder: Path) -> float | None:
    try:
        metrics = folder / "training" / "metrics.jsonl"
        state = folder / "trainer_state.json"
        if metrics.is_file():
            rates = [line.get("lr") for line in map(json.loads, metrics.read_text().splitlines())]
        elif state.is_file():
            rates = [line.get("learning_rate") for line in json.loads(state.read_bytes())["log_history"]]
        else:
            return None
        return float(next(rate for rate in reversed(rates) if rate is not None))
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return None
