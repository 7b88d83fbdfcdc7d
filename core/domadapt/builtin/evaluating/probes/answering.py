"""Greedy answers of a model to prompts, in left-padded batches.

Through the chat template where the tokenizer has one, else as plain text: a base model is asked what it can be
asked. transformers generates, so that every architecture's cache is right; sampling, penalties and whatever else a
model's own generation settings hold are set aside, because an answer must be the same in every run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from domadapt.components import Stage


@dataclass(frozen=True)
class Answer:
    """What a model said: text without special tokens, tokens before the end, whether it stopped by itself."""

    text: str
    num_tokens: int
    ended: bool


def encode(tokenizer: Any, prompt: str, *, chat: bool, before: str = "") -> list[int]:
    """Token ids of one prompt.

    chat: as a user's message, with the mark that the answer begins; else as plain text with a begin token.
    before: a system message, or a text put before the prompt where the template knows no such role.
    """
    if not chat:
        opening = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        text = f"{before}\n\n{prompt}" if before else prompt
        return [*opening, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    text = _templated(tokenizer, prompt, before)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _templated(tokenizer: Any, prompt: str, before: str) -> str:
    from jinja2 import TemplateError

    # a template that can open with a train of thought is told not to: the probes' limit leaves no room for it
    settings = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
    user = {"role": "user", "content": prompt}
    if before:
        try:
            system = {"role": "system", "content": before}
            return str(tokenizer.apply_chat_template([system, user], **settings))
        except TemplateError:
            user = {"role": "user", "content": f"{before}\n\n{prompt}"}
    return str(tokenizer.apply_chat_template([user], **settings))


def end_tokens(network: Any, tokenizer: Any) -> list[int]:
    """Every token that ends an answer: the tokenizer's and those of the model's generation settings."""
    given = (
        tokenizer.eos_token_id,
        getattr(getattr(network, "generation_config", None), "eos_token_id", None),
        getattr(network.config, "eos_token_id", None),
    )
    ends = {e for each in given for e in (each if isinstance(each, list | tuple) else [each]) if e is not None}
    return sorted(ends)


def answers(
    network: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], *, most: int, batch_tokens: int, stage: Stage
) -> list[Answer]:
    """The greedy answer to each prompt (token ids), at most `most` tokens long, in the order of the prompts."""
    import torch

    ends = end_tokens(network, tokenizer)
    found: dict[int, Answer] = {}
    # not inference_mode: a model that is being trained must not keep tensors made in it
    with torch.no_grad():
        for batch in _batches(prompts, most, batch_tokens):
            told = _generate(network, [prompts[i] for i in batch], most, ends)
            found.update(zip(batch, (_answer(tokenizer, ids, ends) for ids in told), strict=True))
            stage.progress(len(found), len(prompts), "prompts")
    return [found[i] for i in range(len(prompts))]


def _batches(prompts: Sequence[Sequence[int]], most: int, batch_tokens: int) -> Iterator[list[int]]:
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    at = 0
    while at < len(order):
        count = max(1, batch_tokens // (len(prompts[order[at]]) + most))
        yield order[at : at + count]
        at += count


def _generate(network: Any, prompts: Sequence[Sequence[int]], most: int, ends: list[int]) -> list[list[int]]:
    import torch
    from transformers import GenerationConfig

    # padding is masked, so its id only has to be one the embedding has
    pad, longest = (ends or [0])[0], max(map(len, prompts))
    ids = torch.tensor([[pad] * (longest - len(p)) + list(p) for p in prompts], device=network.device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=network.device)
    greedy = GenerationConfig(
        max_new_tokens=most,
        do_sample=False,
        num_beams=1,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        repetition_penalty=1.0,
        eos_token_id=ends or None,
        pad_token_id=pad,
    )
    out = network.generate(input_ids=ids, attention_mask=mask, generation_config=greedy)
    rows: list[list[int]] = out[:, longest:].tolist()
    return rows


def _answer(tokenizer: Any, ids: list[int], ends: list[int]) -> Answer:
    stop = next((i for i, token in enumerate(ids) if token in ends), None)
    said = ids if stop is None else ids[:stop]
    return Answer(tokenizer.decode(said, skip_special_tokens=True), len(said), stop is not None)
