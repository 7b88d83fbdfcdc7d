"""Parameters by arithmetic are those of the real models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt.errors import DataError, MissingError
from domadapt.planning.known import known_models, model_shape
from domadapt.planning.shapes import ModelShape, read_shape, shape_of


@pytest.mark.parametrize(
    ("model", "parameters", "in_products"),
    [("llama3_70b", 70.5537, 69.5017), ("llama3_8b", 8.0303, 7.5047), ("llama2_7b", 6.7384, 6.6071)],
)
def test_parameters_of_the_published_models(
    model: str, parameters: float, in_products: float, request: pytest.FixtureRequest
) -> None:
    shape: ModelShape = request.getfixturevalue(model)
    assert round(shape.parameters / 1e9, 4) == parameters
    assert round(shape.matmul_parameters / 1e9, 4) == in_products


FAMILIES: list[tuple[str, dict[str, Any]]] = [
    ("LlamaConfig", {}),
    ("LlamaConfig", {"attention_bias": True, "mlp_bias": True}),
    ("LlamaConfig", {"head_dim": 24}),
    ("MistralConfig", {}),
    ("Qwen2Config", {}),
    ("Qwen3Config", {"head_dim": 12}),
    ("Qwen3Config", {"head_dim": 12, "attention_bias": True}),
]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("family", "special"), FAMILIES)
def test_counts_are_those_of_transformers(family: str, special: dict[str, Any], tied: bool) -> None:
    import torch
    import transformers

    config = getattr(transformers, family)(
        vocab_size=97,
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
        **special,
    )
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    shape = shape_of(json.loads(config.to_json_string()), family, "here")
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    multiplied = [m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert shape.matmul_parameters == sum(multiplied)


@given(
    layers=st.integers(1, 9),
    kv_heads=st.integers(1, 4),
    group=st.integers(1, 4),
    head_dim=st.integers(1, 64),
    hidden=st.integers(1, 256),
    vocab=st.integers(1, 1000),
)
@settings(max_examples=50, deadline=None)
def test_tying_saves_exactly_the_output_layer(
    layers: int, kv_heads: int, group: int, head_dim: int, hidden: int, vocab: int
) -> None:
    dimensions: Any = {"hidden": hidden, "layers": layers, "ffn": 3 * hidden, "heads": group * kv_heads}
    dimensions |= {"kv_heads": kv_heads, "head_dim": head_dim, "vocab": vocab}
    tied, untied = ModelShape("tied", **dimensions, tied=True), ModelShape("untied", **dimensions)
    assert untied.parameters - tied.parameters == vocab * hidden
    assert untied.matmul_parameters == tied.matmul_parameters <= tied.parameters


def test_a_model_of_another_family_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="model_type is 'mixtral'; costs are known for llama, mistral, qwen2, qwen3"):
        shape_of({"model_type": "mixtral"}, "m", "config.json")


def test_a_missing_dimension_is_named() -> None:
    config = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    with pytest.raises(DataError, match=r"config\.json: intermediate_size is None; a positive whole number is wanted"):
        shape_of(config, "m", "config.json")


def test_a_folder_is_read_before_the_table_is_asked(tmp_path: Path) -> None:
    name = "meta-llama/Meta-Llama-3-8B"
    config = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 9, "vocab_size": 5}))
    assert model_shape(name, lambda reference: tmp_path) == read_shape(tmp_path, name)
    assert model_shape(name, lambda reference: tmp_path).ffn == 9


def test_the_table_answers_where_the_model_is_not_here() -> None:
    def missing(reference: str) -> Path:
        raise MissingError(f"model {reference}: not in the local cache")

    assert model_shape("meta-llama/Llama-2-7b-hf@0123abc", missing).parameters == 6_738_415_616
    with pytest.raises(
        MissingError, match=r"model a/b: not in the local cache; without its config\.json .*Llama-3-70B"
    ):
        model_shape("a/b", missing)


def test_every_model_of_the_table_says_where_its_dimensions_stand() -> None:
    assert len(known_models()) == len(set(known_models())) >= 6
    for name in known_models():
        assert "arXiv" in model_shape(name, lambda reference: None).source


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_a_config_that_cannot_be_read_is_told_in_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(DataError, match=r"config\.json: (cannot be read|is no JSON object)"):
        read_shape(tmp_path)
