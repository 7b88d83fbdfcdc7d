"""The fictional patents: reproducible, different from each other, true to themselves."""

from __future__ import annotations

import random
import re
import time
from itertools import pairwise
from typing import Any

import pytest

from domadapt_patent.redbook.patent import parse
from domadapt_patent.redbook.split import split
from domadapt_patent.sample.claims import DraftedClaim
from domadapt_patent.sample.english import a, gerund, is_plural, plural, third
from domadapt_patent.sample.fields import fields
from domadapt_patent.sample.invention import invent
from domadapt_patent.sample.publication import Publication
from domadapt_patent.sample.source import SampleSource, publications, weekly_files


def rows(**options: Any) -> list[dict[str, Any]]:
    def reject(reason: str, where: str) -> None:
        raise AssertionError(f"{reason}: {where}")

    batches = SampleSource(SampleSource.Config(**options)).read(reject)
    return [row for batch in batches for row in batch.to_pylist()]


@pytest.fixture(scope="module")
def sample() -> list[dict[str, Any]]:
    return rows()


@pytest.fixture(scope="module")
def published() -> list[Publication]:
    return list(publications(120, "test"))


def test_the_default_sample_has_three_hundred_patents_and_two_megabytes(sample: list[dict[str, Any]]) -> None:
    assert len(sample) == 300
    assert len({row["id"] for row in sample}) == 300
    assert 1.5e6 < sum(len(row["text"].encode()) for row in sample) < 2.42e6


def test_the_same_options_give_the_same_patents_and_another_seed_gives_others() -> None:
    assert rows(patents=12) == rows(patents=12)
    assert not {r["text"] for r in rows(patents=12)} & {r["text"] for r in rows(patents=12, seed=1)}


def test_fewer_patents_are_the_first_ones_of_more() -> None:
    assert rows(patents=30)[:10] == rows(patents=10)


def test_the_fingerprint_follows_the_options() -> None:
    prints = {SampleSource(SampleSource.Config(patents=n, seed=s)).fingerprint() for n in (5, 6) for s in (0, 1)}
    assert len(prints) == 4
    assert SampleSource().fingerprint() == SampleSource().fingerprint()


def test_the_sample_is_made_and_read_in_seconds() -> None:
    start = time.process_time()
    rows()
    assert time.process_time() - start < 5  # 1.3 s on an idle core


def test_near_duplicate_removal_takes_away_the_planted_pairs_and_little_else(sample: list[dict[str, Any]]) -> None:
    rensa = pytest.importorskip("rensa")
    index = rensa.RMinHashLSH(threshold=0.72, num_perm=112, num_bands=14)
    removed = []
    for position, row in enumerate(sample):
        words = re.findall(r"\w+", row["text"].lower())
        digest = rensa.RMinHash(num_perm=112, seed=42)
        digest.update([" ".join(words[i : i + 5]) for i in range(len(words) - 4)])
        if index.query(digest):
            removed.append(row["id"])
        else:
            index.insert(position, digest)
    planted = [row["id"] for row in sample if row["id"].endswith("B2")]
    assert planted
    assert set(planted) <= set(removed)
    assert len(removed) <= 0.1 * len(sample)


def test_an_application_and_its_grant_are_in_one_group(sample: list[dict[str, Any]]) -> None:
    pairs = [(before, row) for before, row in pairwise(sample) if row["id"].endswith("B2")]
    assert all(before["group"] == row["group"] and before["id"].endswith("A1") for before, row in pairs)
    assert all(before["text"] != row["text"] for before, row in pairs)


def test_generated_files_hold_several_documents_that_the_reader_parses() -> None:
    import io

    files = list(weekly_files(90, "test"))
    documents = [document for file in files for document in split(io.BytesIO(file))]
    assert (len(files), len(documents)) == (3, 90)
    assert all(document is not None and document.count(b"<!DOCTYPE") == 1 for document in documents)
    assert all(file.isascii() for file in files)


def test_claims_read_back_as_they_were_drafted(published: list[Publication]) -> None:
    from domadapt_patent.sample.publication import document

    for publication in published:
        patent = parse(document(publication))
        assert [c.number for c in patent.claims] == [c.number for c in publication.claims]
        assert [c.depends_on for c in patent.claims] == [(c.refers,) if c.refers else () for c in publication.claims]
        assert all(
            f"claim {c.refers}" in p.text for c, p in zip(publication.claims, patent.claims, strict=True) if c.refers
        )


def chain(claims: list[DraftedClaim], claim: DraftedClaim) -> list[DraftedClaim]:
    return [*(chain(claims, claims[claim.refers - 1]) if claim.refers else []), claim]


