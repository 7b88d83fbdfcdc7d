"""What a person sees while a run works: bars on a terminal, plain lines in a log. All of it on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from domadapt.cli.frame import plain

PLAIN_SECONDS = 15.0


class Display(Protocol):
    """Receives what the engine observes."""

    def __call__(self, stage: str, kind: str, data: Mapping[str, Any]) -> None:
        """One event of one stage."""

    def __enter__(self) -> Display: ...

    def __exit__(self, *_: object) -> None: ...


def open_display() -> Display:
    """A display that suits where stderr goes."""
    return _Bars() if sys.stderr.isatty() else _Lines()


class _Lines:
    """One line when a stage starts and ends, and one every 15 seconds in between."""

    def __init__(self) -> None:
        self._shown = 0.0
        self._first: tuple[float, float] | None = None  # when, and how far the stage was at its first progress

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def __call__(self, stage: str, kind: str, data: Mapping[str, Any]) -> None:
        if kind == "progress":
            if self._first is None:
                self._first = time.monotonic(), data["done"]
            if time.monotonic() - self._shown >= PLAIN_SECONDS:
                self._shown = time.monotonic()
                self._print(stage, f"{progress_text(data)}{_rest(data, *self._first)}")
        elif kind == "start":
            self._shown, self._first = time.monotonic(), None
            self._print(stage, f"{data['action']}: {data['reason']}")
        else:
            for line in event_lines(kind, data):
                self._print(stage, line)

    def _print(self, stage: str, text: str) -> None:
        print(f"{stage:<32} {plain(text)}", file=sys.stderr, flush=True)


class _Bars:
    """A line for each finished stage and a live bar with rate and time left for the one at work."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._console = Console(stderr=True, highlight=False, markup=False)
        self._progress = Progress(
            TextColumn("{task.fields[stage]:<32}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task: Any = None

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, stage: str, kind: str, data: Mapping[str, Any]) -> None:
        if kind == "start":
            self._drop()
            self._task = self._progress.add_task("", total=None, stage=stage, text=plain(data["reason"]))
        elif kind == "progress" and self._task is not None:
            self._progress.update(
                self._task, total=data["total"], completed=data["done"], text=plain(progress_text(data))
            )
        else:
            if kind == "done":
                self._drop()
            for line in event_lines(kind, data):
                self._console.print(f"{stage:<32} {plain(line)}")

    def _drop(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None


def progress_text(data: Mapping[str, Any]) -> str:
    """How far a stage is: "120/300 steps, loss 2.31"."""
    shown = {k: v for k, v in data.items() if k not in ("done", "total", "unit")}
    extra = "".join(f", {k} {_number(v)}" for k, v in shown.items())
    return f"{_number(data['done'])}/{_number(data['total'])} {data['unit']}{extra}"


def event_lines(kind: str, data: Mapping[str, Any]) -> list[str]:
    """The lines that an event deserves: one, none, or for a mixture in stages one for each of them too."""
    stages: Sequence[Mapping[str, Any]] = data.get("stages", ()) if kind == "mixture" else ()
    told = [_stage(one, before=one["mixture"] < stages[-1]["mixture"]) for one in stages]
    return [line for line in (event_text(kind, data), *told) if line]


def event_text(kind: str, data: Mapping[str, Any]) -> str:
    """The line an event deserves, "" for those that only the log keeps."""
    if kind == "reused":
        return f"reused: {data['reason']}"
    if kind == "done":
        return f"done in {data['seconds']:.1f} s{_summary(data['facts'])}"
    if kind == "warning":
        return f"warning: {data['message']}"
    if kind == "mixture":
        shares = (f"{p['name']} {100 * p['share_achieved']:.4g} %{_asked(p)}" for p in data["parts"])
        return f"mixture: {', '.join(shares)}"
    if kind == "packed_before":
        return "the texts are tokenised and packed already: only the order of their windows is made"
    if kind == "taken_over":
        return f"goes on where a training that began with the same windows was stopped, at step {data['step']}"
    if kind == "resumed":
        return f"continues at step {data['step']} of {data['num_steps']}"
    return ""


def _asked(part: Mapping[str, Any]) -> str:
    """What was asked of a part where it is not what came, and its passes."""
    asked, achieved = (f"{100 * part[key]:.4g}" for key in ("share_asked", "share_achieved"))
    told = "" if asked == achieved else f"asked {asked} %, "
    return f" ({told}{part['epochs']:.3g} epochs)"


def _stage(stage: Mapping[str, Any], *, before: bool) -> str:
    """What a stage of the mixture asked of each part, and what came, in windows.

    before: whether it is of a mixture that the training had before it was stopped.
    """
    parts = ", ".join(f"{name} {p['windows']} ({p['asked']:.4g} asked)" for name, p in stage["parts"].items())
    return f"  windows {stage['first'] + 1} to {stage['last']}{', before the stop' if before else ''}: {parts}"


def _summary(facts: Mapping[str, Any]) -> str:
    """What a finished stage made, from its facts."""
    if "funnel" in facts:
        documents, num_in = facts["documents"], facts["funnel"][0]["in"]
        held = documents["selection"] + documents["report"]
        return f": {num_in} documents in, {sum(documents.values())} kept, {held} of them held out"
    if "windows" in facts:
        return f": {_number(facts['tokens'])} tokens in windows of {facts['seq_len']}"
    if "steps" in facts:
        parameters = _number(facts.get("parameters", 0))
        return f": {facts['steps']} steps, {_number(facts['tokens'])} tokens, {parameters} parameters"
    return ""


def _rest(data: Mapping[str, Any], started: float, done_then: float) -> str:
    """Time left at the rate since the first progress, which leaves imports and loading out."""
    done, total, seconds = data["done"], data["total"], time.monotonic() - started
    if done <= done_then or done >= total or seconds < 1:
        return ""
    return f", about {seconds / (done - done_then) * (total - done):.0f} s left"


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
