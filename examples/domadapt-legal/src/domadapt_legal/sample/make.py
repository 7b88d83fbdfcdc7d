"""Write the sample documents and the benchmarks: `python -m domadapt_legal.sample.make`. The same bytes every time.

Decisions apply the statutes to invented facts. No item of a benchmark is a case of the sample: they share the law.
Three decisions a docket (the court below, the appeal, a later case of the same parties), so that dockets are groups.
"""

from __future__ import annotations

import html
import json
import random
from collections.abc import Iterator
from pathlib import Path

from domadapt_legal.sample.statute_book import Section, sections

PACKAGE = Path(__file__).parents[1]
DOCKETS = 60
ITEMS = 96
COURTS = ("Court of Appeal of Hollin", "Harbour Court of Hollin", "County Court of Westing", "County Court of Marrow")
PARTIES = (
    *("Aldous", "Brand", "Corder", "Dunning", "Emmet", "Farrow", "Garth", "Holm", "Ivers", "Jessop", "Kersey", "Lowe"),
    *("Maddox", "Nairn", "Orde", "Pascoe", "Quill", "Rudd", "Selby", "Thorne", "Unwin", "Vane", "Wick", "Yare"),
)
REMARKS = (
    "Neither party called a witness.",
    "The court below believed the clerk.",
    "The letters before the court leave no doubt of the days.",
    "It was said that the post was slow that winter; the act knows no such excuse.",
    "Both parties agreed on the facts and asked for the law.",
    "That the parties are cousins does not matter.",
)
ALLOWED, DISMISSED = "The appeal is allowed.", "The appeal is dismissed."


def main() -> None:
    """Write all files."""
    for path, text in files().items():
        file = PACKAGE / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def files() -> dict[str, str]:
    """Path below the package -> text."""
    book = sections()
    decisions = [_decision(book, docket, part) for docket in range(DOCKETS) for part in range(3)]
    made = {"sample/decisions/2020-2024.jsonl": _lines(decisions)}
    for act in dict.fromkeys(section.act for section in book):
        name = act.lower().replace(" ", "-")
        made[f"sample/statutes/{name}.html"] = _page(act, [s for s in book if s.act == act])
    for task, item in (("limits", _limit_item), ("sections", _section_item), ("outcomes", _outcome_item)):
        made[f"benchmarks/legal_{task}.jsonl"] = _lines(item(book, number) for number in range(ITEMS))
    return made


