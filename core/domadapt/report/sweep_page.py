"""The section of the page about a sweep: the front, heat maps of the settings, a table of all candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from domadapt.report.charts.heat import HeatCell, heat_map
from domadapt.report.charts.scatter import Axis, Point, scatter
from domadapt.report.numbers import BITS_PER_BYTE, UNKNOWN, plain
from domadapt.report.sheets import Cell, Rows, Table
from domadapt.report.sweep import SIDES

Entry = Mapping[str, Any]

MIN_CELLS = 3
"""Candidates of a method with different settings from which on they make a map."""


def sweep_section(data: Entry) -> dict[str, Any] | None:
    """Chart, maps by side, table and what the text says; None for a run without a sweep."""
    sweep = data.get("sweep")
    if sweep is None:
        return None
    candidates = sweep["candidates"]
    return {
        "chart": _front(sweep),
        "maps": [charts for side in SIDES if (charts := _maps(candidates, side))],
        "table": _table(candidates),
        "chosen": next((c["label"] for c in candidates if c["chosen"]), None),
        "rule": sweep["rule"],
        "documents": sweep["documents"],
        "number": len(candidates),
        "vetoed": sum(c["vetoed"] for c in candidates),
        "searched": sweep["search"] == "cma",
    }


def _front(sweep: Entry) -> Markup:
    """Domain against general as everywhere on the page; vetoed candidates are in the table only."""
    points = [Point(a["label"], a["label"], _paired(a["general"]), _paired(a["domain"])) for a in sweep["anchors"]]
    points += [
        Point(
            c["label"],
            "merged",
            _paired(c["general"]),
            _paired(c["domain"]),
            chosen=c["chosen"],
            number=c["number"],
            told=f"domain {_text(c['domain'])}, general {_text(c['general'])}",
        )
        for c in sweep["candidates"]
        if not c["vetoed"]
    ]
    general, domain = (Axis(f"{side} bits per byte, selection split", False) for side in ("general", "domain"))
    return scatter("sweep", general, domain, points)


def _paired(score: Entry) -> tuple[float, float, float]:
    """A score with the interval of its change to the instruct model: what documents have in common is no doubt here."""
    change = score["change"]
    low, high = (math.nan if change[key] is None else float(change[key] - change["value"]) for key in ("low", "high"))
    return score["value"], score["value"] + low, score["value"] + high


def _maps(candidates: Sequence[Entry], side: str) -> list[Markup]:
    """One map a method, over weight and density, where these are single numbers and the only settings."""
    drawn = [c for c in candidates if c["weight"] is not None and set(c["settings"]) <= {"weight", "density"}]
    values = [c[side]["value"] for c in drawn]
    low, high = min(values, default=0.0), max(values, default=0.0)
    charts = []
    for number, method in enumerate(dict.fromkeys(c["method"] for c in drawn)):
        own = [c for c in drawn if c["method"] == method]
        if len({(c["weight"], c["density"]) for c in own}) < max(MIN_CELLS, len(own)):
            continue
        cells = [
            HeatCell(
                c["label"],
                c["weight"],
                c["density"],
                (high - c[side]["value"]) / (high - low) if high > low else 0.5,
                _text(c[side]),
                c["chosen"],
            )
            for c in own
        ]
        charts.append(heat_map(f"sweep-{side}-{number}", f"{method}: {side} bits per byte", cells))
    return charts


def _text(score: Entry) -> str:
    return plain(score["value"], BITS_PER_BYTE)


def _table(candidates: Sequence[Entry]) -> Table:
    rows: Rows = []
    for c in candidates:
        kept = c["answers"]
        place = "vetoed" if c["vetoed"] else "chosen" if c["chosen"] else "front" if c["front"] else ""
        rows.append(
            [
                Cell(str(c["number"]), (c["number"],)),
                c["label"],
                place,
                *(_bounded(c[side]) for side in SIDES),
                _changed(c["general"]["change"]),
                Cell(f"{c['front_share']:.0%}", (c["front_share"],)),
                Cell(f"{kept['kept']} of {kept['of']}", (kept["kept"], kept["of"]))
                if kept
                else Cell(UNKNOWN, (None, None)),
                c["command"],
            ]
        )
    headers = [
        "№",
        "candidate",
        "",
        "domain ↓",
        "general ↓",
        "general against instruct",
        "on the front",
        "answers kept",
    ]
    return Table(
        "sweep",
        "Candidates, bits per byte on the selection split with 95 % intervals",
        [*headers, "make it a model"],
        [
            "number", "candidate", "place", "domain", "domain_low", "domain_high", "general", "general_low",
            "general_high", "change", "change_low", "change_high", "front_share", "answers_kept", "answers_of",
            "command",
        ],
        rows,
        3,
    )  # fmt: skip


def _bounded(score: Entry) -> Cell:
    raw = (score["value"], score["low"], score["high"])
    value, low, high = (plain(number, BITS_PER_BYTE) for number in raw)
    return Cell(f"{value} [{low}, {high}]", raw)


def _changed(change: Entry) -> Cell:
    raw = (change["value"], change["low"], change["high"])
    value, low, high = (plain(number, BITS_PER_BYTE, signed=True) for number in raw)
    return Cell(f"{value} [{low}, {high}]", raw)
