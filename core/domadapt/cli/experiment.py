"""`adapt experiment`: several runs that differ in a few keys, and one table of what the difference does.

Each arm is an ordinary run with its own folder and report; what arms have in common (corpora, models, the evaluation
of what did not change) is made once, because stages are stored by what they are made of. Nothing is new but the table.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from domadapt.cli.frame import console, plain, print_json, say
from domadapt.cli.preparing import Prepared, prepare
from domadapt.errors import CTRL_C, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from domadapt.report.experiment import Arm


@dataclass(frozen=True)
class Planned:
    """An arm before it runs: how it is called in the table, and its run."""

    label: str
    prepared: Prepared


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
@click.option("--dry-run", is_flag=True, help="Say what would be made in each arm, run nothing.")
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
    `adapt compare` know it.

    `adapt experiment --domain sec --vary mix.replay=1:70,5:65,10:60`
    `adapt experiment full.yaml subset.yaml quality.yaml --set train.steps=500`
    """
    planned = plan_arms(recipes, domain, merge, overrides, vary, name)
    if dry_run:
        _print_plan(planned)
        return None
    arms = make_arms(planned)
    if arms is None:
        return CTRL_C
    _print(arms, as_json=as_json)
    return None


def plan_arms(
    recipes: Sequence[Path],
    domain: str | None,
    merge: Sequence[str],
    overrides: Sequence[str],
    vary: str | None,
    name: str | None,
) -> list[Planned]:
    """Check all arms before one of them runs. Raises UsageError for fewer than two, AdaptError for a wrong recipe."""
    key, values = _varied(vary) if vary is not None else ("", [""])
    arms = []
    chosen: Sequence[Path | None] = recipes or [None]
    for recipe in chosen:
        for value in values:
            setting = [f"{key}={_number(value)}"] if key else []
            prepared = prepare(recipe, domain, merge, [*overrides, *setting], None)
            parts = [recipe.stem] if recipe is not None and len(recipes) > 1 else []
            varied = [f"{key.rpartition('.')[2]}-{value}"] if key else []
            if varied or name is not None:
                begin = [name] if name is not None else [prepared.name]
                called = ".".join([*begin, *(parts if name is not None else []), *varied])
                called = re.sub(r"[^a-z0-9._-]+", "-", called.lower())
                prepared = prepare(recipe, domain, merge, [*overrides, *setting], called)
            label = " ".join([*parts, *([f"{key}={value}"] if key else [])]) or prepared.name
            arms.append(Planned(label, prepared))
    if len(arms) < 2:
        raise UsageError("experiment: one arm is no experiment; name several recipes, or give --vary KEY=VALUE,VALUE")
    names = [arm.prepared.name for arm in arms]
    if twice := next((n for n in names if names.count(n) > 1), None):
        raise UsageError(f"experiment: two arms are called {twice!r}; give their recipes different names (key 'name')")
    return arms


def _varied(text: str) -> tuple[str, list[str]]:
    key, sign, listed = text.partition("=")
    values = [value.strip() for value in listed.split(",")]
    if not (key.strip() and sign and all(values)):
        raise UsageError(f"experiment --vary: wanted KEY=VALUE,VALUE,..., came {text!r}")
    return key.strip(), values


def _number(value: str) -> str:
    """A:B as the share A/(A+B), anything else as it is."""
    match = re.fullmatch(r"([0-9]*\.?[0-9]+):([0-9]*\.?[0-9]+)", value)
    if match is None:
        return value
    part, rest = float(match[1]), float(match[2])
    if not part + rest > 0:
        raise UsageError(f"experiment --vary: {value!r} is no mixture; wanted A:B with something in it")
    return repr(part / (part + rest))


def make_arms(planned: Sequence[Planned]) -> list[Arm] | None:
    """Run one after the other; None after Ctrl-C."""
    from domadapt.cli.run import make_stages, publish_report
    from domadapt.report.experiment import open_arm

    arms = []
    for number, arm in enumerate(planned, 1):
        folder = arm.prepared.run.folder
        say(f"arm {number} of {len(planned)}: {arm.label} (run {arm.prepared.name})")
        paths = make_stages(arm.prepared, [])
        if paths is None:
            return None
        publish_report(folder, paths["report"])
        arms.append(open_arm(arm.label, folder))
    return arms


