"""Claims against runs: reproduced, not reproduced, or why a run here cannot tell.

A value is reproduced when a run of the same models scored the same items and the published number lies in the
run's 95 % interval, widened by the claim's tolerance. An order is reproduced when the paired differences of such a
run say so. A small run with other models can only show an order "in miniature": same effect, other conditions, never
called reproduced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

from domadapt.claims.schema import Claim, DirectionClaim, StatementClaim, Subject, ValueClaim
from domadapt.report import numbers
from domadapt.report.card_results import score_of
from domadapt.report.differences import BETTER, WORSE
from domadapt.report.finished_run import FinishedRun
from domadapt.report.paired import difference_between
from domadapt.report.statistics import MIN_CLUSTERS
from domadapt.report.verdict import measure_title


class Outcome(StrEnum):
    """What can be said of a claim."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    MINIATURE = "shown in miniature"
    NOT_MINIATURE = "not shown in miniature"
    NOT_TESTABLE = "not testable here"


@dataclass(frozen=True)
class Finding:
    """A claim's outcome. run: the run that decided it, "" where none could.  why: the numbers, or what is missing."""

    claim: Claim
    outcome: Outcome
    run: str
    why: str


_UNITS = {"percent": ("share", 100.0), "share": ("share", 1.0), "bits/byte": ("bits/byte", 1.0)}
"""Unit of a claim -> unit of a measure, and the factor from the measure to the claim."""


def judge(claim: Claim, runs: Sequence[FinishedRun]) -> Finding:
    """The best that the runs can say; a run under the published conditions counts before one in miniature."""
    if isinstance(claim, StatementClaim):
        return Finding(claim, Outcome.NOT_TESTABLE, "", claim.why_not)
    judged = _value_findings(claim, runs) if isinstance(claim, ValueClaim) else _order_findings(claim, runs)
    findings = list(judged)
    for good, bad in ((Outcome.REPRODUCED, Outcome.NOT_REPRODUCED), (Outcome.MINIATURE, Outcome.NOT_MINIATURE)):
        decided = [f for f in findings if f.outcome in (good, bad)]
        if decided:
            return _together(decided, bad)
    return next(iter(findings), None) or Finding(claim, Outcome.NOT_TESTABLE, "", _missing_models(claim))


def _together(findings: Sequence[Finding], bad: Outcome) -> Finding:
    """One finding of several runs: the first that fails speaks for all, so that no run is picked for its result."""
    failed = [f for f in findings if f.outcome == bad]
    told = failed[0] if failed else findings[0]
    if len(findings) == 1:
        return told
    held = f"holds in {len(findings) - len(failed)} of {len(findings)} runs; {told.run}: "
    return replace(told, run=", ".join(f.run for f in findings), why=held + told.why)


def _value_findings(claim: ValueClaim, runs: Sequence[FinishedRun]) -> Iterator[Finding]:
    for run in runs:
        if not same_setting(claim, run):
            continue
        label = _label(run, claim.model)
        if label is None:
            yield Finding(claim, Outcome.NOT_TESTABLE, "", f"run {run.name} has no model {claim.model}")
            continue
        measure = _measure(run, claim)
        score = score_of(measure, label) if measure is not None else None
        if measure is None or score is None:
            why = f"run {run.name} did not score {claim.task} ({claim.metric})"
            yield Finding(claim, Outcome.NOT_TESTABLE, "", why)
        elif claim.n is not None and score["n"] != claim.n:
            why = f"run {run.name} scored {score['n']} items of {claim.task}, not {claim.n}"
            yield Finding(claim, Outcome.NOT_TESTABLE, "", why)
        else:
            yield _compared(claim, run, measure, score)


def _compared(claim: ValueClaim, run: FinishedRun, measure: Mapping[str, Any], score: Mapping[str, Any]) -> Finding:
    unit, factor = _UNITS.get(claim.unit, ("", 1.0))
    if unit != measure["unit"] or score["low"] is None or score["high"] is None:
        why = f"run {run.name} gives {claim.task} in {measure['unit'] or 'another unit'} or without an interval"
        return Finding(claim, Outcome.NOT_TESTABLE, "", why)
    low, high = (score[name] * factor for name in ("low", "high"))
    inside = low - claim.tolerance <= claim.value <= high + claim.tolerance
    why = f"{score['value'] * factor:.4g} ({low:.4g} to {high:.4g}) here, {claim.value:g} published"
    return Finding(claim, Outcome.REPRODUCED if inside else Outcome.NOT_REPRODUCED, run.name, why)


def _measure(run: FinishedRun, claim: ValueClaim) -> Mapping[str, Any] | None:
    measures = run.data["ledger"]["measures"]
    return next((m for m in measures if (m["task"], m["metric"]) == (claim.task, claim.metric)), None)


