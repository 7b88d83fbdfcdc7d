"""Fixtures for tests of packs, there as soon as adapt is installed: a tiny model, a stage, a corpus, a store.

pytest imports this module in every project of the environment, so it imports nothing but pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from domadapt.artifacts import Checkpoint, Corpus, Split
    from domadapt.components import Stage
    from domadapt.pipeline.store import Store


@pytest.fixture(scope="session")
def adapt_model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A random Llama of two small layers with a byte tokenizer and a chat template. Not to be written to."""
    from domadapt.testing.models import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("adapt") / "model", context=1024)


@pytest.fixture
def adapt_stage(tmp_path: Path) -> Callable[..., Stage]:
    """Makes stages: `adapt_stage("eval.x")`. What a component tells is kept in `stage.facts["events"]`."""
    from domadapt.components import Stage

    def make(name: str = "test", *, seed: int = 1234) -> Stage:
        events: list[dict[str, Any]] = []
        scratch = tmp_path / f"{name}.scratch"
        scratch.mkdir(exist_ok=True)

        def emit(kind: str, data: Mapping[str, Any]) -> None:
            events.append({"kind": kind, **data})

        stage = Stage(name, "0" * 16, seed, "test", lambda *_: {}, scratch, emit=emit, run=tmp_path)
        stage.facts["events"] = events
        return stage

    return make


@pytest.fixture
def adapt_store(tmp_path: Path) -> Store:
    """An empty store of results, as a run keeps them in runs/.store."""
    from domadapt.pipeline.store import Store

    return Store(tmp_path / ".store")


@pytest.fixture
def adapt_corpus(tmp_path: Path) -> Callable[[Mapping[Split, Sequence[str]]], Corpus]:
    """Makes finished corpora: `adapt_corpus({"train": [...], "report": [...]})`."""
    number = 0

    def make(texts: Mapping[Split, Sequence[str]]) -> Corpus:
        nonlocal number
        number += 1
        import pyarrow as pa
        import pyarrow.parquet as pq

        from domadapt.artifacts import SPLITS, Corpus, document_schema
        from domadapt.pipeline.store import publish

        work, final = tmp_path / f"corpus-{number}.partial", tmp_path / f"corpus-{number}"
        for split in SPLITS:
            (work / split).mkdir(parents=True)
            rows = [
                {"id": f"{split}-{at}", "text": text, "source": "test", "license": "CC0-1.0", "group": f"{split}-{at}"}
                for at, text in enumerate(texts.get(split, ()))
            ]
            table = pa.Table.from_pylist([{**row, "meta": "{}"} for row in rows], schema=document_schema())
            pq.write_table(table, work / split / "documents-00000.parquet")
        publish(work, final, {"kind": "corpus", "facts": {}})
        return Corpus(final)

    return make
