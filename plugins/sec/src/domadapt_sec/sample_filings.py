"""Sample filings: the forms 10-K, 10-Q and 8-K, their exhibits and amendments, as structure."""

from __future__ import annotations

import random
from dataclasses import replace

from domadapt.testing.prose import Writer
from domadapt_sec import sample_statements as statements
from domadapt_sec.sample_company import Company
from domadapt_sec.sample_document import Block, Centered, Document, Heading, Section, Submission
from domadapt_sec.sample_prose import calendar_year, date, quarter_end, told, writer
from domadapt_sec.sample_results import Comparison, compare, discussion, know_resources
from domadapt_sec.sample_sections import (
    MARKET_RISK,
    business_part,
    cover,
    days_later,
    final_part,
    headed,
    legal,
    liquidity,
    notes,
    results_part,
    risks,
    signature,
    some,
    with_pronouns,
)


def annual_report(company: Company, year: int, rng: random.Random, number: int) -> Submission:
    """A 10-K."""
    write = writer(company, year, rng)
    comparison = Comparison(company, year)
    know_resources(write, comparison, rng)
    period = (year, *company.year_end)
    sections = [cover(write, company, "10-K", period), *business_part(write, company, year, rng)]
    sections += results_part(write, comparison, rng)
    sections += final_part(write, company, year, period, rng)
    filed = days_later(period, rng.randint(62, 89))
    return Submission(
        company,
        "10-K",
        period,
        filed,
        number,
        (Document("10-K", "ANNUAL REPORT", tuple(map(with_pronouns, sections))),),
    )


def quarterly_report(company: Company, year: int, quarter: int, rng: random.Random, number: int) -> Submission:
    """A 10-Q for the first, second or third quarter of a fiscal year."""
    write = writer(company, year, rng, quarter)
    month, day = quarter_end(company, quarter)
    period = (calendar_year(company, year, quarter), month, day)
    three = Comparison(company, year, (quarter,))
    so_far = Comparison(company, year, tuple(range(1, quarter + 1)))
    know_resources(write, so_far, rng)
    columns = (f"Three months ended {date(*period)}", f"Three months ended {date(period[0] - 1, month, day)}")
    flows = (so_far.now, so_far.before)
    start = [company.accounts.balance(y - 1)["cash"] for y in (year, year - 1)]
    tables: tuple[Block, ...] = (
        statements.income(
            company, (three.now, three.before), columns, "CONDENSED CONSOLIDATED STATEMENTS OF OPERATIONS"
        ),
        statements.balance_sheet(company, ((year, quarter), (year - 1, 4)), "CONDENSED CONSOLIDATED BALANCE SHEETS"),
        statements.cash_flows(
            company,
            flows,
            start,
            (str(period[0]), str(period[0] - 1)),
            "CONDENSED CONSOLIDATED STATEMENTS OF CASH FLOWS",
        )
        if rng.random() < 0.5
        else notes(write, rng, 1),
    )
    results = discussion(write, three, rng)
    if quarter > 1:
        name = company.industry.revenue if company.industry.model != "bank" else "Net interest income"
        key = "revenue" if company.industry.model != "bank" else "net_interest"
        results += " " + compare(write, so_far, rng, name, key, "")
    sections = [
        cover(write, company, "10-Q", period),
        Section("1", "Financial Statements", (*tables, *headed("Notes", notes(write, rng, 2)))),
        Section("2", "Management's Discussion and Analysis of Financial Condition and Results of Operations",
                (some(write, rng, "results_context", 1, 2), results, liquidity(write, comparison=so_far, rng=rng))),
        Section("3", MARKET_RISK, (some(write, rng, "market_risk", 1, 2),)),
    ]  # fmt: skip
    if year >= 2003:
        sections.append(Section("4", "Controls and Procedures", (some(write, rng, "controls_sentence", 2, 2),)))
    sections.append(Section("1", "Legal Proceedings", (legal(write, rng),)))
    if year >= 2005:
        sections.append(Section("1A", "Risk Factors", tuple(risks(write, rng, 1))))
    sections.append(signature(write, company, days_later(period, 40)))
    filed = days_later(period, rng.randint(28, 44))
    return Submission(
        company,
        "10-Q",
        period,
        filed,
        number,
        (Document("10-Q", "QUARTERLY REPORT", tuple(map(with_pronouns, sections))),),
    )


