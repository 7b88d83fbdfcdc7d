"""The store: results by content key, `.store/STAGE/KEY/`, published by one function.

A directory without a valid `artifact.json` does not exist. Work happens in `KEY.partial/`; publishing
fsyncs every file, writes the manifest with their sha256 last, and renames. A process may be killed at any
moment: what is there is whole, what is not is made again or continued.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from domadapt.artifacts import MANIFEST
from domadapt.errors import DataError, MissingError
from domadapt.pipeline.fingerprints import sha256_file

SCHEMA = 1


def fsync_path(path: Path) -> None:
    """Make a file's contents, or a folder's list of names, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, data: bytes) -> None:
    """Replace a file's contents in one step: a reader sees the old or the new, never a part."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    fsync_path(part)
    os.replace(part, path)
    fsync_path(path.parent)


def publish(work: Path, final: Path, manifest: Mapping[str, Any]) -> None:
    """Turn a work folder into a finished artifact under its final name.

    `manifest` is completed with the schema, every file's size and sha256, and its own. When another process
    published the same key meanwhile, theirs stays and ours is dropped: equal keys mean equal contents.
    """
    files = {}
    for file in sorted(f for f in work.rglob("*") if f.is_file() and f.name != MANIFEST):
        fsync_path(file)
        files[file.relative_to(work).as_posix()] = {"bytes": file.stat().st_size, "sha256": sha256_file(file)}
    for folder in sorted((f for f in work.rglob("*") if f.is_dir()), reverse=True):
        fsync_path(folder)
    whole = {"schema": SCHEMA, **manifest, "files": files}
    text = json.dumps({**whole, "sha256": _own_digest(whole)}, indent=1, sort_keys=True, ensure_ascii=False)
    write_file(work / MANIFEST, text.encode() + b"\n")
    if is_intact(final):
        shutil.rmtree(work)
        return
    if final.exists():
        remove(final)
    os.rename(work, final)
    fsync_path(final.parent)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """The same file under another name, or a copy where the file system knows no links between the two places."""
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def remove(path: Path) -> None:
    """Remove a folder so that a kill in between never leaves half of it under its name."""
    if not path.exists():
        return
    trash = path.with_name(f".trash-{path.name}-{os.getpid()}-{time.monotonic_ns()}")
    os.rename(path, trash)
    shutil.rmtree(trash)


def manifest_of(path: Path) -> dict[str, Any] | None:
    """The manifest of a published folder, or None when there is none that can be read."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        return None
    digest = manifest.pop("sha256", None)
    return manifest if digest == _own_digest(manifest) else None


def _own_digest(manifest: Mapping[str, Any]) -> str:
    """Of the manifest itself: a flipped bit in a fact is damage like any other."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def is_intact(path: Path) -> bool:
    """Whether a folder is a finished artifact whose files are all there with their sizes."""
    manifest = manifest_of(path)
    if manifest is None:
        return False
    try:
        return all((path / name).stat().st_size == entry["bytes"] for name, entry in manifest["files"].items())
    except OSError:
        return False


def verify(path: Path) -> None:
    """Compare every file with its sha256. Raises DataError naming the first that differs."""
    manifest = manifest_of(path)
    if manifest is None:
        raise DataError(f"{path}: not a finished artifact")
    for name, entry in manifest["files"].items():
        file = path / name
        if not file.is_file() or sha256_file(file) != entry["sha256"]:
            raise DataError(f"{file}: damaged (its sha256 is not that of the manifest); delete {path} and run again")


class Store:
    """Results by stage and key below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, kind: str, key: str) -> Path:
        """Where a finished result lies, or would."""
        return self.root / kind / key

    def work_path(self, kind: str, key: str) -> Path:
        """Where the work on a result happens; emptied at every attempt."""
        return self.root / kind / f"{key}.partial"

    def scratch_path(self, kind: str, key: str) -> Path:
        """What an interrupted attempt left for the next one (a trainer's checkpoints)."""
        return self.root / kind / f"{key}.scratch"

    def find(self, kind: str, key: str) -> Path | None:
        """The finished result of this key, if there is one."""
        path = self.path(kind, key)
        return path if is_intact(path) else None

    @contextmanager
    def lock(self, kind: str, key: str) -> Iterator[None]:
        """Hold a key while working on it; another process that wants the same result waits."""
        folder = self.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{kind}-{key}.lock"):
            yield

    def entries(self) -> Iterator[tuple[str, str, Path]]:
        """All folders of the store as (kind, key or key.partial, path), trash included."""
        if not self.root.is_dir():
            return
        for kind in sorted(p for p in self.root.iterdir() if p.is_dir() and not p.name.startswith(".")):
            for path in sorted(p for p in kind.iterdir() if p.is_dir()):
                yield kind.name, path.name, path


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a run's folder. Raises MissingError when it cannot be written, or naming the holder it has already."""
    owner = folder / "owner.json"
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError) as error:  # filelock: NotImplementedError where files cannot be locked
        if isinstance(error, Timeout):
            raise MissingError(f"{folder}: {_holder(owner)} is working on this run; wait for it or end it") from None
        raise MissingError(
            f"{folder}: a run's folder cannot be made or locked there ({error}); "
            "set ADAPT_RUNS to a folder that can be written"
        ) from error
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        write_file(owner, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode())
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _holder(owner: Path) -> str:
    try:
        holder = json.loads(owner.read_bytes())
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"
