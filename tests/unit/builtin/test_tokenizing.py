"""Text to ids: every route gives the ids of the definition, and shards are done once, whoever does them."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domadapt.artifacts import Checkpoint, Corpus, TokenStore
from domadapt.builtin.executors.processes import ProcessExecutor
from domadapt.builtin.tokens import encoding, shards
from domadapt.builtin.tokens.encoding import HOSTILE, Backend, Fastokens, Words, choose, compare, sample
from domadapt.builtin.tokens.shards import Shards, prepared
from domadapt.builtin.tokens.tokenizer import DocumentTokenizer
from domadapt.components import Stage
from domadapt.errors import DataError

MakeCorpus = Callable[..., Corpus]
MakeStage = Callable[..., Stage]
MakeTokens = Callable[..., TokenStore]
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
TEXT = [
    f"Filing {n}: don't say it's {n * 37:,} %.\n\n  Naïve café, {chr(0x4E00 + n)}{chr(0x1F600 + n)}" for n in range(40)
]


def byte_level(file: Path, pattern: str | None, *, added: tuple[str, ...] = ()) -> Path:
    """A byte-level BPE learned from TEXT. pattern: None for the byte-level step's own."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    alone = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    if pattern is None:
        made.pre_tokenizer = alone
    else:
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        made.pre_tokenizer = pre_tokenizers.Sequence([split, alone])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|begin|>", "<|end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(TEXT, trainer)
    made.add_tokens(list(added))
    made.save(str(file))
    return file


@pytest.fixture(params=["llama3", "gpt2"])
def tokenizer_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return byte_level(tmp_path / "tokenizer.json", LLAMA_3 if request.param == "llama3" else None)


def test_words_give_the_ids_of_the_definition(tokenizer_file: Path) -> None:
    backend, words = Backend(tokenizer_file), Words(tokenizer_file)
    texts = [*TEXT, *HOSTILE, *backend.around_added_tokens(), "", "no <|end|> of it"]
    for _ in range(2):  # words not seen before, and words remembered
        probe = compare(backend, words, texts)
        assert (probe.differing, probe.pieces) == (0, len(texts))
    assert [len(part) for part in words.encode([])] == [0, 0]


def test_words_forgotten_are_looked_up_again(tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "MOST_WORDS", 3)
    backend, words = Backend(tokenizer_file), Words(tokenizer_file)
    assert all(not compare(backend, words, [text]).differing for text in TEXT)


def test_a_pattern_that_leaves_text_between_its_words_is_encoded_by_the_definition(tmp_path: Path) -> None:
    file = byte_level(tmp_path / "tokenizer.json", r"\p{L}+")
    assert not compare(Backend(file), Words(file), [*TEXT, *HOSTILE]).differing


def test_other_pipelines_and_added_tokens_are_left_to_the_definition(tmp_path: Path, tiny_model: Checkpoint) -> None:
    with pytest.raises(ValueError, match="added tokens that are no special ones"):
        Words(byte_level(tmp_path / "added.json", LLAMA_3, added=("filing",)))
    whole = json.loads(byte_level(tmp_path / "t.json", LLAMA_3).read_bytes())
    changes: list[dict[str, Any]] = [
        {"normalizer": {"type": "NFC"}},
        {"pre_tokenizer": None},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}]}},
    ]
    for number, change in enumerate(changes):
        file = tmp_path / f"changed-{number}.json"
        file.write_text(json.dumps({**whole, **change}))
        with pytest.raises(ValueError, match="byte-level BPE"):
            Words(file)


class Wrong(Words):
    """One id is another one in texts that have a Z."""

    def encode(self, texts: Any) -> encoding.Flat:
        ids, lengths = super().encode(texts)
        ids = ids.copy()
        if any("Z" in text for text in texts):
            ids[-1] += 1
        return ids, lengths


def test_one_differing_id_rules_a_route_out(tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(file: Path) -> Any:
        raise ImportError

    monkeypatch.setattr(encoding, "_fastokens", absent)
    monkeypatch.setattr(encoding, "_words", Wrong)
    route, probe = choose(tokenizer_file, TEXT)
    assert route.name == "words"
    assert probe is not None
    assert probe.differing == 0
    route, probe = choose(tokenizer_file, [*TEXT, "Z"])
    assert route.name == "tokenizers"
    assert probe is not None
    assert probe.differing == 1
    monkeypatch.setattr(encoding, "_words", absent)
    assert choose(tokenizer_file, TEXT)[1] is None


def test_the_probe_samples_all_of_a_shard_and_small_ones_whole() -> None:
    import pyarrow as pa

    texts = [f"{number:05d} " * 50 for number in range(2000)]
    column = pa.chunked_array([pa.array(texts[:700]), pa.array(texts[700:])])
    pieces = sample(column)
    assert all(piece in texts[int(piece[:5])] for piece in pieces)
    assert sum(map(len, pieces)) >= encoding.PROBE_LEAST * 0.1
    seen = [int(piece[:5]) for piece in pieces]
    assert seen[0] == 0
    assert max(b - a for a, b in itertools.pairwise(seen)) <= 2000 * 2 // len(seen)
    small = pa.chunked_array([pa.array(["é" * 3000, "", "x"])])
    assert "".join(sample(small)).count("é") >= 3000
    assert sample(pa.chunked_array([pa.array([], pa.string())])) == []


def read(made: shards.Tokenized, source: str | None = None) -> list[list[int]]:
    found = []
    for ids, lengths in made.blocks(source):
        found += [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])]
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_shards_are_the_documents_in_their_order(
    tiny_model: Checkpoint, make_corpus: MakeCorpus, make_stage: MakeStage, tmp_path: Path, workers: int
) -> None:
    corpus = make_corpus({"train": TEXT, "selection": [], "report": []})
    tokenizer = DocumentTokenizer(tiny_model)
    executor = ProcessExecutor(workers) if workers else None
    stage = make_stage("tokens")
    work = Shards(prepared(tokenizer, tmp_path), tmp_path, executor, stage)
    made = work.make(corpus, "train", "domain")
    assert read(made) == read(made, "test") == [ids.tolist() for ids in tokenizer.documents(TEXT)]
    assert read(made, "another source") == []
    assert read(work.make(corpus, "selection", "domain")) == []
    routes = work.routes.facts()
    assert sum(routes["shards"].values()) == 2
    assert routes["probe"]["differing"] == 0
    told = [event for event in stage.facts["events"] if event["kind"] == "progress"]
    assert [event["unit"] for event in told] == ["MB", "MB"]  # a shard a split
    assert all(event["done"] == event["total"] and event["MB/s"] >= 0 for event in told)


