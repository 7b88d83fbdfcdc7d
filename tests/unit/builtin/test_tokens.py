"""The token store: what Megatron reads, what we read and what the documents say are the same."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domadapt.artifacts import SPLITS, Checkpoint, Corpus, TokenStore
from domadapt.builtin.mixing.replay import ReplayMixer
from domadapt.builtin.tokens import build
from domadapt.builtin.tokens.tokenizer import DocumentTokenizer
from domadapt.builtin.training.windows import IGNORE, WindowReader, held_out
from domadapt.components import MixRequest
from domadapt.errors import DataError
from domadapt.testing.models import BEGIN, write_byte_tokenizer

MakeCorpus = Callable[..., Corpus]
MakeTokens = Callable[..., TokenStore]

BOS, EOS, PAD = 1, 2, 0


def ids_of(text: str) -> list[int]:
    """The byte tokenizer's ids of a document in the printable ASCII range: byte 33 ("!") has id 3."""
    return [BOS, *(ord(c) - 33 + 3 for c in text), EOS]


TRAIN = ["abc", "defghijklmnop", "q", "rstuvwxyz" * 3]


@pytest.fixture
def domain(make_corpus: MakeCorpus) -> Corpus:
    return make_corpus({"train": TRAIN, "selection": ["abcdef", "gh"], "report": ["xyz"]})


@pytest.fixture
def general(make_corpus: MakeCorpus) -> Corpus:
    return make_corpus({"train": ["GENERAL" * 20], "selection": ["GEN"], "report": ["ERAL"]})


