"""The D-CPT law: loss by model size, training tokens and the share of the corpus in the mixture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from domadapt.laws.law import Inputs, Law, Parameter

if TYPE_CHECKING:
    Array = np.ndarray

PARAMS, TOKENS, RATIO = "params", "tokens", "ratio"
"""Columns: model parameters, training tokens in all, share of the corpus whose loss it is."""

DEMANDS = 16
"""Ratios at which a fit is held to what the paper demands."""


class DCPT(Law):
    """L(N, D, r) = E + A/N^alpha + B r^eta / D^beta + C/(r + eps)^gamma, nine parameters, all positive.

    N: model parameters.  D: tokens of continual pre-training, both corpora.  r: share of the corpus whose held-out
    loss L is (domain share for the domain loss, general share for the general loss), in [0, 1]; r^eta is 0 at 0.
    The paper demands that L falls in r; a fit is held to it unless the measurements speak against it.
    With one size of model the term of N is part of E (seven parameters).
    Source: Que et al. 2024, "D-CPT Law", arXiv 2406.01375, section 3.1 (form L3).
    """

    name: ClassVar[str] = "dcpt"
    title: ClassVar[str] = "D-CPT law"
    source: ClassVar[str] = "Que et al. 2024, arXiv 2406.01375, section 3.1"

    def __init__(self, *, sizes: bool = True) -> None:
        """sizes: whether the size of the model varies."""
        self.sizes = sizes
        self.inputs = (PARAMS, TOKENS, RATIO) if sizes else (TOKENS, RATIO)
        self.scaled = ((PARAMS,), (TOKENS,)) if sizes else ((TOKENS,),)
        size = (Parameter("A", 0.01, 1.0, amplitude=True), Parameter("alpha", 0.05, 1.0)) if sizes else ()
        self.parameters = (
            Parameter("E", 0.1, 1.0, amplitude=True),
            *size,
            Parameter("B", 0.01, 1.0, amplitude=True),
            Parameter("beta", 0.05, 1.0),
            Parameter("eta", 0.5, 3.0),
            Parameter("C", 0.01, 1.0, amplitude=True),
            Parameter("eps", 0.01, 0.5),
            Parameter("gamma", 0.05, 1.5),
        )

    def loss(self, theta: Array, inputs: Inputs) -> tuple[Array, Array]:
        """Losses and gradient, rows in the order of the parameters."""
        e, *size, b, beta, eta, c, eps, gamma = theta
        tokens, ratio = inputs[TOKENS], inputs[RATIO]
        shown = ratio > 0
        log_ratio = np.log(np.where(shown, ratio, 1.0))
        learnt = np.where(shown, np.exp(eta * log_ratio - beta * np.log(tokens)), 0.0)
        lacking = (ratio + eps) ** -gamma
        losses = e + b * learnt + c * lacking
        rows = [np.ones_like(losses)]
        if self.sizes:
            a, alpha = size
            log_size = np.log(inputs[PARAMS])
            power = np.exp(-alpha * log_size)
            losses = losses + a * power
            rows += [power, -a * power * log_size]
        rows += [
            learnt,
            -b * learnt * np.log(tokens),
            b * learnt * log_ratio,
            lacking,
            -c * gamma * lacking / (ratio + eps),
            -c * lacking * np.log(ratio + eps),
        ]
        return losses, np.array(rows)

    def demands(self, theta: Array, inputs: Inputs) -> tuple[Array, Array]:
        """dL/dr at the shortest length measured, from the least ratio measured to 1: more of a corpus lowers its loss.

        Source: arXiv 2406.01375, section 3.1, "explicit trends". At greater lengths the slope is lower.
        """
        p = dict(zip((q.name for q in self.parameters), theta, strict=True))
        shown = inputs[RATIO][inputs[RATIO] > 0]
        ratio = np.linspace(shown.min(), 1.0, DEMANDS)
        log_length = np.log(inputs[TOKENS].min())
        costs = p["B"] * p["eta"] * ratio ** (p["eta"] - 1) * np.exp(-p["beta"] * log_length)
        gains = p["C"] * p["gamma"] * (ratio + p["eps"]) ** (-p["gamma"] - 1)
        gradient = {
            "B": costs / p["B"],
            "beta": -costs * log_length,
            "eta": costs * (1 / p["eta"] + np.log(ratio)),
            "C": -gains / p["C"],
            "eps": gains * (p["gamma"] + 1) / (ratio + p["eps"]),
            "gamma": -gains * (1 / p["gamma"] - np.log(ratio + p["eps"])),
        }
        nothing = np.zeros_like(ratio)
        return costs - gains, np.stack([gradient.get(q.name, nothing) for q in self.parameters])

    def rescaled(self, theta: Array, units: Mapping[str, float]) -> Array:
        """A and B take the powers of the units."""
        values = dict(zip((p.name for p in self.parameters), theta, strict=False))  # a longer law ends in its own
        if self.sizes:
            values["A"] *= units[PARAMS] ** values["alpha"]
        values["B"] *= units[TOKENS] ** values["beta"]
        return np.array(list(values.values()))
