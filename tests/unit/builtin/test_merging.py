"""The merge methods that people compare, with both engines, against the formulas of the papers written in numpy."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from domadapt.artifacts import Checkpoint
from domadapt.builtin.merging.methods import (
    ConfiguredMerger,
    DareLinear,
    DareTies,
    Linear,
    Slerp,
    TaskArithmetic,
    Ties,
)
from domadapt.components import Options, Stage
from domadapt.errors import StageError
from domadapt.pipeline import work
from domadapt.recipe.check import Choice
from domadapt.testing.models import write_tiny_model

Weights = dict[str, np.ndarray]
MakeStage = Callable[..., Stage]
MERGERS: tuple[type[ConfiguredMerger], ...] = (Linear, Slerp, TaskArithmetic, Ties, DareTies, DareLinear)
NAMES = [merger.name for merger in MERGERS]
CHOSEN = {"engine": "auto"}
"""The engine that this test's merges are done with."""
DENSITY = {"ties", "dare_ties", "dare_linear"}


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Checkpoint]:
    """A random base and two models near it; the base has neither chat template nor the instruct model's settings."""
    folder = tmp_path_factory.mktemp("parents")
    base = write_tiny_model(folder / "base", seed=0, role="base", chat=False)
    (base.path / "generation_config.json").write_text("{}")
    models = {
        "base": base,
        "instruct": write_tiny_model(folder / "instruct", seed=1, role="instruct"),
        "cpt": write_tiny_model(folder / "cpt", seed=2, role="cpt", chat=False),
    }
    for role in ("instruct", "cpt"):
        move_near(models[role], base)
    return models


