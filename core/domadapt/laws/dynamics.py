"""The law of the dynamics of continual pre-training: loss at any step of any schedule, of the old and new corpus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from domadapt.laws.dcpt import PARAMS, RATIO
from domadapt.laws.law import Inputs, Law, Parameter

if TYPE_CHECKING:
    Array = np.ndarray

S1_PT, S1_CPT, S2_PT, S2_CPT = "s1_pt", "s1_cpt", "s2_pt", "s2_cpt"
"""Columns: forward and annealing areas of pre-training and of continual pre-training (`schedules.areas`)."""

Corpus = Literal["pt", "cpt"]


class Dynamics(Law):
    """L = L0 + A (S1pt + S1cpt)^-alpha - C1 S2pt - C2 S2cpt g + B (1 - (1 + E S1cpt)^-beta) h.

    The last term is the shift from the old distribution to the new one: B > 0 on the pre-training corpus, B < 0 on
    the corpus of CPT. Without replay g = h = 1 (section 3.3). With replay, r = 1 - q the share of the pre-training
    corpus and q of the new one (section 4.4, equation 8):
    on the pre-training corpus g = exp(a1 r), h = 1 - exp(-a2 q); on the new one g = exp(a1 q), h = exp(a2 q) - 1.
    With unknown pre-training (open models, section 6 and appendix G) S1pt is a parameter and S2pt part of L0.
    With several sizes of model N the annealing terms are multiplied by N^g1 (S2pt) and N^g2 (S2cpt), and F/N^g3 is
    added; the shift does not depend on the size (equation 7).
    The column "ratio" is the share of the corpus whose loss it is.
    Source: Wang et al. 2025, "Learning dynamics in continual pre-training for large language models", arXiv 2505.07796.
    """

    name: ClassVar[str] = "dynamics"
    title: ClassVar[str] = "CPT-dynamics law"
    source: ClassVar[str] = "Wang et al. 2025, arXiv 2505.07796, sections 3.3, 4.4 and 6"

    def __init__(
        self,
        corpus: Corpus,
        *,
        replay: bool = False,
        pretraining_known: bool = True,
        annealed: bool = True,
        sizes: bool = False,
    ) -> None:
        """corpus: whose loss it is.  replay, sizes: whether ratios, sizes differ.  annealed: whether S2pt does."""
        self.corpus, self.replay, self.sizes = corpus, replay, sizes
        self.known, self.annealed = pretraining_known, annealed and pretraining_known
        self.inputs = (
            *((S1_PT,) if self.known else ()),
            *((S2_PT,) if self.annealed else ()),
            S1_CPT,
            S2_CPT,
            *((RATIO,) if replay else ()),
            *((PARAMS,) if sizes else ()),
        )
        # one unit for both forward areas, which are added
        forward = (S1_PT, S1_CPT) if self.known else (S1_CPT,)
        self.scaled = (forward, *(((S2_PT,),) if self.annealed else ()), (S2_CPT,), *(((PARAMS,),) if sizes else ()))
        low, high = (0.01, 1.0) if corpus == "pt" else (-1.0, -0.01)
        self.parameters = (
            Parameter("L0", 0.1, 1.0, amplitude=True),
            Parameter("A", 0.01, 1.0, amplitude=True),
            Parameter("alpha", 0.05, 1.0),
            *(() if self.known else (Parameter("S1pt", 0.01, 100.0),)),
            *((Parameter("C1", 0.001, 1.0, amplitude=True),) if self.annealed else ()),
            Parameter("C2", 0.001, 1.0, amplitude=True),
            Parameter("B", low, high, positive=False, amplitude=True),
            Parameter("E", 0.1, 1000.0),
            Parameter("beta", 0.05, 1.0),
            *((Parameter("a1", -1.0, 1.0, positive=False), Parameter("a2", 0.1, 5.0)) if replay else ()),
            *((Parameter("F", 0.01, 1.0, amplitude=True), Parameter("g3", 0.05, 1.0)) if sizes else ()),
            *((Parameter("g2", -0.5, 0.5, positive=False),) if sizes else ()),
            *((Parameter("g1", -0.5, 0.5, positive=False),) if sizes and self.annealed else ()),
        )

    def loss(self, theta: Array, inputs: Inputs) -> tuple[Array, Array]:
        """Losses and gradient, rows in the order of the parameters."""
        p = dict(zip((p.name for p in self.parameters), theta, strict=True))
        trained, annealed = inputs[S1_CPT], inputs[S2_CPT]
        before = inputs[S1_PT] if self.known else p["S1pt"]
        area = np.maximum(before + trained, 1e-12)
        power = area ** -p["alpha"]
        stretched = 1 + p["E"] * trained
        left = stretched ** -p["beta"]
        g, dg, h, dh = self._mixed(p, inputs)
        log_size = np.log(inputs[PARAMS]) if self.sizes else np.zeros_like(trained)
        fallen = annealed * g * np.exp(p.get("g2", 0.0) * log_size)
        gradient = {
            "L0": np.ones_like(trained),
            "A": power,
            "alpha": -p["A"] * power * np.log(area),
            "S1pt": -p["alpha"] * p["A"] * power / area,
            "C2": -fallen,
            "g2": -p["C2"] * fallen * log_size,
            "B": (1 - left) * h,
            "E": p["B"] * h * p["beta"] * left / stretched * trained,
            "beta": p["B"] * h * left * np.log(stretched),
            "a1": -p["C2"] * fallen * dg,
            "a2": p["B"] * (1 - left) * dh,
        }
        losses = p["L0"] + p["A"] * power - p["C2"] * fallen + p["B"] * (1 - left) * h
        if self.annealed:
            before_fallen = inputs[S2_PT] * np.exp(p.get("g1", 0.0) * log_size)
            gradient |= {"C1": -before_fallen, "g1": -p["C1"] * before_fallen * log_size}
            losses = losses - p["C1"] * before_fallen
        if self.sizes:
            lacking = np.exp(-p["g3"] * log_size)
            gradient |= {"F": lacking, "g3": -p["F"] * lacking * log_size}
            losses = losses + p["F"] * lacking
        return losses, np.stack([np.broadcast_to(gradient[q.name], losses.shape) for q in self.parameters])

    def _mixed(self, p: Mapping[str, float], inputs: Inputs) -> tuple[Array, Array, Array, Array]:
        """g, h of the replay form, with the derivatives of log g by a1 and of h by a2."""
        one = np.ones_like(inputs[S1_CPT])
        if not self.replay:
            return one, 0 * one, one, 0 * one
        share = inputs[RATIO]
        new = 1 - share if self.corpus == "pt" else share
        g = np.exp(p["a1"] * share)
        if self.corpus == "pt":
            decayed = np.exp(-p["a2"] * new)
            return g, share, 1 - decayed, new * decayed
        grown = np.exp(p["a2"] * new)
        return g, share, grown - 1, new * grown

    def rescaled(self, theta: Array, units: Mapping[str, float]) -> Array:
        """A and F take the powers of their units, E, C1 and C2 are per area and power of the size, S1pt is an area."""
        p = dict(zip((p.name for p in self.parameters), theta, strict=True))
        unit = units[S1_CPT]
        p["A"] *= unit ** p["alpha"]
        p["E"] /= unit
        p["C2"] /= units[S2_CPT]
        if not self.known:
            p["S1pt"] *= unit
        if self.annealed:
            p["C1"] /= units[S2_PT]
        if self.sizes:
            p["F"] *= units[PARAMS] ** p["g3"]
            p["C2"] /= units[PARAMS] ** p["g2"]
            if self.annealed:
                p["C1"] /= units[PARAMS] ** p["g1"]
        return np.array(list(p.values()))
