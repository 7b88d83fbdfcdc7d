"""The tables about the run: data, recipe, components, times, disk, versions, commands."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from domadapt.builtin.cleaning.decontamination import Decontamination
from domadapt.report.numbers import UNKNOWN, count, duration, size
from domadapt.report.sheets import Cell, Rows, Table

Entry = Mapping[str, Any]

MOST_STAGES = 24
"""Stages that all have a line; of more, those of one kind share one."""


def reasons(step: Entry) -> str:
    """Why documents were dropped: "too short 12, duplicate 3"."""
    dropped = sorted(step["dropped"].items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {count(number)}" for reason, number in dropped if number)


def funnel(corpus: Entry, side: str) -> Table:
    """Documents in, kept and dropped, step by step, and what steps counted besides (lines, addresses)."""
    rows: Rows = []
    for step in corpus["funnel"]:
        counts = (step["in"], step["kept"], step["in"] - step["kept"])
        tally = ", ".join(f"{what} {count(number)}" for what, number in step.get("tally", {}).items() if number)
        rows.append([step["step"], reasons(step) or UNKNOWN, tally or UNKNOWN, *map(_count, counts)])
    headers = ["step", "dropped because", "counted besides", "in", "kept", "dropped"]
    return Table(f"funnel-{side}", f"Documents of the {side} corpus", headers, headers, rows, 3)


def accounts(corpora: Entry) -> Table:
    """What became of every document that a source found; with several sources, in all too."""
    rows: Rows = []
    names = ("seen", "kept", "duplicates", "dropped")
    for side, corpus in corpora.items():
        sources = corpus["sources"]
        for one in sources:
            by_size = sorted(one["licenses"].items(), key=lambda item: -item[1]["bytes"])
            licenses = ", ".join(license or "not stated" for license, _ in by_size) or UNKNOWN
            share = Cell(percent(one["share"]), (one["share"],))
            rows.append([side, one["source"], licenses, *(_count(one[name]) for name in names), share])
        if len(sources) > 1:
            sums = (_count(sum(one[name] for one in sources)) for name in names)
            rows.append([side, "all", "", *sums, Cell(percent(1.0), (1.0,))])
    caption = "Every document: seen = kept + duplicates + dropped"
    headers = ["corpus", "source", "licences of the training text", *names, "share of training text"]
    fields = ["corpus", "source", "licenses", *names, "text_share"]
    return Table("accounts", caption, headers, fields, rows, 3, grouped=True)


def searched_items(corpora: Entry) -> Table:
    """How many of each benchmark's items were looked for in the text of the sources, and found."""
    rows: Rows = []
    for side, corpus in corpora.items():
        for step in (one for name, one in corpus["steps"].items() if name.split()[0] == Decontamination.name):
            fate = "dropped" if step["dropped"] else "kept"
            rows += [
                [side, task, fate, *(_count(numbers[name]) for name in ("items", "searchable", "found"))]
                for task, numbers in step["tasks"].items()
            ]
            rows += [[side, task, "not looked for", *(_count(None) for _ in range(3))] for task in step["unchecked"]]
    headers = ["corpus", "benchmark", "documents that hold its items", "items", "looked for", "found"]
    fields = ["corpus", "task", "documents", "items", "searchable", "found"]
    return Table("searched", "Benchmark items looked for in the sources", headers, fields, rows, 3, grouped=True)


def splits(corpora: Entry) -> Table:
    """Documents and bytes of each split."""
    names = {"train": "training", "selection": "held out, selection", "report": "held out, report"}
    rows: Rows = [
        [side, names[split], _count(corpus["documents"][split]), _size(corpus["bytes"][split])]
        for side, corpus in corpora.items()
        for split in names
    ]
    headers = ["corpus", "split", "documents", "text"]
    return Table("splits", "Splits after cleaning", headers, ["corpus", "split", "documents", "bytes"], rows, 2)


def sources(origins: Sequence[Entry]) -> Table:
    """Sources and licences of the training text."""
    rows: Rows = [
        [
            entry["side"],
            entry["source"],
            Cell(entry["license"] or "not stated", (entry["license"],)),
            _count(entry["documents"]),
            _size(entry["bytes"]),
            Cell(percent(entry["share"]), (entry["share"],)),
        ]
        for entry in origins
    ]
    headers = ["corpus", "source", "licence", "documents", "text", "share of tokens"]
    fields = ["corpus", "source", "license", "documents", "bytes", "token_share"]
    return Table("sources", "Where the training text comes from", headers, fields, rows, 3)


