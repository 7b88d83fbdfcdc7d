"""Whether a short answer is in the language of its prompt, and whether it slips into another one.

Detectors by character frequencies need a paragraph: resiliparse 2.0.1 takes "Die Hauptstadt von Frankreich ist
Paris." for English and sees one language in a mixed sentence. Here scripts are counted first, then the small words
that every sentence has, in windows of ten words. What is too short or too odd to tell counts as the prompt's
language: the finding is another language, not the absence of this one.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

LANGUAGES: dict[str, frozenset[str]] = {
    **dict.fromkeys(("en", "de", "fr", "es", "it", "pt", "nl"), frozenset({"LATIN"})),
    "ru": frozenset({"CYRILLIC"}),
    "zh": frozenset({"CJK"}),
    "ja": frozenset({"CJK", "HIRAGANA", "KATAKANA"}),
    "ko": frozenset({"HANGUL"}),
    "ar": frozenset({"ARABIC"}),
    "hi": frozenset({"DEVANAGARI"}),
}
"""Languages of prompts and the scripts they are written in."""

SMALL_WORDS: dict[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": "a i no the of and to in is are was were that it this for on with as by be have has not you we they he "
        "she his her their which or an from at but can will would if when there what who how do does so because",
        "de": "der die das den dem des ein eine einen einem einer und ist sind war waren nicht ich du er sie wir "
        "ihr mit von zu zum zur im in auf für dass wird werden wurde auch es als aus bei nach wie oder aber durch "
        "weil wenn kann haben hat sich über",
        "fr": "le la les un une des du de et est sont dans que qui pour pas ne sur avec ce cette il elle nous vous "
        "ils elles au aux par plus mais ou où sa son ses leur était être avoir parce comme se en",
        "es": "el la los las un una unos unas de del y es son en que por para con no se lo al su sus como más pero "
        "porque este esta fue ser está muy también cuando hay o si le ha",
        "it": "il lo la gli le un una di del della dei delle e è sono in che per con non si al alla da dal come "
        "più ma perché questo questa nel nella anche ha era essere suo sua o se ci",
        "pt": "o a os as um uma de do da dos das e é são em que por para com não se no na ao à como mais mas porque "
        "este esta foi ser está muito também quando há ou seu sua pelo",
        "nl": "de het een en van is zijn was waren in op te dat die voor met niet ik je hij zij ze we wij er aan om "
        "als maar door naar ook bij uit dan nog wordt worden kan heeft hebben omdat over deze",
    }.items()
}
WINDOW = 10
"""Words of a window: about one clause, so that a slip in the middle of an answer is not averaged away."""
FOREIGN_SHARE = 0.2
"""Words in another script, as a share, from which on an answer is mixed: names and units stay below."""

_WORD = re.compile(r"[^\W\d_]+")


@lru_cache(maxsize=4096)
def script_of(letter: str) -> str:
    """The script of a letter by its Unicode name ("LATIN", "CJK"), "" for one without a name."""
    return unicodedata.name(letter, "").split(" ")[0]


def slips_from(language: str, text: str) -> str:
    """What an answer slips into: the code or script of another language, "" when none is found.

    language: one of LANGUAGES.
    """
    return _other_script(language, text) or _other_language(language, text)


def _other_script(language: str, text: str) -> str:
    """A script of which there is too much. A word counts once, in a script without spaces each sign."""
    counts: Counter[str] = Counter()
    for word in _WORD.findall(unicodedata.normalize("NFC", text)):
        scripts = Counter(script_of(letter) for letter in word)
        unspaced = {s: n for s, n in scripts.items() if s in ("CJK", "HIRAGANA", "KATAKANA")}
        counts.update(unspaced)
        if len(word) > 1:  # a single letter is a symbol
            counts.update({s: 1 for s in scripts if s and s not in unspaced})
    foreign = {s: n for s, n in counts.items() if s not in LANGUAGES[language]}
    if sum(foreign.values()) < 2 or sum(foreign.values()) < FOREIGN_SHARE * sum(counts.values()):
        return ""
    return max(foreign, key=lambda s: foreign[s])


def _other_language(language: str, text: str) -> str:
    """Another language of the same script whose small words outnumber those of this one in some window."""
    own = SMALL_WORDS.get(language)
    if own is None:
        return ""
    words = [w.casefold() for w in _WORD.findall(unicodedata.normalize("NFC", text))]
    for start in range(0, max(1, len(words) - WINDOW // 2), WINDOW // 2):
        window = words[start : start + WINDOW]
        # other words only: a loop of one word says nothing about a language
        different = set(window)
        for other, small in SMALL_WORDS.items():
            hits, expected = len(different & (small - own)), len(different & (own - small))
            if other != language and hits >= 2 and len(different & small) >= 3 and hits > expected:
                return other
    return ""
