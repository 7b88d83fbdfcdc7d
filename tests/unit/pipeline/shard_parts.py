"""Sources, parsers and cleaners that worker processes can import, for the tests of shards."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from domadapt.builtin.cleaning.text import keep_rows, replace_text
from domadapt.builtin.corpora.batches import Document, record_batches
from domadapt.builtin.corpora.workers import parse_in_workers
from domadapt.components import Cleaner, Reject, Source
from domadapt.errors import DataError


def document(name: str, text: str) -> Document:
    """A document of a group of three or so."""
    return Document(name, text, f"group {sum(name.encode()) % 31}", "", {})


def read_members(path: Path, reject: Reject) -> Iterator[tuple[str, str]]:
    """The members of an archive: lines `NAME|TEXT`; one without a bar is damaged."""
    for number, line in enumerate(path.read_text().splitlines()):
        name, bar, text = line.partition("|")
        if bar:
            yield f"{path.name}/{name}", text
        else:
            reject("damaged member", f"{path.name}:{number}")


def parse_member(given: tuple[str, str], reject: Reject) -> Iterator[Document]:
    """Documents of a text, one a sentence; a text of `!` cannot be read."""
    name, text = given
    if text == "!":
        reject("unreadable", name)
        return
    for number, sentence in enumerate(text.split(". ")):
        yield document(f"{name}#{number}", sentence)
    if text.endswith("?"):
        raise ValueError("a question")


def die_in_turn(given: tuple[str, Path], reject: Reject) -> Iterator[Document]:
    """Kill the parser's process the first time, and the process that waits for it the second time."""
    name, folder = given
    deaths = folder / name
    count = len(deaths.read_text()) if deaths.exists() else 0
    deaths.write_text("x" * (count + 1))
    if count < 2:
        os.kill(os.getpid() if count == 0 else os.getppid(), signal.SIGKILL)
    yield document(name, f"the text of {name}, which is long enough")


def kill_myself(given: Path, out: Path) -> None:
    """Work on a shard that no worker survives."""
    os.kill(os.getpid(), signal.SIGKILL)


class Archives(Source):
    """Archives with members, some damaged; names that come twice get a number behind them."""

    name = "archives"

    def __init__(self, files: list[Path]) -> None:
        super().__init__()
        self.files = files
        self.listed = 0

    def fingerprint(self) -> str:
        return "archives"

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        def inputs() -> Iterator[tuple[str, Any]]:
            for file in self.files:
                if file.suffix == ".txt":
                    reject("no archive", file.name)
                    continue
                self.listed += 1
                for name, text in parse_in_workers(read_members, [(file.name, file)], reject, workers=1):
                    yield name, (name, text)

        yield from record_batches(self._distinct(parse_in_workers(parse_member, inputs(), reject)), self.name)

    def _distinct(self, documents: Iterator[Document]) -> Iterator[Document]:
        seen: Counter[str] = Counter()
        for one in documents:
            seen[one.id] += 1
            yield one if seen[one.id] == 1 else one._replace(id=f"{one.id}~{seen[one.id]}")


class Chained(Source):
    """Parses what came of parsing; and then something else."""

    name = "chained"

    def __init__(self, files: list[Path]) -> None:
        super().__init__()
        self.files = files

    def fingerprint(self) -> str:
        return "chained"

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        found = list(parse_in_workers(read_members, [(file.name, file) for file in self.files], reject))
        yield from record_batches(parse_in_workers(parse_member, [(n, (n, t)) for n, t in found], reject), self.name)


class Listed(Source):
    """Documents given in the code, nothing parsed."""

    name = "listed"

    def __init__(self, texts: list[str]) -> None:
        super().__init__()
        self.texts = texts
        self.read_times = 0

    def fingerprint(self) -> str:
        return "listed"

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        self.read_times += 1
        for start in range(0, len(self.texts), 7):
            part = self.texts[start : start + 7]
            yield from record_batches((document(f"l{start + i}", t) for i, t in enumerate(part)), self.name)


class Dying(Source):
    """Inputs that kill the workers on them."""

    name = "dying"

    def __init__(self, folder: Path, number: int) -> None:
        super().__init__()
        self.folder, self.number = folder, number

    def fingerprint(self) -> str:
        return "dying"

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        inputs = [(f"i{n}", (f"i{n}", self.folder)) for n in range(self.number)]
        yield from record_batches(parse_in_workers(die_in_turn, inputs, reject), self.name)


class Shouting(Cleaner):
    """Upper case for long texts, short ones are dropped; notes where the first `z` stood."""

    name = "shouting"
    independent: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.tally: Counter[str] = Counter({"known before": 3})
        self.seen: list[str] = []

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        texts = batch["text"].to_pylist()
        self.seen += [name for name, text in zip(batch["id"].to_pylist(), texts, strict=True) if "z" in text]
        self.tally["letters"] += sum(map(len, texts))
        keep = [len(text) > 4 for text in texts]
        return keep_rows(replace_text(batch, [text.upper() for text in texts]), keep), {"short": keep.count(False)}

    def notes(self) -> list[str]:
        return self.seen

    def add_notes(self, notes: list[str]) -> None:
        self.seen += notes

    def finish(self, out: Path) -> dict[str, Any]:
        return {"seen": self.seen}


class Rare(Cleaner):
    """Removes words that stand in many documents, which it counts first."""

    name = "rare"
    surveys: ClassVar[int] = 1
    independent: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.tally: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def survey(self, batch: pa.RecordBatch, number: int) -> None:
        for text in batch["text"].to_pylist():
            self.counts.update(set(text.split()))

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        texts = []
        for text in batch["text"].to_pylist():
            words = [word for word in text.split() if self.counts[word] < 12]
            self.tally["words"] += len(text.split()) - len(words)
            texts.append(" ".join(words))
        keep = [bool(text) for text in texts]
        return keep_rows(replace_text(batch, texts), keep), {"nothing rare": keep.count(False)}


class Refusing(Cleaner):
    """Fails, as a user's fault or as its own."""

    name = "refusing"
    independent: ClassVar[bool] = True

    def __init__(self, fault: bool) -> None:
        super().__init__()
        self.fault = fault

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        raise ZeroDivisionError("one by nought") if self.fault else DataError("refusing: this text cannot be had")


class Counting(Cleaner):
    """Keeps state: drops every fifth document."""

    name = "counting"

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        keep = [(self.number + place) % 5 > 0 for place in range(batch.num_rows)]
        self.number += batch.num_rows
        return keep_rows(batch, keep), {"every fifth": keep.count(False)}
