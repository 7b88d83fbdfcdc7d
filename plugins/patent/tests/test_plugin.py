"""What the pack registers, and that registering is cheap."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

from domadapt_patent import plugin


def test_the_entry_point_names_the_plugin() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert import_module(project["entry-points"]["domadapt.plugins"]["patent"]) is plugin


def test_the_pack_registers_its_domain_sources_and_benchmark() -> None:
    assert [pack.name for pack in plugin.adapt_register_domains()] == ["patent"]
    names = [source.name for source in plugin.adapt_register_sources()]
    assert names == ["patent.redbook", "patent.hupd", "patent.bigpatent", "patent.sample"]
    for benchmark in plugin.adapt_register_benchmarks():
        assert (benchmark.path / f"{benchmark.name}.yaml").is_file()


def test_every_option_is_documented() -> None:
    for source in plugin.adapt_register_sources():
        assert all(field.description for field in source.Config.documented().model_fields.values())


def test_registering_imports_no_heavy_module() -> None:
    code = (
        "import sys, domadapt_patent.plugin as p; list(p.adapt_register_sources());"
        "print([m for m in ('lxml', 'pyarrow', 'numpy', 'torch', 'datasets', 'yaml') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
