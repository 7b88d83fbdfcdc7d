"""Several runs on one page: Pareto pictures, ledgers and curves on top of each other, and how their recipes differ.

Made from report.json files alone. Runs are told apart by colour, models by shape. Scores of different runs are shown
side by side, never tested against each other: that needs the items (`adapt compare`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from domadapt.errors import UsageError
from domadapt.report import pictures
from domadapt.report.charts.bars import Bar, Group, diverging_bars
from domadapt.report.charts.curves import Series, curves
from domadapt.report.charts.scatter import scatter
from domadapt.report.ledger import PERPLEXITY
from domadapt.report.numbers import UNKNOWN, bounds, level, plain, unit_of
from domadapt.report.page import card, environment
from domadapt.report.run_tables import flattened
from domadapt.report.sheets import Cell, Rows, Table
from domadapt.report.tables import MARKS, measure_cell

Entry = Mapping[str, Any]
Runs = Mapping[str, Entry]

MAX_RUNS = 6
"""As many as there are colours that can be told apart."""


def render_overlay(runs: Runs) -> str:
    """The page as HTML text. runs: what to call each run -> its report.json.

    Raises UsageError for fewer than two runs, or more than there are colours for.
    """
    if not 2 <= len(runs) <= MAX_RUNS:
        raise UsageError(f"report: 2 to {MAX_RUNS} runs fit on one page, {len(runs)} were given")
    common = list(_common_measures(runs))
    return (
        environment()
        .get_template("overlay.html.jinja")
        .render(
            runs=runs,
            groups={name: f"run-{i}" for i, name in enumerate(runs)},
            strips={name: [card(number) for number in data["verdict"]["numbers"]] for name, data in runs.items()},
            marks=MARKS,
            num_common=len(common),
            left_out=sum(len(data["ledger"]["measures"]) for data in runs.values()) - len(common) * len(runs),
            scatters=_scatters(runs, common),
            ledgers=_ledgers(runs, common),
            curves=_curves(runs),
            scores=_scores(runs, common),
            references={data["ledger"]["reference"] for data in runs.values()},
            held_out=_held_out(runs),
            recipes=_recipe_differences(runs),
        )
    )


def _common_measures(runs: Runs) -> Iterator[list[Entry]]:
    """The measures that all runs have, one per run, in the order of the first."""
    first, *others = [
        {(m["task"], m["metric"], m["side"], m["unit"]): m for m in data["ledger"]["measures"]}
        for data in runs.values()
    ]
    for key, measure in first.items():
        if all(key in other for other in others):
            yield [measure, *(other[key] for other in others)]


def _scatters(runs: Runs, common: list[list[Entry]]) -> list[Markup]:
    mains = sorted((ms for ms in common if ms[0]["main"]), key=lambda ms: not ms[0]["task"].startswith(PERPLEXITY))
    domain = [ms for ms in mains if ms[0]["side"] == "domain"]
    general = [ms for ms in mains if ms[0]["side"] == "general"]
    charts = []
    for number, xs in enumerate(general[: pictures.MAX_SCATTERS] if domain else []):
        points = [
            point
            for i, data in enumerate(runs.values())
            for point in pictures.model_points(data, xs[i], domain[0][i], f"run-{i}")
        ]
        charts.append(scatter(f"pareto{number}", pictures.axis(xs[0]), pictures.axis(domain[0][0]), points))
    return charts


def _ledgers(runs: Runs, common: list[list[Entry]]) -> dict[str, Markup]:
    """CPT and the chosen merge of each run against that run's reference, one chart a unit."""
    by_unit: dict[str, list[Group]] = {}
    for measures in common:
        if measures[0]["main"]:
            bars = [bar for i, (name, data) in enumerate(runs.items()) for bar in _bars(name, data, measures[i], i)]
            if bars:
                by_unit.setdefault(measures[0]["unit"], []).append(Group(pictures.bars_title(measures[0]), bars))
    charts = {}
    for number, (unit, groups) in enumerate(by_unit.items()):
        title = f"Change against the reference of each run, in {unit_of(unit).change.strip() or 'its own unit'}"
        charts[title] = diverging_bars(f"ledger{number}", title, groups)
    return charts


