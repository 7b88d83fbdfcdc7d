"""One document into a patent: the traps of the format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from domadapt_patent.redbook.patent import NotAPatentError, parse

Grant = Callable[..., bytes]


def reason(document: bytes) -> str:
    with pytest.raises(NotAPatentError) as caught:
        parse(document)
    return caught.value.reason


def test_all_parts_are_read(grant: Grant) -> None:
    front = (
        "<classifications-cpc><main-cpc><classification-cpc><section>F</section><class>21</class><subclass>S</subclass>"
        "<main-group>8</main-group><subgroup>04</subgroup></classification-cpc></main-cpc></classifications-cpc>"
        '<us-parties><inventors><inventor sequence="000"><addressbook><last-name>Corlund</last-name>'
        "<first-name>Fenna</first-name></addressbook></inventor></inventors></us-parties>"
        "<assignees><assignee><addressbook><orgname>Dal &#x26; Vik</orgname></addressbook></assignee></assignees>"
    )
    patent = parse(grant(front=front, description="<heading>FIELD</heading><p>Lamps.</p>"))
    assert patent.text() == (
        "Lamp\n\nABSTRACT\n\nA lamp is described.\n\nFIELD\n\nLamps.\n\nWhat is claimed is:\n\n1. A lamp."
    )
    assert (patent.id, patent.group) == ("XX99000001B2", "Corlund, Fenna")
    assert patent.meta == {
        "format": "ice", "document": "grant", "number": "99000001", "kind": "B2", "date": "20240102",
        "filed": "20220103", "type": "utility", "application": "98000001", "cpc": ["F21S 8/04"],
        "assignees": ["Dal & Vik"], "claims": 1, "independent_claims": 1,
    }  # fmt: skip


def test_chosen_parts_are_printed_in_the_usual_order(grant: Grant) -> None:
    assert parse(grant()).text(("claims", "title")) == "Lamp\n\nWhat is claimed is:\n\n1. A lamp."


def test_an_application_and_its_grant_have_one_group(grant: Grant) -> None:
    application = grant("20990000001").replace(b"-grant", b"-application").replace(b"<kind>B2", b"<kind>A1")
    assert parse(application).group == parse(grant()).group == "98000001"


def test_inventors_of_older_versions_are_found_among_the_applicants(grant: Grant) -> None:
    front = (
        '<parties><applicants><applicant app-type="applicant-inventor"><addressbook><last-name>Norvik</last-name>'
        "<first-name>Hugo</first-name></addressbook></applicant></applicants></parties>"
    )
    assert parse(grant(front=front)).group == "Norvik, Hugo"


def test_the_symbol_of_version_4_0_is_read_by_columns(grant: Grant) -> None:
    symbol = "<edition>7</edition><main-classification>A45F  504</main-classification>"
    assert parse(grant(front=f"<classification-ipc>{symbol}</classification-ipc>")).meta["ipc"] == ["A45F 5/04"]


def test_nested_claim_texts_are_lines_and_references_keep_their_words(grant: Grant) -> None:
    claims = (
        '<claim id="CLM-00001" num="00001"><claim-text>1. A lamp, comprising:\n<claim-text>a foot;<claim-text>with\n'
        "felt; and</claim-text></claim-text><claim-text>a switch,</claim-text> wherein both are round."
        '</claim-text></claim><claim id="CLM-00002" num="00002"><claim-text>2. The lamp of '
        '<claim-ref idref="CLM-00001">claim 1</claim-ref>, wherein C<b>1</b> is red.</claim-text></claim>'
    )
    first, second = parse(grant(claims=claims)).claims
    assert first.text.splitlines() == [
        "1. A lamp, comprising:", "  a foot;", "    with felt; and", "  a switch,", "wherein both are round.",
    ]  # fmt: skip
    assert second.text == "2. The lamp of claim 1, wherein C1 is red."
    assert (first.depends_on, second.depends_on) == ((), (1,))


def test_a_missing_claim_number_is_put_back_except_for_the_sole_claim_of_a_design(grant: Grant) -> None:
    one = '<claim id="CLM-00001" num="00001"><claim-text>The ornamental design for a lamp.</claim-text></claim>'
    two = '<claim id="CLM-00002" num="00002"><claim-text>A lamp.</claim-text></claim>'
    assert parse(grant(claims=one)).claims[0].text == "The ornamental design for a lamp."
    assert [c.text[:2] for c in parse(grant(claims=one + two)).claims] == ["1.", "2."]


def test_a_range_of_cancelled_claims_keeps_its_number(grant: Grant) -> None:
    claims = (
        '<claim id="CLM-00001-00020" num="00001-00020"><claim-text><b>1</b>-<b>20</b>. (canceled)</claim-text></claim>'
        '<claim id="CLM-00021" num="00021"><claim-text><b>21</b>. A lamp.</claim-text></claim>'
    )
    patent = parse(grant(claims=claims))
    assert [(c.number, c.text) for c in patent.claims] == [(1, "1-20. (canceled)"), (21, "21. A lamp.")]


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("H<sub>2</sub>O", "H2O"),
        ("10<sup>&#x2212;3</sup> m<sup>2 </sup>of", "10^−3 m^2 of"),
        ("the 18<sup>th</sup> one", "the 18th one"),
        ("as <figref idref='DRAWINGS'>FIG. <b>2</b></figref> shows", "as FIG. 2 shows"),
        ("one<br/>two", "one\ntwo"),
        ("a<?in-line-formulae end='lead'?>R&#x2014;OH<!-- x --><?in-line-formulae end='tail'?>b", "aR—OHb"),
        ("see <chemistry id='C'><img file='x.TIF'/></chemistry> below", "see below"),
        ("odd<ul list-style='none'><li>x</li><li>y<ul><li>z</li></ul></li></ul>", "odd\nx\ny\nz"),
        ("wide&#x2003;&#x2002;space &#xad;soft", "wide space soft"),
        ("a &lt;b&gt; &amp; c", "a <b> & c"),
        ("&mu;m &nbsp;x", "μm x"),
    ],
)
def test_markup_becomes_plain_text(grant: Grant, markup: str, text: str) -> None:
    assert parse(grant(description=f"<p>{markup}</p>")).description == (text,)


def test_formulas_are_written_on_the_line(grant: Grant) -> None:
    math = (
        "<maths><math><mrow><mi>z</mi><mo>=</mo><mfrac><mrow><mi>B</mi><mo>&#xd7;</mo><mi>F</mi></mrow>"
        "<msup><mi>d</mi><mn>2</mn></msup></mfrac><mo>&#x2062;</mo><msqrt><msub><mi>k</mi><mn>0</mn></msub></msqrt>"
        "</mrow></math></maths>"
    )
    assert parse(grant(description=f"<p>{math}</p>")).description == ("z = (B × F)/(d^2) sqrt(k_0)",)


def test_tables_lose_their_layout_columns_and_keep_empty_cells(grant: Grant) -> None:
    table = (
        '<tables><table><tgroup cols="3"><colspec colname="offset"/><colspec colname="1"/><colspec colname="2"/>'
        '<colspec colname="3"/><thead><row><entry/><entry namest="offset" nameend="3">TABLE 1</entry></row></thead>'
        "<tbody><row><entry/><entry>a</entry><entry/><entry>b\nc</entry></row>"
        "<row><entry/><entry>d</entry><entry>e</entry><entry/></row><row><entry/></row></tbody></tgroup></table></tables>"
    )
    assert parse(grant(description=f"<p>Shown:{table}</p>")).description == ("Shown:\nTABLE 1\na | | b c\nd | e",)


def test_descriptions_of_drawings_are_read_through_their_wrapper(grant: Grant) -> None:
    inner = "<description-of-drawings><heading>DRAWINGS</heading><p>FIG. 1 is a view.</p></description-of-drawings>"
    assert parse(grant(description=inner + "<p>x</p>")).description == ("DRAWINGS", "FIG. 1 is a view.", "x")


def test_external_entities_are_not_read(grant: Grant, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("do not tell")
    head = f'<?xml version="1.0"?><!DOCTYPE us-patent-grant [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'
    assert reason(grant(head=head, description="<p>&x;</p>")) == "unknown entity"


def test_entities_of_a_document_are_not_expanded(grant: Grant) -> None:
    head = '<?xml version="1.0"?><!DOCTYPE us-patent-grant [<!ENTITY x "text">]>'
    assert reason(grant(head=head, description="<p>&x;</p>")) == "unknown entity"


def test_a_billion_laughs_are_refused(grant: Grant) -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    head = f'<?xml version="1.0"?><!DOCTYPE us-patent-grant [<!ENTITY l0 "lol">{laughs}]>'
    assert reason(grant(head=head, description="<p>&l11;</p>")) in ("damaged XML", "unknown entity")


def test_the_document_type_definition_is_not_fetched(grant: Grant, tmp_path: Path) -> None:
    dtd = tmp_path / "x.dtd"
    dtd.write_text('<!ATTLIST claim id CDATA "from the DTD">')
    head = f'<?xml version="1.0"?><!DOCTYPE us-patent-grant SYSTEM "{dtd.as_uri()}">'
    assert parse(grant(head=head)).title == "Lamp"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b"PATN\nTTL  No number\n", "no document number"),
        (b"PATN\nWKU  039373754\n" + b"\x00\x01" * 40, "damaged text"),
        (
            b'<?xml version="1.0"?><!DOCTYPE PATDOC [<!ENTITY D SYSTEM "D.TIF" NDATA TIF>]><PATDOC/>',
            "no document number",
        ),
        (b"<patent-application-publication/>", "no document number"),
        (b"<patents/>", "not a patent document"),
        (b"<!-- <us-patent-grant>", "not a patent document"),
        (b"<!DOCTYPE us-patent-grant [", "not a patent document"),
        (b"", "not a patent document"),
        (b"\xff\xfe<\x00?\x00", "not a patent document"),
        (b'<?xml version="1.0"?><!-- <us-patent-grant> --><sequence-cwu id="S"/>', "sequence listing"),
        (b"<us-patent-grant><p>cut", "damaged XML"),
        (b"<us-patent-grant>\xff</us-patent-grant>", "damaged XML"),
        (b'<?xml version="1.0" encoding="no-such"?><us-patent-grant/>', "damaged XML"),
        (b"<us-patent-grant/>", "no document number"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(document: bytes, expected: str) -> None:
    assert reason(document) == expected