def move_near(model: Checkpoint, base: Checkpoint) -> None:
    """Make a random model a descendant: the base plus a third of its own weights."""
    from safetensors.torch import load_file, save_file

    origin, own = (load_file(m.path / "model.safetensors") for m in (base, model))
    moved = {
        name: (origin[name] + own[name] / 3).to(own[name].dtype) if own[name].dim() > 1 else own[name] for name in own
    }
    save_file(moved, model.path / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture(autouse=True, params=["fast", "mergekit"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test is done with both engines."""
    monkeypatch.setitem(CHOSEN, "engine", request.param)
    return str(request.param)


@pytest.fixture(autouse=True)
def nothing_connects(monkeypatch: pytest.MonkeyPatch) -> Any:
    attempts: list[Any] = []

    def refuse(self: socket.socket, address: Any) -> None:
        attempts.append(address)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield
    assert attempts == []


def weights_of(folder: Path) -> Weights:
    import torch
    from safetensors.torch import load_file

    loaded: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        loaded |= load_file(file)
    return {name: tensor.float().numpy() for name, tensor in loaded.items()}


def change(checkpoint: Checkpoint, folder: Path, edit: Callable[[dict[str, Any]], None]) -> Checkpoint:
    """A copy of a checkpoint with edited tensors."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(checkpoint.path, folder)
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    return replace(checkpoint, path=folder)


def merge(
    merger: type[ConfiguredMerger],
    parents: Mapping[str, Checkpoint],
    out: Path,
    stage: Stage,
    weight: float = 0.5,
    **options: Any,
) -> Weights:
    """The merge stage's own work; returns the merged weights."""
    config: Options = merger.Config.model_validate({**CHOSEN, **options})
    choice = Choice("merger", merger.name, merger, config, provider=None)  # type: ignore[arg-type]
    out.mkdir(exist_ok=True)
    inputs = {"ancestor": parents["base"], "instruct": parents["instruct"], "cpt": parents["cpt"]}
    work.merging(choice, weight)(stage, inputs, out)
    return weights_of(out)


def expected(parents: Mapping[str, Checkpoint], formula: Callable[..., np.ndarray]) -> Weights:
    """A formula on (base, instruct, cpt) for every tensor, in float64."""
    of = {role: weights_of(checkpoint.path) for role, checkpoint in parents.items()}
    return {
        name: formula(*(of[role][name].astype(np.float64) for role in ("base", "instruct", "cpt")))
        for name in of["base"]
    }


def assert_same(found: Weights, wanted: Weights, tolerance: float = 2e-6) -> None:
    assert set(found) == set(wanted)
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], atol=tolerance, rtol=0, err_msg=name)


def slerp(v0: np.ndarray, v1: np.ndarray, t: float) -> np.ndarray:
    cos = float((v0 * v1).sum() / (np.linalg.norm(v0) * np.linalg.norm(v1)))
    if abs(cos) > 0.9995:
        return (1 - t) * v0 + t * v1
    angle = math.acos(cos)
    return (math.sin((1 - t) * angle) * v0 + math.sin(t * angle) * v1) / math.sin(angle)


def trimmed(delta: np.ndarray, density: float) -> np.ndarray:
    keep = max(1, int(density * delta.size))
    order = np.argsort(-np.abs(delta).ravel(), kind="stable")
    kept = np.zeros(delta.size)
    kept[order[:keep]] = delta.ravel()[order[:keep]]
    return kept.reshape(delta.shape)


def ties(deltas: list[np.ndarray], weights: list[float], densities: list[float], normalize: bool) -> np.ndarray:
    rows = np.stack([trimmed(d, k) for d, k in zip(deltas, densities, strict=True)])
    shares = np.array(weights).reshape(-1, *[1] * (rows.ndim - 1))
    weighted = rows * shares
    sign = np.where(weighted.sum(0) >= 0, 1, -1)
    agree = np.sign(weighted) == sign
    total = (weighted * agree).sum(0)
    if not normalize:
        return np.asarray(total)
    divisor = (shares * agree).sum(0)
    return np.asarray(total / np.where(divisor == 0, 1, divisor))


def test_the_formulas_here_give_the_hand_computed_examples() -> None:
    d1, d2 = np.array([0.6, -0.2, 0.1, -0.8, 0.05, 0.3]), np.array([0.2, 0.4, -0.5, 0.6, 0, -0.1])
    np.testing.assert_allclose(ties([d1, d2], [1, 0.5], [0.5, 0.5], True), [0.6, 0.4, -0.5, -0.8, 0, 0.3])
    np.testing.assert_allclose(ties([d1, d2], [1, 0.5], [0.5, 0.5], False), [0.6, 0.2, -0.25, -0.8, 0, 0.3])
    np.testing.assert_allclose(ties([d1, d2], [1, 1], [1, 1], True), [0.4, 0.4, -0.5, -0.8, 0.05, 0.3])
    v0, v1 = np.array([3.0, 4, 0, 0, 0, 0]), np.array([0.0, 0, 0, 0, 6, 8])
    np.testing.assert_allclose(slerp(v0, v1, 0.25), [2.771639, 3.695518, 0, 0, 2.296101, 3.061468], atol=1e-6)
    np.testing.assert_allclose(slerp(np.array([1.0, 2, 3]), np.array([2.0, 4, 6]), 0.25), [1.25, 2.5, 3.75])


def planted(parents: Mapping[str, Checkpoint], folder: Path) -> dict[str, Checkpoint]:
    """Parents whose final norm starts with the six-element example: b = 1..6, A = b + d1, B = b + d2; the rest is 0."""
    import torch

    base = torch.arange(1.0, 7.0)
    d1, d2 = torch.tensor([0.6, -0.2, 0.1, -0.8, 0.05, 0.3]), torch.tensor([0.2, 0.4, -0.5, 0.6, 0, -0.1])
    values = {"base": base, "instruct": base + d1, "cpt": base + d2}

    def plant(role: str) -> Callable[[dict[str, Any]], None]:
        def edit(tensors: dict[str, Any]) -> None:
            tensors["model.norm.weight"] = torch.cat([values[role], torch.zeros(26)])

        return edit

    return {role: change(parents[role], folder / role, plant(role)) for role in parents}


@pytest.mark.parametrize(
    ("merger", "weight", "options", "wanted"),
    [
        (Linear, 0.25, {}, [0.5, -0.05, -0.05, -0.45, 0.0375, 0.2]),
        (TaskArithmetic, 1 / 3, {"scale": 1.5}, [0.7, 0, -0.15, -0.5, 0.05, 0.25]),
        (TaskArithmetic, 1 / 3, {"normalize": True}, [0.466667, 0, -0.1, -0.333333, 0.033333, 0.166667]),
        # of 32 entries 3 are kept: d1's -.8 .6 .3, d2's .6 -.5 .4; the weights 2/3 and 1/3 are 1 and .5 normalised
        (Ties, 1 / 3, {"density": 3 / 32}, [0.6, 0.4, -0.5, -0.8, 0, 0.3]),
        (Ties, 1 / 3, {"density": 3 / 32, "normalize": False, "scale": 1.5}, [0.6, 0.2, -0.25, -0.8, 0, 0.3]),
        (Ties, 1 / 3, {"density": 3 / 32, "scale": 0.5}, [0.3, 0.2, -0.25, -0.4, 0, 0.15]),
        (Ties, 0.5, {"density": 1}, [0.4, 0.4, -0.5, -0.8, 0.05, 0.3]),
        (DareTies, 0.5, {"density": 1, "normalize": True}, [0.4, 0.4, -0.5, -0.8, 0.05, 0.3]),
        (DareLinear, 1 / 3, {"density": 1, "scale": 1.5}, [0.7, 0, -0.15, -0.5, 0.05, 0.25]),
    ],
)
def test_the_six_element_example_of_each_method(
    tmp_path: Path,
    parents: Mapping[str, Checkpoint],
    make_stage: MakeStage,
    merger: type[ConfiguredMerger],
    weight: float,
    options: dict[str, Any],
    wanted: list[float],
) -> None:
    merged = merge(merger, planted(parents, tmp_path), tmp_path / "out", make_stage("merge"), weight, **options)
    found = merged["model.norm.weight"]
    np.testing.assert_allclose(found[:6] - np.arange(1, 7), wanted, atol=2e-6)
    np.testing.assert_allclose(found[6:], 0, atol=1e-9)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_linear_is_the_weighted_mean(
    tmp_path: Path, parents: Mapping[str, Checkpoint], make_stage: MakeStage, weight: float
) -> None:
    merged = merge(Linear, parents, tmp_path / "out", make_stage("merge"), weight)
    assert_same(merged, expected(parents, lambda b, i, c: (1 - weight) * i + weight * c))
    if weight in (0, 1):
        one = weights_of(parents["cpt" if weight else "instruct"].path)
        assert all((merged[name] == one[name]).all() for name in one)


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5, 1.0])
def test_slerp_follows_the_arc_between_instruct_and_cpt(
    tmp_path: Path, parents: Mapping[str, Checkpoint], make_stage: MakeStage, weight: float
) -> None:
    merged = merge(Slerp, parents, tmp_path / "out", make_stage("merge"), weight)
    assert_same(merged, expected(parents, lambda b, i, c: slerp(i, c, weight)))


