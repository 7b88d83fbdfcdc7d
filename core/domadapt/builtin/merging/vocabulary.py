"""Whether two checkpoints mean the same by a token's number.

Embedding rows are averaged by number. Where the numbers mean other tokens, the merge is garbled and nothing says so:
transformers loads it, and it speaks nonsense.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domadapt.errors import DataError

_SHOWN = 3


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by number. special: numbers of added tokens (begin, end, roles of a chat)."""

    tokens: Mapping[int, str]
    special: frozenset[int] = field(default_factory=frozenset)

    @property
    def numbers(self) -> dict[str, int]:
        """Numbers by token."""
        return {token: number for number, token in self.tokens.items()}


@dataclass(frozen=True)
class Difference:
    """How two vocabularies differ, as sentences. conflict: why rows of one number do not belong together, or ""."""

    conflict: str = ""
    remark: str = ""


def same_file(one: Path, other: Path, name: str) -> bool:
    """Whether both folders have the same file of this name."""
    first, second = one / name, other / name
    if not (first.is_file() and second.is_file()) or first.stat().st_size != second.stat().st_size:
        return False
    return first.samefile(second) or first.read_bytes() == second.read_bytes()


def compare(one: Path, other: Path) -> Difference:
    """Compare the tokenizers of two folders. Raises DataError when one cannot be read."""
    if same_file(one, other, "tokenizer.json"):
        return Difference()
    first, second = read_vocabulary(one), read_vocabulary(other)
    if first is None or second is None:
        models = (one / "tokenizer.model").is_file() and (other / "tokenizer.model").is_file()
        if models and not same_file(one, other, "tokenizer.model"):
            return Difference(conflict="their files tokenizer.model differ")
        alone = first is not second and not models
        return Difference(remark="one of them brings no tokenizer to compare with the other's" if alone else "")
    return _difference(first, second)


def _difference(first: Vocabulary, second: Vocabulary) -> Difference:
    both = first.tokens.keys() & second.tokens.keys()
    other = sorted(n for n in both if first.tokens[n] != second.tokens[n])
    renamed = [n for n in other if n in first.special and n in second.special]
    plain = [n for n in other if n not in renamed]
    if plain:
        pairs = (f"{n} is {first.tokens[n]!r} and {second.tokens[n]!r}" for n in plain)
        return Difference(conflict=f"{len(plain)} token numbers mean other tokens ({_some(pairs, len(plain))})")
    numbers = second.numbers
    moved = {
        token: (n, numbers[token])
        for n, token in first.tokens.items()
        if n in first.special and numbers.get(token, n) != n
    }
    if moved:
        pairs = (f"{token} is {a} and {b}" for token, (a, b) in moved.items())
        return Difference(conflict=f"special tokens have other numbers ({_some(pairs, len(moved))})")
    remarks = []
    if renamed:
        pairs = (f"{n}: {first.tokens[n]} and {second.tokens[n]}" for n in renamed)
        remarks.append(f"special tokens have other names ({_some(pairs, len(renamed))})")
    alone = sorted(first.tokens.keys() ^ second.tokens.keys())
    if alone:
        names = (str(first.tokens.get(n, second.tokens.get(n))) for n in alone)
        remarks.append(f"{len(alone)} tokens are in one tokenizer alone ({_some(names, len(alone))})")
    return Difference(remark="; ".join(remarks))


def _some(texts: Iterable[str], count: int) -> str:
    listed = [text for text, _ in zip(texts, range(_SHOWN), strict=False)]
    return ", ".join(listed) + (", ..." if count > _SHOWN else "")


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """The vocabulary of a folder's tokenizer.json or vocab.json, None without one. Raises DataError when unreadable."""
    file = next((folder / n for n in ("tokenizer.json", "vocab.json") if (folder / n).is_file()), None)
    if file is None:
        return None
    try:
        data = json.loads(file.read_bytes())
        if file.name == "vocab.json":
            return Vocabulary({int(number): token for token, number in data.items()})
        return _of_tokenizer(data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); fetch the tokenizer again") from error


def _of_tokenizer(data: Mapping[str, Any]) -> Vocabulary:
    vocab = data["model"]["vocab"]
    if isinstance(vocab, list):  # unigram: [token, score] in the order of the numbers
        tokens = {number: str(entry[0]) for number, entry in enumerate(vocab)}
    else:
        tokens = {int(number): token for token, number in vocab.items()}
    added = {int(entry["id"]): str(entry["content"]) for entry in data.get("added_tokens") or []}
    return Vocabulary({**tokens, **added}, frozenset(added))
