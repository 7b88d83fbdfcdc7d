"""Learning-rate schedules: a function of the step alone."""

from __future__ import annotations

import math
from typing import Literal


def learning_rate(
    step: int,
    num_steps: int,
    *,
    peak: float,
    shape: Literal["cosine", "constant"],
    warmup: float,
    minimum: float,
) -> float:
    """The rate of optimizer step `step` (0-based) of `num_steps`.

    warmup: share of the steps in which the rate rises linearly, reaching `peak` at the last of them.
    minimum: final rate as a share of the peak. cosine follows half a cosine from the peak to it, reached at
    the last step's end (Gupta et al. 2023, arXiv 2308.04014, section 3).
    """
    num_warmup = math.ceil(num_steps * warmup)
    if step < num_warmup:
        return peak * (step + 1) / num_warmup
    if shape == "constant":
        return peak
    progress = (step - num_warmup) / max(1, num_steps - num_warmup)
    return peak * (minimum + (1 - minimum) * 0.5 * (1 + math.cos(math.pi * progress)))
