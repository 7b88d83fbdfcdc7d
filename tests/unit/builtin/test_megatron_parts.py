"""The parts of the megatron backend that need no process of their own: conversion, shares, masks, refusals."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from domadapt.artifacts import Checkpoint
from domadapt.builtin.models.weights import tensor_shapes
from domadapt.builtin.training.megatron.backend import MegatronOptions, layout_of
from domadapt.builtin.training.megatron.conversion import bounds, rule
from domadapt.builtin.training.megatron.layout import Layout, check_division, check_family, load_config
from domadapt.components import NO_EFFECT
from domadapt.errors import MissingError, StageError
from domadapt.recipe.schema import Launch
from domadapt.testing.models import write_tiny_model


def imported(name: str) -> ModuleType:
    """A module of the backend; Megatron's import warns of Apex and Transformer Engine."""
    import importlib

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"domadapt.builtin.training.megatron.{name}")


@pytest.fixture(scope="session")
def batches() -> ModuleType:
    return imported("batches")


def config(**changed: Any) -> Any:
    """Three layers of width 8, four heads of width 2 in two groups, no file."""
    from transformers import LlamaConfig

    sizes = {
        "vocab_size": 10,
        "hidden_size": 8,
        "intermediate_size": 6,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 2,
    }
    return LlamaConfig(**{**sizes, **changed})


LAYER = (
    "input_layernorm.weight",
    "self_attention.linear_qkv.weight",
    "self_attention.linear_proj.weight",
    "pre_mlp_layernorm.weight",
    "mlp.linear_fc1.weight",
    "mlp.linear_fc2.weight",
)
ENGINE_LAYER = (
    "self_attention.linear_qkv.layer_norm_weight",
    "self_attention.linear_qkv.weight",
    "self_attention.linear_proj.weight",
    "mlp.linear_fc1.layer_norm_weight",
    "mlp.linear_fc1.weight",
    "mlp.linear_fc2.weight",
)


def test_queries_keys_and_values_are_fused_group_by_group() -> None:
    fused = rule("decoder.layers.0.self_attention.linear_qkv.weight", 0, config())
    # the value of a row is its number in its own projection, marked 100 for keys and 200 for values
    queries, keys, values = (
        torch.arange(n).float()[:, None].expand(-1, 8) + m for n, m in ((8, 0), (4, 100), (4, 200))
    )
    rows = fused.fuse([queries, keys, values])[:, 0].tolist()
    assert rows == [0, 1, 2, 3, 100, 101, 200, 201, 4, 5, 6, 7, 102, 103, 202, 203]
    for found, wanted in zip(fused.part(fused.fuse([queries, keys, values])), (queries, keys, values), strict=True):
        assert torch.equal(found, wanted)


def test_a_ranks_share_of_gate_and_up_is_no_slice_of_the_stacked_matrix() -> None:
    stacked = rule("decoder.layers.0.mlp.linear_fc1.weight", 0, config())
    gate, up = torch.arange(6.0)[:, None], torch.arange(6.0)[:, None] + 100
    shares = [stacked.fuse([t[bounds(6, 2, rank)] for t in (gate, up)])[:, 0].tolist() for rank in (0, 1)]
    assert shares == [[0, 1, 2, 100, 101, 102], [3, 4, 5, 103, 104, 105]]
    assert shares[0] != torch.cat([gate, up])[:6, 0].tolist()


@pytest.mark.parametrize("names", [LAYER, ENGINE_LAYER], ids=["local", "transformer engine"])
@pytest.mark.parametrize("tied", [False, True])
def test_the_parameters_of_all_stages_are_made_of_every_tensor_of_the_model(
    tmp_path: Path, names: tuple[str, ...], tied: bool
) -> None:
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM(config(tie_word_embeddings=tied))
    model.save_pretrained(tmp_path)
    stages = {0: ["embedding.word_embeddings.weight"], 1: [], 2: ["decoder.final_layernorm.weight"]}
    if not tied:
        stages[2].append("output_layer.weight")
    rules = [
        rule(name, stage, model.config)
        for stage, others in stages.items()
        for name in (*others, *(f"decoder.layers.0.{n}" for n in names))
    ]
    found = [piece.name for made in rules for piece in made.pieces]
    assert len(found) == len(set(found))
    assert set(found) == set(tensor_shapes(tmp_path))


