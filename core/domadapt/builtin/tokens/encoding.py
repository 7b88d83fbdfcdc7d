"""Text to ids in bulk, by the fastest route that gives exactly the model's own ids.

The definition is `tokenizers` (or, for a tokenizer it does not know, transformers). fastokens is ten times as fast and
meant to be equal, looking words up is two and a half times as fast; whether they are equal, a probe decides on the very
text and tokenizer: both encode a sample of every shard and a list of hostile strings, and one differing id rules the
route out for the whole shard. What every route gives is flat (ids of all texts in a row, and the length of each):
objects for single tokens are much of what makes other ways slow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Flat = tuple[np.ndarray, np.ndarray]
"""Ids of all texts in a row, and the length of each."""
PROBE_SHARE, PROBE_LEAST, PROBE_PIECE = 1 / 200, 100_000, 2_000
"""The sample of a shard: this share of its bytes, at least so many, in pieces of so many characters."""
GPT_2_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""How a byte-level step splits that says nothing of it (tokenizers, pre_tokenizers/byte_level.rs)."""
MOST_WORDS = 1_000_000
"""Words remembered: about 150 MB."""
HOSTILE = (
    "", " ", "  \t \n\n \r\n x", "don't DON'T we'LL I'm he'd", "12 123 1234 1,234,567.89",
    "naïve café cafe\u0301 ﬁ ① Å",
    "漢字かな交じり文 한국어 ไทย עברית عربى हिन्दी",
    "👩‍👩‍👧 🏳️‍🌈 \U0001f600\ufe0f", "a\u00a0b\u2009c\u3000d\u200be\ufeff",
    "\x00\x01\x7f\u0085\u2028\u2029", "x" * 400, "ab " * 200, "\n" * 70 + " " * 70, "====----____****",
    "\U0010ffff\ud7ff",
    "https://example.org/a?b=c&d=%20#e", "<s>[INST]</s> <unk> ▁▁ Ġ Ċ", "def f(x):\n\treturn x**2  # ²",
    "it'ſ I'LL 'K ſt", "ΣΑΣ İi ŉ ǆ",
)  # fmt: skip


class Route(Protocol):
    """A way from texts to ids."""

    name: str

    def encode(self, texts: Sequence[str]) -> Flat:
        """Ids without begin and end, uint32 or wider; special tokens written in a text stay text."""


