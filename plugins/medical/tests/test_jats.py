"""The parser: what becomes text, what does not, and that nothing but a verdict comes out of bad bytes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt_medical.jats import Article, Rejected, parse_articles

ARTICLE = (Path(__file__).parent / "traps.nxml").read_text("utf-8")


def parse(text: str | bytes, **options: bool) -> Article:
    data = text.encode() if isinstance(text, str) else text
    (article,) = parse_articles(data, **options)
    assert isinstance(article, Article), str(article)
    return article


def body(inner: str, declaration: str = "") -> str:
    return (
        f"{declaration}<article><front><article-meta><title-group><article-title>T</article-title></title-group>"
        f"</article-meta></front><body>{inner}</body></article>"
    )


def blocks(inner: str, **options: bool) -> list[str]:
    return parse(body(inner), **options).text.split("\n\n")[1:]


def test_an_article_becomes_its_paragraphs_in_reading_order(article: str) -> None:
    assert parse(article).text.split("\n\n") == [
        "A trial of zovelcamten",
        "Abstract",
        "Short abstract.",
        "Methods",
        "First paragraph, as shown before and by Berg et al. with P<0.05.",
        "Inner",
        "A rate of 10^-3 and CO2, where x_i = 1/(n + 1) holds.",
        "Results",
        "Before the list:",
        "- one\n- two",
        "after the list.",
        "Figure 1. Flow. Of 10 people.",
        "Table 1. Groups.\nItem | Events\nItem | drug | placebo\nfever | 1 | 2\nfever | 3 | 4\nA note.",
    ]


def test_facts_come_from_the_front_matter(article: str) -> None:
    parsed = parse(article)
    assert (parsed.id, parsed.license, parsed.family) == ("PMC1234", "CC-BY-NC-4.0", "10.99999/abc.1")
    assert parsed.facts == {
        "title": "A trial of zovelcamten",
        "type": "research-article",
        "year": "2019",
        "language": "en",
        "journal": "Annals of Nowhere",
        "issn": "2222-2222",
        "pmid": "77",
        "pmcid": "PMC1234",
        "doi": "10.99999/abc.1",
    }


def test_options_drop_captions_and_tables_and_keep_citations(article: str) -> None:
    bare = parse(article, captions=False, tables=False, citations=True).text
    assert "Figure 1" not in bare
    assert "fever" not in bare
    assert "as shown before [1,2] and" in bare


def test_a_default_namespace_changes_nothing(article: str) -> None:
    namespaced = article.replace("<article ", '<article xmlns="http://jats.nlm.nih.gov/ns/archiving/1.3/" ', 1)
    assert parse(namespaced) == parse(article)


def test_several_articles_in_one_document_are_read_one_by_one() -> None:
    inner = body("<p>x</p>")
    found = list(parse_articles(f"<pmc-articleset>{inner}{inner.replace('<p>x</p>', '')}</pmc-articleset>".encode()))
    assert isinstance(found[0], Article)
    assert str(found[1]) == "no text"


def test_peer_review_and_translations_are_not_part_of_the_article() -> None:
    text = body("<p>own</p>").replace("</article>", "<sub-article><body><p>letter</p></body></sub-article></article>")
    assert parse(text).text == "T\n\nown"


@pytest.mark.parametrize(
    ("marks", "wanted"),
    [
        ("[{1}]–[{3}]", "Seen."),
        ("[{1}], [{2}]", "Seen."),
        ("({1}; {2})", "Seen."),
        ("{[1]}", "Seen."),
        ("<sup>{1},{2}</sup>", "Seen."),
        ("(reviewed in [{4}])", "Seen (reviewed in)."),
    ],
)
def test_numeric_citation_marks_go_with_their_brackets(marks: str, wanted: str) -> None:
    filled = marks.replace("{", '<xref ref-type="bibr">').replace("}", "</xref>")
    assert blocks(f"<p>Seen {filled}.</p>") == [wanted]


def test_intervals_and_sets_in_brackets_are_not_taken_for_citations() -> None:
    assert blocks("<p>In [0, 1] and (2) of {3}.</p>") == ["In [0, 1] and (2) of {3}."]


def test_entities_of_the_dtd_are_known_with_and_without_a_doctype() -> None:
    doctype = '<!DOCTYPE article PUBLIC "x" "y.dtd">'
    for declaration in ("", doctype):
        text = parse(body("<p>5&nbsp;&micro;g &plusmn;1 &amp; &lt;2&thinsp;&alpha;</p>", declaration)).text
        assert text == "T\n\n5 µg ±1 & <2 α"


def test_an_unknown_entity_leaves_a_visible_mark() -> None:
    assert parse(body("<p>a&nonsense;b</p>", '<!DOCTYPE article SYSTEM "y.dtd">')).text == "T\n\na\ufffdb"


def test_a_declared_plain_entity_is_used() -> None:
    assert parse(body("<p>&drug;</p>", '<!DOCTYPE article [<!ENTITY drug "zovelcamten">]>')).text == "T\n\nzovelcamten"


def test_an_external_entity_is_refused_and_the_file_is_not_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("xxe") / "secret.txt"
    secret.write_text("TOP-SECRET")
    with pytest.raises(Rejected, match="external entity"):
        parse(body("<p>&x;</p>", f'<!DOCTYPE article [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'))
    with pytest.raises(Rejected, match="external entity"):
        parse(body("<p>y</p>", f'<!DOCTYPE article [<!ENTITY % p SYSTEM "{secret.as_uri()}"> %p;]>'))
    # a DTD outside is named by every real article; it must not be fetched
    (secret.parent / "y.dtd").write_text('<!ENTITY x "TOP-SECRET">')
    external = f'<!DOCTYPE article SYSTEM "{(secret.parent / "y.dtd").as_uri()}">'
    assert parse(body("<p>&x;</p>", external)).text == "T\n\n\ufffd"


def test_an_entity_bomb_is_refused_at_once() -> None:
    bomb = '<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {n} "{f"&{m};" * 10}">' for m, n in zip("abcdefgh", "bcdefghi", strict=True)
    )
    start = time.perf_counter()
    with pytest.raises(Rejected, match=r"damaged XML|nested entity"):
        parse(body("<p>&i;</p>", f"<!DOCTYPE article [{bomb}]>"))
    assert time.perf_counter() - start < 1
    with pytest.raises(Rejected, match="nested entity"):
        parse(body("<p>&b;</p>", '<!DOCTYPE article [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "damaged XML"),
        (b"plain text", "damaged XML"),
        (ARTICLE.encode()[: len(ARTICLE) // 2], "damaged XML"),
        (b"<html><body><p>x</p></body></html>", "not JATS"),
        (b"<article><body><p>x</p></body></article>", "no front matter"),
        (b"<article><front><article-meta/></front><body/></article>", "no text"),
        (body("<sec>" * 300 + "<p>x</p>" + "</sec>" * 300).encode(), "damaged XML"),
    ],
)
def test_what_is_no_article_is_rejected_with_a_reason(data: bytes, reason: str) -> None:
    assert verdict(data) == [reason]


def test_deep_nesting_below_the_parsers_limit_is_read() -> None:
    assert blocks("<sec>" * 200 + "<p>deep</p>" + "</sec>" * 200) == ["deep"]
    assert blocks("<p>" + "<italic>" * 200 + "deep" + "</italic>" * 200 + "</p>") == ["deep"]
    lists = "<list><list-item><p>" * 60 + "deep" + "</p></list-item></list>" * 60
    assert blocks(lists)[0].endswith("deep")


def test_encodings_other_than_utf8_are_read() -> None:
    for encoding in ("utf-16", "iso-8859-1"):
        text = f'<?xml version="1.0" encoding="{encoding}"?>' + body("<p>5 µg café</p>")
        assert parse(text.encode(encoding)).text == "T\n\n5 µg café"


def test_a_hostile_span_costs_nothing() -> None:
    cell = '<td colspan="999999999" rowspan="99999999999999999999">x</td>'
    start = time.perf_counter()
    assert blocks(f"<table><tr>{cell}<td>y</td></tr><tr><td>z</td></tr></table>")[0].startswith("x |")
    assert time.perf_counter() - start < 1


def test_a_cell_that_spans_rows_and_columns_keeps_the_columns_in_place() -> None:
    first = '<tr><td rowspan="2" colspan="2">a</td><td>b</td></tr><tr><td>c</td></tr>'
    rows = first + "<tr><td>d</td><td>e</td><td>f</td></tr>"
    assert blocks(f"<table>{rows}</table>") == ["a |  | b\na |  | c\nd | e | f"]


@pytest.mark.parametrize(
    ("markup", "wanted"),
    [
        ("<inline-formula><inline-graphic/></inline-formula>", "[formula]"),
        ("<tex-math>\\documentclass{m}\\begin{document}$$E=mc^2$$\\end{document}</tex-math>", "E=mc^2"),
        ("<math><msqrt><mi>a</mi></msqrt></math>", "sqrt(a)"),
        ("<math><mi>x</mi><mo>≤</mo><msup><mn>10</mn><mrow><mo>-</mo><mn>3</mn></mrow></msup></math>", "x ≤ 10^-3"),
        ("<alternatives><graphic/><math><mi>y</mi></math></alternatives>", "y"),
    ],
)
def test_formulas_become_one_line(markup: str, wanted: str) -> None:
    assert blocks(f"<p>Let {markup} hold.</p>") == [f"Let {wanted} hold."]


XLINK = 'xmlns:l="http://www.w3.org/1999/xlink" l:href'


@pytest.mark.parametrize(
    ("markup", "wanted"),
    [
        (f'<license {XLINK}="http://creativecommons.org/licenses/by/4.0/"/>', "CC-BY-4.0"),
        (
            "<license><p>See https://creativecommons.org/licenses/by-nc-nd/3.0 for terms</p></license>",
            "CC-BY-NC-ND-3.0",
        ),
        ("<license><p>The Creative Commons CC0 public domain dedication.</p></license>", "CC0-1.0"),
        (
            "<license><p>Under the Creative Commons Attribution License.</p></license>",
            "Creative Commons Attribution License",
        ),
        ('<license license-type="public-domain"><p>EHP is free</p></license>', "public domain"),
        ("<license><p>All rights reserved. Ask us.</p></license>", "All rights reserved"),
        ("", ""),
    ],
)
def test_the_licence_is_short(markup: str, wanted: str) -> None:
    text = body("<p>x</p>").replace("</article-meta>", f"<permissions>{markup}</permissions></article-meta>")
    assert parse(text).license == wanted


def test_a_correction_belongs_to_the_article_it_corrects() -> None:
    link = f'<related-article related-article-type="{{}}" {XLINK}="info:doi/10.1371/A.1"/>'
    doi = '<article-id pub-id-type="doi">10.1371/b.2</article-id>'
    for kind, family in (("corrected-article", "10.1371/a.1"), ("companion", "10.1371/a.1"), ("other", "10.1371/b.2")):
        text = body("<p>x</p>").replace("<title-group>", doi + link.format(kind) + "<title-group>")
        assert parse(text).family == family


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_give_articles_or_a_verdict(data: bytes) -> None:
    assert all(verdict(data))


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_a_damaged_article_gives_articles_or_a_verdict(data: st.DataObject) -> None:
    damaged = bytearray(ARTICLE.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(damaged)))
        end = data.draw(st.integers(start, min(len(damaged), start + 200)))
        damaged[start:end] = data.draw(
            st.one_of(st.binary(max_size=8), st.sampled_from([b"<p>", b"</sec>", b"&x;", b"<tr>", b"]]>"]))
        )
    assert all(verdict(bytes(damaged)))


def verdict(data: bytes) -> list[str]:
    """Why articles were rejected; that the others have text is asserted."""
    try:
        articles = list(parse_articles(data))
    except Rejected as rejected:
        return [str(rejected)]
    assert all(isinstance(article, Rejected) or article.text.strip() for article in articles)
    return [str(article) for article in articles if isinstance(article, Rejected)]
