"""tiktoken rank files as tokenizers: Llama-3's `tokenizer.model`, lines of a token in base64 and its rank.

A rank file says neither how text is split into words nor which tokens are special. Both are Llama-3's here, unless a
`tokenizer_config.json` beside the file names the special tokens; a file of another size without one is refused rather
than guessed at. tiktoken itself is not needed.
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path
from typing import Any

from domadapt.errors import DataError

LLAMA_3_RANKS = 128_000


def is_rank_file(file: Path) -> bool:
    """Whether a file begins as ranks do; a SentencePiece model is binary."""
    if not file.is_file():
        return False
    with file.open("rb") as lines:
        first = lines.readline(1000).split()
    try:
        return len(first) == 2 and first[1].isdigit() and bool(base64.b64decode(first[0], validate=True))
    except binascii.Error:
        return False


def read_ranks(file: Path) -> dict[bytes, int]:
    """Ranks by token. Raises DataError at a line that is none."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if not line:
            continue
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except ValueError as error:
            raise DataError(
                f"{file}:{number}: a token in base64 and its rank wanted, {line[:40]!r} found; the file is damaged"
            ) from error
    return ranks


def llama_3_special_tokens() -> list[str]:
    """The 256 tokens behind Llama-3's ranks (meta-llama/llama3, tokenizer.py)."""
    named = [
        "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
        "<|reserved_special_token_2|>", "<|reserved_special_token_3|>", "<|start_header_id|>", "<|end_header_id|>",
        "<|reserved_special_token_4|>", "<|eot_id|>",
    ]  # fmt: skip
    return [*named, *(f"<|reserved_special_token_{number}|>" for number in range(5, 251))]


def load_ranks(file: Path) -> Any:
    """A fast tokenizer of transformers from a rank file.

    Raises DataError when nothing says which tokens are special.
    """
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import TikTokenConverter

    ranks = read_ranks(file)

    class Converter(TikTokenConverter):  # type: ignore[misc]
        """transformers' own, with the ranks read here."""

        @staticmethod
        def load_tiktoken_bpe(tiktoken_url: str) -> dict[bytes, int]:
            return ranks

    special, settings = _special_tokens(file, len(ranks))
    made = Converter(vocab_file=str(file), extra_special_tokens=special).converted()
    return PreTrainedTokenizerFast(tokenizer_object=made, **settings)


def _special_tokens(ranks: Path, num_ranks: int) -> tuple[list[str], dict[str, Any]]:
    """Names of the tokens behind the ranks, in their order, and which of them begin and end a text."""
    file = ranks.with_name("tokenizer_config.json")
    config: dict[str, Any] = json.loads(file.read_bytes()) if file.is_file() else {}
    template = ranks.with_name("chat_template.jinja")
    if template.is_file():
        config.setdefault("chat_template", template.read_text(encoding="utf-8"))
    settings = {
        key: value["content"] if isinstance(value, dict) else value
        for key, value in config.items()
        if key in {"bos_token", "eos_token", "pad_token", "unk_token", "chat_template"} and value is not None
    }
    if added := {int(i): token["content"] for i, token in config.get("added_tokens_decoder", {}).items()}:
        ids = range(num_ranks, max(added) + 1)
        return [added.get(i, f"<|reserved_token_{i}|>") for i in ids], settings
    if num_ranks != LLAMA_3_RANKS:
        raise DataError(
            f"{ranks}: a rank file of {num_ranks} tokens (Llama-3's has {LLAMA_3_RANKS}) does not say which "
            "tokens are special; put the model's tokenizer.json or tokenizer_config.json beside it"
        )
    special = llama_3_special_tokens()
    return special, {"bos_token": special[0], "eos_token": special[1], **settings}
