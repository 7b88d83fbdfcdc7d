"""`adapt validate` and `adapt schema` on the installed core and a pack that a test installs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from domadapt import cli, errors

DOCS = Path(__file__).parents[2] / "docs" / "recipes.md"

PLUGIN = """\
from pathlib import Path

from domadapt import hookimpl
from domadapt.components import Benchmark, DomainPack, Options, Source


class Statutes(Source):
    name = "law.statutes"

    class Config(Options):
        path: str = "."

    def fingerprint(self):
        return "x"

    def read(self, reject):
        yield from ()


@hookimpl
def adapt_register_domains():
    return [DomainPack("law", "Law", Path(__file__).parent / "law_recipes")]


@hookimpl
def adapt_register_sources():
    return [Statutes]


@hookimpl
def adapt_register_benchmarks():
    return [Benchmark("law.bar", "Bar exam", Path(__file__).parent)]
"""

STARTER = """\
version: 1
domain: law
model: {base: "builtin:tiny", instruct: "builtin:tiny-instruct"}
corpus:
  domain: [{source: law.statutes, take: 2K}]
  general: [{source: general.sample}]
mix: {seq_len: 256}
train: {steps: 10, batch_tokens: 4096}
merge: {methods: [ties, slerp], density: 0.5}
eval: {domain: [law.bar]}
"""

HEAVY = ("torch", "transformers", "datasets", "numpy", "pyarrow", "lm_eval", "mergekit", "lxml", "resiliparse")


@pytest.fixture
def law(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A domain pack, installed; the working directory is an empty folder."""
    site = tmp_path / "site"
    info = site / "domadapt_law-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: domadapt-law\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[domadapt.plugins]\nlaw = domadapt_law_test\n")
    (site / "domadapt_law_test.py").write_text(PLUGIN)
    (site / "law_recipes").mkdir()
    (site / "law_recipes" / "starter.yaml").write_text(STARTER)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("ADAPT_PLUGINS", "law")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "domadapt_law_test", raising=False)
    return site


def adapt(*args: str) -> Result:
    return CliRunner().invoke(cli.adapt, list(args))


def test_a_right_recipe_is_one_line_with_the_components_it_chose(law: Path) -> None:
    result = adapt("validate", "--domain", "law")
    assert (result.exit_code, result.stderr) == (errors.OK, "")
    assert result.stdout == (
        "ok  law/starter  domain law.statutes | general general.sample"
        " | clean normalize, min_length, dedup.exact, dedup.minhash | mix replay | train torch"
        " | merge ties, slerp | evaluate perplexity, probes, lm_eval\n"
    )


def test_all_mistakes_of_all_recipes_are_told_on_stderr(law: Path) -> None:
    Path("good.yaml").write_text(STARTER)
    Path("one.yaml").write_text(STARTER.replace("seq_len", "seqlen"))
    Path("two.yaml").write_text("version: 1\nversion: 1\ndomain: law\nextends: starter\nmerge: {methods: tie}\n")
    Path("three.yaml").write_text("version: 1\n\tdomain: law\n")
    result = adapt("validate", "one.yaml", "good.yaml", "two.yaml", "three.yaml", "starter")
    assert result.exit_code == errors.USAGE
    assert [line.split("  ")[:2] for line in result.stdout.splitlines()] == [["ok", "good.yaml"], ["ok", "starter"]]
    for told in (
        "one.yaml: 1 problem, nothing was run.",
        "one.yaml:7:7  unknown key 'mix.seqlen'; did you mean 'seq_len'?",
        "two.yaml: 2 problems, nothing was run.",
        "two.yaml:2:1  key 'version' is given twice (first in line 1); remove one",
        "two.yaml:5:9  merge.methods: there is no merger 'tie'; did you mean 'ties'?",
        "three.yaml:2:1  a tab stands where YAML wants spaces",
    ):
        assert told in result.stderr


def test_overrides_are_checked_with_the_recipe(law: Path) -> None:
    assert adapt("validate", "starter", "--set", "train.lr=2e-5", "--merge", "slerp").exit_code == errors.OK
    result = adapt("validate", "starter", "--set", "mix.replay=1.4", "--set", "train.lrr=1")
    assert result.exit_code == errors.USAGE
    assert "--set mix.replay=1.4  mix.replay: wanted less than 1, came 1.4" in result.stderr
    assert "--set train.lrr=1  unknown key 'train.lrr'; did you mean 'lr'?" in result.stderr


def test_a_domain_that_is_not_there_says_what_to_install(law: Path) -> None:
    result = adapt("validate", "--domain", "chemistry")
    assert result.exit_code == errors.USAGE
    assert result.stderr == "domain pack 'chemistry' is not installed: pip install domadapt-chemistry\n"


def test_a_pack_that_is_broken_says_so_instead(law: Path) -> None:
    (law / "domadapt_law_test.py").write_text("import nothing_of_that_name\n")
    result = adapt("validate", "--domain", "law")
    assert result.exit_code == errors.USAGE
    assert "plugin 'law' (domadapt-law 0.1.0) is broken" in result.stderr
    assert "nothing_of_that_name" in result.stderr


def test_the_output_shown_in_the_documentation_is_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "sec" not in entry_points(group="domadapt.plugins").names:
        pytest.skip("the example is of the pack domadapt-sec, which is not installed")
    monkeypatch.chdir(tmp_path)
    shown = DOCS.read_text(encoding="utf-8").split("## Mistakes")[1]
    Path("bad.yaml").write_text(shown.split("```yaml\n")[1].split("```")[0])
    result = adapt("validate", "bad.yaml")
    assert result.exit_code == errors.USAGE
    assert result.stderr == shown.split("```text\n$ adapt validate bad.yaml\n")[1].split("```")[0]


def test_the_recipe_shown_first_in_the_documentation_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "sec" not in entry_points(group="domadapt.plugins").names:
        pytest.skip("the example is of the pack domadapt-sec, which is not installed")
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text(DOCS.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0])
    assert adapt("validate", "my.yaml").stdout.startswith("ok  my.yaml  domain sec.filings | ")


def test_the_schema_knows_the_installed_components(law: Path) -> None:
    result = adapt("schema")
    assert result.exit_code == errors.OK
    schema = json.loads(result.stdout)
    assert schema["properties"]["domain"]["anyOf"][0]["enum"] == ["law"]
    assert {"law.statutes", "general.sample"} <= set(schema["$defs"]["CorpusSource"]["properties"]["source"]["enum"])


def test_bad_recipes_are_refused_in_a_fresh_process_in_less_than_two_seconds_without_an_engine(law: Path) -> None:
    Path("bad.yaml").write_text(STARTER.replace("steps: 10", "steps: -1"))
    code = (
        "import sys\nfrom domadapt.cli import adapt\n"
        "code = adapt(sys.argv[1:], standalone_mode=False)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\nsys.exit(code)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(law), os.environ.get("PYTHONPATH", "")])}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, "validate", "bad.yaml"],
        capture_output=True, text=True, env=environment, timeout=60, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    assert done.returncode == errors.USAGE
    assert "bad.yaml:8:9  train.steps: wanted more than 0, came -1" in done.stderr
    assert done.stdout == "[]\n"
    assert seconds < 2
