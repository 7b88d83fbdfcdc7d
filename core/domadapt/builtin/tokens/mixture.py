"""The mixture of a token store: its parts, what the mixer is asked, and the plan: what was asked beside what came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from domadapt.builtin.tokens.packing import Packing
from domadapt.components import MixRequest, Side
from domadapt.errors import DataError
from domadapt.recipe.mix import Mix, MixEarlier, MixSource, MixStage


@dataclass(frozen=True)
class Part:
    """What the mixer counts: a whole side, or one source of it."""

    name: str
    side: Side
    source: str | None = None

    def goes_by(self, name: str) -> bool:
        """Whether a recipe means this part by a name: SOURCE, or SIDE.SOURCE where both sides have it."""
        return self.source is not None and name in (self.source, self.name)


def names_in(mix: Mix) -> set[str]:
    """The sources that a mixture, or an earlier one of the same training, says something about."""
    mixtures: list[Mix | MixEarlier] = [mix, *mix.earlier]
    weighted = {name for one in mixtures for stage in one.schedule for name in stage.weights}
    return weighted.union(*(one.sources for one in mixtures))


def parts_of(side: Side, sources: Sequence[str], mix: Mix) -> list[Part]:
    """The parts of a side: its sources where the recipe says something about one of them, else the whole."""
    named = names_in(mix)
    parts = [Part(f"{side}.{source}", side, source) for source in sources]
    told = any(part.goes_by(name) for part in parts for name in named)
    even = max([mix.temperature, *(one.temperature for one in mix.earlier)]) > 1
    return parts if told or (even and len(parts) > 1) else [Part(side, side)]


def request_for(
    parts: Sequence[Part],
    packings: Mapping[str, Packing],
    mix: Mix,
    num_samples: int | None,
    samples_per_step: int,
    seed: int,
) -> MixRequest:
    """What the mixer is asked. num_samples: None for one pass over the domain in whole steps.

    Raises DataError when there is no window of the domain, or a name in the recipe that is no source.
    """
    available = {part.name: packings[part.name].num_windows for part in parts}
    return request_of(parts, available, mix, num_samples, samples_per_step, seed)


def request_of(
    parts: Sequence[Part],
    available: Mapping[str, int],
    mix: Mix,
    num_samples: int | None,
    samples_per_step: int,
    seed: int,
) -> MixRequest:
    """As `request_for`, of so many windows of each part."""
    domain = sum(available[part.name] for part in parts if part.side == "domain")
    if not domain:
        raise DataError(f"tokens: the domain's documents do not fill one window of mix.seq_len={mix.seq_len} tokens")
    if num_samples is None:
        num_samples = int(domain / (1 - _mean_replay(mix)) + 1e-9) // samples_per_step * samples_per_step
        if not num_samples:
            raise DataError(
                f"tokens: {domain} windows of domain text do not fill one step of "
                f"{samples_per_step} windows; lower train.batch_tokens or add text"
            )
    _check_names(parts, mix)
    request = MixRequest(
        available,
        num_samples,
        mix.share,
        mix.max_epochs,
        seed,
        sides={part.name: part.side for part in parts},
        sources=_of_parts(mix.sources, parts),
        temperature=mix.temperature,
        schedule=[_with_part_names(stage, parts) for stage in mix.schedule],
        samples_per_step=samples_per_step,
    )
    return replace(request, earlier=[_earlier(request, before, parts) for before in mix.earlier])


def _earlier(request: MixRequest, before: MixEarlier, parts: Sequence[Part]) -> MixRequest:
    return replace(
        request,
        num_samples=before.steps * request.samples_per_step,
        replay=before.replay,
        sources=_of_parts(before.sources, parts),
        temperature=before.temperature,
        schedule=[_with_part_names(stage, parts) for stage in before.schedule],
        until=before.until_step * request.samples_per_step,
    )


def _of_parts(sources: Mapping[str, MixSource], parts: Sequence[Part]) -> dict[str, MixSource]:
    return {part.name: asked for name, asked in sources.items() for part in parts if part.goes_by(name)}


def _with_part_names(stage: MixStage, parts: Sequence[Part]) -> MixStage:
    weights = {part.name: size for name, size in stage.weights.items() for part in parts if part.goes_by(name)}
    return stage.model_copy(update={"weights": weights})


def _check_names(parts: Sequence[Part], mix: Mix) -> None:
    places = [("mix.sources", list(mix.sources))]
    places += [(f"mix.schedule[{number}].weights", list(stage.weights)) for number, stage in enumerate(mix.schedule)]
    for place, names in places:
        if unknown := sorted(name for name in names if not any(part.goes_by(name) for part in parts)):
            there = ", ".join(part.name for part in parts if part.source is not None) or "none that can be told apart"
            raise DataError(f"{place}: no source of the corpora is called {', '.join(unknown)}; there are {there}")


def _mean_replay(mix: Mix) -> float:
    """Share of general tokens over all stages. Raises DataError where the length of a stage is known in steps alone."""
    mean, begin = 0.0, 0.0
    for number, stage in enumerate(mix.schedule or [MixStage()]):
        if stage.until_step is not None:
            raise DataError(
                f"mix.schedule[{number}].until_step: the number of steps of the training must be known; set "
                "train.steps or mix.tokens"
            )
        end = 1.0 if stage.until is None else stage.until
        asked = mix.share if stage.replay is None else stage.replay
        mean += (end - begin) * (sum(asked) / 2 if isinstance(asked, list) else asked)
        begin = end
    return mean


def plan_of(order: np.ndarray, parts: Sequence[Part], request: MixRequest, mix: Mix, out: Path) -> dict[str, Any]:
    """plan.json: shares asked and achieved over the training and in each stage, passes, text and padding read."""
    from domadapt.builtin.mixing.targets import stretches

    found, total, lines = stretches(request), len(order), []
    asked = {part.name: found[-1].wanted(part.name) for part in parts}
    for number, part in enumerate(parts):
        windows, rows = request.available[part.name], order[:, 0] == number
        uses = np.bincount(order[rows, 1], minlength=windows)
        used = int(uses.sum())
        lines.append(
            {
                "name": part.name,
                "side": part.side,
                "windows": windows,
                "windows_used": used,
                "windows_seen": int((uses > 0).sum()),
                "most_repeats": int(uses.max(initial=0)),
                "epochs": used / windows if windows else 0.0,
                "share_asked": _portion(float(asked[part.name][-1]) if total else 0.0, total),
                "share_achieved": _portion(used, total),
                "tokens": used * mix.seq_len,
                "text_tokens": int(uses @ _text(out / "train" / f"{part.name}.documents.npy", windows, mix)),
            }
        )
    stages = [(number, stage) for number, stretch in enumerate(found) for stage in stretch.stages]
    told = [
        {"mixture": number, **_stage(order, parts, asked, stage.first, stage.last)}
        for number, stage in (stages if len(stages) > 1 or mix.schedule else ())
    ]
    return {
        "parts": lines,
        "stages": told,
        "tokens": total * mix.seq_len,
        "text_tokens": sum(line["text_tokens"] for line in lines),
        "seq_len": mix.seq_len,
        "seed": request.seed,
        "mixer": mix.mixer,
    }


def _stage(
    order: np.ndarray, parts: Sequence[Part], asked: Mapping[str, np.ndarray], first: int, last: int
) -> dict[str, Any]:
    counts = np.bincount(order[first:last, 0], minlength=len(parts)).tolist()
    return {
        "first": first,
        "last": last,
        "parts": {
            part.name: {
                "windows": count,
                "asked": float(asked[part.name][last - 1] - (asked[part.name][first - 1] if first else 0.0)),
            }
            for part, count in zip(parts, counts, strict=True)
        },
    }


def _portion(count: float, total: int) -> float:
    return count / total if total else 0.0


def _text(pieces: Path, num_windows: int, mix: Mix) -> np.ndarray:
    """Tokens of documents, not padding, in each window of a part, int64 [num_windows]."""
    if mix.packing == "concat" or not num_windows:
        return np.full(num_windows, mix.seq_len, np.int64)
    rows = np.load(pieces, mmap_mode="r", allow_pickle=False)
    return np.bincount(rows[:, 0] // mix.seq_len, rows[:, 1], num_windows).astype(np.int64)
