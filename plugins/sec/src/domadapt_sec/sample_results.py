"""Management's discussion of a sample filing: every figure in it follows from the statements beside it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from domadapt.testing.prose import Writer
from domadapt_sec.sample_company import Company
from domadapt_sec.sample_prose import SMALL, calendar_year, capital, date, money, quarter_end

Flows = Mapping[str, int]
PLURAL = ("revenues", "sales", "expenses", "costs", "goods sold", "products sold", "expenditures")
RISES, FALLS = ("increased", "rose", "grew"), ("decreased", "declined", "fell")
MORE, LESS = ("an increase", "a rise", "growth"), ("a decrease", "a decline", "a reduction")


@dataclass(frozen=True)
class Comparison:
    """Two periods of a company: the one reported on and the one a year before, with the balances at their ends."""

    company: Company
    year: int
    quarters: tuple[int, ...] = (1, 2, 3, 4)

    @property
    def now(self) -> Flows:
        """Flows of the period."""
        return self.company.accounts.flows(self.year, self.quarters)

    @property
    def before(self) -> Flows:
        """Flows of the same period of the year before."""
        return self.company.accounts.flows(self.year - 1, self.quarters)

    def ends(self) -> tuple[Flows, Flows]:
        """Balances at the end of the period and of the one before."""
        accounts, last = self.company.accounts, self.quarters[-1]
        return accounts.balance(self.year, last), accounts.balance(self.year - 1, last)

    def names(self, rng: random.Random) -> tuple[str, str]:
        """How the two periods are called in a sentence."""
        if len(self.quarters) == 4:
            month, day = self.company.year_end
            kind = rng.random()
            if kind < 0.4:
                return str(self.year), str(self.year - 1)
            if kind < 0.8:
                return f"fiscal {self.year}", f"fiscal {self.year - 1}"
            return f"the year ended {date(self.year, month, day)}", "the prior year"
        month, day = quarter_end(self.company, self.quarters[-1])
        end = calendar_year(self.company, self.year, self.quarters[-1])
        count = "three" if len(self.quarters) == 1 else SMALL[3 * len(self.quarters) - 2]
        if len(self.quarters) == 1 and rng.random() < 0.6:
            quarter = ("first", "second", "third", "fourth")[self.quarters[0] - 1]
            return f"the {quarter} quarter of {self.year}", f"the {quarter} quarter of {self.year - 1}"
        if rng.random() < 0.5:
            return f"the {count} months ended {date(end, month, day)}", "the corresponding period of the prior year"
        return (
            f"the {count} months ended {date(end, month, day)}",
            f"the {count} months ended {date(end - 1, month, day)}",
        )


def percent(now: float, before: float) -> str:
    """The size of a change: 7.4%."""
    return f"{abs(now / before - 1) * 100:.1f}%"


def share(part: float, whole: float) -> str:
    """A share: 41.2%."""
    return f"{part / whole * 100:.1f}%"


def compare(writer: Writer, c: Comparison, rng: random.Random, item: str, key: str, drivers: str) -> str:
    """One sentence about how an item changed and why. drivers: "" for up/down, "cost_" for costs."""
    now, before, unit = c.now[key], c.before[key], c.company.accounts.unit
    _name_periods(writer, c, rng)
    if before <= 0 or now <= 0 or now == before:
        writer.know(item=item, verb_were=_were(item), ratio_now=share(now, c.now["revenue"]))
        writer.know(item_low=_low(item), ratio_before=share(before, c.before["revenue"]))
        return writer.sentence("ratio")
    up = now > before
    mine, other = (f"{drivers}up", f"{drivers}down") if up else (f"{drivers}down", f"{drivers}up")
    noun = rng.choice(MORE if up else LESS)
    writer.know(
        item=item,
        item_low=_low(item),
        verb_were=_were(item),
        moved=rng.choice(RISES if up else FALLS),
        now=money(now, unit),
        before=money(before, unit),
        delta=money(now - before, unit),
        pct=percent(now, before),
        a_change=noun,
        a_change_cap=capital(noun),
        change_noun="increase" if up else "decrease",
        driver=lambda r: writer.phrase(mine),
        driver_against=lambda r: writer.phrase(other),
    )
    return writer.sentence("change")


def _low(item: str) -> str:
    return item[0].lower() + item[1:]


def _were(item: str) -> str:
    return "were" if item.lower().endswith(PLURAL) else "was"


def _name_periods(writer: Writer, c: Comparison, rng: random.Random) -> None:
    period, prior = c.names(rng)
    writer.know(period=period, prior_period=prior)


def margin(writer: Writer, c: Comparison, rng: random.Random) -> str:
    """The sentence about the gross margin."""
    now = (c.now["revenue"] - c.now["cost"]) / c.now["revenue"]
    before = (c.before["revenue"] - c.before["cost"]) / c.before["revenue"]
    _name_periods(writer, c, rng)
    good = now >= before
    mine, other = ("cost_down", "cost_up") if good else ("cost_up", "cost_down")
    writer.know(
        margin_now=f"{now:.1%}",
        margin_before=f"{before:.1%}",
        margin_moved=rng.choice(("increased", "improved", "rose") if good else ("decreased", "declined", "fell")),
        change_noun="improvement" if good else "decline",
        driver=lambda r: writer.phrase(mine),
        driver_against=lambda r: writer.phrase(other),
    )
    return writer.sentence("margin")


def taxes(writer: Writer, c: Comparison, rng: random.Random) -> str:
    """The sentence about the tax rate; "" when a period shows a loss."""
    now, before = c.now, c.before
    if min(now["pretax"], before["pretax"]) <= 0:
        return ""
    _name_periods(writer, c, rng)
    writer.know(tax_now=share(now["tax"], now["pretax"]), tax_before=share(before["tax"], before["pretax"]))
    return writer.sentence("tax_sentence")


def know_resources(writer: Writer, c: Comparison, rng: random.Random) -> None:
    """Tell the writer cash, debt, cash flow and spending."""
    now, before, unit = c.now, c.before, c.company.accounts.unit
    end, start = c.ends()
    key = "capital_spending" if "capital_spending" in now else "overhead"
    _name_periods(writer, c, rng)
    writer.know(
        operating_cash=money(now["operating_cash"], unit),
        operating_cash_before=money(before["operating_cash"], unit),
        cash_now=money(end["cash"], unit),
        cash_before=money(start["cash"], unit),
        debt_now=money(end.get("debt", end.get("borrowings_owed", 0)), unit),
        capital_now=money(now[key], unit),
        capital_before=money(before[key], unit),
        stock_compensation=money(now.get("stock_compensation", now["overhead"] // 90), unit),
    )


def discussion(writer: Writer, c: Comparison, rng: random.Random) -> str:
    """The paragraph on results: revenue, margin, expenses, tax and net income in changing order."""
    industry = c.company.industry
    if industry.model == "bank":
        sentences = [
            compare(writer, c, rng, "Net interest income", "net_interest", ""),
            compare(writer, c, rng, "Interest expense", "cost", "cost_"),
            compare(writer, c, rng, "Noninterest income", "fees", ""),
            compare(writer, c, rng, "Noninterest expense", "overhead", "cost_"),
        ]
    else:
        sentences = [
            compare(writer, c, rng, industry.revenue, "revenue", ""),
            margin(writer, c, rng),
            compare(writer, c, rng, "Selling, general and administrative expenses", "overhead", "cost_"),
        ]
        if c.now["research"]:
            sentences.append(compare(writer, c, rng, "Research and development expenses", "research", "cost_"))
    rest = [taxes(writer, c, rng), compare(writer, c, rng, "Net income", "net", "")]
    rng.shuffle(rest)
    return " ".join(s for s in sentences + rest if s)
