"""`adapt corpus`: make the corpora of a recipe, show their accounts, and follow a document through the cleaning."""

from __future__ import annotations

import difflib
import unicodedata
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from domadapt.cli.frame import console, open_registry, plain, print_json
from domadapt.cli.preparing import prepare, recipe_options, runs_folder
from domadapt.errors import CTRL_C, UsageError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from domadapt.artifacts import Corpus
    from domadapt.pipeline.tracing import Passage, Trail

AROUND = 60
"""Characters shown on both sides of a change within a line."""
BEGINNING, WIDEST = 3, 200
"""Lines of a document shown before all steps, and most characters of each."""
STYLES = {"-": "red", "+": "green", "@": "cyan"}
FAILS = "fails: "
"""Before a rule in the tally of a quality filter: it counts every rule that a document fails."""


@click.group()
def command() -> None:
    """Make the corpora of a recipe, show their accounts, follow a document through the cleaning."""


@command.command()
@recipe_options
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def build(
    recipe: Path | None,
    domain: str | None,
    merge: tuple[str, ...],
    overrides: tuple[str, ...],
    name: str | None,
    as_json: bool,
) -> int | None:
    """Make the corpora of a recipe and nothing else; `adapt run` with the same arguments goes on from there.

    `adapt corpus build --domain sec`
    """
    from domadapt.cli.run import make_stages

    prepared = prepare(recipe, domain, merge, overrides, name)
    only = {node for node in prepared.run.graph.nodes if node.startswith("corpus.")}
    if make_stages(prepared, [], only) is None:
        return CTRL_C
    _show(prepared.name, corpus_facts(prepared.run.folder), as_json)
    return None


@command.command()
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def stats(run: str, as_json: bool) -> None:
    """Show what became of every document of RUN: by step, by source, by licence."""
    _show(run, corpus_facts(_folder(run)), as_json)


@command.command()
@click.argument("run")
@click.argument("document", required=False, metavar="[ID]")
@click.option("--side", type=click.Choice(["domain", "general"]), default="domain", help="Which corpus.")
@click.option("--step", metavar="STEP", help="Instead of an ID: the first document that this step changed or dropped.")
@click.option("--lines", type=click.IntRange(1), default=40, help="Most lines of a step's changes. Default 40.")
@click.option("--json", "as_json", is_flag=True, help="For programs: the text before and after each step.")
def peek(run: str, document: str | None, side: str, step: str | None, lines: int, as_json: bool) -> None:
    """Show a document of RUN before and after each cleaning step. Without an ID: the first one.

    The sources are read again up to that document. ID may be SOURCE:ID.

    `adapt corpus peek sec-starter --step normalize`
    """
    from domadapt.pipeline.tracing import first_touched, trace
    from domadapt.recipe.check import resolve
    from domadapt.recipe.load import load_recipe

    if step is not None and document is not None:
        raise UsageError("corpus peek: give an ID or --step, not both")
    lock = _folder(run) / "recipe.lock.yaml"
    if not lock.is_file():
        raise UsageError(f"corpus peek: {lock} is missing; repeat the run, which writes it anew")
    resolved = resolve(load_recipe(open_registry(), domain=None, path=lock, overrides=[], merge=[]))
    corpus: Any = side
    if not resolved.sources.get(corpus):
        raise UsageError(f"corpus peek: run {run} has no corpus.{side}")
    earlier = _domain_corpus(run) if side == "general" else None
    wanted = first_touched(resolved, corpus, step, earlier) if step is not None else document
    trail = trace(resolved, corpus, wanted, earlier)
    if as_json:
        print_json(_as_data(trail))
    else:
        _print_trail(trail, lines)


def _folder(run: str) -> Path:
    root = runs_folder()
    if run.startswith(".") or "/" in run or not (root / run / "events.jsonl").is_file():
        known = ", ".join(p.parent.name for p in sorted(root.glob("*/events.jsonl"))) or "none"
        raise UsageError(f"corpus: there is no run {plain(run)!r} in {root}; there is {known}")
    return root / run


