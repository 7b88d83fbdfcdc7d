"""Candidates in memory are the bits that a merge writes; a merge method of a few lines gets all of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file

from domadapt.artifacts import Checkpoint
from domadapt.builtin.merging.fast import engine
from domadapt.builtin.merging.fast.sweep import Candidate, Sweep
from domadapt.components import Stage, TensorMerger, WeightedCheckpoint
from domadapt.errors import PluginError, StageError
from domadapt.testing.models import write_tiny_model

MakeStage = Callable[..., Stage]


class Middle(TensorMerger):
    """A merge method as a third party writes it: on the ancestor, a random share of the mean task vector."""

    name: ClassVar[str] = "middle"
    uses_ancestor: ClassVar[bool] = True

    def merge_tensor(
        self, name: str, ancestor: Any, tuned: Sequence[Any], weights: Sequence[float], rng: torch.Generator
    ) -> torch.Tensor:
        delta = sum((w * (model - ancestor) for w, model in zip(weights, tuned, strict=True)), torch.zeros(()))
        return ancestor + delta * torch.rand(delta.shape, generator=rng)


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    folder = tmp_path_factory.mktemp("parents")
    return {
        role: write_tiny_model(folder / role, seed=seed, role=role, dtype="bfloat16")  # type: ignore[arg-type]
        for seed, role in enumerate(("base", "instruct", "cpt"))
    }


def network(checkpoint: Checkpoint, dtype: torch.dtype = torch.bfloat16) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(checkpoint.path, dtype=dtype).eval()


def candidate(method: Any, weight: float, density: float) -> Candidate:
    shares = {"instruct": 1 - weight, "cpt": weight}
    return Candidate(method, lambda n, r: {"weight": shares[r], "density": density} if r else {"t": weight})


POINTS = [
    candidate(method, weight, density)
    for method, weight, density in (
        ("ties", 0.5, 0.2), ("ties", 0.3, 0.2), ("ties", 0.5, 0.8), ("slerp", 0.4, 1), ("linear", 0.4, 1),
        ("dare_ties", 0.5, 0.5), ("task_arithmetic", 0.5, 1), ("model_stock", 0.5, 1), (Middle(), 0.5, 1),
    )
]  # fmt: skip


@pytest.fixture
def sweep(parents: dict[str, Checkpoint]) -> Sweep:
    return Sweep(parents["base"], [parents["instruct"], parents["cpt"]], seed=1234)


def written(point: Candidate, parents: dict[str, Checkpoint], out: Path, stage: Stage) -> dict[str, torch.Tensor]:
    models = [parents["instruct"], parents["cpt"]]
    if isinstance(point.method, str):
        engine.run(point.method, point.settings, parents["base"], models, out, stage)
    else:
        shares = [WeightedCheckpoint(m, point.settings("x", m.role)["weight"]) for m in models]
        point.method.merge(parents["base"], shares, out, stage)
    return load_file(out / "model.safetensors")


@pytest.mark.parametrize("point", POINTS, ids=lambda point: getattr(point.method, "name", point.method))
def test_a_candidate_in_memory_is_what_a_merge_writes(
    tmp_path: Path, make_stage: MakeStage, parents: dict[str, Checkpoint], sweep: Sweep, point: Candidate
) -> None:
    merged = written(point, parents, tmp_path / "out", make_stage("merge"))
    sweep.prepare(POINTS)
    live = network(parents["base"])
    for other in POINTS:  # whatever the network held before
        sweep.load_into(live, other)
    sweep.load_into(live, point)
    for found in (live.state_dict(), sweep.state_dict(point)):
        assert all(torch.equal(found[name].view(torch.int16), merged[name].view(torch.int16)) for name in merged)


def test_candidates_are_written_from_one_reading(
    tmp_path: Path, make_stage: MakeStage, parents: dict[str, Checkpoint], sweep: Sweep
) -> None:
    stage = make_stage("merge")
    sweep.write({tmp_path / f"many-{i}": point for i, point in enumerate(POINTS)}, stage)
    for i, point in enumerate(POINTS):
        alone = written(point, parents, tmp_path / f"alone-{i}", stage)
        many = load_file(tmp_path / f"many-{i}" / "model.safetensors")
        assert all(torch.equal(many[name].view(torch.int16), alone[name].view(torch.int16)) for name in alone)
    told = [event for event in stage.facts["events"] if event["kind"] == "progress"]
    assert told[-1]["done"] == told[-1]["total"]


def test_a_network_of_another_type_gets_the_weights_in_its_type(parents: dict[str, Checkpoint], sweep: Sweep) -> None:
    live = network(parents["base"], torch.float32)
    sweep.load_into(live, POINTS[4])
    in_fp32 = sweep.state_dict(POINTS[4], "float32")
    assert all(torch.equal(live.state_dict()[name], in_fp32[name]) for name in in_fp32)
    double = network(parents["base"], torch.float64)
    sweep.load_into(double, POINTS[4])
    assert all(torch.equal(double.state_dict()[name], in_fp32[name].double()) for name in in_fp32)


def test_a_tied_network_is_filled_through_its_embedding(tmp_path: Path, make_stage: MakeStage) -> None:
    models = {
        role: write_tiny_model(tmp_path / role, seed=seed, role=role, dtype="bfloat16", tied=True)  # type: ignore[arg-type]
        for seed, role in enumerate(("base", "instruct", "cpt"))
    }
    sweep = Sweep(models["base"], [models["instruct"], models["cpt"]], seed=1)
    live = network(models["base"])
    sweep.load_into(live, POINTS[0])
    merged = sweep.state_dict(POINTS[0])
    assert "lm_head.weight" not in merged
    assert torch.equal(live.state_dict()["lm_head.weight"], merged["model.embed_tokens.weight"])


def test_a_network_that_does_not_fit_is_refused(parents: dict[str, Checkpoint], sweep: Sweep, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"0\.weight of the network has shape \[3, 2\] and is not there"):
        sweep.load_into(torch.nn.Sequential(torch.nn.Linear(2, 3)), POINTS[0])
    tied = write_tiny_model(tmp_path / "tied", dtype="bfloat16", tied=True)
    with pytest.raises(StageError, match="output layer is tied"):
        sweep.load_into(network(tied), POINTS[0])


def test_a_method_of_a_few_lines_merges_whole_checkpoints(
    tmp_path: Path, make_stage: MakeStage, parents: dict[str, Checkpoint]
) -> None:
    shares = [WeightedCheckpoint(parents["instruct"], 0.5), WeightedCheckpoint(parents["cpt"], 0.5)]
    stage = make_stage("merge.middle")
    facts = Middle().merge(parents["base"], shares, tmp_path / "out", stage)
    assert facts["out_dtype"] == "bfloat16"
    merged = load_file(tmp_path / "out" / "model.safetensors")
    base, *models = (load_file(parents[role].path / "model.safetensors") for role in ("base", "instruct", "cpt"))
    for name in base:
        mean = sum(model[name].float() - base[name].float() for model in models) / 2
        change = (merged[name].float() - base[name].float()) / torch.where(mean == 0, 1, mean)
        assert float(change[mean.abs() > 0.05].min() if (mean.abs() > 0.05).any() else 0) > -0.05
        assert float(change[mean.abs() > 0.05].max() if (mean.abs() > 0.05).any() else 0) < 1.05
    assert network(Checkpoint(tmp_path / "out")).config.dtype == torch.bfloat16


def test_a_method_that_gives_something_else_is_named(
    tmp_path: Path, make_stage: MakeStage, parents: dict[str, Checkpoint]
) -> None:
    class Wrong(Middle):
        name: ClassVar[str] = "wrong"

        def merge_tensor(self, name: str, *arguments: Any) -> Any:
            return torch.ones(2) if "norm" not in name else None

    class Infinite(Middle):
        name: ClassVar[str] = "infinite"

        def merge_tensor(self, name: str, ancestor: Any, *arguments: Any) -> Any:
            return ancestor * float("inf")

    shares = [WeightedCheckpoint(parents["instruct"], 0.5), WeightedCheckpoint(parents["cpt"], 0.5)]
    with pytest.raises(PluginError, match=r"wrong gave a tensor of shape \[2\] for .*, whose shape is \["):
        Wrong().merge(parents["base"], shares, tmp_path / "wrong", make_stage("m"))
    with pytest.raises(StageError, match="not finite after merging"):
        Infinite().merge(parents["base"], shares, tmp_path / "infinite", make_stage("m"))
