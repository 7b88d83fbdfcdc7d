"""From the report's data to its charts: which measures are drawn, in which unit and direction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from domadapt.report.charts.bars import Bar, Group, diverging_bars
from domadapt.report.charts.curves import Band, Series, curves
from domadapt.report.charts.flow import Part, Span, Step, funnel, parts_of_whole, timeline
from domadapt.report.charts.heat import HeatCell, heat_map
from domadapt.report.charts.scatter import Axis, Point, front, scatter
from domadapt.report.ledger import PERPLEXITY, UNCLEAR
from domadapt.report.numbers import level, plain, unit_of
from domadapt.report.run_tables import grouped_stages, percent, reasons
from domadapt.report.verdict import measure_title

Entry = Mapping[str, Any]

MAX_SCATTERS = 2
MOST_BARS = 3
"""Merges that all have bars in the ledger; of more, the chosen one."""
MOST_MEASURES = 14
"""Measures that all have bars; of more, the main ones of each task."""
MIN_SLICES = 3
MOST_ON_ONE_CHART = 6
"""Measures whose bars stand on one chart; of more, each side has its own."""


def pareto(data: Entry) -> list[Markup]:
    """Domain against general: the held-out texts of both sides, then the first general task."""
    pairs = scatter_pairs(data)
    return [scatter(f"pareto{i}", axis(x), axis(y), _points(data, x, y)) for i, (x, y) in enumerate(pairs)]


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
    return {point.label for point in front(_points(data, x, y), axis(x), axis(y))}


def axis(measure: Entry) -> Axis:
    """A measure as an axis of a scatter."""
    unit = unit_of(measure["unit"])
    title = measure_title(measure)
    shown = unit.level.strip() if not title.endswith("bits per byte") else ""
    return Axis(f"{title}, {shown}" if shown else title, measure["higher_is_better"], unit.scale)


def merge_numbers(data: Entry) -> dict[str, int]:
    """Label -> line of each merge in the table of merges."""
    return {merge["label"]: i for i, merge in enumerate(data["verdict"]["merges"], 1)}


def _points(data: Entry, x: Entry, y: Entry) -> list[Point]:
    lines = merge_numbers(data)
    return [
        replace(point, number=line, link=f"#merge-{line}" if line else "")
        for point in model_points(data, x, y)
        for line in [lines.get(point.label, 0)]
    ]


def model_points(data: Entry, x: Entry, y: Entry, group: str = "") -> list[Point]:
    """The models that both measures have a score for, as points of a scatter."""
    across = {score["model"]: score for score in x["scores"]}
    up = {score["model"]: score for score in y["scores"]}
    return [
        Point(
            label,
            m["role"],
            _scaled(across[label], x),
            _scaled(up[label], y),
            chosen=label == data["verdict"]["chosen_merge"],
            group=group,
            told="; ".join(
                f"{measure_title(measure)} {level(score['value'], unit_of(measure['unit']))}"
                for measure, score in ((y, up[label]), (x, across[label]))
            ),
        )
        for m in data["models"]
        if (label := m["label"]) in across and label in up
    ]


def _scaled(estimate: Entry, measure: Entry) -> tuple[float, float, float]:
    scale = unit_of(measure["unit"]).scale
    value, low, high = (math.nan if estimate[k] is None else estimate[k] * scale for k in ("value", "low", "high"))
    return value, low, high


def in_ledger(data: Entry) -> list[str]:
    """Labels of the models that have bars: CPT, control arms, and the merges where they are few, else the chosen."""
    merges = [m["label"] for m in data["models"] if m["role"] == "merged"]
    if len(merges) > MOST_BARS:
        merges = [label for label in merges if label == data["verdict"]["chosen_merge"]]
    return [m["label"] for m in data["models"] if m["role"] in ("cpt", "control") or m["label"] in merges]


def in_bars(ledger: Entry) -> list[Entry]:
    """The measures that have bars, the domain's first."""
    measures = [m for m in ledger["measures"] if m["main"] or len(ledger["measures"]) <= MOST_MEASURES]
    return sorted(measures, key=lambda m: m["side"] != "domain")


