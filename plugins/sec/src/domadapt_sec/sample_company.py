"""Sample companies: who they are, where, since when, what they sell, and their accounts.

Names are coined from word stems and are not meant to be those of real companies; every person, place of
business and number is invented. A fixed fifth of all names is reserved for the benchmark, so a benchmark
item can never be about a company that the sample source emits, whatever its seed.
"""

from __future__ import annotations

import random
import tomllib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from domadapt_sec.sample_accounts import Accounts, simulate
from domadapt_sec.sample_industries import Industry, industries

NUM_YEARS = 5
FIRST_FILING, LAST_FILING = 1993, 2024

LARGEST = {"bank": 8.2, "reit": 8.9, "oil_gas": 9.2}  # powers of ten of dollars of revenue
YOUNG = ("semiconductors", "software", "biotech", "reit")
YEAR_ENDS: tuple[tuple[int, int], ...] = ((12, 31), (12, 31), (12, 31), (12, 31), (6, 30), (9, 30), (3, 31))


@dataclass(frozen=True)
class Names:
    """What names, people and places are drawn from, see `sample_names.toml`."""

    stems: Sequence[str]
    tails: Sequence[str]
    first_names: Sequence[str]
    last_names: Sequence[str]
    streets: Sequence[str]
    auditors: Sequence[str]
    lenders: Sequence[str]
    cities: Sequence[tuple[str, str, str, str, str]]


@cache
def names() -> Names:
    """The lists of names."""
    return Names(**tomllib.loads(Path(__file__).with_name("sample_names.toml").read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Company:
    """A company. short: what identifies its name.  filing_year: fiscal year of its first 10-K here.

    city: (city, state, postal code of the state).  year_end: (month, day).
    words: its own part of the industry's vocabulary; plants: (kind, place, thousand square feet, owned).
    """

    industry: Industry
    name: str
    short: str
    cik: int
    founded: int
    city: tuple[str, str, str]
    street: str
    zip: str
    phone: str
    incorporated: tuple[str, str]
    employer_number: str
    file_number: str
    year_end: tuple[int, int]
    filing_year: int
    officers: tuple[str, ...]
    auditor: str
    lender: str
    exchange: str
    ticker: str
    shares: int
    segments: tuple[str, ...]
    words: dict[str, tuple[str, ...]]
    plants: tuple[tuple[str, str, int, bool], ...]
    accounts: Accounts


def reserved(name: str) -> bool:
    """Whether a name is kept for the benchmark and never emitted by the sample source."""
    return zlib.crc32(name.encode()) % 5 == 0


def companies(seed: int, count: int, for_benchmark: bool = False) -> Iterator[Company]:
    """`count` companies, one industry after the other; names, CIKs and accession numbers are unique."""
    rng = random.Random(f"sec.sample/{seed}/{'benchmark' if for_benchmark else 'companies'}")
    taken: set[str] = set()
    ciks: set[int] = set()
    for number in range(count):
        industry = industries()[number % len(industries())]
        while True:
            short, name = _name(industry, rng)
            cik = rng.randrange(700_000, 1_999_000)
            if short not in taken and cik not in ciks and reserved(short) == for_benchmark:
                break
        taken.add(short)
        ciks.add(cik)
        yield _company(industry, name, short, cik, rng)


def _name(industry: Industry, rng: random.Random) -> tuple[str, str]:
    """The stem that identifies a company, and its full name."""
    short = rng.choice(names().stems)
    if rng.random() < 0.6:
        tail = rng.choice(names().tails)
        short = short if short.lower().endswith(tail) else short + tail
    elif rng.random() < 0.5:
        short = f"{short} {rng.choice(('River', 'Lake', 'Valley', 'Harbor', 'Creek', 'Mountain', 'Coast', 'County'))}"
    trade = rng.choice(industry.names)
    legal = rng.choice((", Inc.", " Corporation", " Corp.", " Company", ", Inc.", " Holdings, Inc."))
    if industry.key in ("reit", "bank"):
        legal = rng.choice((", Inc.", " Corporation", ""))
    return short, f"{short} {trade}{legal}"


def _company(industry: Industry, name: str, short: str, cik: int, rng: random.Random) -> Company:
    city, state, code, zip_prefix, area = rng.choice(names().cities)
    filing_year = rng.randint(FIRST_FILING, LAST_FILING - 1)
    size = (
        10 ** rng.uniform(6.6, 7.5)
        if industry.key == "biotech"
        else 10 ** rng.uniform(7.3, LARGEST.get(industry.key, 9.7))
    )
    places = [c[0] + ", " + c[1] for c in rng.sample(names().cities, 5)]
    words = {
        symbol: tuple(rng.sample(phrases, max(2, (2 * len(phrases) + 2) // 3)))
        for symbol, phrases in industry.words.items()
    }
    people = tuple(
        f"{first} {rng.choice('ABCDEGHJLMPRSTW')}. {last}"
        for first, last in zip(rng.sample(names().first_names, 6), rng.sample(names().last_names, 6), strict=True)
    )
    segments = tuple(
        rng.sample(industry.words["segments"], min(len(industry.words["segments"]), rng.choice((1, 2, 2, 3))))
    )
    return Company(
        industry=industry,
        name=name,
        short=short,
        cik=cik,
        founded=rng.randint(filing_year - 22 if industry.key in YOUNG else 1898, filing_year - 8),
        city=(city, state, code),
        street=f"{rng.randint(1, 98) * 25} {rng.choice(names().streets)}",
        zip=f"{zip_prefix}{rng.randint(0, 99):02d}",
        phone=f"({area}) 555-{rng.randint(100, 9999):04d}",
        incorporated=rng.choice((("Delaware", "DE"), ("Delaware", "DE"), (state, code))),
        employer_number=f"{rng.randint(10, 94)}-{rng.randint(1_000_000, 9_999_999)}",
        file_number=rng.choice((f"001-{rng.randint(10_000, 39_999)}", f"0-{rng.randint(10_000, 39_999)}")),
        year_end=(12, 31) if industry.key in ("bank", "utility", "reit") else rng.choice(YEAR_ENDS),
        filing_year=filing_year,
        officers=people,
        auditor=rng.choice(names().auditors),
        lender=rng.choice(names().lenders),
        exchange=rng.choice(("New York Stock Exchange", "Nasdaq National Market", "American Stock Exchange"))
        if filing_year < 2006
        else rng.choice(("New York Stock Exchange", "Nasdaq Global Select Market", "Nasdaq Capital Market")),
        ticker="".join(c for c in name.upper() if c.isalpha())[: rng.choice((3, 4))],
        shares=max(2_000_000, round(size / rng.uniform(8, 40))),
        segments=segments,
        words=words,
        plants=_plants(words["sites"], places, rng),
        accounts=simulate(industry, filing_year - 3, NUM_YEARS, size, rng),
    )


def _plants(kinds: Sequence[str], places: Sequence[str], rng: random.Random) -> tuple[tuple[str, str, int, bool], ...]:
    return tuple(
        (kind, place, rng.randint(6, 480), rng.random() < 0.6)
        for kind, place in zip((*kinds, *kinds), places[: rng.randint(3, 5)], strict=False)
    )
