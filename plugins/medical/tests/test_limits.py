"""Articles and citations that cost a parser too much: each is dropped with a reason, the ones beside it are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from domadapt.builtin.corpora.workers import parse_in_workers
from domadapt.components import Source
from domadapt_medical.guidelines import GuidelinesOptions, GuidelinesSource
from domadapt_medical.pubmed.source import PubmedOptions, PubmedSource
from domadapt_medical.source import JatsOptions, JatsSource

Rejections = tuple[list[tuple[str, str]], Callable[[str, str], None]]


def article(number: int, body: str = "<p>words</p>") -> str:
    return (
        f'<article><front><article-meta><article-id pub-id-type="doi">10.99999/{number}</article-id></article-meta>'
        f"</front><body>{body}</body></article>"
    )


def citation(number: int, abstract: str = "Words.") -> str:
    text = f"<Abstract><AbstractText>{abstract}</AbstractText></Abstract>"
    return f"<MedlineCitation><PMID>{number}</PMID><Article>{text}</Article></MedlineCitation>"


def ids(source: Source, rejections: Rejections) -> list[str]:
    return [name for batch in source.read(rejections[1]) for name in batch["id"].to_pylist()]


@pytest.mark.parametrize(
    ("limit", "amount", "paragraphs", "reasons"),
    [
        ("memory", 200 << 20, 1_500_000, {"over 200 MB of memory", "parser crashed", "damaged XML"}),
        ("seconds", 1, 1_500_000, {"over 1 s of parsing"}),
    ],
)
def test_an_article_over_a_limit_costs_only_itself(
    limit: str,
    amount: int,
    paragraphs: int,
    reasons: set[str],
    tmp_path: Path,
    rejections: Rejections,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(parse_in_workers.__kwdefaults__, limit, amount)
    for number in range(3):
        body = "<p>x</p>" * (paragraphs if number == 1 else 1)
        (tmp_path / f"{number}.xml").write_text(article(number, body))
    assert ids(JatsSource(JatsOptions(path=tmp_path)), rejections) == ["10.99999/0", "10.99999/2"]
    ((reason, where),) = rejections[0]
    assert reason in reasons
    assert where.startswith("1.xml")


def test_a_citation_over_a_limit_costs_only_itself(
    tmp_path: Path, rejections: Rejections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parse_in_workers.__kwdefaults__, "memory", 200 << 20)
    cited = [citation(number, "x<b/>" * (3_000_000 if number == 20 else 1)) for number in range(1, 40)]
    (tmp_path / "a.xml").write_text(f"<MedlineCitationSet>{''.join(cited)}</MedlineCitationSet>")
    found = ids(PubmedSource(PubmedOptions(path=tmp_path)), rejections)
    assert found == [str(number) for number in range(1, 40) if number != 20]
    ((reason, where),) = rejections[0]
    assert reason in {"over 200 MB of memory", "parser crashed", "damaged XML"}
    assert where.startswith("a.xml: 20")


def test_a_guideline_over_a_limit_is_said(
    tmp_path: Path, rejections: Rejections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parse_in_workers.__kwdefaults__, "memory", 100 << 20)
    (tmp_path / "a.jsonl").write_text('{"id": "a", "clean_text": "words"}\n')
    (tmp_path / "b.jsonl").write_text(f'{{"id": "b", "clean_text": [{"[]," * 8_000_000}1]}}\n')
    (tmp_path / "c.jsonl").write_text('{"id": "c", "clean_text": "words"}\n')
    assert ids(GuidelinesSource(GuidelinesOptions(path=tmp_path)), rejections) == ["a", "c"]
    assert [reason for reason, _ in rejections[0]] == ["over 100 MB of memory"]