def forgetting(data: Entry) -> dict[str, Markup]:
    """Diverging bars by their title: one chart for each unit, since units cannot share an axis."""
    roles = {m["label"]: m["role"] for m in data["models"]}
    labels = in_ledger(data)
    charts: dict[tuple[str, str], list[Group]] = {}
    measures = in_bars(data["ledger"])
    for measure in measures:
        bars = [
            ledger_bar(score, measure, roles[score["model"]])
            for score in measure["scores"]
            if score["difference"] is not None and score["model"] in labels
        ]
        # few measures share a chart whatever their side
        side = measure["side"] if len(measures) > MOST_ON_ONE_CHART else ""
        if bars:
            charts.setdefault((measure["unit"], side), []).append(
                Group(measure_title(measure) if side else bars_title(measure), bars)
            )
    drawn = {}
    for number, ((unit, side), groups) in enumerate(charts.items()):
        against = f"better or worse than {data['ledger']['reference']}"
        title = f"{f'{side}, ' if side else ''}{against}, in {unit_of(unit).change.strip() or 'its own unit'}"
        title = title[0].upper() + title[1:]
        drawn[title] = diverging_bars(f"ledger{number}", title, groups)
    return drawn


def bars_title(measure: Entry) -> str:
    """A measure's title with its side."""
    side, title = measure["side"], measure_title(measure)
    return title if title.startswith(side) else f"{title} · {side}"


def ledger_bar(score: Entry, measure: Entry, role: str, label: str | None = None, group: str = "") -> Bar:
    """One model's difference to the reference, right for better."""
    unit, difference = unit_of(measure["unit"]), score["difference"]
    value, low, high = _scaled(difference, measure)
    if not measure["higher_is_better"]:
        value, low, high = -value, -high, -low
    text = plain(value / unit.scale, unit, signed=True)
    shown = label or score["model"].removeprefix("control.")
    return Bar(shown, role, value, low, high, text, difference["verdict"] != UNCLEAR, group)


def points_of(training: Entry, records: str, name: str) -> list[tuple[float, float]]:
    """(step, value) of one curve."""
    return [(r["step"], r[name]) for r in training[records] if r[name] is not None]


def losses(training: Entry) -> Markup | None:
    """Training loss, both held-out losses, probes, learning rate; None where nothing was logged."""
    series = [
        Series("training", "training", points_of(training, "steps", "loss")),
        Series("held-out domain", "side-domain", points_of(training, "evaluations", "heldout_domain"), marked=True),
        Series("held-out general", "side-general", points_of(training, "evaluations", "heldout_general"), marked=True),
    ]
    series = [s for s in series if s.points]
    if not series:
        return None
    return curves(
        "curves",
        series,
        points_of(training, "steps", "lr"),
        _probe_series(training["probes"]),
        training["checkpoints"],
        _gap_band(training["stability"], [p["task"] for p in training["probes"]]),
    )


def _probe_series(probes: Sequence[Entry]) -> list[Series]:
    by_task: dict[str, list[Entry]] = {}
    for probe in probes:
        if probe["value"] is not None:
            by_task.setdefault(probe["task"], []).append(probe)
    return [
        Series(
            task,
            f"probe-{i % 3}",
            [(p["step"], p["value"]) for p in own],
            marked=True,
            spread=[1.96 * (p["stderr"] or 0.0) for p in own],
        )
        for i, (task, own) in enumerate(by_task.items())
    ]


def _gap_band(stability: Sequence[Entry], probed: Sequence[str]) -> Band | None:
    """The first dip that was found and came back; of probes also one that did not, it is what to look out for."""
    for gap in stability:
        if gap["found"] and (gap["recovered_at"] is not None or gap["curve"] in probed):
            end = gap["recovered_at"] if gap["recovered_at"] is not None else math.inf
            return Band(gap["began_at"], end, f"stability gap of {gap['curve']}")
    return None