def _domain_corpus(run: str) -> Corpus | None:
    """The finished corpus that the general one was compared with."""
    from domadapt.artifacts import MANIFEST, Corpus

    stage = _folder(run) / "stages" / "corpus.domain"
    return Corpus(stage) if (stage / MANIFEST).is_file() else None


def corpus_facts(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Facts of a run's finished corpora, by side. Raises UsageError when there is none."""
    from domadapt.artifacts import MANIFEST, Corpus

    found = {
        side: Corpus(stage).facts
        for side in ("domain", "general")
        if ((stage := folder / "stages" / f"corpus.{side}") / MANIFEST).is_file()
    }
    if not found:
        raise UsageError(f"corpus: {folder.name} has no finished corpus; make it with `adapt corpus build`")
    return found


def _show(run: str, facts: Mapping[str, Mapping[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json({"run": run, "corpora": facts})
        return
    out = console()
    for side, one in facts.items():
        for table in (_funnel(side, one), *([_sources(one), _licenses(one)] if "sources" in one else [])):
            out.print(table)
            out.print()


def _table(*headers: str, title: str = "") -> Table:
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for header in headers:
        numeric = header in ("in", "kept", "seen", "duplicates", "dropped", "MB", "share", "documents")
        table.add_column(header, justify="right" if numeric else "left")
    return table


def _funnel(side: str, facts: Mapping[str, Any]) -> Table:
    table = _table("step", "in", "kept", "dropped, and what else was counted", title=f"corpus.{side}")
    for step in facts["funnel"]:
        told = _told(step["dropped"])
        rules = {what.removeprefix(FAILS): n for what, n in step.get("tally", {}).items() if what.startswith(FAILS)}
        counted = {what: n for what, n in step.get("tally", {}).items() if not what.startswith(FAILS)}
        if rules != step["dropped"]:  # documents that fail several rules are dropped by the first
            told += [f"(each rule by itself: {', '.join(_told(rules))})"] if rules else []
        told += [f"({', '.join(_told(counted))})"] if any(counted.values()) else []
        table.add_row(step["step"], f"{step['in']:,}", f"{step['kept']:,}", plain(", ".join(told)))
    return table


def _told(counts: Mapping[str, int]) -> list[str]:
    return [f"{what} {count:,}" for what, count in counts.items() if count]


def _sources(facts: Mapping[str, Any]) -> Table:
    table = _table("source", "seen", "kept", "duplicates", "dropped", "MB", "share")
    rows = facts["sources"]
    for row in rows:
        size = sum(row["bytes"].values()) / 1e6
        numbers = [f"{row[key]:,}" for key in ("seen", "kept", "duplicates", "dropped")]
        table.add_row(row["source"], *numbers, f"{size:,.1f}", f"{row['share']:.1%}")
    if len(rows) > 1:
        sums = [f"{sum(row[key] for row in rows):,}" for key in ("seen", "kept", "duplicates", "dropped")]
        table.add_row("all", *sums, f"{sum(sum(row['bytes'].values()) for row in rows) / 1e6:,.1f}", "100.0%")
    return table


def _licenses(facts: Mapping[str, Any]) -> Table:
    total = facts["bytes"]["train"] or 1
    counted: dict[str, list[int]] = {}
    for row in facts["sources"]:
        for license, numbers in row["licenses"].items():
            sums = counted.setdefault(license, [0, 0])
            sums[0] += numbers["documents"]
            sums[1] += numbers["bytes"]
    table = _table("licence of training text", "documents", "MB", "share")
    for license, (documents, size) in sorted(counted.items(), key=lambda item: (-item[1][1], item[0])):
        table.add_row(plain(license) or "(not known)", f"{documents:,}", f"{size / 1e6:,.1f}", f"{size / total:.1%}")
    return table


def _as_data(trail: Trail) -> dict[str, Any]:
    steps = [{"step": p.step, "before": p.before, "after": p.after, "reason": p.reason} for p in trail.passages]
    about = {"source": trail.source, "id": trail.id, "group": trail.group, "license": trail.license}
    return {**about, "text": trail.text, "steps": steps}


def _print_trail(trail: Trail, most: int) -> None:
    out = console()
    about = f"{trail.source}:{trail.id}, group {trail.group}, licence {trail.license or 'not known'}"
    out.print(f"{plain(about)}, {len(trail.text):,} characters", style="bold", highlight=False)
    for line in trail.text.strip().split("\n")[:BEGINNING]:
        out.print(
            f"  {_visible(line[:WIDEST])}{'…' if len(line) > WIDEST else ''}",
            style="dim",
            soft_wrap=True,
            highlight=False,
        )
    for passage in trail.passages:
        told, style = _outcome(passage)
        out.print(f"\n{plain(passage.step)}: {plain(told)}", style=style, highlight=False)
        if passage.after is None or passage.after == passage.before:
            continue
        found = list(changes(passage.before, passage.after))
        for change in found[:most]:
            out.print(_painted(change), soft_wrap=True)
        if len(found) > most:
            out.print(f"... {len(found) - most:,} more lines of changes (--lines)", highlight=False)


def _outcome(passage: Passage) -> tuple[str, str]:
    """What became of a document in a step, and the style it is told in."""
    if passage.after is None:
        return f"dropped ({passage.reason})", "bold red"
    if passage.after == passage.before:
        return "unchanged", "dim"
    return f"changed, {len(passage.before):,} -> {len(passage.after):,} characters", "bold yellow"


def _painted(change: Change) -> Text:
    """A line in its colour, what changed within it reversed; what cannot be seen is spelled out there."""
    from rich.text import Text

    style, (start, end) = STYLES[change.sign], change.changed
    part = _visible(change.text[start:end])
    painted = Text(f"{change.sign} {_visible(change.text[:start])}", style)
    painted.append(part.replace(" ", "·") if part.isspace() else part, f"{style} reverse")
    return painted.append(_visible(change.text[end:]))


def _visible(text: str) -> str:
    """Text in which tabs, unusual spaces and invisible characters can be told apart."""
    unusual = ("Cc", "Cf", "Zs", "Zl", "Zp")
    told = (
        "→" if c == "\t" else c if c == " " or unicodedata.category(c) not in unusual else repr(c)[1:-1] for c in text
    )
    return plain("".join(told))


@dataclass(frozen=True)
class Change:
    """A line that went ("-") or came ("+"), or the place of a change ("@"). changed: the part of it that differs."""

    sign: str
    text: str
    changed: tuple[int, int] = (0, 0)


def changes(before: str, after: str) -> Iterator[Change]:
    """The lines that differ, old and new, each behind its place; of long ones only what is around the change."""
    old, new = before.split("\n"), after.split("\n")
    for kind, i, j, k, n in difflib.SequenceMatcher(None, old, new, autojunk=True).get_opcodes():
        if kind == "equal":
            continue
        yield Change("@", f"line {i + 1}")
        waiting = deque(new[k:n])
        for one in old[i:j]:
            if waiting and (j - i == n - k or _alike(one, waiting[0])):
                yield from _within(one, waiting.popleft())
            else:
                yield Change("-", one)
        yield from (Change("+", line) for line in waiting)


def _alike(old: str, new: str) -> bool:
    """Whether two lines share half of the shorter one, at their ends."""
    return 2 * sum(_shared(old, new)) >= min(len(old), len(new)) > 0


def _shared(old: str, new: str) -> tuple[int, int]:
    """How many characters two lines share at the beginning and, of the rest, at the end."""
    shortest = min(len(old), len(new))
    head = next((place for place in range(shortest) if old[place] != new[place]), shortest)
    tail = next((place for place in range(shortest - head) if old[-1 - place] != new[-1 - place]), shortest - head)
    return head, tail


def _within(old: str, new: str) -> Iterator[Change]:
    """Both lines without what they share far from the change."""
    head, tail = _shared(old, new)
    start, rest = max(0, head - AROUND), max(0, tail - AROUND)
    for sign, line in (("-", old), ("+", new)):
        text = f"{'…' if start else ''}{line[start : len(line) - rest]}{'…' if rest else ''}"
        offset = bool(start) - start
        yield Change(sign, text, (head + offset, len(line) - tail + offset))
