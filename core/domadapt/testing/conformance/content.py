"""What a plugin's components do when they run: sources on good and damaged input, cleaners, recipes, benchmarks."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.artifacts import document_schema
from domadapt.components import Benchmark, Cleaner, EvalRequest, LiveModel, Source, Stage
from domadapt.errors import AdaptError, MissingError
from domadapt.testing.conformance import Finding

if TYPE_CHECKING:
    import pyarrow as pa

    from domadapt_registry import PluginRow, Registry

DOCUMENTS = 200
"""At most so many documents of a source are looked at."""
ITEMS = 4
"""Items of a benchmark that are scored."""
DAMAGED = (".txt", ".md", ".html", ".htm", ".xml", ".nxml", ".json", ".jsonl", ".csv", ".parquet", ".pdf")
ARCHIVES = (".gz", ".xz", ".zip", ".tar", ".tar.gz")
_FINGERPRINT = """
import json, sys
from domadapt.cli.frame import open_registry
registry, told = open_registry(), {}
for name, options in json.loads(sys.argv[1]).items():
    cls = registry.find("source", name)
    told[name] = cls(cls.Config(**options)).fingerprint()
print("\\n" + json.dumps(told))
"""


def checks(row: PluginRow, registry: Registry) -> Iterator[Finding]:
    """Sources, cleaners, recipes and benchmarks, each by its name."""
    with tempfile.TemporaryDirectory(prefix="adapt-check-") as scratch:
        yield from _sources(
            {name: registry.find("source", name) for name in row.gives.get("sources", ())}, Path(scratch)
        )
        for name in row.gives.get("cleaners", ()):
            yield Finding(f"cleaner {name} accounts for every document", _cleaner(registry.find("cleaner", name)))
        for name in row.gives.get("domains", ()):
            yield from _recipes(name, registry)
        for name in row.gives.get("benchmarks", ()):
            yield Finding(f"benchmark {name} loads and scores", _benchmark(name, registry, Path(scratch)))


def _sources(sources: Mapping[str, type[Source]], scratch: Path) -> Iterator[Finding]:
    """Each on damaged files, or as it is where it takes no files and needs no options."""
    tried: dict[str, dict[str, Any]] = {}
    for name, cls in sources.items():
        if "path" in cls.Config.model_fields:
            tried[name] = {"path": str(_damaged_files(scratch / "damaged"))}
            yield Finding(f"source {name} survives damaged files", _reads(cls, tried[name], hostile=True))
        elif _works_without_options(cls):
            tried[name] = {}
            yield Finding(f"source {name} gives documents", _reads(cls, {}, hostile=False))
    for name, problem in _unsteady({name: (sources[name], options) for name, options in tried.items()}):
        yield Finding(f"source {name} has a steady fingerprint", problem)


def _works_without_options(cls: type[Source]) -> bool:
    try:
        cls.Config()
    except ValueError:  # pydantic's: it wants to be told what to read
        return False
    return True


def _reads(cls: type[Source], options: Mapping[str, Any], *, hostile: bool) -> str:
    rejected: Counter[str] = Counter()
    try:
        source = cls(cls.Config(**options))
    except ValueError as error:
        return f"its options are refused: {str(error).splitlines()[0]}"
    try:
        batches = source.read(lambda reason, where: rejected.update([reason]))
        documents = list(itertools.islice((row for batch in batches for row in _rows(batch)), DOCUMENTS))
    except MissingError as error:
        # without its needs (an account, a network) nothing can be said; on damaged files it had what it asked for
        return (
            f"it finds nothing to read in a folder of files: {error}" if hostile and "no file" not in str(error) else ""
        )
    except _ColumnsError as error:
        return str(error)
    except AdaptError as error:
        return f"a damaged file ends the run ({error}); give it to reject(reason, where) and go on"
    except Exception as error:
        return f"{type(error).__name__} ends the run ({_line(error)}); give the file to reject(reason, where) and go on"
    if hostile:
        return ""
    if not documents:
        return "it gives no document"
    if repeated := [identity for identity, times in Counter(d["id"] for d in documents).items() if times > 1]:
        return f"two documents have the id {repeated[0]!r}; an id is unique in its source"
    if any(not d["text"].strip() for d in documents):
        return "a document has no text; give it to reject('no text', where)"
    if any(not d["license"] for d in documents):
        return (
            "a document names no licence; say what its readers may do with it (an SPDX name, or the publisher's words)"
        )
    return _bad_meta(documents)


def _bad_meta(documents: list[dict[str, Any]]) -> str:
    for document in documents:
        try:
            if isinstance(json.loads(document["meta"]), dict):
                continue
        except ValueError:
            pass
        return f"the meta of document {document['id']!r} is no JSON object"
    return ""


class _ColumnsError(Exception):
    """A batch is not what a source is to yield."""


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    if batch.schema.names != document_schema().names:
        raise _ColumnsError(f"a batch has the columns {batch.schema.names}, wanted are {document_schema().names}")
    rows: list[dict[str, Any]] = batch.to_pylist()
    return rows


def _unsteady(tried: Mapping[str, tuple[type[Source], Mapping[str, Any]]]) -> Iterator[tuple[str, str]]:
    """Whether each one's fingerprint is the same here twice and in another process, whose hashes of strings differ."""
    here: dict[str, str] = {}
    for name, (cls, options) in tried.items():
        try:
            first, second = (cls(cls.Config(**options)).fingerprint() for _ in range(2))
        except (AdaptError, ValueError):
            yield name, ""
            continue
        if first == second:
            here[name] = first
        else:
            yield name, "two calls give two fingerprints; let it depend on the options and the input alone"
    there = _fingerprints_elsewhere({name: tried[name][1] for name in here}) if here else {}
    for name, first in here.items():
        if isinstance(there, str):
            yield name, there
        elif there[name] != first:
            wanted = "(hash(), a set's order, a time?); every run would start anew"
            yield name, f"another process gives another fingerprint {wanted}"
        else:
            yield name, ""


