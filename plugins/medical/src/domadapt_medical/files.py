"""Where articles, citations and guidelines lie: single files, folders and archives, as their publishers hand them out.

Archives are streamed; nothing is unpacked to disk. A member that is no article (a picture, a list of
files) is passed over, a damaged one is rejected, and so is what follows it in a damaged `.tar.gz`.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, ClassVar

from domadapt.components import Reject, Source
from domadapt.errors import DataError, MissingError

MAX_BYTES = 32 << 20
"""Longest article read. The longest of PMC's are about 20 MB; a bomb must not fill the memory: a parsed document takes
up to 33 times its bytes (measured on paragraphs of one letter)."""

MAX_HEADER = 1 << 20
"""Longest header of a member of an archive."""

_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_ARTICLES = (".xml", ".nxml")
_OPENERS: dict[str, Callable[[IO[bytes]], Any]] = {"": lambda stream: stream, ".gz": gzip.open, ".xz": lzma.open}
_TAPES = (".tar", ".tar.gz", ".tgz", ".tar.xz")
SUFFIXES = (*(a + c for a in _ARTICLES for c in _OPENERS), ".zip", *_TAPES)
# what the readers of the standard library raise for damaged, cut or encrypted data
DAMAGE = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
)


def find_files(paths: Iterable[Path], suffixes: tuple[str, ...], what: str) -> list[tuple[str, Path]]:
    """The files to read, with their names (relative to the folder they were found in), in a fixed order.

    suffixes: what their names end in.  what: they hold, for messages.
    Raises MissingError when a path does not exist or a folder holds nothing to read, DataError for a
    single file whose name says that it is something else.
    """
    found: list[tuple[str, Path]] = []
    wanted = ", ".join(suffixes)
    for given in paths:
        path = given.expanduser()
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.name.lower().endswith(suffixes) and p.is_file())
            if not inside:
                raise MissingError(f"{given}: no {what} in this folder; wanted files that end in {wanted}")
            found += [(p.relative_to(path).as_posix(), p) for p in inside]
        elif not path.exists():
            raise MissingError(
                f"{given}: no such file or folder; set the source's option `path` to {what} "
                "on this machine, or use the source `medical.sample`, which needs no data"
            )
        elif not path.name.lower().endswith(suffixes):
            raise DataError(f"{given}: not the name of a file with {what}; wanted one that ends in {wanted}")
        else:
            found.append((path.name, path))
    return found


def open_file(path: Path) -> IO[bytes]:
    """A file as bytes, unpacked when its name ends in .gz or .xz."""
    suffix = path.suffix.lower()
    opener: Any = gzip.open if suffix == ".gz" else lzma.open if suffix == ".xz" else open
    return opener(path, "rb")  # type: ignore[no-any-return]


class FileSource(Source):
    """A source that reads the files of its option `path`."""

    suffixes: ClassVar[tuple[str, ...]]
    """What their names end in."""
    what: ClassVar[str]
    """What they hold, for messages."""

    def files(self) -> list[tuple[str, Path]]:
        """The files to read with their names, in a fixed order. Raises MissingError and DataError."""
        path = self.config.path
        return find_files([path] if isinstance(path, Path) else path, self.suffixes, self.what)

    def fingerprint(self) -> str:
        """Digest of the files' names and contents: names make ids, and PubMed's say which file is newer."""
        from domadapt.pipeline.fingerprints import digest_files

        files = self.files()
        content = digest_files([path for _, path in files])
        return hashlib.sha256("\n".join([content, *(name for name, _ in files)]).encode()).hexdigest()


def holds_many(path: Path) -> bool:
    """Whether a file is an archive, by its name."""
    return path.name.lower().endswith((".zip", *_TAPES))


def read_documents(given: tuple[str, Path], reject: Reject) -> Iterator[tuple[str, bytes]]:
    """The XML documents in one file (name, place) as (where, bytes); whatever cannot be read is rejected."""
    name, path = given
    lower = path.name.lower()
    reader = _read_tape if lower.endswith(_TAPES) else _read_zip if lower.endswith(".zip") else _read_single
    try:
        yield from reader(name, path, reject)
    except DAMAGE:
        reject("damaged file", name)


def _read_single(name: str, path: Path, reject: Reject) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as stream:
        yield from _decoded(name, stream, reject)


def _read_zip(name: str, path: Path, reject: Reject) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if _is_article(member.filename):
                where = f"{name}!{member.filename}"
                try:
                    with archive.open(member) as stream:
                        yield from _decoded(where, stream, reject)
                except DAMAGE:
                    reject("damaged file", where)


def _read_tape(name: str, path: Path, reject: Reject) -> Iterator[tuple[str, bytes]]:
    # unpacked by gzip and lzma, not by tarfile: its own reader of streams stumbles over a cut header (TypeError) and
    # checks no sum
    with path.open("rb") as file, _unpacked(file) as stream:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as archive:
            while (member := archive.next()) is not None:
                # tarfile remembers all members: half a gigabyte for a package of PMC
                archive.members.clear()  # type: ignore[attr-defined]
                if member.isfile() and _is_article(member.name):
                    content = archive.extractfile(member)
                    assert content is not None  # tarfile: None only for what is no file
                    yield from _decoded(f"{name}!{member.name}", content, reject)
        while stream.read(1 << 18):
            pass  # to the end, where the sum stands


def _unpacked(file: BinaryIO) -> IO[bytes]:
    """A stream's content, whatever its name says: `.tar` files are often gzip's."""
    magic = file.read(6)
    file.seek(0)
    opener: Any = gzip.open if magic[:2] == b"\x1f\x8b" else lzma.open if magic == b"\xfd7zXZ\x00" else None
    return opener(file, "rb") if opener else file


class _Member(tarfile.TarInfo):
    """A member whose long name or other header fits into memory: tarfile reads headers of any size."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        member = super().frombuf(buf, encoding, errors)
        if (member.size > MAX_HEADER and member.type in _HEADERS) or member.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("oversized header")
        return member


def _is_article(name: str) -> bool:
    return name.lower().endswith(SUFFIXES[: len(_ARTICLES) * len(_OPENERS)])


def _decoded(where: str, stream: IO[bytes], reject: Reject) -> Iterator[tuple[str, bytes]]:
    compression = next((c for c in _OPENERS if c and where.lower().endswith(c)), "")
    data: bytes = _OPENERS[compression](stream).read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        reject("over 32 MiB", where)
    else:
        yield where, data
