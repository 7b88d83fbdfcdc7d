"""`mix.replay: law`: the small runs as ordinary stages, and the stage that fits a law to them and chooses the mixture.

A small run is two stages, `tokens.law-SHARE` and `train.law-SHARE`, made by the same functions as those of the recipe's
own training: cached, resumable, and shared with every recipe that asks for the same ones. What `law` writes decides the
mixture of the run's own tokens. A fit that does not carry an advice ends the run there, with the reasons.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from domadapt.artifacts import Artifact, Checkpoint, TokenStore
from domadapt.components import Stage
from domadapt.laws.planned import SmallRuns, repetition, small_runs, unmatched
from domadapt.laws.runs import LAW_RUN, METRICS

if TYPE_CHECKING:
    from domadapt.pipeline.graph import Graph
    from domadapt.recipe.check import ResolvedRecipe
    from domadapt.recipe.schema import Train

LAW = "law"
"""The stage that chooses the mixture, and the kind of its artifact."""
DATA = "law.json"


@dataclass(frozen=True)
class LawAdvice(Artifact):
    """What small runs measured, the laws fitted to it, and the mixture chosen: `law.json`, `law.html`."""

    kind: ClassVar[str] = LAW

    @cached_property
    def data(self) -> Mapping[str, Any]:
        """advice, studies, runs, repetition: see `domadapt.laws`."""
        return json.loads((self.path / DATA).read_bytes())  # type: ignore[no-any-return]


def add_law(graph: Graph, resolved: ResolvedRecipe) -> bool:
    """Add the small runs and the stage that chooses, where the recipe asks for them; say whether it does."""
    from domadapt.pipeline.graph import Node, add_training

    runs = small_runs(resolved.recipe)
    if runs is None:
        return False
    recipe = resolved.recipe
    inputs: dict[str, str] = {}
    for share in runs.shares:
        mix = recipe.mix.model_copy(update={"replay": share})
        train = recipe.train.model_copy(update={"steps": runs.steps, "eval_every": runs.eval_every, "probe_items": 0})
        small = replace(resolved, recipe=recipe.model_copy(update={"mix": mix, "train": train}))
        label = f".{LAW_RUN}{share:g}"
        add_training(graph, small, label, sampled=runs.sampled)
        inputs |= {f"train.{share:g}": f"train{label}", f"tokens.{share:g}": f"tokens{label}"}
    reference = "model.instruct" if "model.instruct" in graph.models else "model.base"
    is_start = recipe.model.start == reference.removeprefix("model.")
    options = {
        "bound": runs.bound,
        "steps": [runs.steps, runs.target_steps],
        "step_tokens": runs.step_tokens,
        "is_start": is_start,
        "schedule": recipe.train.model_dump(mode="json", include=SCHEDULE),
        "precision": recipe.train.precision,
        "eval_windows": recipe.train.eval_windows,
        "document_mask": recipe.train.document_mask,
        "seed": recipe.seed,
    }
    work = _choosing(runs, recipe.train, is_start=is_start)
    graph.add(Node(LAW, LAW, ["domadapt:law:2"], options, {**inputs, "reference": reference}, LawAdvice, work))
    return True


SCHEDULE = {"lr", "schedule", "warmup", "start_lr", "min_lr", "cooldown", "cooldown_shape", "constant_lr", "anneal"}
"""Keys of `train` that decide the learning rate of each step."""


def _choosing(runs: SmallRuns, settings: Train, *, is_start: bool) -> Any:
    def run(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        from domadapt.errors import StageError
        from domadapt.laws.choosing import choose
        from domadapt.report.law_page import render_law_page

        stores: dict[float, TokenStore] = {share: inputs[f"tokens.{share:g}"] for share in runs.shares}
        trained: dict[float, Checkpoint] = {share: inputs[f"train.{share:g}"] for share in runs.shares}
        repeated = [
            found
            for share, store in stores.items()
            for found in repetition(runs, share, store.plan, store.facts.get("sampled", {}))
        ]
        if reasons := unmatched(repeated):
            raise StageError(f"law: the small runs are not like the planned one: {'; '.join(reasons)}")
        table = measured(trained, stores)
        reference = None if is_start else reference_loss(inputs["reference"], next(iter(stores.values())), settings)
        found = choose(table, runs, planned_areas(runs, settings), reference, stage.seed)
        found["repetition"] = [vars(entry) for entry in repeated]
        (out / DATA).write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        page = render_law_page(found["studies"], found["advice"], f"{len(runs.shares)} small runs")
        (out / "law.html").write_text(page, encoding="utf-8", newline="\n")
        advice = found["advice"]
        return {"law": found["law"], **{name: advice[name] for name in ("replay", "domain", "general")}}

    return run


def planned_areas(runs: SmallRuns, settings: Train) -> tuple[float, float]:
    """Forward and annealing area of the learning rate at the end of the planned training."""
    from domadapt.builtin.training.schedule import rate_of
    from domadapt.laws.runs import forward_and_annealing

    # a warm-up counts as the peak, wherever it begins
    rates = [rate_of(settings, step, runs.target_steps, 0.0) for step in range(runs.target_steps)]
    return forward_and_annealing(rates)[-1]


def measured(trained: Mapping[float, Checkpoint], stores: Mapping[float, TokenStore]) -> Any:
    """The held-out losses of the small runs as a table."""
    from domadapt.laws.runs import measurements
    from domadapt.laws.table import of_rows

    rows: list[dict[str, Any]] = []
    for share, checkpoint in trained.items():
        lines = [json.loads(line) for line in (checkpoint.path / METRICS).read_text().splitlines()]
        rows += measurements(lines, stores[share].plan, checkpoint.facts["parameters"], f"{share:g}")
    return of_rows(rows, "the small runs")


def reference_loss(model: Checkpoint, tokens: TokenStore, settings: Train) -> float:
    """General loss of a model on the held-out windows that training is measured on, nats per token."""
    import torch

    from domadapt.builtin.models.weights import load_causal_lm
    from domadapt.builtin.training.windows import held_out

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = load_causal_lm(model.path, torch.float32).to(device).eval()
    ids, labels, positions = held_out(tokens, "selection", "general", settings.eval_windows)
    total, count = 0.0, int((labels[:, 1:] >= 0).sum())
    for at in range(0, len(ids), settings.micro_batch):
        rows = slice(at, at + settings.micro_batch)
        given: dict[str, Any] = {"input_ids": torch.from_numpy(ids[rows]).to(device)}
        if settings.document_mask:
            given["position_ids"] = torch.from_numpy(positions[rows]).to(device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            logits_BTV = network(**given, use_cache=False).logits
        targets = torch.from_numpy(labels[rows, 1:]).to(device)
        total += torch.nn.functional.cross_entropy(
            logits_BTV[:, :-1].float().flatten(0, 1), targets.flatten(), reduction="sum", ignore_index=-100
        ).item()
    return total / count
