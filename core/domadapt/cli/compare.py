"""`adapt compare`: two runs or two models, task by task on the same items."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from domadapt.cli.frame import console, plain, print_json
from domadapt.cli.preparing import runs_folder
from domadapt.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from domadapt.report.compare import RunScores

WIDEST = 1000


@click.command()
@click.argument("a")
@click.argument("b")
@click.option(
    "--tasks", "-t", multiple=True, metavar="TASK", help="Only this task; again, or with commas, for several."
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(a: str, b: str, tasks: tuple[str, ...], as_json: bool) -> None:
    """Compare A with B on the items both were scored on: difference, interval, tests, what could be missed.

    A, B: a run (its name or folder), or one of its models as RUN:MODEL, e.g. sec:cpt sec:merge.ties sec:merged.
    """
    from domadapt.report.compare import compare_models, compare_runs, open_scores

    (run_a, model_a), (run_b, model_b) = _located(a), _located(b)
    if (model_a is None) != (model_b is None):
        whole, other = (a, b) if model_a is None else (b, a)
        raise UsageError(f"compare: {other} is a model and {whole} a whole run; name a model, {whole}:MODEL")
    if model_a is None and run_a.resolve() == run_b.resolve():
        raise UsageError(f"compare: {a} is one run; name two of its models, {a}:MODEL {b}:MODEL")
    first = open_scores(run_a)
    second = first if run_b.resolve() == run_a.resolve() else open_scores(run_b)
    if second is not first and second.name == first.name:
        second = replace(second, name=str(run_b))
    wanted = [name.strip() for part in tasks for name in part.split(",") if name.strip()]
    if model_a is None or model_b is None:
        found = compare_runs(first, second, wanted)
    else:
        found = compare_models(first, model_a, second, model_b, wanted)
    if as_json:
        from domadapt.report.numbers import without_nan

        print_json(without_nan(found))
        return
    _print(found, first, second)


def _located(text: str) -> tuple[Path, str | None]:
    """The folder of the run and the model that an argument names."""
    folders = (runs_folder(), Path())
    for name, model in ((text, None), tuple(text.rsplit(":", 1)) if ":" in text else (text, None)):
        for folder in folders:
            if name and (folder / name / "stages").is_dir():
                return folder / name, model
    known = ", ".join(sorted(p.parent.name for p in runs_folder().glob("*/stages"))) or "none"
    raise UsageError(f"compare: there is no run '{text.rsplit(':', 1)[0]}' in {runs_folder()}; there is {known}")


def _print(found: dict[str, Any], a: RunScores, b: RunScores) -> None:
    out = console()
    for pair in found["pairs"]:
        out.print(f"A  {plain(pair['a'])}\nB  {plain(pair['b'])}\n", soft_wrap=True)
        if pair["rows"]:
            table = _table(pair["rows"])
            # wider than the terminal is better than a number cut in two
            out.width = max(out.width, out.measure(table, options=out.options.update(max_width=WIDEST)).maximum)
            out.print(table)
            out.print(f"\n{_summary(pair['rows'])}", soft_wrap=True)
        for skipped in pair["skipped"]:
            name = f"{skipped['task']} ({skipped['metric']})" if skipped["metric"] else skipped["task"]
            out.print(f"not compared: {plain(name)}: {plain(skipped['reason'])}", soft_wrap=True)
        out.print()
    if found["same"]:
        out.print(f"the same model in both runs: {', '.join(map(plain, found['same']))}", soft_wrap=True)
    number = "1 comparison" if found["comparisons"] == 1 else f"{found['comparisons']} comparisons"
    out.print(
        f"A − B on the same items, 95 % intervals; p adjusted (Holm) for {number}; detectable: what such samples show "
        "in 80 % of repetitions; ▲ A better, ▼ A worse, · not distinguishable",
        soft_wrap=True,
        style="dim",
    )


def _table(rows: list[dict[str, Any]]) -> Table:
    from rich import box
    from rich.table import Table

    from domadapt.report.numbers import bounds, unit_of, without_nan
    from domadapt.report.numbers import plain as number
    from domadapt.report.tables import MARKS, p_text
    from domadapt.report.verdict import measure_title

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("measure", no_wrap=True)
    for heading in ("A", "B", "A − B", "95 % interval", "", "p", "p adj.", "detectable", "items", "units"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        unit = unit_of(row["unit"])
        # bits per byte have their unit in their name; shares are shown in percent and points
        name = measure_title(row) + (" %" if row["unit"] == "share" else "")
        table.add_row(
            plain(name),
            number(row["a"], unit),
            number(row["b"], unit),
            number(row["value"], unit, signed=True),
            bounds(without_nan(row), unit, signed=True),
            MARKS[row["verdict"]],
            p_text(row["p"]),
            p_text(row["p_holm"]),
            number(row["smallest_detectable"], unit),
            f"{row['n']:,}" if row["n"] == row["items_a"] == row["items_b"] else f"{row['n']:,} common",
            f"{row['clusters']:,}",
        )
    return table


def _summary(rows: list[dict[str, Any]]) -> str:
    """One sentence on all rows of a pair."""
    from domadapt.report.differences import BETTER, UNCLEAR, WORSE

    told = []
    for verdict in (BETTER, WORSE, UNCLEAR):
        own = [row for row in rows if row["verdict"] == verdict]
        if own:
            sure = sum(row["p_holm"] < 0.05 for row in own)
            adjusted = "" if verdict == UNCLEAR or sure == len(own) else f" ({sure} after adjustment)"
            told.append(f"{verdict} on {len(own)}{adjusted}")
    noun = "measure" if len(rows) == 1 else "measures"
    return f"Of {len(rows)} {noun}, A is {', '.join(told)}."
