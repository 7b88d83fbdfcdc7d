"""Instruction tuning: conversations as a source, as marked tokens, and the loss on answers only."""

from __future__ import annotations

import gzip
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domadapt.artifacts import Checkpoint, Corpus, TokenStore
from domadapt.builtin.corpora.conversations import ConversationsOptions, ConversationsSource
from domadapt.builtin.mixing.replay import ReplayMixer
from domadapt.builtin.tokens.build import build_tokens
from domadapt.builtin.tokens.conversations import ANSWER, ConversationTokenizer
from domadapt.builtin.training.torch_loop import TorchBackend, TorchOptions
from domadapt.builtin.training.windows import IGNORE, WindowReader, held_out
from domadapt.components import Stage, TrainRequest
from domadapt.errors import DataError, MissingError
from domadapt.pipeline.store import publish
from domadapt.recipe.schema import Mix, Train

MakeStage = Callable[..., Stage]


def said(*turns: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 9, turns, strict=False)]


def read(path: Path, **options: Any) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    rejected: list[tuple[str, str]] = []
    source = ConversationsSource(ConversationsOptions(path=str(path), **options))
    batches = list(source.read(lambda reason, where: rejected.append((reason, where))))
    return [row for batch in batches for row in batch.to_pylist()], rejected


def test_a_line_is_a_conversation_whose_text_is_what_its_messages_say(tmp_path: Path) -> None:
    rows = [
        {"messages": said("hi", "hello", "bye", "see you"), "firm": "acme"},
        {"messages": [{"role": "system", "content": "Be brief."}, *said("why?", "so")]},
    ]
    with gzip.open(tmp_path / "chats.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n\n" for row in rows)
    documents, rejected = read(tmp_path, group_field="firm", license="CC0-1.0")
    assert [d["text"] for d in documents] == ["hi\n\nhello\n\nbye\n\nsee you", "Be brief.\n\nwhy?\n\nso"]
    assert [d["group"] for d in documents] == ["acme", "chats.jsonl.gz:3"]
    assert json.loads(documents[0]["meta"])["messages"] == rows[0]["messages"]
    assert {d["license"] for d in documents} == {"CC0-1.0"}
    assert rejected == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("not json", "no messages"),
        ("[1]", "no messages"),
        ('{"text": "hi"}', "no messages"),
        ('{"messages": []}', "no messages"),
        ('{"messages": [{"role": "user"}]}', "no messages"),
        ('{"messages": [{"role": "robot", "content": "hi"}]}', "no messages"),
        ('{"messages": [{"role": "user", "content": ["hi"]}]}', "no messages"),
        ('{"messages": [{"role": "user", "content": "hi"}]}', "no answer"),
        ('{"messages": [{"role": "assistant", "content": " "}]}', "no answer"),
    ],
)
def test_a_line_that_is_no_conversation_is_rejected_with_its_place(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "chats.jsonl").write_text(line + "\n")
    assert read(tmp_path) == ([], [(reason, "chats.jsonl:1")])


def test_a_file_of_another_kind_is_rejected_and_no_file_at_all_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        read(tmp_path)
    (tmp_path / "readme.md").write_text("hi")
    assert read(tmp_path) == ([], [("not JSON lines", "readme.md")])


def parts(tokenizer: ConversationTokenizer, messages: list[dict[str, str]]) -> list[tuple[bool, str]]:
    """The conversation in pieces: whether they are scored, and their text."""
    found = tokenizer.conversation(messages)
    assert found is not None
    marks = found & ANSWER != 0
    edges = [0, *(np.flatnonzero(marks[1:] != marks[:-1]) + 1).tolist(), len(found)]
    return [
        (bool(marks[a]), tokenizer.tokenizer.decode((found[a:b] & ~ANSWER).tolist()))
        for a, b in itertools.pairwise(edges)
    ]


def test_the_answers_and_the_tokens_that_end_them_are_scored_and_nothing_else(tiny_model: Checkpoint) -> None:
    tokenizer = ConversationTokenizer(tiny_model)
    whole = tokenizer.tokenizer.apply_chat_template(said("hi", "hello", "bye", "see you"), tokenize=False)
    assert whole == "<|user|>hi<|end|><|assistant|>hello<|end|><|user|>bye<|end|><|assistant|>see you<|end|>"
    assert parts(tokenizer, said("hi", "hello", "bye", "see you")) == [
        (False, "<|user|>hi<|end|><|assistant|>"),
        (True, "hello<|end|>"),
        (False, "<|user|>bye<|end|><|assistant|>"),
        (True, "see you<|end|>"),
    ]


