"""`adapt status`: how far runs are, from the store and the events."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import rich_click as click
from filelock import FileLock, Timeout

from domadapt.cli.display import progress_text
from domadapt.cli.frame import console, plain, print_json
from domadapt.cli.preparing import runs_folder
from domadapt.errors import UsageError
from domadapt.pipeline.events import read_events
from domadapt.pipeline.store import is_intact


@click.command()
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(run: str | None, as_json: bool) -> None:
    """Show how far runs are. RUN: the name of one; without it, all of them."""
    root = runs_folder()
    folders = sorted(p.parent for p in root.glob("*/events.jsonl")) if run is None else [root / run]
    if run is not None and not (folders[0] / "events.jsonl").exists():
        known = ", ".join(p.parent.name for p in sorted(root.glob("*/events.jsonl"))) or "none"
        raise UsageError(f"status: there is no run {run!r} in {root}; there is {known}")
    states = [run_status(folder) for folder in folders]
    if as_json:
        print_json(states)
        return
    if not states:
        console().print(f"no runs in {root}")
    for state in states:
        _print(state)


def run_status(folder: Path) -> dict[str, Any]:
    """What is known of one run: its stages, who works on it, what happened last."""
    try:
        stages = json.loads((folder / "state.json").read_bytes()).get("stages", {})
    except (OSError, ValueError):
        stages = {}
    events, damaged = read_events(folder / "events.jsonl")
    last = events[-1] if events else {}
    done = {
        name: {k: entry[k] for k in ("seconds", "key") if k in entry}
        for name, entry in stages.items()
        if is_intact(folder / "stages" / name)
    }
    running = _is_locked(folder)
    current = last.get("stage") if last.get("kind") not in (None, "done") else None
    return {
        "run": folder.name,
        "state": "running"
        if running
        else "done"
        if (folder / "report.json").exists() and current is None
        else "stopped",
        "done": done,
        "current": current,
        "last_event": last,
        "damaged_events": damaged,
        "report": str(folder / "report.html") if (folder / "report.html").exists() else None,
    }


def _is_locked(folder: Path) -> bool:
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        with lock:
            return False
    except Timeout:
        return True


def _print(state: dict[str, Any]) -> None:
    out = console()
    out.print(f"{state['run']}: {state['state']}, {len(state['done'])} stages done")
    for name, entry in state["done"].items():
        seconds = f"{entry['seconds']:.1f} s" if "seconds" in entry else ""
        out.print(f"  {plain(name):<40} {seconds:>10}")
    event = state["last_event"]
    if state["current"] is not None:
        ago = time.time() - event["t"]
        what = progress_text(event) if event["kind"] == "progress" else event["kind"]
        if event["kind"] in ("heldout", "checkpoint"):
            what = f"{event['kind']} at step {event['step']}"
        out.print(f"  {plain(state['current']):<40} {plain(what)}, {ago:.0f} s ago")
    if state["state"] == "stopped":
        out.print("  the same `adapt run` command continues it")
    if state["report"]:
        out.print(f"  report {state['report']}", soft_wrap=True)
    if state["damaged_events"]:
        out.print(f"  {state['damaged_events']} damaged lines of events.jsonl were passed over")
