"""`adapt plugins`: which plugins are installed, what they give, and why one does not work.

A broken plugin is a row with its reason, not an error of this command.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from domadapt.cli import frame
from domadapt.errors import AdaptError, PluginError
from domadapt_registry import ClaimedTwice, PluginRow, Registry
from domadapt_registry.errors import suggestion

if TYPE_CHECKING:
    from rich.text import Text

    from domadapt.scaffolding import Kind


class PluginFaultError(AdaptError):
    """A plugin does not do what adapt expects of it."""


STYLES = {"ok": "green", "disabled": "dim"}
INSTALL_A_DOMAIN = "There is no working domain. To install one: pip install domadapt-sec"


@click.group("plugins", cls=click.RichGroup, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the installed plugins, what they give and what is wrong with them."""
    if ctx.invoked_subcommand is None:
        _list(as_json)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_plugins(as_json: bool) -> None:
    """List the installed plugins (what `adapt plugins` does)."""
    _list(as_json)


@command.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def show_plugin(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show one plugin in full; with `adapt --debug`, the traceback of a broken one too."""
    registry = frame.open_registry()
    rows = [row for row in registry.rows if row.name == name]
    if not rows:
        raise PluginError(f"there is no plugin '{name}'{suggestion(name, [row.name for row in registry.rows])}")
    if as_json:
        frame.print_json([_as_dict(row) for row in rows])
        return
    debug = bool(ctx.find_root().params.get("debug"))
    click.echo("\n\n".join("\n".join(_details(registry, row, debug)) for row in rows))


@command.command("new")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(["pack", "merger", "source", "evaluator", "backend"]),
    default="pack",
    show_default=True,
    help="A whole domain pack, or the smallest plugin of one kind.",
)
@click.option("--folder", type=click.Path(path_type=Path), default=Path(), help="Where to put it; default: here.")
def new_plugin(name: str, kind: Kind, folder: Path) -> None:
    """Write the files of a new plugin: it installs, passes its tests and runs as it stands.

    `adapt plugins new biology && pip install -e domadapt-biology && adapt run --domain biology`
    """
    from domadapt.scaffolding import write_plugin

    files = write_plugin(name, kind, folder)
    home = folder / f"domadapt-{name.replace('_', '-')}"
    for file in files:
        click.echo(str(file))
    run = f"adapt run --domain {name}" if kind == "pack" else f"adapt plugins show {name}"
    frame.say(f"next: pip install -e {home} && adapt plugins check {name} && {run}")


@command.command("check")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def check_plugin(name: str, as_json: bool) -> None:
    """Check everything that the author of a pack can get wrong; exit code 1 when something is."""
    from domadapt.cli.run import ENGINE_ENVIRONMENT
    from domadapt.testing.conformance import findings, plugin_row

    for variable, value in ENGINE_ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    registry = frame.open_registry()
    plugin_row(name, registry)
    found = []
    for finding in findings(name, registry):
        found.append(finding)
        if not as_json:
            mark = click.style("FAIL", fg="red") if finding.problem else click.style(" ok ", fg="green")
            click.echo(
                f"{mark} {frame.plain(finding.check)}{frame.plain(': ' + finding.problem if finding.problem else '')}"
            )
    if as_json:
        frame.print_json([asdict(finding) for finding in found])
    failed = sum(bool(finding.problem) for finding in found)
    if failed:
        raise PluginFaultError(f"plugin '{name}': {failed} of {len(found)} checks failed")
    frame.say(f"plugin '{name}': all {len(found)} checks passed")


def _list(as_json: bool) -> None:
    registry = frame.open_registry()
    if as_json:
        frame.print_json([_as_dict(row) for row in registry.rows])
        return
    _print_table(registry.rows)
    if not registry.names("domain"):
        click.echo(INSTALL_A_DOMAIN)


def _as_dict(row: PluginRow) -> dict[str, Any]:
    return {key: value for key, value in asdict(row).items() if key != "traceback"}


def _print_table(rows: tuple[PluginRow, ...]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("plugin", "version", "distribution", "state", "gives"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("plugin", "version", "state"))
    for row in rows:
        name, version, distribution = (Text(frame.plain(text)) for text in (row.name, row.version, row.distribution))
        table.add_row(name, version, distribution, Text(row.state, STYLES.get(row.state, "red")), _gives(row))
    frame.console().print(table)


def _gives(row: PluginRow) -> Text:
    """What it gives by kind, the reason of its state, the caveats of its components; each on a line of its own."""
    from rich.text import Text

    text = Text()
    for kind, names in row.gives.items():
        text.append(f"{kind}: ", "bold").append(frame.plain(", ".join(names)) + "\n")
    if row.reason:
        text.append(frame.plain(row.reason) + "\n", "" if row.state == "disabled" else "red")
    for component, caveat in row.caveats.items():
        text.append(frame.plain(f"{component}: {caveat}") + "\n", "yellow")
    text.rstrip()
    return text


def _details(registry: Registry, row: PluginRow, debug: bool) -> list[str]:
    facts = {"plugin": row.name, "state": row.state, "reason": row.reason}
    facts |= {"distribution": f"{row.distribution} {row.version}".strip(), "module": row.location or ""}
    lines = [f"{label:<13} {frame.plain(text)}" for label, text in facts.items() if text]
    for kind, names in row.gives.items():
        lines += ["", f"{kind}:"]
        lines += [f"  {_component_line(registry, row, kind, name)}" for name in names]
    if row.traceback and debug:
        lines += ["", frame.plain(row.traceback.rstrip("\n"), lines=True)]
    elif row.traceback:
        lines += ["", f"`adapt --debug plugins show {frame.plain(row.name)}` shows the traceback"]
    return lines


def _component_line(registry: Registry, row: PluginRow, kind: str, name: str) -> str:
    """Name, the first sentence of its docstring or its title, and its caveat."""
    if kind == "hooks":
        return frame.plain(name)
    singular = kind.removesuffix("s")
    try:
        component = registry.find(kind, name)
    except ClaimedTwice:
        return frame.plain(f"{name:<24} claimed twice")
    about = getattr(component, "title", "") or (getattr(component, "__doc__", "") or "").strip().split("\n")[0]
    caveat = row.caveats.get(f"{singular} {name}", "")
    return frame.plain(f"{name:<24} {about}{f' [{caveat}]' if caveat else ''}".rstrip())
