"""The tables about models and measures: every number that a chart shows, and the ones no chart can hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from domadapt.report import numbers
from domadapt.report.ledger import BETTER, UNCLEAR, WORSE
from domadapt.report.numbers import MINUS, UNKNOWN, bounds, change, count, level, plain, unit_of
from domadapt.report.sheets import Cell, Rows, Table
from domadapt.report.verdict import measure_title

Entry = Mapping[str, Any]

MARKS = {BETTER: "▲", WORSE: "▼", UNCLEAR: "·"}


def arrow(measure: Entry) -> str:
    """Which way is better."""
    return "higher is better ↑" if measure["higher_is_better"] else "lower is better ↓"


def measure_cell(measure: Entry) -> Cell:
    """A measure's title; task and metric in the CSV."""
    return Cell(measure_title(measure), (measure["task"], measure["metric"]))


def differences(ledger: Entry) -> Table:
    """Every difference to the reference with its interval, verdict and smallest detectable effect."""
    rows: Rows = []
    for measure, score in _scores(ledger):
        if (difference := score["difference"]) is not None:
            rows.append([measure_cell(measure), score["model"], *_difference_cells(difference, measure)])
    caption = f"Paired difference to {ledger['reference']}, on the same items"
    headers, fields = ["measure", "model", *DIFFERENCE], ["task", "metric", "model", *DIFFERENCE_FIELDS]
    return Table("differences", caption, headers, fields, rows, 3, grouped=True)


DIFFERENCE = ["verdict", "difference", "95 % interval", "± s.e.", "p", "p, adjusted", "detectable", "items + / −"]
DIFFERENCE_FIELDS = [
    "verdict", "difference", "low", "high", "stderr", "p", "p_holm", "detectable", "items_gained", "items_lost",
]  # fmt: skip


def _difference_cells(difference: Entry, measure: Entry) -> list[str | Cell]:
    unit, smallest = unit_of(measure["unit"]), difference["smallest_detectable"]
    gained, lost = difference.get("gained"), difference.get("lost")
    return [
        difference["verdict"],
        Cell(change(difference["value"], unit), (difference["value"],)),
        Cell(bounds(difference, unit, signed=True), (difference["low"], difference["high"])),
        Cell(plain(difference["stderr"], unit), (difference["stderr"],)),
        Cell(p_text(difference["p"]), (difference["p"],)),
        Cell(p_text(difference["p_holm"]), (difference["p_holm"],)),
        Cell(plain(smallest, unit), (smallest,)),
        Cell(UNKNOWN if gained is None else f"{gained} / {lost}", (gained, lost)),
    ]


def scores(ledger: Entry) -> Table:
    """Every score with n, standard error and interval."""
    rows: Rows = []
    for measure, score in _scores(ledger):
        unit = unit_of(measure["unit"])
        rows.append(
            [
                measure_cell(measure),
                measure["side"],
                score["model"],
                Cell(level(score["value"], unit), (score["value"],)),
                Cell(plain(score["stderr"], unit), (score["stderr"],)),
                Cell(bounds(score, unit), (score["low"], score["high"])),
                Cell(count(score["n"]), (score["n"],)),
                Cell(count(measure["clusters"]), (measure["clusters"],)),
            ]
        )
    headers = ["measure", "side", "model", "score", "± s.e.", "95 % interval", "n", "units"]
    fields = ["task", "metric", "side", "model", "value", "stderr", "low", "high", "n", "units"]
    return Table("scores", "All scores", headers, fields, rows, 3, grouped=True)


def totals(ledger: Entry, labels: Sequence[str]) -> Table:
    """The account: sums of what each stage gained, lost and recovered over the main measures of a side and unit."""
    rows: Rows = []
    for total in ledger["totals"]:
        if total["stage"] not in labels:
            continue
        unit = unit_of(total["unit"])
        plus, minus = ("gained", "lost") if "gained" in total else ("recovered", "given_back")
        share = _share_cell(total.get("share_recovered"))
        rows.append(
            [
                total["stage"],
                total["side"],
                unit.change.strip(),
                Cell(count(total["tasks"]), (total["tasks"],)),
                *(_sum_cell(total[name], unit) for name in (plus, minus, "net")),
                share,
            ]
        )
    headers = ["stage", "side", "in", "measures", "gained or recovered", "lost or given back", "net", "of CPT's loss"]
    parts = [f"{name}{end}" for name in ("plus", "minus", "net") for end in ("", "_low", "_high")]
    fields = ["stage", "side", "unit", "measures", *parts, "share_recovered", "share_low", "share_high"]
    caption = f"The account, summed over main measures; net against {ledger['reference']}, positive is better"
    return Table("account", caption, headers, fields, rows, 3)


