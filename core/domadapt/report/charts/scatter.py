"""Domain against general ability, one mark per model: the picture of what adaptation costs and merging returns.

Better is always up and to the right, whatever the metric's own direction; crosses are 95 % intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from markupsafe import Markup

from domadapt.report.charts import svg

WIDTH, HEIGHT = 520, 420
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 16, 56


@dataclass(frozen=True)
class Axis:
    """A measure as an axis; values are drawn times `scale`."""

    title: str
    higher_is_better: bool
    scale: float = 1.0


@dataclass(frozen=True)
class Point:
    """A model: (value, low, high) on both axes, already in the axes' scale. NaN bounds draw no cross."""

    label: str
    role: str
    x: tuple[float, float, float]
    y: tuple[float, float, float]
    chosen: bool = False


Box = tuple[float, float, float, float]


def scatter(name: str, x_axis: Axis, y_axis: Axis, points: Sequence[Point]) -> Markup:
    """The chart with the front of models that no other model beats on both axes."""
    x_scale = _scale([p.x for p in points], x_axis, LEFT, WIDTH - RIGHT)
    y_scale = _scale([p.y for p in points], y_axis, HEIGHT - BOTTOM, TOP)
    ahead = front(points, x_axis, y_axis)
    parts = [*_axes(x_scale, y_scale, x_axis, y_axis)]
    if len(ahead) > 1:
        parts.append(svg.path([(x_scale(p.x[0]), y_scale(p.y[0])) for p in ahead], "front"))
    parts += [svg.element("g", *_cross(p, x_scale, y_scale), class_=f"role-{p.role}") for p in points]
    for p in points:
        x, y = x_scale(p.x[0]), y_scale(p.y[0])
        if p.chosen:
            parts.append(svg.element("circle", cx=x, cy=y, r=12, class_="halo"))
        parts.append(svg.marker(p.role, x, y, "chosen" if p.chosen else ""))
    parts += _labels(points, ahead, x_scale, y_scale)
    description = f"On the front, beaten by no other model on both axes: {', '.join(p.label for p in ahead)}."
    return svg.picture(WIDTH, HEIGHT, f"{y_axis.title} against {x_axis.title}", description, parts, name)


def front(points: Sequence[Point], x_axis: Axis, y_axis: Axis) -> list[Point]:
    """The points that no other point beats on both axes (by the point estimates), from left to right."""

    def goodness(p: Point) -> tuple[float, float]:
        return p.x[0] * (1 if x_axis.higher_is_better else -1), p.y[0] * (1 if y_axis.higher_is_better else -1)

    def beaten(p: Point) -> bool:
        own = goodness(p)
        return any(q != own and q[0] >= own[0] and q[1] >= own[1] for q in map(goodness, points))

    return sorted((p for p in points if not beaten(p)), key=goodness)


def _scale(intervals: Sequence[tuple[float, float, float]], axis: Axis, start: float, end: float) -> svg.Scale:
    low, high = svg.padded([v for triple in intervals for v in triple if v == v], 0.1)
    return svg.Scale(low, high, start, end) if axis.higher_is_better else svg.Scale(high, low, start, end)


def _axes(x_scale: svg.Scale, y_scale: svg.Scale, x_axis: Axis, y_axis: Axis) -> list[Markup]:
    parts = []
    bottom = HEIGHT - BOTTOM
    for value in (ticks := x_scale.ticks(6)):
        x = x_scale(value)
        parts.append(svg.line(x, TOP, x, bottom, "grid"))
        parts.append(svg.text(x, bottom + 18, svg.tick_text(value, ticks), "tick", "middle"))
    for value in (ticks := y_scale.ticks(6)):
        y = y_scale(value)
        parts.append(svg.line(LEFT, y, WIDTH - RIGHT, y, "grid"))
        parts.append(svg.text(LEFT - 8, y + 4, svg.tick_text(value, ticks), "tick", "end"))
    parts.append(svg.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, f"{x_axis.title}  (better →)", "axis", "middle"))
    middle = (TOP + bottom) / 2
    title = svg.element(
        "text",
        f"{y_axis.title}  (better →)",
        class_="axis",
        text_anchor="middle",
        transform=f"translate(14 {middle:.0f}) rotate(-90)",
    )
    return [*parts, title]


