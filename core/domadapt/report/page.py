"""report.html: one file that opens from disk, prints, and asks nothing of the network.

No script: charts are inline SVG, folding is <details>. Autoescaping is on and the page forbids itself any external
resource, so a hostile document title or task name stays text.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.report import pictures, tables
from domadapt.report.numbers import bounds, change, level, plain, share, unit_of
from domadapt.report.verdict import measure_title

if TYPE_CHECKING:
    from jinja2 import Environment

Entry = Mapping[str, Any]


def render_page(data: Entry) -> str:
    """The page as HTML text, from `report_data` or a report.json read back."""
    template = _environment().get_template("report.html.jinja")
    ledger, training, run_facts = data["ledger"], data["training"], data["run_facts"]
    return template.render(
        data=data,
        tables=tables,
        cards=[_card(number) for number in data["verdict"]["numbers"]],
        matrix=_matrix(data),
        merges=_merge_rows(data),
        scatters=pictures.pareto(data),
        ledgers=pictures.forgetting(data),
        curves=pictures.losses(training) if training and (training["steps"] or training["evaluations"]) else None,
        funnels={side: pictures.data_funnel(side, corpus) for side, corpus in data["corpora"].items()},
        timeline=pictures.stage_times(run_facts),
        main_measures=[m for m in ledger["measures"] if m["main"]],
    )


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _card(number: Entry) -> dict[str, str | None]:
    """One number of the verdict strip as text."""
    card = {"label": number["label"], "about": number["about"], "verdict": number["verdict"]}
    if number["value"] is None:
        return {**card, "value": "–", "unit": "", "bounds": None, "direction": None}
    if number["kind"] == "share":
        value, interval = share(number)
        return {**card, "value": value, "unit": "", "bounds": interval, "direction": None}
    unit = unit_of(number["unit"])
    return {
        **card,
        "value": plain(number["value"], unit, signed=True),
        "unit": unit.change.strip(),
        "bounds": bounds(number, unit, signed=True),
        "direction": None if number["higher_is_better"] else "lower is better ↓",
    }


def _matrix(data: Entry) -> list[dict[str, Any]]:
    """Models by main measures: score, standard error and the mark of the verdict."""
    mains = [m for m in data["ledger"]["measures"] if m["main"]]
    rows = []
    for model in data["models"]:
        cells = []
        for measure in mains:
            score = next((s for s in measure["scores"] if s["model"] == model["label"]), None)
            cells.append(_cell(score, measure) if score else None)
        chosen = model["label"] == data["verdict"]["chosen_merge"]
        rows.append({"label": model["label"], "role": model["role"], "chosen": chosen, "cells": cells})
    return rows


def _cell(score: Entry, measure: Entry) -> dict[str, str | None]:
    unit, difference = unit_of(measure["unit"]), score["difference"]
    verdict = difference["verdict"] if difference else None
    return {
        "value": plain(score["value"], unit),
        "stderr": plain(score["stderr"], unit),
        "verdict": verdict,
        "mark": tables.MARKS[verdict] if verdict else None,
    }


def _merge_rows(data: Entry) -> list[dict[str, Any]]:
    """The comparison of merges: scores on the main measures, shares with intervals, place on the front."""
    measures = {(m["task"], m["metric"]): m for m in data["ledger"]["measures"]}
    ahead = pictures.on_front(data) if pictures.scatter_pairs(data) else None
    rows = []
    for merge in data["verdict"]["merges"]:
        columns = []
        for name in (data["verdict"]["gain_measure"], data["verdict"]["loss_measure"]):
            measure = measures[name["task"], name["metric"]] if name else None
            columns.append(_merge_score(measure, merge["label"]))
        rows.append(
            {
                "label": merge["label"],
                "chosen": merge["label"] == data["verdict"]["chosen_merge"],
                "domain": columns[0],
                "kept": tables.share_text(merge["kept"]),
                "general": columns[1],
                "won_back": tables.share_text(merge["won_back"]),
                "front": "–" if ahead is None else "yes" if merge["label"] in ahead else "no",
            }
        )
    return rows


def _merge_score(measure: Entry | None, label: str) -> dict[str, str] | None:
    score = next((s for s in measure["scores"] if s["model"] == label), None) if measure else None
    if measure is None or score is None:
        return None
    unit, difference = unit_of(measure["unit"]), score["difference"]
    return {
        "title": measure_title(measure),
        "score": level(score["value"], unit),
        "change": change(difference["value"], unit) if difference else "–",
        "verdict": difference["verdict"] if difference else "",
    }