def test_text_that_would_become_a_special_token_leaves_its_conversation_out(tiny_model: Checkpoint) -> None:
    tokenizer = ConversationTokenizer(tiny_model)
    assert tokenizer.conversation(said("ignore this <|end|>", "no")) is None
    assert tokenizer.left_out == {"special token in the text": 1}


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages[-2:] %}<|user|>{{ m.content }}<|end|>{% endfor %}",  # forgets what came before
        "{{ raise_exception('roles must alternate') }}",
    ],
)
def test_a_conversation_that_the_template_does_not_append_or_take_is_left_out(
    tmp_path: Path, tiny_model: Checkpoint, template: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model.path, folder)
    (folder / "chat_template.jinja").write_text(template)
    tokenizer = ConversationTokenizer(Checkpoint(folder))
    assert tokenizer.conversation(said("a", "b", "c", "d")) is None
    assert tokenizer.left_out == {"not what the chat template takes": 1}


def test_a_model_without_a_chat_template_is_refused_with_the_way_out(tmp_path: Path, tiny_model: Checkpoint) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model.path, folder)
    for file in folder.glob("chat_template*"):
        file.unlink()
    config = json.loads((folder / "tokenizer_config.json").read_bytes())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"train\.objective is sft, but .* has no chat template; set model\.start"):
        ConversationTokenizer(Checkpoint(folder))


@pytest.fixture
def tokens(tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage) -> TokenStore:
    """Sums as questions and answers, 4 windows of 64 tokens a step, with plain text as the general side."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from domadapt.artifacts import SPLITS, document_schema

    corpora = {}
    for side in ("domain", "general"):
        work = tmp_path / f"{side}.partial"
        for split in SPLITS:
            (work / split).mkdir(parents=True)
            numbers = range(60 if split == "train" else 8)
            rows = [
                {
                    "id": f"{i}",
                    "text": "plain text " * 4,
                    "source": "test",
                    "license": "",
                    "group": f"{i}",
                    "meta": json.dumps({"messages": said(f"{i % 7}+1?", f"{i % 7 + 1}!")} if side == "domain" else {}),
                }
                for i in numbers
            ]
            pq.write_table(pa.Table.from_pylist(rows, document_schema()), work / split / "documents-00000.parquet")
        publish(work, tmp_path / side, {"kind": "corpus", "facts": {}})
        corpora[side] = Corpus(tmp_path / side)
    work = tmp_path / "tokens.partial"
    work.mkdir()
    mix = Mix.model_validate({"seq_len": 64, "replay": 0.25, "packing": "best_fit", "max_epochs": 99})
    facts = build_tokens(
        corpora,  # type: ignore[arg-type]
        tiny_model,
        ReplayMixer(),
        mix,
        num_samples=32,
        samples_per_step=4,
        out=work,
        stage=make_stage("tokens"),
        objective="sft",
    )
    publish(work, tmp_path / "tokens", {"kind": "tokens", "facts": json.loads(json.dumps(facts))})
    return TokenStore(tmp_path / "tokens")


def test_labels_are_answers_of_conversations_and_all_of_plain_text(tokens: TokenStore, tiny_model: Checkpoint) -> None:
    decode = ConversationTokenizer(tiny_model).tokenizer.decode
    ids, labels, positions = WindowReader(tokens).samples(0, 8)
    kinds = [tokens.plan["parts"][part]["name"] for part, _ in tokens.order()[:8]]
    for kind, row, wanted, at in zip(kinds, ids, labels, positions, strict=True):
        kept = decode(row[wanted != IGNORE].tolist())
        if kind == "domain":
            answers = kept.split("<|end|>")[:-1]
            assert set(answers) <= {f"{number}!" for number in range(1, 8)}
            # the rest of the window, padding, is a piece of its own
            assert len(answers) in (int((at == 0).sum()), int((at == 0).sum()) - 1)
        else:
            assert kept.removeprefix("<|begin|>").startswith("plain text plain text")
    held, scored, _ = held_out(tokens, "selection", "domain", 64)
    assert 0 < int((scored != IGNORE).sum()) < held.size / 2


def test_training_on_conversations_learns_the_answers_and_leaves_the_questions(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    """The first loss is transformers' on the answers alone, to 1e-5."""
    import torch
    from transformers import AutoModelForCausalLM

    settings = Train.model_validate(
        {"objective": "sft", "batch_tokens": 256, "lr": 5e-3, "precision": "fp32", "document_mask": True}
    )
    out = tmp_path / "out"
    out.mkdir()
    stage = make_stage()
    TorchBackend(TorchOptions(threads=1)).train(TrainRequest(tiny_model, tokens, settings, 8, 4), out, stage)
    lines = [json.loads(line) for line in (out / "training" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0] - 1
    ids, labels, positions = (torch.from_numpy(a) for a in WindowReader(tokens).samples(0, 4))
    model = AutoModelForCausalLM.from_pretrained(tiny_model.path, dtype=torch.float32)
    with torch.no_grad():
        logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits
    wanted = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()).item()
    assert losses[0] == pytest.approx(wanted, abs=1e-5)
