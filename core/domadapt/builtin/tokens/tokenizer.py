"""The tokenizer of a checkpoint, for whole batches of documents."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from domadapt.artifacts import Checkpoint
from domadapt.builtin.tokens.ranks import FILE as RANK_FILE
from domadapt.builtin.tokens.ranks import is_rank_file, load_ranks
from domadapt.errors import DataError


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a model's folder: Hugging Face's, SentencePiece's or tiktoken ranks, as transformers has it.

    Raises DataError when there is none.
    """
    if not (folder / "tokenizer.json").is_file() and is_rank_file(folder / RANK_FILE):
        return load_ranks(folder)
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: no tokenizer that transformers can load ({error})") from error


def bare_sentencepiece(folder: Path) -> Path | None:
    """The SentencePiece model of a folder that describes its tokenizer by nothing else.

    Its ids are SentencePiece's: what transformers 5.23 makes of such a file forgets the space before a text and joins
    spaces otherwise.
    """
    described = any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    file = folder / "tokenizer.model"
    return None if described or not file.is_file() or is_rank_file(file) else file


def load_sentencepiece(file: Path) -> Any:
    """SentencePiece's own processor."""
    from sentencepiece import SentencePieceProcessor

    return SentencePieceProcessor(model_file=str(file))


class DocumentTokenizer:
    """Text to ids with the tokens that open and close a document (begin, end), where the model has them."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.folder = checkpoint.path
        self.tokenizer = load_tokenizer(checkpoint.path)
        self.sentencepiece = bare_sentencepiece(checkpoint.path)
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
        if self.sentencepiece is not None:
            return load_sentencepiece(self.sentencepiece).encode(list(texts))  # type: ignore[no-any-return]
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
