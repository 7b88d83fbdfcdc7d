"""The law of cross-lingual continual pre-training: what a pre-trained start saves, and how compute is best spent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from domadapt.errors import DataError
from domadapt.laws.dcpt import PARAMS, TOKENS
from domadapt.laws.law import Inputs, Law, Parameter

if TYPE_CHECKING:
    Array = np.ndarray


class FromScratch(Law):
    """L(N, D) = E + A/N^alpha + B/D^beta, five positive parameters: the first stage, of models trained from scratch.

    Source: Hoffmann et al. 2022, arXiv 2203.15556, appendix D.3, as fitted in Zheng et al. 2024, arXiv 2407.02118,
    section 3.
    """

    name: ClassVar[str] = "from-scratch"
    title: ClassVar[str] = "Chinchilla law"
    source: ClassVar[str] = "Hoffmann et al. 2022, arXiv 2203.15556, appendix D.3"
    inputs = (PARAMS, TOKENS)
    scaled = ((PARAMS,), (TOKENS,))
    parameters = (
        Parameter("E", 0.1, 1.0, amplitude=True),
        Parameter("A", 0.01, 1.0, amplitude=True),
        Parameter("alpha", 0.05, 1.0),
        Parameter("B", 0.01, 1.0, amplitude=True),
        Parameter("beta", 0.05, 1.0),
    )

    def loss(self, theta: Array, inputs: Inputs) -> tuple[Array, Array]:
        """Losses and gradient, rows in the order of the parameters."""
        e, a, alpha, b, beta = theta
        log_n, log_d = np.log(inputs[PARAMS]), np.log(inputs[TOKENS])
        size, length = np.exp(-alpha * log_n), np.exp(-beta * log_d)
        rows = [np.ones_like(size), size, -a * size * log_n, length, -b * length * log_d]
        return e + a * size + b * length, np.array(rows)

    def rescaled(self, theta: Array, units: Mapping[str, float]) -> Array:
        """A and B take the powers of the units."""
        e, a, alpha, b, beta = theta
        return np.array([e, a * units[PARAMS] ** alpha, alpha, b * units[TOKENS] ** beta, beta])


class CrossLingual(Law):
    """L(N, D) = E + A/N^alpha + B/(D^beta N^gamma): the second stage, of models that start from another language.

    E, A and alpha are those of the first stage; B, beta and gamma are fitted. N^gamma: a larger model brings more
    from the language it knows.
    Source: Zheng et al. 2024, "Breaking language barriers: cross-lingual continual pre-training at scale",
    arXiv 2407.02118, section 3.
    """

    name: ClassVar[str] = "cross-lingual"
    title: ClassVar[str] = "cross-lingual law"
    source: ClassVar[str] = "Zheng et al. 2024, arXiv 2407.02118, section 3"
    inputs = (PARAMS, TOKENS)
    absolute = True
    parameters = (
        Parameter("B", 0.01, 1e5),
        Parameter("beta", 0.05, 1.0),
        Parameter("gamma", 0.01, 0.5),
    )

    def __init__(self, e: float, a: float, alpha: float) -> None:
        """e, a, alpha: of the first stage, in nats and the unit of `params`."""
        self.e, self.a, self.alpha = e, a, alpha

    def loss(self, theta: Array, inputs: Inputs) -> tuple[Array, Array]:
        """Losses and gradient, rows in the order of the parameters."""
        b, beta, gamma = theta
        log_n, log_d = np.log(inputs[PARAMS]), np.log(inputs[TOKENS])
        learnt = np.exp(-beta * log_d - gamma * log_n)
        losses = self.e + self.a * np.exp(-self.alpha * log_n) + b * learnt
        return losses, np.array([learnt, -b * learnt * log_d, -b * learnt * log_n])


def allocation(
    a: float, alpha: float, b: float, beta: float, gamma: float, compute: float
) -> tuple[float, float, float, float]:
    """(N, D, exponent of N, exponent of D) with the least loss for C = 6 N D.

    N = G (C/6)^p, D = (1/G) (C/6)^q with p = beta/(alpha+beta-gamma), q = (alpha-gamma)/(alpha+beta-gamma) and
    G = (alpha A / ((beta-gamma) B))^(1/(alpha+beta-gamma)); gamma = 0 is the allocation from scratch.
    Source: arXiv 2407.02118, section 3.
    Raises DataError when beta <= gamma or alpha <= gamma: then no size is the best one.
    """
    if beta <= gamma or alpha <= gamma:
        raise DataError(
            f"law cross-lingual: no best size: wanted gamma below alpha and beta, came gamma {gamma:.3g}, "
            f"alpha {alpha:.3g}, beta {beta:.3g}"
        )
    whole = alpha + beta - gamma
    g = (alpha * a / ((beta - gamma) * b)) ** (1 / whole)
    p, q = beta / whole, (alpha - gamma) / whole
    return g * (compute / 6) ** p, (compute / 6) ** q / g, p, q
