"""The data funnel: what each cleaning step kept and dropped; where the text came from; how long each stage took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from domadapt.report.charts import svg
from domadapt.report.numbers import count, duration

WIDTH = 440
STEP, BAR, NAME_WIDTH, COUNT_WIDTH = 40, 15, 100, 58


@dataclass(frozen=True)
class Step:
    """One step of the funnel, in documents."""

    name: str
    entered: int
    kept: int
    dropped: str


def funnel(name: str, title: str, steps: Sequence[Step]) -> Markup:
    """One bar a step: solid is kept, hatched is dropped, with the reasons below."""
    widest = max((step.entered for step in steps), default=0) or 1
    scale = svg.Scale(0, widest, NAME_WIDTH, WIDTH - COUNT_WIDTH)
    parts: list[Markup] = []
    for i, step in enumerate(steps):
        y = i * STEP + 4
        kept, entered = scale(step.kept), scale(step.entered)
        parts += [
            svg.text(0, y + 12, svg.shortened(step.name, NAME_WIDTH - 6), "name"),
            svg.element("rect", x=NAME_WIDTH, y=y, width=max(0.0, kept - NAME_WIDTH), height=BAR, class_="kept"),
            svg.text(WIDTH, y + 12, count(step.kept), "value", "end"),
        ]
        if entered > kept:
            parts.append(svg.element("rect", x=kept, y=y, width=max(1.5, entered - kept), height=BAR, class_="dropped"))
        if step.dropped:
            why = svg.shortened(step.dropped, WIDTH - NAME_WIDTH, 11)
            parts.append(svg.text(NAME_WIDTH, y + BAR + 13, why, "reason"))
    told = "; ".join(f"{s.name}: {s.kept} of {s.entered} kept" for s in steps)
    return svg.picture(WIDTH, max(1, len(steps)) * STEP + 6, title, told, parts, name)


@dataclass(frozen=True)
class Part:
    """A part of a whole: its name, its share from 0 to 1, the share as text, and its class in the style sheet."""

    name: str
    share: float
    text: str
    class_: str


PART_ROW, PART_NAME, PARTS_WIDTH = 24, 300, 1040


def parts_of_whole(name: str, title: str, parts: Sequence[Part]) -> Markup:
    """A bar for each part, largest first as given, on one scale from 0 to the largest."""
    scale = svg.Scale(0, max((p.share for p in parts), default=0) or 1.0, PART_NAME, PARTS_WIDTH - 70)
    drawn: list[Markup] = []
    for i, part in enumerate(parts):
        y = i * PART_ROW
        end = scale(part.share)
        drawn += [
            svg.text(0, y + 15, svg.shortened(part.name, PART_NAME - 10), "name"),
            svg.element(
                "rect", x=PART_NAME, y=y + 4, width=max(1.0, end - PART_NAME), height=13, class_=f"part {part.class_}"
            ),
            svg.text(end + 6, y + 15, part.text, "value"),
        ]
    told = "; ".join(f"{p.name} {p.text}" for p in parts)
    return svg.picture(PARTS_WIDTH, max(1, len(parts)) * PART_ROW, title, told, drawn, name)


@dataclass(frozen=True)
class Span:
    """One stage: how much work lay before it and how long it took, in seconds."""

    name: str
    start: float
    seconds: float


TIMELINE_WIDTH, ROW, STAGE_WIDTH = 1040, 22, 240


def timeline(name: str, spans: Sequence[Span]) -> Markup:
    """The stages one after the other, each as long as it took; pauses between them are left out."""
    longest = max((span.start + span.seconds for span in spans), default=0) or 1.0
    unit, seconds = next((u for u in (("h", 3600), ("min", 60)) if longest > 3 * u[1]), ("s", 1))
    scale = svg.Scale(0, longest / seconds, STAGE_WIDTH, TIMELINE_WIDTH - 90)
    height = ROW * len(spans) + 28
    parts: list[Markup] = []
    for value in (ticks := scale.ticks(8)):
        x = scale(value)
        parts.append(svg.line(x, 0, x, height - 24, "grid"))
        parts.append(svg.text(x, height - 8, f"{svg.tick_text(value, ticks)} {unit}", "tick", "middle"))
    for i, span in enumerate(spans):
        y = i * ROW
        x, end = scale(span.start / seconds), scale((span.start + span.seconds) / seconds)
        width = max(1.5, end - x)
        parts.append(svg.text(0, y + 15, svg.shortened(span.name, STAGE_WIDTH - 8), "name"))
        parts.append(svg.element("rect", x=x, y=y + 5, width=width, height=12, class_="span"))
        parts.append(svg.text(x + width + 6, y + 15, duration(span.seconds), "value"))
    told = "; ".join(f"{s.name} {duration(s.seconds)}" for s in spans)
    return svg.picture(TIMELINE_WIDTH, height, "Work time of the stages", told, parts, name)
