"""What share of each part is wanted when: shares, weights, epochs and temperature of sources, and a schedule of stages.

Everything is counted in windows, so in tokens. The wanted number of windows of a part after t samples, C(t), is a sum
of what each stage asks. Where a training was stopped and goes on with another mixture, it is what the first one asked
until then, and from there on what the second one asks of these samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from domadapt.errors import DataError

if TYPE_CHECKING:
    from domadapt.components import MixRequest, Side
    from domadapt.recipe.mix import MixStage


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


def _alone(request: MixRequest, part: str, found: Sequence[Span], shares: Sequence[Mapping[str, float]]) -> np.ndarray:
    """C(t) of a part for t = 1 .. num_samples, in windows, for one mixture."""
    pieces, before = list[np.ndarray](), 0.0
    for span, within in zip(found, shares, strict=True):
        if span.last > span.first:
            t = np.arange(1, span.last - span.first + 1, dtype=np.float64)
            pieces.append(before + within.get(part, 0.0) * _of_side(request.side(part), span, t))
            before = float(pieces[-1][-1])
    return np.concatenate([np.empty(0), *pieces])


def _of_side(side: Side, span: Span, t: Any) -> Any:
    """Windows wanted of a side in the first t samples of a stage; t: a number or an array."""
    begin, end = span.general
    general = begin * t + (end - begin) / (2 * (span.last - span.first)) * t * t
    return general if side == "general" else t - general


class Stretch:
    """The samples from `first` to before `last`, which one mixture has decided; before them came other stretches."""

    def __init__(self, request: MixRequest, before: Stretch | None) -> None:
        """Raises DataError when the mixture cannot be, or ends before the one before it."""
        self.request, self.before = request, before
        self.first: int = 0 if before is None else before.last
        self.last: int = request.num_samples if request.until is None else request.until
        if not self.first <= self.last <= request.num_samples:
            raise DataError(
                f"mix.earlier: the training was stopped after {self.first} windows, the mixture after it ends after "
                f"{self.last} of {request.num_samples}; put them in order, or train longer"
            )
        self._spans = spans(request)
        self._shares = within_sides(request, self._spans)

    @property
    def stages(self) -> list[Span]:
        """The stages within the stretch."""
        cut = [replace(s, first=max(s.first, self.first), last=min(s.last, self.last)) for s in self._spans]
        return [span for span in cut if span.first < span.last]

    def asks_general(self) -> bool:
        """Whether it asks for general text anywhere."""
        return any(share for span in self._spans for share in span.general)

    def asked(self, part: str, first: int, last: int) -> float:
        """Windows asked of a part from sample `first` to before `last`, without an array of all of them."""
        total, side = 0.0, self.request.side(part)
        for span, within in zip(self._spans, self._shares, strict=True):
            begin, end = (min(max(at, span.first), span.last) - span.first for at in (first, last))
            if end > begin:
                total += within.get(part, 0.0) * (_of_side(side, span, end) - _of_side(side, span, begin))
        return total

    def wanted(self, part: str) -> np.ndarray:
        """C(t) of a part for t = 1 .. num_samples of the mixture's training, in windows."""
        own = _alone(self.request, part, self._spans, self._shares)
        if self.before is None or not self.first:
            return own
        earlier = self.before.wanted(part)[: self.first]
        return np.concatenate([earlier, earlier[-1] - own[self.first - 1] + own[self.first :]])


def stretches(request: MixRequest) -> list[Stretch]:
    """The stretches of a training: one for each mixture that it had, the request's own last."""
    found: list[Stretch] = []
    for mixture in (*request.earlier, request):
        found.append(Stretch(mixture, found[-1] if found else None))
    return found
