"""The page of an experiment: what varied, what the difference does, the trade-off, the stability gap of every arm.

One file, no script, no request, like the report of a run; made from experiment.json alone, so that both say the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from domadapt.recipe.resolved import PROBES
from domadapt.report.charts.plot import Curve, Rule, plot
from domadapt.report.charts.scatter import Axis, Point, scatter
from domadapt.report.differences import BETTER, UNCLEAR, WORSE
from domadapt.report.experiment import CPT, by_measure, first_row, items_text, score_before
from domadapt.report.experiment_curves import gap_text
from domadapt.report.numbers import UNKNOWN, bounds, change, count, level, plain, unit_of
from domadapt.report.sheets import Cell, Rows, Table
from domadapt.report.tables import MARKS, p_text
from domadapt.report.verdict import measure_title

Entry = Mapping[str, Any]

COLOURS = 6
SURE = 0.05
MODELS = {CPT: "After training (CPT)", "merged": "The merge that each run chose"}


def render_experiment(data: Entry) -> str:
    """The page as HTML text, from `experiment_data` or an experiment.json read back."""
    from domadapt.report.page import environment

    names = short_names([arm["arm"] for arm in data["arms"]])
    return (
        environment()
        .get_template("experiment.html.jinja")
        .render(
            data=data,
            title=_title(list(names), list(names.values())),
            names=names,
            done=[arm for arm in data["arms"] if arm["state"] == "done"],
            failed=[arm for arm in data["arms"] if arm["state"] == "failed"],
            findings={MODELS[model]: findings(data, model, names) for model in data["models"]},
            arm_table=_arm_table(data, names),
            recipe_table=_recipe_table(data, names),
            scatters={MODELS[model]: _scatter(model, points, names) for model, points in data["tradeoff"].items()},
            tables={MODELS[model]: _differences(data, model, names) for model in data["models"]},
            charts=[_curves(curve, number, names) for number, curve in enumerate(data["curves"])],
            gap_table=_gap_table(data, names),
            skipped=_skipped(data, names),
        )
    )


def short_names(labels: Sequence[str]) -> dict[str, str]:
    """Labels without the key that all of them begin with: `mix.replay=1:70` is 1:70."""
    keys = {label.partition("=")[0] for label in labels if "=" in label}
    if len(keys) == 1 and all("=" in label for label in labels):
        return {label: label.partition("=")[2] for label in labels}
    return {label: label for label in labels}


def _title(labels: Sequence[str], short: Sequence[str]) -> str:
    key = labels[0].partition("=")[0] if list(labels) != list(short) else ""
    return f"{key}: {', '.join(short)}" if key else ", ".join(short)


def findings(data: Entry, model: str, names: Mapping[str, str]) -> list[str]:
    """One sentence an arm: on what it is better and worse than the first, sure also after the adjustment."""
    told = []
    rows = [row for row in data["models"][model] if row["task"] != PROBES]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == arm]
        parts = []
        for verdict in (BETTER, WORSE):
            sure = [row for row in own if row["verdict"] == verdict and _is_sure(row)]
            listed = ", ".join(
                f"{measure_title(row)} ({change(row['value'], unit_of(row['unit']))}; "
                f"{bounds(row, unit_of(row['unit']), signed=True)})"
                for row in sure
            )
            parts += [f"{verdict} on {listed}"] if sure else []
        rest = len(own) - sum(row["verdict"] != UNCLEAR and _is_sure(row) for row in own)
        if not parts:
            told.append(f"{names[arm]} against {names[data['first']]}: nothing sure on any of {rest} measures.")
            continue
        end = f"; nothing sure on {rest} other measure{'s' if rest > 1 else ''}" if rest else ""
        told.append(f"{names[arm]} against {names[data['first']]}: {' and '.join(parts)}{end}.")
    return told


def _is_sure(row: Entry) -> bool:
    return row["p_holm"] is not None and bool(row["p_holm"] < SURE)


def _arm_table(data: Entry, names: Mapping[str, str]) -> Table:
    """Budget and mixture of each arm."""
    parts = list(dict.fromkeys(part["name"] for arm in data["arms"] for part in arm["parts"]))
    rows: Rows = []
    for arm in data["arms"]:
        own = {part["name"]: part for part in arm["parts"]}
        cells: list[str | Cell] = [names[arm["arm"]], arm["run"], arm["state"]]
        cells += [Cell(count(arm[key]), (arm[key],)) for key in ("steps", "tokens")]
        for part in parts:
            found = own.get(part)
            cells.append(Cell(f"{100 * found['share']:.3g} %", (found["share"],)) if found else _unknown())
            cells.append(Cell(f"{found['epochs']:.2f}", (found["epochs"],)) if found else _unknown())
        rows.append(cells)
    columns = [f"{part} {what}" for part in parts for what in ("share", "passes")]
    headers = ["arm", "run", "state", "steps", "tokens", *columns]
    return Table("arms", "Budgets and mixtures as they came", headers, headers, rows, 3)


def _unknown() -> Cell:
    return Cell(UNKNOWN, (None,))


def _recipe_table(data: Entry, names: Mapping[str, str]) -> Table:
    arms = [arm["arm"] for arm in data["arms"] if arm["state"] == "done"]
    rows: Rows = [[key, *(values[arm] for arm in arms)] for key, values in data["recipes"].items()]
    headers = ["key", *(names[arm] for arm in arms)]
    return Table("recipes", "Recipe values that differ", headers, headers, rows, len(headers))


def _scatter(model: str, points: Sequence[Entry], names: Mapping[str, str]) -> Markup:
    marks = [
        Point(names[p["arm"]], "cpt" if model == CPT else "merged", _placed(p["general"]), _placed(p["domain"]))
        for p in points
    ]
    general, domain = (Axis(f"{side} bits per byte", False) for side in ("general", "domain"))
    return scatter(f"tradeoff-{model}", general, domain, marks)


def _placed(estimate: Entry) -> tuple[float, float, float]:
    value, low, high = (math.nan if estimate[k] is None else float(estimate[k]) for k in ("value", "low", "high"))
    return value, low, high


def _differences(data: Entry, model: str, names: Mapping[str, str]) -> Table:
    """Every measure: the first arm's score, and each arm's with its paired difference to it."""
    rows: Rows = []
    for (task, metric), found in by_measure(data["models"][model]).items():
        any_row = first_row(found)
        unit = unit_of(any_row["unit"])
        title = Cell(f"{measure_title(any_row)} {'↑' if any_row['higher_is_better'] else '↓'}", (task, metric))
        first = [_unknown(), Cell(UNKNOWN, (None, None)), _unknown(), _unknown()]
        if (before := score_before(data, task, metric)) is not None:
            reference, value = before
            rows.append([title, f"({reference})", "", Cell(level(value, unit), (value,)), *first, _unknown()])
        own = [Cell(level(any_row["b"], unit), (any_row["b"],)), *first, Cell(count(any_row["n"]), (any_row["n"],))]
        rows.append([title, names[data["first"]], "", *own])
        for arm, row in found.items():
            rows.append(
                [
                    title,
                    names[arm],
                    _verdict(row),
                    Cell(level(row["a"], unit), (row["a"],)),
                    Cell(plain(row["value"], unit, signed=True), (row["value"],)),
                    Cell(bounds(row, unit, signed=True), (row["low"], row["high"])),
                    Cell(p_text(row["p_holm"]), (row["p_holm"],)),
                    Cell(plain(row["smallest_detectable"], unit), (row["smallest_detectable"],)),
                    Cell(items_text(row), (row["n"],)),
                ]
            )
    headers = ["measure", "arm", "", "score", "difference", "95 % interval", "p, adjusted", "detectable", "items"]
    fields = ["task", "metric", "arm", "verdict", "score", "difference", "low", "high", "p_holm", "detectable", "items"]
    caption = f"{MODELS[model]}: paired differences to {names[data['first']]}"
    return Table(f"differences-{model}", caption, headers, fields, rows, 3, grouped=True)


def _verdict(row: Entry) -> str:
    """The verdict with its mark, and * where it stands after the adjustment too; never broken over lines."""
    if row["verdict"] == UNCLEAR:
        return UNCLEAR.replace(" ", "\u00a0")
    return "\u00a0".join([MARKS[row["verdict"]], row["verdict"], *(["*"] if _is_sure(row) else [])])


def _curves(curve: Entry, number: int, names: Mapping[str, str]) -> tuple[str, Markup]:
    """One measurement over the steps, a line an arm; the first arm's 95 % interval is a band where it is known."""
    scale = 100 if curve["unit"] == "share" else 1
    series = []
    for place, own in enumerate(curve["arms"]):
        points = own["points"]
        line = [(p["step"], scale * p["value"]) for p in points]
        known = not place and all(p["stderr"] is not None for p in points)
        half = [1.96 * scale * (p["stderr"] or 0.0) for p in points]
        band = [(x, y - d, y + d) for (x, y), d in zip(line, half, strict=True)] if known else []
        series.append(Curve(names[own["arm"]], f"run-{place % COLOURS}", line, line, band))
    rules = [Rule("", y=series[0].line[0][1])] if curve["same_start"] else []
    unit = {"share": ", %", "nats/token": ", nats per token"}.get(curve["unit"], "")
    better = "better →" if curve["higher_is_better"] else "← better"
    axis = f"{curve['curve']}{unit}  ({better})"
    title = curve["curve"] if curve["unit"] == "nats/token" else f"{curve['curve']}, probed in training"
    if not curve["same_start"]:
        title += " (not the same at the start: another start model, or other text held out)"
    return title, plot(f"curve{number}", title, "step", axis, series, rules)


