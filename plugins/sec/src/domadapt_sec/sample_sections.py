"""The sections of sample filings: cover, items and signature, with the items of their time.

There are no risk factors before 2005, no controls before 2003 and no market risk before 1997.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace
from datetime import date as calendar
from datetime import timedelta

from domadapt.testing.prose import Writer
from domadapt_sec import sample_statements as statements
from domadapt_sec.sample_company import Company
from domadapt_sec.sample_document import Block, Centered, Heading, Section
from domadapt_sec.sample_prose import date, told, topics
from domadapt_sec.sample_results import Comparison, compare, discussion, know_resources, margin
from domadapt_sec.sample_statements import Row, Table

# The name, then words that end no sentence, then the name again with no other noun to refer to in between.
SECOND_MENTION = re.compile(r"((?:The|the) Company\b(?!')(?:(?! [Tt]he Company)[^.;:]){1,60} )the Company's ")

MARKET_RISK = "Quantitative and Qualitative Disclosures About Market Risk"

# "quality, quality": the draws of one list may coincide.
REPEATED = re.compile(
    r"\b([a-z][\w' -]{3,}), \1\b"
    r"|\b([a-z][\w' -]{3,}),? (?:and|or) (?:to )?\2\b"
    r"|\b([a-z][\w' -]{3,}), [^,.]+ (?:and|or) \3\b"
)


def cover(write: Writer, company: Company, form: str, period: tuple[int, int, int]) -> Section:
    """The cover page with its check marks. period: the day the report is about."""
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
            f"Securities registered pursuant to Section 12 of the Act: Common Stock, listed on the {company.exchange}. "
            f"At the latest practicable date there were {company.shares:,} shares of common stock outstanding."
        )
    if form != "8-K":
        if period[0] > 1996 and form == "10-K":
            blocks.append(write.sentence("forward_looking"))
        blocks.append(write.sentence("check_mark"))
    return Section("", "", tuple(blocks))


def business_part(write: Writer, company: Company, year: int, rng: random.Random) -> list[Section]:
    """Items 1 to 3."""
    subjects = [
        ("Products and Markets", "product_sentence", 2, 4), ("Operations", "story", 2, 4),
        ("Customers", "customer_sentence", 1, 3),
        ("Competition", "competition_sentence", 2, 3), ("Supplies", "supply_sentence", 1, 3),
        ("Technology and Intellectual Property", "technology_sentence", 1, 3),
        ("Regulation", "regulation_sentence", 1, 3), ("Employees", "people_sentence", 1, 2),
        ("Seasonality", "season_sentence", 1, 2),
    ]  # fmt: skip
    chosen = [0, 1, *sorted(rng.sample(range(2, len(subjects)), 2))]
    general = [write.sentence("overview"), write.sentence("segments_sentence"), some(write, rng, "history", 1, 3)]
    blocks: list[Block] = [Heading("General"), " ".join(general)]
    for title, symbol, low, high in (subjects[i] for i in chosen):
        blocks += [Heading(title), some(write, rng, symbol, low, high)]
    sections = [Section("1", "Business", tuple(blocks))]
    if year >= 2005:
        sections.append(Section("1A", "Risk Factors", tuple(risks(write, rng, rng.randint(2, 4)))))
    sections.append(Section("2", "Properties", (_properties(write, company, rng),)))
    sections.append(Section("3", "Legal Proceedings", (legal(write, rng),)))
    return sections


def _properties(write: Writer, company: Company, rng: random.Random) -> Block:
    if rng.random() < 0.35:
        rows = tuple(
            Row(f"{place}: {kind}", (f"{area:,}", "Owned" if owned else "Leased"))
            for kind, place, area, owned in company.plants
        )
        return Table("Principal properties", "(Thousands of square feet)", ("Area", "Tenure"), rows)
    parts = [
        f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} in {place} ({area},000 square feet, "
        f"{'owned' if owned else 'leased'})"
        for kind, place, area, owned in company.plants
    ]
    opening = rng.choice(
        ("The principal properties are", "Significant facilities include", "Facilities used in the business are")
    )
    return f"{opening} {'; '.join(parts)}. {some(write, rng, 'property_sentence', 1, 3)}"


def risks(write: Writer, rng: random.Random, count: int) -> list[Block]:
    """`count` risk factors, a heading and a paragraph each."""
    blocks: list[Block] = []
    for topic in rng.sample(topics("risk_"), count):
        heading, *sentences = told(write, topic)
        sentences = rng.sample(sentences, rng.randint(1, 3)) + [
            write.sentence("risk_sentence") for _ in range(rng.randint(1, 2))
        ]
        blocks += [Heading(heading), " ".join(sentences)]
    return blocks


def legal(write: Writer, rng: random.Random) -> str:
    """The paragraph on litigation: general, about one complaint, or about an inquiry."""
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


def results_part(write: Writer, c: Comparison, rng: random.Random) -> list[Section]:
    """Items 5 to 7A."""
    company, year = c.company, c.year
    columns = (str(year), str(year - 1))
    blocks: list[Block] = [some(write, rng, "results_context", 1, 3)]
    if len(company.segments) > 1 and rng.random() < 0.6:
        blocks.append(statements.segment_revenue(company, (c.now, c.before), columns))
    blocks += [Heading("Results of Operations"), discussion(write, c, rng)]
    if rng.random() < 0.4:
        earlier = Comparison(company, year - 1)
        know = [compare(write, earlier, rng, company.industry.revenue, "revenue", ""), margin(write, earlier, rng)]
        blocks.append(" ".join(know[: 1 if company.industry.model == "bank" else 2]))
        know_resources(write, c, rng)
    blocks += [Heading("Liquidity and Capital Resources"), liquidity(write, c, rng)]
    if rng.random() < 0.7:
        blocks += [
            Heading("Critical Accounting Policies" if year > 2001 else "Accounting Matters"),
            some(write, rng, "policy", 1, 3),
        ]
    if rng.random() < 0.6:
        blocks += [Heading("Outlook"), some(write, rng, "outlook", 1, 3)]
    if year < 2005 and rng.random() < 0.6:
        blocks += [Heading("Factors That May Affect Future Results"), some(write, rng, "risk_sentence", 3, 5)]
    sections = [Section("5", "Market for Registrant's Common Equity and Related Stockholder Matters",
                        (some(write, rng, "market_sentence", 2, 3),))]  # fmt: skip
    title = "Management's Discussion and Analysis of Financial Condition and Results of Operations"
    sections.append(Section("7", title, tuple(blocks)))
    if year >= 1997:
        sections.append(Section("7A", MARKET_RISK, (some(write, rng, "market_risk", 1, 3),)))
    return sections


def final_part(
    write: Writer, company: Company, year: int, period: tuple[int, int, int], rng: random.Random
) -> list[Section]:
    """Items 8 to 15 and the signature."""
    years = (year, year - 1)
    columns = tuple(map(str, years))
    periods = [company.accounts.flows(y) for y in years]
    starts = [company.accounts.balance(y - 1)["cash"] for y in years]
    of_what = "INCOME" if company.industry.model == "bank" else "OPERATIONS"
    blocks: list[Block] = [
        statements.income(company, periods, columns, f"CONSOLIDATED STATEMENTS OF {of_what}"),
        statements.balance_sheet(company, tuple((y, 4) for y in years), "CONSOLIDATED BALANCE SHEETS"),
    ]
    if rng.random() < 0.3:
        blocks.append(statements.cash_flows(company, periods, starts, columns, "CONSOLIDATED STATEMENTS OF CASH FLOWS"))
    write.know(
        prior_balance_date=date(year - 1, *company.year_end),
        audit_place_and_date=f"{company.city[0]}, {company.city[1]}, {date(*days_later(period, 45))}",
    )
    blocks += headed("REPORT OF INDEPENDENT PUBLIC ACCOUNTANTS", write.sentence("auditors_report"))
    blocks += headed("NOTES TO CONSOLIDATED FINANCIAL STATEMENTS", notes(write, rng, rng.randint(2, 3)))
    sections = [Section("8", "Financial Statements and Supplementary Data", tuple(blocks))]
    if year >= 2003:
        sections.append(Section("9A", "Controls and Procedures", (some(write, rng, "controls_sentence", 2, 3),)))
    exhibits = ("3.1 Articles of incorporation", f"10.1 Credit agreement with {company.lender}", "21 Subsidiaries",
                f"23 Consent of {company.auditor}", "27 Financial data schedule")  # fmt: skip
    kept = [e for e in exhibits if rng.random() < 0.7]
    sections.append(
        Section("15" if year >= 2003 else "14", "Exhibits and Financial Statement Schedules", (Centered(tuple(kept)),))
    )
    sections.append(signature(write, company, days_later(period, 60)))
    return sections


def notes(write: Writer, rng: random.Random, count: int) -> str:
    """A few notes to the statements in one paragraph, numbered."""
    topics = rng.sample(
        ("note_revenue", "note_policy", "note_debt", "note_commitments", "note_events", "note_benefit"), count
    )
    return " ".join(f"{n}. {some(write, rng, topic, 2, 3)}" for n, topic in enumerate(topics, 1))


def headed(title: str, text: str) -> tuple[Block, Block]:
    """A text under a heading."""
    return Heading(title), text


def liquidity(write: Writer, comparison: Comparison, rng: random.Random) -> str:
    """The paragraph on cash, debt and spending."""
    text = some(write, rng, "liquidity", 2, 4)
    if comparison.now["operating_cash"] < 0:
        text = text.replace("provided by operating", "used in operating")
    return text


def signature(write: Writer, company: Company, day: tuple[int, int, int]) -> Section:
    """Who signed, and when."""
    officer = company.officers[1]
    lines = (company.name, f"By: /s/ {officer}", officer, "Chief Financial Officer", f"Date: {date(*day)}")
    return Section("", "SIGNATURES", (write.sentence("signed"), Centered(lines)))


def some(write: Writer, rng: random.Random, symbol: str, low: int, high: int) -> str:
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


def with_pronouns(section: Section) -> Section:
    """The Company believes that the Company's relations -> The Company believes that its relations."""
    blocks = tuple(SECOND_MENTION.sub(r"\1its ", b) if isinstance(b, str) else b for b in section.blocks)
    return replace(section, blocks=blocks)


def days_later(day: tuple[int, int, int], days: int) -> tuple[int, int, int]:
    """The date some days after another, both (year, month, day)."""
    later = calendar(*day) + timedelta(days)
    return later.year, later.month, later.day
