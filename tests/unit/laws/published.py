"""Published numbers that tests of the laws start from: parameters, losses, synthetic truths."""

from __future__ import annotations

import numpy as np

from domadapt.laws.dcpt import DCPT, PARAMS, RATIO, TOKENS
from domadapt.laws.fitting import predict
from domadapt.laws.law import LOSS
from domadapt.laws.schedules import areas

Array = np.ndarray

S1_TRUTH = np.array([1.2, 0.55, 0.30, 0.10, 0.25, 1.4, 0.30, 0.12, 0.45])
"""D-CPT parameters E, A, alpha, B, beta, eta, C, eps, gamma; sizes and tokens in billions."""
S2_TRUTH = np.array([1.2, 0.55, 0.30, 0.35, 0.25, 1.4, 0.30, 0.12, 0.45])
GENERAL_TRUTH = np.array([1.9, 0.40, 0.28, 0.10, 0.20, 1.5, 0.30, 0.10, 0.35])

COSINE = (
    "3.6696358 3.3254106 3.1908393 3.1158533 3.0604768 3.020384 2.9880967 2.9612265 2.9395165 2.9195616 2.9030452 "
    "2.8881907 2.8767889 2.8654318 2.8565135 2.8489892 2.843639 2.8398669 2.8380618 2.8376071"
)
CONSTANT = (
    "3.6714418 3.325626 3.1884103 3.111947 3.058354 3.0211415 2.9874816 2.96082 2.9406552 2.9241402 2.9054413 "
    "2.8942103 2.8807929 2.8702695 2.862175 2.8530996 2.8448784 2.8383856 2.8326995 2.8294308"
)
"""Losses of Tissue et al. 2024 at steps 1000 to 20000 under a cosine to 0 and a constant rate (peak 2e-4)."""

STEPS = np.arange(1000, 20001, 1000)


def annealing_rates() -> tuple[Array, Array]:
    """Learning rates from step 0 on of both schedules, the warm-up at the peak."""
    step = np.arange(20001)
    cosine = 1e-4 * (1 + np.cos(np.pi * (step - 500) / 19500))
    cosine[:501] = 2e-4
    return cosine, np.full(20001, 2e-4)


def annealing_losses() -> dict[str, Array]:
    """The 40 published losses with the areas of their schedules."""
    losses = [np.array(text.split(), float) for text in (COSINE, CONSTANT)]
    found = [areas(rates) for rates in annealing_rates()]
    return {
        "s1": np.concatenate([s1[STEPS] for s1, _ in found]),
        "s2": np.concatenate([s2[STEPS] for _, s2 in found]),
        LOSS: np.concatenate(losses),
    }


def dcpt_grid(truth: Array = S2_TRUTH, noise: float = 0.0, seed: int = 0) -> dict[str, Array]:
    """The paper's grid of 3 sizes, 20 lengths and 9 ratios: 540 points, in billions."""
    ratios = np.array([0, 0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 1.0])
    grid = np.meshgrid([0.5, 1.8, 4.0], np.arange(1.0, 21.0), ratios, indexing="ij")
    inputs = dict(zip((PARAMS, TOKENS, RATIO), (axis.ravel() for axis in grid), strict=True))
    clean = predict(DCPT(), truth, inputs)
    drawn = np.random.default_rng(seed).standard_normal(len(clean))
    return {**inputs, LOSS: clean * np.exp(noise * drawn)}
