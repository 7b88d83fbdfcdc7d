"""The report as a compact table for a terminal, 80 columns and up; plain text where the output is no terminal.

Measures that do not fit beside each other continue in a further table, so no number is ever cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from domadapt.report.law import law_lines
from domadapt.report.ledger import BETTER, PERPLEXITY, WORSE
from domadapt.report.numbers import UNKNOWN, plain, unit_of
from domadapt.report.tables import MARKS, share_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Entry = Mapping[str, Any]

STYLES = {BETTER: "green", WORSE: "red"}
LABEL_WIDTH = 18
LONGEST_TASK = 24
GAP = 2


def print_report(data: Entry, console: Console) -> None:
    """Print scores by model, then what the merges kept and won back, then the verdict."""
    from rich.text import Text

    console.print(Text(f"{safe(data['name'])} · domain {safe(data['domain'])}", style="bold"))
    console.print()
    for block in _blocks(data, console.width):
        console.print(_score_table(data, block, console))
        console.print()
    if data["verdict"]["merges"]:
        console.print(_merge_table(data, console))
        console.print()
    reference = safe(data["ledger"]["reference"])
    legend = f"± standard error; {MARKS[BETTER]} better, {MARKS[WORSE]} worse than {reference}, · not distinguishable"
    console.print(Text(legend, style="dim"))
    console.print()
    console.print(Text(safe(data["verdict"]["headline"]), style="bold"))
    for sentence in data["verdict"]["sentences"]:
        console.print(Text(safe(sentence)))
    if data.get("law"):
        for line in law_lines(data["law"]):
            console.print(Text(line))
    if data["verdict"]["caution"]:
        console.print(Text(data["verdict"]["caution"], style="dim"))


def safe(text: str) -> str:
    """The text without control characters: a title must not move the cursor or colour the screen."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _blocks(data: Entry, width: int) -> Iterator[list[Entry]]:
    """The main measures in groups that fit the width, bits per byte first."""
    mains = [m for m in data["ledger"]["measures"] if m["main"]]
    mains.sort(key=lambda m: not m["task"].startswith(PERPLEXITY))
    block: list[Entry] = []
    used = LABEL_WIDTH
    for measure in mains:
        cells = [_heading(measure), *(_cell_text(score, measure) for score in measure["scores"])]
        needed = GAP + max(map(len, cells))
        if block and used + needed > width:
            yield block
            block, used = [], LABEL_WIDTH
        block.append(measure)
        used += needed
    if block:
        yield block


def _heading(measure: Entry) -> str:
    direction = "↑" if measure["higher_is_better"] else "↓"
    if measure["task"].startswith(PERPLEXITY):
        return f"{measure['side']} bits/byte {direction}"
    name = safe(measure["task"])
    shown = name if len(name) <= LONGEST_TASK else name[: LONGEST_TASK - 1] + "…"
    return " ".join(filter(None, (shown, safe(unit_of(measure["unit"]).level.strip()), direction)))


def _cell_text(score: Entry | None, measure: Entry) -> str:
    if score is None:
        return UNKNOWN
    unit, difference = unit_of(measure["unit"]), score["difference"]
    # a no-break space: an ordinary one at the end would be stripped and the column would not line up
    mark = MARKS[difference["verdict"]] if difference else "\u00a0"
    return f"{plain(score['value'], unit)} ± {plain(score['stderr'], unit)} {mark}"


def _score_table(data: Entry, measures: Sequence[Entry], console: Console) -> Any:
    from rich.text import Text

    table = _table(console)
    table.add_column("model", no_wrap=True, max_width=LABEL_WIDTH)
    for measure in measures:
        table.add_column(Text(_heading(measure)), justify="right", no_wrap=True)
    for model in data["models"]:
        chosen = model["label"] == data["verdict"]["chosen_merge"]
        cells = [_cell(next((s for s in m["scores"] if s["model"] == model["label"]), None), m) for m in measures]
        table.add_row(Text(safe(model["label"])), *cells, style="bold" if chosen else None)
    return table


def _cell(score: Entry | None, measure: Entry) -> Text:
    from rich.text import Text

    text = Text(_cell_text(score, measure))
    if score is not None and score["difference"] is not None:
        style = STYLES.get(score["difference"]["verdict"])
        if style:
            text.stylize(style, len(text) - 1)
    return text


def _merge_table(data: Entry, console: Console) -> Any:
    from rich.text import Text

    table = _table(console)
    table.add_column("merge", no_wrap=True, max_width=LABEL_WIDTH)
    for heading in ("domain gain kept", "general loss won back"):
        table.add_column(heading, justify="right", no_wrap=True)
    for merge in data["verdict"]["merges"]:
        cells = [Text(share_text(merge[name])) for name in ("kept", "won_back")]
        chosen = merge["label"] == data["verdict"]["chosen_merge"]
        table.add_row(Text(safe(merge["label"])), *cells, style="bold" if chosen else None)
    return table


def _table(console: Console) -> Any:
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False, padding=(0, GAP, 0, 0))
