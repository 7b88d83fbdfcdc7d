"""Benchmarks of the pack: lm-eval tasks on data of its own (`make.py` writes it)."""

from __future__ import annotations

from pathlib import Path

from domadapt.components import Benchmark

BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark(
        "patent_continuation",
        "How a claim or sentence of a fictional patent goes on, among four wordings",
        Path(__file__).parent,
        version="2",
    ),
)
