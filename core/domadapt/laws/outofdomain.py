"""The loss on a text that is neither corpus, from the losses on both: what a training does to everything else.

Other texts lie between the two corpora or beyond one of them: C4 follows the pre-training corpus, arXiv more than
follow the new one. It needs no run of its own, only a further held-out set measured on the way of those there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from domadapt.laws.law import Inputs, Law, Parameter

if TYPE_CHECKING:
    Array = np.ndarray

GENERAL, DOMAIN = "general_loss", "domain_loss"
"""Columns: losses on the pre-training corpus and on the new one."""


class OutOfDomain(Law):
    """L = l1 L_pt + l2 L_cpt, two parameters of either sign.

    Published, (l1, l2): C4 (0.867, 0.152), SlimPajama (0.622, 0.385), arXiv (-0.609, 1.631), after a training on
    Knowledge-Pile. The authors take least squares; here it is the fitter of all laws, which one wild point moves less.
    Source: Wang et al. 2025, "Learning dynamics in continual pre-training", arXiv 2505.07796, out-of-domain losses.
    """

    name: ClassVar[str] = "out-of-domain"
    title: ClassVar[str] = "out-of-domain loss"
    source: ClassVar[str] = "Wang et al. 2025, arXiv 2505.07796"
    inputs = (GENERAL, DOMAIN)
    absolute = True
    parameters = (
        Parameter("l1", -1.0, 2.0, positive=False),
        Parameter("l2", -1.0, 2.0, positive=False),
    )

    def loss(self, theta: Array, inputs: Inputs) -> tuple[Array, Array]:
        """Losses and gradient, rows in the order of the parameters."""
        rows = np.stack([inputs[GENERAL], inputs[DOMAIN]])
        return theta @ rows, rows
