"""The tokenizer of a model's folder, the same one for tokenising, training, merging and evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from domadapt.builtin.models.pieces import load_pieces
from domadapt.builtin.models.ranks import is_rank_file, load_ranks
from domadapt.errors import DataError

BARE = "tokenizer.model"
"""A SentencePiece model or tiktoken ranks."""


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a model's folder: Hugging Face's, or a rank file or SentencePiece model that stands alone.

    Raises DataError when there is none.
    """
    bare, whole = folder / BARE, folder / "tokenizer.json"
    if not whole.is_file() and is_rank_file(bare):
        return _with_begin(load_ranks(bare))
    if bare.is_file() and not whole.is_file() and not (folder / "tokenizer_config.json").is_file():
        return _with_begin(load_pieces(bare))
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: no tokenizer that transformers can load ({error})") from error


def _with_begin(tokenizer: Any) -> Any:
    """Let it open a text with the begin token where special tokens are asked for, as both Llama families do."""
    from tokenizers import processors

    if tokenizer.bos_token is not None:
        template = processors.TemplateProcessing(
            single=f"{tokenizer.bos_token} $A",
            pair=f"{tokenizer.bos_token} $A {tokenizer.bos_token}:1 $B:1",
            special_tokens=[(tokenizer.bos_token, tokenizer.bos_token_id)],
        )
        before = tokenizer.backend_tokenizer.post_processor
        tokenizer.backend_tokenizer.post_processor = (
            template if before is None else processors.Sequence([before, template])
        )
    return tokenizer
