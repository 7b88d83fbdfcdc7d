"""Arms of an experiment made by hand: scorecards on disk, and what a report.json says of budget and training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from domadapt.report.compare import RunScores
from domadapt.report.experiment import Arm
from domadapt.report.stability import stability_gap

from .scores import answers, scorecard

ITEMS = 120


def arm(
    folder: Path,
    name: str,
    right: int,
    level: float,
    *,
    tokens: int = 1000,
    digest: str | None = None,
    sides: tuple[str, ...] = ("domain",),
) -> Arm:
    """A run whose CPT model has so many quiz items right and so many bits per byte, and a merge a bit better."""
    shared = np.random.default_rng(0).normal(1, 0.05, 30) * 1000
    cards = {}
    for label, lift in (("instruct", 10 - right), ("cpt", 0), ("ties", 5)):
        stages = folder / name / "stages"
        bits = level * shared * np.random.default_rng([*name.encode()]).normal(1, 0.005, 30)
        quiz = scorecard(stages / f"eval.{label}.quiz", "quiz", "general", answers(ITEMS, range(right + lift)))
        cards[label] = {"quiz": quiz}
        for side in sides:
            task = f"bits_per_byte.{side}"
            cards[label][task] = scorecard(
                stages / f"eval.{label}.{task}", task, side, list(bits), weights=[1000.0] * 30
            )
    return Arm(name, folder / name, RunScores(name, cards, "ties", {"cpt": digest or name, "ties": name}), tokens)


def report(probe: list[float], general: list[float], *, steps: int = 10, error: float = 0.03) -> dict[str, Any]:
    """What a report.json says of an arm's budget and training."""
    at = [steps * i // (len(probe) - 1) for i in range(len(probe))]
    probes = [{"task": "quiz", "step": s, "value": v, "stderr": error} for s, v in zip(at, probe, strict=True)]
    dips = [
        {**stability_gap(at, probe, change_errors=[error] * len(at), name="quiz"), "curve": "quiz"},
        {
            **stability_gap(at, general, higher_is_better=False, name="held-out general loss"),
            "curve": "held-out general loss",
        },
    ]
    return {
        "models": [{"label": "cpt", "role": "cpt", "digest": "", "facts": {"steps": steps, "tokens": 1000}}],
        "mixture": {"parts": [{"name": "domain", "share_achieved": 1.0, "epochs": 0.4}]},
        "gates": [],
        "recipe": {"name": "x", "seed": steps, "train.lr": 1e-3},
        "training": {
            "probes": probes,
            "evaluations": [
                {"step": s, "heldout_domain": None, "heldout_general": v} for s, v in zip(at, general, strict=True)
            ],
            "stability": dips,
        },
    }


def four_arms(folder: Path) -> list[Arm]:
    """Arms of one key, with curves and bits per byte of both sides."""
    made = []
    for number, value in enumerate(("1:70", "5:65", "10:60", "1:1")):
        one = arm(folder, f"mix.replay={value}", 60 + 6 * number, 1.5 - 0.02 * number, sides=("domain", "general"))
        probe = [0.3, 0.22 + 0.02 * number, 0.28 + 0.02 * number, 0.36 + 0.02 * number]
        made.append(replace(one, report=report(probe, [4.1, 4.4 - 0.1 * number, 4.5 - 0.1 * number, 4.4], steps=75)))
    return made
