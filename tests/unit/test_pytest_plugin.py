"""The fixtures that authors of packs find in pytest once adapt is installed."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from domadapt.artifacts import Checkpoint, Corpus, document_schema
from domadapt.components import Stage
from domadapt.errors import DataError
from domadapt.pipeline.store import Store, publish, verify
from domadapt.testing import pytest_plugin

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# an environment that was installed before the entry point existed has them by these names only
adapt_corpus, adapt_model = pytest_plugin.adapt_corpus, pytest_plugin.adapt_model
adapt_stage, adapt_store = pytest_plugin.adapt_stage, pytest_plugin.adapt_store


def test_pytest_finds_them_by_an_entry_point() -> None:
    assert PROJECT["entry-points"]["pytest11"] == {"domadapt": pytest_plugin.__name__}


def test_the_model_is_a_whole_checkpoint(adapt_model: Checkpoint) -> None:
    names = {file.name for file in adapt_model.path.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "generation_config.json"} <= names


def test_a_stage_remembers_what_a_component_tells(adapt_stage: Callable[..., Stage]) -> None:
    stage = adapt_stage("eval.x", seed=7)
    stage.event("note", text="seen")
    stage.progress(1, 2, "items")
    assert [event["kind"] for event in stage.facts["events"]] == ["note", "progress"]
    assert stage.scratch.is_dir()
    assert stage.rng("order").random() == adapt_stage("eval.x", seed=7).rng("order").random()


def test_a_corpus_is_a_finished_artifact_with_three_splits(
    adapt_corpus: Callable[[Mapping[str, Sequence[str]]], Corpus],
) -> None:
    corpus = adapt_corpus({"train": ["One.", "Two."], "report": ["Three."]})
    verify(corpus.path)
    (batch,) = corpus.batches("train")
    assert batch["text"].to_pylist() == ["One.", "Two."]
    assert batch.schema.names == document_schema().names
    assert [row["text"] for batch in corpus.batches("report") for row in batch.to_pylist()] == ["Three."]
    assert not [row for batch in corpus.batches("selection") for row in batch.to_pylist()]


def test_a_store_is_empty_and_keeps_what_is_published(adapt_store: Store) -> None:
    assert adapt_store.find("eval", "0" * 16) is None
    work = adapt_store.work_path("eval", "0" * 16)
    work.mkdir(parents=True)
    (work / "scores.json").write_text("{}")
    publish(work, adapt_store.path("eval", "0" * 16), {"kind": "scorecard", "facts": {}})
    found = adapt_store.find("eval", "0" * 16)
    assert found is not None
    (found / "scores.json").write_text("[]")
    with pytest.raises(DataError, match=r"scores\.json"):
        verify(found)
