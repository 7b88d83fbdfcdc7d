"""PubMed's files: what becomes text, which version of a citation holds, and that nothing costs more than itself."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt.artifacts import document_schema
from domadapt.errors import MissingError
from domadapt_medical.jats.xml import Rejected
from domadapt_medical.pubmed import stream as streaming
from domadapt_medical.pubmed.citation import deleted_pmids, parse_citation
from domadapt_medical.pubmed.source import PubmedOptions, PubmedSource
from domadapt_medical.pubmed.stream import pieces_of
from domadapt_medical.seen import Numbers

Rejections = tuple[list[tuple[str, str]], Callable[[str, str], None]]
FULL = """<PubmedArticle><MedlineCitation Status="MEDLINE"><PMID Version="2">31</PMID><Article>
<Journal><ISSN IssnType="Print">1111-2222</ISSN><JournalIssue><PubDate><MedlineDate>1998 Dec-1999 Jan</MedlineDate>
</PubDate></JournalIssue><Title>Annals of Nowhere</Title></Journal>
<ArticleTitle>[Zovelcamten in CO<sub>2</sub> &lt; 5&nbsp;kPa].</ArticleTitle>
<Abstract><AbstractText Label="METHODS" NlmCategory="METHODS">Of 10<sup>3</sup> people, <i>all</i>.</AbstractText>
<AbstractText Label="UNLABELLED">Between.</AbstractText>
<AbstractText Label="Results:">A rate of
<mml:math><mml:mfrac><mml:mn>1</mml:mn><mml:mn>2</mml:mn></mml:mfrac></mml:math>.
(ABSTRACT TRUNCATED AT 250 WORDS)</AbstractText><CopyrightInformation>© Nobody</CopyrightInformation></Abstract>
<Language>ger</Language><PublicationTypeList><PublicationType>Journal Article</PublicationType></PublicationTypeList>
</Article><CommentsCorrectionsList><CommentsCorrections RefType="Cites"><PMID>5</PMID></CommentsCorrections>
<CommentsCorrections RefType="CommentOn"><PMID>7</PMID></CommentsCorrections></CommentsCorrectionsList>
<MeshHeadingList><MeshHeading><DescriptorName MajorTopicYN="N">Fever</DescriptorName>
<QualifierName MajorTopicYN="Y">drug therapy</QualifierName></MeshHeading></MeshHeadingList>
<KeywordList><Keyword>heat</Keyword></KeywordList>
<OtherAbstract Language="ger"><AbstractText>Auf Deutsch.</AbstractText></OtherAbstract></MedlineCitation>
<PubmedData><ArticleIdList><ArticleId IdType="doi">10.1/ABC</ArticleId>
<ArticleId IdType="pmc">PMC9</ArticleId></ArticleIdList>
<ReferenceList><Reference><ArticleIdList><ArticleId IdType="doi">10.1/other</ArticleId></ArticleIdList></Reference>
</ReferenceList></PubmedData></PubmedArticle>"""


def small(pmid: int, text: str = "Words.", extra: str = "", language: str = "eng") -> str:
    abstract = f"<Abstract><AbstractText>{text}</AbstractText></Abstract>" if text else ""
    return (
        f'<MedlineCitation><PMID Version="1">{pmid}</PMID><Article><Journal><ISSN>0000-{pmid % 2}</ISSN></Journal>'
        f"<ArticleTitle>T{pmid}</ArticleTitle>{abstract}<Language>{language}</Language>{extra}</Article></MedlineCitation>"
    )


def medline(*citations: str, deleted: tuple[int, ...] = ()) -> bytes:
    gone = "".join(f'<PMID Version="1">{number}</PMID>' for number in deleted)
    tail = f"<DeleteCitation>{gone}</DeleteCitation>" if deleted else ""
    inner = "\n".join(citations)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<MedlineCitationSet>\n{inner}{tail}</MedlineCitationSet>\n'.encode()
    )


def read(rejections: Rejections, path: Path, **options: Any) -> list[dict[str, str]]:
    rows = []
    for batch in PubmedSource(PubmedOptions(path=path, **options)).read(rejections[1]):
        assert batch.schema == document_schema()
        rows += batch.to_pylist()
    return rows


def test_a_citation_becomes_title_and_labelled_abstract() -> None:
    citation = parse_citation(FULL.encode())
    assert citation.text().split("\n\n") == [
        "Zovelcamten in CO2 < 5 kPa.",
        "METHODS: Of 10^3 people, all.",
        "Between.",
        "Results: A rate of 1/2.",
    ]
    assert citation.text(labels=False).split("\n\n")[1:] == ["Of 10^3 people, all.", "Between.", "A rate of 1/2."]
    assert (citation.pmid, citation.family, citation.languages) == ("31", "7", ("ger",))
    assert citation.license == "© Nobody"
    assert citation.facts == {
        "title": "Zovelcamten in CO2 < 5 kPa.",
        "journal": "Annals of Nowhere",
        "issn": "1111-2222",
        "year": "1998",
        "language": "ger",
        "pmid": "31",
        "doi": "10.1/abc",
        "pmcid": "PMC9",
        "mesh": ["Fever/*drug therapy"],
        "types": ["Journal Article"],
        "keywords": ["heat"],
        "truncated": True,
    }


def test_a_book_chapter_is_read_like_an_article() -> None:
    data = (
        b"<PubmedBookArticle><BookDocument><PMID>8</PMID><Book><BookTitle>Drugs</BookTitle><PubDate><Year>2020</Year>"
        b"</PubDate></Book><ArticleTitle>Zovelcamten</ArticleTitle><Language>eng</Language><Abstract><AbstractText>Rare."
        b"</AbstractText></Abstract></BookDocument></PubmedBookArticle>"
    )
    citation = parse_citation(data)
    assert (citation.text(), citation.facts["year"]) == ("Zovelcamten\n\nRare.", "2020")
    assert citation.facts["journal"] == "Drugs"


def test_files_are_read_plain_and_packed_and_each_citation_once_in_its_newest_version(
    tmp_path: Path, rejections: Rejections
) -> None:
    (tmp_path / "pubmed26n0001.xml.gz").write_bytes(
        gzip.compress(medline(small(1, "old"), small(2), small(3), small(4)))
    )
    (tmp_path / "updates").mkdir()
    (tmp_path / "updates" / "pubmed26n0900.xml").write_bytes(medline(small(1, "new"), small(6), deleted=(2, 6)))
    (tmp_path / "updates" / "pubmed26n0901.xml.xz").write_bytes(lzma.compress(medline(small(4, "newest"), small(2))))
    rows = read(rejections, tmp_path)
    # 2 was deleted and came back later, 6 went with the file that brought it
    assert [(row["id"], row["text"]) for row in rows] == [
        ("4", "T4\n\nnewest"),
        ("2", "T2\n\nWords."),
        ("1", "T1\n\nnew"),
        ("3", "T3\n\nWords."),
    ]
    old, gone = "replaced by a newer version", "deleted by PubMed"
    assert rejections[0] == [
        (gone, "updates/pubmed26n0900.xml: 6"),
        (old, "pubmed26n0001.xml.gz: 1"),
        (gone, "pubmed26n0001.xml.gz: 2"),
        (old, "pubmed26n0001.xml.gz: 4"),
    ]


def test_options_choose_citations(tmp_path: Path, rejections: Rejections) -> None:
    withdrawn = "<PublicationTypeList><PublicationType>Retracted Publication</PublicationType></PublicationTypeList>"
    citations = [small(1), small(2, ""), small(3, extra=withdrawn), small(4, language="ger")]
    (tmp_path / "a.xml").write_bytes(medline(*citations))
    assert [row["id"] for row in read(rejections, tmp_path, languages=["eng"])] == ["1"]
    assert [reason for reason, _ in rejections[0]] == ["no abstract", "retracted", "language not wanted"]
    everything = read(rejections, tmp_path, titles=True, retracted=True, group="journal")
    assert [(row["id"], row["group"]) for row in everything] == [
        ("1", "0000-1"),
        ("2", "0000-0"),
        ("3", "0000-1"),
        ("4", "0000-0"),
    ]
    assert everything[1]["text"] == "T2"
    assert json.loads(everything[3]["meta"])["language"] == "ger"


def test_damage_costs_one_citation_and_is_counted(tmp_path: Path, rejections: Rejections) -> None:
    broken = small(2).replace("<Article>", "<Article><b>")
    unclosed = small(3).removesuffix("</MedlineCitation>")
    latin = small(5, "caf\xe9").encode("latin-1")
    nameless = small(6).replace(">6<", ">six<")
    data = medline(small(1), broken, unclosed, small(4), "LATIN", nameless, small(7)).replace(b"LATIN", latin)
    (tmp_path / "a.xml").write_bytes(data)
    assert [row["id"] for row in read(rejections, tmp_path)] == ["1", "4", "7"]
    assert set(rejections[0]) == {
        ("damaged XML", "a.xml: 2"),
        ("citation without end", "a.xml: 3"),
        ("wrong encoding", "a.xml: 5"),
        ("no PMID", "a.xml"),
    }


def test_a_declared_encoding_is_used(tmp_path: Path, rejections: Rejections) -> None:
    data = medline(small(1, "caf\xe9")).decode().replace("UTF-8", "ISO-8859-1").encode("latin-1")
    (tmp_path / "a.xml").write_bytes(data)
    assert [row["text"] for row in read(rejections, tmp_path)] == ["T1\n\ncaf\xe9"]


def test_files_that_were_cut_off_or_are_something_else_are_said(tmp_path: Path, rejections: Rejections) -> None:
    random_words = random.Random(1)
    whole = medline(*(small(n, random_words.randbytes(2000).hex()) for n in range(1, 200)))
    (tmp_path / "a.xml.gz").write_bytes(gzip.compress(whole)[:-2000])
    (tmp_path / "b.xml").write_bytes(medline(small(900), small(901))[: -len("</MedlineCitationSet>\n")])
    (tmp_path / "c.xml").write_bytes(medline(small(902), small(903))[:-60])
    (tmp_path / "d.xml").write_bytes(b"<article/>")
    (tmp_path / "e.xml").write_bytes(medline(small(904)).decode().encode("utf-16"))
    (tmp_path / "f.xml.xz").write_bytes(b"no xz")
    ids = [int(row["id"]) for row in read(rejections, tmp_path)]
    assert ids[:3] == [902, 900, 901]
    assert 5 < len(ids) < 190
    assert rejections[0] == [
        ("damaged file", "f.xml.xz"),
        ("not PubMed XML", "e.xml"),
        ("not PubMed XML", "d.xml"),
        ("citation without end", "c.xml: 903"),
        ("file without end", "c.xml"),
        ("file without end", "b.xml"),
        ("damaged file", "a.xml.gz"),
    ]


def test_a_citation_too_long_for_memory_is_rejected_and_the_next_one_read(
    tmp_path: Path, rejections: Rejections
) -> None:
    (tmp_path / "a.xml").write_bytes(medline(small(1, "x" * (2 * streaming.MAX_CITATION)), small(2)))
    assert [row["id"] for row in read(rejections, tmp_path)] == ["2"]
    assert rejections[0] == [("citation without end", "a.xml: 1")]


class Endless(io.RawIOBase):
    """A stream that repeats a pattern up to a size."""

    def __init__(self, pattern: bytes, size: int) -> None:
        self._block, self._left = pattern * (-(-(1 << 18) // len(pattern))), size

    def read(self, size: int = -1) -> bytes:
        data = self._block[: min(size, self._left, len(self._block))]
        self._left -= len(data)
        return data


@pytest.mark.parametrize(
    "pattern",
    [b"x", b"<MedlineCitation ", b"<MedlineCitation", b"<MedlineCitation><PubmedArticle>", b"</MedlineCitation>", b"<"],
)
def test_cutting_takes_little_memory_and_linear_time_whatever_comes(
    pattern: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "MAX_CITATION", 1 << 20)
    start = time.process_time()
    tracemalloc.start()
    for piece in pieces_of(Endless(pattern, 2_500_000)):
        assert not piece.whole
        assert len(piece.data) <= streaming.HEAD
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000
    assert time.process_time() - start < 15


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.xml"
        path.write_bytes(medline(*(small(n, "word " * 1000) for n in range(count))))
        tracemalloc.start()
        kept = sum(batch.num_rows for batch in PubmedSource(PubmedOptions(path=path)).read(lambda *_: None))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert kept == count
        return top

    peak(3)  # imports
    assert peak(900) < 1.3 * peak(300)


def test_numbers_are_remembered_and_no_others() -> None:
    numbers = Numbers()
    for number in (0, 7, 8, 99_999_999):
        numbers.add(number)
    assert [n for n in (0, 1, 7, 8, 9, 15, 16, 99_999_998, 99_999_999, 10**9) if n in numbers] == [0, 7, 8, 99_999_999]


def test_missing_files_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no PubMed citations in this folder; wanted files that end in \.xml, "):
        PubmedSource(PubmedOptions(path=tmp_path)).fingerprint()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([small(1), small(2), "<MedlineCitation>", "</MedlineCitation>", "<!--", "]]>", "<a"])))
def test_cutting_does_not_depend_on_how_much_is_read_at_once(parts: list[str]) -> None:
    data = medline(*parts)
    one_by_one = [*pieces_of(Slow(data))]
    assert one_by_one == [*pieces_of(io.BytesIO(data))]


class Slow(io.BytesIO):
    """A stream that gives a few bytes at a time."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(7, size or 7))


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_a_damaged_citation_is_read_or_rejected(data: st.DataObject) -> None:
    damaged = bytearray(FULL.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(damaged)))
        end = data.draw(st.integers(start, min(len(damaged), start + 120)))
        damaged[start:end] = data.draw(
            st.one_of(
                st.binary(max_size=8), st.sampled_from([b"<PMID>", b"</Article>", b"&x;", b"<!DOCTYPE a>", b"]]>"])
            )
        )
    for piece in pieces_of(io.BytesIO(bytes(damaged))):
        with suppress(Rejected):
            citation = parse_citation(piece.data)
            assert citation.pmid.isdigit()
            assert citation.text().encode()
    assert all(number < 10**8 for number in deleted_pmids(bytes(damaged)))


