"""Eight ways of breaking a pack: each ends in a sentence with pack, distribution and version, and others go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from domadapt import errors
from domadapt.builtin import plugin
from domadapt.cli import adapt
from domadapt.cli.frame import open_registry
from domadapt.components import Stage
from domadapt.culprits import culprit
from domadapt.pipeline.sharding import Task, attempt, failure

HEAD = "from domadapt import hookimpl\nfrom domadapt.components import Merger, Options, Source\n"
SOURCE = """
class Notes(Source):
    "Notes."
    name = "{plugin}.notes"
    def fingerprint(self): return "1"
    def read(self, reject):
        {body}
@hookimpl
def adapt_register_sources(): return [Notes]
"""
MERGER = """
class Mean(Merger):
    "A mean."
    name = "worn_mean"
    def merge(self, ancestor, models, out, stage): return {}
@hookimpl
def adapt_register_mergers(): return [Mean]
"""
ABSTRACT = """
class Notes(Source):
    "Notes."
    name = "worn.notes"
    def fingerprint(self): return "1"
@hookimpl
def adapt_register_sources(): return [Notes]
"""
RAISES = SOURCE.format(plugin="worn", body="raise KeyError('a field of the third file')\n        yield")
WAYS: dict[str, tuple[str, str]] = {
    "broken import": ("import no_such_module", "No module named 'no_such_module'"),
    "sys.exit at import": ("import sys\nsys.exit(3)", "SystemExit: 3"),
    "misspelt hook": ("@hookimpl\ndef adapt_register_source(): return []", "did you mean 'adapt_register_sources'?"),
    "wrong argument": ("@hookimpl\ndef adapt_resolve_model(name): return None", "an argument 'name' that the hook"),
    "wrong core version": ("raise AssertionError('imported')", "worn-pack 1.2.3 wants domadapt>=99, installed is"),
    "two providers of one plugin name": (MERGER, "two distributions name a plugin 'worn': other-pack 0.9 (other_pack)"),
    "two providers of one component": (MERGER, "merger 'worn_mean' is also given by plugin 'other' (other-pack 0.9)"),
    "abstract component": (ABSTRACT, "adapt_register_sources() gave Notes: it does not implement read"),
    "no path for recipes": (
        "from domadapt.components import DomainPack\n@hookimpl\ndef adapt_register_domains():\n"
        "    return [DomainPack('worn', 'Worn', 'recipes')]",
        "DomainPack 'worn': recipes is to be a pathlib.Path, not 'recipes'",
    ),
}


def install(folder: Path, plugin: str, source: str, dist: str, version: str, requires: str = "domadapt") -> None:
    """Put a distribution with one plugin into a folder, as pip leaves it."""
    module = dist.replace("-", "_")
    (folder / f"{module}.py").write_text(HEAD + source + "\n")
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\nRequires-Dist: {requires}\n"
    (info / "METADATA").write_text(metadata)
    (info / "entry_points.txt").write_text(f"[domadapt.plugins]\n{plugin} = {module}\n")


def install_way(folder: Path, way: str) -> None:
    """The pack worn (worn-pack 1.2.3), broken in one way."""
    source, _ = WAYS[way]
    install(folder, "worn", source, "worn-pack", "1.2.3", "domadapt>=99" if "version" in way else "domadapt")
    if way.startswith("two"):
        install(folder, "worn" if "plugin" in way else "other", source, "other-pack", "0.9")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of distributions besides the installed ones."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.chdir(tmp_path)
    for module in ("worn_pack", "other_pack"):
        monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.delitem(sys.modules, module)
    return folder


@pytest.fixture
def call() -> Callable[..., Result]:
    """The command line in this process."""
    if "sec" not in entry_points(group="domadapt.plugins").names:
        pytest.skip("the pack domadapt-sec is not installed")

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(adapt, list(arguments), env={"COLUMNS": "200"})

    return invoke


def rows(call: Callable[..., Result]) -> dict[str, dict[str, Any]]:
    """What `adapt plugins` says, by distribution."""
    done = call("plugins", "--json")
    assert done.exit_code == errors.OK, done.output
    return {row["distribution"]: row for row in json.loads(done.stdout)}


@pytest.mark.parametrize("way", list(WAYS))
def test_a_broken_pack_is_a_row_with_its_reason_and_the_sec_pack_works(
    site: Path, call: Callable[..., Result], way: str
) -> None:
    install_way(site, way)
    found = rows(call)
    row = found["worn-pack"]
    assert (row["name"], row["version"]) == ("worn", "1.2.3")
    assert WAYS[way][1] in row["reason"]
    assert row["state"] != "ok" or "also given" in row["reason"]
    assert found["domadapt-sec"]["state"] == "ok"
    assert call("validate", "--domain", "sec").exit_code == errors.OK


def test_asking_for_what_a_broken_pack_would_give_says_which_pack_and_why(
    site: Path, call: Callable[..., Result]
) -> None:
    install_way(site, "broken import")
    done = call("run", "--domain", "worn")
    assert done.exit_code == errors.USAGE
    assert "plugin 'worn' (worn-pack 1.2.3) is broken: importing worn_pack failed: ModuleNotFoundError" in done.stderr


def test_a_pack_that_gives_a_name_of_adapts_own_is_told_and_the_sec_pack_works(
    site: Path, call: Callable[..., Result]
) -> None:
    install(site, "worn", MERGER.replace("worn_mean", "ties"), "worn-pack", "1.2.3")
    row = rows(call)["worn-pack"]
    assert row["reason"] == "merger 'ties' is domadapt's own, this one is not used: give it another name"
    assert call("validate", "--domain", "sec", "--merge", "ties").exit_code == errors.OK


def test_a_name_that_two_packs_give_is_an_error_only_where_it_is_used(site: Path, call: Callable[..., Result]) -> None:
    install_way(site, "two providers of one component")
    done = call("validate", "--domain", "sec", "--merge", "worn_mean")
    assert done.exit_code == errors.USAGE
    assert "merger 'worn_mean' is given by plugin 'other' (other-pack 0.9) and plugin 'worn' (worn-pack 1.2.3)" in (
        done.stderr
    )


@pytest.mark.parametrize(
    ("raised", "said", "code"),
    [
        ("KeyError('a field')", "KeyError: 'a field' (", errors.FAILED),
        ("ConnectionError('the shelf is closed')", "the shelf is closed", errors.FAILED),
        ("SystemExit(0)", "sys.exit(0) was called", errors.FAILED),
    ],
)
def test_a_pack_that_raises_in_the_middle_of_a_run_is_named_with_distribution_and_version(
    site: Path, call: Callable[..., Result], raised: str, said: str, code: int
) -> None:
    install(site, "worn", SOURCE.format(plugin="worn", body=f"raise {raised}\n        yield"), "worn-pack", "1.2.3")
    done = call("run", "--domain", "sec", "--set", "corpus.domain=[{source: worn.notes}]")
    assert done.exit_code == code
    (line,) = [line for line in done.stderr.splitlines() if "worn.notes" in line and said in line]
    assert "component 'worn.notes' (worn_pack.Notes) of plugin 'worn' (worn-pack 1.2.3): " in line


def test_a_wrapper_is_not_blamed_for_what_it_wraps(site: Path) -> None:
    def work(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        raise ZeroDivisionError("ours")

    wrapper = "@hookimpl(wrapper=True)\ndef adapt_run_stage(stage):\n    return (yield)"
    install(site, "worn", wrapper, "worn-pack", "1.2.3")
    hook = open_registry().hook
    (site.parent / "out").mkdir()
    stage = Stage("merge.x", "0" * 16, 0, "x", work, site.parent / "scratch")
    with pytest.raises(ZeroDivisionError, match="ours") as caught:
        hook.adapt_run_stage(stage=stage, inputs={}, out=site.parent / "out")
    assert "worn_pack" in "".join(str(entry.path) for entry in caught.traceback)
    assert culprit(caught.value) == ""


def fail(given: Path, out: Path) -> None:
    """The work of a shard, by a component of the pack worn."""
    import worn_pack  # type: ignore[import-not-found]

    next(worn_pack.Notes().read(lambda reason, where: None))


def test_a_pack_that_raises_in_a_worker_is_named_as_well(site: Path) -> None:
    install(site, "worn", RAISES, "worn-pack", "1.2.3")
    given = site.parent / "given"
    given.write_text("x")
    task = Task(fail, given, site.parent / "out")
    attempt(task)
    said = str(failure(task, "corpus.domain"))
    who = "component 'worn.notes' (worn_pack.Notes) of plugin 'worn' (worn-pack 1.2.3)"
    assert said.startswith(f"corpus.domain: shard out failed in {who} with KeyError: 'a field of the third file'; the ")


ANSWER = "@hookimpl\ndef adapt_resolve_model(ref, cache): return {}[ref]"


def test_a_pack_whose_answer_fails_is_told_and_the_next_one_is_asked(site: Path, call: Callable[..., Result]) -> None:
    install(site, "worn", ANSWER, "worn-pack", "1.2.3")
    done = call("plan", "--domain", "sec")
    assert done.exit_code == errors.OK, done.output
    said = [line for line in done.stderr.splitlines() if "worn" in line]
    assert len(said) == 2  # one a model, told once each
    for line in said:
        assert line.startswith("plugin 'worn' (worn-pack 1.2.3): adapt_resolve_model failed (KeyError: 'builtin:")
        assert line.endswith("going on without it")


TAKES_OVER = """
@hookimpl
def adapt_run_stage(stage, out):
    (out / "half of it").write_text("x")
    (out / "folder").mkdir()
    stage.nothing
