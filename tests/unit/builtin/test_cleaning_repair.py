"""Repair of characters, masking of persons, lines that stand everywhere."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domadapt.artifacts import document_schema
from domadapt.builtin.cleaning.boilerplate import BoilerplateLines, LineCounts
from domadapt.builtin.cleaning.pii import Pii, is_card_number, luhn
from domadapt.builtin.cleaning.unicode_repair import UnicodeRepair
from domadapt.components import Cleaner


def batch_of(*texts: str) -> pa.RecordBatch:
    names = [f"d{i}" for i in range(len(texts))]
    columns = [names, list(texts), ["test"] * len(texts), [""] * len(texts), names, ["{}"] * len(texts)]
    return pa.RecordBatch.from_arrays([pa.array(c, pa.string()) for c in columns], schema=document_schema())


def cleaned(cls: type[Cleaner], text: str, **options: Any) -> tuple[str, Counter[str]]:
    cleaner = cls(cls.Config.model_validate(options))
    kept, _ = cleaner.clean(batch_of(text))
    return kept["text"].to_pylist()[0], cleaner.tally  # type: ignore[attr-defined]


# --- unicode


def misread(text: str, encoding: str) -> str:
    return "".join(
        bytes([b]).decode(encoding, "replace") if encoding == "latin-1" or b not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
        else chr(b)
        for b in text.encode()
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
@pytest.mark.parametrize(
    "text",
    [
        "the company’s “net sales” – up",
        "café, naïve, über, São",
        "5 µg of β-carotene, α = 0.05, ≤ 3 and ± 2",
        "10 € or £9, ½ and 5 °C",
        "Acme™ and Foo®",
        "Москва",
        "ok \U0001f600",
    ],
)
def test_text_that_was_read_in_the_wrong_encoding_is_what_it_was(text: str, encoding: str) -> None:
    assert cleaned(UnicodeRepair, misread(text, encoding))[0] == text


def test_text_that_was_read_wrongly_twice_is_repaired_too() -> None:
    assert cleaned(UnicodeRepair, misread(misread("it’s", "cp1252"), "cp1252"))[0] == "it’s"


@pytest.mark.parametrize(
    "text",
    [
        "CAFÉ»",
        "“AMANHÃ”",
        "à la carte: crème brûlée",
        "Ångström Â and Ã alone",
        "Übermäßig — “quoted” … €5",
        "x² + y² ≤ z²",
        "Île de la Cité",
        "line\x85break",
        "a < b &amp; c",
    ],
)
def test_text_that_is_right_stays(text: str) -> None:
    found, tally = cleaned(UnicodeRepair, text)
    assert found == text
    assert not tally


@pytest.mark.parametrize(
    ("text", "wanted", "kind"),
    [
        ("it\x92s \x93so\x94 \x85", "it’s “so” …", "Windows-1252 read as Latin-1"),
        ("R&amp;D &#8212; 5&nbsp;%", "R&D — 5\xa0%", "entities"),
        ("e\ufb03cient, ＡＢ１, soft\xadhyphen, \uf0b7 item", "efficient, AB1, softhyphen, • item", "lookalikes"),
    ],
)
def test_each_repair_is_made_and_counted(text: str, wanted: str, kind: str) -> None:
    found, tally = cleaned(UnicodeRepair, text)
    assert found == wanted
    assert tally[kind] > 0


def test_documents_full_of_holes_are_dropped() -> None:
    kept, dropped = UnicodeRepair().clean(batch_of("a" * 99 + "\ufffd", "a" * 98 + "\ufffd" * 2))
    assert kept.num_rows == 1
    assert dropped == {"unreadable characters": 1}


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_repairing_never_fails_and_ascii_without_entities_is_left_alone(text: str) -> None:
    kept, dropped = UnicodeRepair().clean(batch_of(text))
    assert kept.num_rows + sum(dropped.values()) == 1
    if text.isascii() and "&" not in text:
        assert kept["text"].to_pylist() == [text]


@given(st.text("abc ’“”–éüβ€", max_size=60))
def test_right_text_of_usual_characters_survives_one_wrong_reading(text: str) -> None:
    assert cleaned(UnicodeRepair, misread(text, "cp1252"))[0] == text


# --- personal data


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("write to Jane.Doe+x@mail.example.co.uk.", "write to <EMAIL>."),
        ("call (212) 555-0123 or 1-800-555-0199", "call <PHONE> or <PHONE>"),
        ("tel. +44 20 7946 0958, +49 (89) 1234-567", "tel. <PHONE>, <PHONE>"),
        ("fax 212.555.0123;", "fax <PHONE>;"),
        ("SSN 219-09-9999", "SSN <SSN>"),
        ("card 4111 1111 1111 1111 or 5500-0000-0000-0004", "card <CARD> or <CARD>"),
        ("amex 3782 822463 10005", "amex <CARD>"),
    ],
)
def test_what_identifies_a_person_is_masked(text: str, wanted: str) -> None:
    found, tally = cleaned(Pii, text)
    assert found == wanted
    assert tally["documents"] == 1
    assert tally.total() - 1 == wanted.count("<")


@pytest.mark.parametrize(
    "text",
    [
        "Commission File Number 001-36743, IRS No. 94-2404110",
        "accession 0000320193-19-000119, CIK 0000320193",
        "Net sales 265,595 229,234 215,639",
        "US 9,123,456 B2; application 14/123,456; PCT/US2012/034567",
        "NCT01234567, doi:10.1371/journal.pone.0123456, PMID 12345678",
        "ORCID 0000-0002-1825-0097, ISBN 978-3-16-148410-0",
        "000-12-3456, 666-12-3456, 900-12-3456, 123-00-4567, 123-45-0000",
        "4111 1111 1111 1112",
        "4111111111111111.50",
        "SEQ ID NO: 12, residues 100-200-3000",
        "@ home, a@b, user@localhost",
        "between 2010-2015-2020 and 100.200.3000",
        "0.212-555-0123",
        "12,212-555-0123",
    ],
)
def test_numbers_of_filings_articles_and_patents_are_left_alone(text: str) -> None:
    assert cleaned(Pii, text) == (text, {})


def test_only_the_kinds_asked_for_are_masked_with_the_mask_asked_for() -> None:
    assert cleaned(Pii, "a@b.com 219-09-9999", kinds=["ssn"], mask="[{kind}]")[0] == "a@b.com [SSN]"


@given(st.integers(0, 10**15 - 1))
def test_exactly_one_check_digit_fits(number: int) -> None:
    assert sum(luhn(f"{number:015d}{digit}") for digit in range(10)) == 1


@pytest.mark.parametrize(
    ("digits", "real"),
    [
        ("4111111111111111", True),
        ("378282246310005", True),
        ("6011111111111117", True),
        ("30569309025904", False),  # Diners' 305 ended; of 14 digits 30 is let through only with its check digit
        ("4111111111111112", False),
        ("1111111111111117", False),
        ("411111111111111", False),
    ],
)
def test_card_numbers_have_their_networks_prefix_length_and_check_digit(digits: str, real: bool) -> None:
    assert is_card_number(digits) is (real or (luhn(digits) and digits.startswith("30")))


@pytest.mark.parametrize("piece", ["a.", "1-", "+1 ", "4111 ", "a@a.", "a@", "(212) 555-", "1" * 7 + " "])
def test_masking_is_linear_in_hostile_text(piece: str) -> None:
    def seconds(repeats: int) -> float:
        started = time.process_time()
        cleaned(Pii, piece * repeats)
        return time.process_time() - started

    assert seconds(80_000) < 8 * seconds(20_000) + 0.2


@given(st.text(st.sampled_from("0123456789 -+().@ab,\n"), max_size=120))
def test_masking_twice_changes_nothing_more(text: str) -> None:
    once = cleaned(Pii, text)[0]
    assert cleaned(Pii, once)[0] == once


# --- boilerplate


def through(cleaner: BoilerplateLines, *texts: str) -> tuple[list[str], int]:
    cleaner.survey(batch_of(*texts), 0)
    kept, dropped = cleaner.clean(batch_of(*texts))
    return kept["text"].to_pylist(), dropped["only boilerplate"]


NOTICE = "This page was archived under the terms of the archive's licence."


def test_a_line_of_many_documents_goes_from_all_of_them_whatever_its_case_and_spaces() -> None:
    texts = [f"document {i} says what no other one says\n{NOTICE if i % 2 else NOTICE.upper()}  " for i in range(10)]
    assert through(BoilerplateLines(), *texts) == ([text.split("\n")[0] for text in texts], 0)


def test_a_line_of_one_document_fewer_stays() -> None:
    texts = [f"document {i}\n{NOTICE}" for i in range(9)] + ["document 9"]
    assert through(BoilerplateLines(), *texts) == (texts, 0)


def test_a_line_that_one_document_repeats_counts_once() -> None:
    texts = [f"{NOTICE}\n" * 50, "another"]
    assert through(BoilerplateLines(), *texts) == (texts, 0)


def test_short_lines_and_rows_of_numbers_stay() -> None:
    texts = [f"{i}\nTotal revenues\n1,234,567 2,345,678 3,456,789 4,567,890 5,678,901" for i in range(20)]
    assert through(BoilerplateLines(), *texts) == (texts, 0)


def test_documents_of_nothing_else_are_dropped_and_lines_are_counted() -> None:
    cleaner = BoilerplateLines()
    assert through(cleaner, *[NOTICE] * 12, "own text") == (["own text"], 12)
    assert cleaner.tally == {"lines": 12, "characters": 12 * len(NOTICE)}


def test_in_a_large_corpus_ten_documents_are_no_majority() -> None:
    cleaner = BoilerplateLines(BoilerplateLines.Config.model_validate({"share": 0.2}))
    texts = [f"{NOTICE}\n{i}" for i in range(15)] + [str(i) for i in range(85)]
    assert through(cleaner, *texts) == (texts, 0)


@given(st.lists(st.sets(st.sampled_from([f"line {i}" for i in range(30)]), max_size=6), max_size=40))
def test_counts_of_lines_are_exact_in_a_roomy_table_and_never_too_low_in_a_crowded_one(lines: list[set[str]]) -> None:
    truth = Counter(line for document in lines for line in document)
    roomy, crowded = LineCounts(16), LineCounts(2)
    for document in lines:
        roomy.add(document)
        crowded.add(document)
    if truth:
        assert roomy.seen(list(truth)).tolist() == list(truth.values())
        assert all(crowded.seen(list(truth)) >= list(truth.values()))


def test_counts_stop_at_255() -> None:
    counts = LineCounts(8)
    for _ in range(300):
        counts.add({"x"})
    assert counts.seen(["x"]).tolist() == [255]
