"""An experiment as tables for a terminal: differences by measure, the stability gap by curve, what was left out.

Wider than the terminal is better than a number cut in two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from domadapt.recipe.resolved import PROBES
from domadapt.report.experiment import by_measure, first_row, items_text, score_before
from domadapt.report.experiment_curves import gap_text
from domadapt.report.numbers import UNKNOWN, bounds, plain, unit_of
from domadapt.report.tables import MARKS
from domadapt.report.terminal import safe
from domadapt.report.verdict import measure_title

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Entry = Mapping[str, Any]

WIDEST = 1000
TITLES = {"cpt": "after training (CPT)", "merged": "the merge that each run chose"}


def print_experiment(data: Entry, out: Console) -> None:
    """Print both tables of differences, the stability gap, what was not compared, and whether budgets are equal."""
    for model, title in TITLES.items():
        if rows := data["models"].get(model):
            _show(out, title, _differences(data, rows, out))
    if data["gaps"]:
        _show(out, "stability gap: what was measured during training, against its start", _gaps(data, out))
        for curve in data["curves"]:
            if not curve["same_start"]:
                told = f"{curve['curve']}: not the same at the start (another start model, or other text held out)"
                out.print(safe(told), soft_wrap=True)
    for entry in data["skipped"]:
        what = f" {entry['task']}" if entry["task"] else ""
        out.print(safe(f"not compared: {entry['arm']} {entry['model']}{what}: {entry['reason']}"), soft_wrap=True)
    for arm in data["arms"]:
        if arm["unmet"]:
            out.print(safe(f"gates of {arm['arm']} that are not met: {'; '.join(arm['unmet'])}"), soft_wrap=True)
    out.print(data["budget"]["sentence"], soft_wrap=True)
    out.print(
        "differences to the first arm on the same items, 95 % intervals; ▲ better, ▼ worse, · not distinguishable, "
        f"* also after adjustment (Holm) for {data['comparisons']} comparisons",
        soft_wrap=True,
        style="dim",
    )


def _show(out: Console, title: str, table: Table) -> None:
    out.print(title, style="bold")
    out.width = max(out.width, out.measure(table, options=out.options.update(max_width=WIDEST)).maximum)
    out.print(table)
    out.print()


def _empty(out: Console, words: Sequence[str], numbers: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD if out.is_terminal else None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in words:
        table.add_column(heading, no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _differences(data: Entry, rows: Sequence[Entry], out: Console) -> Table:
    """A row an arm under each measure: score, difference to the first arm with its interval. Probes are in --json."""
    table = _empty(out, ("measure", "arm"), ("tokens", "items", "score", "difference", "95 % interval", ""))
    tokens = {arm["arm"]: UNKNOWN if arm["tokens"] is None else f"{arm['tokens']:,}" for arm in data["arms"]}
    first, *_ = tokens
    for (task, metric), found in by_measure(rows).items():
        if task == PROBES:
            continue
        any_row = first_row(found)
        unit = unit_of(any_row["unit"])
        arrow = "↑" if any_row["higher_is_better"] else "↓"
        title = safe(f"{measure_title(any_row)} {arrow}")
        if (before := score_before(data, task, metric)) is not None:
            reference, value = before
            table.add_row(title, f"({reference})", "", "", plain(value, unit), "", "", "")
            title = ""
        table.add_row(title, safe(first), tokens[first], f"{any_row['n']:,}", plain(any_row["b"], unit), "", "", "")
        for label, row in found.items():
            sure = "*" if row["p_holm"] is not None and row["p_holm"] < 0.05 else "\u00a0"
            change = plain(row["value"], unit, signed=True)
            interval = bounds(row, unit, signed=True)
            mark = f"{MARKS[row['verdict']]}{sure}"
            score = plain(row["a"], unit)
            table.add_row("", safe(label), tokens[label], items_text(row), score, change, interval, mark)
    return table


def _gaps(data: Entry, out: Console) -> Table:
    """A row an arm under each curve: depth beside its noise, where it lies, when it closed, area and gain."""
    units = {curve["curve"]: curve["unit"] for curve in data["curves"]}
    headings = ("start", "depth", "noise", "at step", "back at", "area", "gain")
    table = _empty(out, ("curve", "arm"), headings)
    table.add_column("", no_wrap=True)
    before = None
    for row in data["gaps"]:
        unit = unit_of(units.get(row["curve"], ""))
        table.add_row(
            safe(row["curve"]) if row["curve"] != before else "",
            safe(row["arm"]),
            *(plain(row[key], unit) for key in ("start", "depth")),
            plain(row["noise"], unit) if row["depth"] else UNKNOWN,
            f"{row['depth_at']:,}" if row["depth"] else UNKNOWN,
            UNKNOWN if row["recovered_at"] is None else f"{row['recovered_at']:,}",
            f"{row['area'] * unit.scale:.3g}",
            plain(row["gain"], unit, signed=True),
            gap_text(row),
        )
        before = row["curve"]
    return table
