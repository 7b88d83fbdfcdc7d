"""`adapt plugins check`: the packs of this repository pass it, and a pack with everything wrong is told all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from domadapt.testing import check_pack

PACK = '''
import os, random, signal, socket
from pathlib import Path

import numpy
from domadapt import hookimpl
from domadapt.artifacts import document_schema
from domadapt.components import Benchmark, Cleaner, DomainPack, Options, Source
from pydantic import BaseModel

os.environ["WORN"] = "1"
os.chdir("/")
random.seed(1)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
try:
    socket.getaddrinfo("127.0.0.1", 80)
except OSError:
    pass
FOLDER = Path(__file__).parent


class NotesOptions(Options):
    """Options."""

    path: str = "."


class Notes(Source):
    name = "notes"
    Config = NotesOptions

    def fingerprint(self):
        return str(hash("a word"))

    def read(self, reject):
        for file in Path(self.config.path).iterdir():
            file.read_text(encoding="utf-8")
        yield from ()


class Loose(BaseModel):
    """Options that are none."""


class Blank(Source):
    """Documents without text, licence and names."""

    name = "worn.blank"

    def fingerprint(self):
        return str(random.random())

    def read(self, reject):
        import pyarrow as pa

        row = {"id": "1", "text": "Text.", "source": "x", "license": "", "group": "1", "meta": "[]"}
        yield pa.RecordBatch.from_pylist([row, {**row, "id": "2"}], schema=document_schema())


class Forgets(Cleaner):
    """Loses documents."""

    name = "worn.Forgets"
    Config = Loose

    def clean(self, batch):
        return batch.slice(1), {}


@hookimpl
def adapt_register_sources():
    return [Notes, Blank]


@hookimpl
def adapt_register_cleaners():
    return [Forgets]


@hookimpl
def adapt_register_domains():
    return [DomainPack("worn", "", FOLDER / "worn_recipes")]


@hookimpl
def adapt_register_benchmarks():
    return [Benchmark("worn_items", " ", FOLDER)]
'''
RECIPE = "version: 1\ndomain: worn\ncorpus: {domain: [{source: worn.blnk}]}\n"


@pytest.mark.parametrize("name", ["core", "sec", "medical", "patent"])
def test_a_plugin_of_this_repository_does_what_is_expected_of_one(name: str) -> None:
    if name != "core" and name not in entry_points(group="domadapt.plugins").names:
        pytest.skip(f"the pack domadapt-{name} is not installed")
    check_pack(name)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The problem by check, of a pack in which everything is wrong."""
    folder = tmp_path_factory.mktemp("worn")
    (folder / "worn_pack.py").write_text(PACK)
    (folder / "worn_recipes").mkdir()
    (folder / "worn_recipes" / "own.yaml").write_text(RECIPE)
    info = folder / "worn_pack-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: worn-pack\nVersion: 1.0\nRequires-Dist: domadapt\n")
    (info / "entry_points.txt").write_text("[domadapt.plugins]\nworn = worn_pack\n")
    done = subprocess.run(
        [sys.executable, "-m", "domadapt", "plugins", "check", "worn", "--json"],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    problems = {finding["check"]: finding["problem"] for finding in json.loads(done.stdout)}
    failed = sum(bool(problem) for problem in problems.values())
    assert done.stderr == f"plugin 'worn': {failed} of {len(problems)} checks failed\n"
    return problems


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ("imports nothing heavy", "importing it imports numpy; import them inside the functions that need them"),
        ("asks no network at import", "importing it reaches for 127.0.0.1"),
        (
            "leaves the process alone",
            "changes the working folder and the state of `random` and signal handlers and env",
        ),
        ("names", "source 'notes' is to be called 'worn.notes'"),
        ("names", "'worn.Forgets' is no name"),
        ("options are documented", "source 'notes': option 'path' has no docstring below it"),
        ("options are documented", "cleaner 'worn.Forgets': its Config is to be a subclass of domadapt.components"),
        ("components are documented", "source 'notes': its class has no docstring"),
        ("components are documented", "benchmark 'worn_items' has no title"),
        ("components are documented", "domain 'worn' has no title"),
        ("licence", "worn-pack names no licence"),
        ("source notes survives damaged files", "UnicodeDecodeError ends the run"),
        ("source notes has a steady fingerprint", "another process gives another fingerprint"),
        ("source worn.blank gives documents", "a document names no licence"),
        ("source worn.blank has a steady fingerprint", "two calls give two fingerprints"),
        ("cleaner worn.Forgets accounts for every document", "6 documents went in, 5 came out and 0 were said"),
        ("domain worn has a starter recipe", "has no starter.yaml"),
        ("recipe own validates", "there is no source 'worn.blnk'; did you mean 'worn.blank'?"),
        ("benchmark worn_items loads and scores", "worn_items.yaml"),
    ],
)
def test_what_is_wrong_with_a_pack_is_told(found: dict[str, str], check: str, said: str) -> None:
    assert said in found[check]


def test_what_is_right_is_not_told(found: dict[str, str]) -> None:
    assert {check for check, problem in found.items() if not problem} == {
        "loads",
        "imports alone",
        "imports quickly",
        "is the only one of its names",
    }
