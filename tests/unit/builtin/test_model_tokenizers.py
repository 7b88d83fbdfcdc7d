"""Rank files and SentencePiece models that stand alone have the ids that their own library gives."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from domadapt.artifacts import Checkpoint, Corpus
from domadapt.builtin.evaluating.models import loaded
from domadapt.builtin.models.ranks import is_rank_file, read_ranks
from domadapt.builtin.models.tokenizer import load_tokenizer
from domadapt.builtin.tokens import long
from domadapt.builtin.tokens.encoding import HOSTILE, Backend, Fastokens, Route, Words
from domadapt.builtin.tokens.shards import Shards, prepared
from domadapt.builtin.tokens.tokenizer import DocumentTokenizer
from domadapt.components import Stage
from domadapt.errors import DataError

from .test_tokenizing import LLAMA_3, TEXT, byte_level, read

MakeCorpus = Callable[..., Corpus]
MakeStage = Callable[..., Stage]
PLAIN = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "byte_fallback": True}


def learned(folder: Path, **settings: Any) -> Path:
    """A SentencePiece model of TEXT, alone in a folder."""
    folder.mkdir(exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 20),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=300 + 256 * bool(settings.get("byte_fallback")),
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
        required_chars="<>/[]unks",
        **settings,
    )
    (folder / "tokenizer.vocab").unlink()
    return folder


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("settings", [PLAIN, {}, {**PLAIN, "add_dummy_prefix": False}])
def test_a_sentencepiece_model_alone_gives_its_own_ids(tmp_path: Path, kind: str, settings: dict[str, Any]) -> None:
    tokenizer = load_tokenizer(learned(tmp_path / "model", model_type=kind, **settings))
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "model" / "tokenizer.model"))
    texts = [*TEXT, *HOSTILE, "Filing\t7:  it's   café"]
    assert tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"] == processor.encode(texts)
    assert (len(tokenizer), tokenizer.bos_token, tokenizer.eos_token) == (processor.get_piece_size(), "<s>", "</s>")
    assert tokenizer("Filing")["input_ids"][0] == processor.bos_id()
    if settings.get("byte_fallback"):
        ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
        assert tokenizer.batch_decode(ids) == TEXT


def test_a_sentencepiece_model_that_cannot_be_reproduced_or_is_damaged_is_refused(tmp_path: Path) -> None:
    folder = learned(tmp_path / "symbols", model_type="bpe", user_defined_symbols=["<sep>"], **PLAIN)
    with pytest.raises(DataError, match=r"other ids than SentencePiece for 'one <sep> two<sep>' .*tokenizer\.json"):
        load_tokenizer(folder)
    whole = (folder / "tokenizer.model").read_bytes()
    (folder / "tokenizer.model").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="neither a SentencePiece model nor a rank file"):
        load_tokenizer(folder)


def test_evaluation_reads_the_ids_that_training_read(tmp_path: Path, tiny_model: Checkpoint) -> None:
    folder = learned(tmp_path / "model", model_type="bpe", **{**PLAIN, "byte_fallback": False})
    for file in tiny_model.path.glob("*"):
        if file.name.startswith(("config", "model")):
            shutil.copy(file, folder)
    checkpoint = Checkpoint(folder)
    _, tokenizer = loaded(checkpoint)
    trained = DocumentTokenizer(checkpoint)
    assert tokenizer(TEXT, add_special_tokens=False)["input_ids"] == trained.encode(TEXT)


def real(name: str) -> Path:
    root = os.environ.get("ADAPT_REAL_DATA")
    if not root:
        pytest.skip("ADAPT_REAL_DATA is not set: no published tokenizers here")
    return Path(root) / "tokenizers" / name


@pytest.mark.parametrize("name", ["llama3", "llama2"])
def test_published_rank_files_and_sentencepiece_models_are_tokenizers(
    tmp_path: Path, make_corpus: MakeCorpus, make_stage: MakeStage, name: str
) -> None:
    given = real(name) / "tokenizer.model"
    (tmp_path / "tokenizer.model").symlink_to(given)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert is_rank_file(given) == (name == "llama3")
    tokenizer = DocumentTokenizer(Checkpoint(tmp_path))
    corpus = make_corpus({"train": [*TEXT, *HOSTILE]})
    made = Shards(prepared(tokenizer, tmp_path / "w"), tmp_path / "w", None, make_stage()).make(
        corpus, "train", "domain"
    )
    assert read(made) == [ids.tolist() for ids in tokenizer.documents([*TEXT, *HOSTILE])]
    text = "Revenue of $1,234.5 million; naïve café 漢字 👩‍👩‍👧\n\n  don't"
    assert tokenizer.tokenizer.decode(tokenizer.encode([text])[0]).strip() == text
    if name == "llama3":
        assert (tokenizer.vocab_size, tokenizer.bos, tokenizer.eos) == (128_256, 128_000, 128_001)
        assert tokenizer.encode(["hello world"]) == [[15339, 1917]]
        ranks = read_ranks(given)
        # byte pair by byte pair, as tiktoken merges: the least rank first
        for word in (b" Revenue", b" indemnification", b" EBITDA", "é漢".encode()):
            assert tokenizer.encode([word.decode()])[0] == merged(word, ranks)
    else:
        assert (tokenizer.vocab_size, tokenizer.bos, tokenizer.eos) == (32_000, 1, 2)
        assert tokenizer.encode(["hello world"]) == [[22172, 3186]]
        processor = pytest.importorskip("sentencepiece").SentencePieceProcessor(model_file=str(given))
        assert tokenizer.encode([text, *HOSTILE]) == [processor.encode(one) for one in (text, *HOSTILE)]


def merged(word: bytes, ranks: dict[bytes, int]) -> list[int]:
    """tiktoken's byte pair merge, written plainly."""
    if word in ranks:
        return [ranks[word]]
    parts = [bytes([byte]) for byte in word]
    while True:
        pairs = [(ranks[a + b], at) for at, (a, b) in enumerate(itertools.pairwise(parts)) if a + b in ranks]
        if not pairs:
            return [ranks[part] for part in parts]
        at = min(pairs)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def test_a_rank_file_of_an_unknown_size_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_text("IQ== 0\nIg== 1\n")
    with pytest.raises(DataError, match=r"a rank file of 2 tokens .* does not say which tokens are special"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_text("IQ== 0\nIg==\n")
    with pytest.raises(DataError, match=r"tokenizer\.model:2: a token in base64 and its rank wanted"):
        load_tokenizer(tmp_path)


def parted(route: Route, text: str) -> tuple[int, list[int]]:
    """Number of parts, and the ids of a long text."""
    ids, lengths = long.encode(route, [text])
    assert lengths.tolist() == [len(ids)]
    return len(list(long.parts_of(text, route))), ids.tolist()


@pytest.mark.parametrize("kind", ["pieces", "words", "words by GPT-2", "fastokens"])
def test_a_long_document_in_parts_has_the_ids_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(long, "PART", 500)
    monkeypatch.setattr(long, "REACH", 200)
    if kind == "pieces":
        folder = learned(tmp_path / "model", model_type="bpe", **PLAIN)
        file = prepared(DocumentTokenizer(Checkpoint(folder)), tmp_path).tokenizer
        route: Route = Backend(file)
    else:
        file = byte_level(tmp_path / "tokenizer.json", None if "GPT" in kind else LLAMA_3)
        route = Fastokens(file) if kind == "fastokens" else Words(file)
    spaced = "  \n\n \t x ".join(TEXT * 3) + " \n" * 90 + "12345 " * 300
    for text in ("\n".join(TEXT * 5), " ".join(TEXT * 5), spaced, *HOSTILE):
        parts, ids = parted(route, text)
        assert ids == Backend(file).encode([text])[0].tolist()
        assert parts > 5 or len(text) < 2000
    solid = "".join(chr(0x4E00 + n % 7) for n in range(5000))
    parts, ids = parted(route, solid)
    assert (parts, ids) == (1, Backend(file).encode([solid])[0].tolist())  # no place to cut it
