"""The language of the sample filings: a writer that knows one company and one period.

The rules are in `sample_prose.toml`; the words come from the company's industry, the numbers from its accounts
or, where a filing only mentions them, from ranges that fit the company's size.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from domadapt.testing.prose import Fact, Grammar, Writer
from domadapt_sec.sample_company import Company, names
from domadapt_sec.sample_industries import Industry, industries

SMALL = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "eleven", "twelve")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
ORDINALS = ("first", "second", "third", "fourth")
REGIONS = ("Midwest", "Southeast", "Northeast", "Southwest", "Pacific Northwest", "Mid-Atlantic states", "Gulf Coast")
CODE_OF_MARKET = {"New York Stock Exchange": "NYSE", "American Stock Exchange": "AMEX"}
TOLD_IN_ORDER = ("event_", "risk_")
NOT_TOPICS = ("risk_sentence",)
THIRD_PERSON = {"be": "is", "have": "has", "do": "does"}


@cache
def _rules() -> dict[str, list[str]]:
    tables = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return {
        symbol: ["" if line == "-" else line for line in block.strip("\n").split("\n")]
        for symbol, block in tables.items()
    }


@cache
def _verbs() -> frozenset[str]:
    texts = [line for lines in _rules().values() for line in lines]
    texts += [story for industry in industries() for story in industry.words["stories"]]
    return frozenset(verb for text in texts for verb in re.findall(r"\{v_([a-z]+)\}", text))


@cache
def _grammar(industry: Industry, stories: tuple[str, ...]) -> Grammar:
    """The rules for one industry: a line that starts with a mark in brackets is for some only.

    The lines of an event are told in their order, so each is a symbol of its own: event_credit_1, event_credit_2.
    """
    bank = industry.model == "bank"
    marks = {"[goods] ": industry.economics.inventory_days[1] > 20, "[firm] ": not bank, "[bank] ": bank}
    rules: dict[str, list[str]] = {"story": list(stories)}
    for symbol, lines in _rules().items():
        kept = [
            line for line in lines if not any(line.startswith(mark) and not wanted for mark, wanted in marks.items())
        ]
        rules[symbol] = [line.partition("] ")[2] if line.startswith(tuple(marks)) else line for line in kept]
        if symbol.startswith(TOLD_IN_ORDER):
            rules |= {f"{symbol}_{number}": [line] for number, line in enumerate(rules[symbol], 1)}
    return Grammar(rules)


def told(write: Writer, symbol: str) -> list[str]:
    """The sentences of an event or the heading and the sentences of a risk, in their order."""
    return [write.sentence(f"{symbol}_{number}") for number in range(1, len(_rules()[symbol]) + 1)]


def topics(prefix: str) -> list[str]:
    """Symbols that begin with a prefix, "risk_" for instance, and are told in order."""
    return [symbol for symbol in _rules() if symbol.startswith(prefix) and symbol not in NOT_TOPICS]


def conjugated(verb: str, plural: bool) -> str:
    """A verb's present tense: we make, the Company makes."""
    if plural:
        return "are" if verb == "be" else verb
    if verb in THIRD_PERSON:
        return THIRD_PERSON[verb]
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("s", "x", "sh", "ch")) else "s")


def date(year: int, month: int, day: int) -> str:
    """December 31, 2004."""
    return f"{MONTHS[month - 1]} {day}, {year}"


def capital(text: str) -> str:
    """The text with a capital letter at its start."""
    return text[0].upper() + text[1:]


