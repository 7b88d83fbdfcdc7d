"""What the pack registers, and that registering it is quick."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from domadapt_medical import __version__, plugin


def test_hook_domains_brings_medical_with_its_recipes() -> None:
    (pack,) = plugin.adapt_register_domains()
    assert pack.name == "medical"
    assert pack.recipes.is_dir()


def test_hook_sources_and_benchmarks_bring_the_documented_names() -> None:
    assert [source.name for source in plugin.adapt_register_sources()] == [
        "medical.jats",
        "medical.pubmed",
        "medical.guidelines",
        "medical.sample",
    ]
    assert [benchmark.name for benchmark in plugin.adapt_register_benchmarks()] == [
        "medical_continuation",
        "medical_sections",
    ]


def test_hook_evaluators_brings_the_one_that_a_benchmark_names() -> None:
    (evaluator,) = plugin.adapt_register_evaluators()
    assert [b.evaluator for b in plugin.adapt_register_benchmarks()] == ["lm_eval", evaluator.name]


def test_registering_imports_nothing_heavy() -> None:
    code = (
        "import sys, domadapt_medical.plugin as p; p.adapt_register_sources(); p.adapt_register_benchmarks(); "
        "print([m for m in ('lxml', 'pyarrow', 'numpy', 'torch', 'datasets', 'rensa', 'tomllib') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_every_option_is_explained() -> None:
    for source in plugin.adapt_register_sources():
        for name, field in source.Config.documented().model_fields.items():
            assert field.description, f"{source.name}: option {name} has no docstring"


def test_the_version_is_the_distributions() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == __version__
    assert project["entry-points"]["domadapt.plugins"] == {"medical": "domadapt_medical.plugin"}
