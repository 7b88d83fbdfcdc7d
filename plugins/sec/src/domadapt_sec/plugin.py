"""What the sec pack gives to adapt: the domain, its sources, its benchmarks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from domadapt import hookimpl
from domadapt.components import Benchmark, DomainPack, Source
from domadapt_sec.benchmarks import BENCHMARKS
from domadapt_sec.edgar.source import EdgarSource
from domadapt_sec.filings import FilingsSource
from domadapt_sec.sample import SampleSource

FOLDER = Path(__file__).parent


@hookimpl
def adapt_register_domains() -> Iterable[DomainPack]:
    """The domain `sec`."""
    title = "Filings to the U.S. Securities and Exchange Commission"
    return [DomainPack("sec", title, FOLDER / "recipes", FOLDER / "claims.yaml")]


@hookimpl
def adapt_register_sources() -> Iterable[type[Source]]:
    """`sec.edgar`, `sec.filings` and `sec.sample`."""
    return [EdgarSource, FilingsSource, SampleSource]


@hookimpl
def adapt_register_benchmarks() -> Iterable[Benchmark]:
    """The pack's tasks."""
    return BENCHMARKS
