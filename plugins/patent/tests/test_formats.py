"""The formats before 2005: one made-up patent in each of them reads the same."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from domadapt_patent.redbook import symbols
from domadapt_patent.redbook.characters import of_codes, of_entity
from domadapt_patent.redbook.claims import mentioned, numbered, separated
from domadapt_patent.redbook.patent import NotAPatentError, Patent, parse
from domadapt_patent.redbook.split import split

PAP, ST32, SGML, APS = (
    (Path(__file__).parent / "formats" / name).read_bytes() for name in ("pap.xml", "st32.xml", "st32.sgm", "aps.txt")
)
APS_TAPE_HEADER = b"HHHHHT        APS1        ISSUE - 810113\n"
ALL = {"pap": PAP, "st32": ST32, "sgml": SGML, "aps": APS}


@pytest.fixture(params=list(ALL))
def patent(request: pytest.FixtureRequest) -> Patent:
    return parse(ALL[request.param])


def test_title_abstract_and_group_are_read(patent: Patent) -> None:
    assert patent.title == "Lamp with switch"
    assert patent.abstract == ("A lamp with H2O at 10° C.",)
    assert patent.group == "Corlund, Fenna M."


def test_the_description_keeps_headings_figures_exponents_and_greek_letters(patent: Patent) -> None:
    heading, first, *_ = patent.description
    assert heading == "BACKGROUND"
    assert first.replace("−", "-") == "Lamps of 10^-3 m and α-rays, see FIG. 1."
    assert "Sizes:" in "\n".join(patent.description)


def test_tables_are_rows_and_pictures_leave_nothing(patent: Patent) -> None:
    assert patent.description[-1].split("\n")[-1] in ("a | b", "a             b")
    assert "#" not in patent.text()
    assert "TIF" not in patent.text()


def test_claims_keep_their_numbers_steps_and_dependency(patent: Patent) -> None:
    first, second = patent.claims
    assert first.text == "1. A lamp, comprising:\n  a foot; and\n  a switch."
    assert second.text.replace(" ,", ",") == "2. The lamp of claim 1, which is red."
    assert (first.depends_on, second.depends_on) == ((), (1,))
    assert patent.statement == "What is claimed is:"
    assert patent.meta["dependencies"] == {"2": [1]}


def test_classes_are_written_alike(patent: Patent) -> None:
    ipc = ["F21S 8/04", "F21V 23/04"] if patent.meta["format"] == "pap" else ["F21S 8/04", "H01L 21/306"]
    uspc = ["362/404", "D26/24.1"] if patent.meta["format"] == "pap" else ["362/404", "42/20.5"]
    assert (patent.meta["ipc"], patent.meta["uspc"]) == (ipc, uspc)


@pytest.mark.parametrize(
    ("name", "identity", "date", "filed", "application"),
    [
        ("pap", "US20990000001A1", "20020103", "20010405", "98000001"),
        ("st32", "XX09900001B1", "20010109", "19990506", "98000001"),
        ("sgml", "XX09900001B1", "20010109", "19990506", "98000001"),
        ("aps", "US09900001A", "19810113", "19790506", "09000001"),
    ],
)
def test_numbers_dates_and_parties_are_those_of_the_front_page(
    name: str, identity: str, date: str, filed: str, application: str
) -> None:
    patent = parse(ALL[name])
    facts = patent.meta
    assert (patent.id, facts["date"], facts["filed"], facts["application"]) == (identity, date, filed, application)
    assert facts["assignees"] == ["Dal & Vik"]
    assert facts["type"] == "utility"


def test_sgml_and_xml_of_one_grant_give_the_same_patent() -> None:
    assert parse(SGML) == parse(ST32)


def test_a_week_of_each_format_is_split_into_its_documents() -> None:
    weeks = {
        "pap": b"".join([PAP] * 3), "st32": b"\n".join([ST32] * 3), "sgml": b"".join([SGML] * 3),
        "aps": APS_TAPE_HEADER + APS * 3 + b"\x1a",
    }  # fmt: skip
    for name, week in weeks.items():
        assert [parse(found or b"") for found in split(io.BytesIO(week))] == [parse(ALL[name])] * 3, name


def test_formats_may_be_mixed_in_one_file() -> None:
    found = list(split(io.BytesIO(SGML + PAP + APS + ST32 + SGML[SGML.index(b"<PATDOC") :] + APS)))
    assert [parse(document or b"").meta["format"] for document in found] == [
        "st32",
        "pap",
        "aps",
        "st32",
        "st32",
        "aps",
    ]


def test_carriage_returns_do_no_harm() -> None:
    for name in ("aps", "sgml"):
        found = [parse(d or b"") for d in split(io.BytesIO(ALL[name].replace(b"\n", b"\r\n") * 2))]
        assert found == [parse(ALL[name])] * 2


def test_a_sole_design_claim_has_no_number() -> None:
    design = b"PATN\nWKU  D02000001\nAPT  4\nTTL  Lamp\nDCLM\nPAR  The ornamental design for a lamp, as shown.\n"
    patent = parse(design)
    assert patent.id == "USD0200000S"
    assert [claim.text for claim in patent.claims] == ["The ornamental design for a lamp, as shown."]
    assert patent.meta["type"] == "design"


def test_text_in_latin_1_is_read() -> None:
    assert parse(APS.replace(b"Somebody", b"x").replace(b"Dal & Vik", b"Soci\xe9t\xe9")).meta["assignees"] == [
        "Société"
    ]


@pytest.mark.parametrize(
    ("printed", "text"),
    [
        ("CO.sub.2 H", "CO2H"),
        ("Na.sub.2 SO.sub.4", "Na2SO4"),
        ("registers M.sub.1 to M.sub.n", "registers M1 to Mn"),
        ("T.sub.A is", "TA is"),
        ("10.sup.6 cells", "10^6 cells"),
        ("the 5.sup.th one", "the 5th one"),
        ("R.sub..alpha.", "Rα"),
        (".alpha..beta.", "αβ"),
        ("1.about.5 .mu.m", "1~5 μm"),
        ("see U.S. Pat. No. 3.fig.4", "see U.S. Pat. No. 3.fig.4"),
        ("5.+-.2", "5±2"),
    ],
)
def test_dot_codes_become_characters(printed: str, text: str) -> None:
    assert of_codes(printed) == text


def test_entities_of_the_old_dtds_are_known_and_others_are_not_guessed() -> None:
    assert [of_entity(name) for name in ("agr", "Mgr", "PHgr", "b.alpha", "mdash", "lsqb")] == list("αΜΦα—[")
    assert [of_entity(name) for name in ("notathing", "l11", "", "notit")] == [None] * 4


@pytest.mark.parametrize(
    ("columns", "symbol"),
    [("G06F 1516", "G06F 15/16"), ("B60R  900", "B60R 9/00"), ("G06F017/60", "G06F 17/60"),
     ("H01L 21306", "H01L 21/306"), ("E03C 104", "E03C 1/04"), ("1402", ""), ("", "")],
)  # fmt: skip
def test_ipc_columns_become_symbols(columns: str, symbol: str) -> None:
    assert symbols.ipc(columns) == symbol


@pytest.mark.parametrize(
    ("columns", "symbol"),
    [("709202", "709/202"), ("224 4207", "224/42.07"), ("  4675", "4/675"), ("4675", "4/675"), ("002227000", "2/227"),
     ("D14480", "D14/480"), ("179 90K", "179/90K"), ("2063081", "206/308.1"), ("  2DIG  9", "2/DIG 9"), ("214", "")],
)  # fmt: skip
def test_us_class_columns_become_symbols(columns: str, symbol: str) -> None:
    assert symbols.uspc(columns) == symbol


@pytest.mark.parametrize(
    ("text", "number", "found"),
    [
        ("The lamp of claim 1, wherein", 2, [1]),
        ("as claimed in any one of claims 1 to 3", 5, [1, 2, 3]),
        ("according to claims 2, 3 or 4", 5, [2, 3, 4]),
        ("of claim 1 or claim 3", 4, [1, 3]),
        ("of claim 7", 2, []),
        ("of Claims 1-2 and a size of 3 to 5 mm", 4, [1, 2]),
        ("a claim to 3 apples", 4, []),
    ],
)
def test_references_in_words_lead_to_earlier_claims(text: str, number: int, found: list[int]) -> None:
    assert mentioned(text, number, range(1, 10)) == found


def test_running_claims_are_separated_where_the_count_goes_on() -> None:
    text = "1. A lamp of 2. 5 mm. See FIG. 3. The foot is red. 2. The lamp of claim 1. 3 . A method of use."
    claims = numbered(separated(text))
    assert [claim.text for claim in claims] == [
        "1. A lamp of 2. 5 mm. See FIG. 3. The foot is red.", "2. The lamp of claim 1.", "3 . A method of use.",
    ]  # fmt: skip
    assert [claim.depends_on for claim in claims] == [(), (1,), ()]
    assert separated("  ") == []


def test_external_entities_and_bombs_are_refused_in_every_markup(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("do not tell")
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    subset = f'[<!ENTITY l0 "lol">{laughs}<!ENTITY x SYSTEM "{secret.as_uri()}">]>'.encode()
    for document in (PAP, ST32, SGML):
        start = document.index(b"[\n<!ENTITY")
        head, rest = document[:start], document[document.index(b"]>", start) + 2 :]
        for reference in (b"&x;", b"&l11;"):
            with pytest.raises(NotAPatentError, match="unknown entity"):
                parse(head + subset + rest.replace(b"Sizes:", reference))


def test_sgml_that_does_not_nest_is_refused_and_not_shortened() -> None:
    with pytest.raises(NotAPatentError, match="damaged XML"):
        parse(SGML.replace(b"</CLM>\n<CLM", b"<CLM"))


def test_text_files_in_a_folder_are_read_when_they_are_patents(tmp_path: Path, read: Callable) -> None:
    (tmp_path / "week.txt").write_bytes(APS_TAPE_HEADER + APS)
    (tmp_path / "notes.txt").write_text("not a patent")
    (tmp_path / "week.sgm").write_bytes(SGML)
    reading = read(tmp_path)
    assert [row["id"] for row in reading.rows] == ["XX09900001B1", "US09900001A"]
    assert reading.rejected == []
