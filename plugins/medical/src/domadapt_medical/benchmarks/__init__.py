"""The benchmarks of the pack: tasks in lm-eval's format with their data beside them."""

from __future__ import annotations

from pathlib import Path

from domadapt.components import Benchmark

_HERE = Path(__file__).parent

BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark("medical_continuation", "The next sentence of a fictional medical article, among four", _HERE),
)