def listed(items: Sequence[str]) -> str:
    """a, b and c."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def money(amount: int, unit: int) -> str:
    """An amount of a statement in the words of a text: $312.4 million."""
    dollars = abs(amount) * unit
    if dollars >= 10**6:
        return f"${dollars / 1e6:,.1f} million" if unit < 10**6 else f"${dollars // 10**6:,} million"
    return f"${dollars:,}"


def rounded_money(dollars: float) -> str:
    """An amount that is only mentioned, to two digits."""
    digits = float(f"{max(dollars, 1000):.2g}")
    return f"${digits / 1e6:,.1f} million" if digits >= 1e6 else f"${digits:,.0f}"


@dataclass
class _Bag:
    """Draws phrases, the first ones more often, never one of the last two."""

    phrases: Sequence[str]
    _last: tuple[str, ...] = ()

    def __call__(self, rng: random.Random) -> str:
        choices = [p for p in self.phrases if p not in self._last] or list(self.phrases)
        phrase = choices[int(len(choices) * rng.random() ** 1.3)]
        self._last = (*self._last, phrase)[-min(2, len(self.phrases) - 1) :]
        return phrase


def _plural(kind: str) -> str:
    if kind.startswith("land parcel"):
        return kind.replace("parcel", "parcels")
    if kind.endswith("laboratory") or kind.endswith("facility"):
        return kind[:-1] + "ies"
    return kind + ("es" if kind.endswith(("branch", "ch", "s")) else "s")


def _percent(low: float, high: float) -> Fact:
    return lambda rng: f"{rng.uniform(low, high):.{0 if high > 20 else 1}f}%"


def _number(low: int, high: int, step: int = 1) -> Fact:
    return lambda rng: f"{rng.randrange(low, high, step):,}"


def _dollars(low: float, high: float) -> Fact:
    return lambda rng: rounded_money(10 ** rng.uniform(low, high))


def writer(company: Company, year: int, rng: random.Random, quarter: int = 4) -> Writer:
    """A writer of one filing of a company about a fiscal year, or about the year up to a quarter's end."""
    we = year >= 1999 and rng.random() < 0.7
    our = "our" if we else "the Company's"
    facts: dict[str, Fact] = {
        "we": "we" if we else "the Company",
        "our": our,
        "us": "us" if we else "the Company",
        "we_cap": "We" if we else "The Company",
        "our_cap": capital(our),
        "management_cap": "Management",
        "we_defined": "we" if we else "the Company",
        **{f"v_{verb}": conjugated(verb, we) for verb in _verbs()},
        **_words(company, our),
        **_sizes(company),
        **_identity(company, year, quarter),
    }
    return _grammar(company.industry, company.words["stories"]).writer(rng, facts)


def _words(company: Company, our: str) -> dict[str, Fact]:
    words = {
        symbol: _Bag([re.sub(r"\bour\b", our, p) for p in phrases])
        for symbol, phrases in company.words.items()
        if symbol not in ("stories", "segments")
    }
    segment = _Bag(company.segments)
    threats = words["threats"]
    kinds = _Bag([_plural(kind) for kind in company.words["sites"]])
    places = _Bag([place.split(",")[0] for _, place, _, _ in company.plants])
    count = len(company.segments)
    return {
        **words,
        "segment": segment,
        "threats_cap": lambda rng: capital(threats(rng)),
        "sites_plural": kinds,
        "place": places,
        "driver_any": words["up"],
        "driver_good": words["up"],
        "segment_count": "one reportable segment" if count == 1 else f"{SMALL[count - 2]} reportable segments",
        "segment_list": listed(company.segments),
        "v_plural_are": "is" if count == 1 else "are",
        "revenue_line": company.industry.revenue.lower(),
        "cost_line": company.industry.cost.lower(),
    }


def _sizes(company: Company) -> dict[str, Fact]:
    """Numbers that a filing mentions in passing; money in proportion to the company."""
    revenue = company.accounts.flows(company.filing_year)["revenue"] * company.accounts.unit
    assert revenue > 0
    size = len(str(revenue)) - 1 + int(str(revenue)[0]) / 10
    return {
        "share": _percent(21, 78),
        "share_high": _percent(70, 97),
        "small_share": _percent(2.1, 19.5),
        "tiny_share": _percent(0.2, 4.4),
        "customer_share": _percent(10.2, 19.8),
        "capital_ratio": _percent(10.4, 15.2),
        "equity_share": _percent(42, 56),
        "roe": _percent(9.4, 12.1),
        "rate": _percent(3.6, 8.9),
        "loan_ratio": _percent(74, 98),
        "royalty": _percent(3.5, 5.5),
        "season_share": _percent(28, 36),
        "turnover": _percent(48, 110),
        "occupancy": _percent(87, 98),
        "some_money": _dollars(size - 2, size - 0.7),
        "minor_money": _dollars(size - 3.2, size - 1.8),
        "tiny_money": _dollars(size - 4, size - 2.9),
        "unit_money": _dollars(5.4, 6.5),
        "debt_money": _dollars(size - 1.2, size - 0.5),
        "facility_size": lambda rng: f"${max(1, round(revenue / 5e6 * rng.uniform(0.1, 0.4))) * 5:,} million",
        "rate_effect": _dollars(size - 3.4, size - 2.6),
        "planned_capital": _dollars(size - 1.8, size - 1.1),
        "salary": _number(210_000, 690_000, 5_000),
        "meal_price": lambda rng: f"${rng.uniform(9, 64):.2f}",
        "share_price": lambda rng: f"${rng.uniform(4, 78):.2f}",
        "oil_price": lambda rng: f"${rng.uniform(17, 96):.2f}",
        "gas_price": lambda rng: f"${rng.uniform(1.9, 8.8):.2f}",
        "age": lambda rng: f"{rng.uniform(1.6, 5.4):.1f}",
        "wells_net": lambda rng: f"{rng.uniform(4, 30):.1f}",
        "moved_generic": lambda rng: rng.choice(("increased", "decreased", "rose", "declined")),
        "phase": lambda rng: rng.choice(("I", "II", "III")),
        "one_number": lambda rng: rng.choice(("one", "two", "three")),
        "one_number_cap": lambda rng: rng.choice(("One", "Two", "Three")),
        "small_number": lambda rng: rng.choice(SMALL),
        "mid_number": _number(10, 61),
        "count": _number(130, 4_900, 10),
        "count_small": _number(14, 390),
        "store_count": _number(48, 720),
        "miles": _number(92_000, 128_000, 1_000),
        "haul": _number(310, 990),
        "megawatts": _number(820, 4_900, 5),
        "volume": _number(2_100, 98_000, 100),
        "acres": _number(21_000, 980_000, 1_000),
        "employees": f"{max(24, round(revenue / 240_000)):,}",
        "option_shares": _number(20_000, 1_900_000, 5_000),
        "holders": _number(180, 6_400),
        "headquarters_area": _number(8_000, 160_000, 500),
        "age_years": _number(41, 62),
    }


