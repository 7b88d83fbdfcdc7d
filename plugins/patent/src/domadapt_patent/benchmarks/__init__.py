"""Benchmarks of the pack: lm-eval tasks on data of its own (`make.py` writes it)."""

from __future__ import annotations

from pathlib import Path

from domadapt.components import Benchmark

BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark("patent_continuation", "Endings of patent passages, four choices", Path(__file__).parent),
)