def merge_slices(data: Entry) -> tuple[list[list[Markup]], list[dict[str, Any]], list[str]]:
    """Heat maps of each measure by method, the merges in them with their values, and the measures' titles.

    Empty unless at least MIN_SLICES merges differ in weight or density: then there is no slice to look at.
    """
    measures = [m for name in ("gain_measure", "loss_measure") if (m := _measure(data, data["verdict"][name]))]
    merges = [_slice(m, measures) for m in data["models"] if m["role"] == "merged"]
    settings = {(m["weight"], m["density"]) for m in merges}
    if len(merges) < MIN_SLICES or len(settings) < MIN_SLICES or not measures:
        return [], [], []
    methods = list(dict.fromkeys(m["method"] for m in merges))
    charts = []
    for i, measure in enumerate(measures):
        values = [m["values"][i][0] for m in merges if m["values"][i][0] is not None]
        low, high = min(values, default=0.0), max(values, default=0.0)
        by_method = {
            method: [
                _heat_cell(m, i, low, high, measure, data["verdict"]["chosen_merge"])
                for m in merges
                if m["method"] == method and m["values"][i][0] is not None
            ]
            for method in methods
        }
        title = measure_title(measure)
        drawn = [(method, cells) for method, cells in by_method.items() if cells]
        charts.append(
            [heat_map(f"slice{i}-{n}", f"{method}: {title}", cells) for n, (method, cells) in enumerate(drawn)]
        )
    return charts, merges, [measure_title(m) for m in measures]


def _measure(data: Entry, name: Entry | None) -> Entry | None:
    wanted = (name["task"], name["metric"]) if name else None
    return next((m for m in data["ledger"]["measures"] if (m["task"], m["metric"]) == wanted), None)


def _slice(model: Entry, measures: Sequence[Entry]) -> dict[str, Any]:
    facts = model["facts"]
    values = []
    for measure in measures:
        value = next((s["value"] for s in measure["scores"] if s["model"] == model["label"]), None)
        values.append((value, plain(value, unit_of(measure["unit"]))))
    settings = {knob: _setting(facts.get(knob)) for knob in ("weight", "density")}
    return {"label": model["label"], "method": facts.get("method") or model["label"], **settings, "values": values}


def _setting(value: Any) -> float | None:
    """A weight or density; of one number a parent, that of CPT."""
    if isinstance(value, Mapping):
        value = value.get("cpt")
    return float(value) if isinstance(value, (int, float)) else None


def _heat_cell(
    merge: Entry, measure_number: int, low: float, high: float, measure: Entry, chosen: str | None
) -> HeatCell:
    value, text = merge["values"][measure_number]
    share = (value - low) / (high - low) if high > low else 0.5
    goodness = share if measure["higher_is_better"] else 1 - share
    return HeatCell(merge["label"], merge["weight"], merge["density"], goodness, text, merge["label"] == chosen)


def data_funnel(side: str, corpus: Entry) -> Markup:
    """The funnel of one corpus."""
    steps = [Step(s["step"], s["in"], s["kept"], reasons(s)) for s in corpus["funnel"]]
    return funnel(f"funnel-{side}", f"Documents of the {side} corpus, step by step", steps)


def token_shares(origins: Sequence[Entry]) -> Markup | None:
    """Sources and licences by their share of the training tokens; None where none is known."""
    parts = [
        Part(
            f"{o['source']}, {o['license'] or 'licence not stated'}",
            o["share"],
            percent(o["share"]),
            f"side-{o['side']}",
        )
        for o in origins
        if o["share"] is not None
    ]
    parts.sort(key=lambda p: -p.share)
    return parts_of_whole("origins", "Training tokens by source and licence", parts[:20]) if parts else None


def stage_times(run_facts: Entry) -> Markup | None:
    """How long the stages took, in the order they ran, when the run kept times."""
    spans: list[Span] = []
    for name, facts in grouped_stages(run_facts):
        if facts.get("seconds") is not None:
            start = spans[-1].start + spans[-1].seconds if spans else 0.0
            spans.append(Span(name, start, facts["seconds"]))
    return timeline("timeline", spans) if spans else None
