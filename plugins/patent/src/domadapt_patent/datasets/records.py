"""JSON records out of files: one a file, or one a line, told by content; never more than one record in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from domadapt_patent.archives import damage_named, streams
from domadapt_patent.redbook.patent import NotAPatentError

LONGEST_RECORD = 1 << 25
"""Bytes; the longest applications have a few million characters."""


def records(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes | None]]:
    """The JSON records of a file or an archive, each with where it is from; None for one that is too long.

    Raises DamagedArchiveError after the records that could be read.
    """
    with damage_named():
        for name, stream in streams(path, wanted):
            for record in separated(stream):
                yield name, record


def separated(stream: IO[bytes]) -> Iterator[bytes | None]:
    """The records of a stream: lines that are objects, or all of it where an object goes over many lines."""
    lines = _lines(stream)
    first = next((line for line in lines if line is None or line.strip()), b"")
    if first is None or _is_record(first):
        yield first
        yield from (line for line in lines if line is None or line.strip())
        return
    whole: list[bytes] = [first]
    held = len(first)
    for line in lines:
        held += LONGEST_RECORD if line is None else len(line)
        if held > LONGEST_RECORD:
            yield None
            return
        whole.append(line or b"")
    if held:
        yield b"".join(whole)


def _is_record(line: bytes) -> bool:
    text = line.strip().removeprefix(b"\xef\xbb\xbf")
    return text.startswith(b"{") and text.endswith(b"}")


def _lines(stream: IO[bytes]) -> Iterator[bytes | None]:
    while line := stream.readline(LONGEST_RECORD + 1):
        if len(line) <= LONGEST_RECORD:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(LONGEST_RECORD + 1)
        yield None


def record(data: bytes) -> dict[str, Any]:
    """The object of a record.

    Raises NotAPatentError "damaged JSON".
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise NotAPatentError("damaged JSON") from None
    if not isinstance(found, dict):
        raise NotAPatentError("damaged JSON")
    return found


def text(found: dict[str, Any], name: str) -> str:
    """A field's text without what UTF-8 files cannot hold; "" when it is missing or no text."""
    value = found.get(name)
    if not isinstance(value, str):
        return ""
    return "".join(char for char in value if char >= " " or char in "\n\t").encode("utf-8", "ignore").decode().strip()


def paragraphs(value: str) -> tuple[str, ...]:
    """The lines of a text, blanks made single."""
    return tuple(line for raw in value.split("\n") if (line := " ".join(raw.split())))
