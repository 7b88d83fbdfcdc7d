"""A tiny random Llama with a byte-level tokenizer in a Hugging Face folder: made in code, no download.

For tests of anything that takes a checkpoint. It knows nothing (its loss is about ln 259 nats a token),
but it is a whole model: safetensors, config, tokenizer, chat template and generation config, about 160 kB,
written in a tenth of a second once transformers is imported.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from domadapt.artifacts import Checkpoint, Role
from domadapt.pipeline.fingerprints import digest_files

PAD, BEGIN, END = "<|pad|>", "<|begin|>", "<|end|>"
VOCABULARY = 259
"""256 bytes and three special tokens."""
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def write_tiny_model(
    folder: Path,
    *,
    seed: int = 0,
    role: Role = "base",
    context: int = 64,
    dtype: Literal["float32", "bfloat16"] = "float32",
    tied: bool = False,
    chat: bool = True,
) -> Checkpoint:
    """Write a random Llama (two layers of width 32) with its tokenizer into `folder`; return its handle.

    seed: other seeds give other weights of the same shapes.  context: most tokens of a forward pass.
    tied: whether the output layer is the embedding.  chat: whether there is a chat template.
    """
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=context,
        initializer_range=0.1,
        tie_word_embeddings=tied,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=1, eos_token_id=2, pad_token_id=0, max_new_tokens=16, do_sample=False
    )
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    write_byte_tokenizer(folder, context=context, chat=chat)
    return Checkpoint(folder, role=role, digest=digest_files([folder]))


def write_byte_tokenizer(folder: Path, *, context: int = 64, chat: bool = True) -> None:
    """Write a tokenizer that gives every UTF-8 byte an id of its own: ids 3 to 258, after the special tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = [PAD, BEGIN, END]
    symbols = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(symbols)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE if chat else None,
    ).save_pretrained(folder)
    # the class name that every version of transformers knows, instead of the one this version uses
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
