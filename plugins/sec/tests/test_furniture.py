"""Page numbers, running heads and feet: what goes, and what looks like them and stays."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt_sec.furniture import without_furniture

PROSE = "The Company makes pumps for the paper industry. It sells them to mills in many countries of the world. " * 4


def pages(foot: str, head: str = "", number: int = 8, first: int = 1) -> str:
    return "".join(f"{head}{PROSE} Page text {n * n}.\n{foot.format(n)}\n\n" for n in range(first, first + number))


@pytest.mark.parametrize(
    "foot",
    [
        "{}",
        "- {} -",
        "Page {}",
        "F-{}",
        "{} of 8",
        "Pumps Inc. | 2024 Form 10-K | {}",
        "{}\tPumps Inc. 2024 Annual Report",
    ],
)
def test_lines_that_count_the_pages_go_and_nothing_else_does(foot: str) -> None:
    text = without_furniture(pages(foot))
    assert [line for line in text.split("\n") if line] == [f"{PROSE} Page text {n * n}." for n in range(1, 9)]


def test_repeated_links_to_the_contents_go_but_for_the_first() -> None:
    text = "Table of Contents\n" + pages("{}", head="Table of Contents\n")
    assert without_furniture(text).count("Table of Contents") == 1


def test_heads_that_stand_at_every_page_break_go_but_for_the_first() -> None:
    text = without_furniture(pages("{}", head="PUMPS INC. AND SUBSIDIARIES\nNOTES (Continued)\n"))
    assert text.count("PUMPS INC.") == text.count("NOTES") == 1


@pytest.mark.parametrize(
    "line", ["Note {}", "Net sales\t{}", "Item {}", "{}00", "Exhibit {}", "2,{}00", "In 201{} it was so", "({})"]
)
def test_numbers_that_belong_to_the_text_stay(line: str) -> None:
    text = pages(line, number=5).rstrip("\n")
    assert without_furniture(text) == text


def test_a_column_of_numbers_is_no_page_numbering() -> None:
    text = "Year\n" + "".join(f"{n}\n" for n in range(1, 30)) + PROSE
    assert without_furniture(text) == text


def test_a_line_that_stands_elsewhere_too_is_no_head() -> None:
    text = pages("{}", head="(In millions)\n") + f"(In millions)\n{PROSE}\n{PROSE}\n\n" * 6
    assert without_furniture(text).count("(In millions)") == 14


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["1", "2", "3", "4", "", "PART I", "Table of Contents", PROSE, "Form 10-K 1"]), max_size=60
    )
)
def test_what_is_left_are_lines_of_the_text_in_their_order(lines: list[str]) -> None:
    left = [line for line in without_furniture("\n".join(lines)).split("\n") if line]
    given_lines = iter(lines)
    assert all(line in given_lines for line in left)
    assert left.count(PROSE) == lines.count(PROSE)
