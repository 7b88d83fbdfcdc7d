"""What the sec pack gives to adapt: the domain, its sources, its benchmarks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from domadapt import hookimpl
from domadapt.components import Benchmark, DomainPack, Source
from domadapt_sec.benchmarks import BENCHMARKS
from domadapt_sec.filings import FilingsSource
from domadapt_sec.sample import SampleSource


@hookimpl
def adapt_register_domains() -> Iterable[DomainPack]:
    """The domain `sec`."""
    return [
        DomainPack("sec", "Filings to the U.S. Securities and Exchange Commission", Path(__file__).parent / "recipes")
    ]


@hookimpl
def adapt_register_sources() -> Iterable[type[Source]]:
    """`sec.filings` and `sec.sample`."""
    return [FilingsSource, SampleSource]


@hookimpl
def adapt_register_benchmarks() -> Iterable[Benchmark]:
    """The pack's tasks."""
    return BENCHMARKS
