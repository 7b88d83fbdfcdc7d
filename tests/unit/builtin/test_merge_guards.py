"""Broken parents and merges that cannot be meant: each is refused in one sentence, and nothing is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domadapt.artifacts import Checkpoint
from domadapt.builtin.merging import aftercare, guards
from domadapt.builtin.merging.methods import (
    ConfiguredMerger,
    Linear,
    ModelStock,
    Slerp,
    TaskArithmetic,
    Ties,
)
from domadapt.builtin.merging.presets import InstructionResidual
from domadapt.components import Stage
from domadapt.errors import AdaptError, DataError, MissingError, StageError
from domadapt.pipeline import work
from domadapt.recipe.check import Choice
from domadapt.testing.models import write_tiny_model

MakeStage = Callable[..., Stage]
Parents = dict[str, Checkpoint]
MakeParents = Callable[..., Parents]
Break = Callable[[Parents], None]


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Checkpoint]:
    """A random base and two models near it."""
    folder = tmp_path_factory.mktemp("intact")
    models = {r: write_tiny_model(folder / r, seed=s, role=r) for s, r in enumerate(("base", "instruct", "cpt"))}  # type: ignore[arg-type]
    base = tensors_of(models["base"])
    for role in ("instruct", "cpt"):
        change(models[role], lambda own: {name: base[name] + t / 3 for name, t in own.items()})
    return models


@pytest.fixture
def parents(tmp_path: Path, intact: Mapping[str, Checkpoint]) -> Parents:
    """Copies that a test may break."""
    copies = {role: replace(model, path=tmp_path / "parents" / role, digest="") for role, model in intact.items()}
    for role, model in intact.items():
        shutil.copytree(model.path, copies[role].path)
    return copies


def tensors_of(model: Checkpoint) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(model.path / "model.safetensors"))


def change(model: Checkpoint, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.torch import save_file

    tensors = {name: t.contiguous() for name, t in edit(tensors_of(model)).items()}
    save_file(tensors, model.path / "model.safetensors", metadata={"format": "pt"})


def change_json(file: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads(file.read_bytes())
    edit(data)
    file.write_text(json.dumps(data))


def merge(
    merger: type[ConfiguredMerger], parents: Mapping[str, Checkpoint], out: Path, stage: Stage, **options: Any
) -> dict[str, Any]:
    choice = Choice("merger", merger.name, merger, merger.Config.model_validate(options), provider=None)  # type: ignore[arg-type]
    out.mkdir()
    inputs = {"ancestor": parents["base"], "instruct": parents["instruct"], "cpt": parents["cpt"]}
    return work.merging(choice, 0.5)(stage, inputs, out)


def warnings_of(stage: Stage) -> list[str]:
    return [event["message"] for event in stage.facts["events"] if event["kind"] == "warning"]


def larger_vocabulary(parents: Parents) -> None:
    import torch

    def grow(tensors: dict[str, Any]) -> dict[str, Any]:
        rows = ("model.embed_tokens.weight", "lm_head.weight")
        return {n: torch.cat([t, t[:2]]) if n in rows else t for n, t in tensors.items()}

    change(parents["instruct"], grow)
    change_json(parents["instruct"].path / "config.json", lambda config: config.update(vocab_size=261))


def other_tokens(parents: Parents) -> None:
    def swap(tokenizer: dict[str, Any]) -> None:
        vocabulary = tokenizer["model"]["vocab"]
        vocabulary["A"], vocabulary["B"] = vocabulary["B"], vocabulary["A"]

    change_json(parents["cpt"].path / "tokenizer.json", swap)


def moved_special_token(parents: Parents) -> None:
    def move(tokenizer: dict[str, Any]) -> None:
        vocabulary = tokenizer["model"]["vocab"]
        for name, number in (("<|end|>", 259), ("<|spare|>", 2)):
            vocabulary[name] = number
        for entry in tokenizer["added_tokens"]:
            if entry["content"] == "<|end|>":
                entry["id"] = 259
        del vocabulary["<|spare|>"]

    change_json(parents["cpt"].path / "tokenizer.json", move)


def other_shape(parents: Parents) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    change(parents["cpt"], lambda tensors: {**tensors, name: tensors[name][:-2]})


def missing_tensor(parents: Parents) -> None:
    change(parents["cpt"], lambda ts: {n: t for n, t in ts.items() if n != "model.layers.1.self_attn.k_proj.weight"})


def extra_tensor(parents: Parents) -> None:
    change(
        parents["cpt"],
        lambda tensors: {**tensors, "model.layers.0.lora_A.weight": tensors["model.norm.weight"].clone()},
    )


def nan_in_a_parent(parents: Parents) -> None:
    def spoil(tensors: dict[str, Any]) -> dict[str, Any]:
        tensors["model.layers.1.mlp.down_proj.weight"][3, 5] = float("nan")
        return tensors

    change(parents["instruct"], spoil)


def a_pickle(parents: Parents) -> None:
    folder = parents["cpt"].path
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def unrelated_ancestor(parents: Parents) -> None:
    import torch

    generator = torch.Generator().manual_seed(9)
    change(parents["base"], lambda ts: {n: torch.randn(t.shape, generator=generator) * t.std() for n, t in ts.items()})


def other_architecture(parents: Parents) -> None:
    change_json(parents["cpt"].path / "config.json", lambda config: config.update(model_type="mistral"))


def cut_off(parents: Parents) -> None:
    file = parents["cpt"].path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def quantised(parents: Parents) -> None:
    import torch

    name = "model.layers.0.mlp.up_proj.weight"
    change(parents["cpt"], lambda tensors: {**tensors, name: tensors[name].to(torch.float8_e4m3fn)})


@pytest.mark.parametrize("engine", ["auto", "mergekit"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (larger_vocabulary, r"vocabularies differ .*261.*259.*; give all of them 261 rows .*resize_token_embeddings"),
        (other_tokens, r"tokenizers of the instruct and the cpt model differ: 2 token numbers mean .*permute the rows"),
        (moved_special_token, r"differ: special tokens have other numbers \(<\|end\|> is 2 and 259\)"),
        (
            other_shape,
            r"up_proj\.weight is of shape \[64, 32\] in the instruct model and of shape \[62, 32\] in the cpt",
        ),
        (missing_tensor, r"k_proj\.weight is of shape .* and missing in the cpt model; .*download may be incomplete"),
        (extra_tensor, r"lora_A\.weight is missing in the instruct model and of shape \[32\] in the cpt .*adapters"),
        (nan_in_a_parent, r"down_proj\.weight has values that are not finite in the instruct model"),
        (a_pickle, r"its weights are a pickle \(pytorch_model\.bin\).*save the model as safetensors"),
        (unrelated_ancestor, r"differs from the ancestor by 1\.\d+ times .* does not descend .* model\.base"),
        (other_architecture, r"the instruct model's architecture is llama, the cpt model's mistral"),
        (cut_off, r"model\.safetensors.*fetch .*again"),
        (quantised, r"up_proj\.weight of the cpt model is stored as F8_E4M3, quantised"),
    ],
)
def test_a_broken_pair_is_refused_and_nothing_is_written(
    tmp_path: Path, parents: Parents, make_stage: MakeStage, engine: str, damage: Break, said: str
) -> None:
    damage(parents)
    with pytest.raises((StageError, DataError), match=said):
        merge(Ties, parents, tmp_path / "out", make_stage("merge.ties"), density=0.5, engine=engine)
    assert not (tmp_path / "out" / "artifact.json").exists()
    assert not (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize("ends", [True, False])
def test_an_intact_pair_is_merged_and_asked_something(
    tmp_path: Path, parents: Parents, make_stage: MakeStage, ends: bool
) -> None:
    import torch

    for parent in parents.values():  # every logit is 0, so the answer is the first token, pad, for ever
        change(parent, lambda tensors: {**tensors, "lm_head.weight": torch.zeros_like(tensors["lm_head.weight"])})
    if ends:
        change_json(parents["instruct"].path / "generation_config.json", lambda c: c.update(eos_token_id=[2, 0]))
    stage = make_stage("merge.ties")
    facts = merge(Ties, parents, tmp_path / "out", stage, density=0.5)
    assert facts["checks"] == {"loads": True, "chat_template": True, "ends": ends}
    told = [] if ends else ["the merged model's answer to a greeting does not end in 64 tokens"]
    assert warnings_of(stage) == told


def test_a_method_without_ancestor_does_not_look_at_it(tmp_path: Path, parents: Parents, make_stage: MakeStage) -> None:
    unrelated_ancestor(parents)
    merge(Linear, parents, tmp_path / "out", make_stage("merge.linear"))


def test_models_that_were_trained_apart_are_warned_of(tmp_path: Path, parents: Parents, make_stage: MakeStage) -> None:
    parents["cpt"] = write_tiny_model(tmp_path / "apart", seed=77, role="cpt")
    stage = make_stage("merge.linear")
    merge(Linear, parents, tmp_path / "out", stage)
    assert "the cpt model differs from the instruct model by" in warnings_of(stage)[0]


def test_renamed_special_tokens_are_a_warning(tmp_path: Path, parents: Parents, make_stage: MakeStage) -> None:
    def rename(tokenizer: dict[str, Any]) -> None:
        vocabulary = tokenizer["model"]["vocab"]
        vocabulary["<|stop|>"] = vocabulary.pop("<|end|>")
        for entry in tokenizer["added_tokens"]:
            entry["content"] = entry["content"].replace("<|end|>", "<|stop|>")

    change_json(parents["cpt"].path / "tokenizer.json", rename)
    stage = make_stage("merge.linear")
    merge(Linear, parents, tmp_path / "out", stage)
    assert "special tokens have other names (2: <|end|> and <|stop|>)" in warnings_of(stage)[0]


@pytest.mark.parametrize("engine", ["fast", "mergekit"])
def test_ties_with_one_task_vector_and_normalize_says_that_its_weight_has_no_effect(
    tmp_path: Path, parents: Parents, make_stage: MakeStage, engine: str
) -> None:
    parents["instruct"] = replace(parents["base"], role="instruct")
    told = []
    for normalize in (True, False):
        stage = make_stage(f"merge.{normalize}")
        merge(Ties, parents, tmp_path / stage.name, stage, density=0.5, normalize=normalize, engine=engine)
        told.append(" ".join(warnings_of(stage)))
    assert "the instruct model is the ancestor itself" in told[0]
    assert "its weight has no effect" in told[0]
    assert "no effect" not in told[1]


def test_model_stock_says_where_it_extrapolates(tmp_path: Path, parents: Parents, make_stage: MakeStage) -> None:
    base, instruct = tensors_of(parents["base"]), tensors_of(parents["instruct"])
    change(parents["cpt"], lambda own: {n: base[n] - 0.9 * (instruct[n] - base[n]) + 0.1 * t for n, t in own.items()})
    stage = make_stage("merge.model_stock")
    merge(ModelStock, parents, tmp_path / "out", stage)
    assert "the task vectors oppose each other in" in warnings_of(stage)[0]


@pytest.mark.parametrize("engine", ["fast", "mergekit"])
def test_slerp_of_opposite_tensors_is_refused(
    tmp_path: Path, parents: Parents, make_stage: MakeStage, engine: str
) -> None:
    name = "model.layers.0.mlp.gate_proj.weight"
    opposite = -tensors_of(parents["instruct"])[name]
    change(parents["cpt"], lambda tensors: {**tensors, name: opposite})
    with pytest.raises(StageError, match=r"gate_proj\.weight of one parent is the opposite .* SLERP would pass"):
        merge(Slerp, parents, tmp_path / "out", make_stage("merge.slerp"), engine=engine)
    assert not any((tmp_path / "out").iterdir())


@pytest.mark.parametrize("merger", [Linear, TaskArithmetic])
def test_gradients_that_sum_to_0_in_some_layer_are_refused(
    tmp_path: Path, parents: Parents, make_stage: MakeStage, merger: type[ConfiguredMerger]
) -> None:
    weight = {"instruct": [1, 0.5], "cpt": [{"filter": "mlp", "value": [1, -0.5]}, {"value": 1}]}
    with pytest.raises(StageError, match=r"weights for model\.layers\.1\.mlp\.\w+\.weight sum to 0"):
        merge(merger, parents, tmp_path / "out", make_stage("merge.x"), weight=weight, normalize=True)
    merge(merger, parents, tmp_path / "other", make_stage("merge.y"), weight=weight, normalize=False)


def test_an_instruction_residual_on_a_model_trained_from_instruct_is_refused(
    tmp_path: Path, parents: Parents, make_stage: MakeStage
) -> None:
    merge(InstructionResidual, parents, tmp_path / "fine", make_stage("merge.fine"))
    base, instruct = tensors_of(parents["base"]), tensors_of(parents["instruct"])
    change(parents["cpt"], lambda own: {n: instruct[n] + 0.1 * (t - base[n]) for n, t in own.items()})
    with pytest.raises(StageError, match=r"CPT started from the instruct model .* would be added twice"):
        merge(InstructionResidual, parents, tmp_path / "out", make_stage("merge.twice"))


def test_a_full_disk_is_told_before_anything_is_written(
    tmp_path: Path, parents: Parents, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(MissingError, match=r"needs 0\.00 GB of disk .* make room"):
        merge(Linear, parents, tmp_path / "out", make_stage("merge.linear"))
    assert not any((tmp_path / "out").iterdir())


def test_mergekit_is_not_started_where_its_memory_would_not_suffice(
    tmp_path: Path, parents: Parents, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "available_memory", lambda: 100_000)
    with pytest.raises(MissingError, match=r"mergekit would need about .* of memory"):
        merge(Linear, parents, tmp_path / "out", make_stage("merge.linear"), engine="mergekit")


def test_a_model_larger_than_the_memory_is_not_tried_and_says_so(
    tmp_path: Path, parents: Parents, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aftercare, "available_memory", lambda: 100_000)
    stage = make_stage("merge.linear")
    facts = merge(Linear, parents, tmp_path / "out", stage)
    assert facts["checks"] == {"loads": "not tried, larger than the memory"}
    assert "the merged model was not tried" in warnings_of(stage)[0]


def test_a_chat_template_that_does_not_render_is_refused(
    tmp_path: Path, parents: Parents, make_stage: MakeStage
) -> None:
    for file in ("chat_template.jinja", "tokenizer_config.json"):
        path = parents["instruct"].path / file
        if file.endswith(".jinja"):
            path.write_text("{{ messages.nothing() }}")
    with pytest.raises(StageError, match="chat template does not render"):
        merge(Linear, parents, tmp_path / "out", make_stage("merge.linear"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_the_finite_scan_finds_one_value_in_any_type(
    tmp_path: Path, make_stage: MakeStage, dtype: str, value: float
) -> None:
    import torch
    from safetensors.torch import save_file

    tensor = torch.zeros(600_001, dtype=getattr(torch, dtype))
    tensor[0] = torch.finfo(tensor.dtype).max
    save_file({"a": tensor, "n": torch.arange(3)}, tmp_path / "model.safetensors")
    guards.check_finite(make_stage("merge"), tmp_path, "x")
    tensor[600_000] = value
    save_file({"a": tensor}, tmp_path / "model.safetensors")
    with pytest.raises(AdaptError, match="merge: a has values that are not finite in x"):
        guards.check_finite(make_stage("merge"), tmp_path, "x")
