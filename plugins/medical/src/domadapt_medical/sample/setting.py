"""Where and about what a study is: specialty, condition, places, years, and the words that go with them."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from domadapt.testing.prose import Fact
from domadapt_medical.sample import names

_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


@cache
def specialties() -> Mapping[str, Mapping[str, Any]]:
    """The vocabulary of each specialty, see specialties.toml."""
    return tomllib.loads((Path(__file__).parent / "specialties.toml").read_text("utf-8"))


def count(n: int) -> str:
    """A number as a sentence has it: words up to twelve."""
    return _WORDS[n] if n < len(_WORDS) else f"{n:,}".replace(",", " ") if n >= 10_000 else str(n)


@dataclass(frozen=True)
class Setting:
    """What every design needs to know. `vocabulary` is one table of specialties.toml."""

    specialty: str
    vocabulary: Mapping[str, Any]
    condition: str
    short: str
    regions: tuple[str, str]
    hospital: str
    num_centres: int
    start: int
    months: int
    trial: str
    registry: str
    ethics: str

    @property
    def people(self) -> str:
        """ "adults", "infants", ..."""
        return str(self.vocabulary["people"])

    def facts(self) -> dict[str, Fact]:
        """What the grammar may ask for in any article."""
        v = self.vocabulary
        condition = _memory(self.condition, self.short)
        return {
            "condition": self.condition,
            "it": condition,
            "short": self.short,
            "people": self.people,
            "region": self.regions[0],
            "region2": self.regions[1],
            "hospital": self.hospital,
            "centres": count(self.num_centres),
            "sites": lambda rng: rng.choice(v["sites"]),
            "process": lambda rng: rng.choice(v["processes"]),
            "two_processes": lambda rng: " and ".join(rng.sample(v["processes"], 2)),
            "pathway": lambda rng: rng.choice(v["pathways"]),
            "care": lambda rng: rng.choice(v["care"]),
            "comorbidity": lambda rng: rng.choice(v["comorbidities"]),
            "event": lambda rng: rng.choice(v["events"]),
            "scan": lambda rng: rng.choice(v["scans"]),
            "risk": lambda rng: rng.choice(v["exposures"]),
            "reference": v["reference"],
            "start": _month(self.start, self.ethics),
            "end": _month(self.start + self.months, self.ethics),
            "months": str(self.months),
            "trial": self.trial,
            "registry": self.registry,
            "ethics": self.ethics,
            "share": lambda rng: f"{rng.randint(4, 41)}%",
            "decade": lambda rng: rng.choice(["decade", "two decades", "fifteen years", "20 years"]),
            "cite": lambda rng: _citation(rng),
        }


def draw_setting(rng: random.Random, specialty: str) -> Setting:
    """A setting of its own within a specialty."""
    vocabulary = specialties()[specialty]
    condition, short = rng.choice(vocabulary["conditions"])
    year = rng.randint(2009, 2021)
    return Setting(
        specialty=specialty,
        vocabulary=vocabulary,
        condition=condition,
        short=short,
        regions=(names.place(rng), names.place(rng)),
        hospital=names.place(rng)
        + rng.choice([" University Hospital", " General Hospital", " Medical Centre", " Infirmary"]),
        num_centres=rng.randint(2, 31),
        start=12 * year + rng.randrange(12),
        months=rng.randint(11, 46),
        trial=names.trial(rng),
        registry=f"{rng.choice(['FTR', 'XSR', 'IMR'])}{year}{rng.randint(10_000, 99_999)}",
        ethics=f"{rng.randint(2, 98):02d}/{rng.randint(100, 999)}",
    )


def _memory(long: str, short: str) -> Fact:
    """The full name now and then, the abbreviation else."""
    return lambda rng: short if rng.random() < 0.6 else long


def _month(months: int, salt: str) -> str:
    name = _MONTHS[months % 12]
    # date styles differ between journals, not within one article
    return (
        f"{1 + len(salt) * months % 28} {name} {months // 12}" if int(salt[:2]) % 3 == 0 else f"{name} {months // 12}"
    )


NUM_REFERENCES = 24


def _citation(rng: random.Random) -> str:
    first = rng.randint(1, NUM_REFERENCES - 3)
    choice = rng.random()
    if choice < 0.35:
        return ""
    if choice < 0.75:
        return f"[@{first}]"
    return f"[@{first},@{first + 1}]" if choice < 0.9 else f"[@{first}-@{first + 3}]"


def listing(items: Sequence[str]) -> str:
    """ "a", "a and b", "a, b, and c"."""
    if len(items) < 3:
        return " and ".join(items)
    return ", ".join(items[:-1]) + f", and {items[-1]}"