def test_slerp_of_equal_models_returns_the_model(
    tmp_path: Path, parents: Mapping[str, Checkpoint], make_stage: MakeStage
) -> None:
    same = {**parents, "cpt": replace(parents["instruct"], role="cpt")}
    shutil.copytree(parents["instruct"].path, tmp_path / "copy")
    same["cpt"] = Checkpoint(tmp_path / "copy", role="cpt")
    merged = merge(Slerp, same, tmp_path / "out", make_stage("merge"), 0.3)
    assert_same(merged, weights_of(parents["instruct"].path), 1e-7)


@pytest.mark.parametrize(("scale", "normalize"), [(1.0, False), (0.4, False), (1.0, True)])
def test_task_arithmetic_adds_weighted_task_vectors(
    tmp_path: Path, parents: Mapping[str, Checkpoint], make_stage: MakeStage, scale: float, normalize: bool
) -> None:
    merged = merge(
        TaskArithmetic, parents, tmp_path / "out", make_stage("merge"), 0.3, scale=scale, normalize=normalize
    )
    # shares sum to 1, so normalising divides by 1
    assert_same(merged, expected(parents, lambda b, i, c: b + scale * (0.7 * (i - b) + 0.3 * (c - b))))


@pytest.mark.parametrize("normalize", [True, False])
def test_ties_trims_elects_and_merges_with_a_density_for_each_parent(
    tmp_path: Path, parents: Mapping[str, Checkpoint], make_stage: MakeStage, normalize: bool
) -> None:
    """Llama-3-SEC's form: cpt 0.75, instruct 1.0."""
    density = {"cpt": 0.75, "instruct": 1.0}
    merged = merge(
        Ties, parents, tmp_path / "out", make_stage("merge"), 0.4, density=density, normalize=normalize, scale=0.9
    )

    def formula(b: np.ndarray, i: np.ndarray, c: np.ndarray) -> np.ndarray:
        f32 = [(x.astype(np.float32) - b.astype(np.float32)).astype(np.float64) for x in (i, c)]
        return b + 0.9 * ties(f32, [0.6, 0.4], [1.0, 0.75], normalize)

    assert_same(merged, expected(parents, formula))