def test_the_second_copy_of_a_tied_embedding_is_the_embedding() -> None:
    (piece,) = rule("output_layer.weight", 2, config(tie_word_embeddings=True)).pieces
    assert piece.name == "model.embed_tokens.weight"


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.data())
def test_shares_of_all_ranks_fused_and_parted_are_the_model_again(tp: int, groups: int, ratio: int, data: Any) -> None:
    c = SimpleNamespace(num_attention_heads=tp * groups * ratio, num_key_value_heads=tp * groups, head_dim=4)
    name = data.draw(st.sampled_from(LAYER))
    made = rule(f"decoder.layers.0.{name}", 0, c)
    generator = torch.Generator().manual_seed(0)
    sizes = {"q_proj": tp * groups * ratio * 4, "k_proj": tp * groups * 4, "v_proj": tp * groups * 4}
    wholes = []
    for piece in made.pieces:
        rows = next((n for key, n in sizes.items() if key in piece.name), tp * 6)
        shape = (rows, 8) if piece.dim == 0 else (8, rows) if piece.dim == 1 else (8,)
        wholes.append(torch.randn(shape, generator=generator))
    parted = []
    for rank in range(tp):
        shares = [
            w if p.dim is None else w.narrow(p.dim, rank * w.shape[p.dim] // tp, w.shape[p.dim] // tp)
            for p, w in zip(made.pieces, wholes, strict=True)
        ]
        parted.append(made.part(made.fuse(shares)))
    for number, (piece, whole) in enumerate(zip(made.pieces, wholes, strict=True)):
        again = parted[0][number] if piece.dim is None else torch.cat([p[number] for p in parted], dim=piece.dim)
        assert torch.equal(again, whole)


def test_the_vocabulary_is_padded_alike_for_all_usual_numbers_of_ranks() -> None:
    assert [Layout(tp, 1, 1).padded_vocabulary(259) for tp in (1, 2, 4, 8)] == [384] * 4
    assert Layout(8, 1, 1).padded_vocabulary(128_256) == 128_256
    assert Layout(3, 1, 1).padded_vocabulary(259) == 384
    assert Layout(5, 1, 1).padded_vocabulary(259) == 640


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 6))
def test_every_row_of_a_step_is_in_one_micro_batch_of_one_rank(total: int, micro: int, ranks: int) -> None:
    batches = imported("batches")
    ids = np.arange(total)[:, None].repeat(4, 1)
    read = batches.fixed_rows((ids, ids, np.zeros_like(ids)))
    shares = [batches.Share.of(total, micro, ranks, rank) for rank in range(ranks)]
    found = [list(share.micro_batches(read, 4)) for share in shares]
    # a pipeline needs as many micro-batches of the same size on every rank
    assert len({len(rank) for rank in found}) == 1
    assert {len(rows[0]) for rank in found for rows in rank} == {shares[0].size}
    assert shares[0].size <= micro
    seen = [int(row[0]) for rank in found for _, labels, _ in rank for row in labels if row[0] >= 0]
    assert seen == list(range(total))


def test_the_document_mask_hides_later_positions_and_other_documents(batches: ModuleType) -> None:
    hidden = batches.document_mask(torch.tensor([[0, 1, 0, 1, 2]]))[0, 0]
    seen = [[column for column in range(5) if not hidden[row, column]] for row in range(5)]
    assert seen == [[0], [0, 1], [2], [2, 3], [2, 3, 4]]


def test_attention_is_that_of_plain_softmax(batches: ModuleType) -> None:
    model = imported("model")
    transformer_config = model.transformer_config(config(), Layout(1, 1, 1), torch.float32)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(5, 2, heads, 2, generator=generator) for heads in (4, 2, 2))
    positions = torch.tensor([[0, 1, 0, 1, 2], [0, 1, 2, 3, 4]])
    mask = batches.document_mask(positions)
    found = model.ScaledDotProductAttention(transformer_config)(q, k, v, mask)
    k, v = (t.repeat_interleave(2, dim=2) for t in (k, v))
    scores = torch.einsum("tbhd,sbhd->bhts", q, k) / 2**0.5
    weights = scores.masked_fill(mask, float("-inf")).softmax(-1)
    wanted = torch.einsum("bhts,sbhd->tbhd", weights, v).reshape(5, 2, 8)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
    causal = model.ScaledDotProductAttention(transformer_config)(q[:, 1:], *(t[:, 1:, ::2] for t in (k, v)), None)
    torch.testing.assert_close(causal, wanted[:, 1:], atol=1e-6, rtol=0)


