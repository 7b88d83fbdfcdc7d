"""`adapt sweep`: run up to the sweep and print the front; nothing is merged on disk, evaluated or reported.

What it makes is the run's own: `adapt run` with the same settings goes on from there, merges the chosen candidate and
reports it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from domadapt.cli.frame import console, plain, print_json
from domadapt.cli.preparing import Prepared, prepare, recipe_options
from domadapt.errors import CTRL_C, UsageError

if TYPE_CHECKING:
    from rich.table import Table

DEFAULT_METHODS = ("ties", "slerp", "dare_linear")
DEFAULT_WEIGHTS, DEFAULT_DENSITIES = ".1,.3,.5,.7,.9", ".3,.6,.9"
"""What is swept when neither the recipe nor the command line says so: 35 candidates."""


@click.command()
@recipe_options
@click.option("--methods", metavar="LIST", help="Merge methods, e.g. ties,slerp (as --merge).")
@click.option("--weight", metavar="LIST", help="Weights of the CPT model, e.g. .3,.5,.7; for cma the range.")
@click.option("--density", metavar="LIST", help="Densities of methods that have one, e.g. .5,.9; for cma the range.")
@click.option("--search", type=click.Choice(["grid", "cma"]), help="All combinations, or a search by CMA-ES.")
@click.option("--budget", type=click.IntRange(1), help="Most candidates.")
@click.option("--all", "show_all", is_flag=True, help="Print every candidate, not the front alone.")
@click.option("--json", "as_json", is_flag=True, help="For programs: all candidates.")
def command(
    recipe: Path | None,
    domain: str | None,
    merge: tuple[str, ...],
    overrides: tuple[str, ...],
    name: str | None,
    methods: str | None,
    weight: str | None,
    density: str | None,
    search: str | None,
    budget: int | None,
    show_all: bool,
    as_json: bool,
) -> int | None:
    """Score many merges in memory, on the selection split, and print the front of domain against general.

    What comes before is made or reused. Interrupted and started again, it goes on with the same front.

    `adapt sweep --domain sec`
    `adapt sweep --domain sec --methods ties,slerp --weight .3,.5,.7 --density .5,.9`
    `adapt sweep my.yaml --search cma --budget 64`
    """
    settings = [*overrides, *_settings(weight, density, search, budget)]
    chosen = [*merge, *_listed(methods, "--methods")]
    prepared = prepare(recipe, domain, chosen, settings, name)
    if prepared.resolved.sweep is None:
        if weight or density or search:
            raise UsageError("sweep: one candidate is no sweep; give several values to --weight or --density")
        given = prepared.resolved.mergers.values() if chosen else ()
        takes_density = not given or any("density" in type(choice.config).model_fields for choice in given)
        settings += _settings(DEFAULT_WEIGHTS, DEFAULT_DENSITIES if takes_density else None, None, None)
        prepared = prepare(recipe, domain, chosen or DEFAULT_METHODS, settings, name)
    code = _execute(prepared)
    if code is not None:
        return code
    _print(prepared, show_all=show_all, as_json=as_json)
    return None


def _listed(text: str | None, option: str) -> list[str]:
    if text is None:
        return []
    entries = [entry.strip() for entry in text.split(",")]
    if not all(entries):
        raise UsageError(f"sweep {option}: wanted values separated by commas, came {text!r}")
    return entries


def _settings(weight: str | None, density: str | None, search: str | None, budget: int | None) -> list[str]:
    """What the options say, for --set."""
    settings = []
    for key, text in (("weight", weight), ("density", density)):
        if text is not None:
            settings.append(f"merge.{key}=[{', '.join(_numbers(text, f'--{key}'))}]")
    settings += [f"merge.search={search}"] if search else []
    return settings + ([f"merge.budget={budget}"] if budget else [])


def _numbers(text: str, option: str) -> list[str]:
    """Numbers as YAML takes them (.3 is one, 3e-1 is not)."""
    entries = _listed(text, option)
    try:
        return [repr(float(entry)) for entry in entries]
    except ValueError:
        raise UsageError(f"sweep {option}: wanted numbers separated by commas, came {text!r}") from None


def _execute(prepared: Prepared) -> int | None:
    """Run what the sweep needs."""
    from domadapt.cli.run import make_stages

    return CTRL_C if make_stages(prepared, [], only=_needed(prepared, "sweep")) is None else None


def _needed(prepared: Prepared, stage: str) -> set[str]:
    """A stage and all that it follows from."""
    nodes = prepared.run.graph.nodes
    needed = {stage}
    for name in reversed(list(nodes)):
        if name in needed:
            needed |= {source for source in nodes[name].inputs.values() if source in nodes}
    return needed


def sweep_of(prepared: Prepared) -> dict[str, Any]:
    """The sweep of a run, as the report shows it."""
    from domadapt.artifacts import Sweep
    from domadapt.report.sweep import sweep_data

    run, plan = prepared.run, prepared.resolved.sweep
    assert plan is not None
    sweep = Sweep(run.store.path("sweep", run.graph.keys["sweep"]))
    return sweep_data(sweep.data, plan.select_by, prepared.name)


def _print(prepared: Prepared, *, show_all: bool, as_json: bool) -> None:
    data = sweep_of(prepared)
    if as_json:
        print_json(data)
        return
    out = console()
    candidates = data["candidates"]
    shown = candidates if show_all else [c for c in candidates if c["front"] or c["chosen"]]
    documents = data["documents"]
    out.print(
        f"{len(candidates)} candidates, bits per byte on the selection split ({documents['domain']} domain, "
        f"{documents['general']} general documents); no task and no reported document plays a part"
    )
    out.print()
    out.print(sweep_table(data["anchors"], sorted(shown, key=lambda c: c["domain"]["value"])))
    vetoed = sum(c["vetoed"] for c in candidates)
    if vetoed:
        out.print(f"{vetoed} vetoed: they no longer answer prompts and end as the instruct model does")
    chosen = next((c for c in candidates if c["chosen"]), None)
    if chosen is None:
        out.print(f"\nnone can be chosen by the rule: {data['rule']}")
        return
    out.print(f"\nchosen: {plain(chosen['label'])} ({data['rule']})", soft_wrap=True)
    lock = shlex.join(["adapt", "run", str(prepared.run.folder / "recipe.lock.yaml")])
    out.print(f"merge, evaluate and report it: {lock}", soft_wrap=True)
    out.print(
        f"the same merge by itself: {chosen['command']} (--json has the command of every candidate)", soft_wrap=True
    )


def sweep_table(anchors: Sequence[Mapping[str, Any]], candidates: Sequence[Mapping[str, Any]]) -> Table:
    """Candidates with scores ± standard error, the change to the instruct model, and how sure their place is."""
    from rich import box
    from rich.table import Table

    from domadapt.report.numbers import plain as number
    from domadapt.report.numbers import unit_of
    from domadapt.report.sweep import SIDES

    unit = unit_of("bits/byte")
    table = Table(box=box.SIMPLE_HEAD if console().is_terminal else None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("model")
    for heading in ("domain ↓", "general ↓", "Δ general", "front"):
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in [*anchors, *candidates]:
        change = entry["general"]["change"]
        mark = "vetoed" if entry.get("vetoed") else _share(entry.get("front_share"))
        table.add_row(
            plain(entry["label"]),
            *(f"{number(entry[side]['value'], unit)} ± {number(entry[side]['stderr'], unit)}" for side in SIDES),
            number(change["value"], unit, signed=True),
            mark,
            style="bold" if entry.get("chosen") else None,
        )
    return table


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
