"""Data sets of the Hugging Face hub as a source: their data files, named by patterns, fetched once and kept.

Files are fetched one by one while the corpus is read, so `take` fetches no more than it needs and an
interrupted fetch goes on. A data set's loading script is somebody's program and is never run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from domadapt.builtin.corpora.batches import Document
from domadapt.builtin.corpora.files import FilesSource, RowOptions, read_file
from domadapt.components import Options, Reject
from domadapt.errors import DataError
from domadapt.pipeline.fingerprints import cache_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMIT_DIGITS = 40


class HubOptions(RowOptions):
    """Options of `hub`."""

    repo: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[\w.-]+(@\S+)?$")]
    """The data set: `org/name`, or `org/name@revision`. A commit as revision means the same text for ever."""
    data_files: str | list[str]
    """Files of the repository, or patterns of them: `data/train-*.parquet`, `en/*.json.gz`. Read in the order of
    their names; text, JSONL and Parquet, plain or compressed."""
    license: str = ""
    """Licence of all these documents. Default: the one that the data set's card names."""


class HubSource(FilesSource):
    """Data files of a data set on the Hugging Face hub."""

    name: ClassVar[str] = "hub"
    caveat: ClassVar[str] = "tried against a copy of the hub's answers on one machine, not yet against the hub itself"
    Config: ClassVar[type[Options]] = HubOptions

    def fingerprint(self) -> str:
        """Digest of the commit and of the patterns. Asks the hub which commit is meant, unless one is given."""
        listing = self._listing()
        return hashlib.sha256(json.dumps([self._repo, listing["commit"], self._patterns]).encode()).hexdigest()

    @property
    def _repo(self) -> str:
        return str(self.config.repo).partition("@")[0]

    @property
    def _patterns(self) -> list[str]:
        given = self.config.data_files
        return [given] if isinstance(given, str) else list(given)

    def _documents(self, reject: Reject) -> Iterator[Document]:
        from domadapt.builtin.corpora.workers import parse_in_workers

        listing = self._listing()
        names = chosen_files(listing["files"], self._patterns, self._what)
        config = self.config
        if not config.license:
            config = config.model_copy(update={"license": listing["license"]})
        inputs = ((name, (name, self._fetched(name, listing["commit"]), config)) for name in names)
        yield from parse_in_workers(read_file, inputs, reject)

    @property
    def _what(self) -> str:
        return f"data set {self.config.repo}"

    def _fetched(self, name: str, commit: str) -> Path:
        from huggingface_hub import hf_hub_download

        from domadapt.builtin.hub import refusals

        with refusals(f"{self._what}, file {name}"):
            return Path(hf_hub_download(self._repo, name, repo_type="dataset", revision=commit, cache_dir=_folder()))

    def _listing(self) -> dict[str, Any]:
        """Commit, names of all files, and licence. What was told of a commit stays true and is kept."""
        from huggingface_hub import HfApi
        from huggingface_hub.constants import HF_HUB_OFFLINE

        from domadapt.builtin.hub import refusals

        revision = str(self.config.repo).partition("@")[2] or "main"
        kept = _folder() / "listings" / self._repo.replace("/", "--")
        if (known := _read(_kept(kept, revision))) and (len(revision) == _COMMIT_DIGITS or HF_HUB_OFFLINE):
            return known
        with refusals(self._what):
            info = HfApi().dataset_info(self._repo, revision=revision)
        said = getattr(info.card_data, "license", None) or ""
        names = sorted(sibling.rfilename for sibling in info.siblings or ())
        chosen_files(names, self._patterns, self._what)
        licences = said if isinstance(said, list) else [said]
        listing = {"commit": info.sha, "files": names, "license": ", ".join(map(str, licences))}
        for name in {revision, str(info.sha)}:
            _write(_kept(kept, name), listing)
        return listing


def chosen_files(files: Sequence[str], patterns: Sequence[str], what: str) -> list[str]:
    """The files that are named or match a pattern, in the order of their names.

    Raises DataError when a pattern names nothing, and says what to do about a data set that is a script.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        found = {name for name in files if name == pattern or fnmatchcase(name, pattern)}
        if found:
            chosen |= found
            continue
        data = [name for name in files if not name.startswith(".") and not name.endswith((".md", ".py"))]
        scripts = [name for name in files if name.endswith(".py") and "/" not in name]
        if scripts and not data:
            raise DataError(
                f"{what}: it is a loading script ({scripts[0]}), which is never run; name the hub's own Parquet copy: "
                "repo: ORG/NAME@refs/convert/parquet with data_files: default/train/*.parquet, or download its files "
                "and use the source `files`"
            )
        shown = ", ".join(data[:6]) + (f" and {len(data) - 6} more" if len(data) > 6 else "")
        raise DataError(f"{what}: no file is named {pattern!r}; there are {shown or 'no data files'}")
    return sorted(chosen)


def _folder() -> Path:
    return cache_folder() / "hub"


def _kept(folder: Path, revision: str) -> Path:
    return folder / f"{revision.replace('/', '--')}.json"


def _read(file: Path) -> dict[str, Any] | None:
    try:
        listing = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return listing if isinstance(listing, dict) and {"commit", "files", "license"} <= set(listing) else None


def _write(file: Path, listing: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.tmp")
    part.write_text(json.dumps(listing))
    part.replace(file)