class Backend:
    """Hugging Face's `tokenizers`: the definition wherever the model has a fast tokenizer."""

    name = "tokenizers"

    def __init__(self, given: Path | str) -> None:
        """given: a `tokenizer.json`, or what stands in one."""
        from tokenizers import Tokenizer

        made = Tokenizer.from_file(str(given)) if isinstance(given, Path) else Tokenizer.from_str(given)
        self._tokenizer: Any = made
        self._tokenizer.encode_special_tokens = True

    def encode(self, texts: Sequence[str]) -> Flat:
        """See `Route`."""
        rows = [one.ids for one in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        flat = np.empty(int(lengths.sum()), np.uint32)
        end = 0
        for row in rows:
            start, end = end, end + len(row)
            flat[start:end] = row
        return flat, lengths

    def around_added_tokens(self) -> list[str]:
        """A text around each of the first special and other added tokens."""
        added = list(self._tokenizer.get_added_tokens_decoder().values())
        chosen = [one for kind in (True, False) for one in [t for t in added if t.special is kind][:20]]
        return [f"one {token.content} two{token.content}" for token in chosen]


class Fastokens:
    """fastokens, two buffers from all cores. Raises ValueError for a tokenizer that it does not know."""

    name = "fastokens"

    def __init__(self, file: Path) -> None:
        fastokens: Any = import_module("fastokens")
        self._tokenizer: Any = fastokens.Tokenizer.from_file(str(file))

    def encode(self, texts: Sequence[str]) -> Flat:
        """See `Route`."""
        ids, offsets = self._tokenizer.encode_batch_flat(list(texts), split_special_tokens=True)
        return np.frombuffer(ids, np.uint32), np.diff(np.frombuffer(offsets, np.uint64).astype(np.int64))


class Words:
    """Byte-level BPE word by word: a word's ids are looked up once and remembered, so that what remains is splitting.

    On one core two and a half times as fast as `tokenizers`. Raises ValueError for other pipelines than one regular
    expression and byte-level BPE.
    """

    name = "words"

    def __init__(self, file: Path) -> None:
        import regex

        whole = json.loads(file.read_bytes())
        pattern, byte_level = _splitting(whole)
        if any(not token["special"] for token in whole["added_tokens"]):
            raise ValueError("added tokens that are no special ones")
        self._find: Any = regex.compile(pattern).findall
        self._words = Backend(json.dumps({**whole, "pre_tokenizer": byte_level, "added_tokens": []}))
        self._backend = _backend(file)
        self._known: dict[str, bytes] = {}

    def encode(self, texts: Sequence[str]) -> Flat:
        """See `Route`."""
        rows = [self._find(text) for text in texts]
        # what lies between words is a word too, but findall does not give it
        whole = [sum(map(len, row)) == len(text) for row, text in zip(rows, texts, strict=True)]
        self._learn(set().union(*(row for row, covered in zip(rows, whole, strict=True) if covered)))
        flat = [
            b"".join(map(self._known.__getitem__, row)) if covered else self._backend.encode([text])[0].tobytes()
            for row, covered, text in zip(rows, whole, texts, strict=True)
        ]
        return np.frombuffer(b"".join(flat), np.uint32), np.array([len(ids) // 4 for ids in flat], np.int64)

    def _learn(self, words: set[str]) -> None:
        if len(self._known) > MOST_WORDS:
            self._known.clear()
        new = list(words.difference(self._known))
        ids, lengths = self._words.encode(new)
        ends = (np.cumsum(lengths) * 4).tolist()
        data = ids.tobytes()
        self._known.update((w, data[s:e]) for w, s, e in zip(new, [0, *ends], ends, strict=False))


def _splitting(whole: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The regular expression of a `tokenizer.json`, and its byte-level step without one."""
    first = whole["pre_tokenizer"] or {}
    steps = first["pretokenizers"] if first.get("type") == "Sequence" else [first]
    last = {**steps[-1], "use_regex": False}
    if whole["model"]["type"] != "BPE" or whole["normalizer"] or last.get("type") != "ByteLevel":
        raise ValueError("no byte-level BPE")
    if last["add_prefix_space"]:
        raise ValueError("a space before the first word")
    if len(steps) == 1 and steps[0]["use_regex"]:
        return GPT_2_WORDS, last
    split = steps[0]
    plain = split.get("type") == "Split" and split["behavior"] == "Isolated" and not split["invert"]
    if len(steps) != 2 or not plain or steps[1]["use_regex"] or "Regex" not in split["pattern"]:
        raise ValueError("words that are not split by one regular expression")
    return str(split["pattern"]["Regex"]), last


class Slow:
    """A tokenizer that only transformers has."""

    name = "transformers"

    def __init__(self, folder: Path) -> None:
        from domadapt.builtin.models.tokenizer import load_tokenizer

        self._tokenizer = load_tokenizer(folder)

    def encode(self, texts: Sequence[str]) -> Flat:
        """See `Route`."""
        rows = self._tokenizer(
            list(texts),
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
            verbose=False,
        )["input_ids"]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return np.fromiter((i for row in rows for i in row), np.uint32, int(lengths.sum())), lengths


@dataclass(frozen=True)
class Probe:
    """What was compared, and how many pieces differed."""

    pieces: int = 0
    num_bytes: int = 0
    differing: int = 0


def choose(file: Path, pieces: Sequence[str]) -> tuple[Route, Probe | None]:
    """The fastest route for a `tokenizer.json` that passes the probe on these pieces of text; None: none was tried."""
    backend, probe = _backend(file), None
    wanted = [*HOSTILE, *backend.around_added_tokens(), *pieces]
    for load in (_fastokens, _words):
        try:
            route: Route = load(file)
            probe = compare(backend, route, wanted)
        except (ImportError, ValueError):  # not installed, or a part of the pipeline that it does not have
            continue
        if not probe.differing:
            return route, probe
    return backend, probe


def knows_fast_route(file: Path) -> bool:
    """Whether fastokens is installed and takes a `tokenizer.json` as it should, as far as hostile strings show."""
    try:
        return not compare(_backend(file), _fastokens(file), HOSTILE).differing
    except (ImportError, ValueError):
        return False


_backend, _fastokens, _words = lru_cache(1)(Backend), lru_cache(1)(Fastokens), lru_cache(1)(Words)
"""Loaded once for all shards of a process: the file's name has its digest."""


def compare(reference: Route, other: Route, pieces: Sequence[str]) -> Probe:
    """Encode pieces of text by both routes."""
    sides = [route.encode(pieces) for route in (reference, other)]
    rows = [np.split(ids, np.cumsum(lengths)[:-1]) for ids, lengths in sides]
    differing = sum(not np.array_equal(one, two) for one, two in zip(*rows, strict=True))
    return Probe(len(pieces), sum(len(piece.encode("utf-8", "surrogatepass")) for piece in pieces), differing)


def sample(column: Any) -> list[str]:
    """Pieces of a shard's texts (an Arrow column) for the probe, evenly from all of it, each from another place."""
    ends = np.cumsum(sizes(column))
    total = int(ends[-1]) if len(ends) else 0
    wanted = max(PROBE_LEAST, int(total * PROBE_SHARE))
    at = np.arange(0, total, max(PROBE_PIECE, int(PROBE_PIECE * total / wanted)))
    rows = np.searchsorted(ends, at, side="right")
    starts = at - np.concatenate([[0], ends])[rows]
    pieces: list[str] = []
    known, text = -1, ""
    for row, start in zip(rows.tolist(), starts.tolist(), strict=True):
        if row != known:  # a long text is asked for often
            known, text = row, column[row].as_py()
        start = max(0, min(start, len(text) - PROBE_PIECE))  # places are those of bytes
        pieces.append(text[start : start + PROBE_PIECE])
    return pieces


def sizes(column: Any) -> np.ndarray:
    """Bytes of each text of an Arrow column, from its buffers: other ways to numpy import pandas."""
    found = [np.empty(0, np.int64)]
    for chunk in column.chunks:
        if len(chunk):
            offsets = np.frombuffer(chunk.buffers()[1], np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
            found.append(np.diff(offsets).astype(np.int64))
    return np.concatenate(found)
