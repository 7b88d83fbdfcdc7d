"""The mechanical checks of answers: what keeps a form, echoes, refuses, slips into another language."""

from __future__ import annotations

import lzma
import os
import re
from pathlib import Path

import pytest

from domadapt.builtin.evaluating.probes.checks import count_words, is_answer, is_echo, is_refusal, keeps_format
from domadapt.builtin.evaluating.probes.languages import LANGUAGES, SMALL_WORDS, slips_from
from domadapt.builtin.evaluating.probes.prompts import Prompt

WANTED = {
    "json": {"wanted": ("name", "age")},
    "list": {"count": 3},
    "one_of": {"wanted": ("Delhi", "Oslo", "Cairo")},
    "words": {"wanted": ("cat", "axe")},
    "yes_no": {"wanted": ("yes", "no")},
}


@pytest.mark.parametrize(
    ("form", "kept", "broken"),
    [
        (
            "json",
            ['{"name": "Ana", "age": 30}', '```json\n{"age": 30, "name": "Ana"}\n```', ' {"name": 1, "age": 2}\n'],
            ['{"name": "Ana"}', "Here it is: {}", '["name", "age"]', '{"name": "Ana", "age": 30', ""],
        ),
        (
            "list",
            ["red, green, blue", "- red\n- green\n- blue", "1. red\n2. green\n3. blue", "Red, green, dark blue."],
            ["red, green", "red, green, blue, white", "I like red, and green, and blue like the sea", "red green blue"],
        ),
        ("number", ["12", "12.", "-3", "1,200.5", "**12**"], ["twelve", "7 plus 5 is 12", "12 apples", "", "."]),
        ("one_of", ["Oslo", "It was bought in Oslo.", "oslo!"], ["Oslo or Cairo", "Rome", "", "Oslo " + "so " * 20]),
        ("one_word", ["Paris", '"Paris."', "**Paris**"], ["It is Paris", "", "Paris, France", "---"]),
        ("words", ["cat axe", "Cat, axe.", '"cat axe"'], ["axe cat", "cat axe axe", "cat", "Repeat: cat axe"]),
        ("yes_no", ["yes", "No.", "Yes, he did.", "**No**, it was Paris."], ["Maybe", "", "yes " * 30, "He said yes"]),
    ],
)
def test_a_form_is_kept_or_not(form: str, kept: list[str], broken: list[str]) -> None:
    prompt = Prompt.model_validate({"item": "a", "prompt": "b", "format": form, **WANTED.get(form, {})})
    assert [a for a in kept if not keeps_format(prompt, a)] == []
    assert [a for a in broken if keeps_format(prompt, a)] == []


def test_an_echo_says_the_prompt_again_and_a_repetition_that_was_asked_for_does_not() -> None:
    prompt = "Lucy bought the drill in Paris. Did Lucy buy it in Vienna?"
    assert is_echo(prompt, prompt)
    assert is_echo(prompt, " lucy bought the drill in Paris, did Lucy buy it in Vienna? No.")
    assert is_echo(prompt, "Lucy bought the drill in Paris. Did Lucy buy")  # cut off at the limit
    assert not is_echo(prompt, "Lucy bought the drill in Paris, so no.")
    assert not is_echo("Repeat: cat axe", "cat axe")
    assert is_answer("Repeat: cat axe", "cat axe")
    assert not is_answer(prompt, prompt)
    assert not is_answer(prompt, " \n...\n")


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m very sorry, I cannot answer this.",
        "As an AI language model, I have no opinions.",
        "I am unable to assist with this request.",
        "Ich kann dabei nicht helfen.",
        "Lo siento, pero no puedo ayudar.",
        "抱歉，我无法回答这个问题。",
    ],
)
def test_a_refusal_is_recognised(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "You can use the kill command to stop it.",
        "Ice floats because it cannot sink in water.",
        "no",
        "",
        "The process will not stop by itself; send it a signal.",
        "Use kill -9. " * 20 + "I can't think of another way.",
    ],
)
def test_an_answer_with_a_negation_in_it_is_no_refusal(text: str) -> None:
    assert not is_refusal(text)


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), ("one", 1), ("It is Paris.", 3), ("水会结冰", 2), ("冰 is ice", 3)]
)
def test_words_are_counted_where_there_are_spaces_and_where_there_are_none(text: str, count: int) -> None:
    assert count_words(text) == count