def _print_plan(planned: Sequence[Planned]) -> None:
    out = console()
    shared: set[str] = set()
    for arm in planned:
        steps = arm.prepared.run.plan()
        todo = [p.node.name for p in steps if p.action != "reuse" and p.key not in shared]
        common = sum(p.action != "reuse" and p.key in shared for p in steps)
        shared |= {p.key for p in steps}
        told = f"{plain(arm.label)} (run {arm.prepared.name}): {len(todo)} of {len(steps)} stages to make"
        out.print(told + (f", {common} shared with arms before" if common else ""), soft_wrap=True)


def _print(arms: Sequence[Arm], *, as_json: bool) -> None:
    from domadapt.report.experiment import experiment_data

    found = experiment_data(arms)
    if as_json:
        print_json(_without_nan(found))
        return
    out = console()
    for model, title in (("cpt", "after training (CPT)"), ("merged", "the merge that each run chose")):
        rows = found["models"].get(model)
        if rows:
            out.print(title, style="bold")
            table = _table(found["arms"], rows)
            # wider than the terminal is better than a number cut in two
            out.width = max(out.width, out.measure(table, options=out.options.update(max_width=1000)).maximum)
            out.print(table)
            out.print()
    for entry in found["skipped"]:
        what = f" {entry['task']}" if entry["task"] else ""
        told = f"not compared: {entry['arm']} {entry['model']}{what}: {entry['reason']}"
        out.print(plain(told), soft_wrap=True)
    tokens = {arm["tokens"] for arm in found["arms"]}
    if len(tokens) > 1:
        out.print("the arms are not of equal budget: they differ in the tokens they trained on", soft_wrap=True)
    out.print(
        "differences to the first arm on the same items, 95 % intervals; ▲ better, ▼ worse, · not distinguishable, "
        f"* also after adjustment (Holm) for {found['comparisons']} comparisons",
        soft_wrap=True,
        style="dim",
    )


def _table(arms: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> Table:
    """A row an arm under each measure: score, difference to the first arm with its interval. Probes are in --json."""
    from rich import box
    from rich.table import Table

    from domadapt.recipe.resolved import PROBES
    from domadapt.report.experiment import by_measure
    from domadapt.report.numbers import bounds, unit_of
    from domadapt.report.numbers import plain as number
    from domadapt.report.tables import MARKS
    from domadapt.report.verdict import measure_title

    table = Table(box=box.SIMPLE_HEAD if console().is_terminal else None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("measure", no_wrap=True)
    table.add_column("arm", no_wrap=True)
    for heading in ("tokens", "score", "difference", "95 % interval", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    tokens = {arm["arm"]: "–" if arm["tokens"] is None else f"{arm['tokens']:,}" for arm in arms}
    first, *_ = tokens
    for (task, _), found in by_measure(rows).items():
        if task == PROBES:
            continue
        any_row = next(iter(found.values()))
        unit = unit_of(any_row["unit"])
        arrow = "↑" if any_row["higher_is_better"] else "↓"
        table.add_row(
            plain(f"{measure_title(any_row)} {arrow}"),
            plain(first),
            tokens[first],
            number(any_row["b"], unit),
            "",
            "",
            "",
        )
        for label, row in found.items():
            sure = "*" if row["p_holm"] < 0.05 else "\u00a0"
            change = number(row["value"], unit, signed=True)
            interval = bounds(_without_nan(row), unit, signed=True)
            mark = f"{MARKS[row['verdict']]}{sure}"
            table.add_row("", plain(label), tokens[label], number(row["a"], unit), change, interval, mark)
    return table


def _without_nan(value: Any) -> Any:
    """The data with unknown numbers as null, which JSON has and NaN it has not."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
