"""`adapt card`: a model card, written from a finished run alone."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from domadapt.cli.frame import say
from domadapt.cli.preparing import runs_folder

DEFAULT_NAME = "card.md"


@click.command()
@click.argument("run")
@click.option("--model", "label", metavar="LABEL", help="Which model: cpt or a merge. Default: the report's choice.")
@click.option("--license", metavar="ID", help="The licence you give it, instead of the strictest of its inputs'.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="File to write, - for stdout. Default: card.md in the run's folder.",
)
def command(run: str, label: str | None, license: str | None, out: Path | None) -> None:
    """Write the model card of a model of RUN, ready to be the README.md of a repository on the hub.

    Where a task's items are a dataset of the hub, its score is written to `.eval_results/adapt.yaml` beside the card.
    """
    from domadapt.pipeline.store import write_file
    from domadapt.report.card import RESULTS, build_card
    from domadapt.report.finished_run import open_run

    finished = open_run(runs_folder() / run)
    card = build_card(finished, label, license)
    if out is not None and str(out) == "-":
        click.echo(card.text, nl=False)
        return
    file = out if out is not None else finished.folder / DEFAULT_NAME
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, card.text.encode())
    results = file.parent / RESULTS
    if card.results:
        results.parent.mkdir(exist_ok=True)
        write_file(results, card.results.encode())
    else:
        results.unlink(missing_ok=True)  # of an earlier card of this run
    if card.license.id == "unknown":
        say(f"licence unknown: {card.license.reason}; state yours with --license")
    click.echo(str(file))
