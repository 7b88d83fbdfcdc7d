"""Keep documents in the wanted languages, by resiliparse's detector: 101 languages, no model file, 150 MB/s."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import AfterValidator, Field

from domadapt.builtin.cleaning.rules import Judge, JudgeOptions
from domadapt.builtin.cleaning.text import keep_rows
from domadapt.components import Options

if TYPE_CHECKING:
    import pyarrow as pa

UNKNOWN = "unknown"


def _supported(code: str) -> str:
    from resiliparse.parse.lang import supported_langs

    if code not in supported_langs():
        raise ValueError(f"{code!r} is no language code that the detector knows; it knows {', '.join(known_codes())}")
    return code


def known_codes() -> list[str]:
    """The codes of all languages that can be told apart, sorted."""
    from resiliparse.parse.lang import supported_langs

    return sorted(supported_langs())


class LanguageOptions(JudgeOptions):
    """Options of `language`."""

    keep: list[Annotated[str, AfterValidator(_supported)]] = Field(["en"], min_length=1)
    """Languages to keep, by ISO 639-1 code."""
    unknown: bool = True
    """Whether to keep documents whose language cannot be told: tables, formulas, a few words."""
    cutoff: int = Field(1200, ge=1)
    """Greatest distance from a language's profile at which a guess counts, else the language is unknown. Above 1200
    guesses are usually wrong, by the detector's authors."""


class Language(Judge):
    """Drops documents in other languages."""

    name: ClassVar[str] = "language"
    independent: ClassVar[bool] = True
    Config: ClassVar[type[Options]] = LanguageOptions

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        """Keep the documents in one of the languages."""
        from resiliparse.parse.lang import detect_fast

        keep: list[bool] = []
        dropped: Counter[str] = Counter()
        for text, judged in zip(batch["text"].to_pylist(), self.judged(batch), strict=True):
            code = detect_fast(text, cutoff=self.config.cutoff)[0] if judged else None
            stays = code is None or (self.config.unknown if code == UNKNOWN else code in self.config.keep)
            keep.append(stays)
            if not stays:
                dropped[f"language {code}"] += 1
        return keep_rows(batch, keep), dropped
