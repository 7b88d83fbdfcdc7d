"""What the pack gives to adapt. Every command imports this module: heavy imports stand inside functions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from domadapt import hookimpl
from domadapt.components import Benchmark, Cleaner, DomainPack, Source
from domadapt_legal.cleaning import StarPages
from domadapt_legal.decisions import Decisions
from domadapt_legal.statutes import Statutes

FOLDER = Path(__file__).parent
TASKS = {
    "legal_limits": "Which limit a section sets: knowledge of the statutes",
    "legal_sections": "Which section governs the facts of a case: knowledge of the statutes",
    "legal_outcomes": "How the court decides, with facts and section given: reasoning",
}


@hookimpl
def adapt_register_domains() -> Iterable[DomainPack]:
    """`adapt run --domain legal` runs recipes/starter.yaml."""
    return [DomainPack("legal", "Court decisions and statutes", FOLDER / "recipes", FOLDER / "claims.yaml")]


@hookimpl
def adapt_register_sources() -> Iterable[type[Source]]:
    """`legal.decisions` reads JSON lines, `legal.statutes` HTML."""
    return [Decisions, Statutes]


@hookimpl
def adapt_register_cleaners() -> Iterable[type[Cleaner]]:
    """`legal.star_pages`."""
    return [StarPages]


@hookimpl
def adapt_register_benchmarks() -> Iterable[Benchmark]:
    """Two tasks that ask what the statutes say, one that asks for a conclusion."""
    return [Benchmark(name, title, FOLDER / "benchmarks") for name, title in TASKS.items()]
