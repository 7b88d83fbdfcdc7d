"""The pack's own benchmarks: small local tasks in lm-eval's format, beside the scripts that make them."""

from __future__ import annotations

from pathlib import Path

from domadapt.components import Benchmark

BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark(
        "sec_continuation", "Which sentence goes on with a passage of a filing (4 choices)", Path(__file__).parent
    ),
)
