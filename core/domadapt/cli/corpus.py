"""`adapt corpus`: make the corpora of a recipe, show their accounts, and follow a document through the cleaning."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from domadapt.cli.frame import console, open_registry, plain, print_json
from domadapt.cli.preparing import prepare, recipe_options, runs_folder
from domadapt.errors import CTRL_C, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from domadapt.artifacts import Corpus
    from domadapt.pipeline.tracing import Passage, Trail

AROUND = 60
"""Characters shown on both sides of a change within a line."""
STYLES = {"-": "red", "+": "green", "@": "cyan"}


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
        told = [f"{reason} {count:,}" for reason, count in step["dropped"].items() if count]
        counted = [f"{what} {count:,}" for what, count in step.get("tally", {}).items() if count]
        also = f"{'; ' if told else ''}({', '.join(counted)})" if counted else ""
        table.add_row(step["step"], f"{step['in']:,}", f"{step['kept']:,}", plain(", ".join(told) + also))
    return table


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
    out.print(f"{plain(about)}, {len(trail.text):,} characters")
    for passage in trail.passages:
        out.print(f"\n{plain(passage.step)}: {plain(_outcome(passage))}", style="bold")
        if passage.after is None or passage.after == passage.before:
            continue
        shown = 0
        for line in changes(passage.before, passage.after):
            shown += 1
            if shown <= most:
                out.print(plain(line), style=STYLES.get(line[0]), soft_wrap=True)
        if shown > most:
            out.print(f"... {shown - most:,} more lines of changes (--lines)")


def _outcome(passage: Passage) -> str:
    if passage.after is None:
        return f"dropped ({passage.reason})"
    if passage.after == passage.before:
        return "unchanged"
    return f"changed, {len(passage.before):,} -> {len(passage.after):,} characters"


def changes(before: str, after: str) -> Iterator[str]:
    """The lines that differ, as `- old` and `+ new` under `@ line N`; of long ones only what is around the change."""
    old, new = before.split("\n"), after.split("\n")
    for kind, i, j, k, n in difflib.SequenceMatcher(None, old, new, autojunk=True).get_opcodes():
        if kind == "equal":
            continue
        yield f"@ line {i + 1}"
        if j - i == n - k:
            for one, other in zip(old[i:j], new[k:n], strict=True):
                short = _around(one, other)
                yield f"- {short[0]}"
                yield f"+ {short[1]}"
        else:
            yield from (f"- {line}" for line in old[i:j])
            yield from (f"+ {line}" for line in new[k:n])


def _around(old: str, new: str) -> tuple[str, str]:
    """Both lines without what they share far from the change."""
    shortest = min(len(old), len(new))
    head = next((place for place in range(shortest) if old[place] != new[place]), shortest)
    tail = next((place for place in range(shortest - head) if old[-1 - place] != new[-1 - place]), shortest - head)
    start, kept = max(0, head - AROUND), max(0, tail - AROUND)

    def cut(line: str) -> str:
        return f"{'…' if start else ''}{line[start : len(line) - kept]}{'…' if kept else ''}"

    return cut(old), cut(new)
