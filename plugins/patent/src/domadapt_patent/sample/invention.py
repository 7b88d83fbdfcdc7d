"""Simulate an invention: its tree of parts with reference signs, ranges, tests, figures, people.

Everything a patent says about it (description, claims, abstract, tables) is derived from one `Invention`,
so that numbers and signs agree with each other wherever they are repeated.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from domadapt_patent.sample.fields import Field, Idea, Measure, PartKind, Quantity, fields

_SUPPORTS = ("housing", "carrier", "base body", "support frame", "main body", "enclosure")


@dataclass(frozen=True)
class Part:
    """A part of an invention. `parent`: the part it is held by, by way of `joint`; the support has none."""

    name: str
    sign: int
    functions: tuple[str, ...]
    materials: tuple[str, ...]
    pieces: tuple[tuple[str, int], ...]
    parent: Part | None
    joint: str

    @property
    def depth(self) -> int:
        """Steps to the support."""
        return 0 if self.parent is None else 1 + self.parent.depth


@dataclass(frozen=True)
class Range:
    """A quantity of a part with a broad range, a preferred one within it, and the best value."""

    quantity: Quantity
    part: Part
    low: float
    high: float
    preferred_low: float
    preferred_high: float
    best: float
    digits: int


@dataclass(frozen=True)
class Test:
    """Results of a measure over settings of a range, and the result of a known device."""

    measure: Measure
    over: Range
    settings: tuple[float, ...]
    results: tuple[float, ...]
    known: float
    digits: int

    @property
    def best(self) -> int:
        """Position of the best setting."""
        choose = max if self.measure.higher_is_better else min
        return self.results.index(choose(self.results))


@dataclass(frozen=True)
class Invention:
    """All facts about one invention. `parts`: the support first, every part after the one that holds it."""

    field: Field
    device: str
    quality: str
    sign: int
    parts: tuple[Part, ...]
    variant: Part
    idea: Idea
    second_idea: Idea | None
    ranges: tuple[Range, ...]
    test: Test
    inventors: tuple[tuple[str, str], ...]
    assignee: str

    def part(self, name: str) -> Part:
        """The part of that name."""
        return next(part for part in self.parts if part.name == name)

    @property
    def core(self) -> tuple[Part, ...]:
        """The parts without the support."""
        return self.parts[1:]


def invent(rng: random.Random) -> Invention:
    """A new invention of a random field."""
    field = rng.choice(fields())
    ideas = rng.sample(field.ideas, 2)
    idea, second = ideas[0], ideas[1] if rng.random() < 0.5 else None
    quantities = rng.sample(field.parameters, rng.choice([2, 2, 3]))
    wanted = dict.fromkeys([idea.part, *([second.part] if second else []), *(q.part for q in quantities)])
    others = [kind for kind in field.parts if kind.name not in wanted]
    extra = rng.sample(others, max(0, rng.randint(4, 6) - len(wanted)) + 1)
    kinds = [kind for kind in field.parts if kind.name in wanted or kind in extra[1:]]
    rng.shuffle(kinds)
    sign, signs = _signs(rng)
    parts = _tree(rng, field, kinds, signs)
    by_name = {part.name: part for part in parts}
    holder = rng.choice(parts)
    ranges = tuple(_range(rng, quantity, by_name[quantity.part]) for quantity in quantities)
    return Invention(
        field=field,
        device=rng.choice(field.devices),
        quality=rng.choice(field.qualities),
        sign=sign,
        parts=tuple(parts),
        variant=_part(rng, extra[0], signs, holder, rng.choice(field.joints)),
        idea=idea,
        second_idea=second,
        ranges=ranges,
        test=_test(rng, rng.choice(field.measures), rng.choice(ranges)),
        inventors=tuple(_person(rng) for _ in range(rng.randint(1, 3))),
        assignee=_company(rng) if rng.random() < 0.8 else "",
    )


class _Signs:
    """Hands out reference signs, parts in large steps and their pieces in small ones."""

    def __init__(self, first: int, step: int, piece: int) -> None:
        self._next, self._step, self._piece = first, step, piece

    def part(self, pieces: int) -> tuple[int, list[int]]:
        """A sign for a part and one for each of its pieces."""
        sign = self._next
        self._next += max(self._step, self._piece * (pieces + 1))
        return sign, [sign + self._piece * (position + 1) for position in range(pieces)]


def _signs(rng: random.Random) -> tuple[int, _Signs]:
    first, step, piece = rng.choice([(100, 10, 2), (10, 2, 2), (1, 1, 1), (200, 20, 1), (1000, 100, 10), (20, 6, 1)])
    return first, _Signs(first + step, step, piece)


def _tree(rng: random.Random, field: Field, kinds: Sequence[PartKind], signs: _Signs) -> list[Part]:
    support = Part(rng.choice(_SUPPORTS), signs.part(0)[0], (), ("aluminium", "glass-filled polyamide"), (), None, "")
    parts = [support]
    for kind in kinds:
        # Few long chains: half of the parts are held by the support.
        parent = support if rng.random() < 0.5 else rng.choice(parts)
        parts.append(_part(rng, kind, signs, parent, rng.choice(field.joints)))
    return parts


def _part(rng: random.Random, kind: PartKind, signs: _Signs, parent: Part, joint: str) -> Part:
    pieces = rng.sample(kind.pieces, rng.randint(1, len(kind.pieces)))
    sign, small = signs.part(len(pieces))
    functions = tuple(rng.sample(kind.functions, len(kind.functions)))
    materials = tuple(rng.sample(kind.materials, len(kind.materials)))
    return Part(kind.name, sign, functions, materials, tuple(zip(pieces, small, strict=True)), parent, joint)


def _range(rng: random.Random, quantity: Quantity, part: Part) -> Range:
    span = quantity.high - quantity.low
    digits = max(0, 2 - math.floor(math.log10(span)))
    cuts = sorted(rng.uniform(0.05, 0.95) for _ in range(2))
    while cuts[1] - cuts[0] < 0.25:
        cuts = sorted(rng.uniform(0.05, 0.95) for _ in range(2))
    margin = rng.uniform(0.5, 1.0)
    low, high = quantity.low + span * cuts[0] * margin * 0.4, quantity.high - span * (1 - cuts[1]) * margin * 0.4
    inner = [quantity.low + span * cut for cut in cuts]
    best = inner[0] + (inner[1] - inner[0]) * rng.uniform(0.3, 0.7)
    low, high, inner_low, inner_high, best = (round(value, digits) for value in (low, high, *inner, best))
    return Range(quantity, part, low, high, inner_low, inner_high, best, digits)


def _test(rng: random.Random, measure: Measure, over: Range) -> Test:
    span = measure.high - measure.low
    digits = max(0, 2 - math.floor(math.log10(max(abs(measure.high), span))))
    known = rng.uniform(measure.low, measure.high)
    gain = span * rng.uniform(0.5, 1.1)
    sign = 1 if measure.higher_is_better else -1
    if known > 0 > sign:
        gain = min(gain, 0.6 * known)
    ceiling = 99.4 if measure.unit == "%" and measure.higher_is_better else math.inf
    count = rng.randint(4, 6)
    settings = [over.low + (over.high - over.low) * position / (count - 1) for position in range(count)]
    width = (over.high - over.low) * rng.uniform(0.3, 0.6)
    results = []
    for setting in settings:
        share = math.exp(-(((setting - over.best) / width) ** 2)) + rng.gauss(0, 0.02)
        results.append(round(min(ceiling, known + sign * gain * (0.15 + 0.85 * share)), digits))
    return Test(
        measure, over, tuple(round(s, over.digits) for s in settings), tuple(results), round(known, digits), digits
    )


_ONSETS = [
    "Bra",
    "Cor",
    "Dal",
    "Eld",
    "Far",
    "Gren",
    "Hal",
    "Ivo",
    "Jor",
    "Kel",
    "Lor",
    "Mer",
    "Nor",
    "Ost",
    "Pel",
    "Quin",
    "Ras",
    "Sel",
    "Tor",
    "Ulm",
    "Var",
    "Wend",
    "Yar",
    "Zel",
]
_MIDDLES = ("", "", "a", "ber", "de", "gar", "ho", "il", "lan", "mi", "no", "ri", "san", "ta", "ven")
_CODAS = [
    "beck",
    "dahl",
    "fen",
    "gard",
    "holt",
    "kamp",
    "lund",
    "mere",
    "nis",
    "quist",
    "rath",
    "son",
    "tal",
    "vik",
    "wyn",
    "zer",
]
_GIVEN = [
    "Adela",
    "Bertil",
    "Cosmo",
    "Delia",
    "Egon",
    "Fenna",
    "Gisela",
    "Hugo",
    "Ines",
    "Jaro",
    "Kaya",
    "Lino",
    "Mirka",
    "Nils",
    "Odile",
    "Piet",
    "Runa",
    "Silvan",
    "Tamsin",
    "Ugo",
    "Vera",
    "Wim",
    "Xenia",
    "Yorick",
    "Zora",
]
_TRADES = ("Works", "Research", "Systems", "Engineering", "Laboratories", "Technologies")
_LEGAL = ("Inc.", "GmbH", "Ltd.", "Corp.", "S.A.", "B.V.", "AB", "LLC")


def _name(rng: random.Random) -> str:
    return rng.choice(_ONSETS) + rng.choice(_MIDDLES) + rng.choice(_CODAS)


def _person(rng: random.Random) -> tuple[str, str]:
    return _name(rng), f"{rng.choice(_GIVEN)} {rng.choice('ABCDEFGHJKLMNPRSTVW')}."


def _company(rng: random.Random) -> str:
    return f"{_name(rng)} {rng.choice(_TRADES)} {rng.choice(_LEGAL)}"
