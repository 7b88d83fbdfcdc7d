"""The parser: what becomes text, what does not, and that nothing but a verdict comes out of bad bytes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt_medical.jats import Article, Kept, Rejected, parse_articles
from domadapt_medical.jats.kept import is_boilerplate
from domadapt_medical.jats.licences import is_taken

ARTICLE = (Path(__file__).parent / "traps.nxml").read_text("utf-8")


def parse(text: str | bytes, **options: bool) -> Article:
    data = text.encode() if isinstance(text, str) else text
    (article,) = parse_articles(data, Kept(**options))
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
    start = time.process_time()
    with pytest.raises(Rejected, match=r"damaged XML|nested entity"):
        parse(body("<p>&i;</p>", f"<!DOCTYPE article [{bomb}]>"))
    assert time.process_time() - start < 1
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
        (body("<sec>" * 300 + "<p>x</p>" + "</sec>" * 300).encode(), "nested too deeply"),
        (body("<p>" + "x" * 10_100_000 + "</p>").encode(), "oversized text"),
        (body("<p>\xe9</p>").encode("latin-1"), "wrong encoding"),
        (f'<?xml version="1.0" encoding="foo-9"?>{body("<p>x</p>")}'.encode(), "wrong encoding"),
        (body("<p>&a;</p>", f'<!DOCTYPE article [<!ENTITY a "{"x" * 65}">]>').encode(), "long entity"),
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
    start = time.process_time()
    assert blocks(f"<table><tr>{cell}<td>y</td></tr><tr><td>z</td></tr></table>")[0].startswith("x |")
    assert time.process_time() - start < 1


def test_a_cell_that_spans_rows_and_columns_keeps_the_columns_in_place() -> None:
    first = '<tr><td rowspan="2" colspan="2">a</td><td>b</td></tr><tr><td>c</td></tr>'
    rows = first + "<tr><td>d</td><td>e</td><td>f</td></tr>"
    assert blocks(f"<table>{rows}</table>") == ["a |  | b\na |  | c\nd | e | f"]


def test_a_cals_table_reads_like_an_xhtml_one() -> None:
    columns = "".join(f'<colspec colname="c{n}"/>' for n in (1, 2, 3))
    rows = (
        '<row><entry morerows="1">a</entry><entry namest="c2" nameend="c3">b</entry></row>'
        "<row><entry>c</entry><entry>d</entry></row>"
    )
    table = f"<table><tgroup cols='3'>{columns}<tbody>{rows}</tbody></tgroup></table>"
    assert blocks(table) == ["a | b\na | c | d"]


def test_a_table_in_a_cell_is_text_of_that_cell_once() -> None:
    inner = "<table><tr><td>in</td><td>side</td></tr></table>"
    assert blocks(f"<table-wrap><table><tr><td>a</td><td>{inner}</td></tr></table></table-wrap>") == ["a | in side"]


@pytest.mark.parametrize(
    "inner",
    [
        f'<table><tr><td rowspan="1000">{"x" * 20_000}</td></tr>{"<tr/>" * 999}</table>',
        "<table>" + ("<tr>" + '<td rowspan="1000" colspan="1000">a</td>' * 9 + "</tr>" + "<tr/>" * 999) + "</table>",
    ],
    ids=["long cell", "wide row"],
)
def test_a_small_file_cannot_grow_into_a_large_text(inner: str) -> None:
    start = time.process_time()
    assert verdict(body(inner).encode()) == ["text outgrows its file"]
    assert time.process_time() - start < 2


BACK = """<back><ack><p>Thanks to all.</p></ack>
<sec><title>Competing interests</title><p>None.</p></sec><sec><title>Data of the survey</title><p>Rows.</p></sec>
<fn-group><fn fn-type="financial-disclosure"><p>Paid by nobody.</p></fn></fn-group>
<ref-list><title>References</title>
<ref id="a"><label>1.</label><element-citation><person-group>
<name><surname>Berg</surname><given-names>A</given-names></name>
<name><surname>Cho</surname><given-names>B</given-names></name></person-group><article-title>On fever</article-title>
<source>J Heat</source><year>2001</year><volume>5</volume><fpage>7</fpage><lpage>9</lpage>
<pub-id pub-id-type="doi">10.1/x</pub-id></element-citation></ref>
<ref><mixed-citation>Dahl, <italic>Colds</italic>, 2002.</mixed-citation></ref></ref-list></back></article>"""


def test_boilerplate_is_dropped_wherever_it_stands_and_kept_on_demand() -> None:
    front = "<sec><title>Results</title><p>r</p></sec><sec><title>5. Authors’ contributions</title><p>All.</p></sec>"
    text = body(front).replace("</article>", BACK)
    assert parse(text).text.split("\n\n")[1:] == ["Results", "r", "Data of the survey", "Rows."]
    assert parse(text, boilerplate=True).text.split("\n\n")[3:] == [
        "5. Authors’ contributions",
        "All.",
        "Acknowledgements",
        "Thanks to all.",
        "Competing interests",
        "None.",
        "Data of the survey",
        "Rows.",
        "Paid by nobody.",
    ]


def test_references_are_lines_when_wanted() -> None:
    text = parse(body("<p>x</p>").replace("</article>", BACK), references=True).text
    assert text.split("\n\n")[-2:] == [
        "References",
        "[1] Berg A, Cho B. On fever. J Heat. 2001; 5:7-9. doi:10.1/x.\nDahl, Colds, 2002.",
    ]


@pytest.mark.parametrize(
    "heading",
    [
        "Acknowledgments",
        "COMPETING INTERESTS",
        "Conflict of interest statement",
        "Declaration of competing interest",
        "Authors' contributions",
        "Author Contributions",
        "Funding",
        "Supporting Information",
        "Supplementary Material",
        "Data availability statement",
        "Availability of data and materials",
        "Pre-publication history",
        "Disclosure",
    ],
)
def test_headings_of_boilerplate_are_known(heading: str) -> None:
    assert is_boilerplate(heading)


@pytest.mark.parametrize(
    "heading",
    [
        "Methods",
        "Ethics Statement",
        "Data",
        "Motivation and Our Contributions",
        "Sociodemographic Variables and Social Support",
        "Estimating the relative contribution of Fecoll and DOC to absorbance",
        "Additional analyses",
        "Sources of bias",
        "Conclusion",
        "5. A role for the skin accommodates conflicting data",
        "",
    ],
)
def test_headings_of_substance_are_not_taken_for_boilerplate(heading: str) -> None:
    assert not is_boilerplate(heading)


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
        (
            "<copyright-statement>Berg et al. This is distributed under the terms of the Creative Commons Attribution "
            "License, which permits use.</copyright-statement>",
            "Creative Commons Attribution License",
        ),
        ("<copyright-statement>Copyright 2009, Berg</copyright-statement>", ""),
        ("<ali:license_ref>https://creativecommons.org/licenses/by-nc/3.0/igo/</ali:license_ref>", "CC-BY-NC-3.0"),
        ("<ali:license_ref>https://creativecommons.org/licenses/by/3.0/igo/</ali:license_ref>", "CC-BY-3.0-IGO"),
        (f'<license {XLINK}="http://creativecommons.org/licenses/by/3.0/us/"/>', "CC-BY-3.0-US"),
        (
            f'<license {XLINK}="https://www.nationalarchives.gov.uk/doc/open-government-licence/version/3/"/>',
            "OGL-UK-3.0",
        ),
        ('<license license-type="public-domain"><p>EHP is free</p></license>', "public domain"),
        ("<license><p>All rights reserved. Ask us.</p></license>", "All rights reserved"),
        ("", ""),
    ],
)
def test_the_licence_is_short(markup: str, wanted: str) -> None:
    text = body("<p>x</p>").replace("</article-meta>", f"<permissions>{markup}</permissions></article-meta>")
    text = text.replace("<article>", '<article xmlns:ali="http://www.niso.org/schemas/ali/1.0/">')
    assert parse(text).license == wanted


@pytest.mark.parametrize(
    ("license_name", "wanted", "taken"),
    [
        ("CC-BY-4.0", ["CC-BY-4.0"], True),
        ("CC-BY-3.0", ["CC-BY-4.0"], False),
        ("CC-BY-3.0-IGO", ["cc-by"], True),
        ("CC-BY-NC-4.0", ["CC-BY"], False),
        ("CC-BY-NC-4.0", ["commercial"], False),
        ("CC-BY-ND-4.0", ["commercial"], True),
        ("CC0-1.0", ["commercial"], True),
        ("public domain", ["commercial"], True),
        ("Creative Commons Attribution License", ["CC-BY"], True),
        ("Creative Commons Attribution-NonCommercial-No Derivatives License", ["CC-BY"], False),
        ("Creative Commons Attribution-NonCommercial-No Derivatives License", ["CC-BY-NC-ND"], True),
        ("All rights reserved", ["commercial", "CC-BY"], False),
        ("All rights reserved", ["All rights reserved"], True),
        ("", ["CC-BY"], False),
        ("", ["CC-BY", ""], True),
    ],
)
def test_a_recipe_takes_licences_by_name(license_name: str, wanted: list[str], taken: bool) -> None:
    assert is_taken(license_name, wanted) is taken


def test_a_correction_belongs_to_the_article_it_corrects() -> None:
    link = f'<related-article related-article-type="{{}}" {XLINK}="info:doi/10.1371/A.1"/>'
    doi = '<article-id pub-id-type="doi">10.1371/b.2</article-id>'
    for kind, family in (("corrected-article", "10.1371/a.1"), ("companion", "10.1371/a.1"), ("other", "10.1371/b.2")):
        text = body("<p>x</p>").replace("<title-group>", doi + link.format(kind) + "<title-group>")
        assert parse(text).family == family


HOSTILE = {
    "spaces before a citation": "<p>" + " " * 400_000 + '<xref ref-type="bibr">1</xref></p>',
    "empty exponents": "<p>" + "<sup/>" * 50_000 + '<xref ref-type="bibr">1</xref></p>',
    "open brackets": "<p>" + '[<xref ref-type="bibr">1</xref>,' * 10_000 + "</p>",
    "many inline elements in a title": "<fig><caption><title>" + "<p>x</p>" * 50_000 + "</title></caption></fig>",
    "many tables": "<table-wrap>" + "<table><tr><td>" * 70 + "x" + "</td></tr></table>" * 70 + "</table-wrap>",
}


@pytest.mark.parametrize("inner", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_text_takes_quadratic_time(inner: str) -> None:
    start = time.process_time()
    assert verdict(body(f"<p>a</p>{inner}").encode()) == []
    assert time.process_time() - start < 3, "some tenths of a second are usual, quadratic ones took minutes"


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
