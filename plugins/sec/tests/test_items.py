"""Items of filings made here: contents against body, parts, combined headings, references, running heads, indexes."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt_sec.items import Section, segment

PROSE = "The Company makes pumps for the paper industry. It sells them to mills in many countries of the world.\n"
TITLES = {
    "1": "Business",
    "1A": "Risk Factors",
    "2": "Properties",
    "3": "Legal Proceedings",
    "7": "Management's Discussion and Analysis of Financial Condition and Results of Operations",
    "7A": "Quantitative and Qualitative Disclosures About Market Risk",
    "8": "Financial Statements and Supplementary Data",
    "9A": "Controls and Procedures",
    "15": "Exhibits and Financial Statement Schedules",
}


def body(form: Callable[[str, str], str], between: str = PROSE * 5) -> str:
    return "".join(f"{form(number, title)}\n{between}\n" for number, title in TITLES.items())


def found(text: str, form: str = "10-K") -> list[str]:
    return [f"{section.part}.{section.item}".lstrip(".") for section in segment(text, form)]


@pytest.mark.parametrize(
    "form",
    [
        lambda number, title: f"Item {number}. {title}",
        lambda number, title: f"ITEM {number}. {title.upper()}",
        lambda number, title: f"Item {number}.\t{title}",
        lambda number, title: f"ITEM {number}.\n\n{title.upper()}",
        lambda number, title: f"Item {number} - {title}",
        lambda number, title: f"ITEM {number}: {title}",
        lambda number, title: f"Item {number}.{title}",
        lambda number, title: f"I tem {number}.  {title}",
        lambda number, title: f"          ITEM   {number}.   {title.upper()}",
        lambda number, title: (
            f"Item {number[0]}({number[1]}). {title}" if number[1:] == "A" else f"Item {number}. {title}"
        ),
        lambda number, title: f"Item {number.lower()}. {title}",
        lambda number, title: f"**Item {number}. {title}**",
        lambda number, title: f"PART I. ITEM {number}. {title}",
        lambda number, title: f"Item {number}. {title}. {PROSE.strip()}",
    ],
)
def test_a_heading_is_found_however_it_is_written(form: Callable[[str, str], str]) -> None:
    assert found(body(form)) == list(TITLES)


def test_a_section_runs_from_its_heading_to_the_next_one() -> None:
    text = body(lambda number, title: f"Item {number}. {title}") + "SIGNATURES\n\nJane Doe\n"
    sections = segment("Cover page\n\n" + text, "10-K")
    assert [section.title for section in sections] == list(TITLES.values())
    for section in sections:
        piece = ("Cover page\n\n" + text)[section.start : section.end]
        assert piece == f"Item {section.item}. {section.title}\n{PROSE * 5}".rstrip()


@pytest.mark.parametrize(
    "row", ["Item {}.\t{}\t{}", "Item {}.  {} .......... {}", "Item {}. {}   {}", "ITEM {} {}\t{}"]
)
def test_the_table_of_contents_is_not_the_filing(row: str) -> None:
    contents = "\n".join(row.format(number, title, page) for page, (number, title) in enumerate(TITLES.items(), 1))
    text = f"TABLE OF CONTENTS\nPART I\n{contents}\nSignatures\t99\n\nPART I\n" + body(lambda n, t: f"Item {n}. {t}")
    sections = segment(text, "10-K")
    assert [section.item for section in sections] == list(TITLES)
    assert all(section.end - section.start > 400 for section in sections)


def test_contents_at_the_end_and_contents_right_above_item_1_are_contents() -> None:
    contents = "".join(f"Item {number}. {title}\n" for number, title in TITLES.items())
    text = f"{contents}{body(lambda n, t: f'Item {n}. {t}')}{contents}"
    assert [(section.item, section.end - section.start > 400) for section in segment(text, "10-K")][:-1] == [
        (number, True) for number in list(TITLES)[:-1]
    ]


def test_a_list_of_omitted_items_that_nothing_repeats_is_the_filing() -> None:
    text = "PART I\nItem 1. Business\nItem 1A. Risk Factors\nItem 2. Properties\nItem 3. Legal Proceedings\nOmitted.\n"
    assert found(text) == ["1", "1A", "2", "3"]


def test_references_at_the_start_of_a_line_are_no_headings() -> None:
    text = body(lambda number, title: f"Item {number}. {title}").replace(
        "Item 2. Properties",
        "The effect on our results is told in our discussion, which we have put under\n"
        "Item 7. Management's Discussion and Analysis, and in\n"
        "Item 8 of this report.\nItem 405 of Regulation S-K is not meant.\n"
        "Item 7, “Management's Discussion”, says more.\n"
        "Item 9A. Controls and Procedures (continued)\n"
        "Item 2. Properties",
    )
    sections = {section.item: section for section in segment(text, "10-K")}
    assert list(sections) == list(TITLES)
    assert text.count("\n", 0, sections["7"].start) > text.count("\n", 0, sections["3"].start)


def test_running_heads_do_not_move_an_item() -> None:
    pages = f"PART I\nItem 1\n\n{PROSE * 20}" * 4
    text = f"PART I\nItem 1\n\nITEM 1. BUSINESS\n{PROSE}{pages}PART I\nItem 1A\n\nITEM 1A. RISK FACTORS\n{PROSE * 30}"
    assert [text[section.start :].split("\n")[0] for section in segment(text, "10-K")] == [
        "ITEM 1. BUSINESS",
        "ITEM 1A. RISK FACTORS",
    ]


@pytest.mark.parametrize(
    ("heading", "numbers"),
    [
        ("Items 1 and 2. Business and Properties", ["1", "2"]),
        ("ITEMS 1. AND 2. BUSINESS AND PROPERTIES", ["1", "2"]),
        ("Items 10, 11, 12, 13 and 14", ["10", "11", "12", "13", "14"]),
        ("Items 10 through 14. Directors and others", ["10", "11", "12", "13", "14"]),
        ("Item 7 and 7A. Management's Discussion and Analysis", ["7", "7A"]),
        ("Item 7. and Item 7A. Management's Discussion and Analysis", ["7", "7A"]),
    ],
)
def test_a_combined_heading_opens_all_its_items_at_one_place(heading: str, numbers: list[str]) -> None:
    sections = segment(f"{heading}\n{PROSE}\nItem 15. Exhibits\n{PROSE}", "10-K")
    assert [section.item for section in sections] == [*numbers, "15"]
    assert len({(section.start, section.end) for section in sections}) == 2


def test_the_two_parts_of_a_10q_are_kept_apart() -> None:
    first = [
        "1. Financial Statements",
        "2. Management's Discussion",
        "3. Quantitative and Qualitative",
        "4. Controls and",
    ]
    second = ["1. Legal Proceedings", "1A. Risk Factors", "2. Unregistered Sales", "6. Exhibits"]
    text = "PART I\n" + "".join(f"Item {title}\n{PROSE * 4}" for title in first)
    text += "PART II\n" + "".join(f"Item {title}\n{PROSE * 4}" for title in second)
    assert found(text, "10-Q") == ["I.1", "I.2", "I.3", "I.4", "II.1", "II.1A", "II.2", "II.6"]
    assert found(text.replace("PART II\n", ""), "10-Q") == ["I.1", "I.2", "I.3", "I.4", "II.1", "II.1A", "II.2", "II.6"]
    assert found("FORM 10-Q\n" + text, "") == ["I.1", "I.2", "I.3", "I.4", "II.1", "II.1A", "II.2", "II.6"]


def test_items_that_the_filer_put_in_another_order_are_found() -> None:
    order = [
        "2. Management's Discussion",
        "1. Financial Statements",
        "3. Quantitative and Qualitative",
        "4. Controls and",
    ]
    text = "PART I\n" + "".join(f"Item {title}\n{PROSE * 4}" for title in order)
    assert found(text, "10-Q") == ["I.2", "I.1", "I.3", "I.4"]


def test_the_items_of_a_current_report_come_in_any_order() -> None:
    text = f"Item 9.01 Financial Statements and Exhibits\n{PROSE}\nItem 5.02(e): Departure of Directors\n{PROSE}"
    assert found(text, "8-K") == ["9.01", "5.02"]
    text = f"Items 2.02 and 7.01. Results of Operations\n{PROSE}\nItem 8.01 Other Events\n{PROSE}Item 7. Management's\n"
    assert found(text, "8-K") == ["2.02", "7.01", "8.01"]
    assert found(f"Item 5. Other Events.\n{PROSE}\nItem 7. Financial Statements and Exhibits\n{PROSE}", "8-K") == [
        "5",
        "7",
    ]


def test_an_index_at_the_end_leads_to_the_headings_without_number() -> None:
    text = "".join(f"{title.upper()}\n{PROSE * 6}\n" for title in TITLES.values())
    text += "FORM 10-K CROSS REFERENCE INDEX\n"
    text += "".join(f"Item {number}.\t{title}\t{page}\n" for page, (number, title) in enumerate(TITLES.items(), 4))
    sections = segment(text, "10-K")
    assert [section.item for section in sections] == list(TITLES)
    assert all(text[section.start :].startswith(TITLES[section.item].upper()) for section in sections)


def test_headings_without_any_number_are_found_by_their_titles() -> None:
    # Exhibits have been Item 14 and Item 15.
    assert found(body(lambda number, title: title.upper()))[:-1] == list(TITLES)[:-1]
    assert found(PROSE * 20) == []


TEXT = st.text(st.sampled_from("Item 1A.\n\t()PARTI2789.0and,-ofBusines\xa0“"), max_size=300)
LINES = st.lists(
    st.sampled_from(
        [
            "Item 1. Business",
            "Item 1A.",
            "PART II",
            "Item 7. Management's\t3",
            "Items 1 and 2.",
            "x" * 200,
            "",
            "SIGNATURES",
        ]
    ),
    max_size=40,
).map("\n".join)


@settings(max_examples=300, deadline=None)
@given(TEXT | LINES, st.sampled_from(["10-K", "10-Q", "8-K", "", "20-F", "S-1"]))
def test_sections_lie_in_the_text_in_order_and_do_not_overlap(text: str, form: str) -> None:
    sections = segment(text, form)
    spans = sorted({(section.start, section.end) for section in sections})
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert len({(section.part, section.item) for section in sections}) == len(sections)
    assert [section.start for section in sections] == sorted(section.start for section in sections)
    assert all(isinstance(section, Section) and text[section.start] != "\n" for section in sections)


@pytest.mark.parametrize(
    "line",
    ["Item 1. Business\n", "Item 1", "Item 1, 2, 3, 4, 5\n", "PART I\n", " " * 80 + "\n", "Item 1A.\n\n", "I t e m "],
)
def test_time_grows_with_the_text_and_no_faster(line: str) -> None:
    def seconds(times: int) -> float:
        best = 1e9
        for _ in range(2):
            start = time.process_time()
            segment(line * times, "10-K")
            best = min(best, time.process_time() - start)
        return best

    small, large = seconds(1_500), seconds(6_000)
    assert large < 8 * small or large < 0.3