def _identity(company: Company, year: int, quarter: int) -> dict[str, Fact]:
    month, day = quarter_end(company, quarter)
    end_year = calendar_year(company, year, quarter)
    after = month % 12 + 1
    new_officer = f"{company.officers[5].rsplit(' ', 1)[0]} {names().last_names[company.cik % len(names().last_names)]}"
    return {
        "full_name": company.name,
        "quote_open": '"',
        "quote_close": '"',
        "founded": str(company.founded),
        "state": company.incorporated[0],
        "a_state": f"a {company.incorporated[0]}",
        "state_home": company.city[1],
        "headquarters": f"{company.city[0]}, {company.city[1]}",
        "street": company.street,
        "phone": company.phone,
        "exchange": company.exchange,
        "exchange_short": CODE_OF_MARKET.get(company.exchange, "Nasdaq"),
        "ticker": company.ticker,
        "lender": company.lender,
        "auditor": company.auditor,
        "region": lambda rng: REGIONS[(company.cik + rng.randrange(2)) % len(REGIONS)],
        "former_line": lambda rng: rng.choice(("leasing", "consumer", "international", "wholesale", "consulting")),
        "officer_ceo": company.officers[0],
        "officer_old": company.officers[4],
        "officer_new": new_officer,
        "year": str(year),
        "prior_year": str(year - 1),
        "last_year": str(year - 1),
        "next_year": str(year + 1),
        "far_year": lambda rng: str(year + rng.randint(3, 12)),
        "past_year": lambda rng: str(year - rng.randint(1, min(7, year - company.founded))),
        "old_year": lambda rng: str(rng.randint(1966, 1984)),
        "ipo_year": str(max(company.founded + 3, company.filing_year - 4 - company.cik % 20)),
        "balance_date": date(end_year, month, day),
        "record_date": lambda rng: date(end_year + (after < month), after, rng.randint(2, 28)),
        "event_date": lambda rng: date(end_year + (after < month), after, rng.randint(2, 28)),
        "past_date": lambda rng: date(year - rng.randint(1, 2), rng.randint(1, 12), rng.randint(1, 28)),
        "hot_month": lambda rng: rng.choice(MONTHS[5:9]),
        "strong_quarter": ORDINALS[max(range(4), key=lambda i: company.industry.economics.seasons[i])],
        "dividend_policy": _dividend_policy(company, year),
    }


def _dividend_policy(company: Company, year: int) -> str:
    if company.accounts.flows(year)["dividends"]:
        return "Cash dividends have been paid each quarter, and the Board of Directors intends to continue this policy"
    return "No cash dividends have been paid on the common stock, and none are anticipated in the foreseeable future"


def quarter_end(company: Company, quarter: int) -> tuple[int, int]:
    """(month, day) on which a quarter of the fiscal year ends."""
    month = (company.year_end[0] + 3 * quarter - 1) % 12 + 1
    return month, 31 if month in (3, 12) else 30


def calendar_year(company: Company, fiscal_year: int, quarter: int) -> int:
    """The calendar year in which a quarter of a fiscal year ends; fiscal years are named after their last day."""
    return fiscal_year - (quarter_end(company, quarter)[0] > company.year_end[0])