SENTENCES = {
    "en": "The sky is blue because the light of the sun is scattered by the air.",
    "de": "Der Himmel ist blau, weil das Licht der Sonne in der Luft gestreut wird.",
    "fr": "Le ciel est bleu parce que la lumière du soleil est diffusée dans l'air.",
    "es": "El cielo es azul porque la luz del sol se dispersa en el aire.",
    "it": "Il cielo è blu perché la luce del sole viene diffusa nell'aria.",
    "pt": "O céu é azul porque a luz do sol é espalhada pelo ar.",
    "nl": "De lucht is blauw omdat het licht van de zon in de lucht wordt verstrooid.",
    "ru": "Небо голубое, потому что свет солнца рассеивается в воздухе.",
    "zh": "天空是蓝色的，因为阳光被空气散射。",
    "ja": "空が青いのは、太陽の光が空気で散乱されるからです。",
    "ko": "하늘이 파란 이유는 햇빛이 공기 중에서 산란되기 때문입니다.",
    "ar": "السماء زرقاء لأن ضوء الشمس يتشتت في الهواء.",
    "hi": "आकाश नीला है क्योंकि सूर्य का प्रकाश हवा में बिखर जाता है।",
}


@pytest.mark.parametrize("expected", LANGUAGES)
def test_a_sentence_is_in_its_language_and_in_no_other(expected: str) -> None:
    assert set(SENTENCES) == set(LANGUAGES)
    found = {language: slips_from(expected, text) for language, text in SENTENCES.items()}
    assert found.pop(expected) == ""
    if expected == "ja":
        found.pop("zh")  # a sentence of signs alone may be either
    assert all(found.values()), found


def test_a_slip_in_the_middle_of_an_answer_is_found() -> None:
    assert slips_from("en", f"{SENTENCES['en']} {SENTENCES['de']} {SENTENCES['en']}") == "de"
    assert slips_from("en", "The answer is that 天空是蓝色的 and so on.") == "CJK"
    assert slips_from("de", f"{SENTENCES['de']} And this is what it is like when we go on.") == "en"


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "no"),
        ("en", "Paris"),
        ("en", '{"name": "Ana", "age": 30}'),
        ("en", "The mean is μ, the deviation σ."),
        ("en", "Los Angeles and Las Vegas"),
        ("en", "He was in the die shop"),
        ("en", "de de de de de de"),
        ("zh", "法国的首都是巴黎（Paris）。"),
        ("es", "La capital de Francia es París."),
    ],
)
def test_what_is_too_short_or_too_odd_to_tell_is_not_held_against_an_answer(language: str, text: str) -> None:
    assert slips_from(language, text) == ""


def test_lists_of_small_words_differ_enough_to_tell_languages_apart() -> None:
    for language, words in SMALL_WORDS.items():
        for other, others in SMALL_WORDS.items():
            assert language == other or len(words - others) > 0.5 * len(words)


@pytest.mark.parametrize(("language", "folder"), [("en", "wikipedia_en"), ("zh", "wikipedia_zh")])
def test_real_text_of_the_language_is_hardly_ever_taken_for_another(language: str, folder: str) -> None:
    """Pieces as long as an answer of 64 tokens; encyclopedias quote other languages, so a few are right to be found."""
    data = os.environ.get("ADAPT_REAL_DATA")
    if not data:
        pytest.skip("ADAPT_REAL_DATA is not set")
    files = sorted((Path(data) / "general" / folder).glob("*.xz"))
    with lzma.open(files[0], "rt", encoding="utf-8") as file:
        text = re.sub(r"<[^>]*>", "", file.read(600_000))
    if language == "en":
        words = text.split()
        pieces = [" ".join(words[i : i + 45]) for i in range(0, len(words), 45)]
    else:
        pieces = [text[i : i + 80] for i in range(0, len(text), 80)]
    assert len(pieces) > 1000
    found = [p for p in pieces if slips_from(language, p)]
    assert len(found) < {"en": 0.005, "zh": 0.05}[language] * len(pieces), found[:5]