def test_dependent_claims_depend_on_earlier_ones_of_their_category(published: list[Publication]) -> None:
    for publication in published:
        claims = list(publication.claims)
        assert [claim.number for claim in claims] == list(range(1, len(claims) + 1))
        assert claims[0].refers is None
        for claim in claims:
            if claim.refers is not None:
                assert claim.refers < claim.number
                method = [c.text.startswith(("A method", "The method")) for c in chain(claims, claim)]
                assert len(set(method)) == 1


def test_no_claim_speaks_of_a_part_before_it_is_introduced(published: list[Publication]) -> None:
    checked = 0
    for publication in published:
        names = [part.name for part in (*publication.invention.parts, publication.invention.variant)]
        for claim in publication.claims:
            text = " ".join(" ".join([c.text, *c.elements]) for c in chain(list(publication.claims), claim))
            for name in names:
                definite = re.search(rf"\bthe {re.escape(name)}\b", text)
                if definite:
                    # The end of the text introduces nothing, so the article must come first.
                    first = re.search(rf"(?<!the )\b{re.escape(a(name))}\b", text)
                    assert first is not None, (name, text)
                    assert first.start() < definite.start(), (name, text)
                    checked += 1
    assert checked > 1000


def test_a_reference_sign_means_one_part_in_description_and_claims(published: list[Publication]) -> None:
    from domadapt_patent.sample.publication import document

    for publication in published:
        invention = publication.invention
        names = {part.name: part.sign for part in (*invention.parts, invention.variant)}
        names |= {piece: sign for part in (*invention.parts, invention.variant) for piece, sign in part.pieces}
        signs = [part.sign for part in (*invention.parts, invention.variant)]
        signs += [sign for part in (*invention.parts, invention.variant) for _, sign in part.pieces]
        assert len(set(signs)) == len(signs)
        text = parse(document(publication)).text()
        for name in sorted(names, key=len, reverse=True):
            used = set(re.findall(rf"(?<![\w-]){re.escape(name)} \(?(\d+)\b(?! ?%|\.\d)", text))
            longer = [other for other in names if other != name and other.endswith(name)]
            allowed = {str(names[name]), *(str(names[other]) for other in longer)}
            assert used <= allowed, (publication.doc_number, name, used)
        for part in invention.core:
            assert f"{part.name} {part.sign}" in text


def test_ranges_lie_in_each_other_and_the_best_setting_is_the_best() -> None:
    for seed in range(200):
        invention = invent(random.Random(seed))
        for r in invention.ranges:
            assert r.quantity.low <= r.low < r.preferred_low < r.preferred_high < r.high <= r.quantity.high, r
            assert r.preferred_low <= r.best <= r.preferred_high
        test = invention.test
        better = max if test.measure.higher_is_better else min
        assert test.results[test.best] == better(*test.results)
        assert better(test.results[test.best], test.known) == test.results[test.best] != test.known


def test_every_part_is_held_by_one_that_is_named_before() -> None:
    for seed in range(100):
        parts = invent(random.Random(seed)).parts
        assert parts[0].parent is None
        assert all(part.parent in parts[:position] for position, part in enumerate(parts) if position)


def test_there_are_many_fields_and_their_functions_name_no_part_of_the_field() -> None:
    assert len(fields()) >= 10
    for field in fields():
        names = [part.name for part in field.parts]
        assert len(set(names)) == len(names)
        phrases = [f for part in field.parts for f in part.functions]
        phrases += [text for idea in field.ideas for text in (idea.feature, idea.effect)]
        for phrase in phrases:
            assert not [name for name in names if re.search(rf"\b{re.escape(name)}\b", phrase)], phrase


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (third("carry seeds"), "carries seeds"),
        (third("press on"), "presses on"),
        (third("stay flat"), "stays flat"),
        (third("be seen"), "is seen"),
        (gerund("cut film"), "cutting film"),
        (gerund("see far"), "seeing far"),
        (gerund("close gaps"), "closing gaps"),
        (plural("water heater with a refrigeration cycle"), "water heaters with a refrigeration cycle"),
        (plural("yaw apparatus"), "yaw apparatuses"),
        (a("ultrafiltration plant"), "an ultrafiltration plant"),
        (a("unit"), "a unit"),
        (a("relay nozzles"), "relay nozzles"),
    ],
)
def test_words_are_inflected(got: str, expected: str) -> None:
    assert got == expected


def test_singular_words_in_s_take_a_singular_verb() -> None:
    assert not is_plural("collimating lens")
    assert not is_plural("diameter of the openings")
    assert is_plural("brush singulators with a rigid wiper")
