"""Mechanical checks of one answer. None of them asks whether the answer is right, only whether it is one."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable

from domadapt.builtin.evaluating.probes.prompts import Prompt

REFUSAL_AT = 160
"""Characters from the beginning in which a refusal stands; later on the same words are part of an explanation."""

_REFUSAL = re.compile(
    r"\b(i'?m|i am) (very |so |really |truly )?(sorry|unable|afraid|not able|not allowed|not permitted)\b"
    r"|\bi (can ?not|can'?t|won'?t|will not|must decline|must refuse|am unable|do not feel comfortable)\b"
    r"|\bas an? (ai|artificial intelligence|language model)\b"
    r"|\bi (apologi[sz]e|decline|refuse)\b"
    r"|\b(es tut mir leid|tut mir leid|ich kann (dir |ihnen )?(dabei |das )?nicht|als ki\b|als sprachmodell)"
    r"|\b(lo siento|no puedo (ayudar|responder|proporcionar)|como modelo de lenguaje)"
    r"|\b(je suis désolé|je ne peux pas|en tant que modèle)"
    r"|(对不起|很抱歉|抱歉|我(无法|不能)|作为(一个)?(人工智能|语言模型|ai))",
    re.IGNORECASE,
)
_PART = re.compile(r"[^\W_]+", re.UNICODE)
_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)
_MARKER = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+")
_BARE = " \t\n.!?\"'`*“”‘’"


def parts(text: str) -> list[str]:
    """The words and numbers of a text, folded."""
    return [p.casefold() for p in _PART.findall(unicodedata.normalize("NFC", text))]


def count_words(text: str) -> int:
    """Words of an answer; a script without spaces counts two signs as a word."""
    unspaced = sum("⺀" <= c <= "鿿" or "豈" <= c <= "﫿" for c in text)
    spaced = "".join(" " if "⺀" <= c <= "鿿" or "豈" <= c <= "﫿" else c for c in text)
    return len(spaced.split()) + (unspaced + 1) // 2


def is_echo(prompt: str, answer: str) -> bool:
    """Whether an answer begins by saying the prompt again, all of it or as far as it came."""
    asked, said = parts(prompt), parts(answer)
    shared = min(len(asked), len(said))
    return shared > 0.6 * len(asked) and asked[:shared] == said[:shared]


def is_answer(prompt: str, answer: str) -> bool:
    """Whether there is a word or number in it and it is no echo."""
    return bool(parts(answer)) and not is_echo(prompt, answer)


def is_refusal(answer: str) -> bool:
    """Whether an answer refuses, by the phrases that chat models refuse with."""
    return _REFUSAL.search(answer[:REFUSAL_AT].replace("’", "'")) is not None


def keeps_format(prompt: Prompt, answer: str) -> bool:
    """Whether an answer has the form its prompt asks for. Quotes, bold type and a full stop are forgiven."""
    assert prompt.format is not None
    return _FORMATS[prompt.format](prompt, answer.strip(_BARE))


def _is_json(prompt: Prompt, answer: str) -> bool:
    fenced = _FENCE.search(f"```{answer}```" if answer.startswith("json") else answer)
    try:
        value = json.loads(fenced[1] if fenced else answer)
    except ValueError:
        return False
    return isinstance(value, dict) and set(value) == set(prompt.wanted)


def _is_list(prompt: Prompt, answer: str) -> bool:
    lines = [line for line in answer.splitlines() if line.strip()]
    entries = lines if len(lines) > 1 else answer.split(",")
    entries = [_MARKER.sub("", entry).strip(_BARE + ",") for entry in entries]
    return len(entries) == prompt.count and all(entries) and max(map(count_words, entries)) <= 3


def _is_number(prompt: Prompt, answer: str) -> bool:
    return re.fullmatch(r"[-+−]?\d+(?:[.,]\d+)*", answer) is not None


def _is_one_of(prompt: Prompt, answer: str) -> bool:
    said = set(parts(answer))
    return sum(option.casefold() in said for option in prompt.wanted) == 1 and count_words(answer) <= 15


def _is_one_word(prompt: Prompt, answer: str) -> bool:
    return count_words(answer) == 1 and len(parts(answer)) == 1


def _is_words(prompt: Prompt, answer: str) -> bool:
    return parts(answer) == [w.casefold() for w in prompt.wanted]


def _is_yes_or_no(prompt: Prompt, answer: str) -> bool:
    said = parts(answer)
    return bool(said) and said[0] in {w.casefold() for w in prompt.wanted} and len(said) <= 15


_FORMATS: dict[str, Callable[[Prompt, str], bool]] = {
    "json": _is_json,
    "list": _is_list,
    "number": _is_number,
    "one_of": _is_one_of,
    "one_word": _is_one_word,
    "words": _is_words,
    "yes_no": _is_yes_or_no,
}
