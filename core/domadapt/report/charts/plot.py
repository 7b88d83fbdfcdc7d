"""A plot of lines, dots and bands over a number: what a law says and what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from domadapt.report.charts import svg

WIDTH, HEIGHT = 520, 320
"""As wide as half a page: a chart that is drawn smaller has letters that nobody reads."""
LEFT, RIGHT, TOP, BOTTOM = 60, 116, 16, 50


@dataclass(frozen=True)
class Curve:
    """A line, dots, or both, with a name at its end and a band around it: (x, low, high)."""

    label: str
    class_: str
    line: Sequence[tuple[float, float]] = ()
    dots: Sequence[tuple[float, float]] = ()
    band: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True)
class Rule:
    """A straight line across the plot at one value of an axis, with what it is."""

    label: str
    x: float | None = None
    y: float | None = None


def plot(
    name: str,
    title: str,
    x_title: str,
    y_title: str,
    series: Sequence[Curve],
    rules: Sequence[Rule] = (),
    *,
    logarithmic: bool = False,
) -> Markup:
    """The chart. logarithmic: the x axis by decades."""
    points = [p for s in series for p in (*s.line, *s.dots)] + [(x, y) for s in series for x, *ys in s.band for y in ys]
    xs = [_at(x, logarithmic) for x, _ in points] + [_at(r.x, logarithmic) for r in rules if r.x is not None]
    ys = [y for _, y in points] + [r.y for r in rules if r.y is not None]
    x_scale = svg.Scale(*svg.padded(xs, 0.03), LEFT, WIDTH - RIGHT)
    y_scale = svg.Scale(*svg.padded(ys, 0.06), HEIGHT - BOTTOM, TOP)

    def place(x: float, y: float) -> tuple[float, float]:
        return x_scale(_at(x, logarithmic)), y_scale(y)

    parts = _axes(x_scale, y_scale, x_title, y_title, logarithmic)
    for s in series:
        if s.band:
            edge = [place(x, high) for x, _, high in s.band] + [place(x, low) for x, low, _ in reversed(s.band)]
            corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in edge)
            parts.append(svg.element("polygon", points=corners, class_=f"band {s.class_}"))
    for s in series:
        if s.line:
            parts.append(svg.path([place(x, y) for x, y in s.line], f"curve {s.class_}"))
        for x, y in s.dots:
            across, up = place(x, y)
            parts.append(svg.element("circle", cx=across, cy=up, r=2.8, class_=f"dot {s.class_}"))
    parts += [mark for rule in rules for mark in _rule(rule, x_scale, y_scale, logarithmic)]
    parts += _names(series, y_scale)
    told = "; ".join(f"{s.label}: {len(s.dots)} measured" if s.dots else s.label for s in series if s.label)
    return svg.picture(WIDTH, HEIGHT, title, told, parts, name)


def _at(x: float, logarithmic: bool) -> float:
    return math.log10(x) if logarithmic else x


def _axes(x_scale: svg.Scale, y_scale: svg.Scale, x_title: str, y_title: str, logarithmic: bool) -> list[Markup]:
    parts = []
    bottom = HEIGHT - BOTTOM
    ticks = _decades(x_scale) if logarithmic else x_scale.ticks(6)
    for value in ticks:
        x = x_scale(value)
        label = _power(value) if logarithmic else svg.tick_text(value, ticks)
        parts.append(svg.line(x, TOP, x, bottom, "grid"))
        parts.append(svg.text(x, bottom + 18, label, "tick", "middle"))
    heights = y_scale.ticks(6)
    for value in heights:
        y = y_scale(value)
        parts.append(svg.line(LEFT, y, WIDTH - RIGHT, y, "grid"))
        parts.append(svg.text(LEFT - 8, y + 4, svg.tick_text(value, heights), "tick", "end"))
    parts.append(svg.text((LEFT + WIDTH - RIGHT) / 2, bottom + 40, x_title, "axis", "middle"))
    turned = f"translate(14 {(TOP + bottom) / 2:.0f}) rotate(-90)"
    return [*parts, svg.element("text", y_title, class_="axis", text_anchor="middle", transform=turned)]


def _decades(scale: svg.Scale) -> list[float]:
    """Logarithms of 1, 2 and 5 times powers of ten within the scale; over many decades of the powers alone."""
    first, last = math.floor(scale.start), math.ceil(scale.end)
    digits = (1, 2, 5) if last - first <= 4 else (1,)
    marks = [power + math.log10(digit) for power in range(first, last + 1) for digit in digits]
    return [mark for mark in marks if scale.start <= mark <= scale.end]


def _power(exponent: float) -> str:
    """10 to the exponent, written short: 300M, 1.5B."""
    value = 10.0**exponent
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.2g}"


def _rule(rule: Rule, x_scale: svg.Scale, y_scale: svg.Scale, logarithmic: bool) -> list[Markup]:
    if rule.x is not None:
        x = x_scale(_at(rule.x, logarithmic))
        beside, anchor = (x - 5, "end") if x > (LEFT + WIDTH - RIGHT) / 2 else (x + 5, None)  # never over a line's name
        label = svg.text(beside, TOP + 11, rule.label, "band-name", anchor)
        return [svg.line(x, TOP, x, HEIGHT - BOTTOM, "zero"), label]
    assert rule.y is not None
    y = y_scale(rule.y)
    return [
        svg.line(LEFT, y, WIDTH - RIGHT, y, "zero"),
        svg.text(LEFT + 6, y - 5, rule.label, "band-name"),
    ]


def _names(series: Sequence[Curve], y_scale: svg.Scale) -> list[Markup]:
    """Each line's name at its right end, pushed apart where ends lie close together."""
    ends = sorted(
        ((y_scale((s.line or s.dots)[-1][1]), s) for s in series if s.label and (s.line or s.dots)), key=_first
    )
    parts, free = [], float(TOP)
    for y, s in ends:
        at = max(y + 4, free)
        parts.append(svg.text(WIDTH - RIGHT + 8, at, svg.shortened(s.label, RIGHT - 12), f"name {s.class_}"))
        free = at + 15
    return parts


def _first(pair: tuple[float, Curve]) -> float:
    return pair[0]
