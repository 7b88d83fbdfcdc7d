"""Loss over the steps of training, a benchmark probed on the way, and the learning rate, on one axis of steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from domadapt.report.charts import svg

WIDTH = 1040
LEFT, RIGHT, TOP = 56, 150, 14
LOSS_HEIGHT, PROBE_HEIGHT, RATE_HEIGHT, GAP = 250, 110, 42, 30

Line = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """One curve: its name, its classes in the style sheet, and whether its points are marked.

    spread: half the 95 % interval of each point; empty for none.
    """

    label: str
    class_: str
    points: Line
    marked: bool = False
    spread: Sequence[float] = ()


@dataclass(frozen=True)
class Band:
    """A marked range of steps with what to call it; an infinite end is that of the chart."""

    start: float
    end: float
    label: str


def curves(
    name: str,
    losses: Sequence[Series],
    rate: Line,
    probes: Sequence[Series] = (),
    checkpoints: Sequence[float] = (),
    band: Band | None = None,
    title: str = "Loss over training steps, in nats per token",
) -> Markup:
    """Losses on one axis (nats per token), probes and the learning rate on thin ones below; checkpoints are ticks."""
    steps = [x for series in (*losses, *probes) for x, _ in series.points]
    x_scale = svg.Scale(min(steps), max(max(steps), min(steps) + 1), LEFT, WIDTH - RIGHT)
    y = float(TOP)
    panels: list[Markup] = []
    for series, height, axis in (
        (losses, LOSS_HEIGHT, "loss, nats per token  (← better)"),
        (probes, PROBE_HEIGHT, "probe score"),
    ):
        if series:
            panels += _panel(series, x_scale, y, y + height, axis)
            y += height + GAP
    if rate:
        panels += _rate(rate, x_scale, y, y + RATE_HEIGHT)
        y += RATE_HEIGHT + GAP
    bottom = y - GAP
    parts = [*_band(band, x_scale, bottom), *_steps(x_scale, bottom), *panels, *_saved(checkpoints, x_scale, bottom)]
    told = "; ".join(
        f"{s.label} from {s.points[0][1]:.3f} to {s.points[-1][1]:.3f}" for s in (*losses, *probes) if s.points
    )
    if band:
        end = "the end" if math.isinf(band.end) else f"step {band.end:g}"
        told += f"; {band.label} from step {band.start:g} to {end}"
    return svg.picture(WIDTH, bottom + 46, title, told, parts, name)


def _steps(x_scale: svg.Scale, bottom: float) -> list[Markup]:
    parts = []
    for value in (ticks := x_scale.ticks(8)):
        x = x_scale(value)
        parts.append(svg.line(x, TOP, x, bottom, "grid"))
        parts.append(svg.text(x, bottom + 20, svg.tick_text(value, ticks), "tick", "middle"))
    parts.append(svg.text(WIDTH - RIGHT, bottom + 38, "step", "axis", "end"))
    return parts


def _panel(series: Sequence[Series], x_scale: svg.Scale, top: float, bottom: float, axis: str) -> list[Markup]:
    """The curves of one unit with their axis, and their names at the right end."""
    values = [y + d for s in series for (_, y), at in zip(s.points, _spread(s), strict=True) for d in (-at, at)]
    low, high = svg.padded(values, 0.05)
    scale = svg.Scale(low, high, bottom, top)
    parts = []
    for value in (ticks := scale.ticks(5 if bottom - top > 150 else 3)):
        y = scale(value)
        parts.append(svg.line(LEFT, y, WIDTH - RIGHT, y, "grid"))
        parts.append(svg.text(LEFT - 8, y + 4, svg.tick_text(value, ticks), "tick", "end"))
    parts.append(
        svg.element(
            "text",
            axis,
            class_="axis",
            text_anchor="middle",
            transform=f"translate(14 {(top + bottom) / 2:.0f}) rotate(-90)",
        )
    )
    for s in series:
        dots = [(x_scale(x), scale(y)) for x, y in s.points]
        parts.append(svg.path(dots, f"curve {s.class_}"))
        for (x, value), at in zip(s.points, _spread(s), strict=True):
            if at:
                parts.append(
                    svg.line(x_scale(x), scale(value - at), x_scale(x), scale(value + at), f"spread {s.class_}")
                )
        if s.marked and len(dots) <= 60:
            parts += [_dot(x, y, s.class_) for x, y in dots]
    return parts + _end_labels(series, scale, top)


def _spread(series: Series) -> Sequence[float]:
    return series.spread or [0.0] * len(series.points)


def _dot(x: float, y: float, class_: str) -> Markup:
    if "side-general" in class_:
        return svg.element("rect", x=x - 3, y=y - 3, width=6, height=6, class_=f"dot {class_}")
    return svg.element("circle", cx=x, cy=y, r=3.2, class_=f"dot {class_}")


def _end_labels(series: Sequence[Series], scale: svg.Scale, top: float) -> list[Markup]:
    """Each curve's name at its right end, pushed apart where ends lie close together."""
    parts = []
    free_from = top
    for s in sorted((s for s in series if s.points), key=lambda s: -s.points[-1][1]):
        y = max(scale(s.points[-1][1]), free_from)
        label = svg.shortened(s.label, RIGHT - 12)
        parts.append(svg.text(WIDTH - RIGHT + 10, y + 4, label, f"name {s.class_}"))
        free_from = y + 16
    return parts


def _rate(rate: Line, x_scale: svg.Scale, top: float, bottom: float) -> list[Markup]:
    highest = max(y for _, y in rate) or 1.0
    scale = svg.Scale(0, highest, bottom, top)
    return [
        svg.line(LEFT, bottom, WIDTH - RIGHT, bottom, "grid"),
        svg.text(LEFT - 8, top + 6, _power(highest), "tick", "end"),
        svg.path([(x_scale(x), scale(y)) for x, y in rate], "curve rate"),
        svg.text(WIDTH - RIGHT + 10, bottom - 4, "learning rate", "name rate"),
    ]


def _power(value: float) -> str:
    """A learning rate in two digits: 1e-3, 1.5e-5."""
    digits, exponent = f"{value:.1e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"


def _saved(checkpoints: Sequence[float], x_scale: svg.Scale, bottom: float) -> list[Markup]:
    """A tick for each checkpoint at the foot of the chart, with what the ticks are."""
    if not checkpoints or len(checkpoints) > 200:
        return []
    ticks = [svg.line(x_scale(step), bottom - 5, x_scale(step), bottom + 5, "saved") for step in checkpoints]
    return [*ticks, svg.text(WIDTH - RIGHT + 10, bottom + 20, "ı checkpoint saved", "tick")]


def _band(band: Band | None, x_scale: svg.Scale, bottom: float) -> list[Markup]:
    if band is None:
        return []
    left, right = x_scale(band.start), x_scale(min(band.end, x_scale.end))
    anchor = "end" if right + svg.width_of(band.label) > WIDTH - RIGHT else None
    x = right - 6 if anchor else left + 6
    return [
        svg.element("rect", x=left, y=TOP, width=max(2.0, right - left), height=bottom - TOP, class_="band"),
        svg.text(x, TOP + 14, band.label, "band-name", anchor),
    ]
