"""Weights between a Hugging Face folder and the ranks of a Megatron model: each rank reads only its own share.

Writing gathers one tensor at a time from the tensor-parallel ranks; each pipeline stage writes its own files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import torch
from megatron.core import parallel_state
from safetensors import safe_open
from safetensors.torch import save_file

from domadapt.builtin.models.weights import ONE_FILE, tensor_shapes
from domadapt.builtin.training.megatron.conversion import Piece, Rule, bounds, rule
from domadapt.builtin.training.megatron.layout import Layout
from domadapt.builtin.training.megatron.model import Llama
from domadapt.errors import DataError

SHARD_BYTES = 5 * 10**9


def rules_of(model: Llama) -> Iterator[tuple[str, torch.nn.Parameter, Rule]]:
    """The parameters that this rank holds, with the rules that make them."""
    first = model.decoder.layers[0].layer_number - 1
    for name, parameter in model.named_parameters():
        yield name, parameter, rule(name, first, model.hf_config)


class HuggingFaceTensors:
    """The tensors of a folder by name, read in slices."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shapes = tensor_shapes(folder)
        index = folder / f"{ONE_FILE}.index.json"
        self._files: dict[str, str] = (
            json.loads(index.read_bytes())["weight_map"] if index.is_file() else dict.fromkeys(self.shapes, ONE_FILE)
        )
        self._stack = ExitStack()
        self._open: dict[str, Any] = {}

    def __enter__(self) -> HuggingFaceTensors:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, name: str, part: slice = slice(None), dim: int = 0) -> torch.Tensor:
        """A slice of one tensor along one dimension, in the type it is stored in."""
        if name not in self.shapes:
            raise DataError(f"{self.folder}: the model's tensor {name} is not in its files; fetch or make them again")
        file = self._files[name]
        if file not in self._open:
            self._open[file] = self._stack.enter_context(safe_open(self.folder / file, framework="pt"))
        tensor = self._open[file].get_slice(name)
        return cast(torch.Tensor, tensor[part] if dim == 0 else tensor[:, part])


@torch.no_grad()  # type: ignore[untyped-decorator]
def load_weights(model: Llama, folder: Path, layout: Layout) -> None:
    """Fill this rank's part of the model from a folder.

    Raises DataError when a tensor is missing or has another shape than the config says.
    """
    rank = parallel_state.get_tensor_model_parallel_rank()
    with HuggingFaceTensors(folder) as tensors:
        for _, parameter, made in rules_of(model):
            if made.vocabulary:
                fused = _vocabulary_rows(tensors, made.pieces[0], model.hf_config.vocab_size, len(parameter), rank)
            else:
                fused = made.fuse([_share(tensors, piece, layout.tensor, rank) for piece in made.pieces])
            if fused.shape != parameter.shape:
                raise DataError(
                    f"{folder}: {made.pieces[0].name} and its config.json disagree about the model's shape "
                    f"({tuple(fused.shape)} on one rank, wanted {tuple(parameter.shape)}); fetch the model again"
                )
            parameter.copy_(fused)


def _share(tensors: HuggingFaceTensors, piece: Piece, parts: int, rank: int) -> torch.Tensor:
    if piece.dim is None or piece.name not in tensors.shapes:
        return tensors.read(piece.name)
    return tensors.read(piece.name, bounds(tensors.shapes[piece.name][piece.dim], parts, rank), piece.dim)


def _vocabulary_rows(tensors: HuggingFaceTensors, piece: Piece, vocabulary: int, rows: int, rank: int) -> torch.Tensor:
    """This rank's rows; zeros where the padding of the vocabulary begins."""
    start, stop = (min(vocabulary, row) for row in (rank * rows, (rank + 1) * rows))
    found = tensors.read(piece.name, slice(start, stop))
    padding = found.new_zeros(rows - (stop - start), found.shape[1])
    return torch.cat([found, padding])


@torch.no_grad()  # type: ignore[untyped-decorator]
def save_weights(model: Llama, folder: Path, layout: Layout, dtype: torch.dtype) -> None:
    """Write the whole model into a folder as safetensors; every rank calls it."""
    written: dict[str, str] = {}
    sizes: dict[str, int] = {}
    if parallel_state.get_data_parallel_rank() == 0:
        stage = parallel_state.get_pipeline_model_parallel_rank()
        written, sizes = _write_stage(model, folder, f"stage-{stage:03d}", layout, dtype)
    everyone: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyone, (written, sizes))
    if torch.distributed.get_rank() == 0:
        _name_files(folder, [files for files, _ in everyone], sum(n for _, found in everyone for n in found.values()))
    torch.distributed.barrier()


def _write_stage(
    model: Llama, folder: Path, prefix: str, layout: Layout, dtype: torch.dtype
) -> tuple[dict[str, str], dict[str, int]]:
    """Files of one pipeline stage: tensor -> file, and tensor -> bytes; nothing on all but the first rank of it."""
    files: dict[str, str] = {}
    sizes: dict[str, int] = {}
    waiting: dict[str, torch.Tensor] = {}
    writes = parallel_state.get_tensor_model_parallel_rank() == 0

    def flush() -> None:
        name = f"{prefix}-{len(set(files.values())):05d}.safetensors"
        if waiting:
            save_file(waiting, folder / name, metadata={"format": "pt"})
            files.update(dict.fromkeys(waiting, name))
            waiting.clear()

    for name, tensor in hugging_face_tensors(model, layout):
        if not writes:
            continue
        tensor = tensor.to(dtype).cpu().contiguous()
        if sum(t.nbytes for t in waiting.values()) + tensor.nbytes > SHARD_BYTES:
            flush()
        waiting[name] = tensor
        sizes[name] = tensor.nbytes
    flush()
    return files, sizes


def hugging_face_tensors(model: Llama, layout: Layout) -> Iterator[tuple[str, torch.Tensor]]:
    """The Hugging Face tensors of this pipeline stage, gathered whole; all its tensor-parallel ranks iterate."""
    config = model.hf_config
    for name, parameter, made in rules_of(model):
        if name == "output_layer.weight" and config.tie_word_embeddings:
            continue
        for piece, share in zip(made.pieces, made.part(parameter.detach()), strict=True):
            whole = _gathered(share, piece.dim, layout.tensor)
            yield piece.name, whole[: config.vocab_size] if made.vocabulary else whole


def _gathered(share: torch.Tensor, dim: int | None, parts: int) -> torch.Tensor:
    if dim is None or parts == 1:
        return share
    shares = [torch.empty_like(share) for _ in range(parts)]
    group = parallel_state.get_tensor_model_parallel_group()
    torch.distributed.all_gather(shares, share.contiguous(), group=group)
    return torch.cat(shares, dim=dim)


def _name_files(folder: Path, written: list[dict[str, str]], total: int) -> None:
    """Give the stages' files the names that transformers looks for, and write their index."""
    where = {tensor: file for files in written for tensor, file in files.items()}
    names = sorted(set(where.values()))
    if len(names) == 1:
        (folder / names[0]).rename(folder / ONE_FILE)
        return
    final = {old: f"model-{i:05d}-of-{len(names):05d}.safetensors" for i, old in enumerate(names, 1)}
    for old, new in final.items():
        (folder / old).rename(folder / new)
    index = {"metadata": {"total_size": total}, "weight_map": {t: final[f] for t, f in sorted(where.items())}}
    (folder / f"{ONE_FILE}.index.json").write_text(json.dumps(index, indent=2) + "\n")
