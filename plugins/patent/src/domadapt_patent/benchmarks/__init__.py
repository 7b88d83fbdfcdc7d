"""Benchmarks of the pack: lm-eval tasks on data of its own (`make.py` writes it)."""

from __future__ import annotations

from pathlib import Path

from domadapt.components import Benchmark

FOLDER = Path(__file__).parent

BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark(
        "patent_continuation",
        "How a claim or sentence of a fictional patent goes on, among four wordings",
        FOLDER,
        version="2",
    ),
    Benchmark("patent_cpc_section", "The CPC section of a patent, from its title and first claim", FOLDER),
    Benchmark("patent_claim_abstract", "Which of four abstracts of one field belongs to a first claim", FOLDER),
    Benchmark("patent_sign_cloze", "Which of four parts of a patent carries a reference sign", FOLDER),
)
