"""Diverging bars: how far each model moved from the reference, task by task, with paired 95 % whiskers.

Right is always better. Bars whose difference is not distinguishable from 0 are grey and hollow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from domadapt.report.charts import svg

WIDTH = 440
NAME_WIDTH = 132
ROW, HEADING, TOP, BOTTOM = 22, 30, 26, 12
BAR = 11
VALUE_WIDTH = 50


@dataclass(frozen=True)
class Bar:
    """One model's change for the better (positive) or worse, with its interval and its value as text.

    group: which run it belongs to, a class of the style sheet.
    """

    label: str
    role: str
    value: float
    low: float
    high: float
    text: str
    clear: bool
    group: str = ""


@dataclass(frozen=True)
class Group:
    """The bars of one task."""

    title: str
    bars: Sequence[Bar]


def diverging_bars(name: str, title: str, groups: Sequence[Group]) -> Markup:
    """All groups on one axis around 0."""
    height = TOP + sum(HEADING + ROW * len(group.bars) for group in groups) + BOTTOM
    ends = [v for group in groups for bar in group.bars for v in (bar.value, bar.low, bar.high) if v == v]
    low, high = min(0.0, *ends), max(0.0, *ends)
    reach = (high - low) or 1.0
    # room for the number at the end of a whisker, on whichever side there are any
    left = NAME_WIDTH + (VALUE_WIDTH if low < 0 else 6)
    right = WIDTH - (VALUE_WIDTH if high > 0 else 6)
    scale = svg.Scale(low if low < 0 else -0.02 * reach, high if high > 0 else 0.02 * reach, left, right)
    zero = scale(0)
    parts: list[Markup] = []
    for value in (ticks := scale.ticks(4)):
        x = scale(value)
        parts.append(svg.line(x, TOP - 4, x, height - BOTTOM, "zero" if value == 0 else "grid"))
        label = svg.tick_text(value, ticks)
        parts.append(svg.text(x, TOP - 10, "+" + label if value > 0 else label, "tick", "middle"))
    y = float(TOP)
    for group in groups:
        parts.append(svg.text(0, y + 20, svg.shortened(group.title, WIDTH - 20, 12.5), "heading"))
        y += HEADING
        for bar in group.bars:
            parts += _bar(bar, y, scale, zero)
            y += ROW
    told = "; ".join(f"{group.title}: " + ", ".join(f"{b.label} {b.text}" for b in group.bars) for group in groups)
    return svg.picture(WIDTH, height, title, told, parts, name)


def _bar(bar: Bar, y: float, scale: svg.Scale, zero: float) -> list[Markup]:
    middle = y + ROW / 2 - 2
    end = scale(bar.value)
    colour = f"role-{bar.role} {bar.group}".rstrip()
    parts = [
        svg.marker(bar.role, 8, middle, bar.group, size=4.5),
        svg.text(20, middle + 4, svg.shortened(bar.label, NAME_WIDTH - 22), "name"),
        svg.element(
            "rect",
            x=min(zero, end),
            y=middle - BAR / 2,
            width=abs(end - zero),
            height=BAR,
            class_=f"bar {colour}" if bar.clear else "bar unclear",
        ),
    ]
    edges = [zero, end]
    if bar.low == bar.low:
        low, high = scale(bar.low), scale(bar.high)
        edges += [low, high]
        parts.append(svg.line(low, middle, high, middle, "whisker"))
        parts += [svg.line(x, middle - 3.5, x, middle + 3.5, "whisker") for x in (low, high)]
    outward = bar.value >= 0
    x = max(edges) + 6 if outward else min(edges) - 6
    parts.append(svg.text(x, middle + 4, bar.text, "value" if bar.clear else "value muted", None if outward else "end"))
    return parts
