"""The pack against adapt's own checks, and what only this pack knows: its formats, its page numbers, its samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from domadapt.artifacts import document_schema
from domadapt.components import Source
from domadapt.testing import check_pack
from domadapt_legal.cleaning import StarPages
from domadapt_legal.decisions import Decisions, DecisionsOptions
from domadapt_legal.sample import make
from domadapt_legal.sample.statute_book import sections
from domadapt_legal.statutes import Statutes, StatutesOptions

PAGE = """<html><head><title>Bees Act 1871</title><script>var x</script></head><body>
<nav><a href="/">All acts</a></nav><main><h1>Bees Act 1871</h1><h2>Section 1. Swarms</h2>
<p>A swarm that is followed stays the property of its owner.</p></main><footer>Contact</footer></body></html>"""


def read(source: Source) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Its documents, and what it rejected."""
    rejected: list[tuple[str, str]] = []
    batches = list(source.read(lambda reason, where: rejected.append((reason, where))))
    return [row for batch in batches for row in batch.to_pylist()], rejected


def test_the_pack_does_what_adapt_expects_of_one() -> None:
    check_pack("legal")


def test_a_decision_is_plain_text_or_html_and_belongs_to_its_docket(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"court": "County Court", "docket": "7/19", "case_name": "Orde v. Wick", "plain_text": "It is so ordered. "},
        {"court": "County Court", "docket": "7/19", "html": "<p>Allowed &amp; remitted.</p>"},
        {"plain_text": "No docket. \udcff"},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows, rejected = read(Decisions(DecisionsOptions(path=str(tmp_path), license="CC-BY-4.0")))
    assert [row["text"] for row in rows] == ["It is so ordered.", "Allowed & remitted.", "No docket. ?"]
    assert [row["group"] for row in rows] == ["County Court 7/19", "County Court 7/19", "a.jsonl:3"]
    assert {row["license"] for row in rows} == {"CC-BY-4.0"}
    assert json.loads(rows[0]["meta"])["case_name"] == "Orde v. Wick"
    assert rejected == []


def test_a_line_that_is_no_decision_is_rejected_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('no JSON\n["a list"]\n{"plain_text": " ", "html": ""}\n' + "[" * 100_000 + "\n")
    (tmp_path / "b.doc").write_bytes(b"\xd0\xcf")
    rows, rejected = read(Decisions(DecisionsOptions(path=str(tmp_path))))
    assert rows == []
    assert rejected == [
        ("no JSON", "a.jsonl:1"),
        ("no object", "a.jsonl:2"),
        ("no text", "a.jsonl:3"),
        ("no JSON", "a.jsonl:4"),
        ("not .jsonl", "b.doc"),
    ]


def test_a_statute_is_the_act_without_menu_script_and_footer(tmp_path: Path) -> None:
    (tmp_path / "bees.html").write_text(PAGE)
    (tmp_path / "latin.html").write_bytes(b"<p>caf\xe9</p>")
    (tmp_path / "empty.html").write_text("<html></html>")
    (row,), rejected = read(Statutes(StatutesOptions(path=str(tmp_path))))
    wanted = "Bees Act 1871 Section 1. Swarms A swarm that is followed stays the property of its owner."
    assert " ".join(row["text"].split()) == wanted
    assert json.loads(row["meta"]) == {"title": "Bees Act 1871"}
    assert rejected == [("no text", "empty.html"), ("not UTF-8", "latin.html")]


def test_star_pages_go_and_other_stars_stay() -> None:
    import pyarrow as pa

    texts = ["The rule *412 is plain. [*413] So held.", "* 5 apples, 3 *4, **7** and a footnote*", "It ends here. *12"]
    rows = [dict.fromkeys(document_schema().names, "") | {"id": str(n), "text": t} for n, t in enumerate(texts)]
    step = StarPages()
    kept, dropped = step.clean(pa.RecordBatch.from_pylist(rows, schema=document_schema()))
    assert kept["text"].to_pylist() == [
        "The rule is plain. So held.",
        "* 5 apples, 3 *4, **7** and a footnote*",
        "It ends here. ",
    ]
    assert dropped == {}
    assert step.tally == {"star pages": 3}


def test_the_sample_is_what_its_maker_writes() -> None:
    for path, text in make.files().items():
        assert (make.PACKAGE / path).read_text(encoding="utf-8") == text, path


def test_the_sample_is_read_whole() -> None:
    decisions, rejected = read(Decisions())
    assert (len(decisions), len({row["group"] for row in decisions}), rejected) == (180, 60, [])
    statutes, rejected = read(Statutes())
    assert (len(statutes), rejected) == (8, [])
    whole = "\n".join(row["text"] for row in statutes)
    assert all(section.rule in whole for section in sections())
    assert "Printed by" not in whole


@pytest.mark.parametrize("task", ["limits", "sections", "outcomes"])
def test_no_item_of_a_benchmark_is_answered_by_where_the_right_choice_stands(task: str) -> None:
    text = (make.PACKAGE / "benchmarks" / f"legal_{task}.jsonl").read_text(encoding="utf-8")
    items = [json.loads(line) for line in text.splitlines()]
    assert len(items) == make.ITEMS
    assert all(len(set(item["choices"])) == len(item["choices"]) for item in items)
    places = [item["answer"] for item in items]
    assert max(places.count(place) for place in set(places)) < 0.7 * len(items)


def test_no_case_of_the_benchmarks_is_in_the_sample() -> None:
    decisions, _ = read(Decisions())
    sample = "\n".join(" ".join(row["text"].split()) for row in decisions)
    for task in ("sections", "outcomes"):
        text = (make.PACKAGE / "benchmarks" / f"legal_{task}.jsonl").read_text(encoding="utf-8")
        assert not any(json.loads(line)["prompt"] in sample for line in text.splitlines())
