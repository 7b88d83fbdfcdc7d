"""The arms of an experiment while they trained: what was measured on the way, over each other, and the dips in it.

Everything is taken from the reports of the arms: the probe (a benchmark scored on the model in training) and both
held-out losses. Depth, place, recovery, area and gain are those of `stability_gap`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from domadapt.report.training import HELD_OUT

Entry = Mapping[str, Any]

GAP = ("start", "last", "gain", "depth", "depth_at", "noise", "found", "recovered_at", "area", "inside", "sentence")


def arm_curves(reports: Mapping[str, Entry]) -> list[dict[str, Any]]:
    """What was measured during training in two arms or more, the probes first.

    reports: report.json by arm.  A curve: curve, unit ("share" or "nats/token", "" for a probe that is no share),
    higher_is_better, same_start: whether all arms begin with one value, as they do with one start model and one
    held-out text, arms: [{arm, points}], a point {step, value, stderr}.
    """
    found: dict[str, dict[str, Any]] = {}
    for arm, report in reports.items():
        for name, points in _measured(report.get("training") or {}):
            found.setdefault(name, {"curve": name, "arms": []})["arms"].append({"arm": arm, "points": points})
    falling = {row["curve"] for row in gap_rows(reports) if row["gain"] * (row["last"] - row["start"]) < 0}
    curves = [curve for curve in found.values() if len(curve["arms"]) > 1]
    for curve in curves:
        loss = curve["curve"] in LOSSES.values()
        values = [point["value"] for own in curve["arms"] for point in own["points"]]
        curve["unit"] = "nats/token" if loss else "share" if all(0 <= value <= 1 for value in values) else ""
        curve["same_start"] = len({own["points"][0]["value"] for own in curve["arms"]}) == 1
        curve["higher_is_better"] = not loss and curve["curve"] not in falling
    return sorted(curves, key=lambda curve: curve["curve"] in LOSSES.values())


LOSSES = {name: f"held-out {name.removeprefix('heldout_')} loss" for name in HELD_OUT}
"""Curves of the training's records as its stability gaps call them."""


def _measured(training: Entry) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    probes: dict[str, list[dict[str, Any]]] = {}
    for probe in training.get("probes", ()):
        if probe["value"] is not None:
            probes.setdefault(probe["task"], []).append({key: probe[key] for key in ("step", "value", "stderr")})
    yield from probes.items()
    for record, name in LOSSES.items():
        points = [
            {"step": entry["step"], "value": entry[record], "stderr": None}
            for entry in training.get("evaluations", ())
            if entry[record] is not None
        ]
        if points:
            yield name, points


def gap_rows(reports: Mapping[str, Entry]) -> list[dict[str, Any]]:
    """The dip of each curve of each arm: curve, arm and the numbers of `stability_gap`, curve by curve."""
    rows = [
        {"curve": gap["curve"], "arm": arm, **{key: gap[key] for key in GAP}}
        for arm, report in reports.items()
        for gap in (report.get("training") or {}).get("stability", ())
    ]
    order = list(dict.fromkeys(row["curve"] for row in rows))
    return sorted(rows, key=lambda row: order.index(row["curve"]))


def gap_text(row: Entry) -> str:
    """What a dip is, in a few words; it is called a gap only where its noise is known and smaller."""
    if not row["depth"]:
        return "no dip"
    if not row["found"]:
        return "within its noise"
    closed = row["recovered_at"] is not None and not row["inside"]
    if row["noise"] is None:
        return "back by the end" if closed else "not back"
    return "a gap, closed" if closed else "a gap, open at the end"
