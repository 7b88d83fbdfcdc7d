"""Invented names: drugs, assays, trials, places, people, journals. That none exists was checked by eye only."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path


@cache
def _tables() -> Mapping[str, Sequence[str]]:
    table = tomllib.loads((Path(__file__).parent / "names.toml").read_text("utf-8"))
    return {name: parts.split() for name, parts in table.items()}


def _parts(name: str) -> Sequence[str]:
    return _tables()[name]


def drug(rng: random.Random, ending: str) -> str:
    """A drug name with the ending of its class."""
    return (rng.choice(_parts("drug")) + rng.choice(_parts("drug")) + ending).replace("ll", "l").replace("aa", "a")


def place(rng: random.Random) -> str:
    """A town or province."""
    name = rng.choice(_parts("place_head")) + rng.choice(_parts("place_tail"))
    return f"{rng.choice(_parts('lead'))} {name}" if rng.random() < 0.25 else name


def trial(rng: random.Random) -> str:
    """An acronym with a number, as in "OSPREY-2"."""
    return f"{rng.choice(_parts('trial'))}-{rng.randint(1, 9)}"


def assay(rng: random.Random) -> str:
    """A brand of test."""
    return rng.choice(_parts("assay_head")) + rng.choice(_parts("assay_tail"))


def person(rng: random.Random) -> tuple[str, str]:
    """Given name, surname."""
    return rng.choice(_parts("given")), rng.choice(_parts("surname_head")) + rng.choice(_parts("surname_tail"))


def journal(specialty: str) -> tuple[str, str]:
    """Title and ISSN of the invented journal of a specialty. The ISSN's check digit is valid."""
    rng = random.Random(f"journal/{specialty}")
    title = rng.choice(["Annals of Simulated {}", "Fictional Journal of {}", "Invented Archives of {}"])
    digits = [9, 9, *(rng.randrange(10) for _ in range(5))]
    check = -sum(d * w for d, w in zip(digits, range(8, 1, -1), strict=True)) % 11
    number = "".join(map(str, digits)) + ("X" if check == 10 else str(check))
    return title.format(specialty.replace("_", " ").title()), f"{number[:4]}-{number[4:]}"