def _gap_table(data: Entry, names: Mapping[str, str]) -> Table:
    units = {curve["curve"]: curve["unit"] for curve in data["curves"]}
    rows: Rows = []
    for row in data["gaps"]:
        unit = unit_of(units.get(row["curve"], "nats/token"))
        area = row["area"] * unit.scale
        back = row["recovered_at"]
        rows.append(
            [
                row["curve"],
                names[row["arm"]],
                gap_text(row),
                Cell(plain(row["start"], unit), (row["start"],)),
                Cell(plain(row["depth"], unit), (row["depth"],)),
                Cell(plain(row["noise"], unit) if row["depth"] else UNKNOWN, (row["noise"],)),
                Cell(count(row["depth_at"]) if row["depth"] else UNKNOWN, (row["depth_at"],)),
                Cell(UNKNOWN if back is None else count(back), (back,)),
                Cell(f"{area:.3g}", (row["area"],)),
                Cell(plain(row["gain"], unit, signed=True), (row["gain"],)),
            ]
        )
    headers = ["curve", "arm", "", "start", "depth", "noise", "deepest at", "back at", "area", "gain"]
    fields = ["curve", "arm", "gap", "start", "depth", "noise", "depth_at", "recovered_at", "area", "gain"]
    caption = "The dip of each curve below its start; probes in percent and points, losses in nats per token"
    return Table("gaps", caption, headers, fields, rows, 3, grouped=True)


def _skipped(data: Entry, names: Mapping[str, str]) -> list[str]:
    """What was not compared, and why; the same reason of several arms once."""
    told: dict[str, list[str]] = {}
    for entry in data["skipped"]:
        what = "the trained model" if entry["model"] == CPT else "the merge"
        task = f", {entry['task']}" if entry["task"] else ""
        metric = f" ({entry['metric']})" if entry["metric"] else ""
        told.setdefault(f"{what}{task}{metric}: {entry['reason']}", []).append(names[entry["arm"]])
    return [f"{', '.join(arms)}: {reason}" for reason, arms in told.items()]
