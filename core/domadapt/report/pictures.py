"""From the report's data to its charts: which measures are drawn, in which unit and direction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from domadapt.report.charts.bars import Bar, Group, diverging_bars
from domadapt.report.charts.curves import Series, curves
from domadapt.report.charts.flow import Span, Step, funnel, timeline
from domadapt.report.charts.scatter import Axis, Point, front, scatter
from domadapt.report.ledger import PERPLEXITY, UNCLEAR
from domadapt.report.numbers import plain, unit_of
from domadapt.report.tables import ordered_stages, reasons
from domadapt.report.verdict import measure_title

Entry = Mapping[str, Any]

MAX_SCATTERS = 2


def pareto(data: Entry) -> list[Markup]:
    """Domain against general: the held-out texts of both sides, then the first general task."""
    pairs = scatter_pairs(data)
    return [scatter(f"pareto{i}", _axis(x), _axis(y), _points(data, x, y)) for i, (x, y) in enumerate(pairs)]


def scatter_pairs(data: Entry) -> list[tuple[Entry, Entry]]:
    """The (general, domain) measures of each scatter; empty when one of the sides was not measured."""
    mains = [m for m in data["ledger"]["measures"] if m["main"]]
    mains.sort(key=lambda m: not m["task"].startswith(PERPLEXITY))
    domain = [m for m in mains if m["side"] == "domain"]
    general = [m for m in mains if m["side"] == "general"]
    return [(x, domain[0]) for x in general[:MAX_SCATTERS]] if domain else []


def on_front(data: Entry) -> set[str]:
    """Labels of the models that no other model beats on both axes of the first scatter."""
    x, y = scatter_pairs(data)[0]
    return {point.label for point in front(_points(data, x, y), _axis(x), _axis(y))}


def _axis(measure: Entry) -> Axis:
    unit = unit_of(measure["unit"])
    title = measure_title(measure)
    shown = unit.level.strip() if not title.endswith("bits per byte") else ""
    return Axis(f"{title}, {shown}" if shown else title, measure["higher_is_better"], unit.scale)


def _points(data: Entry, x: Entry, y: Entry) -> list[Point]:
    across = {score["model"]: score for score in x["scores"]}
    up = {score["model"]: score for score in y["scores"]}
    chosen = data["verdict"]["chosen_merge"]
    return [
        Point(label, m["role"], _scaled(across[label], x), _scaled(up[label], y), label == chosen)
        for m in data["models"]
        if (label := m["label"]) in across and label in up
    ]


def _scaled(estimate: Entry, measure: Entry) -> tuple[float, float, float]:
    scale = unit_of(measure["unit"]).scale
    value, low, high = (math.nan if estimate[k] is None else estimate[k] * scale for k in ("value", "low", "high"))
    return value, low, high


def forgetting(data: Entry) -> dict[str, Markup]:
    """Diverging bars by their title: one chart for each unit, since units cannot share an axis."""
    roles = {m["label"]: m["role"] for m in data["models"]}
    by_unit: dict[str, list[Group]] = {}
    for measure in data["ledger"]["measures"]:
        bars = [
            _bar(score, measure, roles[score["model"]])
            for score in measure["scores"]
            if score["difference"] is not None and roles[score["model"]] in ("cpt", "merged")
        ]
        if bars:
            side = measure["side"]
            title = measure_title(measure)
            shown = title if title.startswith(side) else f"{title} · {side}"
            by_unit.setdefault(measure["unit"], []).append(Group(shown, bars))
    charts = {}
    for number, (unit, groups) in enumerate(by_unit.items()):
        title = (
            f"Better or worse than {data['ledger']['reference']}, in {unit_of(unit).change.strip() or 'its own unit'}"
        )
        charts[title] = diverging_bars(f"ledger{number}", title, groups)
    return charts


def _bar(score: Entry, measure: Entry, role: str) -> Bar:
    unit, difference = unit_of(measure["unit"]), score["difference"]
    value, low, high = _scaled(difference, measure)
    if not measure["higher_is_better"]:
        value, low, high = -value, -high, -low
    text = plain(value / unit.scale, unit, signed=True)
    return Bar(score["model"], role, value, low, high, text, difference["verdict"] != UNCLEAR)


def losses(training: Entry) -> Markup:
    """Training loss, both held-out losses, learning rate."""

    def points(records: str, name: str) -> list[tuple[float, float]]:
        return [(r["step"], r[name]) for r in training[records] if r[name] is not None]

    series = [
        Series("training", "training", points("steps", "loss")),
        Series("held-out domain", "side-domain", points("evaluations", "heldout_domain"), marked=True),
        Series("held-out general", "side-general", points("evaluations", "heldout_general"), marked=True),
    ]
    return curves("curves", [s for s in series if s.points], points("steps", "lr"))


def data_funnel(side: str, corpus: Entry) -> Markup:
    """The funnel of one corpus."""
    steps = [Step(s["step"], s["in"], s["kept"], reasons(s)) for s in corpus["funnel"]]
    return funnel(f"funnel-{side}", f"Documents of the {side} corpus, step by step", steps)


def stage_times(run_facts: Entry) -> Markup | None:
    """How long the stages took, in the order they ran, when the run kept times."""
    spans: list[Span] = []
    for name, facts in ordered_stages(run_facts):
        start = spans[-1].start + spans[-1].seconds if spans else 0.0
        spans.append(Span(name, start, facts.get("seconds") or 0.0))
    return timeline("timeline", spans) if spans else None
