"""Compose a patent's description and abstract from an invention."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from domadapt.testing.prose import Writer
from domadapt_patent.sample import facts
from domadapt_patent.sample.english import a, gerund, is_plural, listed
from domadapt_patent.sample.grammar import patent_grammar
from domadapt_patent.sample.invention import Invention, Part


@dataclass(frozen=True)
class Heading:
    """A heading of the description."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; reference signs are written `#12`.

    about: the name of the part it describes, if it is about one.
    figures: it belongs to the description of the drawings.
    """

    text: str
    about: str = ""
    figures: bool = False


@dataclass(frozen=True)
class Table:
    """A table with a title, a header row and rows."""

    title: str
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Ratio:
    """A displayed formula: symbol = numerator / denominator."""

    symbol: str
    numerator: str
    denominator: str


Block = Heading | Paragraph | Table | Ratio

_VIEWS = ("a perspective view", "a schematic view", "a side view", "a block view", "a longitudinal section")
_DETAILS = ("a section through", "an enlarged view of", "a detail of", "an exploded view of", "a partial view of")
_DETAILED = ("DETAILED DESCRIPTION", "DESCRIPTION OF EMBODIMENTS", "DETAILED DESCRIPTION OF THE PREFERRED EMBODIMENTS")


@dataclass(frozen=True)
class Specification:
    """What application and grant share: abstract and description."""

    abstract: str
    description: tuple[Block, ...]
    num_figures: int


def specify(invention: Invention, rng: random.Random) -> Specification:
    """Write the abstract and the description of an invention."""
    author = _Author(invention, rng)
    return Specification(author.abstract(), tuple(author.description()), len(author.figures))


class _Author:
    """Writes one patent. The writer remembers what has been said, so sections are written in order."""

    def __init__(self, invention: Invention, rng: random.Random) -> None:
        self.invention, self.rng = invention, rng
        self.writer: Writer = patent_grammar().writer(rng, facts.general(invention, rng))
        self.idea_part = invention.part(invention.idea.part)
        shown = rng.sample(invention.core, min(3, len(invention.core)))
        self.details = [self.idea_part, *(part for part in shown if part != self.idea_part)][:2]
        self.method = rng.random() < 0.5
        self.figures = self._figures()
        self.writer.know(FIG1="FIG. 1")

    def _figures(self) -> list[str]:
        view = self.rng.choice(_VIEWS)
        device = a(self.invention.device)
        figures = [f"is {view} of {device} according to a first embodiment"]
        for part in self.details:
            figures.append(f"shows {self.rng.choice(_DETAILS)} the {part.name} #{part.sign}")
        over = self.invention.test.over
        figures.append(f"is a graph of the {self.invention.test.measure.name} over the {over.quantity.name}")
        if self.method:
            figures.append(f"is a flow chart of a method of operating the {self.invention.device} of FIG. 1")
        figures.append(f"shows a second embodiment with {facts.introduced(self.invention.variant)}")
        return figures

    def _focus(self, part: Part, figure: int = 1) -> None:
        others = [other for other in self.invention.core if other not in (part, part.parent)]
        self.writer.know(FIG=f"FIG. {figure}", **facts.focus(part, others, self.invention, self.rng))

    def _say(self, *symbols: str, about: str = "") -> Paragraph:
        return Paragraph(self.writer.paragraph(symbols), about)

    def _maybe(self, probability: float, symbol: str) -> list[str]:
        return [symbol] if self.rng.random() < probability else []

    def abstract(self) -> str:
        """Two or three sentences without reference signs."""
        self._focus(self.idea_part)
        self._know_lists(self.rng.sample(self.invention.core, min(4, len(self.invention.core))))
        return self.writer.paragraph(["abstract", "benefit"])

    def description(self) -> Iterator[Block]:
        """The sections in their usual order."""
        yield Heading(self.rng.choice(["TECHNICAL FIELD", "FIELD", "FIELD OF THE INVENTION"]))
        yield self._say("field")
        yield from self._background()
        yield from self._summary()
        yield Heading("BRIEF DESCRIPTION OF THE DRAWINGS")
        for position, figure in enumerate(self.figures, 1):
            end = "." if position == len(self.figures) else "; and" if position == len(self.figures) - 1 else ";"
            yield Paragraph(f"FIG. {position} {figure}{end}", figures=True)
        yield Heading(self.rng.choice(_DETAILED))
        yield from self._structure()
        if self.rng.random() < 0.5:
            yield from self._operation()
        yield from self._numbers()
        if self.method:
            yield from self._method()
        yield from self._variant()

    def _background(self) -> Iterator[Block]:
        yield Heading(self.rng.choice(["BACKGROUND", "BACKGROUND OF THE INVENTION", "DESCRIPTION OF THE RELATED ART"]))
        self._focus(self.idea_part)
        self.writer.know(**facts.ranged(self.rng.choice(self.invention.ranges)))
        yield self._say("setting", "known_way", *self._maybe(0.5, "trouble"))
        yield self._say("trouble", *self._maybe(0.5, "remedy_fails"), "need")

    def _know_lists(self, parts: Sequence[Part]) -> None:
        rest = [part for part in parts if part != self.idea_part] or list(parts)
        listing = [self.idea_part, *(part for part in rest if part != self.idea_part)]
        self.writer.know(
            Parts_bare=listed([a(part.name) for part in listing]), Others_bare=listed([a(part.name) for part in rest])
        )

    def _summary(self) -> Iterator[Block]:
        yield Heading(self.rng.choice(["SUMMARY", "SUMMARY OF THE INVENTION", "BRIEF SUMMARY"]))
        self._know_lists(self.rng.sample(self.invention.core, min(4, len(self.invention.core))))
        yield self._say("aspect", "benefit")
        if self.rng.random() < 0.4:
            self._focus(self.rng.choice(self.invention.core))
            self.writer.know(**facts.ranged(self.rng.choice(self.invention.ranges)))
            yield self._say("further", "further")
        steps = self.rng.sample(self.invention.core, 2)
        self.writer.know(
            Steps=listed([f"the {part.name} {facts.does(part, part.functions[0])}" for part in steps]),
            Steps_ing=listed([f"{gerund(part.functions[0])} by means of {a(part.name)}" for part in steps]),
        )
        yield self._say("method_aspect")

    def _structure(self) -> Iterator[Block]:
        self._focus(self.idea_part)
        self.writer.know(Parts_new=listed([facts.introduced(part) for part in self.invention.parts]))
        yield self._say("overview")
        for part in self.invention.core:
            self._focus(part, self._figure_of(part))
            symbols = ["where", "what", *self._maybe(0.8, "pieces"), *self._maybe(0.5, "made")]
            symbols += self._maybe(0.3, "variation")
            if part == self.idea_part:
                symbols[2:2] = ["idea", "idea_why"]
            elif self.rng.random() < 0.3:
                symbols[:2] = ["what_first", "where"]
            yield self._say(*symbols, about=part.name)
        if (second := self.invention.second_idea) is not None:
            part = self.invention.part(second.part)
            self._focus(part, self._figure_of(part))
            self.writer.know(Feature=second.feature, Effect=second.effect)
            yield self._say("idea", "idea_why")
            self.writer.know(Feature=self.invention.idea.feature, Effect=self.invention.idea.effect)

    def _figure_of(self, part: Part) -> int:
        return self.details.index(part) + 2 if part in self.details else 1

    def _operation(self) -> Iterator[Block]:
        parts = self.rng.sample(self.invention.core, min(4, len(self.invention.core)))
        sentences = [self.writer.sentence("operation_start")]
        for part in parts:
            self._focus(part)
            sentences.append(self.writer.sentence("operation"))
        yield Paragraph(" ".join(sentences))

    def _numbers(self) -> Iterator[Block]:
        for over in self.invention.ranges:
            self._focus(over.part, self._figure_of(over.part))
            self.writer.know(**facts.ranged(over))
            yield self._say("range", "outside", about=over.part.name)
        test = self.invention.test
        first, second = self.invention.ranges[:2]
        if self.rng.random() < 0.15:
            names = f"the {first.quantity.name} to the {second.quantity.name}"
            yield Paragraph(f"It is useful to watch the ratio of {names}:")
            yield Ratio("r", "x", "y")
            low, high = first.low / second.high, first.high / second.low
            yield Paragraph(
                f"where x is the {first.quantity.name} of the {first.part.name} #{first.part.sign} and y the "
                f"{second.quantity.name} of the {second.part.name} #{second.part.sign}; in the units given above, "
                f"r lies between {low:.3g} and {high:.3g}."
            )
        self.writer.know(FIG=f"FIG. {len(self.details) + 2}", **facts.ranged(test.over), **facts.tested(test))
        yield self._say("test", "result")
        if self.rng.random() < 0.4:
            say = facts.number
            unit = facts.printed_unit(test.over.quantity.unit)
            rows = [
                (say(setting, test.over.digits, "-"), say(result, test.digits, test.measure.unit))
                for setting, result in zip(test.settings, test.results, strict=True)
            ]
            head = (f"{test.over.quantity.name} ({unit})" if unit else test.over.quantity.name, test.measure.name)
            yield Table("TABLE 1", (head, *rows, ("known device", say(test.known, test.digits, test.measure.unit))))

    def _method(self) -> Iterator[Block]:
        figure = len(self.details) + 3
        parts = self.rng.sample(self.invention.core, min(3, len(self.invention.core)))
        device = f"{self.invention.device} #{self.invention.sign}"
        sentences = [f"FIG. {figure} illustrates a method of operating the {device}."]
        for position, part in enumerate(parts, 1):
            self._focus(part, figure)
            self.writer.know(Step=f"S{position * 10}")
            sentences.append(self.writer.sentence("method_first" if position == 1 else "method"))
        yield Paragraph(" ".join(sentences))

    def _variant(self) -> Iterator[Block]:
        variant = self.invention.variant
        assert variant.parent is not None
        self._focus(self.idea_part, len(self.figures))
        self.writer.know(
            V=facts.signed(variant),
            V_new=facts.introduced(variant),
            V_it="they" if is_plural(variant.name) else "it",
            V_is="are" if is_plural(variant.name) else "is",
            V_do=variant.functions[0],
            V_does=facts.does(variant, variant.functions[0]),
            V_joint=variant.joint,
            V_holder=facts.signed(variant.parent),
        )
        yield self._say("second", "second_why")
        yield self._say("closing")
