"""`adapt report`: the report of a run, or several runs on top of each other."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path
from typing import Any

import rich_click as click

from domadapt.cli.frame import console, print_json
from domadapt.cli.preparing import runs_folder
from domadapt.errors import DataError, MissingError, UsageError
from domadapt.report.build import HTML_NAME, JSON_NAME

COMPARISON = "compare.html"


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--json", "as_json", is_flag=True, help="Print report.json, of several runs an object by name.")
@click.option("--open", "in_browser", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"Where the page of several runs is written (default: ./{COMPARISON}).",
)
def command(runs: tuple[str, ...], as_json: bool, in_browser: bool, out: Path | None) -> None:
    """Print where the report of a run is, or write a page that lays several runs over each other.

    RUN is the name of a run or its folder, or that of an experiment.

    `adapt report sec-starter --open`
    `adapt report sec-a sec-b --out compare.html`
    """
    if len(runs) == 1 and (experiment := _experiment(runs[0])) is not None:
        _show_experiment(experiment, as_json=as_json, in_browser=in_browser)
        return
    folders = [run_folder(run) for run in runs]
    reports = [read_report(folder) for folder in folders]
    if out is not None and len(runs) == 1:
        raise UsageError("report: --out is for the page of several runs; the report of one is in its folder")
    named = dict(zip(_names(folders), reports, strict=True))
    if as_json:
        print_json(reports[0] if len(runs) == 1 else named)
        return
    page = _own_page(folders[0], reports[0]) if len(runs) == 1 else _overlay(named, out or Path(COMPARISON))
    console().print(str(page), soft_wrap=True)
    if in_browser:
        webbrowser.open(page.resolve().as_uri())


def _experiment(name: str) -> Path | None:
    """The page of an experiment given by its name or its folder."""
    from domadapt.report.experiment import HTML_NAME as PAGE

    pages = (folder / PAGE for folder in (runs_folder() / name, Path(name)))
    return next((page for page in pages if page.is_file()), None)


def _show_experiment(page: Path, *, as_json: bool, in_browser: bool) -> None:
    from domadapt.report.experiment import JSON_NAME as DATA

    if as_json:
        print_json(json.loads((page.parent / DATA).read_bytes()))
        return
    console().print(str(page), soft_wrap=True)
    if in_browser:
        webbrowser.open(page.resolve().as_uri())


def run_folder(run: str) -> Path:
    """The folder of a run given by its name or its path. Raises UsageError when there is no report in it."""
    root = runs_folder()
    for folder in (root / run, Path(run)):
        if (folder / JSON_NAME).is_file():
            return folder
    known = ", ".join(sorted(p.parent.name for p in root.glob(f"*/{JSON_NAME}"))) or "none"
    raise UsageError(
        f"report: there is no finished run {run!r} in {root}; there is {known}. `adapt status` shows how far runs are"
    )


def read_report(folder: Path) -> dict[str, Any]:
    """report.json of a run. Raises DataError when it is damaged or of another version."""
    file = folder / JSON_NAME
    try:
        data = json.loads(file.read_bytes())
    except ValueError as error:
        raise DataError(f"{file}: damaged ({error}); run the same `adapt run` command again") from None
    if not isinstance(data, dict) or data.get("schema") != 1 or "changed_items" not in data:
        raise DataError(f"{file}: written by another version of adapt; run the same `adapt run` command again")
    return data


def _names(folders: list[Path]) -> list[str]:
    """What to call the runs: their folders' names, with their place where two are alike."""
    names = [folder.resolve().name for folder in folders]
    return [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names, 1)]


def _own_page(folder: Path, data: dict[str, Any]) -> Path:
    page = folder / HTML_NAME
    if not page.is_file():
        from domadapt.report.page import render_page

        _write(page, render_page(data))
    return page


def _overlay(named: dict[str, Any], out: Path) -> Path:
    from domadapt.report.overlay import render_overlay

    _write(out, render_overlay(named))
    return out


def _write(page: Path, html: str) -> None:
    from domadapt.pipeline.store import write_file

    try:
        write_file(page, html.encode())
    except OSError as error:
        raise MissingError(f"report: {page} cannot be written ({error.strerror})") from None
