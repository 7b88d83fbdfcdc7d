"""The law of the island of Hollin, read from statute_book.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Section:
    """A rule with one limit in days; the fields are explained at the top of statute_book.toml."""

    act: str
    number: int
    subject: str
    kind: Literal["within", "at least"]
    days: int
    text: str
    facts: str
    appellant_acts: bool = False

    @property
    def name(self) -> str:
        """As it is cited."""
        return f"section {self.number} of the {self.act}"

    @property
    def rule(self) -> str:
        """Its words."""
        return self.text.format(days=self.days)

    def kept(self, days: int) -> bool:
        """Whether so many days keep the limit."""
        return days <= self.days if self.kind == "within" else days >= self.days


def sections() -> list[Section]:
    """All sections in the order of the book."""
    book = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return [Section(act, int(number), **rule) for act, rules in book.items() for number, rule in rules.items()]