"""


def test_what_a_pack_that_failed_in_a_stages_place_left_there_is_gone_when_the_core_works(tmp_path: Path) -> None:
    def work(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        assert list(out.iterdir()) == []
        return {"worked": True}

    (tmp_path / "out" / "folder").mkdir(parents=True)
    (tmp_path / "out" / "half of it").write_text("x")
    stage = Stage("merge.x", "0" * 16, 0, "x", work, tmp_path / "scratch")
    assert plugin.adapt_run_stage(stage, {}, tmp_path / "out")
    assert stage.facts == {"worked": True}


def test_with_all_broken_packs_at_once_the_sec_pack_plans_the_same(site: Path, call: Callable[..., Result]) -> None:
    alone = call("plan", "--domain", "sec", "--json")
    assert alone.exit_code == errors.OK, alone.output
    for number, way in enumerate(WAYS):
        source, _ = WAYS[way]
        wanted = "domadapt>=99" if "version" in way else "domadapt"
        for copy in ("", "b") if way.startswith("two") else ("",):
            install(site, f"worn{number}", source, f"worn-pack{number}{copy}", "1", wanted)
    done = call("plan", "--domain", "sec", "--json")
    assert (done.exit_code, done.stdout) == (errors.OK, alone.stdout)


@pytest.mark.slow
def test_with_all_broken_packs_at_once_the_sec_pack_runs(site: Path, call: Callable[..., Result]) -> None:
    wrapper = "@hookimpl(wrapper=True)\ndef adapt_run_stage(stage):\n    stage.nothing\n    return (yield)"
    late = "@hookimpl(wrapper=True)\ndef adapt_run_stage(stage):\n    yield\n    return stage.nothing"
    imported = [source for source, _ in WAYS.values()]
    for number, source in enumerate([*imported, RAISES, ANSWER, TAKES_OVER, wrapper, late]):
        install(site, f"worn{number}", source, f"worn-pack{number}", "1")
    command = [sys.executable, "-m", "domadapt", "run", "--domain", "sec", "--set", "train.steps=2"]
    done = subprocess.run(
        [*command, "--set", "eval.limit=10"],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == errors.OK, done.stderr
    assert (site.parent / "runs" / "sec-starter" / "report.html").is_file()
    assert done.stderr.count("adapt_run_stage failed (AttributeError") == 3
    assert not list((site.parent / "runs").rglob("half of it"))
