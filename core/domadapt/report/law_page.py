"""The page of a fitted law: fit, errors on what was held out, residuals, parameters, and the advice.

One file, no script, no request, like the report of a run; the charts of the advice also stand in that report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from domadapt.report.charts.plot import Curve, Rule, plot
from domadapt.report.numbers import UNKNOWN
from domadapt.report.sheets import Cell, Rows, Table

Entry = Mapping[str, Any]

COLOURS = 6
MOST_LINES = 9
"""More runs than this are drawn as dots without a line and a name each."""


def render_law_page(studies: Sequence[Entry], advice: Entry | None, where: str) -> str:
    """The page as HTML text. studies: of `study_data`.  advice: of `advice_data`.  where: what was fitted."""
    from domadapt.report.page import environment

    template = environment().get_template("law.html.jinja")
    return template.render(
        where=where,
        studies=[
            {
                **study,
                "fit_chart": fit_chart(study, number),
                "residual_chart": residual_chart(study, number),
                "parameter_table": parameter_table(study),
                "held_out_table": held_out_table(study),
            }
            for number, study in enumerate(studies)
        ],
        advice=advice,
        advice_charts=advice_charts(advice) if advice else [],
    )


def fit_chart(study: Entry, number: int = 0) -> Markup:
    """Measured losses as dots, the law as lines: over the length, a line a run; else measured against predicted."""
    points = study["points"]
    axis = next((name for name in ("tokens", "s1_cpt", "s1") if name in points), None)
    groups = points["group"]
    alone = set(points) == {"group", "measured", "predicted", axis}
    if alone and len(set(groups)) == len(groups):  # a measurement at each length, as critical ratios are
        groups = [""] * len(groups)
    runs = dict.fromkeys(groups)
    if axis is None or len(runs) > MOST_LINES:
        dots = list(zip(points["predicted"], points["measured"], strict=True))
        ends = (min(points["predicted"]), max(points["predicted"]))
        return plot(
            f"fit{number}",
            "Measured against predicted",
            "predicted",
            "measured",
            [Curve("", "run-0", dots=dots), Curve("equal", "rate", [(end, end) for end in ends])],
        )
    series = []
    for place, run in enumerate(runs):
        rows = [i for i, group in enumerate(groups) if group == run]
        rows.sort(key=lambda i: points[axis][i])
        series.append(
            Curve(
                _called(points, rows[0], str(run)),
                f"run-{place % COLOURS}",
                [(points[axis][i], points["predicted"][i]) for i in rows],
                [(points[axis][i], points["measured"][i]) for i in rows],
            )
        )
    title = f"{study['title']}: what was measured (dots) and the fit (lines)"
    about = {"tokens": "training tokens"}.get(axis, "forward area of the learning rate (S1)")
    positive = min(points[axis]) > 0
    return plot(f"fit{number}", title, about, study["value"], series, logarithmic=axis == "tokens" and positive)


def _called(points: Entry, row: int, run: str) -> str:
    return f"share {points['ratio'][row]:.3g}" if "ratio" in points else run


def residual_chart(study: Entry, number: int = 0) -> Markup:
    """Relative errors over the predicted loss, and zero."""
    points = study["points"]
    errors = [(p, 100 * (m - p) / p) for p, m in zip(points["predicted"], points["measured"], strict=True) if p]
    return plot(
        f"residuals{number}",
        "Residuals",
        f"predicted {study['value']}",
        "measured − predicted, %",
        [Curve("", "run-0", dots=errors)],
        [Rule("", y=0.0)],
    )


def advice_charts(advice: Entry, outcome: Mapping[str, float] | None = None) -> list[Markup]:
    """Both losses over the domain share with 95 % intervals, the bound and the share advised.

    outcome: the losses that a run at the advised share measured, by side.
    """
    charts = []
    share = advice["domain_share"]
    for side in ("domain", "general"):
        curve = advice["curves"][side]
        x = advice["shares"]
        series = [
            Curve(
                f"{side} loss",
                f"side-{side}",
                list(zip(x, curve["value"], strict=True)),
                band=list(zip(x, curve["low"], curve["high"], strict=True)),
            )
        ]
        if outcome:
            series.append(Curve("measured", f"side-{side}", dots=[(share, outcome[side])]))
        rules = [Rule(f"advised {share:.3f}", x=share)]
        if side == "general":
            rules.append(Rule(f"bound {advice['bound']:.4g}", y=advice["bound"]))
        title = f"{side} loss by domain share"
        charts.append(plot(f"advice-{side}", title, "domain share", "loss, nats per token", series, rules))
    return charts


def parameter_table(study: Entry) -> Table:
    """Parameters with their intervals."""
    rows: Rows = [
        [p["name"], *(Cell(f"{p[key]:.5g}", (p[key],)) for key in ("value", "low", "high"))]
        for p in study["parameters"]
    ]
    caption = "Parameters with 95 % intervals; wide ones trade against each other and leave predictions as they are"
    fields = ["parameter", "value", "low", "high"]
    return Table(f"parameters-{study['side'] or 'loss'}", caption, fields, fields, rows)


def held_out_table(study: Entry) -> Table:
    """Errors on what was held out, beside the naive guess."""
    rows: Rows = []
    naive = next((held["naive"] for held in study["held_out"] if held["naive"]), "")
    errors = {"rmse": "RMSE", "largest": "largest"}
    if naive:
        errors |= {"naive_rmse": "naive RMSE", "naive_largest": "naive largest"}
    for held in study["held_out"]:
        for f in held["folds"]:
            cells = [_number(f[key]) for key in errors]
            rows.append([held["what"], f["label"], Cell(str(f["n"]), (f["n"],)), *cells])
    caption = f"Errors on what was held out, in the unit of the {study['value']}"
    caption += f"; naive: {naive}" if naive else ""
    return Table(
        f"held-out-{study['side'] or 'loss'}",
        caption,
        ["held out", "which", "points", *errors.values()],
        ["held_out", "which", "points", *errors],
        rows,
        2,
        grouped=True,
    )


def _number(value: float | None) -> Cell:
    return Cell(UNKNOWN if value is None else f"{value:.4f}", (value,))
