"""Quality rules against examples at their thresholds, against plain re-implementations, and against what they cost."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domadapt.artifacts import document_schema
from domadapt.builtin.cleaning.gopher import Gopher
from domadapt.builtin.cleaning.language import Language
from domadapt.builtin.cleaning.repetition import (
    Repetition,
    duplicate_ngram_share,
    duplicate_shares,
    top_ngram_share,
)
from domadapt.builtin.cleaning.web_rules import C4, FineWeb
from domadapt.builtin.cleaning.words import ngram_hashes, word_ids
from domadapt.components import Cleaner, Stage


def batch_of(*texts: str, source: str = "test") -> pa.RecordBatch:
    names = [f"d{i}" for i in range(len(texts))]
    columns = [names, list(texts), [source] * len(texts), [""] * len(texts), names, ["{}"] * len(texts)]
    return pa.RecordBatch.from_arrays([pa.array(c, pa.string()) for c in columns], schema=document_schema())


def with_options(cls: type[Cleaner], **options: Any) -> Cleaner:
    return cls(cls.Config.model_validate(options))


def failed(cls: type[Cleaner], text: str, **options: Any) -> list[str]:
    """All rules that a text fails, from the tally; the first one must be the reason of the drop."""
    cleaner = with_options(cls, **options)
    kept, dropped = cleaner.clean(batch_of(text))
    tally: Counter[str] = cleaner.tally  # type: ignore[attr-defined]
    rules = [key.removeprefix("fails: ") for key in tally if key.startswith("fails: ")]
    assert kept.num_rows + sum(dropped.values()) == 1
    assert list(dropped) == rules[:1]
    return rules


SENTENCE = "The quick brown foxes of this report have to be with that dog and its friends every day. "
PROSE = (SENTENCE * 5).strip()


def test_plain_prose_passes_gopher() -> None:
    assert failed(Gopher, PROSE) == []


@pytest.mark.parametrize(
    ("text", "rule", "options"),
    [
        (SENTENCE, "under 50 words", {}),
        (PROSE, "over 60 words", {"max_words": 60}),
        ("of it to me be we in us at an " * 10, "words too short", {}),
        ("the incomprehensibilities of antidisestablishmentarianism " * 20, "words too long", {}),
        (PROSE + " #" * 20, "too many #", {}),
        (PROSE + " well..." * 20 + " end.", "too many ellipses", {}),
        ("\n".join("- " + line for line in [SENTENCE] * 5), "too many bullet lines", {}),
        ("\n".join([SENTENCE + "…"] * 2 + [SENTENCE] * 4), "too many lines ending in an ellipsis", {}),
        (PROSE + " 1,234" * 25, "too few words with letters", {}),
        ("the quick brown foxes jumped over lazy dogs " * 10, "too few stop words", {}),
    ],
)
def test_each_gopher_rule_takes_its_example_and_null_switches_it_off(
    text: str, rule: str, options: dict[str, Any]
) -> None:
    assert failed(Gopher, text, **options) == [rule]
    of_rule = {
        "under 50 words": "min_words",
        "over 60 words": "max_words",
        "words too short": "min_word_length",
        "words too long": "max_word_length",
        "too many #": "hashes",
        "too many ellipses": "ellipses",
        "too many bullet lines": "bullet_lines",
        "too many lines ending in an ellipsis": "ellipsis_lines",
        "too few words with letters": "letters",
        "too few stop words": "stop_words",
    }
    assert failed(Gopher, text, **{of_rule[rule]: None}) == []


@pytest.mark.parametrize(("words", "kept"), [(49, False), (50, True), (51, True)])
def test_a_threshold_itself_passes(words: int, kept: bool) -> None:
    text = " ".join((["the", "have", "words"] * 20)[:words])
    assert (failed(Gopher, text) == []) is kept


def test_symbols_are_no_words_for_the_length_of_a_document() -> None:
    text = " ".join(["the", "and"] * 24)
    assert "under 50 words" in failed(Gopher, text + " — | *" * 10)


def test_a_document_that_fails_several_rules_is_dropped_by_the_first_and_counted_by_all() -> None:
    assert failed(Gopher, "# # # a") == [
        "under 50 words",
        "words too short",
        "too many #",
        "too few words with letters",
        "too few stop words",
    ]


def test_without_drop_rules_are_counted_and_every_document_stays_as_it_is() -> None:
    for cls in (Gopher, Repetition, C4, FineWeb):
        cleaner = with_options(cls, drop=False)
        texts = ["x", "a { b", "same line here\nsame line here\n" * 5, PROSE]
        kept, dropped = cleaner.clean(batch_of(*texts))
        assert kept["text"].to_pylist() == texts
        assert sum(dropped.values()) == 0
        assert cleaner.tally  # type: ignore[attr-defined]


def test_documents_of_sources_that_are_not_named_pass_unjudged() -> None:
    for cls in (Gopher, Repetition, C4, FineWeb, Language):
        cleaner = with_options(cls, sources=["web"])
        text = "La maison de la famille est grande et belle, avec un jardin {\n" * 9
        assert cleaner.clean(batch_of(text, source="sec.filings"))[0]["text"].to_pylist() == [text]
        assert cleaner.clean(batch_of(text, source="web"))[0].num_rows == 0


@pytest.mark.parametrize("cls", [Gopher, Repetition, C4, FineWeb, Language])
@pytest.mark.parametrize(("side", "judged"), [(None, True), ("general", True), ("domain", False)])
def test_documents_of_the_other_side_pass_unjudged(
    cls: type[Cleaner], side: str | None, judged: bool, tmp_path: Path
) -> None:
    cleaner = with_options(cls, side=side)
    cleaner.prepare(Stage("corpus.general", "0" * 16, 1, "test", lambda *_: {}, tmp_path), [])
    text = "La maison de la famille est grande et belle, avec un jardin {\n" * 9
    assert cleaner.clean(batch_of(text))[0].num_rows == (0 if judged else 1)


# --- repetition


def naive_top(words: list[str], n: int) -> float:
    grams = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    if not grams or max(grams.values()) < 2:
        return 0.0
    most = max(grams.values())
    longest = max(sum(map(len, gram)) for gram, count in grams.items() if count == most)
    return min(1.0, longest * most / sum(map(len, words)))


def naive_duplicates(words: list[str], n: int) -> float:
    seen: set[tuple[str, ...]] = set()
    covered: set[int] = set()
    for start in range(len(words) - n + 1):
        gram = tuple(words[start : start + n])
        if gram in seen:
            covered.update(range(start, start + n))
        seen.add(gram)
    return sum(len(words[place]) for place in covered) / sum(map(len, words))


@given(st.lists(st.sampled_from(["a", "bb", "ccc", "d"]), min_size=1, max_size=60), st.integers(1, 10))
def test_shares_of_ngrams_are_those_of_a_plain_count(words: list[str], n: int) -> None:
    import numpy as np

    grams, lengths = ngram_hashes(word_ids(words), n), np.array([len(word) for word in words])
    assert grams.shape == (max(0, len(words) - n + 1),)
    assert top_ngram_share(grams, lengths, n) == pytest.approx(naive_top(words, n))
    assert duplicate_ngram_share(grams, lengths, n) == pytest.approx(naive_duplicates(words, n))


def test_duplicate_shares_by_hand() -> None:
    assert duplicate_shares(["aa", "b", "aa", "aa"]) == (2 / 4, 4 / 7)
    assert duplicate_shares(["a", "b"]) == (0.0, 0.0)
    assert duplicate_shares([]) == (0.0, 0.0)


def numbered(count: int, start: int = 0) -> list[str]:
    return [f"word{i}" for i in range(start, start + count)]


def test_varied_text_does_not_repeat_itself() -> None:
    assert failed(Repetition, " ".join(numbered(500))) == []


def test_each_repetition_rule_takes_its_example() -> None:
    lines = [" ".join(numbered(8, 10 * i)) for i in range(10)]
    assert "repeated lines" in failed(Repetition, "\n".join([*lines[:6], *["x"] * 5]))
    long = " ".join(numbered(40, 900))
    assert failed(Repetition, "\n".join([*lines, long, long]))[0] == "characters in repeated lines"
    assert "repeated paragraphs" in failed(Repetition, "\n\n".join([*lines[:6], *["x y"] * 5]))
    assert "top 2-gram" in failed(Repetition, " ".join(f"same phrase {w}" for w in numbered(50)))
    assert "repeated 5-grams" in failed(Repetition, " ".join([*numbered(60), *numbered(12)]))
    whole = failed(Repetition, " ".join(numbered(60) * 2))
    assert [rule for rule in whole if rule.startswith("repeated")] == [f"repeated {n}-grams" for n in range(5, 11)]


def test_a_share_just_under_its_threshold_passes() -> None:
    text = " ".join([*numbered(100, 100), *numbered(10, 100)])  # 10 of 110 words there before: 9.1 %
    assert failed(Repetition, text) == []
    strict = (0.09,) * 6
    assert failed(Repetition, text, duplicate_ngrams=strict) == [f"repeated {n}-grams" for n in range(5, 11)]


def test_a_phrase_that_occurs_once_is_no_repetition_however_short_the_text() -> None:
    assert failed(Repetition, "only four words here") == []


def test_the_cost_of_repetition_is_linear_in_a_text_of_one_word() -> None:
    def seconds(text: str) -> float:
        started = time.process_time()
        list(Repetition().failures(text))
        return time.process_time() - started

    seconds("a " * 1000)
    assert seconds("a " * 400_000) < 6 * seconds("a " * 100_000) + 0.1


# --- C4 and FineWeb


def c4(text: str, **options: Any) -> tuple[list[str], Counter[str]]:
    cleaner = with_options(C4, **options)
    kept, dropped = cleaner.clean(batch_of(text))
    tally: Counter[str] = cleaner.tally  # type: ignore[attr-defined]
    return kept["text"].to_pylist() or list(dropped), tally


GOOD = "\n".join(f"This is sentence number {word} of a page." for word in ("one", "two", "three", "four", "five"))


def test_c4_keeps_lines_that_end_like_sentences_and_counts_the_others() -> None:
    rest = "Home | News | About\nToo short.\nPlease enable Javascript to see this.\nRead our privacy policy here.\n"
    text, tally = c4(rest + GOOD + '\nHe said "yes, I do"\nto be continued ...')
    assert text == [GOOD + '\nHe said "yes, I do"']
    assert tally == {
        "lines: no punctuation at the end": 2,
        "lines: under 3 words": 1,
        "lines: javascript": 1,
        "lines: policy": 1,
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD + "\nLorem ipsum dolor sit amet.", "lorem ipsum"),
        (GOOD + "\nfunction f() { return 1; }", "curly bracket"),
        ("Only one sentence is here.", "under 5 sentences"),
        ("A table\nof numbers\n1,234", "under 5 sentences"),
    ],
)
def test_c4_drops_documents_by_their_rule(text: str, reason: str) -> None:
    assert c4(text)[0] == [reason]


def test_c4_with_its_line_rules_off_leaves_the_text_alone() -> None:
    off = {"terminal_punctuation": False, "min_line_words": None, "javascript": False, "policies": False}
    text = "javascript\nHome\n\n" + GOOD
    assert c4(text, **off)[0] == [text]


def test_c4_removes_lines_with_a_word_over_a_thousand_characters() -> None:
    assert c4(f"{GOOD}\nThis is {'x' * 1001} indeed.")[0] == [GOOD]
    assert len(c4(f"{GOOD}\nThis is {'x' * 1000} indeed.")[0][0]) > 1000


def test_an_abbreviation_with_a_dot_inside_ends_no_sentence() -> None:
    assert c4("Sales rose by 3.5 percent and e.g.this went on.\nTwo is here now! Three is it? Four is so.")[0] == [
        "under 5 sentences"
    ]


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        (GOOD, []),
        ("\n".join(f"line {i} goes on and on without an end as it is" for i in range(9)), ["too few lines ending in"]),
        ("\n".join(f"A short {i}." for i in range(9)), ["too many short lines"]),
        (GOOD + "\n" + GOOD.split("\n")[0], ["characters in repeated lines"]),
        ("\n".join(f"Longwordasalinewithoutanyspace{i}." for i in range(9)), ["too many line breaks"]),
        (" \n ", ["no line"]),
    ],
)
def test_each_fineweb_rule_takes_its_example(text: str, rules: list[str]) -> None:
    found = failed(FineWeb, text)
    assert len(found) == len(rules)
    assert all(one.startswith(wanted) for one, wanted in zip(found, rules, strict=True))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_no_text_breaks_a_rule(text: str) -> None:
    for cls in (Gopher, Repetition, C4, FineWeb, Language):
        cleaner = cls()
        kept, dropped = cleaner.clean(batch_of(text))
        assert kept.num_rows + sum(dropped.values()) == 1
        assert kept.schema.equals(document_schema())


# --- language

ENGLISH = "The company reported higher net sales for the year, driven by growth in all of its markets."
FRENCH = "Le président de la société a annoncé des résultats en hausse pour l'année, qui sont dus à tous les marchés."
GERMAN = "Das Unternehmen meldete für das Jahr einen höheren Umsatz, getragen vom Wachstum in allen Märkten."


def test_other_languages_are_dropped_by_name_and_what_cannot_be_told_stays() -> None:
    cleaner = Language()
    kept, dropped = cleaner.clean(batch_of(ENGLISH, FRENCH, GERMAN, "1,234  5,678  9,012"))
    assert kept["text"].to_pylist() == [ENGLISH, "1,234  5,678  9,012"]
    assert dropped == {"language fr": 1, "language de": 1}
    strict = with_options(Language, keep=["de", "fr"], unknown=False)
    kept, dropped = strict.clean(batch_of(ENGLISH, FRENCH, GERMAN, "1,234  5,678  9,012"))
    assert kept["text"].to_pylist() == [FRENCH, GERMAN]
    assert dropped == {"language en": 1, "language unknown": 1}


def test_a_language_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"'english' is no language code .* de, .* en, "):
        with_options(Language, keep=["english"])
