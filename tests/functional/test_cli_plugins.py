"""`adapt plugins` as a user runs it, with real distributions in a folder on PYTHONPATH."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MERGER = """
from domadapt import hookimpl
from domadapt.components import Merger

class Mean(Merger):
    "The mean of two models."
    name = {name!r}
    caveat = {caveat!r}
    def merge(self, ancestor, models, out, stage):
        return {{}}

@hookimpl
def adapt_register_mergers():
    return [Mean]
"""
MISSPELT = "from domadapt import hookimpl\n@hookimpl\ndef adapt_register_merger(): return []\n"
MUST_NOT_RUN = "raise AssertionError('must not be imported')"


def install(
    folder: Path, plugin: str, source: str, *, dist: str = "", version: str = "1.0", requires: str = "domadapt"
) -> None:
    """Put a distribution with one plugin into a folder, as pip leaves it."""
    module = (dist or f"scratch-{plugin}").replace("-", "_")
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir()
    name = module.replace("_", "-")
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: {requires}\n"
    (info / "METADATA").write_text(metadata)
    (info / "entry_points.txt").write_text(f"[domadapt.plugins]\n{plugin} = {module}\n")


def adapt(*args: str, folder: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, with the distributions of `folder` besides the installed ones."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ADAPT_", "COLUMNS", "NO_COLOR"))}
    path = os.pathsep.join(filter(None, [str(folder) if folder else "", kept.get("PYTHONPATH", "")]))
    environment = {**kept, "PYTHONPATH": path, "COLUMNS": "160", **variables}
    command = [sys.executable, "-m", "domadapt", *args]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One plugin for each thing that can be wrong, and two that are right."""
    folder = tmp_path_factory.mktemp("zoo")
    install(folder, "good", MERGER.format(name="good_mean", caveat="generated, never run on a GPU"))
    install(folder, "loud", "print('printed at import')\n" + MERGER.format(name="loud_mean", caveat=""))
    install(folder, "missing", "import no_such_module_here")
    install(folder, "exits", "import sys\nsys.exit('had enough')")
    install(folder, "misspelt", MISSPELT)
    install(folder, "later", MUST_NOT_RUN, requires="domadapt>=99")
    install(folder, "twice", MUST_NOT_RUN, dist="scratch-first")
    install(folder, "twice", MUST_NOT_RUN, dist="scratch-second")
    install(folder, "unwanted", MUST_NOT_RUN)
    install(folder, "rude", MERGER.format(name="\x1b[31m\nred[bold]", caveat="beep\x07\u202e"))
    return folder


@pytest.fixture(scope="module")
def rows(zoo: Path) -> dict[str, dict[str, Any]]:
    """The rows of `adapt plugins --json` by distribution."""
    done = adapt("plugins", "--json", folder=zoo, ADAPT_DISABLE="unwanted")
    assert (done.returncode, done.stderr) == (0, "printed at import\n")
    return {row["distribution"]: row for row in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("distribution", "state", "reason"),
    [
        ("domadapt", "ok", ""),
        ("scratch-good", "ok", ""),
        ("scratch-loud", "ok", ""),
        ("scratch-missing", "broken", "ModuleNotFoundError: No module named 'no_such_module_here'"),
        ("scratch-exits", "broken", "SystemExit: had enough"),
        ("scratch-misspelt", "broken", "no hook 'adapt_register_merger'; did you mean 'adapt_register_mergers'?"),
        ("scratch-later", "incompatible", "scratch-later 1.0 wants domadapt>=99, installed is domadapt "),
        ("scratch-first", "claimed twice", "scratch-first 1.0 (scratch_first) and scratch-second 1.0"),
        ("scratch-second", "claimed twice", "scratch-first 1.0 (scratch_first) and scratch-second 1.0"),
        ("scratch-unwanted", "disabled", "disabled by name"),
    ],
)
def test_every_plugin_is_a_row_with_its_state_and_reason(
    rows: dict[str, dict[str, Any]], distribution: str, state: str, reason: str
) -> None:
    assert rows[distribution]["state"] == state
    assert reason in rows[distribution]["reason"]


def test_a_row_says_what_the_plugin_gives_and_what_to_beware_of(rows: dict[str, dict[str, Any]], zoo: Path) -> None:
    assert rows["scratch-good"] == {
        "name": "good",
        "distribution": "scratch-good",
        "version": "1.0",
        "state": "ok",
        "reason": "",
        "gives": {"mergers": ["good_mean"]},
        "caveats": {"merger good_mean": "generated, never run on a GPU"},
        "location": str(zoo / "scratch_good.py"),
    }


def test_the_table_shows_states_reasons_and_caveats(zoo: Path) -> None:
    done = adapt("plugins", folder=zoo, ADAPT_DISABLE="unwanted")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert re.split(r"\s{2,}", lines[0].strip()) == ["plugin", "version", "distribution", "state", "gives"]
    assert any(re.match(r"good +1\.0 +scratch-good +ok +mergers: good_mean *$", line) for line in lines)
    assert any("merger good_mean: generated, never run on a GPU" in line for line in lines)
    assert any(re.match(r"twice +1\.0 +scratch-first +claimed twice ", line) for line in lines)
    assert "SystemExit: had enough" in done.stdout


