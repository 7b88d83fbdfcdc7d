"""A fitted law and its advice in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Entry = Mapping[str, Any]


def study_lines(study: Entry) -> Iterator[str]:
    """The account of one loss, of `study_data`."""
    side = f", {study['side']} {study['value']}" if study["side"] else ""
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
        wide = max(8, *(len(f["label"]) for f in held["folds"]))
        yield f"  {'':<{wide}} {'points':>6} {'RMSE':>9} {'largest':>9}" + (
            f" {'naive':>9} {'largest':>9}" if naive else ""
        )
        for f in held["folds"]:
            row = f"  {f['label']:<{wide}} {f['n']:>6} {f['rmse']:>9.4f} {f['largest']:>9.4f}"
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
    for note in advice["notes"]:
        yield f"note: {note}"
    for note in dict.fromkeys(n for s in studies for n in s["notes"]):
        sides = [s["side"] for s in studies if note in s["notes"]]
        yield f"note: {note}" if len(sides) == len(studies) else f"note, {sides[0]} loss: {note}"


def answer_lines(found: Entry) -> Iterator[str]:
    """What `spending` answers: a number, or a number with its interval, a line."""
    for name, value in found.items():
        told = (
            value if isinstance(value, str) else f"{value:.6g}" if isinstance(value, float) else _with_interval(value)
        )
        yield f"{name.replace('_', ' ')}: {told}"


def _with_interval(value: Mapping[str, float]) -> str:
    return f"{value['value']:.6g}, 95 % interval {value['low']:.4g} to {value['high']:.4g}"


def balance_lines(found: Entry) -> Iterator[str]:
    """What `balance` answers, and the schedules that it was chosen among."""
    share = found["domain_share"]
    yield (
        f"advised: peak learning rate {found['peak_lr']:g}, {found['steps']} steps, {share['value']:.1%} domain text "
        f"(mix.replay {1 - share['value']:.3f}), 95 % interval {share['low']:.1%} to {share['high']:.1%}"
    )
    yield (
        f"{found['weight']:g} x general + {1 - found['weight']:g} x domain loss: {found['weighed_loss']:.4f}; of "
        f"{len(found['plans'])} schedules the best in {found['chance']:.0%} of the resamples"
    )
    for side in ("domain", "general"):
        yield f"{side} loss there: {interval_text(found[side])}"
    yield f"{'peak lr':>10} {'steps':>8} {'domain share':>13} {'weighed loss':>13}"
    for p in found["plans"]:
        yield f"{p['peak_lr']:>10.3g} {p['steps']:>8} {p['domain_share']:>13.3f} {p['weighed_loss']:>13.4f}"


def interval_text(value: Mapping[str, float]) -> str:
    """A prediction with its interval: 2.9021, 95 % interval 2.8847 to 2.9197 (±0.6 %)."""
    half = (value["high"] - value["low"]) / 2 / value["value"]
    return f"{value['value']:.4f}, 95 % interval {value['low']:.4f} to {value['high']:.4f} (±{half:.1%})"
