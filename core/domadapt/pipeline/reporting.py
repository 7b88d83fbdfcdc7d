"""The report stage: gather the artifacts of a run and hand them to `domadapt.report`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from domadapt import report
from domadapt.artifacts import Artifact, Checkpoint, Report, Scorecard, Sweep, TokenStore
from domadapt.components import Stage
from domadapt.pipeline.fingerprints import digest_of
from domadapt.pipeline.graph import SWEEP, Graph, Node, model_files
from domadapt.pipeline.keys import source_digest
from domadapt.pipeline.law import LAW, LawAdvice
from domadapt.recipe.check import ResolvedRecipe
from domadapt.recipe.lock import describe_origins
from domadapt.report.results import ModelResult, RunResults
from domadapt.report.sweep import sweep_data


def add_report(graph: Graph, resolved: ResolvedRecipe, name: str) -> None:
    """Add the stage that reads all others. It is made anew whenever any of them, or the recipe, changes."""
    values = describe_origins(resolved)
    providers = provider_versions(resolved)
    inputs = {node: node for node in graph.nodes} | {model: model for model in graph.models}
    options = {
        "name": name,
        "values": [[path, str(value), origin] for path, value, origin in values],
        "providers": providers,
    }

    def run(stage: Stage, artifacts: Mapping[str, Artifact], out: Path) -> dict[str, Any]:
        from domadapt.report.build import report_data, write_report

        results = RunResults(
            name=name,
            domain=resolved.recipe.domain,
            models=[_model(graph, label, artifacts) for label in graph.labels()],
            tasks=graph.tasks,
            corpora={side: artifacts[f"corpus.{side}"] for side in resolved.sources if f"corpus.{side}" in artifacts},  # type: ignore[misc]
            tokens=_tokens(artifacts),
            recipe={path: value for path, value, _ in values},
            origins={path: origin for path, _, origin in values},
            providers=providers,
            run_facts=_with_disk(stage.facts["run_facts"], graph, artifacts),
            fail_if=resolved.recipe.eval.fail_if,
            sweep=_sweep(resolved, artifacts, name),
            law=_law(artifacts),
        )
        write_report(report_data(results), out)
        return {}

    # a report is cheap and made of our own code alone: it is made anew whenever that code changes
    by = [f"domadapt:report:{source_digest(Path(report.__file__).parent)}"]
    graph.add(Node("report", "report", by, options, inputs, Report, run))


def _with_disk(facts: Mapping[str, Any], graph: Graph, artifacts: Mapping[str, Artifact]) -> dict[str, Any]:
    """The run's facts with what each stage's result takes on the disk."""
    stages = {name: dict(entry) for name, entry in facts["stages"].items()}
    for name in graph.nodes:
        if name in artifacts:
            files = artifacts[name].manifest["files"].values()
            stages.setdefault(name, {})["disk_bytes"] = sum(file["bytes"] for file in files)
    return {**facts, "stages": stages}


def _sweep(resolved: ResolvedRecipe, artifacts: Mapping[str, Artifact], name: str) -> dict[str, Any] | None:
    sweep = artifacts.get(SWEEP)
    if resolved.sweep is None or not isinstance(sweep, Sweep):
        return None
    return sweep_data(sweep.data, resolved.sweep.select_by, name)


def _law(artifacts: Mapping[str, Artifact]) -> Mapping[str, Any] | None:
    advice = artifacts.get(LAW)
    return advice.data if isinstance(advice, LawAdvice) else None


def _tokens(artifacts: Mapping[str, Artifact]) -> TokenStore | None:
    tokens = artifacts.get("tokens")
    return tokens if isinstance(tokens, TokenStore) else None


def _model(graph: Graph, label: str, artifacts: Mapping[str, Artifact]) -> ModelResult:
    source = graph.source_of(label)
    checkpoint = artifacts[source]
    assert isinstance(checkpoint, Checkpoint)
    scorecards: dict[str, Scorecard] = {}
    for task in graph.tasks:
        card = artifacts[f"eval.{label}.{task}"]
        assert isinstance(card, Scorecard)
        scorecards[task] = card
    facts = {} if source in graph.models else dict(checkpoint.facts)
    if source not in graph.models:
        # as if it had been given as a folder: the same files have the same digest wherever they came from
        files = checkpoint.manifest["files"]
        named = ((name, files[name]["bytes"], files[name]["sha256"]) for name in model_files(files))
        checkpoint = replace(checkpoint, digest=digest_of(named))
    return ModelResult(label, checkpoint.role, checkpoint, facts, scorecards)


def provider_versions(resolved: ResolvedRecipe) -> dict[str, str]:
    """Who brought each component of the run: "kind name" -> "distribution version"."""
    choices = [
        *(c for side in resolved.sources.values() for c in side),
        *resolved.cleaners,
        resolved.mixer,
        resolved.backend,
        *resolved.mergers.values(),
        *(method.choice for method in (resolved.sweep.methods if resolved.sweep else ())),
        *resolved.evaluators.values(),
    ]
    return {f"{c.kind} {c.name}": f"{c.provider.distribution} {c.provider.version}" for c in choices}