def _order_findings(claim: DirectionClaim, runs: Sequence[FinishedRun]) -> Iterator[Finding]:
    for run in runs:
        same = same_setting(claim, run)
        patterns = claim.tasks if same else claim.miniature
        if not patterns:
            continue
        labels = [[_label(run, subject) for subject in group] for group in claim.ahead]
        subjects = [subject for group in claim.ahead for subject in group]
        lacking = [str(s) for s in subjects if _label(run, s) is None]
        if lacking:
            why = f"run {run.name} has no model {', '.join(lacking)}{_how_to_get(lacking)}"
            yield Finding(claim, Outcome.NOT_TESTABLE, "", why)
            continue
        measures = [m for m in run.data["ledger"]["measures"] if m["main"] and _matches(m, patterns)]
        if not measures:
            yield Finding(claim, Outcome.NOT_TESTABLE, "", f"run {run.name} scored none of {', '.join(patterns)}")
            continue
        yield _ordered(claim, run, [[str(label) for label in group] for group in labels], measures, same=same)


def _ordered(
    claim: DirectionClaim,
    run: FinishedRun,
    groups: Sequence[Sequence[str]],
    measures: Sequence[Mapping[str, Any]],
    *,
    same: bool,
) -> Finding:
    """Holds when every pair is shown on some measure and no measure shows the opposite of any."""
    shown, told, opposite, unclear = set(), [], [], []
    pairs = [(a, b) for first, second in pairwise(groups) for a in first for b in second]
    for measure in measures:
        for ahead, behind in pairs:
            found = difference_between(run, measure, ahead, behind)
            words = f"{ahead} against {behind} on {measure_title(measure)}: {_change(found, measure)}"
            if found["verdict"] == BETTER:
                shown.add((ahead, behind))
                told.append(words)
            elif found["verdict"] == WORSE:
                opposite.append(words)
            else:
                unclear.append(words)
    if opposite:
        held, why = False, "the opposite: " + "; ".join(opposite)
    elif shown == set(pairs):
        held, why = True, "; ".join(told)
    else:
        held, why = False, "not distinguishable: " + "; ".join(unclear)
    outcomes = (Outcome.REPRODUCED, Outcome.NOT_REPRODUCED) if same else (Outcome.MINIATURE, Outcome.NOT_MINIATURE)
    return Finding(claim, outcomes[0] if held else outcomes[1], run.name, why)


def _change(found: Mapping[str, Any], measure: Mapping[str, Any]) -> str:
    unit = numbers.unit_of(measure["unit"])
    few = f", only {found['clusters']} independent units" if found["clusters"] < MIN_CLUSTERS else ""
    return f"{numbers.change(found['value'], unit)} ({numbers.bounds(found, unit, signed=True)}{few})"


def _matches(measure: Mapping[str, Any], patterns: Sequence[str]) -> bool:
    return any(p == measure["side"] or fnmatchcase(measure["task"], p) for p in patterns)


def same_setting(claim: Claim, run: FinishedRun) -> bool:
    """Whether a run used all models that the claim names, where no text that cannot be had was needed."""
    if claim.setting.data is not None:
        return False
    section = run.recipe["model"]
    used = {"base": section["base"], "instruct": section.get("instruct"), "cpt": run.recipe["train"].get("from")}
    wanted = {role: getattr(claim.setting, role) for role in used}
    named = {role: ref for role, ref in wanted.items() if ref is not None}
    return bool(named) and all(_hub_id(used[role]) == ref for role, ref in named.items())


def _hub_id(ref: str | None) -> str | None:
    return None if ref is None else ref.removeprefix("hub:").partition("@")[0]


def _label(run: FinishedRun, subject: Subject) -> str | None:
    for model in run.data["models"]:
        if model["role"] == subject.role and subject.method in (None, model["label"], model["facts"].get("method")):
            return str(model["label"])
    return None


def _how_to_get(lacking: Sequence[str]) -> str:
    methods = [name for name in lacking if name not in ("base", "instruct", "cpt", "merged")]
    return "; run it with " + " ".join(f"--merge {m}" for m in methods) if methods else ""


def _missing_models(claim: ValueClaim | DirectionClaim) -> str:
    if isinstance(claim, DirectionClaim) and claim.miniature:
        return "no finished run of this domain here, which could show it in miniature"
    setting = claim.setting
    if setting.data is not None:
        return f"needs {setting.data}, which is not public"
    models = [ref for ref in (setting.base, setting.instruct, setting.cpt) if ref is not None]
    what = claim.task if isinstance(claim, ValueClaim) else ", ".join(claim.tasks)
    return f"no run here with {', '.join(models) or 'the published models'} (then score {what})"
