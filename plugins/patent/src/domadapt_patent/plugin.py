"""What the pack registers. Imported by every `adapt` command, so lxml and pyarrow are imported where they are used."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from domadapt import hookimpl
from domadapt.components import Benchmark, DomainPack, Source
from domadapt_patent.benchmarks import BENCHMARKS
from domadapt_patent.datasets.bigpatent import BigpatentSource
from domadapt_patent.datasets.hupd import HupdSource
from domadapt_patent.redbook.source import RedbookSource
from domadapt_patent.sample.source import SampleSource

FOLDER = Path(__file__).parent


@hookimpl
def adapt_register_domains() -> Iterable[DomainPack]:
    """The domain `patent` with its packaged recipes."""
    title = "Patents: grants and applications of the USPTO"
    return [DomainPack("patent", title, FOLDER / "recipes", FOLDER / "claims.yaml")]


@hookimpl
def adapt_register_sources() -> Iterable[type[Source]]:
    """`patent.redbook` reads USPTO files, `patent.hupd` and `patent.bigpatent` those data sets; `patent.sample` makes
    patents of its own."""
    return [RedbookSource, HupdSource, BigpatentSource, SampleSource]


@hookimpl
def adapt_register_benchmarks() -> Iterable[Benchmark]:
    """`patent_continuation`, and three out of the structure of patents."""
    return BENCHMARKS
