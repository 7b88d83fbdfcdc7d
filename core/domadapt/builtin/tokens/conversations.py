"""Conversations as tokens: the model's chat template, and which tokens are answers.

What a template writes for the answer of a turn is what it adds between the prompt that asks for the answer and the
conversation with it. That holds for every template that appends; a conversation for which it does not is left out and
counted, as is one whose text would become a special token. Documents without messages are text, scored as a whole.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from domadapt.artifacts import Checkpoint, Corpus, Split
from domadapt.builtin.tokens.tokenizer import DocumentTokenizer
from domadapt.errors import DataError

ANSWER = 1 << 30
"""Added to the id of a token that is scored: no vocabulary is that large."""


class ConversationTokenizer(DocumentTokenizer):
    """Conversations to ids with marks on the answers. left_out: conversations that could not be used, by reason."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        if not self.tokenizer.chat_template or not self.tokenizer.is_fast:
            lacks = "no fast tokenizer" if self.tokenizer.chat_template else "no chat template"
            raise DataError(
                f"train.objective is sft, but {checkpoint.path} has {lacks}; set model.start to instruct, or put the "
                "template into chat_template.jinja"
            )
        self.left_out = Counter[str]()
        self._special = [t for t in self.tokenizer.all_special_tokens if t]

    def marked(self, corpus: Corpus, split: Split) -> Iterator[np.ndarray]:
        """Each document's ids, int32, with ANSWER added where a token is scored."""
        for batch in corpus.batches(split, ["text", "meta"]):
            for text, meta in zip(batch["text"].to_pylist(), batch["meta"].to_pylist(), strict=True):
                messages = json.loads(meta).get("messages")
                if messages is None:
                    (ids,) = self.documents([text])
                    yield ids.astype(np.int32) | ANSWER
                elif (found := self.conversation(messages)) is not None:
                    yield found

    def conversation(self, messages: Sequence[dict[str, str]]) -> np.ndarray | None:
        """One conversation as `marked` gives it, None when it is left out."""
        from jinja2 import TemplateError

        if any(token in message["content"] for message in messages for token in self._special):
            self.left_out["special token in the text"] += 1
            return None
        try:
            text, answers = self._written(messages)
        except (TemplateError, ValueError):
            self.left_out["not what the chat template takes"] += 1
            return None
        encoded = self.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, verbose=False
        )
        ids = np.array(encoded["input_ids"], np.int32)
        starts, ends = np.array(encoded["offset_mapping"], np.int64).reshape(-1, 2).T
        for first, last in answers:
            ids[(starts >= first) & (ends <= last) & (ends > starts)] |= ANSWER
        return ids

    def _written(self, messages: Sequence[dict[str, str]]) -> tuple[str, list[tuple[int, int]]]:
        """The conversation as the template writes it, and where its answers are in it.

        Raises ValueError when the template does not append.
        """

        def write(number: int, *, asking: bool = False) -> str:
            written: Any = self.tokenizer.apply_chat_template(
                list(messages[:number]), tokenize=False, add_generation_prompt=asking
            )
            return str(written)

        whole, answers = write(len(messages)), []
        for number, message in enumerate(messages):
            if message["role"] == "assistant":
                before, after = write(number, asking=True), write(number + 1)
                if not (whole.startswith(after) and after.startswith(before)):
                    raise ValueError("the template rewrites what came before")
                answers.append((len(before), len(after)))
        return whole, answers