def mixture(plan: Entry) -> Table:
    """What was trained on."""
    rows: Rows = [
        [
            part["name"],
            _count(part["tokens"]),
            Cell(f"{count(part['windows_used'])} of {count(part['windows'])}", (part["windows_used"], part["windows"])),
            Cell(f"{part['epochs']:.2f}", (part["epochs"],)),
            _count(part.get("most_repeats")),
            Cell(share(part["share_asked"]), (part["share_asked"],)),
            Cell(share(part["share_achieved"]), (part["share_achieved"],)),
        ]
        for part in plan["parts"]
    ]
    tokens, length = count(plan["tokens"]), count(plan["seq_len"])
    caption = f"Mixture: {tokens} tokens in windows of {length}, order from seed {plan['seed']}"
    headers = ["part", "tokens", "windows used", "epochs", "most repeats", "share asked", "share achieved"]
    fields = ["part", "tokens", "windows_used", "windows", "epochs", "most_repeats", "share_asked", "share_achieved"]
    return Table("mixture", caption, headers, fields, rows)


def mixture_stages(plan: Entry) -> Table:
    """What each stage of the mixture asked, and what came; so for the stretches before and after a training stopped."""
    rows: Rows = []
    last = max(stage.get("mixture", 0) for stage in plan["stages"])
    for stage in plan["stages"]:
        length, before = stage["last"] - stage["first"], stage.get("mixture", 0) < last
        told = f"{count(stage['first'] + 1)} to {count(stage['last'])}{', before the stop' if before else ''}"
        rows += [
            [
                Cell(told, (stage["first"], stage["last"], stage.get("mixture", 0))),
                name,
                Cell(f"{part['asked']:.2f}", (part["asked"],)),
                _count(part["windows"]),
                Cell(share(part["asked"] / length), (part["asked"] / length,)),
                Cell(share(part["windows"] / length), (part["windows"] / length,)),
            ]
            for name, part in stage["parts"].items()
        ]
    headers = ["windows", "part", "windows asked", "achieved", "share asked", "achieved"]
    fields = ["first", "last", "mixture", "part", "asked", "windows", "share_asked", "share_achieved"]
    return Table("mixture-stages", "Stages of the mixture", headers, fields, rows, 2, grouped=True)


def packing(plan: Entry) -> Table:
    """Where the positions of the windows went, and what of the documents is in none."""
    lines = [(part["name"], part["packing"]) for part in plan["parts"]]
    rows: Rows = [
        [
            name,
            _count(one["documents"]),
            Cell(f"{one['tokens'] / max(1, one['documents']):.0f}", (one["tokens"] / max(1, one["documents"]),)),
            _count(one["slots"]),
            Cell(f"{count(one['padding'])} ({percent(one['padding'] / max(1, one['slots']))})", (one["padding"],)),
            _count(one["dropped"] + one["truncated"]),
            Cell(
                f"{count(one['cut_documents'])} ({percent(one['cut_documents'] / max(1, one['documents']))})",
                (one["cut_documents"],),
            ),
        ]
        for name, one in lines
    ]
    text, slots = plan["text_tokens"], plan["tokens"]
    caption = (
        f"Packing: of the {count(slots)} positions trained on, {count(text)} hold tokens of documents, the rest "
        f"({percent((slots - text) / max(1, slots))}) padding. Below, each part once"
    )
    headers = ["part", "documents", "tokens a document", "positions", "padding", "tokens in no window", "cut documents"]
    fields = ["part", "documents", "tokens_per_document", "slots", "padding", "lost", "cut_documents"]
    return Table("packing", caption, headers, fields, rows)


def share(portion: float) -> str:
    """A share with four digits: 0.1 % asked and 0.0999 % achieved are to be told apart."""
    return f"{100 * portion:.4g} %"


def percent(share: float | None) -> str:
    """A share of 1 with one decimal."""
    return UNKNOWN if share is None else f"{100 * share:.1f} %"


def models(entries: Sequence[Entry]) -> Table:
    """The models with their digests and what their makers said."""
    rows: Rows = [
        [
            m["label"],
            m["role"],
            Cell(m["digest"][:16], (m["digest"],)),
            "; ".join(f"{k} {' '.join(v.split())}" for k, v in flattened(m["facts"])),
        ]
        for m in entries
    ]
    headers = ["model", "role", "digest", "facts"]
    return Table("models", "Models", headers, headers, rows, 4)


def recipe(data: Entry) -> Table:
    """Every value of the resolved recipe and where it came from."""
    rows: Rows = [[key, value, origin_of(key, data["origins"])] for key, value in flattened(data["recipe"])]
    headers = ["key", "value", "origin"]
    return Table("recipe", "Recipe, every value with its origin", headers, headers, rows, 3)


def origin_of(key: str, origins: Mapping[str, str]) -> str:
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
    rows: Rows = [[k, v] for k, v in sorted(entries.items())]
    return Table("components", "Components", ["component", "provided by"], ["component", "provider"], rows, 2)