def test_rotary_frequencies_of_llama_3_1_are_megatrons_own_and_other_scalings_are_transformers() -> None:
    model = imported("model")
    from megatron.core.models.common.embeddings.rotary_pos_embedding import RotaryEmbedding

    scaling = {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    big = config(head_dim=64, max_position_embeddings=131_072, rope_parameters=scaling)
    ours = model.TransformersRotary(big, torch.device("cpu"))
    theirs = RotaryEmbedding(
        64, 1.0, rotary_base=500_000, rope_scaling=True, rope_scaling_factor=8.0, use_cpu_initialization=True
    )
    torch.testing.assert_close(ours.inv_freq, theirs.inv_freq, rtol=1e-6, atol=0)
    # what Megatron has hard-coded is another model's here
    changed = config(head_dim=64, rope_parameters={**scaling, "high_freq_factor": 3.0})
    assert not torch.allclose(model.TransformersRotary(changed, torch.device("cpu")).inv_freq, theirs.inv_freq)
    angles = ours.get_emb(3, offset=5)
    assert angles.shape == (3, 1, 1, 64)
    torch.testing.assert_close(angles[1, 0, 0, :32], 6 * ours.inv_freq)


@pytest.mark.parametrize("tied", [False, True])
def test_the_reference_is_transformers_forward_with_one_layer_in_memory(tmp_path: Path, tied: bool) -> None:
    from transformers import AutoModelForCausalLM

    reference = imported("reference")
    model = write_tiny_model(tmp_path / "model", tied=tied)
    ids = torch.randint(3, 259, (2, 20), generator=torch.Generator().manual_seed(1))
    whole = AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32)
    with torch.no_grad():
        assert torch.equal(reference.reference_logits(model.path, ids, None, torch.device("cpu")), whole(ids).logits)
        positions = torch.arange(20).remainder(7).expand(2, -1)
        wanted = whole(ids, position_ids=positions, use_cache=False).logits
    found = reference.reference_logits(model.path, ids, positions, torch.device("cpu"))
    assert torch.equal(found, wanted)


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Path]:
    """Writes a config.json with some keys changed."""

    def write(**changed: Any) -> Path:
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        settings = {**config().to_dict(), **changed}
        (folder / "config.json").write_text(json.dumps(settings))
        return folder

    return write


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"attention_bias": True}, "attention_bias: True"),
        ({"mlp_bias": True}, "mlp_bias: True"),
        ({"hidden_act": "gelu"}, "hidden_act: gelu"),
        ({"attention_dropout": 0.1}, "attention_dropout: 0.1"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}}, "rope_type: yarn"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "rope_type: dynamic"),
    ],
)
def test_what_the_conversion_would_lose_is_refused(
    start: Callable[..., Path], changed: dict[str, Any], told: str
) -> None:
    with pytest.raises(StageError, match=told):
        check_family(start(**changed), 32)


@pytest.mark.parametrize("family", ["gpt2", "qwen3", "gemma2"])
def test_other_families_are_refused(tmp_path: Path, family: str) -> None:
    from transformers import AutoConfig

    AutoConfig.for_model(family).save_pretrained(tmp_path)
    with pytest.raises(StageError, match=f"Llama family .* is a {family}; set train.backend: torch"):
        check_family(tmp_path, 32)


def test_mistral_is_taken_unless_its_window_is_shorter_than_ours(tmp_path: Path) -> None:
    from transformers import MistralConfig

    MistralConfig(sliding_window=64).save_pretrained(tmp_path)
    assert check_family(tmp_path, 64).model_type == "mistral"
    with pytest.raises(StageError, match="sliding_window: 64"):
        check_family(tmp_path, 65)


@pytest.mark.parametrize(
    ("layout", "option"),
    [(Layout(4, 1, 1), "tensor_parallel must divide the model's num_key_value_heads"), (Layout(1, 2, 1), "pipeline")],
)
def test_a_layout_that_does_not_divide_the_model_is_refused(layout: Layout, option: str) -> None:
    with pytest.raises(StageError, match=option):
        check_division(config(), layout)


def test_layouts_that_divide_the_model_are_taken() -> None:
    for layout in (Layout(1, 1, 1), Layout(2, 3, 5), Layout(1, 3, 2)):
        check_division(config(), layout)


def options(**given: Any) -> MegatronOptions:
    return MegatronOptions.model_validate(given)


def test_copies_of_the_model_are_as_many_as_the_gpus_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    assert layout_of(options(tensor_parallel=2), None) == Layout(2, 1, 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    assert layout_of(options(tensor_parallel=2), None) == Layout(2, 1, 4)
    assert layout_of(options(tensor_parallel=2, data_parallel=1), None) == Layout(2, 1, 1)
    launch = Launch.model_validate({"executor": "torchrun", "nodes": 2, "gpus_per_node": 4})
    assert layout_of(options(tensor_parallel=4), launch) == Layout(4, 1, 2)


def test_a_layout_with_more_ranks_than_gpus_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with pytest.raises(MissingError, match="the layout has 8 ranks, 4 GPUs are there"):
        layout_of(options(tensor_parallel=8), None)


def test_a_layout_does_not_count_in_the_key_and_the_threads_do() -> None:
    counted = [n for n, f in MegatronOptions.model_fields.items() if f.json_schema_extra != NO_EFFECT]
    assert counted == ["threads"]


def test_the_documented_options_are_the_options_with_their_defaults() -> None:
    page = (Path(__file__).parents[3] / "docs" / "recipes.md").read_text(encoding="utf-8")
    section = page.partition("## Training with Megatron-Core")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", section, re.MULTILINE))
    defaults = {name: field.default for name, field in MegatronOptions.model_fields.items()}
    assert rows.pop("data_parallel") == "as many as fit"
    assert defaults.pop("data_parallel") is None
    assert {name: json.loads(text) for name, text in rows.items()} == defaults


def test_the_config_of_the_tiny_model_is_loaded(tiny_model: Checkpoint) -> None:
    assert load_config(tiny_model.path).num_hidden_layers == 2