def test_a_shard_that_is_done_is_not_done_again_and_another_tokenizer_has_shards_of_its_own(
    tiny_model: Checkpoint, make_corpus: MakeCorpus, make_stage: MakeStage, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    corpus = make_corpus({"train": TEXT})
    tokenizer, stage = DocumentTokenizer(tiny_model), make_stage("tokens")
    first = Shards(prepared(tokenizer, tmp_path), tmp_path, None, stage).make(corpus, "train", "domain")
    wanted = read(first)

    def fails(*_: Any) -> None:
        raise AssertionError("a shard was done again")

    monkeypatch.setattr(shards, "choose", fails)
    assert read(Shards(prepared(tokenizer, tmp_path), tmp_path, None, stage).make(corpus, "train", "domain")) == wanted
    monkeypatch.undo()
    tokenizer.bos = None
    other = Shards(prepared(tokenizer, tmp_path), tmp_path, None, stage).make(corpus, "train", "domain")
    assert read(other) == [ids[1:] for ids in wanted]


def test_sources_that_the_recipe_names_are_parts_of_their_own(
    make_tokens: MakeTokens, make_corpus: MakeCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from domadapt.pipeline.store import publish

    corpus = make_corpus({"train": ["A" * 30, "B" * 14] * 20, "selection": ["A"], "report": ["B"]})
    file = corpus.path / "train" / "documents-00000.parquet"
    table = pq.read_table(file)
    table = table.set_column(2, table.schema.field("source"), pa.array(["a", "b.c"] * 20))
    work = tmp_path / "named.partial"
    os.rename(corpus.path, work)
    pq.write_table(table, work / "train" / file.name)
    (work / "artifact.json").unlink()
    publish(work, tmp_path / "named", {"kind": "corpus", "facts": {}})
    tokens = make_tokens(
        {"domain": Corpus(tmp_path / "named")}, num_samples=71, max_epochs=99,
        sources={"a": {"weight": 70}, "domain.b.c": {"weight": 1}},
    )  # fmt: skip
    parts = {part["name"]: part for part in tokens.plan["parts"]}
    assert list(parts) == ["domain.a", "domain.b.c"]
    assert [parts[name]["windows_used"] for name in parts] == [70, 1]
    assert tokens.sides == ["domain"]
    assert len(set(tokens.windows("train", "domain.b.c").ravel().tolist()) - {1, 2}) == 1
    assert parts["domain.a"]["packing"]["documents"] == 20
    assert len(tokens.windows("selection", "domain")) == 1
    with pytest.raises(DataError, match=r"mix\.sources: no source of the corpora is called d; there are domain\.a"):
        make_tokens({"domain": Corpus(tmp_path / "named")}, sources={"a": {"weight": 1}, "d": {"weight": 1}})


def test_the_plan_tells_text_from_padding(make_tokens: MakeTokens, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus({"train": ["x" * 8] * 6, "selection": ["a"], "report": ["b"]})
    tokens = make_tokens({"domain": corpus}, packing="none")
    assert (tokens.plan["tokens"], tokens.plan["text_tokens"]) == (6 * 16, 6 * 10)
    assert tokens.plan["parts"][0]["packing"]["padding"] == 6 * 6


@pytest.mark.slow
@pytest.mark.parametrize("route", [Words, Fastokens])
def test_every_code_point_has_the_ids_of_the_definition(tmp_path: Path, route: Any) -> None:
    if route is Fastokens:
        pytest.importorskip("fastokens")
    file = byte_level(tmp_path / "tokenizer.json", LLAMA_3)
    backend, other = Backend(file), route(file)
    points = [number for number in range(0x110000) if not 0xD800 <= number < 0xE000]
    for first in range(0, len(points), 4000):
        texts = [f"a{c}b {c}{c} '{c} 1{c}\n{c} x" for c in map(chr, points[first : first + 4000])]
        assert compare(backend, other, texts).differing == 0
