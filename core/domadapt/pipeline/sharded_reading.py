"""Sources that parse their inputs in worker processes, read over shards in parallel.

An input belongs to one of 256 shards by the hash of its name, whoever works on them. First the source is read without
parsing: it names its inputs, and each is written to its shard. Then executors parse shards and keep what came of every
input. Then the source is read again and finds its inputs parsed, in its own order: ids, batches and rejections are
those of one process. A source that parses nothing in workers, or twice over, or of which only the first documents are
taken, is read as always.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from domadapt.components import Reject, Source
from domadapt.errors import AdaptError
from domadapt.pipeline.keys import canonical
from domadapt.pipeline.sharded_cleaning import Shards
from domadapt.pipeline.sharding import Task, finished
from domadapt.pipeline.store import remove, write_file

if TYPE_CHECKING:
    import pyarrow as pa

    from domadapt.builtin.corpora.workers import ParseElsewhere

T = TypeVar("T")
NUM_SHARDS = 256
"""Fixed: what was parsed stays of use when another number of workers goes on."""
LISTED, ORDER, PARSED = "listed", "order", "parsed"
_LENGTH = 8


def shard_of(name: str) -> int:
    """The shard of an input by its name."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % NUM_SHARDS


class Frames:
    """A file of pickled objects, compressed lightly."""

    def __init__(self, file: Path) -> None:
        import pyarrow as pa

        self._stream = pa.output_stream(str(file), compression="lz4")

    def write(self, one: Any) -> None:
        """Append an object."""
        data = pickle.dumps(one, pickle.HIGHEST_PROTOCOL)
        self._stream.write(len(data).to_bytes(_LENGTH, "little") + data)

    def close(self) -> None:
        """Finish the file."""
        self._stream.close()


def frames_of(file: Path) -> Iterator[Any]:
    """The objects of a file in their order."""
    import pyarrow as pa

    with pa.input_stream(str(file), compression="lz4") as stream:
        while head := stream.read(_LENGTH):
            yield pickle.loads(stream.read(int.from_bytes(head, "little")))  # noqa: S301 - our own


class ShardedReading:
    """Reads the sources of one corpus. sources: each with the largest number of documents to take (None: all)."""

    def __init__(self, sources: Sequence[tuple[Source, int | None]], shards: Shards) -> None:
        self._folders: dict[Source, Path] = {}
        root = shards.folder.resolve()
        for number, (source, take) in enumerate(sources):
            folder = root / f"source-{number}"
            if take is None and _list_inputs(source, folder):
                self._folders[source] = folder
        tasks = [
            Task(parse_shard, given, folder / PARSED / given.name)
            for folder in self._folders.values()
            for given in sorted((folder / "given").iterdir())
        ]
        for _ in finished(tasks, shards.executor, shards.stage):
            pass

    def read(self, source: Source, reject: Reject) -> Iterator[pa.RecordBatch]:
        """The documents of a source as it gives them itself."""
        if source not in self._folders:
            return source.read(reject)
        return _each(source.read(reject), _Replay(self._folders[source], reject).parse)


def _list_inputs(source: Source, folder: Path) -> bool:
    """Write the inputs of a source to their shards; False when they cannot be had beforehand."""
    configured = canonical(source.config.model_dump(mode="json"))
    if (folder / LISTED).is_file() and (folder / LISTED).read_text() == configured:
        return True
    remove(folder)
    (folder / "given").mkdir(parents=True)
    with ExitStack() as files:
        listing = _Listing(folder, files)
        try:
            for _ in _each(source.read(listing.reject), listing.parse):
                if not listing.calls:
                    return False
        except AdaptError:
            return False  # what is wrong shows when it is read
    if listing.calls != 1:
        return False
    write_file(folder / LISTED, configured.encode())
    return True


def _each(things: Iterable[T], instead: ParseElsewhere | None) -> Iterator[T]:
    """The things, each asked for while `instead` parses; workers of this process for None."""
    from domadapt.builtin.corpora.workers import parsing_by

    iterator, nothing = iter(things), object()
    while True:
        with parsing_by(instead):
            one: Any = next(iterator, nothing)
        if one is nothing:
            return
        yield one


class _Listing:
    """Writes down inputs and their order, and gives no results."""

    def __init__(self, folder: Path, files: ExitStack) -> None:
        self.calls = 0
        self._folder, self._files = folder, files
        self._shards: dict[int, Frames] = {}
        self._order = self._open(folder / ORDER)
        self._asking = False

    def _open(self, file: Path) -> Frames:
        frames = Frames(file)
        self._files.callback(frames.close)
        return frames

    def reject(self, reason: str, where: str) -> None:
        """What the source rejects between its inputs is kept in its place; the rest it will reject again."""
        if self._asking:
            self._order.write(("reject", reason, where))

    def parse(
        self, parse: Any, inputs: Iterable[tuple[str, Any]], reject: Reject, how: Mapping[str, Any]
    ) -> Iterator[Any]:
        """In place of `parse_in_workers`."""
        self.calls += 1
        if self.calls > 1:
            return
        for where, value in self._asked(inputs):
            shard = shard_of(where)
            if shard not in self._shards:
                self._shards[shard] = self._open(self._folder / "given" / f"{shard:03d}")
                self._shards[shard].write((parse, dict(how)))
            self._shards[shard].write((where, value))
            self._order.write(("input", where))
        yield from ()

    def _asked(self, inputs: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
        """Inputs that come from parsing something else (the members of an archive) are parsed here and now."""
        self._asking = True
        for entry in _each(inputs, None):
            self._asking = False
            yield entry
            self._asking = True
        self._asking = False


def parse_shard(given: Path, out: Path) -> None:
    """Parse the inputs of one shard. For workers."""
    from domadapt.builtin.corpora.workers import parse_in_workers

    frames = frames_of(given)
    parse, how = next(frames)
    results = Frames(out / PARSED)

    def reject(reason: str, where: str) -> None:
        results.write(("reject", reason, where))

    try:
        for where, value in frames:
            for one in parse_in_workers(parse, [(where, value)], reject, **{**how, "workers": 1}):
                results.write(("item", one))
            results.write(("end", where))
    finally:
        results.close()


class _Replay:
    """Gives what came of the inputs, in their order."""

    def __init__(self, folder: Path, reject: Reject) -> None:
        self._folder, self._reject = folder, reject
        self._given = False

    def parse(
        self, parse: Any, inputs: Iterable[tuple[str, Any]], reject: Reject, how: Mapping[str, Any]
    ) -> Iterator[Any]:
        """In place of `parse_in_workers`."""
        from domadapt.builtin.corpora.workers import parse_in_workers

        if self._given:
            yield from _each(parse_in_workers(parse, inputs, reject, **how), None)
            return
        self._given = True
        shards: dict[int, Iterator[Any]] = {}
        for kind, *what in frames_of(self._folder / ORDER):
            if kind == "reject":
                self._reject(*what)
                continue
            shard = shard_of(what[0])
            if shard not in shards:
                shards[shard] = frames_of(self._folder / PARSED / f"{shard:03d}" / PARSED)
            for came, *of_it in shards[shard]:
                if came == "end":
                    assert of_it == what
                    break
                if came == "item":
                    yield of_it[0]
                else:
                    reject(*of_it)
