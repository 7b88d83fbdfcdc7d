"""`adapt experiment`: several runs that differ in a few keys, and one table of what the difference does.

Each arm is an ordinary run with its own folder and report; what arms have in common (corpora, models, the evaluation
of what did not change) is made once, because stages are stored by what they are made of. New are the table and a page.
An arm that fails takes none of the others with it: they are run and compared, and the command ends with its error.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os.path import commonprefix
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from domadapt.cli.frame import console, plain, print_json, say
from domadapt.cli.preparing import Prepared, prepare, runs_folder
from domadapt.errors import CTRL_C, FAILED, GATE, MISSING, AdaptError, Interrupted, StageError, UsageError

if TYPE_CHECKING:
    from domadapt.planning.estimate import Measured
    from domadapt.report.experiment import Arm, FailedArm

LONGEST_NAME = 64
"""As long as a run's name may be."""


@dataclass(frozen=True)
class Planned:
    """An arm before it runs: how it is called in the table, its run, and the value where one key alone is varied."""

    label: str
    prepared: Prepared
    value: str = ""


@dataclass(frozen=True)
class Made:
    """What became of the arms: those that finished, those that failed, and how the first of these ended."""

    arms: list[Arm]
    failed: list[FailedArm] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)


@click.command()
@click.argument("recipes", nargs=-1, type=click.Path(path_type=Path), metavar="[RECIPE]...")
@click.option("--domain", "-d", metavar="DOMAIN", help="Domain pack; alone its starter recipe is varied.")
@click.option("--merge", "-m", "merge", multiple=True, metavar="METHOD", help="Merge method of all arms.")
@click.option("--set", "-s", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one value in all arms.")
@click.option(
    "--vary",
    metavar="KEY=VALUE,VALUE,...",
    help="An arm for each value; A:B stands for the share A/(A+B), as in mix.replay=1:70,5:65,10:60.",
)
@click.option("--name", "-n", metavar="NAME", help="Beginning of the runs' names. Default: each recipe's own.")
@click.option("--dry-run", is_flag=True, help="Say the budget of each arm and what would be made, run nothing.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(
    recipes: tuple[Path, ...],
    domain: str | None,
    merge: tuple[str, ...],
    overrides: tuple[str, ...],
    vary: str | None,
    name: str | None,
    dry_run: bool,
    as_json: bool,
) -> int | None:
    """Run several recipes, or one with several values of a key, and compare all with the first.

    The same command again continues where it stopped. Every arm is a run: `adapt status`, its report and
    `adapt compare` know it. An arm that fails is named; the others are run and compared all the same.

    `adapt experiment --domain sec --vary mix.replay=1:70,5:65,10:60`
    `adapt experiment full.yaml subset.yaml quality.yaml --set train.steps=500`
    """
    _refuse_ranks()
    planned = plan_arms(recipes, domain, merge, overrides, vary, name)
    if dry_run:
        _print_plan(planned, as_json=as_json)
        return None
    made = make_arms(planned)
    if made is None:
        return CTRL_C
    if len(made.arms) > 1:
        _publish_and_print(made, experiment_name(planned), as_json=as_json)
    if made.failed:
        raise _failure(made)
    unmet = [arm.label for arm in made.arms if any(not gate["met"] for gate in arm.report.get("gates", ()))]
    if unmet:
        say(f"gates not met: {', '.join(unmet)}; see the reports of these arms")
    return GATE if unmet else None


def _refuse_ranks() -> None:
    """Raises UsageError when torchrun or srun started the command once for each rank."""
    from domadapt.builtin.launching.places import read_place

    place = read_place(os.environ)
    if place is not None and place.world_size > 1:
        raise UsageError(
            f"experiment: started {place.world_size} times, once for each rank; start it once: a training takes all "
            "GPUs of its machine by itself. Over several machines, launch each arm by itself (adapt launch)"
        )


def plan_arms(
    recipes: Sequence[Path],
    domain: str | None,
    merge: Sequence[str],
    overrides: Sequence[str],
    vary: str | None,
    name: str | None,
) -> list[Planned]:
    """Check all arms before one of them runs. Raises UsageError for fewer than two, AdaptError for a wrong recipe.

    An arm is what its recipe says from the first step on: a training that was stopped with another mixture does not go
    on with this one, as `adapt run` lets it.
    """
    key, values = _varied(vary) if vary is not None else ("", [""])
    arms = []
    chosen: Sequence[Path | None] = recipes or [None]
    for recipe in chosen:
        for value in values:
            setting = [f"{key}={_number(value)}"] if key else []
            prepared = prepare(recipe, domain, merge, [*overrides, *setting], None, anew=True)
            parts = [recipe.stem] if recipe is not None and len(recipes) > 1 else []
            varied = [f"{key.rpartition('.')[2]}-{value}"] if key else []
            if varied or name is not None:
                begin = [name] if name is not None else [prepared.name]
                called = ".".join([*begin, *(parts if name is not None else []), *varied])
                prepared = prepare(recipe, domain, merge, [*overrides, *setting], _named(called), anew=True)
            label = " ".join([*parts, *([f"{key}={value}"] if key else [])]) or prepared.name
            arms.append(Planned(label, prepared, _named(value) if key and len(chosen) == 1 else ""))
    if len(arms) < 2:
        raise UsageError("experiment: one arm is no experiment; name several recipes, or give --vary KEY=VALUE,VALUE")
    labels = [arm.label for arm in arms]
    if len(set(labels)) < len(labels):  # recipes of one file name in different folders
        arms = [replace(arm, label=arm.prepared.name) for arm in arms]
    names = [arm.prepared.name for arm in arms]
    if twice := next((n for n in names if names.count(n) > 1), None):
        raise UsageError(f"experiment: two arms are called {twice!r}; give their recipes different names (key 'name')")
    return arms


def _named(text: str) -> str:
    """As a part of a run's name."""
    return re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-")


def _varied(text: str) -> tuple[str, list[str]]:
    key, sign, listed = text.partition("=")
    # commas inside brackets belong to a value: [{until: 0.5, subset: 0.1}, {}]
    ends = [i for i, char in enumerate(listed) if char == "," and not _is_open(listed[:i])] + [len(listed)]
    values = [listed[start:end].strip() for start, end in zip([0, *(end + 1 for end in ends)], ends, strict=False)]
    if not (key.strip() and sign and all(values)):
        raise UsageError(f"experiment --vary: wanted KEY=VALUE,VALUE,..., came {text!r}")
    return key.strip(), values


def _is_open(text: str) -> bool:
    """Whether a bracket of the text is not closed."""
    return sum(map(text.count, "[{")) > sum(map(text.count, "]}"))


def _number(value: str) -> str:
    """A:B as the share A/(A+B), anything else as it is."""
    match = re.fullmatch(r"([0-9]*\.?[0-9]+):([0-9]*\.?[0-9]+)", value)
    if match is None:
        return value
    part, rest = float(match[1]), float(match[2])
    if not part + rest > 0:
        raise UsageError(f"experiment --vary: {value!r} is no mixture; wanted A:B with something in it")
    return repr(part / (part + rest))


def experiment_name(planned: Sequence[Planned]) -> str:
    """Of the arms' names: the first one's, and how the others end.

    `sec-starter.replay-1-70` and `sec-starter.replay-5-65` make `sec-starter.replay-1-70.5-65`, `gap-full` and
    `gap-subset` make `gap-full.subset`: the same arms write the same page, others another one.
    """
    names = [arm.prepared.name for arm in planned]
    common = re.sub(r"[^._-]*$", "", commonprefix(names))  # noqa: RUF071 - of letters, names are no paths
    others = [arm.value or arm.prepared.name.removeprefix(common) for arm in planned[1:]]
    name = ".".join([names[0], *others])
    if len(name) <= LONGEST_NAME:
        return name
    from hashlib import sha256

    return f"{name[: LONGEST_NAME - 9].rstrip('._-')}-{sha256(name.encode()).hexdigest()[:8]}"


def make_arms(planned: Sequence[Planned]) -> Made | None:
    """Run one after the other, past those that fail; None after Ctrl-C. Raises Interrupted when asked to stop."""
    from domadapt.report.experiment import FailedArm

    made = Made([])
    for number, arm in enumerate(planned, 1):
        say(f"arm {number} of {len(planned)}: {arm.label} (run {arm.prepared.name})")
        try:
            finished = _make(arm)
        except Interrupted:
            raise
        except Exception as error:
            told = str(error) if isinstance(error, AdaptError) else f"{type(error).__name__}: {error}"
            made.failed.append(FailedArm(arm.label, arm.prepared.name, told))
            made.errors.append(error)
            further = "; going on with the next" if number < len(planned) else ""
            say(f"arm {number} of {len(planned)} failed: {told}{further}")
            continue
        if finished is None:
            return None
        made.arms.append(finished)
    return made


def _make(arm: Planned) -> Arm | None:
    from domadapt.cli.run import make_stages, publish_report
    from domadapt.report.experiment import open_arm

    folder = arm.prepared.run.folder
    paths = make_stages(arm.prepared, [])
    if paths is None:
        return None
    publish_report(folder, paths["report"])
    return open_arm(arm.label, folder)


def _failure(made: Made) -> AdaptError:
    """What to end with: which arms failed and why, and what became of the others. Its cause is the first error."""
    told = "; ".join(f"{arm.label}: {arm.error}" for arm in made.failed)
    number, finished = len(made.failed), len(made.arms)
    others = {0: "no other is left", 1: "the one that finished has nothing to be compared with"}
    what = others.get(finished, f"the {finished} others are compared above")
    error = StageError(
        f"experiment: {number} of {number + finished} arms failed ({told}); {what}. The same command tries again what "
        "failed and makes nothing else anew"
    )
    codes = {getattr(cause, "exit_code", FAILED) for cause in made.errors}
    error.exit_code = MISSING if codes == {MISSING} else FAILED
    error.__cause__ = made.errors[0]
    return error


def _publish_and_print(made: Made, name: str, *, as_json: bool) -> None:
    from domadapt.report.experiment import experiment_data
    from domadapt.report.experiment_terminal import print_experiment

    found = experiment_data(made.arms, made.failed, name)
    page = publish_experiment(found)
    if as_json:
        print_json({**found, "page": str(page)})
        return
    out = console()
    print_experiment(found, out)
    out.print(f"\npage  {page}", soft_wrap=True)


def publish_experiment(data: Mapping[str, Any]) -> Path:
    """Write the page and its JSON into a folder beside the runs, and return the page."""
    from domadapt.pipeline.store import write_file
    from domadapt.report.build import canonical_json
    from domadapt.report.experiment import HTML_NAME, JSON_NAME
    from domadapt.report.experiment_page import render_experiment

    folder = runs_folder() / str(data["name"])
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / JSON_NAME, canonical_json(data))
    write_file(folder / HTML_NAME, render_experiment(data).encode())
    return folder / HTML_NAME


