"""Sample filings as structure: cover, items, exhibits; how they look on EDGAR is `sample_formats`' business.

Forms 10-K, 10-Q and 8-K with the items of their time (no risk factors before 2005, no controls before 2003).
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field, replace

from domadapt.testing.prose import Writer

from domadapt_sec import sample_statements as statements
from domadapt_sec.sample_company import Company
from domadapt_sec.sample_prose import calendar_year, date, quarter_end, told, topics, writer
from domadapt_sec.sample_results import Comparison, compare, discussion, know_resources, margin
from domadapt_sec.sample_statements import Row, Table


@dataclass(frozen=True)
class Heading:
    """A heading below that of an item."""

    text: str


@dataclass(frozen=True)
class Centered:
    """Lines of a cover page or a signature, each by itself."""

    lines: tuple[str, ...]


# The name, then words that end no sentence, then the name again with no other noun to refer to in between.
SECOND_MENTION = re.compile(r"((?:The|the) Company\b(?!')(?:(?! [Tt]he Company)[^.;:]){1,60} )the Company's ")

# "quality, quality": the draws of one list may coincide.
REPEATED = re.compile(r"\b([a-z][\w' -]{3,}), \1\b|\b([a-z][\w' -]{3,}),? (?:and|or) (?:to )?\2\b|\b([a-z][\w' -]{3,}), [^,.]+ (?:and|or) \3\b")

Block = str | Heading | Centered | Table


@dataclass(frozen=True)
class Section:
    """One item. number: "1A", "2.02"; "" for what stands before the first and after the last."""

    number: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """One document of a submission. form: its type ("10-K", "EX-99.1")."""

    form: str
    description: str
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Submission:
    """What a company hands in at once. period, filed: (year, month, day).  number: makes the accession number."""

    company: Company
    form: str
    period: tuple[int, int, int]
    filed: tuple[int, int, int]
    number: int
    documents: tuple[Document, ...]
    items: tuple[str, ...] = field(default=())

    @property
    def accession(self) -> str:
        """0001234567-04-000123; the agent is the company itself."""
        return f"{self.company.cik:010d}-{self.filed[0] % 100:02d}-{self.number:06d}"


def annual_report(company: Company, year: int, rng: random.Random, number: int) -> Submission:
    """A 10-K."""
    write = writer(company, year, rng)
    comparison = Comparison(company, year)
    know_resources(write, comparison, rng)
    period = (year, *company.year_end)
    sections = [_cover(company, "10-K", period), *_business_part(write, company, year, rng)]
    sections += _results_part(write, comparison, rng)
    sections += _final_part(write, company, year, period, rng)
    filed = _days_later(period, rng.randint(62, 89))
    return Submission(company, "10-K", period, filed, number, (Document("10-K", "ANNUAL REPORT", tuple(map(_with_pronouns, sections))),))


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
        statements.income(company, (three.now, three.before), columns, "CONDENSED CONSOLIDATED STATEMENTS OF OPERATIONS"),
        statements.balance_sheet(company, ((year, quarter), (year - 1, 4)), "CONDENSED CONSOLIDATED BALANCE SHEETS"),
        statements.cash_flows(
            company, flows, start, (str(period[0]), str(period[0] - 1)), "CONDENSED CONSOLIDATED STATEMENTS OF CASH FLOWS"
        )
        if rng.random() < 0.5
        else _notes(write, rng, 1),
    )
    results = discussion(write, three, rng)
    if quarter > 1:
        name = company.industry.revenue if company.industry.model != "bank" else "Net interest income"
        key = "revenue" if company.industry.model != "bank" else "net_interest"
        results += " " + compare(write, so_far, rng, name, key, "")
    sections = [
        _cover(company, "10-Q", period),
        Section("1", "Financial Statements", (*tables, *_headed("Notes", _notes(write, rng, 2)))),
        Section("2", "Management's Discussion and Analysis of Financial Condition and Results of Operations",
                (_some(write, rng, "results_context", 1, 2), results, _liquidity(write, comparison=so_far, rng=rng))),
        Section("3", "Quantitative and Qualitative Disclosures About Market Risk", (_some(write, rng, "market_risk", 1, 2),)),
    ]  # fmt: skip
    if year >= 2003:
        sections.append(Section("4", "Controls and Procedures", (_some(write, rng, "controls_sentence", 2, 2),)))
    sections.append(Section("1", "Legal Proceedings", (_legal(write, rng),)))
    if year >= 2005:
        sections.append(Section("1A", "Risk Factors", tuple(_risks(write, rng, 1))))
    sections.append(_signature(company, _days_later(period, 40)))
    filed = _days_later(period, rng.randint(28, 44))
    return Submission(company, "10-Q", period, filed, number, (Document("10-Q", "QUARTERLY REPORT", tuple(map(_with_pronouns, sections))),))


EVENTS = {
    "event_acquisition": ("1.01", "5", "Entry into a Material Definitive Agreement"),
    "event_credit": ("1.01", "5", "Entry into a Material Definitive Agreement"),
    "event_officer": ("5.02", "5", "Departure of Directors or Certain Officers; Appointment of Certain Officers"),
    "event_impairment": ("2.06", "5", "Material Impairments"),
    "results": ("2.02", "5", "Results of Operations and Financial Condition"),
}


def current_report(company: Company, year: int, quarter: int, event: str, rng: random.Random, number: int) -> Submission:
    """An 8-K about one of `EVENTS`; "results" has the press release as an exhibit."""
    write = writer(company, year, rng, quarter)
    month, day = quarter_end(company, quarter)
    period = (calendar_year(company, year, quarter), month, day)
    happened = _days_later(period, rng.randint(12, 50))
    write.know(event_date=date(*happened), year=str(happened[0]), prior_year=str(happened[0] - 1))
    new, old, title = EVENTS[event]
    item = new if happened[0] >= 2005 else old
    if event == "results" and happened[0] in (2003, 2004):
        item = "12"
    documents: list[Document] = []
    if event == "results":
        release = f"issued a press release announcing its financial results for the quarter ended {date(*period)}"
        text = f"On {date(*happened)}, {company.name} {release}. The press release is furnished as Exhibit 99.1 to this report."
        documents.append(_press_release(company, year, quarter, write, rng))
    else:
        sentences = told(write, event)
        text = " ".join(sentences[: rng.randint(3, len(sentences))])
    exhibits = "99.1 Press release" if event == "results" else "10.1 Agreement (to be filed by amendment)"
    sections = (
        _cover(company, "8-K", happened),
        Section(item, "Other Events" if item == "5" else title, (text, *_more(write, rng, event))),
        Section("9.01" if item == new else "7", "Financial Statements and Exhibits", (f"(c) Exhibits. {exhibits}.",)),
        _signature(company, _days_later(happened, 2)),
    )
    documents.insert(0, Document("8-K", "CURRENT REPORT", tuple(map(_with_pronouns, sections))))
    items = (item, "9.01" if item == new else "7")
    return Submission(company, "8-K", happened, _days_later(happened, 3), number, tuple(documents), items)


def amended(original: Submission, number: int) -> Submission:
    """A 10-K/A that repeats the whole 10-K with a sentence on why."""
    first = original.documents[0]
    cover, *rest = first.sections
    reason = "This amendment is filed to include a conformed signature that was omitted from the original filing."
    cover = replace(cover, blocks=(*cover.blocks, reason))
    document = replace(first, form=first.form + "/A", sections=(cover, *rest))
    filed = _days_later(original.filed, 21)
    return replace(original, form=document.form, filed=filed, number=number, documents=(document,))


def notice(company: Company, filed: tuple[int, int, int], number: int) -> Submission:
    """A document that says next to nothing, of the kind that quality filters are there for."""
    section = Section("", "", (Centered((company.name, "Page intentionally left blank")),))
    return Submission(company, "8-K", filed, filed, number, (Document("EX-99", "COVER", (section,)),))


# ---------------------------------------------------------------- parts


def _cover(company: Company, form: str, period: tuple[int, int, int]) -> Section:
    kind = {
        "10-K": ("ANNUAL REPORT PURSUANT TO SECTION 13 OR 15(d)", f"For the fiscal year ended {date(*period)}"),
        "10-Q": ("QUARTERLY REPORT PURSUANT TO SECTION 13 OR 15(d)", f"For the quarterly period ended {date(*period)}"),
        "8-K": ("CURRENT REPORT PURSUANT TO SECTION 13 OR 15(d)", f"Date of report: {date(*period)}"),
    }[form]
    lines = (
        "UNITED STATES", "SECURITIES AND EXCHANGE COMMISSION", "Washington, D.C. 20549", f"FORM {form}",
        f"{kind[0]} OF THE SECURITIES EXCHANGE ACT OF 1934", kind[1], f"Commission file number {company.file_number}",
        company.name, "(Exact name of registrant as specified in its charter)",
        f"{company.incorporated[0]}   {company.employer_number}",
        f"{company.street}, {company.city[0]}, {company.city[1]} {company.zip}",
        f"Registrant's telephone number, including area code: {company.phone}",
    )  # fmt: skip
    blocks: list[Block] = [Centered(lines)]
    if form == "10-K":
        blocks.append(
            f"Securities registered pursuant to Section 12 of the Act: Common Stock, registered on the {company.exchange}. "
            f"At the latest practicable date there were {company.shares:,} shares of common stock outstanding."
        )
    return Section("", "", tuple(blocks))


def _business_part(write: Writer, company: Company, year: int, rng: random.Random) -> list[Section]:
    subjects = [
        ("Products and Markets", "product_sentence", 2, 4), ("Operations", "story", 2, 4), ("Customers", "customer_sentence", 1, 3),
        ("Competition", "competition_sentence", 2, 3), ("Supplies", "supply_sentence", 1, 3),
        ("Technology and Intellectual Property", "technology_sentence", 1, 3),
        ("Regulation", "regulation_sentence", 1, 3), ("Employees", "people_sentence", 1, 2),
        ("Seasonality", "season_sentence", 1, 2),
    ]  # fmt: skip
    chosen = [0, 1, *sorted(rng.sample(range(2, len(subjects)), rng.randint(2, 3)))]
    general = [write.sentence("overview"), write.sentence("segments_sentence"), _some(write, rng, "history", 1, 3)]
    blocks: list[Block] = [Heading("General"), " ".join(general)]
    for title, symbol, low, high in (subjects[i] for i in chosen):
        blocks += [Heading(title), _some(write, rng, symbol, low, high)]
    sections = [Section("1", "Business", tuple(blocks))]
    if year >= 2005:
        sections.append(Section("1A", "Risk Factors", tuple(_risks(write, rng, rng.randint(2, 4)))))
    sections.append(Section("2", "Properties", (_properties(write, company, rng),)))
    sections.append(Section("3", "Legal Proceedings", (_legal(write, rng),)))
    return sections


def _properties(write: Writer, company: Company, rng: random.Random) -> Block:
    if rng.random() < 0.35:
        rows = tuple(Row(f"{place}: {kind}", (f"{area:,}", "Owned" if owned else "Leased")) for kind, place, area, owned in company.plants)
        return Table("Principal properties", "(Thousands of square feet)", ("Area", "Tenure"), rows)
    parts = [f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} in {place} ({area:,},000 square feet, {'owned' if owned else 'leased'})" for kind, place, area, owned in company.plants]
    opening = rng.choice(("The principal properties are", "Significant facilities include", "Facilities used in the business are"))
    return f"{opening} {'; '.join(parts)}. {_some(write, rng, 'property_sentence', 1, 3)}"


def _risks(write: Writer, rng: random.Random, count: int) -> list[Block]:
    blocks: list[Block] = []
    for topic in rng.sample(topics("risk_"), count):
        heading, *sentences = told(write, topic)
        sentences = rng.sample(sentences, rng.randint(1, 3)) + [write.sentence("risk_sentence") for _ in range(rng.randint(1, 2))]
        blocks += [Heading(heading), " ".join(sentences)]
    return blocks


def _legal(write: Writer, rng: random.Random) -> str:
    symbols = rng.choice(
        (
            ("legal_general",),
            ("legal_general", "legal_closing"),
            ("legal_complaint", "legal_response", "legal_closing"),
            ("legal_general", "legal_complaint", "legal_response"),
            ("legal_inquiry", "legal_closing"),
        )
    )
    return write.paragraph(symbols)


def _results_part(write: Writer, c: Comparison, rng: random.Random) -> list[Section]:
    company, year = c.company, c.year
    columns = (str(year), str(year - 1))
    blocks: list[Block] = [_some(write, rng, "results_context", 1, 3)]
    if len(company.segments) > 1 and rng.random() < 0.6:
        blocks.append(statements.segment_revenue(company, (c.now, c.before), columns))
    blocks += [Heading("Results of Operations"), discussion(write, c, rng)]
    if rng.random() < 0.4:
        earlier = Comparison(company, year - 1)
        know = [compare(write, earlier, rng, company.industry.revenue, "revenue", ""), margin(write, earlier, rng)]
        blocks.append(" ".join(know[: 1 if company.industry.model == "bank" else 2]))
        know_resources(write, c, rng)
    blocks += [Heading("Liquidity and Capital Resources"), _liquidity(write, c, rng)]
    if rng.random() < 0.7:
        blocks += [Heading("Critical Accounting Policies" if year > 2001 else "Accounting Matters"), _some(write, rng, "policy", 1, 3)]
    if rng.random() < 0.6:
        blocks += [Heading("Outlook"), _some(write, rng, "outlook", 1, 3)]
    if year < 2005 and rng.random() < 0.6:
        blocks += [Heading("Factors That May Affect Future Results"), _some(write, rng, "risk_sentence", 3, 5)]
    sections = [Section("5", "Market for Registrant's Common Equity and Related Stockholder Matters",
                        (_some(write, rng, "market_sentence", 2, 3),))]  # fmt: skip
    title = "Management's Discussion and Analysis of Financial Condition and Results of Operations"
    sections.append(Section("7", title, tuple(blocks)))
    if year >= 1997:
        title = "Quantitative and Qualitative Disclosures About Market Risk"
        sections.append(Section("7A", title, (_some(write, rng, "market_risk", 1, 3),)))
    return sections


def _final_part(
    write: Writer, company: Company, year: int, period: tuple[int, int, int], rng: random.Random
) -> list[Section]:
    years = (year, year - 1)
    columns = tuple(map(str, years))
    periods = [company.accounts.flows(y) for y in years]
    starts = [company.accounts.balance(y - 1)["cash"] for y in years]
    of_what = "INCOME" if company.industry.model == "bank" else "OPERATIONS"
    blocks: list[Block] = [
        statements.income(company, periods, columns, f"CONSOLIDATED STATEMENTS OF {of_what}"),
        statements.balance_sheet(company, tuple((y, 4) for y in years), "CONSOLIDATED BALANCE SHEETS"),
    ]
    if rng.random() < 0.35:
        blocks.append(statements.cash_flows(company, periods, starts, columns, "CONSOLIDATED STATEMENTS OF CASH FLOWS"))
    blocks += _headed("NOTES TO CONSOLIDATED FINANCIAL STATEMENTS", _notes(write, rng, rng.randint(2, 4)))
    sections = [Section("8", "Financial Statements and Supplementary Data", tuple(blocks))]
    if year >= 2003:
        sections.append(Section("9A", "Controls and Procedures", (_some(write, rng, "controls_sentence", 2, 3),)))
    exhibits = ("3.1 Articles of incorporation", f"10.1 Credit agreement with {company.lender}", "21 Subsidiaries",
                f"23 Consent of {company.auditor}", "27 Financial data schedule")  # fmt: skip
    kept = [e for e in exhibits if rng.random() < 0.7]
    sections.append(Section("15" if year >= 2003 else "14", "Exhibits and Financial Statement Schedules", (Centered(tuple(kept)),)))
    sections.append(_signature(company, _days_later(period, 60)))
    return sections


def _notes(write: Writer, rng: random.Random, count: int) -> str:
    topics = rng.sample(("note_revenue", "note_policy", "note_debt", "note_commitments", "note_events", "note_benefit"), count)
    return " ".join(f"{n}. {_some(write, rng, topic, 2, 3)}" for n, topic in enumerate(topics, 1))


def _headed(title: str, text: str) -> tuple[Block, Block]:
    return Heading(title), text


def _liquidity(write: Writer, comparison: Comparison, rng: random.Random) -> str:
    text = _some(write, rng, "liquidity", 2, 4)
    if comparison.now["operating_cash"] < 0:
        text = text.replace("provided by operating", "used in operating")
    return text


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
        blocks.insert(4, _some(write, rng, "outlook", 1, 2))
    return Document("EX-99.1", "PRESS RELEASE", (Section("", "", tuple(blocks)),))


def _more(write: Writer, rng: random.Random, event: str) -> tuple[Block, ...]:
    if event == "results":
        return ()
    return (_some(write, rng, "results_context", 1, 1), _some(write, rng, "risk_sentence", 1, 2))


def _signature(company: Company, day: tuple[int, int, int]) -> Section:
    text = (
        "Pursuant to the requirements of the Securities Exchange Act of 1934, the registrant has duly caused this report "
        "to be signed on its behalf by the undersigned, thereunto duly authorized."
    )
    lines = (company.name, f"By: /s/ {company.officers[1]}", company.officers[1], "Chief Financial Officer", f"Date: {date(*day)}")
    return Section("", "SIGNATURES", (text, Centered(lines)))


def _some(write: Writer, rng: random.Random, symbol: str, low: int, high: int) -> str:
    """A paragraph of sentences of one kind, no two of which begin alike."""
    sentences: dict[str, str] = {}
    for _ in range(rng.randint(low, high)):
        for _ in range(4):
            sentence = write.sentence(symbol)
            start = sentence[:24]
            if start not in sentences and not REPEATED.search(sentence):
                sentences[start] = sentence
                break
    return " ".join(sentences.values())


def _with_pronouns(section: Section) -> Section:
    """The Company believes that the Company's relations -> The Company believes that its relations."""
    blocks = tuple(SECOND_MENTION.sub(r"\1its ", b) if isinstance(b, str) else b for b in section.blocks)
    return replace(section, blocks=blocks)


def _days_later(day: tuple[int, int, int], days: int) -> tuple[int, int, int]:
    from datetime import date as calendar
    from datetime import timedelta

    later = calendar(*day) + timedelta(days)
    return later.year, later.month, later.day
