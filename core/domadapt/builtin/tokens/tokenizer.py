"""The tokenizer of a checkpoint, for whole batches of documents."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from domadapt.artifacts import Checkpoint
from domadapt.builtin.models.tokenizer import load_tokenizer
from domadapt.errors import DataError


class DocumentTokenizer:
    """Text to ids with the tokens that open and close a document (begin, end), where the model has them."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.folder = checkpoint.path
        self.tokenizer: Any = load_tokenizer(checkpoint.path)
        self.bos: int | None = self.tokenizer.bos_token_id
        self.eos: int | None = self.tokenizer.eos_token_id
        self.vocab_size = len(self.tokenizer)
        if self.eos is None:
            raise DataError(
                f"{checkpoint.path}: the tokenizer has no end-of-text token, so documents could not be told apart"
            )
        pad = self.tokenizer.pad_token_id
        self.pad: int = self.eos if pad is None else pad
        self.dtype = np.dtype(np.uint16 if self.vocab_size < 65_500 else np.int32)

    def digest(self) -> str:
        """A digest of the vocabulary: token strings with their ids. Equal for tokenizers that write the same ids."""
        vocabulary = sorted(self.tokenizer.get_vocab().items(), key=lambda item: (item[1], item[0]))
        return hashlib.sha256(
            "\0".join(f"{i}\t{t}" for t, i in vocabulary).encode("utf-8", "surrogatepass")
        ).hexdigest()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text without begin and end."""
        if not texts:
            return []
        encoded = self.tokenizer(
            list(texts),
            add_special_tokens=False,
            split_special_tokens=True,  # "<|end|>" in a document is text, it must not end the document
            return_attention_mask=False,
            verbose=False,
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def documents(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids of each text as one document: begin, text, end."""
        opening = [] if self.bos is None else [self.bos]
        return [np.array([*opening, *ids, self.eos], self.dtype) for ids in self.encode(texts)]
