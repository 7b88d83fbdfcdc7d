"""The sample corpus: enough of it, different every time, the same every time, and its numbers agree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from domadapt_medical.sample.corpus import articles, draw_studies
from domadapt_medical.sample.manuscript import Manuscript, Section, Table
from domadapt_medical.sample.setting import specialties
from domadapt_medical.sample.source import SampleOptions, SampleSource
from domadapt_medical.source import JatsOptions, JatsSource


def read(**options: int) -> list[dict[str, str]]:
    rejected: list[str] = []
    source = SampleSource(SampleOptions(**options))
    rows = [row for batch in source.read(lambda reason, _: rejected.append(reason)) for row in batch.to_pylist()]
    assert rejected == []
    return rows


@pytest.fixture(scope="module")
def corpus() -> list[dict[str, str]]:
    return read()


@pytest.fixture(scope="module")
def manuscripts() -> list[Manuscript]:
    return [study.manuscript for study in draw_studies(500, "test")]


def test_the_default_is_about_two_megabytes_of_many_articles(corpus: list[dict[str, str]]) -> None:
    assert len(corpus) >= 300
    assert 1_500_000 < sum(len(row["text"].encode()) for row in corpus) < 2_400_000
    assert len({row["id"] for row in corpus}) == len(corpus)
    assert {row["license"] for row in corpus} == {"CC0-1.0"}


def test_the_same_options_give_the_same_documents_and_another_seed_gives_others() -> None:
    assert read(articles=25, seed=3) == read(articles=25, seed=3)
    assert {row["text"] for row in read(articles=25, seed=3)}.isdisjoint(
        row["text"] for row in read(articles=25, seed=4)
    )


def test_more_articles_begin_with_the_same_ones() -> None:
    assert read(articles=30)[:20] == read(articles=20)


def test_the_fingerprint_follows_the_options() -> None:
    prints = {SampleSource(SampleOptions(articles=n, seed=s)).fingerprint() for n, s in ((5, 0), (5, 1), (6, 0))}
    assert len(prints) == 3
    assert SampleSource(SampleOptions(articles=5)).fingerprint() in prints


def test_every_specialty_and_design_occurs(manuscripts: list[Manuscript]) -> None:
    assert {m.specialty for m in manuscripts} == set(specialties())
    assert {m.design for m in manuscripts} == {"trial", "cohort", "diagnostic", "survey", "synthesis"}


def test_removal_of_near_duplicates_takes_the_reprints_and_little_else(corpus: list[dict[str, str]]) -> None:
    from rensa import RMinHash, RMinHashLSH

    # the settings of the core's step: word 5-grams, 14 bands of 8, threshold about 0.72
    index = RMinHashLSH(threshold=0.72, num_perm=112, num_bands=14)
    dropped = set()
    for number, row in enumerate(corpus):
        words = row["text"].lower().split()
        signature = RMinHash(num_perm=112, seed=1)
        signature.update([" ".join(words[i : i + 5]) for i in range(len(words) - 4)])
        if index.query(signature):
            dropped.add(row["id"])
        else:
            index.insert(number, signature)
    reprints = {row["id"] for row in corpus if "[corrected version]" in row["text"]}
    assert len(reprints) >= 3
    assert reprints <= dropped
    assert len(dropped - reprints) <= 0.02 * len(corpus)


def test_a_reprint_is_in_the_group_of_its_original(corpus: list[dict[str, str]]) -> None:
    ids = {row["id"] for row in corpus}
    for row in corpus:
        assert (row["group"] == row["id"]) == ("[corrected version]" not in row["text"])
        assert row["group"] in ids


def test_proportions_in_the_text_follow_from_their_counts(corpus: list[dict[str, str]]) -> None:
    patterns = (
        r"(?P<k>\d+) of (?P<n>\d+) (?:\w+ ){0,4}?\((?P<p>\d+\.\d)%\)",
        r"\b(?P<k>\d+)/(?P<n>\d+) \((?P<p>\d+\.\d)%\)",
        r"(?P<p>\d+\.\d)% \((?P<k>\d+)/(?P<n>\d+)\)",
    )
    checked = 0
    for row in corpus:
        for pattern in patterns:
            for match in re.finditer(pattern, row["text"]):
                k, n = int(match["k"]), int(match["n"])
                assert k <= n
                assert match["p"] == f"{100 * k / n:.1f}", (row["id"], match[0])
                checked += 1
    assert checked > 2000


def test_risk_ratios_in_the_text_follow_from_the_proportions_beside_them(corpus: list[dict[str, str]]) -> None:
    pattern = re.compile(
        r"(\d+)(?: of |/)(\d+) \(\d+\.\d%\)[^.;()]*?"
        r"(\d+)(?: of |/)(\d+) \(\d+\.\d%\)[^.;()]*?\((?:RR|risk ratio) (\d+\.\d\d)"
    )
    checked = 0
    for row in corpus:
        for match in pattern.finditer(row["text"]):
            k, n, c, m = (int(match[i]) for i in range(1, 5))
            if 0 in (k, c) or k == n or c == m:
                continue  # half an event is added to each cell
            assert abs(float(match[5]) - (k / n) / (c / m)) < 0.006, (row["id"], match[0])
            checked += 1
    assert checked > 100


def tables(manuscript: Manuscript) -> Iterator[Table]:
    queue: list[object] = list(manuscript.body)
    while queue:
        block = queue.pop(0)
        if isinstance(block, Section):
            queue[:0] = block.blocks
        elif isinstance(block, Table):
            yield block


def test_tables_add_up(manuscripts: list[Manuscript]) -> None:
    checked = 0
    for manuscript in manuscripts:
        for table in tables(manuscript):
            width = sum(span for _, span in table.header[-1])
            assert all(len(row) == width for row in table.rows)
            totals = [re.search(r"\(n=(\d+)\)", text) for text, _ in table.header[-1]]
            for row in table.rows:
                for total, cell in zip(totals, row, strict=True):
                    match = re.fullmatch(r"(\d+) \((\d+\.\d)\)", cell)
                    if total and match:
                        assert match[2] == f"{100 * int(match[1]) / int(total[1]):.1f}"
                        checked += 1
            if table.header[-1][-1][0] == "Total":
                for _, *cells, last in table.rows:
                    assert sum(map(int, cells)) == int(last)
                    checked += 1
            if table.title.startswith("Prevalence"):
                whole = [tuple(map(int, row[1].split("/"))) for row in table.rows if row[1]]
                districts = [row[0] for row in table.rows].index("Age") - 1
                assert tuple(map(sum, zip(*whole[:districts], strict=True))) == whole[-1]
                assert tuple(map(sum, zip(*whole[districts:-1], strict=True))) == whole[-1]
                checked += 1
    assert checked > 1500


def test_arms_sum_to_those_randomised(corpus: list[dict[str, str]]) -> None:
    checked = 0
    for row in corpus:
        match = re.search(r"(\d+) were randomised: ([^.]+)\.", row["text"]) or re.search(
            r"randomised (\d+) \(([^)]+)\)", row["text"]
        )
        if match:
            assert sum(int(n) for n in re.findall(r"(\d+) to ", match[2])) == int(match[1]), row["id"]
            checked += 1
    assert checked > 20


def test_files_are_what_the_other_source_reads(tmp_path: Path) -> None:
    for name, data in articles(12, "sample/0"):
        (tmp_path / name).write_bytes(data)
    source = JatsSource(JatsOptions(path=tmp_path))
    rows = [row["text"] for batch in source.read(lambda *why: pytest.fail(str(why))) for row in batch.to_pylist()]
    assert rows == [row["text"] for row in read(articles=12)]


def test_nothing_but_text_is_in_the_text(corpus: list[dict[str, str]]) -> None:
    for row in corpus:
        assert not re.search(
            r"[{}@]\w|</?[a-z]|(?<!\|)  |\bREF|Inv Arch|Institute of Invented|\[\d|fictional matter", row["text"]
        ), row["id"]
