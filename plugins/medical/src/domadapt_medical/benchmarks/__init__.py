"""The benchmarks of the pack: tasks in lm-eval's format, one with its data, one on a run's held-out documents."""

from __future__ import annotations

from pathlib import Path

from domadapt.components import Benchmark

_HERE = Path(__file__).parent

BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark(
        "medical_continuation", "How a sentence of a fictional medical article goes on, among four wordings", _HERE
    ),
    Benchmark(
        "medical_sections",
        "Which part of an article a sentence is from, on held-out documents",
        _HERE,
        "medical.sections",
    ),
)
