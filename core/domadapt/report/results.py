"""What a report is made from: the artifacts of one run, by model and task, and the recipe that made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domadapt.artifacts import Checkpoint, Corpus, Scorecard, TokenStore
from domadapt.components import Side


@dataclass(frozen=True)
class ModelResult:
    """One model of the run. label: "base", "instruct", "cpt" or the merge's label; facts: its maker's."""

    label: str
    role: str
    checkpoint: Checkpoint
    facts: Mapping[str, Any]
    scorecards: Mapping[str, Scorecard]


@dataclass(frozen=True)
class RunResults:
    """Everything a report shows.

    models: base, instruct (when there is one), cpt, then the merges in the recipe's order.
    tasks: task name -> side, in the order of display; perplexity tasks are "bits_per_byte.domain" and
    "bits_per_byte.general".  recipe: the resolved recipe as plain data.  origins: where each value came
    from (dotted keys; a section's origin holds for what lies under it).  run_facts: times, memory, host: the
    only part of report.json that differs between two equal runs, so no model's facts may hold such. Its
    "stages", when there, maps stage name -> {"seconds", "started" (since the first), "peak_bytes", "disk_bytes"}.
    fail_if: the gates of the recipe.  sweep: candidates of a sweep of merges (`domadapt.report.sweep.sweep_data`).
    law: what the stage that chose the mixture wrote, when the recipe has `mix.replay: law`.
    """

    name: str
    domain: str
    models: Sequence[ModelResult]
    tasks: Mapping[str, Side]
    corpora: Mapping[Side, Corpus]
    tokens: TokenStore | None
    recipe: Mapping[str, Any]
    origins: Mapping[str, str]
    providers: Mapping[str, str]
    run_facts: Mapping[str, Any]
    fail_if: Sequence[str] = ()
    sweep: Mapping[str, Any] | None = None
    law: Mapping[str, Any] | None = None
