"""Every parser on damaged and hostile input: kept, or refused with a reason, quickly and in bounded memory."""

from __future__ import annotations

import io
import random
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt_patent.redbook import split as splitting
from domadapt_patent.redbook.aps import parse as parse_aps
from domadapt_patent.redbook.characters import of_codes
from domadapt_patent.redbook.claims import mentioned, numbered, separated
from domadapt_patent.redbook.patent import NotAPatentError, parse
from domadapt_patent.redbook.split import split

FORMATS = {
    name: (Path(__file__).parent / "formats" / name).read_bytes()
    for name in ("pap.xml", "st32.xml", "st32.sgm", "aps.txt")
}
REASONS = {
    "not a patent document", "sequence listing", "damaged XML", "damaged text", "unknown entity", "no document number",
    "cut short",
}  # fmt: skip
formats = st.sampled_from(sorted(FORMATS))


def reason(document: bytes) -> str:
    """Why a document is refused, "" when it is read; its text must be fit for UTF-8 files."""
    text = refused = ""
    try:
        text = parse(document).text()
    except NotAPatentError as error:
        refused = error.reason
    text.encode("utf-8")
    assert not any(ord(char) < 32 and char not in "\n\t" for char in text)
    assert refused in REASONS or not refused
    return refused


@given(formats, st.integers(0, 2**32), st.integers(1, 12))
@settings(deadline=None)
def test_changed_bytes_are_read_or_refused(name: str, seed: int, changes: int) -> None:
    rng = random.Random(seed)
    damaged = bytearray(FORMATS[name])
    for _ in range(changes):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    reason(bytes(damaged))


@given(formats, st.floats(0, 1))
@settings(deadline=None)
def test_a_cut_document_is_refused(name: str, share: float) -> None:
    data = FORMATS[name]
    cut = data[: int(len(data) * share)]
    if name == "aps.txt" and cut.endswith(b"."):  # lines have no end mark: the front page counts the claims
        reason(cut)
    elif name == "aps.txt" and cut.find(b"NUM  2.\nPAR") > 0:
        assert parse(cut).claims[1].text.startswith("2.")
    elif cut.rstrip() != data.rstrip():
        assert reason(cut)


_PIECES = st.sampled_from(
    b"PATN\n|WKU  099000011\n|NCL  2\n|"
    b"CLMS\n|NUM  1.\n|PAR  1. A\n|TBL  \n|      a\n|ABST\n|<PATDOC>|</PATDOC>|<SDOBI>|<B100>|"
    b"<B110>1</B110>|<CLM ID='CLM-99999999999'>|<CLMSTEP LVL='999'>|<EMI FILE=x>|<patent-application-publication>|"
    b"<claim>|<subdoc-claims>|<number>|<p>|&agr;|&b.alpha|& |&#xFFFFFFFF;|&#55296;|<!DOCTYPE x [|"
    b"]>|<!--|-->|<?|?>|<![CDATA[|]]>|\xff|\x00|\x1a|\r|.sub.|.sup.|.alpha.|HHHHHT\n".split(b"|")
)


@given(
    st.lists(st.one_of(_PIECES, st.binary(max_size=20)), max_size=60).map(b"".join), st.sampled_from([1, 7, 1 << 20])
)
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_split_and_refused_or_read(data: bytes, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splitting, "BLOCK", block)
        found = list(split(io.BytesIO(data)))
    for document in found:
        reason(document or b"")
    kept = b"".join(document or b"" for document in found)
    assert len(kept) <= len(data)
    if b"HHHHHT" not in data:  # only blanks between documents are left out
        assert sorted(kept.translate(None, b" \t\r\n\x1a")) == sorted(data.translate(None, b" \t\r\n\x1a"))


@given(st.text(max_size=200))
def test_any_text_has_codes_and_claims_without_harm(text: str) -> None:
    of_codes(text)
    claims = numbered(separated(text))
    assert all(target < claim.number for claim in claims for target in claim.depends_on)


@pytest.mark.parametrize(
    "unit",
    [b"<a ", b"<!--", b"<!DOCTYPE x [", b"<?x", b"& ", b"<EMI a=", b"<PATDOC>", b"<p>", b"]>", b"'", b"<PARA><PTEXT>"],
)
@pytest.mark.parametrize("root", [b"<PATDOC>", b""])
def test_time_grows_with_length_and_not_with_its_square(unit: bytes, root: bytes) -> None:
    def seconds(length: int) -> float:
        data = root + unit * (length // len(unit))
        start = time.process_time()
        for document in split(io.BytesIO(data)):
            reason(document or b"")
        return time.process_time() - start

    small, large = seconds(1 << 16), seconds(1 << 18)
    assert large < max(0.5, 10 * small)


@pytest.mark.parametrize(
    "unit", ["claims 1, ", "claim ", "1. ", " " * 50, "2 to ", ".sub.", ".sub.1 ", "H.sub.2 ", "."]
)
def test_long_texts_are_searched_once(unit: str) -> None:
    text = "1. A " + unit * (200_000 // len(unit))
    start = time.process_time()
    of_codes(text)
    separated(text)
    mentioned(text, 9, range(1, 9))
    assert time.process_time() - start < 2


def test_deep_nesting_is_refused_and_not_a_crash() -> None:
    deep = b"<PARA>" * 100_000
    assert reason(b"<PATDOC>" + deep) == "damaged XML"
    data = FORMATS["pap.xml"]
    deep = b"<section>" * 3000 + b"<paragraph>deep</paragraph>" + b"</section>" * 3000
    assert reason(data.replace(b"<detailed-description>", b"<detailed-description>" + deep)) == "damaged XML"


def test_garbage_between_the_lines_of_a_green_book_grant_goes_with_the_line_before() -> None:
    data = FORMATS["aps.txt"].replace(b"BSUM\n", b"xx\n" * 1000 + b"QQQQ\nZZZ  z\nBSUM\n")
    assert parse_aps(data).claims == parse_aps(FORMATS["aps.txt"]).claims
    assert parse_aps(data).abstract[0].startswith("A lamp with H2O at 10° C. xx xx")


def test_memory_is_that_of_one_document_however_long_the_file() -> None:
    class Weeks(io.RawIOBase):
        """The same grants again and again, never all in memory."""

        def __init__(self, times: int) -> None:
            self.left, self.held = times, b""

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            while len(self.held) < len(buffer) and self.left:
                self.left -= 1
                self.held += b"".join(FORMATS.values()) * 20
            given = self.held[: len(buffer)]
            self.held = self.held[len(buffer) :]
            buffer[: len(given)] = given
            return len(given)

    def peak(times: int) -> tuple[int, int]:
        tracemalloc.start()
        count = sum(1 for _ in split(io.BufferedReader(Weeks(times))))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return count, most

    (few, small), (many, large) = peak(30), peak(120)
    assert (few, many) == (2400, 9600)
    assert large < 1.5 * small < 16 << 20  # four times the input: memory that grew with it would be 4 times
