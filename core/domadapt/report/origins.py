"""What text a model was trained on: every source and licence with its documents and its share of the training tokens.

The shares are those of the tokens that training really read, found by following the order of the windows back to the
documents. With best-fit packing the documents' order is not kept; then a part's tokens are divided by bytes of text,
and the table says so. So are those of a corpus that is too large to be read for a report: its own accounts name its
bytes by source and licence.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from domadapt.components import Side

if TYPE_CHECKING:
    import numpy as np

    from domadapt.artifacts import Corpus, TokenStore
    from domadapt.report.results import RunResults

MOST_BYTES = 200_000_000
"""Text of a corpus that the report reads: well under a second. The card reads any."""


@dataclass(frozen=True)
class SourceShare:
    """Training text of one source under one licence ("" when unknown).

    documents, bytes: of the clean training split.  tokens: read in training, repetitions counted.
    share: of all training tokens; both None when the run trained nothing itself.
    """

    side: Side
    source: str
    license: str
    documents: int
    bytes: int
    tokens: float | None
    share: float | None


@dataclass(frozen=True)
class TrainingText:
    """All sources. exact: whether tokens were counted, not divided by bytes.  languages: stated by every document."""

    sources: list[SourceShare]
    exact: bool
    languages: list[str]


def text_origins(results: RunResults) -> list[dict[str, Any]]:
    """`training_text` of a run as plain data for its report; by bytes where a corpus is larger than MOST_BYTES."""
    text = training_text(results.corpora, results.tokens, str(results.recipe.get("mix.packing")), MOST_BYTES)
    return [{k: v for k, v in asdict(source).items() if k != "tokens"} for source in text.sources]


def training_text(
    corpora: Mapping[Side, Corpus], tokens: TokenStore | None, packing: str, most_bytes: float = math.inf
) -> TrainingText:
    """Count what a run trained on, from its corpora and its token store.

    packing: `mix.packing` of its recipe.  most_bytes: training text of a corpus that is read; of a larger one tokens
    are divided by bytes, and languages are not known.
    """
    total = tokens.plan["tokens"] if tokens is not None else 0
    small = {side: corpus.facts["bytes"]["train"] <= most_bytes for side, corpus in corpora.items()}
    whole_sides = tokens is not None and all(part["name"] in corpora for part in tokens.plan["parts"])
    in_order = whole_sides and packing == "concat"
    shares: list[SourceShare] = []
    languages: set[str] = set()
    stated = True
    for side, corpus in corpora.items():
        documents = _Documents.of(corpus) if small[side] else _Documents.accounted(corpus)
        stated = stated and "" not in documents.languages
        languages |= documents.languages
        read = None if tokens is None else _tokens_read(tokens, side, documents, exact=in_order and small[side])
        for number, (source, license) in enumerate(documents.kinds):
            count = None if read is None else read[number]
            shares.append(
                SourceShare(
                    side,
                    source,
                    license,
                    documents.count[number],
                    documents.num_bytes[number],
                    count,
                    count / total if count is not None and total else None,
                )
            )
    shares.sort(key=lambda s: (s.side, -(s.tokens or 0), -s.bytes, s.source, s.license))
    return TrainingText(shares, in_order and all(small.values()), sorted(languages) if stated else [])


@dataclass(frozen=True)
class _Documents:
    """The training split of a corpus. kinds: (source, license); of_row: kind number of each document, in order."""

    kinds: list[tuple[str, str]]
    of_row: list[int]
    count: list[int]
    num_bytes: list[int]
    languages: set[str]

    @classmethod
    def of(cls, corpus: Corpus) -> _Documents:
        import pyarrow.compute as pc

        numbers: dict[tuple[str, str], int] = {}
        of_row: list[int] = []
        sizes: list[int] = []
        languages: set[str] = set()
        for batch in corpus.batches("train", ["text", "source", "license", "meta"]):
            names = zip(batch["source"].to_pylist(), batch["license"].to_pylist(), strict=True)
            of_row += [numbers.setdefault(kind, len(numbers)) for kind in names]
            sizes += pc.binary_length(batch["text"]).to_pylist()
            languages.update(_language(meta) for meta in batch["meta"].to_pylist())
        count, num_bytes = [0] * len(numbers), [0] * len(numbers)
        for number, size in zip(of_row, sizes, strict=True):
            count[number] += 1
            num_bytes[number] += size
        return cls(list(numbers), of_row, count, num_bytes, languages)

    @classmethod
    def accounted(cls, corpus: Corpus) -> _Documents:
        """By the corpus's own accounts, without its text; nothing is known of single documents."""
        sums: dict[tuple[str, str], list[int]] = {}
        for account in corpus.facts.get("sources", ()):
            for license, counted in account["licenses"].items():
                one = sums.setdefault((account["source"], license), [0, 0])
                one[0] += counted["documents"]
                one[1] += counted["bytes"]
        return cls(list(sums), [], [d for d, _ in sums.values()], [b for _, b in sums.values()], {""})


