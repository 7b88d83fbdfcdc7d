"""`adapt plan`: what a run would cost and do, and why, before anything is downloaded or spent."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from domadapt.cli.frame import console, plain, print_json, say
from domadapt.cli.preparing import Prepared, choose, made_ready, recipe_options
from domadapt.errors import AdaptError, DataError, MissingError

if TYPE_CHECKING:
    from domadapt.planning.estimate import Machines
    from domadapt.planning.figures import Figure
    from domadapt.recipe.check import ResolvedRecipe


@click.command()
@recipe_options
@click.option("--gpus", metavar="NxNAME", help="Plan for these, e.g. 128xH100. Default: what the recipe launches on.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="A claimed duration, to see its implied MFU.")
@click.option(
    "--mfu",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=0.4,
    show_default=True,
    help="Share of the GPUs' peak that the training is assumed to reach.",
)
@click.option(
    "--price",
    type=click.FloatRange(min=0),
    default=2.0,
    show_default=True,
    help="Dollars for a GPU and hour.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(
    recipe: Path | None,
    domain: str | None,
    merge: tuple[str, ...],
    overrides: tuple[str, ...],
    name: str | None,
    gpus: str | None,
    days: float | None,
    mfu: float,
    price: float,
    as_json: bool,
) -> None:
    """Show what `adapt run` with the same arguments would cost and do: FLOPs, days, memory, stages, values.

    Neither the models nor the documents need to be there, and nothing is downloaded.

    `adapt plan llama3-sec-70b --gpus 128xH100 --days 31`
    """
    resolved = choose(recipe, domain, merge, overrides, name)
    machines = _machines(resolved, gpus, mfu, price)
    with _offline():
        prepared, missing = _prepared(resolved)
        resolved = resolved if prepared is None else prepared.resolved
        figures, unknown = _figures(resolved, prepared, machines, days)
    if missing is not None and unknown is not None:
        raise missing
    _print(resolved, prepared, [], figures, as_json=as_json)
    for told in (missing, unknown):
        if told is not None:
            say(f"not known yet: {told}")


def print_plan(prepared: Prepared, again: Sequence[str]) -> None:
    """Write the plan of a prepared run to stdout."""
    with _offline():
        figures, _ = _figures(prepared.resolved, prepared, None, None)
    _print(prepared.resolved, prepared, again, figures, as_json=False)


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """No hub is asked: what a plan needs is here, or the plan says that it is not."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before


def _prepared(resolved: ResolvedRecipe) -> tuple[Prepared | None, AdaptError | None]:
    """The run with its stages, or what is missing for it."""
    try:
        return made_ready(resolved), None
    except MissingError as error:
        return None, error


def _figures(
    resolved: ResolvedRecipe, prepared: Prepared | None, machines: Machines | None, days: float | None
) -> tuple[list[Figure], AdaptError | None]:
    """What the training costs; none, and why, when the model's dimensions are not known."""
    from domadapt.laws.planned import small_runs
    from domadapt.pipeline.fingerprints import cache_folder
    from domadapt.planning.estimate import estimate
    from domadapt.planning.known import model_shape
    from domadapt.planning.measured import measured_here
    from domadapt.planning.mixture import mixture_figures, sizes_of
    from domadapt.planning.training import training_of

    recipe, hook = resolved.recipe, resolved.loaded.registry.hook
    if recipe.train.checkpoint is not None:
        return [], None
    revision = recipe.model.revision
    reference = f"{recipe.model.base}@{revision}" if revision else recipe.model.base
    try:
        shape = model_shape(reference, lambda ref: hook.adapt_resolve_model(ref=ref, cache=cache_folder()))
    except (MissingError, DataError) as error:
        return [], error
    training = training_of(recipe, resolved.backend.config, shape)
    run = None if prepared is None else prepared.run
    small = small_runs(recipe)
    figures = estimate(training, machines, days=days, measured=None if run is None else measured_here(run))
    mixture = list(mixture_figures(recipe, None if run is None else sizes_of(run)))
    behind = next(number for number, figure in enumerate(figures) if figure.key == "tokens") + 1
    return [*figures[:behind], *mixture, *figures[behind:], *([] if small is None else [small.figure()])], None


def _machines(resolved: ResolvedRecipe, gpus: str | None, mfu: float, price: float) -> Machines | None:
    from domadapt.planning.devices import DEVICES, parse_gpus
    from domadapt.planning.estimate import Machines

    launch = resolved.recipe.launch
    per_node = launch.gpus_per_node or 8
    if gpus is not None:
        count, device = parse_gpus(gpus)
        return Machines(count, device, per_node, mfu, price)
    if not launch.gpus_per_node:
        return None
    count = launch.nodes * launch.gpus_per_node
    return Machines(count, DEVICES["H100"], per_node, mfu, price, " (assumed; --gpus says others)")


def _print(
    resolved: ResolvedRecipe,
    prepared: Prepared | None,
    again: Sequence[str],
    figures: Sequence[Figure],
    *,
    as_json: bool,
) -> None:
    from domadapt.recipe.lock import describe_origins

    planned = prepared.run.plan(again) if prepared is not None else []
    values = describe_origins(resolved)
    called = resolved.recipe.name or resolved.recipe.domain
    if prepared is not None and prepared.told:
        say(prepared.told)
    if as_json:
        print_json(
            {
                "run": called,
                "costs": {figure.key: figure.as_json() for figure in figures},
                "stages": [
                    {"stage": p.node.name, "key": p.key, "action": p.action, "reason": p.reason, "by": list(p.node.by)}
                    for p in planned
                ],
                "values": [{"key": path, "value": value, "origin": origin} for path, value, origin in values],
            }
        )
        return
    out = console()
    if figures:
        _print_rows(f"cost of training {called}", ("what", "how much", "known by"), [
            (figure.label, figure.text, figure.how) for figure in figures
        ])  # fmt: skip
        out.print()
    if prepared is not None:
        rows = [(p.node.name, p.action, p.reason) for p in planned]
        _print_rows(f"run {called}", ("stage", "action", "why"), rows)
        out.print()
    _print_rows("values", ("key", "value", "origin"), [(path, str(value), origin) for path, value, origin in values])
    if prepared is not None:
        todo = sum(p.action != "reuse" for p in planned)
        out.print(f"\n{todo} of {len(planned)} stages to do")


def _print_rows(title: str, headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich.table import Table

    table = Table(*headings, title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(plain(cell) for cell in row))
    console().print(table)
