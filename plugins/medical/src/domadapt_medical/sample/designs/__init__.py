"""Study designs. Each simulates its numbers first and writes about them afterwards."""

from __future__ import annotations

import random
from collections.abc import Callable

from domadapt_medical.sample.designs import cohort, diagnostic, survey, synthesis, trial
from domadapt_medical.sample.manuscript import Manuscript
from domadapt_medical.sample.setting import Setting

DESIGNS: dict[str, tuple[float, Callable[[random.Random, Setting], Manuscript]]] = {
    "trial": (0.34, trial.compose),
    "cohort": (0.22, cohort.compose),
    "diagnostic": (0.17, diagnostic.compose),
    "survey": (0.14, survey.compose),
    "synthesis": (0.13, synthesis.compose),
}
"""Share of the corpus and author, by design."""
