"""SVG elements, scales and ticks: the few primitives that all charts share.

Colours are classes, never attributes, so that one style sheet serves light, dark and print. Text is measured
by an average glyph width, which is a few percent off: enough to keep labels apart without a font at hand.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

GLYPH = 0.55
"""Average width of a character as a share of the font size, for a sans-serif face."""


def element(name: str, *children: Markup | str, **attributes: float | str | None) -> Markup:
    """One SVG element; text children and attribute values are escaped.

    Attribute names are written with underscores (`stroke_width`), `class_` is class; None leaves one out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-") if key != "viewBox" else key}="{escape(_attribute(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(children)
    # name and attribute names come from this package alone; every value was escaped above
    return Markup(f"<{name}{written}>{inner}</{name}>")  # noqa: S704


def _attribute(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def picture(width: float, height: float, title: str, description: str, children: Iterable[Markup], name: str) -> Markup:
    """The whole chart with its text alternative. `name` makes the ids of a page unique."""
    return element(
        "svg",
        element("title", title, id=f"{name}-title"),
        element("desc", description, id=f"{name}-desc"),
        *children,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
        class_="chart",
        style=f"--chart-width:{width:g}px",
    )


def text(x: float, y: float, content: str, class_: str = "label", anchor: str | None = None) -> Markup:
    """A line of text; anchor "middle" or "end" where it is not the start."""
    return element("text", content, x=x, y=y, class_=class_, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def path(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """An open line through the points."""
    return element("path", d="M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=class_)


def width_of(content: str, size: float = 12) -> float:
    """About how wide a line of text is."""
    return GLYPH * size * len(content)


def shortened(content: str, width: float, size: float = 12) -> str:
    """The text, cut with an ellipsis where it would be wider than `width`."""
    longest = max(4, int(width / (GLYPH * size)))
    return content if len(content) <= longest else content[: longest - 1].rstrip() + "…"


_QUARTER = ((-0.35, -1.05), (0.35, -1.05), (0.35, -0.35))
_CROSS = [
    corner
    for turn in ((1, 0), (0, 1), (-1, 0), (0, -1))
    for corner in ((x * turn[0] - y * turn[1], x * turn[1] + y * turn[0]) for x, y in _QUARTER)
]


def marker(role: str, x: float, y: float, class_: str = "", size: float = 6) -> Markup:
    """The mark of a model: every role has its own shape, so that colour is never needed to tell them apart."""
    classes = f"mark role-{role} {class_}".strip()
    if role == "base":
        return element("circle", cx=x, cy=y, r=size - 0.5, class_=classes)
    corners = {
        "instruct": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
        "cpt": [(0, -1.1), (1.05, 0.8), (-1.05, 0.8)],
        "control": _CROSS,
    }.get(role, [(0, -1.15), (1.15, 0), (0, 1.15), (-1.15, 0)])
    points = " ".join(f"{x + a * size:.1f},{y + b * size:.1f}" for a, b in corners)
    return element("polygon", points=points, class_=classes)


@dataclass(frozen=True)
class Scale:
    """A linear map from data to pixels; `start` is drawn at `pixel_start` (a reversed axis has start > end)."""

    start: float
    end: float
    pixel_start: float
    pixel_end: float

    def __call__(self, value: float) -> float:
        share = (value - self.start) / (self.end - self.start)
        return self.pixel_start + share * (self.pixel_end - self.pixel_start)

    def ticks(self, count: int = 5) -> list[float]:
        """Round numbers inside the scale."""
        return round_ticks(min(self.start, self.end), max(self.start, self.end), count)


def padded(values: Sequence[float], share: float = 0.08) -> tuple[float, float]:
    """The range of the values with some air around it, never empty."""
    low, high = min(values), max(values)
    air = (high - low) * share or abs(high) * share or 1.0
    return low - air, high + air


def round_ticks(low: float, high: float, count: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten in [low, high], about `count` of them."""
    rough = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def tick_text(value: float, ticks: Sequence[float]) -> str:
    """A tick's label with as many decimals as the distance of the ticks needs."""
    step = min((b - a for a, b in pairwise(ticks)), default=abs(value) or 1.0)
    if step < 1e-3:
        return f"{value:.1e}".replace("-", "−")
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{decimals}f}".replace(",", " ").replace("-", "−")
