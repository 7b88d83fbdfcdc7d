"""Domain against general ability, one mark per model: the picture of what adaptation costs and merging returns.

Better is always up and to the right, whatever the metric's own direction; crosses are 95 % intervals. Up to a dozen
models all have their names; of more, the names of those that matter, and a number into the table for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from markupsafe import Markup

from domadapt.report.charts import svg

LEFT, RIGHT, TOP, BOTTOM = 58, 14, 16, 56
SMALL, LARGE = (440, 390), (1040, 560)
"""Width and height with room for a dozen models, and for more."""
ALL_NAMED = 12
NAMED_ON_FRONT = 4


@dataclass(frozen=True)
class Axis:
    """A measure as an axis; values are drawn times `scale`."""

    title: str
    higher_is_better: bool
    scale: float = 1.0


@dataclass(frozen=True)
class Point:
    """A model: (value, low, high) on both axes, already in the axes' scale. NaN bounds draw no cross.

    number: its line in the table below, for when there is no room for its name.  group: which run it belongs
    to, a class of the style sheet; every group has its own front.  told: what its tooltip adds to its name.
    link: where a click leads.
    """

    label: str
    role: str
    x: tuple[float, float, float]
    y: tuple[float, float, float]
    chosen: bool = False
    number: int = 0
    group: str = ""
    told: str = ""
    link: str = ""


Box = tuple[float, float, float, float]


def scatter(name: str, x_axis: Axis, y_axis: Axis, points: Sequence[Point]) -> Markup:
    """The chart with the front of models that no other model beats on both axes."""
    width, height = SMALL if len(points) <= ALL_NAMED else LARGE
    x_scale = _scale([p.x for p in points], x_axis, LEFT, width - RIGHT)
    y_scale = _scale([p.y for p in points], y_axis, height - BOTTOM, TOP)
    fronts = {
        group: front([p for p in points if p.group == group], x_axis, y_axis)
        for group in dict.fromkeys(p.group for p in points)
    }
    named = _named(points, [p for ahead in fronts.values() for p in ahead])
    parts = [*_axes(x_scale, y_scale, x_axis, y_axis)]
    for group, ahead in fronts.items():
        if len(ahead) > 1:
            corners = [(x_scale(p.x[0]), y_scale(p.y[0])) for p in ahead]
            parts.append(svg.path(corners, f"front {group}".strip()))
    for p in points:
        quiet = "" if p in named else " quiet"
        parts.append(
            svg.element("g", *_cross(p, x_scale, y_scale), class_=f"cross role-{p.role} {p.group}".rstrip() + quiet)
        )
    # marks of the models that matter are drawn last, on top
    parts += [_mark(p, x_scale, y_scale, small=p not in named) for p in sorted(points, key=lambda p: p in named)]
    lines = [corner for ahead in fronts.values() for corner in _along(_places(ahead, x_scale, y_scale))]
    parts += _labels(points, named, lines, x_scale, y_scale)
    told = "; ".join(
        f"on the front{f' of {group}' if group else ''}, beaten by no other model on both axes: "
        + ", ".join(p.label for p in ahead)
        for group, ahead in fronts.items()
    )
    return svg.picture(width, height, f"{y_axis.title} against {x_axis.title}", f"{told}.", parts, name)


def front(points: Sequence[Point], x_axis: Axis, y_axis: Axis) -> list[Point]:
    """The points that no other point beats on both axes (by the point estimates), from left to right."""

    def goodness(p: Point) -> tuple[float, float]:
        return p.x[0] * (1 if x_axis.higher_is_better else -1), p.y[0] * (1 if y_axis.higher_is_better else -1)

    def beaten(p: Point) -> bool:
        own = goodness(p)
        return any(q != own and q[0] >= own[0] and q[1] >= own[1] for q in map(goodness, points))

    return sorted((p for p in points if not beaten(p)), key=goodness)


def _named(points: Sequence[Point], ahead: Sequence[Point]) -> list[Point]:
    """The points that are called by their names."""
    if len(points) <= ALL_NAMED:
        return list(points)
    on_front = [p for p in ahead if p.role == "merged"]
    # spread over the front: its ends and what lies evenly between
    step = max(1, -(-len(on_front) // NAMED_ON_FRONT))
    return [p for p in points if p.role != "merged" or p.chosen or p in on_front[::step]]


def _scale(intervals: Sequence[tuple[float, float, float]], axis: Axis, start: float, end: float) -> svg.Scale:
    low, high = svg.padded([v for triple in intervals for v in triple if v == v], 0.1)
    return svg.Scale(low, high, start, end) if axis.higher_is_better else svg.Scale(high, low, start, end)


def _axes(x_scale: svg.Scale, y_scale: svg.Scale, x_axis: Axis, y_axis: Axis) -> list[Markup]:
    parts = []
    right, bottom = x_scale.pixel_end, y_scale.pixel_start
    for value in (ticks := x_scale.ticks(round(right / 85))):
        x = x_scale(value)
        parts.append(svg.line(x, TOP, x, bottom, "grid"))
        parts.append(svg.text(x, bottom + 18, svg.tick_text(value, ticks), "tick", "middle"))
    for value in (ticks := y_scale.ticks(6)):
        y = y_scale(value)
        parts.append(svg.line(LEFT, y, right, y, "grid"))
        parts.append(svg.text(LEFT - 8, y + 4, svg.tick_text(value, ticks), "tick", "end"))
    across = svg.shortened(x_axis.title, right - LEFT - 70)
    parts.append(svg.text((LEFT + right) / 2, bottom + 44, f"{across}  (better →)", "axis", "middle"))
    middle = (TOP + bottom) / 2
    title = svg.element(
        "text",
        f"{svg.shortened(y_axis.title, bottom - TOP - 70)}  (better →)",
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


def _mark(p: Point, x_scale: svg.Scale, y_scale: svg.Scale, *, small: bool) -> Markup:
    """The mark with its tooltip, and a link to its settings where there is one."""
    x, y = x_scale(p.x[0]), y_scale(p.y[0])
    parts = [svg.element("title", f"{p.label}{f': {p.told}' if p.told else ''}")]
    if p.chosen:
        parts.append(svg.element("circle", cx=x, cy=y, r=12, class_=f"halo {p.group}".rstrip()))
    parts.append(svg.marker(p.role, x, y, f"{'chosen' if p.chosen else ''} {p.group}".strip(), 4.6 if small else 6))
    if p.link:
        return svg.element("a", *parts, href=p.link)
    return svg.element("g", *parts)


def _places(points: Sequence[Point], x_scale: svg.Scale, y_scale: svg.Scale) -> list[tuple[float, float]]:
    return [(x_scale(p.x[0]), y_scale(p.y[0])) for p in points]


def _labels(
    points: Sequence[Point], named: Sequence[Point], lines: Sequence[Box], x_scale: svg.Scale, y_scale: svg.Scale
) -> list[Markup]:
    """Names or numbers beside the marks, each where it overlaps least with what is there already."""
    places = _places(points, x_scale, y_scale)
    frame = (LEFT, TOP, x_scale.pixel_end + RIGHT - 2, y_scale.pixel_start)
    taken: list[Box] = [(x - 8, y - 8, x + 8, y + 8) for x, y in places]
    for p, (x, y) in zip(points, places, strict=True):
        if p not in named:
            continue  # the faint crosses of the rest may lie behind a name
        if p.x[1] == p.x[1]:
            left, right = sorted((x_scale(p.x[1]), x_scale(p.x[2])))
            taken.append((left, y - 2, right, y + 2))
        if p.y[1] == p.y[1]:
            top, bottom = sorted((y_scale(p.y[1]), y_scale(p.y[2])))
            taken.append((x - 2, top, x + 2, bottom))
    taken += lines
    parts = []
    order = sorted(
        range(len(points)), key=lambda i: (points[i] not in named, not points[i].chosen, points[i].role == "merged", i)
    )
    for i in order:
        p, (x, y) = points[i], places[i]
        short = p not in named
        size = 10.5 if short else 12
        label = str(p.number) if short else svg.shortened(p.label, 150)
        if short and not p.number:
            continue
        width = svg.width_of(label, size)
        box = min(_candidates(x, y, width, size), key=lambda b: _crowding(b, taken, frame))
        # numbers beside each other must not read as one
        taken.append((box[0] - 3, box[1], box[2] + 3, box[3]))
        far = 14 if short else 22
        if max(abs(box[0] - x), abs(box[2] - x)) > width + far or abs((box[1] + box[3]) / 2 - y) > far:
            near = min(max(x, box[0]), box[2]), box[1] if box[1] > y else box[3]
            parts.append(svg.line(x, y, *near, "leader"))
        kind = "number" if short else " ".join(filter(None, ("name", "chosen" if p.chosen else "", p.group)))
        parts.append(svg.text(box[0], box[3] - 0.29 * size, label, kind))
    return parts


def _along(corners: Sequence[tuple[float, float]]) -> list[Box]:
    """Small boxes along a line, so that labels keep off it where they can."""
    boxes = []
    for (x1, y1), (x2, y2) in pairwise(corners):
        for share in (i / 40 for i in range(41)):
            x, y = x1 + share * (x2 - x1), y1 + share * (y2 - y1)
            boxes.append((x - 1.5, y - 1.5, x + 1.5, y + 1.5))
    return boxes


def _candidates(x: float, y: float, width: float, size: float) -> list[Box]:
    """Boxes of text around a mark, the nearest first."""
    tall = size + 4
    near = 11 if size > 11 else 7
    boxes = [
        (x + near, y - tall / 2),
        (x - near - width, y - tall / 2),
        (x - width / 2, y - near - tall),
        (x - width / 2, y + near),
    ]
    reaches = (18, 34, 52, 72) if size > 11 else (10, 18, 28, 40)
    for reach, (right, down) in product(reaches, ((1, -1), (1, 1), (-1, -1), (-1, 1))):
        boxes.append((x + 8 if right > 0 else x - 8 - width, y + down * reach - tall / 2))
    return [(left, top, left + width, top + tall) for left, top in boxes]


def _crowding(box: Box, taken: Sequence[Box], frame: Box) -> float:
    """How much of a box lies on others, and, much worse, outside the frame."""
    left, top, right, bottom = box
    outside = max(0, frame[0] - left) + max(0, right - frame[2]) + max(0, frame[1] - top) + max(0, bottom - frame[3])
    overlap = 0.0
    for other_left, other_top, other_right, other_bottom in taken:
        if other_left < right and left < other_right and other_top < bottom and top < other_bottom:
            across = min(right, other_right) - max(left, other_left)
            overlap += across * (min(bottom, other_bottom) - max(top, other_top))
    return overlap + 100 * outside
