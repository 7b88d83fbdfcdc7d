"""report.html: one file that opens from disk, prints, and asks nothing of the network.

No script: charts are inline SVG, folding is <details>, CSV files are data: links. Autoescaping is on and the page
forbids itself any external resource, so a hostile document title or task name stays text.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.report import pictures, run_tables, tables
from domadapt.report.law import law_section
from domadapt.report.numbers import UNKNOWN, bounds, change, level, plain, share, unit_of
from domadapt.report.sheets import Cell, Rows, Table
from domadapt.report.speed import speed_lines
from domadapt.report.sweep_page import sweep_section
from domadapt.report.verdict import measure_title

if TYPE_CHECKING:
    from jinja2 import Environment

Entry = Mapping[str, Any]


MOST_BYTES = 480_000
"""A page beyond this has the long tables for the models that are drawn only, and says so."""


def render_page(data: Entry) -> str:
    """The page as HTML text, from `report_data` or a report.json read back."""
    page = _rendered(data, data["ledger"])
    if len(page.encode()) > MOST_BYTES:
        page = _rendered(data, _only_drawn(data))
    return page


def _only_drawn(data: Entry) -> dict[str, Any]:
    """The ledger without the scores and shares of the merges that have no bars."""
    merges = {m["label"] for m in data["models"] if m["role"] == "merged"} - set(pictures.in_ledger(data))
    ledger = data["ledger"]
    measures = [{**m, "scores": [s for s in m["scores"] if s["model"] not in merges]} for m in ledger["measures"]]
    return {**ledger, "measures": measures, "shares": [s for s in ledger["shares"] if s["merge"] not in merges]}


def _rendered(data: Entry, listed: Entry) -> str:
    """listed: the ledger as the long tables show it."""
    ledger, training, run_facts = data["ledger"], data["training"], data["run_facts"]
    slices, grid, titles = pictures.merge_slices(data)
    drawn = pictures.in_ledger(data)
    return (
        environment()
        .get_template("report.html.jinja")
        .render(
            data=data,
            tables=tables,
            run_tables=run_tables,
            gates=data["gates"],
            cards=[card(number) for number in data["verdict"]["numbers"]],
            matrix=_matrix(data),
            merges=_merge_rows(data),
            merge_table=_merge_table(data),
            listed=listed,
            is_brief=listed is not ledger,
            account=tables.totals(ledger, drawn),
            changes=tables.stage_changes(ledger, drawn),
            controls=tables.controls(ledger, drawn),
            contamination=tables.contamination(ledger, drawn),
            scatters=pictures.pareto(data),
            ledgers=pictures.forgetting(data),
            curves=pictures.losses(training) if training else None,
            sweep=sweep_section(data),
            law=law_section(data),
            slices=slices,
            slice_table=tables.slices(grid, titles),
            funnels={side: pictures.data_funnel(side, corpus) for side, corpus in data["corpora"].items()},
            shares=pictures.token_shares(data["text_origins"]),
            timeline=pictures.stage_times(run_facts),
            speed=run_tables.speed(speed_lines(data)),
            main_measures=[m for m in ledger["measures"] if m["main"]],
        )
    )


@cache
def environment() -> Environment:
    """The templates, with autoescaping."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def card(number: Entry) -> dict[str, str | None]:
    """One number of the verdict strip as text."""
    about = {"label": number["label"], "about": number["about"], "verdict": number["verdict"]}
    if number["value"] is None:
        return {**about, "value": "–", "unit": "", "bounds": None, "direction": None}
    if number["kind"] == "share":
        value, interval = share(number)
        return {**about, "value": value, "unit": "", "bounds": interval, "direction": None}
    unit = unit_of(number["unit"])
    return {
        **about,
        "value": plain(number["value"], unit, signed=True),
        "unit": unit.change.strip(),
        "bounds": bounds(number, unit, signed=True),
        "direction": None if number["higher_is_better"] else "lower is better ↓",
    }


def _matrix(data: Entry) -> list[dict[str, Any]]:
    """Models by main measures: score, standard error and the mark of the verdict."""
    mains = [m for m in data["ledger"]["measures"] if m["main"]]
    numbers = pictures.merge_numbers(data)
    rows = []
    for model in data["models"]:
        cells = []
        for measure in mains:
            score = next((s for s in measure["scores"] if s["model"] == model["label"]), None)
            cells.append(_cell(score, measure) if score else None)
        chosen = model["label"] == data["verdict"]["chosen_merge"]
        number = numbers.get(model["label"])
        rows.append(
            {"label": model["label"], "role": model["role"], "chosen": chosen, "number": number, "cells": cells}
        )
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
    """The comparison of merges: scores on the main measures, shares with intervals, place on the front, command."""
    measures = {(m["task"], m["metric"]): m for m in data["ledger"]["measures"]}
    models = {m["label"]: m for m in data["models"]}
    ahead = pictures.on_front(data) if pictures.scatter_pairs(data) else None
    rows = []
    for number, merge in enumerate(data["verdict"]["merges"], 1):
        columns = []
        for name in (data["verdict"]["gain_measure"], data["verdict"]["loss_measure"]):
            measure = measures[name["task"], name["metric"]] if name else None
            columns.append(_merge_score(measure, merge["label"]))
        rows.append(
            {
                "number": number,
                "label": merge["label"],
                "chosen": merge["label"] == data["verdict"]["chosen_merge"],
                "domain": columns[0],
                "kept": merge["kept"],
                "general": columns[1],
                "won_back": merge["won_back"],
                "front": UNKNOWN if ahead is None else "yes" if merge["label"] in ahead else "no",
                "command": run_tables.merge_command(data, models[merge["label"]]),
            }
        )
    return rows


def _merge_table(data: Entry) -> Table:
    """The same rows for CSV, with the commands."""
    rows: Rows = []
    for row in _merge_rows(data):
        cells: list[str | Cell] = [Cell(str(row["number"]), (row["number"],)), row["label"]]
        for name, estimate in (("domain", "kept"), ("general", "won_back")):
            found = row[name]
            cells.append(Cell(found["score"], (found["value"],)) if found else Cell(UNKNOWN, (None,)))
            own = row[estimate] or dict.fromkeys(("value", "low", "high"))
            cells.append(Cell(tables.share_text(row[estimate]), (own["value"], own["low"], own["high"])))
        rows.append([*cells, row["front"], row["command"]])
    first = next(iter(_merge_rows(data)), None)
    named = [first[name]["title"] if first and first[name] else name for name in ("domain", "general")]
    return Table(
        "merges",
        "Merges",
        ["№", "merge", named[0], "gain kept", named[1], "loss won back", "on the front", "command"],
        [
            "number", "merge", named[0], "kept", "kept_low", "kept_high",
            named[1], "won_back", "won_back_low", "won_back_high", "on_front", "command",
        ],
        rows,
        2,
    )  # fmt: skip


def _merge_score(measure: Entry | None, label: str) -> dict[str, Any] | None:
    score = next((s for s in measure["scores"] if s["model"] == label), None) if measure else None
    if measure is None or score is None:
        return None
    unit, difference = unit_of(measure["unit"]), score["difference"]
    return {
        "title": measure_title(measure),
        "score": level(score["value"], unit),
        "value": score["value"],
        "change": change(difference["value"], unit) if difference else UNKNOWN,
        "verdict": difference["verdict"] if difference else "",
    }