EVENTS = {
    "event_acquisition": ("1.01", "5", "Entry into a Material Definitive Agreement"),
    "event_credit": ("1.01", "5", "Entry into a Material Definitive Agreement"),
    "event_officer": ("5.02", "5", "Departure of Directors or Certain Officers; Appointment of Certain Officers"),
    "event_impairment": ("2.06", "5", "Material Impairments"),
    "results": ("2.02", "5", "Results of Operations and Financial Condition"),
}


def current_report(
    company: Company, year: int, quarter: int, event: str, rng: random.Random, number: int
) -> Submission:
    """An 8-K about one of `EVENTS`; "results" has the press release as an exhibit."""
    write = writer(company, year, rng, quarter)
    month, day = quarter_end(company, quarter)
    period = (calendar_year(company, year, quarter), month, day)
    happened = days_later(period, rng.randint(12, 50))
    write.know(event_date=date(*happened), year=str(happened[0]), prior_year=str(happened[0] - 1))
    new, old, title = EVENTS[event]
    item = new if happened[0] >= 2005 else old
    if event == "results" and happened[0] in (2003, 2004):
        item = "12"
    documents: list[Document] = []
    if event == "results":
        release = f"issued a press release announcing its financial results for the quarter ended {date(*period)}"
        text = f"On {date(*happened)}, {company.name} {release}. The press release is furnished as Exhibit 99.1 here."
        documents.append(_press_release(company, year, quarter, write, rng))
    else:
        sentences = told(write, event)
        text = " ".join(sentences[: rng.randint(3, len(sentences))])
    exhibits = "99.1 Press release" if event == "results" else "10.1 Agreement (to be filed by amendment)"
    sections = (
        cover(write, company, "8-K", happened),
        Section(item, "Other Events" if item == "5" else title, (text, *_more(write, rng, event))),
        Section("9.01" if item == new else "7", "Financial Statements and Exhibits", (f"(c) Exhibits. {exhibits}.",)),
        signature(write, company, days_later(happened, 2)),
    )
    documents.insert(0, Document("8-K", "CURRENT REPORT", tuple(map(with_pronouns, sections))))
    items = (item, "9.01" if item == new else "7")
    return Submission(company, "8-K", happened, days_later(happened, 3), number, tuple(documents), items)


def amended(original: Submission, number: int) -> Submission:
    """A 10-K/A that repeats the whole 10-K with a sentence on why."""
    first = original.documents[0]
    cover, *rest = first.sections
    reason = "This amendment is filed to include a conformed signature that was omitted from the original filing."
    cover = replace(cover, blocks=(*cover.blocks, reason))
    document = replace(first, form=first.form + "/A", sections=(cover, *rest))
    filed = days_later(original.filed, 21)
    return replace(original, form=document.form, filed=filed, number=number, documents=(document,))


def notice(company: Company, filed: tuple[int, int, int], number: int) -> Submission:
    """A document that says next to nothing, of the kind that quality filters are there for."""
    section = Section("", "", (Centered((company.name, "Page intentionally left blank")),))
    return Submission(company, "8-K", filed, filed, number, (Document("EX-99", "COVER", (section,)),))


def _press_release(company: Company, year: int, quarter: int, write: Writer, rng: random.Random) -> Document:
    c = Comparison(company, year, (quarter,))
    know_resources(write, c, rng)
    ends = tuple(date(calendar_year(company, y, quarter), *quarter_end(company, quarter)) for y in (year, year - 1))
    blocks: list[Block] = [
        Centered((f"{company.name} Reports Results for the Quarter Ended {ends[0]}",)),
        write.sentence("release_results"),
        discussion(write, c, rng),
        write.sentence("spoken"),
        statements.income(company, (c.now, c.before), ends, "Condensed Consolidated Statements of Operations"),
        Heading(f"About {company.short}"),
        write.sentence("release_about"),
        write.sentence("release_safe_harbor"),
    ]
    if rng.random() < 0.5:
        blocks.insert(4, some(write, rng, "outlook", 1, 2))
    return Document("EX-99.1", "PRESS RELEASE", (Section("", "", tuple(blocks)),))


def _more(write: Writer, rng: random.Random, event: str) -> tuple[Block, ...]:
    if event == "results":
        return ()
    return (some(write, rng, "results_context", 1, 1), some(write, rng, "risk_sentence", 1, 2))
