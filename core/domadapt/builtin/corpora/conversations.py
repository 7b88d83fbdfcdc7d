"""Conversations in JSON lines as a source: what `train.objective: sft` learns answers from.

A conversation's text is what its messages say, so that cleaning, duplicates, held-out splits and contamination work on
it as on any document; the messages themselves travel in `meta`, and only they reach the chat template. A cleaning step
that changes text therefore changes nothing of what is learned; one that drops documents does.
"""

from __future__ import annotations

import json
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from domadapt.builtin.corpora.batches import Document, record_batches
from domadapt.builtin.corpora.files import COMPRESSED, LINES
from domadapt.components import Options, Reject, Source
from domadapt.errors import MissingError
from domadapt.pipeline.fingerprints import digest_files, named_files

if TYPE_CHECKING:
    import pyarrow as pa


class ConversationsOptions(Options):
    """Options of `conversations`."""

    path: str | list[str]
    """A file of JSON lines (plain, .gz, .xz or .zst), a folder of them, or several."""
    messages_field: str = "messages"
    """Field that holds the messages: a list of {"role": ..., "content": ...}, roles system, user and assistant."""
    group_field: str | None = None
    """Field whose value keeps conversations in one held-out split. Default: each by itself."""
    license: str = ""
    """Licence of all these conversations."""


class ConversationsSource(Source):
    """JSON lines of conversations, for instruction tuning."""

    name: ClassVar[str] = "conversations"
    Config: ClassVar[type[Options]] = ConversationsOptions

    def _paths(self) -> list[Path]:
        given = [self.config.path] if isinstance(self.config.path, str) else self.config.path
        return [Path(p).expanduser() for p in given]

    def fingerprint(self) -> str:
        """Digest of the files' names and contents."""
        return digest_files(self._paths())

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        """Files in the order of their names."""
        yield from record_batches(self._documents(reject), self.name)

    def _documents(self, reject: Reject) -> Iterator[Document]:
        files = list(named_files(self._paths()))
        if not files:
            raise MissingError(f"source conversations: no file in {', '.join(map(str, self._paths()))}")
        for name, file in files:
            kind = file.with_suffix("").suffix if file.suffix in COMPRESSED else file.suffix
            if kind not in LINES:
                reject("not JSON lines", name)
                continue
            try:
                yield from self._lines(name, file, reject)
            except (OSError, EOFError, UnicodeError, lzma.LZMAError, zlib.error) as error:
                reject("unreadable file", f"{name}: {error}")

    def _lines(self, name: str, file: Path, reject: Reject) -> Iterator[Document]:
        with COMPRESSED.get(file.suffix, open)(file, "rt", encoding="utf-8-sig", errors="replace") as stream:
            for number, line in enumerate(stream, 1):
                if not line.strip():
                    continue
                where = f"{name}:{number}"
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    row = None
                messages = messages_of(row.get(self.config.messages_field)) if isinstance(row, dict) else None
                if messages is None:
                    reject("no messages", where)
                elif not any(m["role"] == "assistant" and m["content"].strip() for m in messages):
                    reject("no answer", where)
                else:
                    group = row.get(self.config.group_field) if self.config.group_field else None
                    said = "\n\n".join(m["content"] for m in messages)
                    meta = {"file": name, "messages": messages}
                    yield Document(where, said, where if group in (None, "") else str(group), self.config.license, meta)


def messages_of(value: Any) -> list[dict[str, str]] | None:
    """Messages with their roles and contents alone; None for anything that is no conversation."""
    if not isinstance(value, list) or not value:
        return None
    messages = []
    for message in value:
        if not isinstance(message, dict):
            return None
        role, content = message.get("role"), message.get("content")
        if role not in ("system", "user", "assistant") or not isinstance(content, str):
            return None
        # json.loads lets lone surrogates through, Arrow does not
        messages.append({"role": role, "content": content.encode("utf-8", "replace").decode()})
    return messages