@pytest.mark.parametrize("merger", [DareTies, DareLinear])
def test_dare_keeps_a_random_share_rescaled_the_same_way_for_one_seed(
    tmp_path: Path, parents: Mapping[str, Checkpoint], make_stage: MakeStage, merger: type[ConfiguredMerger]
) -> None:
    one, again, other = (
        merge(merger, parents, tmp_path / name, make_stage(name, seed=seed), 0.5, density=0.5)
        for name, seed in (("one", 1), ("again", 1), ("other", 2))
    )
    assert all((one[name] == again[name]).all() for name in one)
    assert any((one[name] != other[name]).any() for name in one)


def test_dare_of_one_task_vector_is_its_kept_entries_times_one_factor(
    tmp_path: Path, parents: Mapping[str, Checkpoint], make_stage: MakeStage
) -> None:
    """The factor makes up for the sum of magnitudes that was dropped (mergekit; 1 / density in the paper)."""
    merged = merge(DareLinear, parents, tmp_path / "out", make_stage("merge"), 1.0, density=0.4)
    base, cpt = weights_of(parents["base"].path), weights_of(parents["cpt"].path)
    for name in base:
        delta, found = (cpt[name] - base[name]).astype(np.float64), (merged[name] - base[name]).astype(np.float64)
        if not delta.any():
            assert not found.any(), name  # norms are all ones in every parent
            continue
        kept = np.abs(found) > 1e-6
        factor = np.abs(delta).sum() / np.abs(delta[kept]).sum()
        np.testing.assert_allclose(found[kept], (delta * factor)[kept], atol=5e-6)
        assert kept.mean() == pytest.approx(0.4, abs=5 * math.sqrt(0.24 / delta.size))


def options_of(name: str) -> dict[str, Any]:
    return {"density": 0.5} if name in DENSITY else {}


@pytest.mark.parametrize("merger", MERGERS, ids=NAMES)
def test_merging_a_model_with_itself_and_its_ancestor_changes_nothing(
    tmp_path: Path, parents: Mapping[str, Checkpoint], make_stage: MakeStage, merger: type[ConfiguredMerger]
) -> None:
    """Task vectors of zero divide by nothing."""
    same: dict[str, Checkpoint] = {}
    for role in ("base", "instruct", "cpt"):
        shutil.copytree(parents["instruct"].path, tmp_path / role)
        same[role] = replace(parents[role], path=tmp_path / role)
    merged = merge(merger, same, tmp_path / "out", make_stage("merge"), **options_of(merger.name))
    assert_same(merged, weights_of(parents["instruct"].path), 1e-7)


@pytest.mark.parametrize("merger", MERGERS, ids=NAMES)
@pytest.mark.parametrize("value", [math.nan, math.inf], ids=["nan", "inf"])
def test_a_parent_with_a_value_that_is_not_finite_is_refused_by_the_name_of_the_tensor(
    tmp_path: Path,
    parents: Mapping[str, Checkpoint],
    make_stage: MakeStage,
    merger: type[ConfiguredMerger],
    value: float,
) -> None:
    def spoil(tensors: dict[str, Any]) -> None:
        tensors["model.layers.0.mlp.up_proj.weight"][3, 5] = value

    spoiled = {**parents, "cpt": change(parents["cpt"], tmp_path / "spoiled", spoil)}
    with pytest.raises(StageError, match=r"merge\.x: model\.layers\.0\.mlp\.up_proj\.weight .*not finite"):
        merge(merger, spoiled, tmp_path / "out", make_stage("merge.x"), **options_of(merger.name))