def _cross(point: Point, x_scale: svg.Scale, y_scale: svg.Scale) -> list[Markup]:
    x, y = x_scale(point.x[0]), y_scale(point.y[0])
    lines = []
    if point.x[1] == point.x[1]:
        lines.append(svg.line(x_scale(point.x[1]), y, x_scale(point.x[2]), y, "whisker"))
    if point.y[1] == point.y[1]:
        lines.append(svg.line(x, y_scale(point.y[1]), x, y_scale(point.y[2]), "whisker"))
    return lines


def _labels(points: Sequence[Point], ahead: Sequence[Point], x_scale: svg.Scale, y_scale: svg.Scale) -> list[Markup]:
    """Names beside the marks, each where it overlaps least with what is there already."""
    places = [(x_scale(p.x[0]), y_scale(p.y[0])) for p in points]
    taken: list[Box] = [(x - 8, y - 8, x + 8, y + 8) for x, y in places]
    for p, (x, y) in zip(points, places, strict=True):
        if p.x[1] == p.x[1]:
            left, right = sorted((x_scale(p.x[1]), x_scale(p.x[2])))
            taken.append((left, y - 2, right, y + 2))
        if p.y[1] == p.y[1]:
            top, bottom = sorted((y_scale(p.y[1]), y_scale(p.y[2])))
            taken.append((x - 2, top, x + 2, bottom))
    taken += _along([(x_scale(p.x[0]), y_scale(p.y[0])) for p in ahead])
    parts = []
    order = sorted(range(len(points)), key=lambda i: (not points[i].chosen, points[i].role == "merged", i))
    for i in order:
        label, (x, y) = svg.shortened(points[i].label, 170), places[i]
        width = svg.width_of(label)
        box = min(_candidates(x, y, width), key=lambda b: _crowding(b, taken))
        taken.append(box)
        if max(abs(box[0] - x), abs(box[2] - x)) > width + 22 or abs((box[1] + box[3]) / 2 - y) > 22:
            near = min(max(x, box[0]), box[2]), box[1] if box[1] > y else box[3]
            parts.append(svg.line(x, y, *near, "leader"))
        parts.append(svg.text(box[0], box[3] - 3.5, label, f"name {'chosen' if points[i].chosen else ''}".strip()))
    return parts


def _along(corners: Sequence[tuple[float, float]]) -> list[Box]:
    """Small boxes along a line, so that labels keep off it where they can."""
    boxes = []
    for (x1, y1), (x2, y2) in pairwise(corners):
        for share in (i / 40 for i in range(41)):
            x, y = x1 + share * (x2 - x1), y1 + share * (y2 - y1)
            boxes.append((x - 1.5, y - 1.5, x + 1.5, y + 1.5))
    return boxes


def _candidates(x: float, y: float, width: float) -> list[Box]:
    boxes = [(x + 11, y - 8), (x - 11 - width, y - 8), (x - width / 2, y - 27), (x - width / 2, y + 11)]
    for reach, (right, down) in product((18, 34, 52, 72), ((1, -1), (1, 1), (-1, -1), (-1, 1))):
        boxes.append((x + 8 if right > 0 else x - 8 - width, y + down * reach - 8))
    return [(left, top, left + width, top + 16) for left, top in boxes]


def _crowding(box: Box, taken: Sequence[Box]) -> float:
    left, top, right, bottom = box
    outside = max(0, LEFT - left) + max(0, right - WIDTH + 2) + max(0, TOP - top) + max(0, bottom - HEIGHT + BOTTOM)
    overlap = sum(
        max(0.0, min(right, b[2]) - max(left, b[0])) * max(0.0, min(bottom, b[3]) - max(top, b[1])) for b in taken
    )
    return overlap + 100 * outside