def _print_plan(planned: Sequence[Planned], *, as_json: bool) -> None:
    """What each arm spends and what of it is left to make."""
    from domadapt.planning.measured import measured_here

    runs = [arm.prepared.run for arm in planned]
    measured = next((found for run in runs if (found := measured_here(run)) is not None), None)
    shared: set[str] = set()
    budgets = []
    for arm in planned:
        steps = arm.prepared.run.plan()
        todo = [p.node.name for p in steps if p.action != "reuse" and p.key not in shared]
        common = sum(p.action != "reuse" and p.key in shared for p in steps)
        shared |= {p.key for p in steps}
        stages = {"stages": len(steps), "to_make": todo, "shared": common}
        budgets.append({"arm": arm.label, "run": arm.prepared.name, **_budget(arm.prepared, measured), **stages})
    spent = {(budget["steps"], budget["tokens"]) for budget in budgets}
    equal = None if (None, None) in spent else len(spent) == 1
    if as_json:
        print_json({"name": experiment_name(planned), "arms": budgets, "equal_budget": equal})
        return
    out = console()
    for budget in budgets:
        out.print(plain(_budget_line(budget)), soft_wrap=True)
    words = {True: "equal", False: "not equal", None: "not known before the documents are counted"}
    out.print(f"budgets of the arms: {words[equal]}", soft_wrap=True)