def _language(meta: str) -> str:
    """ISO 639 code of a document's language, "" where its source does not state one."""
    stated = _mapping(meta).get("language")
    code = stated.split("-")[0].lower() if isinstance(stated, str) else ""
    return code if code.isalpha() and len(code) in (2, 3) else ""


def _mapping(text: str) -> Mapping[str, Any]:
    found = json.loads(text)
    return found if isinstance(found, dict) else {}


def _tokens_read(tokens: TokenStore, side: Side, documents: _Documents, *, exact: bool) -> list[float] | None:
    """Tokens of each kind that training read; None when the side was no part of the mixture."""
    import numpy as np

    names = [part["name"] for part in tokens.plan["parts"]]
    if side not in names:
        return _tokens_of_sources(tokens, side, documents)
    number = names.index(side)
    if not exact:
        whole = sum(documents.num_bytes)
        return [tokens.plan["parts"][number]["tokens"] * size / whole if whole else 0.0 for size in documents.num_bytes]
    order = tokens.order()
    windows = int(tokens.facts["windows"]["train"][side])
    uses_W = np.bincount(np.asarray(order[order[:, 0] == number, 1]), minlength=windows)
    pieces = np.load(tokens.path / "train" / f"{side}.documents.npy", allow_pickle=False)
    read_P = _read_before(pieces.sum(1), uses_W, tokens) - _read_before(pieces[:, 0], uses_W, tokens)
    # documents after the last full window were dropped: there are fewer pieces than documents, in the same order
    kind_P = np.asarray(documents.of_row[: len(pieces)])
    return [float(n) for n in np.bincount(kind_P, read_P, len(documents.kinds))]


def _tokens_of_sources(tokens: TokenStore, side: Side, documents: _Documents) -> list[float] | None:
    """Where sources are parts of the mixture: what was read of each, divided among its licences by bytes."""
    read = {part["name"]: part["tokens"] for part in tokens.plan["parts"] if part.get("side") == side}
    if not read:
        return None
    whole = Counter[str]()
    for (source, _), size in zip(documents.kinds, documents.num_bytes, strict=True):
        whole[source] += size
    return [
        read.get(f"{side}.{source}", 0) * size / whole[source] if whole[source] else 0.0
        for (source, _), size in zip(documents.kinds, documents.num_bytes, strict=True)
    ]


def _read_before(positions_P: np.ndarray, uses_W: np.ndarray, tokens: TokenStore) -> np.ndarray:
    """How many tokens of the stream before each position were read, repetitions counted."""
    import numpy as np

    seq_len = int(tokens.facts["seq_len"])
    full_W = np.concatenate([[0], np.cumsum(uses_W)]) * seq_len
    window_P, rest_P = np.divmod(positions_P, seq_len)
    found: np.ndarray = full_W[window_P] + rest_P * np.append(uses_W, 0)[window_P]
    return found
