"""What has been fetched, on disk under the paths EDGAR gives it; a file is there whole or not at all.

Beside each file lies its size and sha256, written after it, and looked at whenever it is read: a file without them, or
not as they say, is fetched again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from domadapt.errors import MissingError

RECORD = ".fetched.json"


class Shelf:
    """Files by their path on EDGAR ("edgar/data/320193/0000320193-24-000123.txt") in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where a file lies. Raises ValueError for a name that leads out of the folder."""
        parts = name.split("/")
        if not all(part and part.isprintable() and set(part) != {"."} and len(part) < 200 for part in parts):
            raise ValueError(f"not a path on EDGAR: {name[:200]!r}")
        if "\\" in name or ":" in name:
            raise ValueError(f"not a path on EDGAR: {name[:200]!r}")
        return self.folder.joinpath(*parts)

    def read(self, name: str, max_age: float | None = None) -> bytes | None:
        """The file when it is there as it was fetched, at most `max_age` seconds ago; b"" when EDGAR had none."""
        path = self.path(name)
        try:
            record = json.loads(path.with_name(path.name + RECORD).read_bytes())
            body = path.read_bytes() if record["bytes"] is not None else b""
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if max_age is not None and time.time() - float(record.get("time", 0)) > max_age:
            return None
        whole = record["bytes"] is None or record["sha256"] == hashlib.sha256(body).hexdigest()
        return body if whole else None

    def has(self, name: str) -> bool:
        """Whether a file was fetched, without reading it."""
        path = self.path(name)
        return path.with_name(path.name + RECORD).is_file()

    def write(self, name: str, body: bytes | None) -> None:
        """Keep a file; None: EDGAR has none of this name."""
        path = self.path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if body is not None:
                _replace(path, body)
            size = None if body is None else len(body)
            record = {"bytes": size, "sha256": hashlib.sha256(body or b"").hexdigest(), "time": int(time.time())}
            _replace(path.with_name(path.name + RECORD), json.dumps(record).encode())
        except OSError as error:
            raise MissingError(
                f"sec.edgar: {path} cannot be written ({error.strerror}); make room or set `folder`"
            ) from error

    def fetch(self, name: str, get: Callable[[], bytes | None], max_age: float | None = None) -> bytes:
        """The file, got by `get` when it is not there; one of several processes gets it, the others wait."""
        from filelock import FileLock

        body = self.read(name, max_age)
        if body is not None:
            return body
        locks = self.folder / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        # A few hundred locks serve any number of files; two that meet in one only wait for each other.
        with FileLock(locks / hashlib.sha256(name.encode()).hexdigest()[:2]).acquire(poll_interval=0.02):
            body = self.read(name, max_age)
            if body is None:
                got = get()
                self.write(name, got)
                body = got or b""
        return body


def _replace(path: Path, body: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(body)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
