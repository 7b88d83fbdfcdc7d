"""`adapt plan`: what a run would do, and why, before anything is spent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import rich_click as click

from domadapt.cli.frame import console, plain, print_json
from domadapt.cli.preparing import Prepared, prepare, recipe_options


@click.command()
@recipe_options
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(
    recipe: Path | None,
    domain: str | None,
    merge: tuple[str, ...],
    overrides: tuple[str, ...],
    name: str | None,
    as_json: bool,
) -> None:
    """Show what `adapt run` with the same arguments would do: stages, reasons, values and their origins."""
    print_plan(prepare(recipe, domain, merge, overrides, name), [], as_json=as_json)


def print_plan(prepared: Prepared, again: Sequence[str], *, as_json: bool = False) -> None:
    """Write the plan to stdout."""
    from domadapt.recipe.lock import describe_origins

    planned = prepared.run.plan(again)
    values = describe_origins(prepared.resolved)
    if as_json:
        print_json(
            {
                "run": prepared.name,
                "stages": [
                    {"stage": p.node.name, "key": p.key, "action": p.action, "reason": p.reason, "by": list(p.node.by)}
                    for p in planned
                ],
                "values": [{"key": path, "value": value, "origin": origin} for path, value, origin in values],
            }
        )
        return
    from rich.table import Table

    stages = Table(
        "stage", "action", "why", title=f"run {prepared.name}", title_justify="left", box=None, pad_edge=False
    )
    for p in planned:
        stages.add_row(p.node.name, p.action, plain(p.reason))
    settings = Table("key", "value", "origin", title="values", title_justify="left", box=None, pad_edge=False)
    for path, value, origin in values:
        settings.add_row(plain(path), plain(str(value)), plain(origin))
    out = console()
    out.print(stages)
    out.print()
    out.print(settings)
    todo = sum(p.action != "reuse" for p in planned)
    out.print(f"\n{todo} of {len(planned)} stages to do")