def test_control_characters_of_a_plugin_do_not_reach_the_terminal(zoo: Path) -> None:
    done = adapt("plugins", folder=zoo, ADAPT_DISABLE="unwanted")
    assert "mergers: \\x1b[31m red[bold]" in done.stdout
    assert "beep\\x07\\u202e" in done.stdout
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", done.stdout)
    shown = adapt("plugins", "show", "rude", folder=zoo)
    assert "  \\x1b[31m red[bold]" in shown.stdout
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown.stdout)


def test_no_color_and_columns_are_honoured(zoo: Path) -> None:
    colour = re.compile("\x1b\\[[0-9;]*3[0-9]m")
    assert colour.search(adapt("plugins", folder=zoo, FORCE_COLOR="1").stdout)
    assert not colour.search(adapt("plugins", folder=zoo, FORCE_COLOR="1", NO_COLOR="1").stdout)
    narrow = adapt("plugins", folder=zoo, COLUMNS="70").stdout
    assert max(len(line) for line in narrow.splitlines()[:-1]) <= 70


def test_a_character_the_encoding_lacks_is_spelt_out(tmp_path: Path) -> None:
    install(tmp_path, "umlaut", MERGER.format(name="m\u00fcller", caveat=""))
    done = adapt("plugins", folder=tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "mergers: m\\xfcller" in done.stdout


def test_list_is_the_same_as_no_subcommand(zoo: Path) -> None:
    plain = adapt("plugins", "--json", folder=zoo).stdout
    assert adapt("plugins", "list", "--json", folder=zoo).stdout == plain


def test_only_allowed_plugins_are_loaded(zoo: Path) -> None:
    done = adapt("plugins", "--json", folder=zoo, ADAPT_PLUGINS="good, loud")
    states = {row["distribution"]: row["state"] for row in json.loads(done.stdout)}
    assert states["domadapt"] == states["scratch-good"] == states["scratch-loud"] == "ok"
    assert states["scratch-missing"] == states["scratch-unwanted"] == "disabled"


def test_an_empty_list_of_allowed_plugins_allows_none_and_the_table_says_how_to_get_a_domain(zoo: Path) -> None:
    done = adapt("plugins", folder=zoo, ADAPT_PLUGINS="")
    assert " ok " not in "\n".join(line for line in done.stdout.splitlines() if "scratch-" in line)
    assert "pip install domadapt-sec" in done.stdout.splitlines()[-1]


def test_with_a_domain_no_line_says_how_to_get_one(tmp_path: Path) -> None:
    source = """
from pathlib import Path
from domadapt import hookimpl
from domadapt.components import DomainPack

@hookimpl
def adapt_register_domains():
    return [DomainPack("chess", "Games of chess", Path(__file__).parent)]
"""
    install(tmp_path, "chess", source)
    done = adapt("plugins", folder=tmp_path, ADAPT_PLUGINS="chess")
    assert "domains: chess" in done.stdout
    assert "pip install" not in done.stdout


def test_a_name_in_the_variables_that_no_plugin_has_is_told_on_stderr(zoo: Path) -> None:
    done = adapt("plugins", "--json", folder=zoo, ADAPT_DISABLE="unwanted,gpod", ADAPT_PLUGINS="good")
    assert done.stderr == "ADAPT_DISABLE or ADAPT_PLUGINS names what is not installed: gpod\n"
    assert json.loads(done.stdout)


def test_show_describes_the_components(zoo: Path) -> None:
    done = adapt("plugins", "show", "good", folder=zoo)
    assert done.returncode == 0
    assert "distribution  scratch-good 1.0" in done.stdout
    assert re.search(r"mergers:\n  good_mean +The mean of two models\. \[generated, never run on a GPU\]", done.stdout)


def test_show_lists_both_claims_of_a_name(zoo: Path) -> None:
    done = adapt("plugins", "show", "twice", "--json", folder=zoo)
    assert [row["distribution"] for row in json.loads(done.stdout)] == ["scratch-first", "scratch-second"]


def test_show_gives_the_traceback_of_a_broken_plugin_on_request(zoo: Path) -> None:
    brief = adapt("plugins", "show", "exits", folder=zoo)
    assert "Traceback" not in brief.stdout
    assert "`adapt --debug plugins show exits` shows the traceback" in brief.stdout
    full = adapt("--debug", "plugins", "show", "exits", folder=zoo)
    assert (full.returncode, full.stderr) == (0, "printed at import\n")
    assert "Traceback (most recent call last)" in full.stdout
    assert "sys.exit('had enough')" in full.stdout


def test_show_of_an_unknown_plugin_is_a_usage_error_with_a_suggestion(zoo: Path) -> None:
    done = adapt("plugins", "show", "goood", folder=zoo, ADAPT_PLUGINS="good")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "there is no plugin 'goood'; did you mean 'good'?\n"


def test_two_plugins_with_one_method_name_are_both_told_in_the_list_and_both_stay(tmp_path: Path) -> None:
    install(tmp_path, "one", MERGER.format(name="same_mean", caveat=""))
    install(tmp_path, "two", MERGER.format(name="same_mean", caveat=""))
    listed = {row["name"]: row for row in json.loads(adapt("plugins", "--json", folder=tmp_path).stdout)}
    assert listed["one"]["state"] == listed["two"]["state"] == "ok"
    assert "merger 'same_mean' is also given by plugin 'two' (scratch-two 1.0)" in listed["one"]["reason"]
    assert "merger 'same_mean' is also given by plugin 'one' (scratch-one 1.0)" in listed["two"]["reason"]
    assert re.search("same_mean +claimed twice", adapt("plugins", "show", "one", folder=tmp_path).stdout)