def _fingerprints_elsewhere(options: Mapping[str, Mapping[str, Any]]) -> dict[str, str] | str:
    """Fingerprints by source as a process of its own computes them, or why it did not."""
    command = [sys.executable, "-c", _FINGERPRINT, json.dumps(options)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return "it takes more than 120 s for a few small files; every run asks for it"
    if done.returncode:
        return f"in another process it fails: {(done.stderr.strip().splitlines() or [''])[-1]}"
    told: dict[str, str] = json.loads(done.stdout.strip().splitlines()[-1])
    return told


def _damaged_files(folder: Path) -> Path:
    """Files of every common name: random bytes, nothing, half an archive, deep nesting."""
    if folder.is_dir():
        return folder
    folder.mkdir(parents=True)
    rng = random.Random(0)
    for suffix in (*DAMAGED, *ARCHIVES):
        (folder / f"random{suffix}").write_bytes(rng.randbytes(2000))
        (folder / f"empty{suffix}").write_bytes(b"")
        (folder / f"nested{suffix}").write_bytes(b"<a>" * 3000 + b"[" * 3000)
        (folder / f"object{suffix}").write_bytes(b'{"text": ["\xff\xfe", null, {}]}\n{"text"')
    return folder


def _cleaner(cls: type[Cleaner]) -> str:
    import pyarrow as pa

    if any(field.is_required() for field in cls.Config.model_fields.values()):
        return ""
    texts = ["", "short", "One sentence after another. " * 60, "\x00\ufffd\u202e", "x" * 50_000, "a\n" * 2000]
    rows = [
        {"id": str(n), "text": text, "source": "check", "license": "CC0-1.0", "group": str(n), "meta": "{}"}
        for n, text in enumerate(texts)
    ]
    batch = pa.RecordBatch.from_pylist(rows, schema=document_schema())
    try:
        kept, dropped = cls().clean(batch)
    except Exception as error:
        return f"{type(error).__name__} ({_line(error)}); a cleaner takes any text"
    if kept.schema.names != document_schema().names:
        return f"it gives the columns {kept.schema.names}, wanted are {document_schema().names}"
    if kept.num_rows + sum(dropped.values()) != len(rows):
        told = sum(dropped.values())
        return f"{len(rows)} documents went in, {kept.num_rows} came out and {told} were said to be dropped"
    return ""


def _recipes(domain: str, registry: Registry) -> Iterator[Finding]:
    from domadapt.recipe.check import resolve
    from domadapt.recipe.load import STARTER, load_recipe, packaged_recipes

    names = packaged_recipes(registry.find("domain", domain))
    missing = f"the folder of recipes has no {STARTER}.yaml, which `adapt run --domain {domain}` runs"
    yield Finding(f"domain {domain} has a starter recipe", "" if STARTER in names else missing)
    for name in names:
        try:
            resolve(load_recipe(registry, domain=domain, path=Path(name)))
        except AdaptError as error:
            yield Finding(f"recipe {name} validates", str(error))
        else:
            yield Finding(f"recipe {name} validates")


def _benchmark(name: str, registry: Registry, scratch: Path) -> str:
    """Score a few items with a tiny random model."""
    from domadapt.pipeline.benchmarks import benchmark_files

    benchmark: Benchmark = registry.find("benchmark", name)
    evaluator = registry.find("evaluator", benchmark.evaluator)()
    if evaluator.reads_corpus:
        return ""  # its items are a run's own held-out documents
    out, work = scratch / f"{name}.scores", scratch / f"{name}.scratch"
    for folder in (out, work):
        folder.mkdir()
    stage = Stage(f"eval.check.{name}", "0" * 16, 0, benchmark.evaluator, lambda *_: {}, work)
    request = EvalRequest(name, "domain", benchmark, None, ITEMS, 4096)
    try:
        benchmark_files(benchmark)
        rows = evaluator.evaluate(_tiny_model(scratch), request, out, stage)
    except MissingError:
        return ""  # its data are the user's to bring; it said so
    except AdaptError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {_line(error)}"
    if not rows:
        return "no score came out"
    if not (out / "samples.parquet").is_file():
        return "its evaluator wrote no samples.parquet; without samples there are no intervals"
    return "" if all(row.n for row in rows) else "no item was scored"


def _tiny_model(scratch: Path) -> LiveModel | Any:
    from domadapt.artifacts import Checkpoint
    from domadapt.testing.models import write_tiny_model

    folder = scratch / "model"
    return Checkpoint(folder, digest="tiny") if folder.is_dir() else write_tiny_model(folder, context=1024)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]
