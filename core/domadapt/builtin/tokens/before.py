"""Windows that lie in the store already: another mixture of the same texts changes their order, not the windows.

So the arms of a sweep over ratios, the small runs of a law and a training that goes on with other weights tokenise once
and keep one copy: files are hard links where the file system has them. What windows are made of is told by a digest
beside them; nothing is taken whose files are not, byte for byte, what its manifest says.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domadapt.artifacts import SPLITS, Checkpoint, Corpus, Split, TokenStore
from domadapt.builtin.tokens.packing import Packing
from domadapt.builtin.tokens.tokenizer import DocumentTokenizer
from domadapt.components import Side, Stage
from domadapt.errors import DataError
from domadapt.pipeline.fingerprints import sha256_file
from domadapt.pipeline.store import link_or_copy, verify
from domadapt.recipe.mix import Mix

FILE = "windows.json"
VERSION = 1
"""Of how text becomes windows: to be raised when the same settings give others."""
COUNTS = ("documents", "num_windows", "num_tokens", "padding", "dropped", "truncated", "cut")
Packings = Mapping[Split, Mapping[str, Packing]]


@dataclass(frozen=True)
class Windows:
    """What is known of packed windows. sources: of each side, in the order of its parts.

    counted: what tokenising tells in the facts of the stage.
    """

    made_of: str
    sources: Mapping[Side, list[str]]
    packings: Packings
    counted: Mapping[str, Any]

    def write(self, out: Path) -> None:
        """Put it beside the windows."""
        packings = {
            split: {part: {name: getattr(one, name) for name in COUNTS} for part, one in parts.items()}
            for split, parts in self.packings.items()
        }
        told = {"made_of": self.made_of, "sources": self.sources, "packings": packings, "counted": self.counted}
        (out / FILE).write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Windows | None:
        """What stands beside the windows of a folder; None when nothing does."""
        try:
            told = json.loads((folder / FILE).read_bytes())
            counts = told["packings"].items()
            packings = {split: {part: Packing(**one) for part, one in of.items()} for split, of in counts}
            return cls(told["made_of"], told["sources"], packings, told["counted"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


def digest_of(
    corpora: Mapping[Side, Corpus], model: Checkpoint, tokenizer: DocumentTokenizer, mix: Mix, objective: str
) -> str:
    """What decides the windows: documents, tokenizer, length, packing, objective."""
    made_of = {
        "version": VERSION,
        "corpora": {side: _digest_of_corpus(corpus) for side, corpus in corpora.items()},
        "tokenizer": {file.name: sha256_file(file) for file in model.tokenizer_files},
        "ids": [tokenizer.bos, tokenizer.eos, tokenizer.pad, tokenizer.dtype.name],
        "mix": {"seq_len": mix.seq_len, "packing": mix.packing},
        "objective": objective,
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def _digest_of_corpus(corpus: Corpus) -> list[Any]:
    files = {name: entry["sha256"] for name, entry in corpus.manifest["files"].items() if name.endswith(".parquet")}
    return [files, getattr(corpus, "share", 1.0)]  # a small run's share of the documents


def found(stage: Stage, made_of: str) -> Iterator[tuple[Path, Windows]]:
    """Finished windows made of the same, beside the stage's own place in the store."""
    for folder in sorted(stage.scratch.parent.iterdir()):
        known = None if "." in folder.name else Windows.read(folder)  # work, scratch and trash have a dot
        if known is not None and known.made_of == made_of:
            yield folder, known


def take(folder: Path, out: Path) -> bool:
    """Put the windows of a finished stage into `out`; False, and nothing there, when they are damaged or go away."""
    try:
        verify(folder)
        names = [name for name in TokenStore(folder).manifest["files"] if "/" in name]
        for name in names:
            target = out / name
            target.parent.mkdir(exist_ok=True)
            link_or_copy(folder / name, target)
    except (DataError, FileNotFoundError):
        for split in SPLITS:
            shutil.rmtree(out / split, ignore_errors=True)
        return False
    return True