def _share_cell(share: Entry | None) -> Cell:
    """A share of CPT's loss with its interval."""
    known = share or dict.fromkeys(("value", "low", "high"))
    return Cell(share_text(share), (known["value"], known["low"], known["high"]))


def _sum_cell(total: Entry, unit: numbers.Unit) -> Cell:
    values = (total["value"], total["low"], total["high"])
    if not total["measures"]:
        return Cell(UNKNOWN, values)
    return Cell(f"{plain(total['value'], unit, signed=True)} ({bounds(total, unit, signed=True)})", values)


def stage_changes(ledger: Entry, labels: Sequence[str]) -> Table:
    """Per task what CPT gained or lost against the reference, and what each merge did to that."""
    measures = {(m["task"], m["metric"]): m for m in ledger["measures"]}
    rows: Rows = []
    for stage in ledger["stages"]:
        if stage["stage"] in labels:
            measure = measures[stage["task"], stage["metric"]]
            sign, unit = (1 if measure["higher_is_better"] else -1), unit_of(measure["unit"])
            ends = sorted(sign * v for k in ("low", "high") if (v := stage["change"][k]) is not None)
            low, high = ends if len(ends) == 2 else (None, None)
            value = stage["change"]["value"]
            value = None if value is None else sign * value
            rows.append(
                [
                    measure_cell(measure),
                    f"{stage['stage']} − {stage['from']}",
                    stage["kind"],
                    Cell(change(value, unit), (value,)),
                    Cell(bounds({"low": low, "high": high}, unit, signed=True), (low, high)),
                    _of(stage["recovered_items"], stage["lost_items"]),
                ]
            )
    headers = ["measure", "stage", "what", "change for the better", "95 % interval", "lost items recovered"]
    fields = ["task", "metric", "stage", "what", "change", "low", "high", "recovered_items", "lost_items"]
    caption = "Gained, lost, recovered and given back, measure by measure"
    return Table("stages-by-task", caption, headers, fields, rows, 3, grouped=True)


def _of(part: int | None, whole: int | None) -> Cell:
    return Cell(UNKNOWN if part is None else f"{part} of {whole}", (part, whole))


def controls(ledger: Entry, labels: Sequence[str]) -> Table:
    """Each drawn merge against each control arm."""
    measures = {(m["task"], m["metric"]): m for m in ledger["measures"]}
    rows: Rows = [
        [
            measure_cell(measures[c["task"], c["metric"]]),
            f"{c['merge']} − {c['control']}",
            *_difference_cells(c, measures[c["task"], c["metric"]]),
        ]
        for c in ledger["controls"]
        if c["merge"] in labels and "value" in c
    ]
    headers, fields = ["measure", "pair", *DIFFERENCE], ["task", "metric", "pair", *DIFFERENCE_FIELDS]
    return Table(
        "controls", "Merges against the control arms, on the same items", headers, fields, rows, 3, grouped=True
    )


def contamination(ledger: Entry, labels: Sequence[str]) -> Table:
    """Scores on items that occur in the text of the sources and on items that do not, of measures that have both."""
    rows: Rows = []
    for measure in ledger["measures"]:
        for subset in ("clean", "dirty"):
            part = measure[subset] or {"scores": [], "n": 0}
            for score in part["scores"]:
                if score["model"] in labels or score["difference"] is None:
                    unit, difference = unit_of(measure["unit"]), score["difference"]
                    value = difference["value"] if difference else None
                    rows.append(
                        [
                            measure_cell(measure),
                            subset,
                            score["model"],
                            Cell(count(part["n"]), (part["n"],)),
                            Cell(level(score["value"], unit), (score["value"],)),
                            Cell(change(value, unit), (value,)),
                            difference["verdict"] if difference else UNKNOWN,
                        ]
                    )
    headers = ["measure", "items", "model", "n", "score", "difference", "verdict"]
    caption = "Clean items, and dirty ones, which occur in the text of the sources"
    fields = ["task", "metric", "items", "model", "n", "score", "difference", "verdict"]
    return Table("contamination", caption, headers, fields, rows, 3, grouped=True)


