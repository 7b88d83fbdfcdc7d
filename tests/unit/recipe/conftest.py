"""A registry of a few small components, and a domain pack with recipes, for tests of recipes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from domadapt.components import (
    Benchmark,
    Cleaner,
    DomainPack,
    Evaluator,
    Merger,
    Mixer,
    Options,
    Source,
    TrainingBackend,
)
from domadapt.recipe.check import ResolvedRecipe, resolve
from domadapt.recipe.load import load_recipe


class Files(Source):
    """Text files of a folder."""

    name = "files"

    class Config(Options):
        path: str
        """Folder of the files."""
        fields: dict[str, str] = Field(default_factory=dict)
        """Columns."""
        codes: list[str] = Field(default_factory=list)
        """Only these."""
        pause: float = Field(0.1, ge=0)
        """Seconds."""
        form: Literal["10-K", "8-K"] = "10-K"
        """Which."""

    def fingerprint(self) -> str:
        return str(self.config.path)

    def read(self, reject: Callable[[str, str], None]) -> Iterator[Any]:
        return iter(())


class Sample(Source):
    """A source without options."""

    name = "sample"

    def fingerprint(self) -> str:
        return "sample"

    def read(self, reject: Callable[[str, str], None]) -> Iterator[Any]:
        return iter(())


class _Keep(Cleaner):
    def clean(self, batch: Any) -> tuple[Any, Mapping[str, int]]:
        return batch, {}


class Normalize(_Keep):
    """No options."""

    name = "normalize"


class MinLength(_Keep):
    """One option."""

    name = "min_length"

    class Config(Options):
        chars: int = Field(200, gt=0)
        """Characters."""


class Exact(_Keep):
    """A dotted name."""

    name = "dedup.exact"


class MinHash(_Keep):
    """A dotted name and an option."""

    name = "dedup.minhash"

    class Config(Options):
        threshold: float = Field(0.8, gt=0, lt=1)
        """Similarity."""


class Replay(Mixer):
    """Mixer."""

    name = "replay"

    def order(self, request: Any) -> Any:
        return []


class Torch(TrainingBackend):
    """Backend with an option."""

    name = "torch"

    class Config(Options):
        compile: bool = False
        """Whether to compile."""

    def train(self, request: Any, out: Path, stage: Any) -> dict[str, Any]:
        return {}


class Megatron(TrainingBackend):
    """Backend with another option."""

    name = "megatron"

    class Config(Options):
        tensor_parallel: int = 1
        """Ranks."""

    def train(self, request: Any, out: Path, stage: Any) -> dict[str, Any]:
        return {}


class _Merge(Merger):
    def merge(self, ancestor: Any, models: Any, out: Path, stage: Any) -> dict[str, Any]:
        return {}


class Ties(_Merge):
    """Takes density, weight and engine from the general knobs."""

    name = "ties"

    class Config(Options):
        density: float = Field(1.0, gt=0, le=1)
        """Share kept."""
        weight: float = 0.5
        """Share of the CPT model."""
        engine: Literal["auto", "mergekit"] = "auto"
        """Who computes."""
        lambda_: float = Field(1.0, validation_alias="lambda", serialization_alias="lambda")
        """Scale."""


class Shares(Options):
    """A value for each parent."""

    cpt: float = Field(gt=0, le=1)
    """Of the CPT model."""
    instruct: float = Field(gt=0, le=1)
    """Of the instruct model."""


class Dare(_Merge):
    """Wants a density, one for all parents or one for each."""

    name = "dare"

    class Config(Options):
        density: Annotated[float, Field(gt=0, le=1)] | Shares
        """Share kept."""


class Slerp(_Merge):
    """Takes no knob."""

    name = "slerp"

    class Config(Options):
        t: float | Literal["auto"] = "auto"
        """Position."""


class Perplexity(Evaluator):
    """Evaluator behind eval.perplexity."""

    name = "perplexity"
    reads_corpus = True

    def evaluate(self, model: Any, request: Any, out: Path, stage: Any) -> list[Any]:
        return []


class Probes(Evaluator):
    """Evaluator behind eval.probes."""

    name = "probes"

    def evaluate(self, model: Any, request: Any, out: Path, stage: Any) -> list[Any]:
        return []


class LmEval(Evaluator):
    """Evaluator without options."""

    name = "lm_eval"

    def evaluate(self, model: Any, request: Any, out: Path, stage: Any) -> list[Any]:
        return []


@dataclass(frozen=True)
class Provider:
    """As the registry's."""

    plugin: str
    distribution: str
    version: str
    editable: bool


