"""The small runs that choose a mixture: what they are, what they cost, and what follows from what they measured.

A small run is the planned training in little: the same model, backend and settings, a share of its steps, and the same
share of the text, so that text repeats as often as it will. Without that, a small run sees fresh text where the real
one repeats, and its law is of another experiment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domadapt.errors import RecipeError
from domadapt.planning.figures import Figure

if TYPE_CHECKING:
    from domadapt.recipe.schema import Recipe

MEASUREMENTS = 12
"""Held-out losses that a small run measures on its way."""
MOST_REPETITION = 0.2
"""Epochs of a small run may differ from those of the planned one by this share."""


@dataclass(frozen=True)
class SmallRuns:
    """shares: of general tokens, one run each.  steps: of a small run, of the planned one target_steps.

    step_tokens: tokens of a step.  eval_every: steps between measurements.  bound: rise of the general loss allowed.
    """

    shares: Sequence[float]
    steps: int
    target_steps: int
    step_tokens: int
    eval_every: int
    bound: float

    @property
    def sampled(self) -> float:
        """Share of the text that a small run sees."""
        return self.steps / self.target_steps

    @property
    def target_tokens(self) -> int:
        """Tokens of the planned training."""
        return self.target_steps * self.step_tokens

    @property
    def tokens(self) -> int:
        """Tokens of all small runs together."""
        return len(self.shares) * self.steps * self.step_tokens

    def told(self) -> str:
        """What they cost, for a line before anything runs."""
        return (
            f"mix.replay law: {len(self.shares)} small runs of {self.steps} steps "
            f"({', '.join(f'{share:g}' for share in self.shares)} general text), {self.tokens:,} tokens in all, "
            f"{self.tokens / self.target_tokens:.2f} times the planned training's {self.target_tokens:,}"
        )

    def figure(self) -> Figure:
        """What they cost, for a plan."""
        text = f"{self.told().partition(': ')[2]}; not in the figures above"
        return Figure("law_tokens", "runs of the law", self.tokens, "tokens", text, "recipe")


def small_runs(recipe: Recipe) -> SmallRuns | None:
    """The small runs of a recipe; None for a recipe that states its mixture.

    Raises RecipeError when the planned length is not known, or too short for a law.
    """
    mix, train = recipe.mix, recipe.train
    if mix.replay != "law" or train.checkpoint is not None:
        return None
    if not recipe.corpus.general:
        raise RecipeError("mix.replay is law, but corpus.general is empty: add a source of general text")
    windows = train.batch_tokens // mix.seq_len
    step_tokens = windows * mix.seq_len
    target = train.steps if train.steps is not None else (mix.tokens or 0) // max(1, step_tokens)
    if not target:
        raise RecipeError("mix.replay is law: say how long the training will be, with train.steps or mix.tokens")
    steps = max(1, round(target * mix.law.length))
    if steps < MEASUREMENTS:
        raise RecipeError(
            f"mix.law.length: small runs would have {steps} of the planned {target} steps, {MEASUREMENTS} at least are "
            f"wanted; raise it to {MEASUREMENTS / target:.2f}, or make steps smaller with train.batch_tokens"
        )
    bound = mix.law.general_loss_at_most
    return SmallRuns(mix.law.shares, steps, target, step_tokens, max(1, steps // MEASUREMENTS), bound)


@dataclass(frozen=True)
class Repetition:
    """How often a part's text repeats in one small run, and would in the planned training at the same share."""

    replay: float
    part: str
    epochs: float
    planned: float


def repetition(runs: SmallRuns, replay: float, plan: Mapping[str, Any], seen: Mapping[str, float]) -> list[Repetition]:
    """Epochs of each part of one small run beside the planned ones.

    plan: of its token store.  seen: share of the text of each part that it was made from.
    """
    longer = runs.target_steps / runs.steps
    return [
        Repetition(replay, p["name"], p["epochs"], p["epochs"] * longer * seen.get(p["name"], 1.0))
        for p in plan["parts"]
    ]


def unmatched(found: Sequence[Repetition]) -> list[str]:
    """Small runs in which text repeats much more or less often than it will: a sentence each."""
    return [
        f"with {r.replay:g} general text, {r.part} text is seen {r.epochs:.2f} times in the small run and would be "
        f"{r.planned:.2f} times in the planned one"
        for r in found
        if abs(r.epochs - r.planned) > MOST_REPETITION * r.planned
    ]
