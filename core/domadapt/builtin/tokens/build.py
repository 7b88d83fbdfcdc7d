"""The tokens stage: clean documents -> packed windows in Megatron's `.bin/.idx`, and their training order."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from domadapt.artifacts import SPLITS, Checkpoint, Corpus, Split
from domadapt.builtin.tokens.conversations import ANSWER, ConversationTokenizer
from domadapt.builtin.tokens.packing import Packing, pack
from domadapt.builtin.tokens.tokenizer import DocumentTokenizer
from domadapt.components import Mixer, MixRequest, Side, Stage
from domadapt.errors import DataError
from domadapt.recipe.schema import Mix


def build_tokens(
    corpora: Mapping[Side, Corpus],
    model: Checkpoint,
    mixer: Mixer,
    mix: Mix,
    *,
    num_samples: int | None,
    samples_per_step: int,
    out: Path,
    stage: Stage,
    objective: Literal["clm", "sft"] = "clm",
) -> dict[str, Any]:
    """Tokenise, pack and order; write the token store into `out` and return its facts.

    num_samples: windows to train on, or None for one pass over the domain rounded down to whole steps.
    objective: sft writes conversations through the chat template, and beside each part which tokens are answers.
    Raises DataError when a part has no window, or the mixer cannot give what was asked.
    """
    tokenizer = ConversationTokenizer(model) if objective == "sft" else DocumentTokenizer(model)
    packings: dict[tuple[Split, Side], Packing] = {}
    for number, (side, corpus) in enumerate(corpora.items()):
        for split in SPLITS:
            packings[split, side] = _write_part(corpus, split, side, tokenizer, mix, out)
            stage.progress(number * 3 + SPLITS.index(split) + 1, len(corpora) * 3, "parts")
    available: dict[str, int] = {side: packings["train", side].num_windows for side in corpora}
    if not available["domain"]:
        raise DataError(f"tokens: the domain's documents do not fill one window of mix.seq_len={mix.seq_len} tokens")
    if num_samples is None:
        num_samples = int(available["domain"] / (1 - mix.share)) // samples_per_step * samples_per_step
        if not num_samples:
            raise DataError(
                f"tokens: {available['domain']} windows of domain text do not fill one step of "
                f"{samples_per_step} windows; lower train.batch_tokens or add text"
            )
    order = mixer.order(MixRequest(available, num_samples, mix.share, mix.max_epochs, stage.seed))
    np.save(out / "order.npy", np.ascontiguousarray(order, np.int64), allow_pickle=False)
    plan = _plan(order, available, mix, stage.seed)
    (out / "plan.json").write_text(json.dumps(plan, indent=1, sort_keys=True) + "\n")
    return {
        "seq_len": mix.seq_len,
        "dtype": tokenizer.dtype.name,
        "vocab_size": tokenizer.vocab_size,
        "tokenizer": tokenizer.digest(),
        "bos": tokenizer.bos,
        "eos": tokenizer.eos,
        "pad": tokenizer.pad,
        "tokens": num_samples * mix.seq_len,
        "windows": {split: {side: packings[split, side].num_windows for side in corpora} for split in SPLITS},
        "padding": {side: packings["train", side].padding for side in corpora},
        "dropped": {side: packings["train", side].dropped for side in corpora},
        **({"left_out": dict(tokenizer.left_out)} if isinstance(tokenizer, ConversationTokenizer) else {}),
    }


def _write_part(corpus: Corpus, split: Split, side: Side, tokenizer: DocumentTokenizer, mix: Mix, out: Path) -> Packing:
    folder = out / split
    folder.mkdir(exist_ok=True)
    builder = _indexed_dataset().IndexedDatasetBuilder(str(folder / f"{side}.bin"), dtype=tokenizer.dtype.type)
    packing = Packing()
    held_out = split != "train"
    marked = tokenizer.marked(corpus, split) if isinstance(tokenizer, ConversationTokenizer) else None
    with (folder / f"{side}.answers.bin").open("wb") if marked else contextlib.nullcontext() as answers:
        for window in pack(
            marked or _documents(corpus, split, tokenizer),
            mix.seq_len,
            # conversations are not cut where they need not be, whatever they are for
            "concat" if held_out and not marked else mix.packing,
            pad_id=tokenizer.pad,
            pad_last=held_out,
            packing=packing,
        ):
            if answers is not None:
                answers.write((window & ANSWER != 0).tobytes())
                window = (window & ~ANSWER).astype(tokenizer.dtype)
            builder.add_document(window, [mix.seq_len])
    builder.finalize(str(folder / f"{side}.idx"))
    np.save(folder / f"{side}.documents.npy", np.array(packing.pieces, np.int64).reshape(-1, 2), allow_pickle=False)
    return packing


def _indexed_dataset() -> Any:
    """Megatron's module. Its import warns about Apex and Transformer Engine, which have no part in writing files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from megatron.core.datasets import indexed_dataset
    return indexed_dataset


def _documents(corpus: Corpus, split: Split, tokenizer: DocumentTokenizer) -> Iterator[np.ndarray]:
    for batch in corpus.batches(split, ["text"]):
        yield from tokenizer.documents(batch["text"].to_pylist())


def _plan(order: np.ndarray, available: Mapping[str, int], mix: Mix, seed: int) -> dict[str, Any]:
    asked = {"domain": 1 - mix.share, "general": mix.share}
    parts = []
    for number, (side, windows) in enumerate(available.items()):
        used = int((order[:, 0] == number).sum())
        parts.append(
            {
                "name": side,
                "windows": windows,
                "windows_used": used,
                "epochs": used / windows if windows else 0.0,
                "share_asked": asked[side],
                "share_achieved": used / len(order) if len(order) else 0.0,
                "tokens": used * mix.seq_len,
            }
        )
    return {
        "parts": parts,
        "tokens": len(order) * mix.seq_len,
        "seq_len": mix.seq_len,
        "seed": seed,
        "mixer": mix.mixer,
    }