class FakeRegistry:
    """The lookups of domadapt_registry.Registry on given components."""

    rows: Sequence[Any] = ()

    def __init__(self, **components: Sequence[Any]) -> None:
        self._components = {kind: {item.name: item for item in items} for kind, items in components.items()}

    def names(self, kind: str, *, doubles: bool = True) -> list[str]:
        """Names of a kind."""
        return sorted(self._components[kind])

    def extended(self, name: str, owner: str, components: Mapping[str, Sequence[Any]]) -> FakeRegistry:
        """With components of one more plugin."""
        more = {kind.removesuffix("s"): items for kind, items in components.items()}
        return FakeRegistry(**{k: [*v.values(), *more.get(k, ())] for k, v in self._components.items()})

    def find(self, kind: str, name: str) -> Any:
        """By name."""
        if name not in self._components[kind]:
            raise LookupError(f"there is no {kind} '{name}'; known: {', '.join(self.names(kind))}")
        return self._components[kind][name]

    def provider(self, kind: str, name: str) -> Provider:
        """Always the same."""
        self.find(kind, name)
        return Provider("core", "domadapt", "0.1.0", False)


STARTER = """\
version: 1
domain: law
model: {base: "builtin:tiny", instruct: "builtin:tiny-instruct"}
corpus:
  domain:
    - source: files
      take: 1K
      options:
        path: statutes
        pause: 0.5
    - source: sample
  general:
    - {source: sample}
mix: {replay: 0.1}
eval:
  domain: [law.statutes]
"""

DEFAULTS = """\
version: 1
corpus:
  clean: [normalize, {use: min_length, options: {chars: 50}}]
train:
  lr: 3e-5
  options: {compile: true}
"""


@pytest.fixture
def pack(tmp_path: Path) -> DomainPack:
    """A domain pack "law" with defaults and two recipes."""
    recipes = tmp_path / "law" / "recipes"
    recipes.mkdir(parents=True)
    (recipes / "starter.yaml").write_text(STARTER)
    (recipes / "defaults.yaml").write_text(DEFAULTS)
    (recipes / "law-8b.yaml").write_text("version: 1\nextends: starter\ndomain: law\ntrain:\n  batch_tokens: 8M\n")
    return DomainPack("law", "Law", recipes)


@pytest.fixture
def registry(pack: DomainPack, tmp_path: Path) -> FakeRegistry:
    """All of the above, and a second domain with a starter of its own."""
    music = tmp_path / "music"
    music.mkdir()
    (music / "starter.yaml").write_text(STARTER.replace("law", "music"))
    return FakeRegistry(
        domain=[pack, DomainPack("music", "Music", music)],
        source=[Files, Sample],
        cleaner=[Normalize, MinLength, Exact, MinHash],
        mixer=[Replay],
        backend=[Torch, Megatron],
        merger=[Ties, Dare, Slerp],
        evaluator=[Perplexity, Probes, LmEval],
        tracker=[],
        benchmark=[Benchmark("law.statutes", "Statutes", tmp_path), Benchmark("mmlu", "MMLU", tmp_path)],
    )


Check = Callable[..., ResolvedRecipe]


@pytest.fixture
def check(registry: Any, tmp_path: Path) -> Check:
    """Write a recipe as recipe.yaml, load it and resolve it."""

    def check(text: str, *overrides: str, merge: Sequence[str] = (), domain: str | None = None) -> ResolvedRecipe:
        file = tmp_path / "recipe.yaml"
        file.write_text(text)
        loaded = load_recipe(registry, path=file, domain=domain, overrides=overrides, merge=merge)
        return resolve(loaded)

    return check