@pytest.mark.parametrize("merger", MERGERS, ids=NAMES)
def test_the_result_loads_and_speaks_with_the_instruct_models_template(
    tmp_path: Path, parents: Mapping[str, Checkpoint], make_stage: MakeStage, merger: type[ConfiguredMerger]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    out = tmp_path / "out"
    merged = merge(merger, parents, out, make_stage("merge"), **options_of(merger.name))
    model = AutoModelForCausalLM.from_pretrained(out)
    state = model.state_dict()
    assert all((state[name].numpy() == merged[name]).all() for name in merged)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "<|user|>hi<|end|>"
    assert GenerationConfig.from_pretrained(out).max_new_tokens == 16
    card = (out / "README.md").read_text()
    assert all(line in card for line in ("- mergekit", "- merge", f"merge_method: {merger.name}"))
    assert (out / "mergekit_config.yml").read_text() in card
    here = [file.name for file in out.iterdir() if str(tmp_path).encode() in file.read_bytes()]
    here += [file.name for file in out.iterdir() if str(parents["cpt"].path.parent).encode() in file.read_bytes()]
    assert here == []  # nothing names a path of this machine


def test_a_template_of_the_cpt_model_does_not_stay_when_the_instruct_model_has_none(
    tmp_path: Path, parents: Mapping[str, Checkpoint], make_stage: MakeStage
) -> None:
    turned = {"base": parents["base"], "instruct": parents["cpt"], "cpt": parents["instruct"]}
    turned = {role: replace(checkpoint, role=role) for role, checkpoint in turned.items()}  # type: ignore[arg-type]
    merge(Linear, turned, tmp_path / "out", make_stage("merge"))
    assert not (tmp_path / "out" / "chat_template.jinja").exists()


def test_parents_of_other_types_are_merged_in_fp32_and_stored_in_the_instruct_models(
    tmp_path: Path, parents: Mapping[str, Checkpoint], make_stage: MakeStage
) -> None:
    import torch
    from safetensors.torch import load_file

    mixed = {**parents, "instruct": write_tiny_model(tmp_path / "bf16", seed=1, role="instruct", dtype="bfloat16")}
    merge(Linear, mixed, tmp_path / "out", make_stage("merge"), 0.3)
    found = load_file(tmp_path / "out" / "model.safetensors")
    wanted = expected(mixed, lambda b, i, c: 0.7 * i + 0.3 * c)
    for name, tensor in found.items():
        assert tensor.dtype == torch.bfloat16
        rounded = torch.from_numpy(wanted[name]).float().bfloat16()
        # fp32 arithmetic, rounded once; half way between two bf16 numbers the last bit of fp32 may decide otherwise
        assert (tensor != rounded).float().mean() < 1e-3, name
    assert json.loads((tmp_path / "out" / "config.json").read_bytes())["dtype"] == "bfloat16"


def test_tied_embeddings_of_all_parents_stay_tied(tmp_path: Path, make_stage: MakeStage) -> None:
    from transformers import AutoModelForCausalLM

    tied = {
        role: write_tiny_model(tmp_path / role, seed=seed, role=role, tied=True)  # type: ignore[arg-type]
        for seed, role in enumerate(("base", "instruct", "cpt"))
    }
    merged = merge(Linear, tied, tmp_path / "out", make_stage("merge"), 0.3)
    assert_same(merged, expected(tied, lambda b, i, c: 0.7 * i + 0.3 * c))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_one_parent_with_tied_embeddings_is_merged_with_its_embedding_as_output_layer(
    tmp_path: Path, parents: Mapping[str, Checkpoint], make_stage: MakeStage
) -> None:
    mixed = {**parents, "cpt": write_tiny_model(tmp_path / "tied", seed=2, role="cpt", tied=True)}
    merged = merge(Linear, mixed, tmp_path / "out", make_stage("merge"), 0.3)
    instruct, cpt = weights_of(mixed["instruct"].path), weights_of(mixed["cpt"].path)
    wanted = 0.7 * instruct["lm_head.weight"] + 0.3 * cpt["model.embed_tokens.weight"]
    np.testing.assert_allclose(merged["lm_head.weight"], wanted, atol=2e-6)


def test_parents_of_other_shapes_vocabularies_or_tensors_are_refused(
    tmp_path: Path, parents: Mapping[str, Checkpoint], make_stage: MakeStage
) -> None:
    def cut(tensors: dict[str, Any]) -> None:
        name = "model.layers.1.mlp.down_proj.weight"
        tensors[name] = tensors[name][:, :-2]

    def lose(tensors: dict[str, Any]) -> None:
        del tensors["model.layers.1.self_attn.k_proj.weight"]

    sentences = {
        cut: r"down_proj\.weight is of shape \[32, 64\] in the instruct model and of shape \[32, 62\] in the cpt model",
        lose: r"k_proj\.weight is of shape \[32, 32\] in the instruct model and missing in the cpt model",
    }
    for number, (edit, said) in enumerate(sentences.items()):
        broken = {**parents, "cpt": change(parents["cpt"], tmp_path / f"broken-{number}", edit)}
        with pytest.raises(StageError, match=said):
            merge(Linear, broken, tmp_path / f"out-{number}", make_stage("merge"))
    other = change(parents["cpt"], tmp_path / "other", lambda tensors: None)
    config = json.loads((other.path / "config.json").read_bytes())
    (other.path / "config.json").write_text(json.dumps({**config, "vocab_size": 300}))
    with pytest.raises(StageError, match=r"vocabularies differ.*259.*300"):
        merge(Linear, {**parents, "cpt": other}, tmp_path / "out", make_stage("merge"))


@pytest.mark.parametrize(
    ("merger", "options", "said"),
    [
        (Ties, {}, "density"),
        (Ties, {"desnity": 0.5, "density": 0.5}, "desnity"),
        (Ties, {"density": 0}, "greater than 0"),
        (Ties, {"density": 1.5}, "less than or equal to 1"),
        (Ties, {"density": {"cpt": 0.5}}, "instruct"),
        (Ties, {"density": [0.5, 0]}, "greater than 0"),
        (Ties, {"density": [{"filter": "mlp", "value": 0.5}]}, "for all other tensors"),
        (Ties, {"density": [{"value": 0.5}, {"filter": "mlp", "value": 0.1}]}, "never reached"),
        (Ties, {"density": 0.5, "scale": 0}, "scale is 0"),
        (Ties, {"density": 0.5, "weight": 1.5}, "less than or equal to 1"),
        (Ties, {"density": 0.5, "weight": {"instruct": 1}}, "cpt"),
        (DareTies, {}, "density"),
        (DareLinear, {"density": math.nan}, "density"),
        (Slerp, {"density": 0.5}, "density"),
        (Slerp, {"t": [0, 2]}, "less than or equal to 1"),
        (Linear, {"normalise": True}, "normalise"),
        (Linear, {"weight": {"instruct": 1, "cpt": -1}}, "sum to 0"),
        (TaskArithmetic, {"weight": {"instruct": 1, "cpt": -1}, "normalize": True}, "sum to 0"),
        (TaskArithmetic, {"density": 0.5}, "density"),
        (Linear, {"engine": "slow"}, "engine"),
    ],
)
def test_missing_misspelt_and_impossible_options_are_refused(
    merger: type[ConfiguredMerger], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        merger.Config.model_validate(options)


def test_merging_leaves_the_environment_as_it_was_but_for_the_hub_being_off(
    tmp_path: Path, parents: Mapping[str, Checkpoint], make_stage: MakeStage
) -> None:
    before = {**os.environ}
    merge(Linear, parents, tmp_path / "out", make_stage("merge"))
    assert {**os.environ} == before
