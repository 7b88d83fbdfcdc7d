"""Prose for sample documents: a weighted grammar whose sentences are composed anew from a document's facts.

Sample documents go through the same near-duplicate removal as real ones, so they must differ as real ones
do. Rules refer to each other recursively (a clause may carry a subordinate clause, a subject an
apposition), what a document has said once it says differently the next time, and the facts come from a
simulation of the author's own, so that numbers agree with each other. Deterministic for a given generator.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence

Fact = str | Callable[[random.Random], str]

_REFERENCE = re.compile(r"\{(\w+)\}")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeioAEIO](?!ne\b|uro)|[uU](?!ni[a-z]|se|sua|ti|tah|\.S))")


class Grammar:
    """Rules: symbol -> alternatives, each a string in which `{symbol}` or `{fact}` is expanded.

    An alternative may be a pair (weight, string). A symbol that is no rule is looked up in the facts.
    """

    def __init__(self, rules: Mapping[str, Sequence[str | tuple[float, str]]]) -> None:
        self._rules: dict[str, tuple[tuple[float, str], ...]] = {
            symbol: tuple((1.0, a) if isinstance(a, str) else a for a in alternatives)
            for symbol, alternatives in rules.items()
        }

    def writer(self, rng: random.Random, facts: Mapping[str, Fact], max_depth: int = 12) -> Writer:
        """A writer of one document: it remembers what it has said."""
        return Writer(self._rules, rng, facts, max_depth)


class Writer:
    """Expands symbols for one document, preferring alternatives it has used least."""

    def __init__(
        self,
        rules: Mapping[str, tuple[tuple[float, str], ...]],
        rng: random.Random,
        facts: Mapping[str, Fact],
        max_depth: int,
    ) -> None:
        self._rules, self._rng, self._facts, self._max_depth = rules, rng, dict(facts), max_depth
        self._used: dict[tuple[str, int], int] = {}

    def know(self, **facts: Fact) -> None:
        """Add or replace facts, for instance those of the next section."""
        self._facts.update(facts)

    def phrase(self, symbol: str, _depth: int = 0) -> str:
        """Expand a symbol. Raises KeyError when neither a rule nor a fact has its name."""
        if symbol not in self._rules:
            fact = self._facts[symbol]
            return fact(self._rng) if callable(fact) else fact
        alternatives = self._rules[symbol]
        if _depth >= self._max_depth:
            choice = min(range(len(alternatives)), key=lambda i: alternatives[i][1].count("{"))
        else:
            weights = [w / (1 + 3 * self._used.get((symbol, i), 0)) for i, (w, _) in enumerate(alternatives)]
            choice = self._rng.choices(range(len(alternatives)), weights)[0]
        self._used[symbol, choice] = self._used.get((symbol, choice), 0) + 1
        return _REFERENCE.sub(lambda m: self.phrase(m[1], _depth + 1), alternatives[choice][1])

    def sentence(self, symbol: str) -> str:
        """A phrase as a sentence: a/an agree, first letter large, one full stop at the end."""
        text = _ARTICLE.sub(r"\1n ", " ".join(self.phrase(symbol).split())).replace(" ,", ",").replace(" .", ".")
        text = text[0].upper() + text[1:]
        return text if text[-1] in ".!?:" else text + "."

    def paragraph(self, symbols: Sequence[str]) -> str:
        """Sentences in a row."""
        return " ".join(self.sentence(symbol) for symbol in symbols)
