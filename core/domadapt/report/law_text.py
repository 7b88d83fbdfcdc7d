"""A fitted law and its advice in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Entry = Mapping[str, Any]


def study_lines(study: Entry) -> Iterator[str]:
    """The account of one loss, of `study_data`."""
    side = f", {study['side']} loss" if study["side"] else ""
    yield f"{study['title']}{side} ({study['source']})"
    yield (
        f"{study['n']} measurements of {study['runs']} runs; R2 {study['r2']:.5f}, relative error {study['rmse']:.2%}, "
        f"largest {study['largest']:.4f}; {study['starts']['agreeing']} of {study['starts']['tried']} starts end there"
    )
    for p in study["parameters"]:
        yield f"  {p['name']:<12} {p['value']:12.5g}   {p['low']:.4g} to {p['high']:.4g}"
    for held in study["held_out"]:
        yield f"{held['what']} held out: error {held['rmse']:.2%}"
        naive = bool(held["naive"])
        yield f"  {'':<16} {'points':>6} {'RMSE':>9} {'largest':>9}" + (
            f" {'naive':>9} {'largest':>9}" if naive else ""
        )
        for f in held["folds"]:
            row = f"  {f['label'][:16]:<16} {f['n']:>6} {f['rmse']:>9.4f} {f['largest']:>9.4f}"
            yield row + (f" {_known(f['naive_rmse'])} {_known(f['naive_largest'])}" if naive else "")
        if naive:
            yield f"  naive: {held['naive']}"
    for note in study["notes"]:
        yield f"note: {note}"


def _known(value: float | None) -> str:
    return f"{'–':>9}" if value is None else f"{value:>9.4f}"


def advice_lines(advice: Entry, studies: Sequence[Entry]) -> Iterator[str]:
    """The advice, of `advice_data`, and how far the fits behind it go."""
    yield (
        f"advised: {advice['domain_share']:.1%} domain text (mix.replay {advice['replay']:.3f}), 95 % interval "
        f"{advice['low']:.1%} to {advice['high']:.1%}"
    )
    reference = advice["reference"]
    over = f", {advice['bound'] / reference - 1:+.1%} of {reference:.4f}" if reference else ""
    safe = advice["safe"]
    yield (
        f"bound on the general loss: {advice['bound']:.4f}{over}; kept there with a chance of {advice['chance']:.0%}, "
        f"of {safe['chance']:.0%} at {safe['domain_share']:.1%} domain text"
    )
    if advice["limited"]:
        yield "the largest share that was measured keeps the bound; more might"
    for side in ("domain", "general"):
        yield f"{side} loss there: {interval_text(advice[side])}"
    for study in studies:
        held = "; ".join(f"{held['what']} held out {held['rmse']:.2%}" for held in study["held_out"])
        yield f"{study['side']} fit: R2 {study['r2']:.4f}, error {study['rmse']:.2%}; {held}"
    yield from (
        f"note: {note}" for note in dict.fromkeys([*advice["notes"], *(n for s in studies for n in s["notes"])])
    )


def interval_text(value: Mapping[str, float]) -> str:
    """A prediction with its interval: 2.9021, 95 % interval 2.8847 to 2.9197 (±0.6 %)."""
    half = (value["high"] - value["low"]) / 2 / value["value"]
    return f"{value['value']:.4f}, 95 % interval {value['low']:.4f} to {value['high']:.4f} (±{half:.1%})"
