"""How fast a run was and what it took: tokens and floating-point operations a second, memory, disk.

Operations are counted as by `adapt plan` (`domadapt.planning.flops`), as 6 for each parameter and token where it does
not know the model's family, over the whole training stage: start-up and held-out measurements are in the time, not in
the count. MFU is the share of the rate of a large matrix product that the trainer measured on the same machine; without
that measurement none is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from domadapt.planning.flops import flops_rule_of_thumb
from domadapt.report.numbers import count, duration, size

Entry = Mapping[str, Any]
Line = tuple[str, str, float | None]


def speed_lines(data: Entry) -> list[Line]:
    """(what, value as text, value) of everything that is known."""
    stages = data["run_facts"].get("stages", {})
    timed = {name: f["seconds"] for name, f in stages.items() if f.get("seconds") is not None}
    lines: list[Line] = []
    if timed:
        lines.append(("work of all stages", duration(total := sum(timed.values())), total))
        evaluation = sum(seconds for name, seconds in timed.items() if name.startswith("eval."))
        lines.append(("of it evaluation", duration(evaluation), evaluation))
    lines += _training(data, timed.get("train"), stages.get("train", {}).get("matmul_flops"))
    peak = max((f["peak_bytes"] for f in stages.values() if f.get("peak_bytes")), default=None)
    if peak is not None:
        lines.append(("peak memory of the process", size(peak), peak))
    disk = [f["disk_bytes"] for f in stages.values() if f.get("disk_bytes") is not None]
    if disk:
        lines.append(("disk of all results", size(sum(disk)), sum(disk)))
    return lines


def _training(data: Entry, seconds: float | None, peak: float | None) -> Iterator[Line]:
    facts: Entry = next((m["facts"] for m in data["models"] if m["role"] == "cpt"), {})
    tokens, parameters = facts.get("tokens"), facts.get("parameters")
    if not seconds or not tokens or data["training"] is None:
        return
    yield "training", f"{count(tokens)} tokens in {duration(seconds)}", tokens
    yield "training speed, whole stage", f"{count(tokens / seconds)} tokens/s", tokens / seconds
    if parameters:
        per_token = data["training"].get("flops_per_token") or flops_rule_of_thumb(parameters)
        rate = tokens / seconds * per_token
        yield "training compute, whole stage", f"{_flops(rate)}/s", rate
        if peak:
            yield (
                "share of peak (MFU)",
                f"{100 * rate / peak:.3g} % of {_flops(peak)}/s in a matrix product",
                rate / peak,
            )
            return
        device = facts.get("device", "this machine")
        yield "share of peak (MFU)", f"not given: the peak of {device} is not known here", None


def _flops(rate: float) -> str:
    names = ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP")
    power = next((i for i in range(len(names)) if rate < 1000 ** (i + 1)), len(names) - 1)
    return f"{rate / 1000**power:.3g} {names[power]}"
