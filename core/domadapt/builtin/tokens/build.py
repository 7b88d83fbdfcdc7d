"""The tokens stage: clean documents -> packed windows in Megatron's `.bin/.idx`, and their training order."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from domadapt.artifacts import SPLITS, Checkpoint, Corpus, Split
from domadapt.builtin.tokens.before import Windows, digest_of, found, take
from domadapt.builtin.tokens.conversations import ANSWER, ConversationTokenizer
from domadapt.builtin.tokens.files import PieceFile, write_index
from domadapt.builtin.tokens.mixture import Part, parts_of, plan_of, request_for
from domadapt.builtin.tokens.packing import Block, Packing, audit, blocks_of, pack
from domadapt.builtin.tokens.shards import Shards, prepared
from domadapt.builtin.tokens.tokenizer import DocumentTokenizer
from domadapt.components import Mixer, Side, Stage
from domadapt.recipe.mix import Mix

if TYPE_CHECKING:
    from domadapt.pipeline.sharding import Executor


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
    executor: Executor | None = None,
) -> dict[str, Any]:
    """Tokenise, pack and order; write the token store into `out` and return its facts.

    num_samples: windows to train on, or None for one pass over the domain rounded down to whole steps.
    objective: sft writes conversations through the chat template, and beside each part which tokens are answers.
    executor: who tokenises shards; None for this process, whose threads use all cores.
    Raises DataError when a part has no window, or the mixer cannot give what was asked.
    """
    tokenizer = ConversationTokenizer(model) if objective == "sft" else DocumentTokenizer(model)
    made_of = digest_of(corpora, model, tokenizer, mix, objective)
    windows = _taken(stage, made_of, corpora, mix, out) or _packed(
        corpora, tokenizer, mix, out, stage, executor, made_of
    )
    parts = [part for side in corpora for part in parts_of(side, windows.sources[side], mix)]
    packings = windows.packings
    request = request_for(parts, packings["train"], mix, num_samples, samples_per_step, stage.seed)
    order = np.ascontiguousarray(mixer.order(request), np.int64)
    np.save(out / "order.npy", order, allow_pickle=False)
    plan = plan_of(order, parts, request, mix, out)
    for part in plan["parts"]:
        part["packing"] = audit(packings["train"][part["name"]], mix.seq_len)
    (out / "plan.json").write_text(json.dumps(plan, indent=1, sort_keys=True) + "\n")
    windows.write(out)
    stage.event("mixture", parts=plan["parts"], stages=plan["stages"])
    return {
        "seq_len": mix.seq_len,
        "dtype": tokenizer.dtype.name,
        "vocab_size": tokenizer.vocab_size,
        "tokenizer": tokenizer.digest(),
        "bos": tokenizer.bos,
        "eos": tokenizer.eos,
        "pad": tokenizer.pad,
        "tokens": plan["tokens"],
        "windows": {split: {name: one.num_windows for name, one in of.items()} for split, of in packings.items()},
        "padding": {name: one.padding for name, one in packings["train"].items()},
        "dropped": {name: one.dropped for name, one in packings["train"].items()},
        **windows.counted,
    }


def _taken(stage: Stage, made_of: str, corpora: Mapping[Side, Corpus], mix: Mix, out: Path) -> Windows | None:
    """Windows packed before of the same texts into the same parts, now in `out`; None when there are none."""
    for folder, known in found(stage, made_of):
        asked = {part.name for side in corpora for part in parts_of(side, known.sources[side], mix)}
        if asked == set(known.packings["train"]) and take(folder, out):
            stage.event("packed_before", key=folder.name)
            return known
    return None


def _packed(
    corpora: Mapping[Side, Corpus],
    tokenizer: DocumentTokenizer,
    mix: Mix,
    out: Path,
    stage: Stage,
    executor: Executor | None,
    made_of: str,
) -> Windows:
    """Tokenise and pack every split of every side into `out`."""
    shards = None
    if not isinstance(tokenizer, ConversationTokenizer):
        shards = Shards(prepared(tokenizer, stage.scratch), stage.scratch, executor, stage)
    sources: dict[Side, list[str]] = {side: [] for side in corpora}
    packings: dict[Split, dict[str, Packing]] = {split: {} for split in SPLITS}
    for side, corpus in corpora.items():
        for split in SPLITS:
            if isinstance(tokenizer, ConversationTokenizer):
                blocks_by_part: dict[str, Iterable[Block]] = {side: blocks_of(tokenizer.marked(corpus, split))}
            else:
                assert shards is not None
                made = shards.make(corpus, split, side)
                of_side = [Part(side, side)]
                if split == "train":
                    sources[side] = list(made.sources)
                    of_side = parts_of(side, made.sources, mix)
                blocks_by_part = {part.name: made.blocks(part.source) for part in of_side}
            for name, blocks in blocks_by_part.items():
                packings[split][name] = _write_part(blocks, split, name, tokenizer, mix, out)
    left_out = {"left_out": dict(tokenizer.left_out)} if isinstance(tokenizer, ConversationTokenizer) else {}
    return Windows(made_of, sources, packings, {**left_out, **({"tokenized": shards.routes.facts()} if shards else {})})


def _write_part(
    blocks: Iterable[Block], split: Split, name: str, tokenizer: DocumentTokenizer, mix: Mix, out: Path
) -> Packing:
    folder = out / split
    folder.mkdir(exist_ok=True)
    held_out, answered = split != "train", isinstance(tokenizer, ConversationTokenizer)
    with PieceFile(folder / f"{name}.documents.npy") as pieces, contextlib.ExitStack() as files:
        packing = Packing(pieces=pieces)
        ids = files.enter_context((folder / f"{name}.bin").open("wb"))
        answers = files.enter_context((folder / f"{name}.answers.bin").open("wb")) if answered else None
        for windows in pack(
            blocks,
            mix.seq_len,
            # conversations are not cut where they need not be, whatever they are for
            "concat" if held_out and not answered else mix.packing,
            pad_id=tokenizer.pad,
            pad_last=held_out,
            packing=packing,
        ):
            if answers is not None:
                answers.write((windows & ANSWER != 0).tobytes())
                windows = windows & ~ANSWER
            windows.astype(tokenizer.dtype, copy=False).tofile(ids)
    write_index(folder / f"{name}.idx", packing.num_windows, mix.seq_len, tokenizer.dtype)
    return packing