def test_entities_cannot_be_declared_inside_a_citation() -> None:
    bomb = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
    with pytest.raises(Rejected, match="damaged XML"):
        parse_citation((bomb + small(1, "&b;")).encode())
    assert parse_citation(small(1, "&b;&alpha;").encode()).text() == "T1\n\n\ufffdα"


def test_any_bytes_give_no_crash(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("bytes")

    @settings(max_examples=60, deadline=None)
    @given(st.binary(max_size=200), st.sampled_from([".xml", ".xml.gz", ".xml.xz"]))
    def check(data: bytes, suffix: str) -> None:
        file = folder / f"a{suffix}"
        file.write_bytes(data)
        reasons: list[str] = []
        assert list(PubmedSource(PubmedOptions(path=file)).read(lambda reason, where: reasons.append(reason))) == []
        assert len(reasons) == 1

    check()


@pytest.fixture(scope="module")
def real_medline(real_data: Path) -> Path:
    return real_data / "medical" / "medline" / "medline16n0902.xml.gz"


def expected(file: Path) -> Iterator[tuple[str, str, str, int]]:
    """PMID, title, text of the abstract and number of MeSH headings, by lxml's own means."""
    from lxml import etree

    for citation in etree.fromstring(gzip.decompress(file.read_bytes())).iterfind("MedlineCitation"):
        abstract = citation.findall("Article/Abstract/AbstractText")
        words = ["".join(part.itertext()) for part in abstract]
        title = "".join(citation.find("Article/ArticleTitle").itertext())
        yield citation.findtext("PMID"), title, " ".join(words), len(citation.findall("MeshHeadingList/MeshHeading"))


def test_a_real_baseline_file_is_read_to_the_last_citation(real_medline: Path, rejections: Rejections) -> None:
    rows = {row["id"]: row for row in read(rejections, real_medline, labels=False)}
    assert {reason for reason, _ in rejections[0]} == {"no abstract"}
    wanted = list(expected(real_medline))
    assert len(rows) + len(rejections[0]) == len(wanted) == 604
    for pmid, title, abstract, num_mesh in wanted:
        if not abstract:
            assert pmid not in rows
            continue
        meta = json.loads(rows[pmid]["meta"])
        assert letters(meta["title"]) == letters(title)
        assert letters(abstract) == letters("".join(rows[pmid]["text"].split("\n\n")[1:]))
        assert len(meta.get("mesh", [])) == num_mesh
        assert meta["year"] in ("2016", *map(str, range(1990, 2016)))


def letters(text: str) -> str:
    """Letters and digits of a text."""
    return "".join(c for c in text if c.isalnum())
