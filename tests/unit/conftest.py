"""What unit tests of the pipeline and of the built-in components start from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from domadapt.artifacts import SPLITS, Checkpoint, Corpus, Split, TokenStore, document_schema
from domadapt.components import Stage
from domadapt.pipeline.store import publish
from domadapt.recipe.mix import Mix
from domadapt.testing.models import write_tiny_model

if TYPE_CHECKING:
    from domadapt.report.experiment import Arm

Texts = Mapping[Split, Sequence[str]]
MakeStage = Callable[..., Stage]
MakeCorpus = Callable[..., Corpus]
MakeTokens = Callable[..., TokenStore]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A random Llama with a byte tokenizer and room for 64 tokens. Not to be written to."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def four_arms(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Arm]:
    """The arms of an experiment with a key of four values."""
    from .experiments import four_arms

    return four_arms(tmp_path_factory.mktemp("arms"))


@pytest.fixture
def make_stage(tmp_path: Path) -> MakeStage:
    """Stages whose events are collected in `stage.facts["events"]`."""

    def make(name: str = "train", *, seed: int = 1234, **settings: Any) -> Stage:
        scratch = tmp_path / f"{name}.scratch"
        scratch.mkdir(exist_ok=True)
        events: list[dict[str, Any]] = []

        def emit(kind: str, data: Mapping[str, Any]) -> None:
            events.append({"kind": kind, **data})

        stage = Stage(name, "0" * 16, seed, "test", lambda *_: {}, scratch, **{"emit": emit, **settings})
        stage.facts["events"] = events
        return stage

    return make


@pytest.fixture
def make_corpus(tmp_path: Path) -> MakeCorpus:
    """Published corpora with the given texts in each split."""
    number = 0

    def make(texts: Texts, groups: Mapping[str, str] | None = None) -> Corpus:
        nonlocal number
        number += 1
        work, final = tmp_path / f"corpus-{number}.partial", tmp_path / f"corpus-{number}"
        write_corpus(work, texts, groups or {})
        publish(work, final, {"kind": "corpus", "facts": {}})
        return Corpus(final)

    return make


def write_corpus(folder: Path, texts: Texts, groups: Mapping[str, str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for split in SPLITS:
        (folder / split).mkdir(parents=True)
        names = [f"{split}-{i}" for i in range(len(texts.get(split, ())))]
        columns = {
            "id": names,
            "text": list(texts.get(split, ())),
            "source": ["test"] * len(names),
            "license": [""] * len(names),
            "group": [groups.get(name, name) for name in names],
            "meta": ["{}"] * len(names),
        }
        pq.write_table(pa.table(columns, document_schema()), folder / split / "documents-00000.parquet")


@pytest.fixture
def make_tokens(tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage) -> MakeTokens:
    """Published token stores made of the given corpora by the tokens stage."""
    from domadapt.builtin.mixing.replay import ReplayMixer
    from domadapt.builtin.tokens.build import build_tokens

    number = 0

    def make(
        corpora: Mapping[str, Corpus],
        *,
        num_samples: int | None = None,
        samples_per_step: int = 1,
        seed: int = 1234,
        **mix: Any,
    ) -> TokenStore:
        nonlocal number
        number += 1
        work, final = tmp_path / f"tokens-{number}.partial", tmp_path / f"tokens-{number}"
        work.mkdir()
        facts = build_tokens(
            corpora,  # type: ignore[arg-type]
            tiny_model,
            ReplayMixer(),
            Mix.model_validate({"seq_len": 16, "replay": 0.0, **mix}),
            num_samples=num_samples,
            samples_per_step=samples_per_step,
            out=work,
            stage=make_stage("tokens", seed=seed),
        )
        publish(work, final, {"kind": "tokens", "facts": json.loads(json.dumps(facts))})
        return TokenStore(final)

    return make
