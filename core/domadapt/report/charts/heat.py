"""Heat maps of a measure over two settings of a merge: weight across, density down, one map a method.

Darker is better, whatever the metric's own direction; every cell also carries its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from domadapt.report.charts import svg

CELL_WIDTH, CELL_HEIGHT = 58, 32
LEFT, TOP, BOTTOM, GAP = 66, 26, 42, 4


@dataclass(frozen=True)
class HeatCell:
    """One merge: its place, how good it is from 0 (worst drawn) to 1 (best), its number as text."""

    label: str
    weight: float | None
    density: float | None
    goodness: float
    text: str
    chosen: bool = False


def heat_map(name: str, title: str, cells: Sequence[HeatCell]) -> Markup:
    """One map. Settings that are not numbers stand in a row or column of their own, marked with a dash."""
    weights = _values(cell.weight for cell in cells)
    densities = _values(cell.density for cell in cells)
    width = LEFT + len(weights) * CELL_WIDTH
    height = TOP + len(densities) * CELL_HEIGHT + BOTTOM
    bottom = TOP + len(densities) * CELL_HEIGHT
    parts: list[Markup] = [svg.text(0, 14, svg.shortened(title, max(width, 240), 12.5), "heading")]
    for cell in cells:
        x, y = LEFT + weights.index(cell.weight) * CELL_WIDTH, TOP + densities.index(cell.density) * CELL_HEIGHT
        parts += _cell(cell, x, y)
    for i, weight in enumerate(weights):
        parts.append(svg.text(LEFT + (i + 0.5) * CELL_WIDTH, bottom + 14, _setting(weight), "tick", "middle"))
    for i, density in enumerate(densities):
        parts.append(svg.text(LEFT - 8, TOP + (i + 0.5) * CELL_HEIGHT + 4, _setting(density), "tick", "end"))
    parts.append(svg.text(LEFT + len(weights) * CELL_WIDTH / 2, bottom + 32, "weight of CPT", "axis", "middle"))
    if densities != [None]:
        parts.append(svg.text(0, TOP + len(densities) * CELL_HEIGHT / 2 + 4, "density", "axis"))
    told = "; ".join(f"{c.label} {c.text}" for c in cells)
    return svg.picture(max(width, 240), height, title, told, parts, name)


def _values(settings: object) -> list[float | None]:
    found: set[float | None] = set(settings)  # type: ignore[call-overload]
    return [*sorted(v for v in found if v is not None), *([None] if None in found else [])]


def _setting(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _cell(cell: HeatCell, x: float, y: float) -> list[Markup]:
    strength = 0.08 + 0.62 * cell.goodness
    box = {"x": x + GAP / 2, "y": y + GAP / 2, "width": CELL_WIDTH - GAP, "height": CELL_HEIGHT - GAP}
    parts = [
        svg.element(
            "rect", svg.element("title", f"{cell.label}: {cell.text}"), class_="heat", fill_opacity=strength, **box
        )
    ]
    if cell.chosen:
        parts.append(svg.element("rect", class_="heat-chosen", **box))
    parts.append(
        svg.text(
            x + CELL_WIDTH / 2,
            y + CELL_HEIGHT / 2 + 4,
            cell.text,
            "heat-text",
            "middle",
        )
    )
    return parts