def _budget(prepared: Prepared, measured: Measured | None) -> dict[str, Any]:
    """Steps, tokens, FLOPs and seconds of the training of one arm, None for what cannot be known without running it."""
    from domadapt.errors import DataError, MissingError
    from domadapt.laws.planned import small_runs
    from domadapt.pipeline.fingerprints import cache_folder
    from domadapt.planning.estimate import flops_of
    from domadapt.planning.known import model_shape
    from domadapt.planning.training import training_of
    from domadapt.recipe.mixtures import num_steps, windows_per_step

    recipe, hook = prepared.resolved.recipe, prepared.resolved.loaded.registry.hook
    unknown: dict[str, Any] = dict.fromkeys(("steps", "tokens", "flops", "seconds", "measured_by", "law_tokens"))
    if recipe.train.checkpoint is not None:
        return unknown
    steps = num_steps(recipe)
    if not steps:
        return unknown
    tokens = steps * windows_per_step(recipe) * recipe.mix.seq_len
    known: dict[str, Any] = {"steps": steps, "tokens": tokens}
    if (small := small_runs(recipe)) is not None:
        known["law_tokens"] = small.tokens
    if measured is not None:
        known |= {"seconds": tokens * measured.seconds / measured.tokens, "measured_by": measured.run}
    reference = f"{recipe.model.base}@{recipe.model.revision}" if recipe.model.revision else recipe.model.base
    with contextlib.suppress(MissingError, DataError):  # the model's dimensions are not known
        shape = model_shape(reference, lambda ref: hook.adapt_resolve_model(ref=ref, cache=cache_folder()))
        known["flops"] = flops_of(training_of(recipe, prepared.resolved.backend.config, shape), tokens)
    return unknown | known


def _budget_line(budget: Mapping[str, Any]) -> str:
    from domadapt.planning.figures import span

    cost = "length not known before it runs"
    if budget["tokens"] is not None:
        cost = f"{budget['steps']:,} steps, {budget['tokens']:,} tokens"
    if budget["flops"] is not None:
        cost += f", {budget['flops']:.3g} FLOPs"
    if budget["seconds"] is not None:
        cost += f", {span(budget['seconds'])} of training at the speed of run {budget['measured_by']}"
    if budget["law_tokens"] is not None:
        cost += f", and {budget['law_tokens']:,} tokens of small runs that choose the mixture"
    todo = f"{len(budget['to_make'])} of {budget['stages']} stages to make"
    shared = f", {budget['shared']} shared with arms before" if budget["shared"] else ""
    return f"{budget['arm']} (run {budget['run']}): {cost}; {todo}{shared}"
