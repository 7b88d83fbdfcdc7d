"""The tables of the page: every number that a chart shows, and the ones no chart can hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domadapt.report import numbers
from domadapt.report.ledger import BETTER, UNCLEAR, WORSE
from domadapt.report.numbers import MINUS, UNKNOWN, bounds, change, count, duration, level, plain, size, unit_of
from domadapt.report.verdict import measure_title

Entry = Mapping[str, Any]

MARKS = {BETTER: "▲", WORSE: "▼", UNCLEAR: "·"}


@dataclass(frozen=True)
class Table:
    """Text cells by row; `numeric` are the columns set in tabular figures at the right edge."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[int] = field(default_factory=frozenset)


def _table(caption: str, headers: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> Table:
    return Table(caption, headers, rows, frozenset(range(text_columns, len(headers))))


def arrow(measure: Entry) -> str:
    """Which way is better."""
    return "higher is better ↑" if measure["higher_is_better"] else "lower is better ↓"


def differences(ledger: Entry) -> Table:
    """Every difference to the reference with its interval, verdict and smallest detectable effect."""
    rows = []
    for measure, score in _scores(ledger):
        difference = score["difference"]
        if difference is None:
            continue
        unit = unit_of(measure["unit"])
        rows.append(
            [
                measure_title(measure),
                score["model"],
                difference["verdict"],
                change(difference["value"], unit),
                bounds(difference, unit, signed=True),
                plain(difference["stderr"], unit),
                p_text(difference["p"]),
                p_text(difference["p_holm"]),
                plain(difference["smallest_detectable"], unit),
            ]
        )
    headers = ["measure", "model", "verdict", "difference", "95 % interval", "± s.e.", "p", "p, adjusted", "detectable"]
    return _table(f"Paired difference to {ledger['reference']}, on the same items", headers, rows, 3)


def scores(ledger: Entry) -> Table:
    """Every score with n, standard error, interval and smallest detectable effect."""
    rows = []
    for measure, score in _scores(ledger):
        unit, difference = unit_of(measure["unit"]), score["difference"]
        rows.append(
            [
                measure_title(measure),
                measure["side"],
                score["model"],
                level(score["value"], unit),
                plain(score["stderr"], unit),
                bounds(score, unit),
                count(score["n"]),
                count(measure["clusters"]),
                plain(difference["smallest_detectable"], unit) if difference else UNKNOWN,
            ]
        )
    headers = ["measure", "side", "model", "score", "± s.e.", "95 % interval", "n", "units", "detectable"]
    return _table("All scores", headers, rows, 3)


def protocols(ledger: Entry) -> Table:
    """What each measure is and how it was scored."""
    rows = [[measure_title(m), m["side"], m["unit"], arrow(m), m["protocol"]] for m in ledger["measures"]]
    return _table("Measures", ["measure", "side", "unit", "direction", "protocol"], rows, 5)


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
    rows = [
        [
            share["merge"],
            measure_title(measures[share["task"], share["metric"]]),
            share["kind"] or share["reason"],
            *(numbers.share(share) if share["kind"] else (UNKNOWN, UNKNOWN)),
        ]
        for share in ledger["shares"]
    ]
    headers = ["merge", "measure", "what", "share", "95 % interval"]
    return _table("Gain kept and loss won back, by merge and measure", headers, rows, 3)


def training_steps(training: Entry) -> Table:
    """The logged steps, as drawn."""
    rows = [
        [count(s["step"]), count(s["tokens"]), _short(s["loss"]), _short(s["grad_norm"]), _short(s["lr"])]
        for s in training["steps"]
    ]
    caption = f"Training, {len(rows)} points of {training['num_logged']} logged steps (neighbours averaged)"
    return _table(caption, ["step", "tokens", "loss", "gradient norm", "learning rate"], rows, 0)


def training_evaluations(training: Entry) -> Table:
    """Both held-out losses."""
    rows = [
        [count(e["step"]), _short(e["heldout_domain"]), _short(e["heldout_general"])] for e in training["evaluations"]
    ]
    return _table("Held-out losses, nats per token", ["step", "domain", "general"], rows, 0)


def _short(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.4g}".replace("-", MINUS)


def reasons(step: Entry) -> str:
    """Why documents were dropped: "too short 12, duplicate 3"."""
    dropped = sorted(step["dropped"].items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {count(number)}" for reason, number in dropped)


def funnel(corpus: Entry, side: str) -> Table:
    """Documents in, kept and dropped, step by step."""
    rows = []
    for step in corpus["funnel"]:
        counts = (step["in"], step["kept"], step["in"] - step["kept"])
        rows.append([step["step"], reasons(step) or UNKNOWN, *map(count, counts)])
    return _table(f"Documents of the {side} corpus", ["step", "dropped because", "in", "kept", "dropped"], rows, 2)


def splits(corpora: Entry) -> Table:
    """Documents and bytes of each split."""
    names = {"train": "training", "selection": "held out, selection", "report": "held out, report"}
    rows = [
        [side, names[split], count(corpus["documents"][split]), size(corpus["bytes"][split])]
        for side, corpus in corpora.items()
        for split in names
    ]
    return _table("Splits after cleaning", ["corpus", "split", "documents", "text"], rows, 2)


def mixture(plan: Entry) -> Table:
    """What was trained on."""
    rows = [
        [
            part["name"],
            count(part["tokens"]),
            f"{count(part['windows_used'])} of {count(part['windows'])}",
            f"{part['epochs']:.2f}",
            _percent1(part["share_asked"]),
            _percent1(part["share_achieved"]),
        ]
        for part in plan["parts"]
    ]
    caption = f"{count(plan['tokens'])} tokens in windows of {count(plan['seq_len'])}, order from seed {plan['seed']}"
    return _table(caption, ["part", "tokens", "windows used", "epochs", "share asked", "share achieved"], rows)


def _percent1(share: float | None) -> str:
    return UNKNOWN if share is None else f"{100 * share:.1f} %"


def models(entries: Sequence[Entry]) -> Table:
    """The models with their digests and what their makers said."""
    rows = [
        [m["label"], m["role"], m["digest"][:16], "; ".join(f"{k} {v}" for k, v in flattened(m["facts"]))]
        for m in entries
    ]
    return _table("Models", ["model", "role", "digest", "facts"], rows, 4)


def recipe(data: Entry) -> Table:
    """Every value of the resolved recipe and where it came from."""
    rows = [[key, value, _origin(key, data["origins"])] for key, value in flattened(data["recipe"])]
    return _table("Recipe, every value with its origin", ["key", "value", "origin"], rows, 3)


def _origin(key: str, origins: Mapping[str, str]) -> str:
    """The origin of a value, else of the nearest section or list that holds it."""
    parts = key.split(".")
    for end in range(len(parts), 0, -1):
        if (found := origins.get(".".join(parts[:end]))) is not None:
            return found
    return UNKNOWN


def flattened(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, value as text) of nested data; list items are numbered, short lists of words stay one value."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from flattened(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and any(isinstance(item, (Mapping, list)) for item in value):
        for i, item in enumerate(value):
            yield from flattened(item, f"{key}.{i}")
    else:
        yield key, _written(value)


def _written(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(_written, value)) or "none"
    return "none" if value == {} else f"{value}"


def providers(entries: Mapping[str, str]) -> Table:
    """Which component of which distribution did the work."""
    return _table("Components", ["component", "provided by"], [[k, v] for k, v in sorted(entries.items())], 2)


def ordered_stages(run_facts: Entry) -> list[tuple[str, Entry]]:
    """The stages with their times, in the order they ran."""
    return sorted(run_facts.get("stages", {}).items(), key=lambda item: item[1].get("started") or 0.0)


def stages(run_facts: Entry) -> Table:
    """Time and memory by stage."""
    rows = [[name, duration(f.get("seconds")), size(f.get("peak_bytes"))] for name, f in ordered_stages(run_facts)]
    return _table("Stages", ["stage", "took", "peak memory"], rows)


def other_run_facts(run_facts: Entry) -> Table:
    """Everything else that may differ between two equal runs: host, memory, versions."""
    rest = {key: value for key, value in run_facts.items() if key != "stages"}
    return _table("Machine", ["fact", "value"], [list(pair) for pair in flattened(rest)] if rest else [], 2)


def _scores(ledger: Entry) -> Iterator[tuple[Entry, Entry]]:
    return ((measure, score) for measure in ledger["measures"] for score in measure["scores"])
