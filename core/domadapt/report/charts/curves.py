"""Loss over the steps of training: training loss, both held-out losses, and the learning rate below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from domadapt.report.charts import svg

WIDTH, HEIGHT = 1040, 380
LEFT, RIGHT, TOP = 56, 130, 14
LOSS_BOTTOM, RATE_TOP, RATE_BOTTOM = 268, 296, 340

Line = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """One curve: its name, its class in the style sheet, and whether its points are marked."""

    label: str
    class_: str
    points: Line
    marked: bool = False


def curves(name: str, losses: Sequence[Series], rate: Line) -> Markup:
    """Losses on one axis (nats per token), the learning rate on a thin one below."""
    steps = [x for series in losses for x, _ in series.points]
    values = [y for series in losses for _, y in series.points]
    x_scale = svg.Scale(min(steps), max(max(steps), min(steps) + 1), LEFT, WIDTH - RIGHT)
    low, high = svg.padded(values, 0.05)
    y_scale = svg.Scale(low, high, LOSS_BOTTOM, TOP)
    parts = _axes(x_scale, y_scale)
    for series in losses:
        dots = [(x_scale(x), y_scale(y)) for x, y in series.points]
        parts.append(svg.path(dots, f"curve {series.class_}"))
        if series.marked and len(dots) <= 60:
            parts += [_dot(x, y, series.class_) for x, y in dots]
    parts += _end_labels([s for s in losses if s.points], y_scale)
    parts += _rate(rate, x_scale)
    told = "; ".join(f"{s.label} from {s.points[0][1]:.3f} to {s.points[-1][1]:.3f}" for s in losses if s.points)
    return svg.picture(WIDTH, HEIGHT, "Loss over training steps, in nats per token", told, parts, name)


def _axes(x_scale: svg.Scale, y_scale: svg.Scale) -> list[Markup]:
    parts = []
    for value in (ticks := y_scale.ticks(5)):
        y = y_scale(value)
        parts.append(svg.line(LEFT, y, WIDTH - RIGHT, y, "grid"))
        parts.append(svg.text(LEFT - 8, y + 4, svg.tick_text(value, ticks), "tick", "end"))
    for value in (ticks := x_scale.ticks(8)):
        x = x_scale(value)
        parts.append(svg.line(x, TOP, x, RATE_BOTTOM, "grid"))
        parts.append(svg.text(x, RATE_BOTTOM + 18, svg.tick_text(value, ticks), "tick", "middle"))
    parts.append(svg.text(WIDTH - RIGHT, RATE_BOTTOM + 36, "step", "axis", "end"))
    middle = (TOP + LOSS_BOTTOM) / 2
    parts.append(
        svg.element(
            "text",
            "loss, nats per token  (← better)",
            class_="axis",
            text_anchor="middle",
            transform=f"translate(14 {middle:.0f}) rotate(-90)",
        )
    )
    return parts


def _dot(x: float, y: float, class_: str) -> Markup:
    if class_ == "side-general":
        return svg.element("rect", x=x - 3, y=y - 3, width=6, height=6, class_=f"dot {class_}")
    return svg.element("circle", cx=x, cy=y, r=3.2, class_=f"dot {class_}")


def _end_labels(losses: Sequence[Series], y_scale: svg.Scale) -> list[Markup]:
    """Each curve's name at its right end, pushed apart where ends lie close together."""
    parts = []
    free_from = float(TOP)
    for series in sorted(losses, key=lambda s: -s.points[-1][1]):
        y = max(y_scale(series.points[-1][1]), free_from)
        parts.append(svg.text(WIDTH - RIGHT + 10, y + 4, series.label, f"name {series.class_}"))
        free_from = y + 16
    return parts


def _rate(rate: Line, x_scale: svg.Scale) -> list[Markup]:
    if not rate:
        return []
    highest = max(y for _, y in rate) or 1.0
    scale = svg.Scale(0, highest, RATE_BOTTOM, RATE_TOP)
    return [
        svg.line(LEFT, RATE_BOTTOM, WIDTH - RIGHT, RATE_BOTTOM, "grid"),
        svg.text(LEFT - 8, RATE_TOP + 6, f"{highest:.0e}".replace("e-0", "e-"), "tick", "end"),
        svg.path([(x_scale(x), scale(y)) for x, y in rate], "curve rate"),
        svg.text(WIDTH - RIGHT + 10, RATE_BOTTOM - 4, "learning rate", "name rate"),
    ]
