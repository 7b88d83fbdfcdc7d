"""Markup made plainer before the parse: the text stays the same, whatever the document looks like."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domadapt_sec.html_markup import INLINE, plainer
from domadapt_sec.html_text import extract


def text_of(body: str) -> str:
    return extract(f"<html><body>{body}</body></html>".encode())


def parsed(html: bytes) -> str:
    """The text by the parser alone."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    return str(extract_plain_text(HTMLTree.parse_from_bytes(html, "utf-8"), preserve_formatting=True, alt_texts=False))


@pytest.mark.parametrize("name", INLINE)
@pytest.mark.parametrize(
    "attributes", ["", ' style="a:b"', " size=2 noshade", " name='x y'", ' a="1" b=\'2\'\n c="it\'s"', ' t=""']
)
def test_tags_within_a_line_go_and_the_text_between_them_stays(name: str, attributes: str) -> None:
    for spelt in (name, name.upper()):
        html = f"<p>be<{spelt}{attributes}>fo</{spelt}>re <{spelt}{attributes}>and</{spelt} > after</p>".encode()
        assert plainer(html) == (b"<p>before and after</p>", False)


@pytest.mark.parametrize(
    "html",
    [
        '<p>A <a title="1 > 0">link</a> and <b class="x>y">bold</b> B</p>',
        "<p>A<!-- <i --> is <!-- <b>x --> B</p>",
        "<p>A<![CDATA[ <b ]]> B</p>",
        "<p>2 < 3 and <5 is a<b</p>",
        "<script>if (a<b && c>d) {}</script><p>A</p>",
        "<style>b > i {}</style><p>A</p>",
        "<p>A</p><img alt='<b>' src=\"x\"><p>B</p>",
        "<p>x<a href=http://www.sec.gov/>SEC</a>y</p>",
        "<p>A<span/>B<ix:nonFraction/>C</p><br/><p>D</p>",
        "<p>a<b>c<p>d</b>e</p>f",
        "<div class=x <b>text</b> more</div><p>A > B</p>",
        "<a href=<b>\"'--></b></a><p>A</p>",
    ],
)
def test_what_only_looks_like_a_tag_does_no_harm(html: str) -> None:
    plain, _ = plainer(html.encode())
    assert parsed(plain) == parsed(html.encode())


@pytest.mark.parametrize("style", ["display:none", "display: none", "DISPLAY:NONE", "color:red;display:none;"])
@pytest.mark.parametrize("name", ["div", "span", "b", "td", "ix:nonNumeric"])
def test_the_invisible_stays_invisible_and_its_like_are_read(name: str, style: str) -> None:
    inside = f'<{name} style="{style}">HIDDEN <i>words</i></{name}><{name} style="display:inline">seen</{name}>'
    inside = f"<table><tr>{inside}</tr></table>" if name == "td" else inside
    text = text_of(f"<p>{'Many visible words. ' * 20}</p>{inside}<p>after</p>")
    assert "HIDDEN" not in text
    assert "words" not in text.replace("visible words", "")
    assert text.endswith("seen\n\nafter")


def test_a_cell_of_few_blocks_is_one_line_and_one_of_many_is_not() -> None:
    few = "<tr><td><p>Net</p><div>sales</div></td><td>1<br/>2</td></tr>"
    assert text_of(f"<table>{few}</table>") == "Net sales\t1 2"
    many = "".join(f"<p>paragraph {n}</p>" for n in range(9))
    assert text_of(f"<table><tr><td>{many}</td></tr></table>").split("\n\n") == [f"paragraph {n}" for n in range(9)]
    assert text_of("<table><TR><TD><P>A</P></TD><TH>B<BR>C</TH></TR></table><p>D<br>E</p>") == "A\tB C\n\nD\nE"


NAMES = st.sampled_from(["p", "div", "span", "b", "font", "a", "table", "tr", "td", "ix:nonFraction", "h1", "ul", "li"])
WORDS = st.text("abc é€<>&\"'/=-", max_size=8)
TREES = st.recursive(
    st.sampled_from(["sales", "1,234", "(5)", "a b", " ", "é", "<br>", "<br/>", "<hr />", "&amp;", "&#8217;"]),
    lambda inner: st.builds(
        lambda name, quote, value, parts: (
            f"<{name} t={quote}{value.replace(quote, '')}{quote}>{''.join(parts)}</{name}>"
        ),
        NAMES,
        st.sampled_from("\"'"),
        WORDS,
        st.lists(inner, max_size=4),
    ),
    max_leaves=25,
)


def words(html: bytes) -> str:
    """The text without what the parser lays out itself: white space and the bullets of lists."""
    return "".join(parsed(html).replace("•", "").split())


@settings(max_examples=400, deadline=None)
@given(TREES)
def test_documents_keep_every_word_in_its_order(tree: str) -> None:
    html = f"<html><body>{tree}</body></html>".encode()
    plain, hides = plainer(html)
    assert not hides
    assert words(plain) == words(html)


PIECES = [
    "<p>",
    "</p>",
    "<b ",
    "<b>",
    "</b>",
    "<td>",
    "</td>",
    "<!--",
    "-->",
    "'",
    '"',
    "=",
    ">",
    "<",
    "/>",
    "<div",
    "x",
]


@settings(max_examples=400, deadline=None)
@example(["<td>", "<a href=", "<p>"])
@given(st.lists(st.sampled_from([*PIECES, "<a href=", "y ", "<i/", "<SPAN>", "</FONT>", "<ix:footnote", "]]>"])))
def test_broken_markup_loses_no_word_that_the_parser_alone_sees(pieces: list[str]) -> None:
    html = f"<p>BEFORE</p>{''.join(pieces)}\"'--></b></a></td></div><p>AFTER</p>".encode()
    plain, _ = plainer(html)
    seen = parsed(html)
    assert [word in parsed(plain) for word in ("BEFORE", "AFTER")] == [word in seen for word in ("BEFORE", "AFTER")]


@pytest.mark.parametrize(
    "unit",
    [
        "<td>",
        "<td><p>",
        "<td <",
        '<b a="',
        "<b a='x' ",
        "<span x",
        "</b",
        ":none",
        "display:none",
        "<i display:none",
        "<div/>",
        "/>",
        "<x/>",
        "<td><div><b><i>",
        '<a href="x">',
        "<table><tr><td>",
        "<TD><BR>",
        "<!--<b",
    ],
)
def test_time_grows_with_length_and_not_with_its_square(unit: str) -> None:
    def seconds(length: int) -> float:
        data = (unit * (length // len(unit))).encode()
        start = time.process_time()
        plainer(data)
        return time.process_time() - start

    small, large = min(seconds(1 << 16) for _ in range(2)), min(seconds(1 << 18) for _ in range(2))
    assert large < 8 * small or large < 0.25


def test_names_of_elements_are_told_apart_to_their_last_letter() -> None:
    html = b"<section>a</section><article>b</article><ins>c</ins><ix:nonFractions>d</ix:nonFractions><base><ul>e</ul>"
    assert plainer(html) == (html, False)
    assert not re.search(rb"<s", plainer(b"<s>x</s><strong>y</strong><small>z</small>")[0])