def protocols(ledger: Entry) -> Table:
    """What each measure is and how it was scored."""
    rows: Rows = [[measure_cell(m), m["side"], m["unit"], arrow(m), m["protocol"]] for m in ledger["measures"]]
    headers = ["measure", "side", "unit", "direction", "protocol"]
    return Table("measures", "Measures", headers, ["task", "metric", *headers[1:]], rows, 5)


def p_text(p: float | None) -> str:
    """A p-value with the digits that mean something."""
    if p is None:
        return UNKNOWN
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.1 else f"{p:.2f}"


def share_text(share: Entry | None) -> str:
    """A share with its interval, e.g. "76 % (74 to 78)"."""
    return UNKNOWN if share is None or share["value"] is None else "{} ({})".format(*numbers.share(share))


def shares(ledger: Entry) -> Table:
    """What each merge did with CPT's change, on every measure."""
    measures = {(m["task"], m["metric"]): m for m in ledger["measures"]}
    rows: Rows = []
    for share in ledger["shares"]:
        value, interval = numbers.share(share) if share["kind"] else (UNKNOWN, UNKNOWN)
        rows.append(
            [
                measure_cell(measures[share["task"], share["metric"]]),
                share["merge"],
                share["kind"] or share["reason"],
                Cell(value, (share["value"],)),
                Cell(interval, (share["low"], share["high"])),
            ]
        )
    headers = ["measure", "merge", "what", "share", "95 % interval"]
    fields = ["task", "metric", "merge", "what", "share", "low", "high"]
    return Table("shares", "Gain kept and loss won back, by merge and measure", headers, fields, rows, 3, grouped=True)


def training_steps(training: Entry) -> Table:
    """The logged steps, as drawn."""
    names = ("step", "tokens", "loss", "grad_norm", "lr")
    rows: Rows = [[_number(s[n], whole=n in ("step", "tokens")) for n in names] for s in training["steps"]]
    caption = f"Training, {len(rows)} points of {training['num_logged']} logged steps (neighbours averaged)"
    headers = ["step", "tokens", "loss", "gradient norm", "learning rate"]
    return Table("training-steps", caption, headers, names, rows, 0)


def training_evaluations(training: Entry) -> Table:
    """Both held-out losses."""
    names = ("step", "heldout_domain", "heldout_general")
    rows: Rows = [[_number(e[n], whole=n == "step") for n in names] for e in training["evaluations"]]
    return Table("held-out", "Held-out losses, nats per token", ["step", "domain", "general"], names, rows, 0)


def probes(training: Entry) -> Table:
    """Scores on a task of the pack while training."""
    rows: Rows = [
        [
            p["task"],
            _number(p["step"], whole=True),
            _number(p["value"]),
            _number(p["stderr"]),
            _number(p["n"], whole=True),
        ]
        for p in training["probes"]
    ]
    headers = ["task", "step", "score", "± s.e.", "n"]
    return Table("probes", "Probes during training", headers, ["task", "step", "value", "stderr", "n"], rows, 1)


def _number(value: float | None, *, whole: bool = False) -> Cell:
    text = UNKNOWN if value is None else count(value) if whole else f"{value:.4g}".replace("-", MINUS)
    return Cell(text, (value,))


def slices(grid: Sequence[Entry], titles: Sequence[str]) -> Table:
    """The merges by method, weight and density with the measures that the heat maps show."""
    rows: Rows = [
        [
            entry["label"],
            entry["method"],
            _number(entry["weight"]),
            _number(entry["density"]),
            *(Cell(text, (value,)) for value, text in entry["values"]),
        ]
        for entry in grid
    ]
    headers = ["merge", "method", "weight", "density", *titles]
    return Table("slices", "Merges by their settings", headers, headers, rows, 2)


def _scores(ledger: Entry) -> Iterator[tuple[Entry, Entry]]:
    return ((measure, score) for measure in ledger["measures"] for score in measure["scores"])