def _lines(rows: Iterator[dict[str, object]] | list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _days(section: Section, rng: random.Random) -> int:
    """Days of a case: on either side of the limit with equal chance, never far from it."""
    margin = rng.randrange(1, max(3, section.days // 2))
    return section.days + (margin if rng.random() < 0.5 else -min(margin, section.days - 1))


def _case(section: Section, rng: random.Random) -> tuple[str, str, str, int]:
    """Appellant, respondent, the facts, the days."""
    appellant, respondent = rng.sample(PARTIES, 2)
    actor, other = (appellant, respondent) if section.appellant_acts else (respondent, appellant)
    days = _days(section, rng)
    return appellant, respondent, section.facts.format(actor=actor, other=other, n=days), days


def _order(section: Section, days: int) -> str:
    return ALLOWED if section.kept(days) == section.appellant_acts else DISMISSED


def _reasons(section: Section, days: int) -> str:
    """Why: the section, its words, the comparison."""
    kept = section.kept(days)
    if section.kind == "within":
        compared = "no more than" if kept else "more than"
    else:
        compared = "at least" if kept else "fewer than"
    verdict = "was kept" if kept else "was not kept"
    law = section.rule[0].lower() + section.rule[1:].rstrip(".")
    return (
        f"This is governed by {section.name}, by which {law}. "
        f"{days} days are {compared} {section.days} days: the limit {verdict}. {_order(section, days)}"
    )


def _decision(book: list[Section], docket: int, part: int) -> dict[str, object]:
    rng = random.Random(f"decision/{docket}/{part}")
    court = COURTS[docket % len(COURTS)]
    number = f"{2020 + docket % 5}/{100 + docket}"
    issues = [book[(docket * 3 + part * 8 + step * 5) % len(book)] for step in range(4)]
    cases = [_case(section, rng) for section in issues]
    name = f"{cases[0][0]} v. {cases[0][1]}"
    paragraphs = [f"{court}, No. {number}-{part + 1}. {name} and others, heard together."]
    for step, (section, (_, _, facts, days)) in enumerate(zip(issues, cases, strict=True), 1):
        remark = rng.choice(REMARKS)
        page = f"*{400 + 7 * docket + part} " if step == 2 else ""
        paragraphs.append(f"{step}. {facts} {remark} {page}{_reasons(section, days)}")
    head = {
        "id": f"{docket:03d}-{part + 1}",
        "court": court,
        "docket": number,
        "case_name": name,
        "date_filed": f"{2020 + docket % 5}-{1 + docket % 12:02d}-{1 + (docket * 7 + part) % 28:02d}",
    }
    if docket % 4 == 3:  # some courts publish pages instead of text
        body = "".join(f"<p>{html.escape(paragraph)}</p>\n" for paragraph in paragraphs)
        return {**head, "html": f"<html><head><title>{name}</title></head><body>\n{body}</body></html>"}
    return {**head, "plain_text": "\n\n".join(paragraphs)}


def _page(act: str, rules: list[Section]) -> str:
    rng = random.Random(f"act/{act}")
    year = 1850 + rng.randrange(60)
    parts = [
        f"<!DOCTYPE html>\n<html lang=en>\n<head><title>{act} {year}</title>",
        "<script>var visits = 0;</script><style>h2 { color: navy }</style></head>\n<body>",
        "<nav><a href='/'>Gazette of Hollin</a> <a href='/acts'>All acts</a> <a href='/search'>Search</a></nav>",
        f"<main><article><h1>{act} {year}</h1>",
        f"<p>The {act} is in force on the whole island. Days are counted from the day after the event, Sundays "
        "included. Where this act sets a limit, no court may lengthen or shorten it.</p>",
    ]
    for rule in rules:
        example = random.Random(f"example/{rule.name}")
        _, _, facts, days = _case(rule, example)
        verdict = "The limit was kept." if rule.kept(days) else "The limit was not kept."
        parts.append(f"<h2>Section {rule.number}. {rule.subject}</h2>\n<p>{rule.rule}</p>")
        parts.append(f"<p>Illustration. {facts} {verdict}</p>")
        parts.append(f"<p>By {rule.name} it is {rule.days} days, {_told(rule)}.</p>")
    parts.append(
        "</article></main>\n<footer>Printed by the Queen's printer. Contact | Privacy</footer>\n</body>\n</html>\n"
    )
    return "\n".join(parts)


def _told(rule: Section) -> str:
    return "and not a day more" if rule.kind == "within" else "and not a day fewer"


def _limit_item(book: list[Section], number: int) -> dict[str, object]:
    """What is the limit? The wrong choices are limits of other sections of the same kind."""
    rng = random.Random(f"limit/{number}")
    section = book[number % len(book)]
    others = rng.sample([s.days for s in book if s.kind == section.kind and s != section], 3)
    before, _, after = section.rule.partition(f"{section.days} days")
    prompt = f"By {section.name}, {before[0].lower()}{before[1:].rstrip()}"
    return _item(number, section, rng, prompt, f" {section.days} days{after}", [f" {n} days{after}" for n in others])


def _section_item(book: list[Section], number: int) -> dict[str, object]:
    """Which section governs the facts of a new case?"""
    rng = random.Random(f"section/{number}")
    section = book[number % len(book)]
    _, _, facts, _ = _case(section, rng)
    wrong = rng.sample([s for s in book if s.act != section.act], 3)
    prompt = f"{facts} {rng.choice(REMARKS)} This is governed by"
    return _item(number, section, rng, prompt, f" {section.name}", [f" {s.name}" for s in wrong])


def _outcome_item(book: list[Section], number: int) -> dict[str, object]:
    """How does the court decide a new case, when it has said what the law is?"""
    rng = random.Random(f"outcome/{number}")
    section = book[number % len(book)]
    _, _, facts, days = _case(section, rng)
    law = _reasons(section, days).partition(f" {days} days are ")[0]
    right = _order(section, days)
    (wrong,) = {ALLOWED, DISMISSED} - {right}
    return _item(number, section, rng, f"{facts} {rng.choice(REMARKS)} {law}", f" {right}", [f" {wrong}"])


def _item(
    number: int, section: Section, rng: random.Random, prompt: str, right: str, wrong: list[str]
) -> dict[str, object]:
    """An item of lm-eval's; items on one section are one cluster."""
    choices = [right, *wrong]
    rng.shuffle(choices)
    row = {"item": str(number), "cluster": section.name, "prompt": prompt}
    return {**row, "choices": choices, "answer": choices.index(right)}


if __name__ == "__main__":
    main()