def opened_by_megatron(file: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from megatron.core.datasets.indexed_dataset import IndexedDataset

        return IndexedDataset(str(file.with_suffix("")))


def test_documents_become_begin_text_end(tiny_model: Checkpoint) -> None:
    tokenizer = DocumentTokenizer(tiny_model)
    assert [d.tolist() for d in tokenizer.documents(["abc", "q"])] == [ids_of("abc"), ids_of("q")]
    assert tokenizer.documents([]) == []
    assert tokenizer.dtype == np.uint16
    assert (tokenizer.bos, tokenizer.eos, tokenizer.pad, tokenizer.vocab_size) == (BOS, EOS, PAD, 259)


def test_the_tokenizer_digest_is_of_the_vocabulary_not_of_the_place(tiny_model: Checkpoint, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_model.path, copy)
    digest = DocumentTokenizer(tiny_model).digest()
    assert DocumentTokenizer(Checkpoint(copy)).digest() == digest
    text = (copy / "tokenizer.json").read_text(encoding="utf-8")
    (copy / "tokenizer.json").write_text(text.replace(BEGIN, "<|start|>"), encoding="utf-8")
    settings = json.loads((copy / "tokenizer_config.json").read_bytes())
    (copy / "tokenizer_config.json").write_text(json.dumps({**settings, "bos_token": "<|start|>"}))
    assert DocumentTokenizer(Checkpoint(copy)).digest() != digest


def test_a_tokenizer_without_end_token_and_a_folder_without_tokenizer_are_refused(tmp_path: Path) -> None:
    write_byte_tokenizer(tmp_path / "t")
    file = tmp_path / "t" / "tokenizer_config.json"
    settings = json.loads(file.read_bytes())
    del settings["eos_token"]
    file.write_text(json.dumps(settings))
    with pytest.raises(DataError, match="no end-of-text token"):
        DocumentTokenizer(Checkpoint(tmp_path / "t"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no tokenizer that transformers can load"):
        DocumentTokenizer(Checkpoint(tmp_path / "empty"))


def test_windows_are_the_documents_in_a_row(make_tokens: MakeTokens, domain: Corpus) -> None:
    tokens = make_tokens({"domain": domain})
    stream = [i for text in TRAIN for i in ids_of(text)]
    windows = tokens.windows("train", "domain")
    assert windows.shape == (len(stream) // 16, 16)
    assert windows.ravel().tolist() == stream[: len(stream) // 16 * 16]
    assert tokens.facts["dropped"] == {"domain": len(stream) % 16}


def test_held_out_documents_are_all_there_padded_to_whole_windows(make_tokens: MakeTokens, domain: Corpus) -> None:
    tokens = make_tokens({"domain": domain})
    text = ids_of("abcdef") + ids_of("gh")
    assert tokens.windows("selection", "domain").tolist() == [[*text, *[PAD] * (16 - len(text))]]
    windows, labels, positions = held_out(tokens, "selection", "domain", 5)
    assert positions.shape == windows.shape
    assert (positions[:, 0] == 0).all()
    assert windows.tolist() == tokens.windows("selection", "domain").tolist()
    assert labels.tolist() == [[*text, *[IGNORE] * (16 - len(text))]]


@pytest.mark.parametrize("packing", ["concat", "best_fit"])
def test_megatron_reads_the_same_windows(
    make_tokens: MakeTokens, domain: Corpus, general: Corpus, packing: str
) -> None:
    tokens = make_tokens({"domain": domain, "general": general}, replay=0.25, packing=packing, max_epochs=9)
    for split in SPLITS:
        for part in ("domain", "general"):
            ours = tokens.windows(split, part)
            theirs = opened_by_megatron(tokens.path / split / f"{part}.bin")
            assert len(theirs) == len(ours) == tokens.facts["windows"][split][part] > 0
            assert theirs.index.dtype == ours.dtype == np.dtype(tokens.facts["dtype"])
            assert theirs.sequence_lengths.tolist() == [16] * len(ours)
            for number in range(len(ours)):
                assert theirs[number].tolist() == ours[number].tolist()


def test_a_vocabulary_beyond_sixteen_bits_is_stored_in_thirty_two(
    make_tokens: MakeTokens, domain: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = make_tokens({"domain": domain})
    monkeypatch.setattr("transformers.PreTrainedTokenizerFast.__len__", lambda self: 70_000)
    monkeypatch.setattr("transformers.TokenizersBackend.__len__", lambda self: 70_000, raising=False)
    wide = make_tokens({"domain": domain})
    assert (narrow.facts["dtype"], wide.facts["dtype"]) == ("uint16", "int32")
    assert wide.windows("train", "domain").tolist() == narrow.windows("train", "domain").tolist()
    theirs = opened_by_megatron(wide.path / "train" / "domain.bin")
    assert theirs[0].tolist() == narrow.windows("train", "domain")[0].tolist()


def test_a_truncated_bin_is_refused_when_it_is_opened(make_tokens: MakeTokens, domain: Corpus) -> None:
    tokens = make_tokens({"domain": domain})
    file = tokens.path / "train" / "domain.bin"
    whole = file.read_bytes()
    for size in (0, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(DataError, match=rf"domain\.bin: {len(whole)} bytes expected, {size} found"):
            tokens.windows("train", "domain")


def test_another_sequence_length_is_another_store(make_tokens: MakeTokens, domain: Corpus) -> None:
    assert make_tokens({"domain": domain}, seq_len=8).windows("train", "domain").shape[1] == 8


def test_positions_restart_at_documents_and_at_windows_and_padding_is_ignored(
    make_tokens: MakeTokens, domain: Corpus
) -> None:
    tokens = make_tokens({"domain": domain}, packing="best_fit")
    reader = WindowReader(tokens)
    ids, labels, positions = reader.samples(0, reader.num_samples)
    assert ids.dtype == labels.dtype == positions.dtype == np.int64
    # by size 16 | 15 | 13 | 5 + 3, the 29 tokens of the last document cut into 16 and 13
    lengths = {tuple(ids_of(t)): len(t) + 2 for t in TRAIN[:3]}
    seen = 0
    for row_ids, row_labels, row_positions in zip(ids, labels, positions, strict=True):
        starts = np.flatnonzero(row_positions == 0).tolist()
        assert starts[0] == 0
        for start, end in zip(starts, [*starts[1:], 16], strict=True):
            assert row_positions[start:end].tolist() == list(range(end - start))
            piece = tuple(row_ids[start:end].tolist())
            if set(piece) == {PAD}:
                assert row_labels[start:end].tolist() == [IGNORE] * (end - start)
            else:
                assert row_labels[start:end].tolist() == list(piece)
                seen += lengths.pop(piece, 0)
    assert lengths == {}
    assert seen == sum(len(t) + 2 for t in TRAIN[:3])
    assert (labels != IGNORE).sum() == sum(len(t) + 2 for t in TRAIN)


def test_a_document_that_goes_on_in_the_next_window_starts_there_at_position_zero(
    make_tokens: MakeTokens, make_corpus: MakeCorpus
) -> None:
    corpus = make_corpus({"train": ["a" * 18, "b" * 10], "selection": ["a"], "report": ["b"]})
    tokens = make_tokens({"domain": corpus})
    reader = WindowReader(tokens)
    _, labels, positions = reader.samples(0, 2)
    by_window = {int(w): positions[i].tolist() for i, (_, w) in enumerate(tokens.order())}
    assert by_window == {0: list(range(16)), 1: [*range(4), *range(12)]}
    assert (labels >= 0).all()


def test_samples_come_in_the_order_of_the_store(make_tokens: MakeTokens, domain: Corpus, general: Corpus) -> None:
    tokens = make_tokens({"domain": domain, "general": general}, replay=0.25, num_samples=8, max_epochs=9)
    reader = WindowReader(tokens)
    assert reader.num_samples == 8
    ids, _, _ = reader.samples(2, 3)
    for row, (part, window) in zip(ids, tokens.order()[2:5], strict=True):
        name = tokens.plan["parts"][part]["name"]
        assert row.tolist() == tokens.windows("train", name)[window].tolist()


def test_the_plan_states_the_shares_asked_and_achieved(
    make_tokens: MakeTokens, domain: Corpus, general: Corpus
) -> None:
    tokens = make_tokens({"domain": domain, "general": general}, replay=0.3, num_samples=10, max_epochs=9)
    parts = {part["name"]: part for part in tokens.plan["parts"]}
    assert parts["general"]["share_asked"] == 0.3
    assert parts["general"]["share_achieved"] == 0.3
    assert parts["domain"]["windows_used"] == 7
    windows = tokens.facts["windows"]["train"]
    assert parts["domain"]["epochs"] == pytest.approx(7 / windows["domain"])
    assert parts["general"]["tokens"] == 3 * 16
    assert tokens.plan["tokens"] == tokens.facts["tokens"] == 160


def test_without_a_number_of_samples_the_domain_is_seen_once_in_whole_steps(
    make_tokens: MakeTokens, domain: Corpus, general: Corpus
) -> None:
    alone = make_tokens({"domain": domain}, samples_per_step=2)
    windows = alone.facts["windows"]["train"]["domain"]
    assert len(alone.order()) == windows // 2 * 2
    assert len({int(w) for _, w in alone.order()}) == len(alone.order())
    mixed = make_tokens({"domain": domain, "general": general}, replay=0.5, max_epochs=9)
    assert len(mixed.order()) == 2 * windows


def test_too_little_text_is_an_error_that_says_what_to_do(
    make_tokens: MakeTokens, make_corpus: MakeCorpus, domain: Corpus
) -> None:
    short = make_corpus({"train": ["abc"], "selection": ["a"], "report": ["b"]})
    with pytest.raises(DataError, match=r"do not fill one window of mix\.seq_len=16"):
        make_tokens({"domain": short})
    with pytest.raises(DataError, match=r"do not fill one step of 1000 windows; lower train\.batch_tokens"):
        make_tokens({"domain": domain}, samples_per_step=1000)
    with pytest.raises(DataError, match=r"100 windows of domain text wanted, \d there, .*mix\.max_epochs=4 repeats"):
        make_tokens({"domain": domain}, num_samples=100)


def order(domain: int, general: int, total: int, replay: float, seed: int = 1, max_epochs: float = 4) -> np.ndarray:
    request = MixRequest({"domain": domain, "general": general}, total, replay, max_epochs, seed)
    return ReplayMixer().order(request)


@pytest.mark.parametrize("replay", [0.0, 0.01, 0.05, 0.25, 0.5, 0.99])
def test_the_share_of_replay_is_right_to_one_window_in_every_stretch(replay: float) -> None:
    mixed = order(1000, 1000, 1000, replay)
    general = np.concatenate([[0], np.cumsum(mixed[:, 0] == 1)])
    assert general[-1] == round(1000 * replay)
    share = general[-1] / 1000
    for length in (1, 7, 100, 999):
        in_stretch = general[length:] - general[:-length]
        assert (abs(in_stretch - length * share) <= 1 + 1e-9).all()


def test_each_pass_takes_every_window_once_and_each_in_another_order() -> None:
    windows = order(50, 0, 175, 0.0)[:, 1]
    passes = [windows[i : i + 50] for i in range(0, 150, 50)]
    assert all(sorted(p) == list(range(50)) for p in passes)
    assert len({tuple(p) for p in passes}) == 3
    assert len(set(windows[150:])) == 25


def test_the_order_is_a_function_of_the_request_alone() -> None:
    state = np.random.get_state()[1].tolist()
    assert (order(30, 30, 60, 0.3) == order(30, 30, 60, 0.3)).all()
    assert (order(30, 30, 60, 0.3) != order(30, 30, 60, 0.3, seed=2)).any()
    assert np.random.get_state()[1].tolist() == state


def test_exactly_max_epochs_repeats_are_allowed_and_one_window_more_is_not() -> None:
    assert len(order(10, 0, 20, 0.0, max_epochs=2)) == 20
    with pytest.raises(DataError, match=r"21 windows of domain text wanted, 10 there, .*max_epochs=2 repeats"):
        order(10, 0, 21, 0.0, max_epochs=2)
    with pytest.raises(DataError, match="windows of general text wanted, 0 there"):
        order(10, 0, 10, 0.5)


def test_a_special_token_written_in_a_document_stays_text(tiny_model: Checkpoint) -> None:
    tokenizer = DocumentTokenizer(tiny_model)
    end = tokenizer.tokenizer.convert_ids_to_tokens(tokenizer.eos)
    (ids,) = tokenizer.documents([f"one {end} two"])
    assert list(ids).count(tokenizer.eos) == 1
    assert ids[-1] == tokenizer.eos


def test_another_mixture_of_the_same_text_takes_the_windows_and_makes_their_order(
    make_tokens: MakeTokens, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"train": [f"text {n} of the corpus" for n in range(60)], "selection": ["held out"], "report": ["too"]}
    corpora = {"domain": make_corpus(texts), "general": make_corpus({**texts, "train": texts["train"][::-1]})}
    one = make_tokens(corpora, num_samples=40, replay=0.1)
    anew = make_tokens(corpora, num_samples=40, replay=0.5, packing="greedy")
    assert not anew.path.joinpath("train/domain.bin").samefile(one.path / "train/domain.bin")

    def fails(*_: Any, **__: Any) -> None:
        raise AssertionError("tokenised again")

    monkeypatch.setattr(build, "_packed", fails)
    two = make_tokens(corpora, num_samples=40, replay=0.5)
    for name in one.manifest["files"]:
        if "/" in name:
            assert (two.path / name).samefile(one.path / name)
    same = ("windows", "padding", "dropped", "tokenized", "dtype")
    assert [two.facts[key] for key in same] == [one.facts[key] for key in same]
    assert [part["packing"] for part in two.plan["parts"]] == [part["packing"] for part in one.plan["parts"]]
    assert [np.mean(tokens.order()[:, 0]) for tokens in (one, two)] == [0.1, 0.5]


def test_windows_that_are_damaged_or_of_other_parts_are_not_taken(
    make_tokens: MakeTokens, make_corpus: MakeCorpus
) -> None:
    corpora = {"domain": make_corpus({"train": [f"text {n} of the corpus" for n in range(60)]})}
    one = make_tokens(corpora, num_samples=20)
    (source,) = json.loads((one.path / "windows.json").read_bytes())["sources"]["domain"]
    apart = make_tokens(corpora, num_samples=20, sources={source: {"weight": 1}})
    assert (apart.path / f"train/domain.{source}.bin").is_file()
    windows = (one.path / "train" / "domain.bin").read_bytes()
    (one.path / "train" / "domain.bin").write_bytes(windows[:-2] + b"xx")
    again = make_tokens(corpora, num_samples=30)
    assert (again.path / "train" / "domain.bin").read_bytes() == windows
