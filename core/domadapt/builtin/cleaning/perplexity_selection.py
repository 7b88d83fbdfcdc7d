"""Choose by the perplexity of an n-gram model of a reference: CCNet's way (arXiv 1911.00359) with an own model.

Guo et al. (arXiv 2406.14833) select 10 % of a domain's text so against the stability gap of continual pre-training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from domadapt.builtin.cleaning.ngram_model import NgramModel, perplexity, tokens
from domadapt.builtin.cleaning.selection import Selection, SelectionOptions
from domadapt.components import Options


class PerplexityOptions(SelectionOptions):
    """Options of `select.perplexity`."""

    order: Literal[2, 3] = 3
    """Words of the longest n-gram of the model."""


class PerplexitySelection(Selection):
    """Keeps the documents that an n-gram model trained on the reference finds least surprising."""

    name: ClassVar[str] = "select.perplexity"
    Config: ClassVar[type[Options]] = PerplexityOptions
    reason: ClassVar[str] = "perplexity too high"

    def learn(self, texts: Iterator[str]) -> None:
        """Train the model."""
        self._model = NgramModel(texts, order=self.config.order)

    def score(self, text: str) -> float:
        """The negative perplexity, of words: length does not count."""
        words = tokens(text)
        if len(words) < self.config.min_words:
            return -math.inf
        return -perplexity(self._model.log_probabilities(words))

    def finish(self, out: Any) -> dict[str, Any]:
        """What was learnt from, and the perplexity at which documents were dropped."""
        return {"reference_words": self._model.num_words, "most_perplexity": _finite(-self._least)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
