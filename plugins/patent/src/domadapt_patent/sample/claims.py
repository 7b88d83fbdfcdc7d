"""Claim trees: independent claims and what depends on them, each part introduced before it is referred to.

An application claims broadly; its grant has the same tree with a range taken up into the first claim.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from domadapt_patent.sample.english import a, gerund, is_plural, listed, plural
from domadapt_patent.sample.facts import made, number
from domadapt_patent.sample.invention import Invention, Part, Range

Limit = tuple[str, list[Part]]
"""A limitation and the parts it brings in."""


@dataclass
class DraftedClaim:
    """A claim: its text up to the colon or the full stop, then elements on lines of their own.

    refers: number of the claim it depends on.  introduced: parts that the claim itself brings in.
    """

    number: int
    text: str
    elements: list[str] = field(default_factory=list)
    refers: int | None = None
    introduced: list[Part] = field(default_factory=list)


def draft_claims(invention: Invention, rng: random.Random, *, granted: bool) -> list[DraftedClaim]:
    """The claims of an invention. granted: the first claim is limited by a range.

    The same generator state gives nearly the same claims: the grant does not repeat that limitation.
    """
    return _Drafter(invention, rng).draft(granted)


class _Drafter:
    def __init__(self, invention: Invention, rng: random.Random) -> None:
        self.invention, self.rng = invention, rng
        self.claims: list[DraftedClaim] = []
        self.said: set[str] = set()
        self.signs = rng.random() < 0.25
        self.verb = rng.choice(["configured to", "adapted to", "arranged to", "designed to", "operable to"])
        self.according = rng.choice(
            ["of claim {}", "according to claim {}", "as claimed in claim {}", "as in claim {}"]
        )
        self.opening = rng.choice(["comprising", "comprising", "including", "which comprises"])

    def draft(self, granted: bool) -> list[DraftedClaim]:
        """Device claims, then method claims, then now and then a claim to several devices."""
        first = self._device(granted)
        self._dependents(first, self.rng.randint(3, 6), self._device_limits)
        method = self._method()
        self._dependents(method, self.rng.randint(1, 3), self._method_limits)
        if self.rng.random() < 0.3:
            devices = f"{plural(self.invention.device)} {self.according.format(first.number)}"
            self._add(f"An installation comprising at least two {devices}", refers=first)
        return self.claims

    def _add(self, text: str, refers: DraftedClaim | None = None) -> DraftedClaim:
        claim = DraftedClaim(len(self.claims) + 1, text, refers=refers.number if refers else None)
        self.claims.append(claim)
        return claim

    def _name(self, part: Part) -> str:
        return f"{part.name} (#{part.sign})" if self.signs else part.name

    def _the(self, part: Part) -> str:
        return f"the {self._name(part)}"

    def _new(self, part: Part) -> str:
        return f"{a(part.name)} (#{part.sign})" if self.signs else a(part.name)

    def _device(self, granted: bool) -> DraftedClaim:
        invention = self.invention
        wanted = [invention.part(invention.idea.part), *self.rng.sample(invention.core, 2)]
        limit = self.rng.choice(invention.ranges)
        self.said = {self._range(limit, limit.low, limit.high)} if granted else set()
        chosen = [part for part in invention.parts if any(part in _holders(other) for other in (*wanted, limit.part))]
        claim = self._add(f"{a(invention.device).capitalize()}, {self.opening}")
        for part in chosen:
            held = f" {part.joint} {self._the(part.parent)}" if part.parent else ""
            duty = f"{' and' if held else ''} {self.verb} {part.functions[0]}" if part.functions else ""
            claim.elements.append(f"{self._new(part)}{held}{duty}")
        claim.introduced = chosen
        claim.elements.append(f"wherein {self._the(wanted[0])} {_has(wanted[0])} {invention.idea.feature}")
        if granted:
            claim.elements.append(self._range(limit, limit.low, limit.high))
        return claim

    def _method(self) -> DraftedClaim:
        invention = self.invention
        parts = [invention.part(invention.idea.part)]
        parts += [part for part in self.rng.sample(invention.core, 3) if part not in parts][:2]
        device = invention.device
        listing = listed([self._new(part) for part in parts])
        claim = self._add(f"A method of operating {a(device)} that has {listing}, the method comprising")
        claim.elements = [f"{gerund(part.functions[0])} by means of {self._the(part)}" for part in parts]
        claim.elements.append(f"wherein {self._the(parts[0])} {_has(parts[0])} {invention.idea.feature}")
        claim.introduced = parts
        return claim

    def _dependents(self, root: DraftedClaim, count: int, limits: Callable[[list[Part]], list[Limit]]) -> None:
        subject = "method" if root.text.startswith("A method") else self.invention.device
        family = [root]
        for _ in range(count):
            parent = root if self.rng.random() < 0.6 else self.rng.choice(family)
            known = [part for claim in self._chain(parent) for part in claim.introduced]
            choices = [(text, new) for text, new in limits(known) if text not in self.said]
            if not choices:
                return
            text, new = self.rng.choice(choices)
            self.said.add(text)
            claim = self._add(f"The {subject} {self.according.format(parent.number)}, {text}", refers=parent)
            claim.introduced = new
            family.append(claim)

    def _chain(self, claim: DraftedClaim) -> list[DraftedClaim]:
        above = [] if claim.refers is None else self._chain(self.claims[claim.refers - 1])
        return [*above, claim]

    def _device_limits(self, known: list[Part]) -> list[Limit]:
        """Every limitation that needs no part but those already introduced, with the parts it adds."""
        limits: list[Limit] = []
        for part in (*self.invention.core, self.invention.variant):
            if part not in known and part.parent in known:
                held = f"{self._new(part)} {part.joint} {self._the(part.parent)}"
                duty = f"{self._the(part)} being {self.verb} {part.functions[0]}"
                limits += [(f"further comprising {held}, {duty}", [part])] * 2
        for part in known:
            if part.functions:
                limits.append((f"wherein {self._the(part)} {_is(part)} {made(part, part.materials[0])}", []))
                limits.append((f"wherein {self._the(part)} {_is(part)} further {self.verb} {part.functions[-1]}", []))
                limits.append((f"wherein {self._the(part)} {_has(part)} {self._pieces(part)}", []))
        second = self.invention.second_idea
        for part in known:
            if second and part.name == second.part:
                limits += [(f"wherein {self._the(part)} {_has(part)} {second.feature}", [])] * 3
        return limits + self._range_limits(known)

    def _method_limits(self, known: list[Part]) -> list[Limit]:
        steps = [f"further comprising {gerund(p.functions[-1])} by means of {self._the(p)}" for p in known]
        return [(step, []) for step in steps] + self._range_limits(known)

    def _range_limits(self, known: list[Part]) -> list[Limit]:
        limits: list[Limit] = []
        for over in self.invention.ranges:
            if over.part in known:
                limits.append((self._range(over, over.low, over.high), []))
                limits.append((self._range(over, over.preferred_low, over.preferred_high), []))
        return limits

    def _range(self, over: Range, low: float, high: float) -> str:
        unit = over.quantity.unit
        bounds = f"{number(low, over.digits, '-')} to {number(high, over.digits, unit)}"
        return f"wherein {a(over.quantity.name)} of {self._the(over.part)} is from {bounds}"

    def _pieces(self, part: Part) -> str:
        return listed([f"{a(name)} (#{sign})" if self.signs else a(name) for name, sign in part.pieces])


def _holders(part: Part) -> list[Part]:
    return [part, *(_holders(part.parent) if part.parent else [])]


def _has(part: Part) -> str:
    return "have" if is_plural(part.name) else "has"


def _is(part: Part) -> str:
    return "are" if is_plural(part.name) else "is"
