"""What the medical pack gives to adapt. Imports nothing heavy: lxml and pyarrow wait until documents are read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from domadapt import hookimpl
from domadapt.components import Benchmark, DomainPack, Evaluator, Source
from domadapt_medical.benchmarks import BENCHMARKS
from domadapt_medical.benchmarks.sections import Sections
from domadapt_medical.guidelines import GuidelinesSource
from domadapt_medical.pubmed.source import PubmedSource
from domadapt_medical.sample.source import SampleSource
from domadapt_medical.source import JatsSource

RECIPES = Path(__file__).parent / "recipes"
CLAIMS = Path(__file__).parent / "claims.yaml"


@hookimpl
def adapt_register_domains() -> Iterable[DomainPack]:
    """The domain `medical`."""
    return [DomainPack("medical", "Biomedical research articles", RECIPES, CLAIMS)]


@hookimpl
def adapt_register_sources() -> Iterable[type[Source]]:
    """`medical.jats`, `medical.pubmed`, `medical.guidelines` and `medical.sample`."""
    return [JatsSource, PubmedSource, GuidelinesSource, SampleSource]


@hookimpl
def adapt_register_benchmarks() -> Iterable[Benchmark]:
    """`medical_continuation` and `medical_sections`."""
    return BENCHMARKS


@hookimpl
def adapt_register_evaluators() -> Iterable[type[Evaluator]]:
    """`medical.sections`, which makes the items of `medical_sections`."""
    return [Sections]