def ordered_stages(run_facts: Entry) -> list[tuple[str, Entry]]:
    """The stages with their times, in the order they ran."""
    return sorted(run_facts.get("stages", {}).items(), key=lambda item: item[1].get("started") or 0.0)


def grouped_stages(run_facts: Entry) -> list[tuple[str, Entry]]:
    """The stages in order; of more than MOST_STAGES those of one kind as one: all merges, the tasks of a model.

    Seconds and disk are sums, the peak is the largest, and all of them are None where none is known.
    """
    ordered = ordered_stages(run_facts)
    if len(ordered) <= MOST_STAGES:
        return ordered
    merges = {name.removeprefix("merge.") for name, _ in ordered if name.startswith("merge.")}
    groups: dict[str, list[Entry]] = {}
    for name, facts in ordered:
        kind, _, rest = name.partition(".")
        label = next((m for m in merges if rest.startswith(f"{m}.")), rest.rpartition(".")[0])
        label = label.removesuffix(".bits_per_byte")
        if kind == "eval":
            key = f"evaluation of {len(merges)} merges" if label in merges else f"evaluation of {label}"
        else:
            key = f"{len(merges)} merges" if kind == "merge" else name
        groups.setdefault(key, []).append(facts)
    return [
        (
            key,
            {
                "seconds": _reduced(sum, own, "seconds"),
                "peak_bytes": _reduced(max, own, "peak_bytes"),
                "disk_bytes": _reduced(sum, own, "disk_bytes"),
            },
        )
        for key, own in groups.items()
    ]


def _reduced(reduce: Callable[[list[float]], float], entries: Sequence[Entry], name: str) -> float | None:
    known = [entry[name] for entry in entries if entry.get(name) is not None]
    return reduce(known) if known else None


def stages(run_facts: Entry) -> Table:
    """Time, memory and disk by stage."""
    rows: Rows = [
        [
            name,
            Cell(duration(f.get("seconds")), (f.get("seconds"),)),
            _size(f.get("peak_bytes")),
            _size(f.get("disk_bytes")),
        ]
        for name, f in grouped_stages(run_facts)
    ]
    headers = ["stage", "took", "peak memory so far", "disk"]
    return Table("stages", "Stages", headers, ["stage", "seconds", "peak_bytes", "disk_bytes"], rows)


def speed(lines: Sequence[tuple[str, str, float | None]]) -> Table:
    """Speed, memory and disk: what, value as text, value."""
    rows: Rows = [[name, Cell(text, (value,))] for name, text, value in lines]
    return Table("speed", "Speed, memory, disk", ["what", "value"], ["what", "value"], rows, 2)


def versions(data: Entry) -> Table:
    """Versions of the libraries, and of the distributions that brought the components."""
    known = dict(data["run_facts"].get("versions", {}))
    for provider in data["providers"].values():
        name, _, number = provider.rpartition(" ")
        known.setdefault(name, number)
    rows: Rows = [
        [name, known[name]] for name in sorted(known, key=lambda name: (not name.startswith("domadapt"), name))
    ]
    return Table("versions", "Versions", ["library", "version"], ["library", "version"], rows, 2)


def machine(run_facts: Entry) -> Table:
    """Everything else that may differ between two equal runs: host, processor, when."""
    rest = {key: value for key, value in run_facts.items() if key not in ("stages", "versions")}
    rows: Rows = [list(pair) for pair in flattened(rest)] if rest else []
    return Table("machine", "Machine", ["fact", "value"], ["fact", "value"], rows, 2)


def commands(data: Entry) -> list[tuple[str, str]]:
    """(what it makes, command): the run as it was started, the run from its lock, and each merge by itself."""
    lines = []
    if started := data["run_facts"].get("command"):
        lines.append(("this run, as it was started", started))
    lines.append(("the same run, from its lock file", shlex.join(["adapt", "run", _lock(data)])))
    merged = [m for m in data["models"] if m["role"] == "merged"]
    lines += [(f"merge {m['label']}", merge_command(data, m)) for m in merged]
    return lines


def merge_command(data: Entry, model: Entry) -> str:
    """The command that makes one merge anew; everything before it is reused."""
    facts = model["facts"]
    words = ["adapt", "run", _lock(data), "--merge", str(facts.get("method") or model["label"])]
    if "arguments" in facts:  # of a sweep
        words += [word for argument in facts["arguments"] for word in ("--set", argument)]
        return shlex.join(words)
    for knob in ("weight", "density"):
        if isinstance(facts.get(knob), (int, float)):
            words += ["--set", f"merge.{knob}={facts[knob]}"]
    return shlex.join(words)


def _lock(data: Entry) -> str:
    return f"runs/{data['name']}/recipe.lock.yaml"


def _count(value: float | None) -> Cell:
    return Cell(count(value), (value,))


def _size(value: float | None) -> Cell:
    return Cell(size(value), (value,))