def _bars(name: str, data: Entry, measure: Entry, number: int) -> Iterator[Bar]:
    roles = {m["label"]: m["role"] for m in data["models"]}
    for score in measure["scores"]:
        if score["difference"] is not None and score["model"] in (
            data["ledger"]["cpt"],
            data["verdict"]["chosen_merge"],
        ):
            role = roles[score["model"]]
            yield pictures.ledger_bar(score, measure, role, f"{name} {score['model']}", f"run-{number}")


def _curves(runs: Runs) -> Markup | None:
    """Held-out losses of both sides: colour tells the run, dashes the side."""
    series = []
    for i, (name, data) in enumerate(runs.items()):
        if data["training"] is not None:
            for side in ("domain", "general"):
                points = pictures.points_of(data["training"], "evaluations", f"heldout_{side}")
                if points:
                    series.append(Series(f"{name} {side}", f"side-{side} run-{i}", points, marked=True))
    return curves("curves", series, (), title="Held-out losses of the runs, in nats per token") if series else None


def _scores(runs: Runs, common: list[list[Entry]]) -> Table:
    """Reference, CPT and chosen merge of each run on the measures that all have."""
    rows: Rows = []
    for measures in common:
        for (name, data), measure in zip(runs.items(), measures, strict=True):
            shown = (data["ledger"]["reference"], data["ledger"]["cpt"], data["verdict"]["chosen_merge"])
            for score in measure["scores"]:
                if score["model"] in shown:
                    rows.append([measure_cell(measure), name, *_score_cells(score, measure)])
    headers = ["measure", "run", "model", "score", "95 % interval", "difference", "95 % interval", "verdict"]
    fields = [
        "task",
        "metric",
        "run",
        "model",
        "value",
        "low",
        "high",
        "difference",
        "diff_low",
        "diff_high",
        "verdict",
    ]
    caption = "Scores, and differences to the reference of the own run"
    return Table("scores", caption, headers, fields, rows, 3, grouped=True)


def _score_cells(score: Entry, measure: Entry) -> list[str | Cell]:
    unit, difference = unit_of(measure["unit"]), score["difference"]
    own = difference or dict.fromkeys(("value", "low", "high"))
    return [
        score["model"],
        Cell(level(score["value"], unit), (score["value"],)),
        Cell(bounds(score, unit), (score["low"], score["high"])),
        Cell(plain(own["value"], unit, signed=True), (own["value"],)),
        Cell(bounds(own, unit, signed=True) if difference else UNKNOWN, (own["low"], own["high"])),
        difference["verdict"] if difference else UNKNOWN,
    ]


def _held_out(runs: Runs) -> Table:
    rows: Rows = [
        [name, *(Cell(UNKNOWN if e[k] is None else f"{e[k]:.4g}", (e[k],)) for k in ("step", *HELD_OUT))]
        for name, data in runs.items()
        if data["training"] is not None
        for e in data["training"]["evaluations"]
    ]
    headers = ["run", "step", "domain", "general"]
    return Table("held-out", "Held-out losses, nats per token", headers, ["run", "step", *HELD_OUT], rows, grouped=True)


HELD_OUT = ("heldout_domain", "heldout_general")


def _recipe_differences(runs: Runs) -> Table:
    """The values that are not the same in all recipes."""
    recipes = {name: dict(flattened(data["recipe"])) for name, data in runs.items()}
    keys = dict.fromkeys(key for recipe in recipes.values() for key in recipe)
    rows: Rows = [
        [key, *values]
        for key in sorted(keys)
        if len(set(values := [recipe.get(key, "not set") for recipe in recipes.values()])) > 1
    ]
    headers = ["key", *recipes]
    return Table("recipes", "Recipe values that differ", headers, headers, rows, len(headers))
