"""Composes a manuscript's paragraphs: the parts every article has, and the ways to state a comparison."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from domadapt.testing.prose import Fact
from domadapt_medical.sample.estimates import Contrast, Estimate, p_text, percent
from domadapt_medical.sample.manuscript import Paragraph, Section, Table
from domadapt_medical.sample.setting import Setting
from domadapt_medical.sample.words import grammar


def contrast_facts(contrast: Contrast, outcome: str, in1: Sequence[str], in0: Sequence[str]) -> dict[str, Fact]:
    """What `{contrast}` needs. in1, in0: ways to name the two groups, as "with zovecamten"."""
    ratio, difference, p = contrast.risk_ratio(), contrast.risk_difference(), contrast.p_value()
    odds, points = contrast.odds_ratio(), plain(difference, 1, 100)
    bracketed = [
        f"risk ratio {plain(ratio)}; {p_text(p)}",
        f"RR {plain(ratio)}, {p_text(p)}",
        f"difference {points} percentage points; {p_text(p)}",
        f"odds ratio {plain(odds)}; {p_text(p)}",
    ]
    spoken = [
        f"a risk ratio of {ratio.text()}, {p_text(p)}",
        f"a risk ratio of {ratio.text()}",
        f"corresponding to an odds ratio of {odds.text()} ({p_text(p)})",
        f"which gives a risk ratio of {ratio.text()}",
    ]
    clear = p < 0.05
    lower = difference.value < 0
    tails = {
        (True, True): ["a difference unlikely to be due to chance", "a clear reduction", "in favour of the former"],
        (True, False): [
            "a clear excess",
            "to the disadvantage of the former",
            "an increase unlikely to be due to chance",
        ],
        (False, True): [
            "a difference compatible with chance",
            "a trend that did not reach significance",
            "no convincing difference",
        ],
        (False, False): [
            "with no sign of benefit",
            "a difference compatible with chance",
            "an interval that includes no effect",
        ],
    }[clear, lower]
    verdicts = {
        (True, True): ["the risk was lower", "there was a reduction in risk", "the groups differed clearly"],
        (True, False): ["the risk was higher", "there was an excess of events", "the groups differed clearly"],
        (False, True): [
            "the groups did not differ significantly",
            "the evidence was inconclusive",
            "no clear difference was found",
        ],
        (False, False): [
            "the groups did not differ significantly",
            "no benefit was seen",
            "no clear difference was found",
        ],
    }[clear, lower]
    return {
        "outcome": outcome,
        "k1": str(contrast.events),
        "n1": str(contrast.total),
        "p1": percent(contrast.events, contrast.total),
        "k0": str(contrast.control_events),
        "n0": str(contrast.control_total),
        "p0": percent(contrast.control_events, contrast.control_total),
        "in1": one_of(in1),
        "in0": one_of(in0),
        "est": one_of(bracketed),
        "est_words": one_of(spoken),
        "verdict": one_of(verdicts),
        "verdict_tail": one_of(tails),
    }


def plain(estimate: Estimate, digits: int = 2, scale: float = 1.0) -> str:
    """ "0.71, 95% CI 0.55 to 0.92": for use inside brackets."""
    value, low, high = (f"{scale * x:.{digits}f}" for x in (estimate.value, estimate.low, estimate.high))
    return f"{value}, 95% CI {low} to {high}".replace("-", "−")


def one_of(choices: Sequence[str]) -> Fact:
    """A fact with several wordings."""
    return lambda rng: rng.choice(choices)


class Author:
    """Writes one manuscript of a design, see words/."""

    def __init__(self, rng: random.Random, setting: Setting, design: str, facts: Mapping[str, Fact]) -> None:
        self.rng, self.setting = rng, setting
        self._writer = grammar(design).writer(rng, {**setting.facts(), **facts})

    def paragraph(self, kind: str, symbols: Sequence[str], **facts: Fact) -> Paragraph:
        """One sentence a symbol."""
        self._writer.know(**facts)
        return Paragraph(kind, tuple(self._writer.sentence(symbol) for symbol in symbols))

    def know(self, facts: Mapping[str, Fact]) -> None:
        """Turn to other facts, for instance back to the main result."""
        self._writer.know(**facts)

    def sentence(self, symbol: str, facts: Mapping[str, Fact]) -> str:
        """A single sentence with facts of its own."""
        self._writer.know(**facts)
        return self._writer.sentence(symbol)

    def title(self) -> str:
        """A title: a sentence without its full stop."""
        return self._writer.sentence("title").removesuffix(".")

    def some(self, symbols: Sequence[str], low: int, high: int) -> list[str]:
        """Between low and high of the symbols, in their order."""
        chosen = sorted(self.rng.sample(range(len(symbols)), min(len(symbols), self.rng.randint(low, high))))
        return [symbols[i] for i in chosen]

    def introduction(self) -> Section:
        """From the disease over its biology to the question."""
        paragraphs = [
            self.paragraph("burden", self.some(["burden", "burden", "treatment_now", "burden"], 2, 3)),
            self.paragraph("biology", self.some(["biology", "biology", "treatment_now", "biology"], 2, 3)),
        ]
        if self.rng.random() < 0.3:
            paragraphs.reverse()
        paragraphs.append(self.paragraph("question", [*self.some(["gap", "rationale", "gap"], 1, 2), "aim"]))
        return Section(self.rng.choice(["Introduction", "Background", "Introduction"]), tuple(paragraphs))

    def ethics_and_analysis(self, *design: str) -> list[Paragraph]:
        """The end of the methods. design: symbols of the design's own statistical methods."""
        return [
            self.paragraph("analysis", [*design, *self.some(["missing_data", "software", "alpha"], 2, 3)]),
            self.paragraph("ethics", ["ethics_statement"]),
        ]

    def discussion(self, principal: Sequence[str]) -> Section:
        """What was found, how it compares, why it may be so, what limits it, what follows."""
        rng = self.rng
        paragraphs = [
            self.paragraph("principal", principal),
            self.paragraph("comparison", ["comparison"] * rng.randint(2, 4)),
            self.paragraph("mechanism", self.some(["mechanism", "mechanism", "biology"], 2, 3)),
            self.paragraph("limits", ["strength", *["limitation"] * rng.randint(2, 4)]),
            self.paragraph("closing", [*["implication"] * rng.randint(1, 2), "closing"]),
        ]
        if rng.random() < 0.25:
            paragraphs[1], paragraphs[2] = paragraphs[2], paragraphs[1]
        return Section("Discussion", tuple(paragraphs))

    def methods(self, parts: Sequence[tuple[str, Paragraph | Table]]) -> Section:
        """Methods with or without subheadings."""
        if self.rng.random() < 0.6:
            return Section("Methods", tuple(Section(title, (block,)) for title, block in parts))
        return Section(self.rng.choice(["Methods", "Materials and methods"]), tuple(block for _, block in parts))
