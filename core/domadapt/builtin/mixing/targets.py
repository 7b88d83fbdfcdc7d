"""What share of each part is wanted when: shares, weights, epochs and temperature of sources, and a schedule of stages.

Everything is counted in windows, so in tokens. The wanted number of windows of a part after t samples, C(t), is a sum
of what each stage asks; of a stage it says nothing about those after it, so that a run whose schedule is changed from
some step on has, until then, the same order as before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from domadapt.errors import DataError

if TYPE_CHECKING:
    from domadapt.components import MixRequest, Side
    from domadapt.recipe.schema import MixStage


@dataclass(frozen=True)
class Span:
    """A stage as samples: those from `first` to before `last`. general: its share at both ends, linear between."""

    first: int
    last: int
    general: tuple[float, float]
    subset: float
    weights: Mapping[str, float]


def spans(request: MixRequest) -> list[Span]:
    """The stages of a mixture; one where there is no schedule. Raises DataError when they are not in order."""
    total, first, found = request.num_samples, 0, list[Span]()
    stages: Sequence[MixStage | None] = request.schedule or [None]
    for number, stage in enumerate(stages):
        last = total
        if stage is not None and stage.until_step is not None:
            last = stage.until_step * request.samples_per_step
        elif stage is not None and stage.until is not None:
            last = round(total * stage.until)
        if number == len(stages) - 1:
            last = total
        if last > total or last < first:
            raise DataError(
                f"mix.schedule[{number}]: it ends after {last} windows, the stage before after {first}, the training "
                f"after {total}; put the stages in order, the last one without an end"
            )
        found.append(_span(stage, request.replay, first, last))
        first = last
    return found


def _span(stage: MixStage | None, replay: float, first: int, last: int) -> Span:
    if stage is None:
        return Span(first, last, (replay, replay), 1.0, {})
    asked = replay if stage.replay is None else stage.replay
    ends = (asked[0], asked[1]) if isinstance(asked, list) else (asked, asked)
    return Span(first, last, ends, stage.subset, stage.weights)


def general_share(request: MixRequest, found: Sequence[Span]) -> float:
    """Share of general windows over all stages."""
    total = sum(span.last - span.first for span in found)
    wanted = sum((span.last - span.first) * sum(span.general) / 2 for span in found)
    return wanted / total if total else request.replay


def within_sides(request: MixRequest, found: Sequence[Span]) -> list[dict[str, float]]:
    """Of each stage, the share of every part within its side. Raises DataError for what cannot be."""
    general = general_share(request, found) * request.num_samples
    totals: dict[Side, float] = {"domain": request.num_samples - general, "general": general}
    base: dict[str, float] = {}
    for side, total in totals.items():
        parts = [part for part in request.available if request.side(part) == side]
        base |= _shares(request, parts, total)
    return [base if not span.weights else _weighted(request, span.weights) for span in found]


def _shares(request: MixRequest, parts: Sequence[str], total: float) -> dict[str, float]:
    """Fixed shares and epochs first, the rest by weight, or by size with the temperature."""
    fixed: dict[str, float] = {}
    for part in parts:
        source = request.sources.get(part)
        if source is not None and source.share is not None:
            fixed[part] = source.share
        elif source is not None and source.epochs is not None:
            fixed[part] = source.epochs * request.available[part] / total if total else 0.0
    rest, open_parts = 1 - sum(fixed.values()), [part for part in parts if part not in fixed]
    if rest < -1e-9 or (fixed and not open_parts and rest > 1e-6):
        asked = ", ".join(f"{part} {share:.4g}" for part, share in fixed.items())
        raise DataError(
            f"mix.sources: shares and epochs of {request.side(parts[0])} text come to {1 - rest:.4g} of it ({asked}); "
            "let one of its sources have neither, or make them add up to 1"
        )
    shares = _portions({part: _weight(request, part) for part in open_parts})
    return fixed | {part: max(rest, 0.0) * share for part, share in shares.items()}


def _portions(sizes: Mapping[str, float]) -> dict[str, float]:
    """Sizes as shares of their sum; even ones where there is nothing, so that the lack is seen."""
    whole = sum(sizes.values())
    return {part: size / whole if whole else 1 / len(sizes) for part, size in sizes.items()}


def _weight(request: MixRequest, part: str) -> float:
    source = request.sources.get(part)
    if source is not None and source.weight is not None:
        return source.weight
    size: float = request.available[part] ** (1 / request.temperature)
    return size


def _weighted(request: MixRequest, weights: Mapping[str, float]) -> dict[str, float]:
    """Shares by a stage's own weights; a part that they do not name has none, unless its side has no name among them.

    Raises DataError for a name that is no part.
    """
    if unknown := sorted(set(weights) - set(request.available)):
        raise DataError(
            f"mix.schedule: weights for {', '.join(unknown)}, which is no part of the mixture; the parts are "
            f"{', '.join(request.available)}"
        )
    shares: dict[str, float] = {}
    for side in dict.fromkeys(map(request.side, request.available)):
        parts = [part for part in request.available if request.side(part) == side]
        sizes = {part: weights.get(part, 0.0) for part in parts}
        if not sum(sizes.values()):
            sizes = {part: _weight(request, part) for part in parts}
        shares |= _portions(sizes)
    return shares


def wanted(request: MixRequest, part: str, found: Sequence[Span], shares: Sequence[Mapping[str, float]]) -> np.ndarray:
    """C(t) of a part for t = 1 .. num_samples, in windows."""
    pieces, before = list[np.ndarray](), 0.0
    for span, within in zip(found, shares, strict=True):
        length = span.last - span.first
        if not length:
            continue
        t = np.arange(1, length + 1, dtype=np.float64)
        begin, end = span.general
        general = begin * t + (end - begin) / (2 * length) * t * t
        of_side = general if request.side(part) == "general" else t - general
        pieces.append(before + within.get(part, 0.0) * of_side)
        before = float(pieces[-1][-1])
    return np.concatenate([np.empty(0), *pieces])
