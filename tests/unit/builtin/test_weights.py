"""Weights are loaded whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from domadapt.builtin.models.weights import load_causal_lm, tensor_shapes
from domadapt.errors import DataError
from domadapt.testing.models import write_tiny_model

LOST = "model.layers.1.self_attn.k_proj.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "m").path


def in_two_files(folder: Path) -> Path:
    """Split the weights in two files with an index; return the index."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    where = {name: f"model-{1 + number % 2:05d}-of-00002.safetensors" for number, name in enumerate(sorted(weights))}
    for file in set(where.values()):
        save_file({n: weights[n] for n, f in where.items() if f == file}, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return index


def test_one_file_and_two_files_hold_the_same_model(folder: Path) -> None:
    import torch

    shapes = tensor_shapes(folder)
    assert shapes["model.embed_tokens.weight"] == (259, 32)
    assert len(shapes) == 21
    one = load_causal_lm(folder, torch.float32).state_dict()
    in_two_files(folder)
    assert tensor_shapes(folder) == shapes
    two = load_causal_lm(folder, torch.float32).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_missing_tensor_is_not_made_up(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights[LOST]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=f"1 of the model's tensors are not in its files .{LOST}"):
        load_causal_lm(folder, torch.float32)


def test_tensors_of_another_shape_are_refused(folder: Path) -> None:
    import torch

    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 32}))
    with pytest.raises(DataError, match="no causal language model that transformers can load"):
        load_causal_lm(folder, torch.float32)


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])


def huge_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 8 + b"x" * 100)


def overlapping(folder: Path) -> None:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"a": entry, "b": {**entry, "data_offsets": [4, 12]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 12)


def pickled_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "adapter.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch canary'\ntR.")


def shard_gone(folder: Path) -> None:
    in_two_files(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def no_index_at_all(folder: Path) -> None:
    in_two_files(folder).write_text("[]")


@pytest.mark.parametrize("damage", [cut, huge_header, overlapping, pickled_only, shard_gone, no_index_at_all])
def test_damaged_weights_are_one_sentence_and_nothing_is_run(
    folder: Path, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    damage(folder)
    monkeypatch.chdir(folder)
    with pytest.raises(DataError, match=r"its weights cannot be read .*; fetch or make them again"):
        load_causal_lm(folder, torch.float32)
    assert not (folder / "canary").exists()


def test_an_index_that_names_another_file_for_a_tensor_is_refused(folder: Path) -> None:
    index = in_two_files(folder)
    stated = json.loads(index.read_bytes())
    stated["weight_map"][LOST] = "model-00001-of-00002.safetensors"
    stated["weight_map"]["model.norm.weight"] = "model-00002-of-00002.safetensors"
    index.write_text(json.dumps(stated))
    with pytest.raises(DataError, match=r"index\.json and the files disagree about model"):
        tensor_shapes(folder)
