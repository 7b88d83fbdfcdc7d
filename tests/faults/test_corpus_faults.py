"""Faults of documents, through the core's own readers and the corpus stage. The packs' parsers have theirs.

F20 archives that unpack to very much, F27 bytes that are no text, F28 very large files, F29 empty and endless lines,
F32 any bytes, F33 most documents unreadable.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import random
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt.builtin.corpora.files import FilesOptions, read_file
from domadapt.builtin.corpora.workers import parse_in_workers
from domadapt.cli import adapt
from domadapt.errors import FAILED

RECIPE = """
version: 1
name: faulty
domain: sec
model: {base: "builtin:tiny"}
corpus:
  domain: [{source: files, options: {path: texts}}]
  general: [{source: files, options: {path: general}}]
  clean: [normalize, dedup.exact]
  holdout: 0.2
mix: {seq_len: 64}
train: {batch_tokens: 64}
merge: {methods: []}
eval: {probes: false}
"""


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the recipe reads."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADAPT_RUNS", raising=False)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "texts").mkdir()
    (tmp_path / "general").mkdir()
    for number in range(9):
        (tmp_path / "general" / f"{number}.txt").write_text(f"General text {number}.")
    return tmp_path / "texts"


def build(*arguments: str) -> Result:
    return CliRunner().invoke(adapt, ["corpus", "build", "recipe.yaml", *arguments])


def write_lines(file: Path, good: int, bad: int) -> None:
    rows = [*(json.dumps({"text": f"Document {i} of them all."}) for i in range(good)), *['{"text": "cut o'] * bad]
    file.write_text("\n".join(rows) + "\n")


# F33


def test_a_corpus_of_which_most_could_not_be_read_is_refused_and_nothing_is_published(texts: Path) -> None:
    write_lines(texts / "a.jsonl", good=40, bad=60)
    done = build()
    assert done.exit_code == FAILED
    told = " ".join(done.stderr.split())
    assert "source files could not read 60 of 100 documents (not a JSON object 60; for example a.jsonl:100)" in told
    assert "corpus.max_reject_rate allows 50%" in told
    assert "Traceback" not in told
    assert not list((texts.parent / "runs" / ".store").glob("corpus/*/artifact.json"))
    done = build("--set", "corpus.max_reject_rate=0.6")
    assert done.exit_code == 0, done.output
    # the same corpus, but not for whoever asks for a better one
    assert build("--set", "corpus.max_reject_rate=0.5").exit_code == FAILED


def test_a_source_that_gives_nothing_is_never_a_success(texts: Path) -> None:
    write_lines(texts / "a.jsonl", good=0, bad=5)
    done = build("--set", "corpus.max_reject_rate=1")
    assert done.exit_code == FAILED
    assert "no document left of 5 read (not a JSON object 5)" in " ".join(done.stderr.split())


# F29


def test_empty_and_endless_documents_are_kept_or_counted(texts: Path) -> None:
    write_lines(texts / "a.jsonl", good=20, bad=0)
    for name, text in {"empty": "", "white": " \n\t\n" * 9, "nul": "\0" * 9, "endless": "x" * 1_000_000}.items():
        (texts / f"{name}.txt").write_text(text)
    done = build("--json")
    assert done.exit_code == 0, done.output
    (account,) = json.loads(done.stdout)["corpora"]["domain"]["sources"]
    assert account["reasons"] == {"normalize": {"empty": 1}, "read": {"no text": 2}}
    assert (account["seen"], account["kept"]) == (24, 21)


# F20, F28


def test_a_small_archive_that_unpacks_to_very_much_is_rejected_and_the_others_are_read(tmp_path: Path) -> None:
    """Half a megabyte that unpacks to 512 MB, in a worker that may use 128 MB (in earnest it has 2 GiB)."""
    member = gzip.compress(bytes(64 << 20), compresslevel=9)
    write_lines(tmp_path / "good.jsonl", good=9, bad=0)
    for name in ("bomb.txt.gz", "bomb.jsonl.gz"):
        (tmp_path / name).write_bytes(member * 8)
        assert (tmp_path / name).stat().st_size < 600_000
    reasons: list[tuple[str, str]] = []
    files = [(name, (name, tmp_path / name, FilesOptions(path="unused"))) for name in
             ("bomb.txt.gz", "bomb.jsonl.gz", "good.jsonl")]  # fmt: skip
    kept = [d.id for d in parse_in_workers(read_file, files, lambda *why: reasons.append(why), memory=128 << 20)]
    assert kept == [f"good.jsonl:{number}" for number in range(1, 10)]
    assert [reason for reason, _ in reasons] == ["over 128 MB of memory"] * 2


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_memory_is_that_of_a_few_documents_however_long_the_file(tmp_path: Path, suffix: str) -> None:
    draw = random.Random(1)
    rows = [{"text": f"{i} {draw.randbytes(1000).hex()}"} for i in range(10_000)]
    file = tmp_path / f"large{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=500)
    else:
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        file.write_bytes(gzip.compress(data, 1) if suffix.endswith(".gz") else data)
        assert len(data) > 20_000_000
    tracemalloc.start()
    count = sum(1 for _ in read_file(("large", file, FilesOptions(path="unused")), lambda *why: pytest.fail(str(why))))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 10_000
    assert peak < 6_000_000


# F27, F32

SUFFIXES = (".txt", ".md", ".jsonl", ".parquet", ".txt.gz", ".jsonl.gz", ".jsonl.xz", ".txt.xz", ".docx", "")


def parquet(column: str, values: list[Any]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({column: values}), file)
    return file.getvalue()


LINES = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from(
            [b'{"text": "a \\ud800 b"}', b'{"text": 5}', b"[" * 9999, b'{"text": "\\u0000"}', b"NaN", b"{}"]
        ),
    ),
    max_size=8,
).map(b"\n".join)
CONTENTS = st.one_of(
    st.binary(max_size=200),
    LINES,
    LINES.map(gzip.compress),
    LINES.map(lzma.compress),
    st.builds(lambda data, end: gzip.compress(data)[:end], LINES, st.integers(0, 60)),
    st.builds(parquet, st.sampled_from(["text", "txt"]), st.lists(st.text(st.characters(exclude_categories=["Cs"])))),
    st.builds(parquet, st.just("text"), st.lists(st.integers(0, 9), min_size=1)),
)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(SUFFIXES),
    CONTENTS,
    st.sampled_from(["utf-8", "cp1252", "utf-16", "ascii"]),
)
def test_any_bytes_in_a_file_of_any_name_are_documents_or_reasons(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: bytes, encoding: str
) -> None:
    file = tmp_path_factory.getbasetemp() / f"any{suffix}"
    file.write_bytes(data)
    reasons: list[tuple[str, str]] = []
    started = time.process_time()
    options = FilesOptions(path="unused", encoding=encoding)
    for document in read_file((file.name, file, options), lambda *why: reasons.append(why)):
        assert document.text.strip()
        document.text.encode()
        document.id.encode()
    assert all(reason and where.startswith(file.name) for reason, where in reasons)
    assert time.process_time() - started < 1
