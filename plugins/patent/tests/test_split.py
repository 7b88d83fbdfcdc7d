"""Files into documents."""

from __future__ import annotations

import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domadapt_patent.redbook import split as splitting
from domadapt_patent.redbook.split import split

DECLARED = b'<?xml version="1.0"?>\n'


def documents(data: bytes) -> list[bytes | None]:
    return list(split(io.BytesIO(data)))


def test_each_declaration_starts_a_document() -> None:
    one, two = DECLARED + b"<a/>", DECLARED + b"<b/>"
    assert documents(one + b"\n" + two + b"\n") == [one, two]


def test_documents_joined_without_a_line_break_are_told_apart() -> None:
    assert documents(DECLARED + b"<a/>" + DECLARED + b"<b/>") == [DECLARED + b"<a/>", DECLARED + b"<b/>"]


def test_carriage_returns_and_byte_order_marks_between_documents_do_no_harm() -> None:
    mark = b"\xef\xbb\xbf"
    one, two = mark + b'<?xml version="1.0"?>\r\n<a/>', mark + b'<?xml version="1.0"?>\r\n<b/>'
    assert documents(one + b"\r\n" + two + b"\r\n") == [one, two]


def test_a_document_without_declaration_is_a_document() -> None:
    assert documents(b"\n<a/>\n") == [b"<a/>"]


def test_a_declaration_quoted_in_text_starts_nothing() -> None:
    quoted = DECLARED + b'<p>Files begin with "<![CDATA[<?xml version]]>" always.</p>'
    assert documents(quoted) == [quoted]


def test_a_style_sheet_instruction_starts_nothing() -> None:
    document = DECLARED + b"<?xml-stylesheet href='x'?>\n<a/>"
    assert documents(document) == [document]


def test_blank_files_have_no_documents() -> None:
    assert documents(b"") == documents(b" \r\n\n") == []


@given(
    st.lists(st.integers(0, 40), max_size=12),
    st.integers(1, 50),
    st.sampled_from([b"\n", b"\r\n", b"", b"\n\n"]),
)
def test_the_size_of_a_block_does_not_matter(lengths: list[int], block: int, between: bytes) -> None:
    whole = [DECLARED + b"<a>" + b"x" * length + b"</a>" for length in lengths]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splitting, "BLOCK", block)
        assert documents(between.join(whole)) == whole


def test_a_document_beyond_the_limit_is_left_out_and_the_next_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "BLOCK", 100)
    monkeypatch.setattr(splitting, "LONGEST_DOCUMENT", 1000)
    long, short = DECLARED + b"<a>" + b"x" * 5000 + b"</a>", DECLARED + b"<b/>"
    assert documents(short + b"\n" + long + b"\n" + short) == [short, None, short]


def test_a_long_line_is_searched_once_and_not_again_with_each_block(monkeypatch: pytest.MonkeyPatch) -> None:
    # Searching all that is held with each of 4096 blocks would go through 30 GB.
    monkeypatch.setattr(splitting, "BLOCK", 1 << 12)
    data = DECLARED + b"<a>" + b"x" * (1 << 24) + b"</a>"
    start = time.process_time()
    assert documents(data) == [data]
    assert time.process_time() - start < 2
