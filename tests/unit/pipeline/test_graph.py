"""The graph of a recipe: which result depends on what, and on nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

from domadapt import components, hookimpl, hookspecs
from domadapt.artifacts import Checkpoint
from domadapt.builtin import PLUGINS
from domadapt.components import DomainPack
from domadapt.errors import DataError, MissingError, RecipeError
from domadapt.pipeline.graph import Graph, build_graph, check_requirements, training_size
from domadapt.recipe.check import ResolvedRecipe, resolve
from domadapt.recipe.load import load_recipe
from domadapt.recipe.schema import Recipe
from domadapt.testing.models import write_tiny_model
from domadapt_registry import Registry

RECIPE = """
version: 1
domain: law
model: {{base: {models}/base, instruct: {models}/instruct}}
corpus:
  domain: [{{source: files, options: {{path: {data}/domain}}}}]
  general: [{{source: files, options: {{path: {data}/general}}}}]
  clean: [normalize, dedup.exact]
mix: {{seq_len: 16, replay: 0.25}}
train: {{batch_tokens: 64, steps: 4}}
merge: {{methods: [linear, ties], density: 0.5}}
"""


class LawPack:
    """A plugin with a domain."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @hookimpl
    def adapt_register_domains(self) -> list[DomainPack]:
        return [DomainPack("law", "Law", self.folder)]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    plugins = [*PLUGINS, ("law", cast(ModuleType, LawPack(tmp_path)))]
    return Registry.discover(hookspecs, builtin=plugins, entry_points=(), names=vars(components))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("base", "instruct")):
        write_tiny_model(folder / name, seed=seed)
    return folder


Build = Callable[..., Graph]


@pytest.fixture
def build(tmp_path: Path, registry: Registry, models: Path) -> Build:
    data = tmp_path / "data"
    for side in ("domain", "general"):
        (data / side).mkdir(parents=True)
        (data / side / "a.txt").write_text(side)

    def resolved(*overrides: str, data: Path = data, models: Path = models) -> ResolvedRecipe:
        file = tmp_path / "recipe.yaml"
        file.write_text(RECIPE.format(models=models, data=data))
        return resolve(load_recipe(registry, path=file, domain=None, overrides=list(overrides), merge=()))

    def build(*overrides: str, data: Path = data, models: Path = models) -> Graph:
        return build_graph(resolved(*overrides, data=data, models=models), registry)

    build.resolved = resolved  # type: ignore[attr-defined]
    return build


def changed(before: Graph, after: Graph) -> set[str]:
    return {name for name in {*before.keys, *after.keys} if before.keys.get(name) != after.keys.get(name)}


SCORES = {"bits_per_byte.domain", "bits_per_byte.general", "probes"}


def scores_of(*labels: str) -> set[str]:
    return {f"eval.{label}.{task}" for label in labels for task in SCORES}


AFTER_TRAINING = {"train", "merge.linear", "merge.ties", *scores_of("cpt", "linear", "ties")}


def test_the_stages_of_a_recipe_in_an_order_in_which_inputs_come_first(build: Build) -> None:
    graph = build()
    assert list(graph.nodes)[:6] == ["corpus.domain", "corpus.general", "tokens", "train", "merge.linear", "merge.ties"]
    assert set(graph.nodes) - set(list(graph.nodes)[:6]) == scores_of("base", "instruct", "cpt", "linear", "ties")
    assert graph.labels() == ["base", "instruct", "cpt", "linear", "ties"]
    seen = set(graph.models)
    for name, node in graph.nodes.items():
        assert set(node.inputs.values()) <= seen
        seen.add(name)
    assert all(len(key) == 16 for key in graph.keys.values())
    check_requirements(graph)


def test_equal_recipes_have_equal_keys(build: Build) -> None:
    assert build().keys == build().keys


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("merge.weight=0.3", {"merge.linear", "merge.ties", *scores_of("linear", "ties")}),
        ("merge.density=0.4", {"merge.ties", *scores_of("ties")}),
        ("train.lr=1e-4", AFTER_TRAINING),
        ("mix.replay=0.5", {"tokens", *AFTER_TRAINING}),
        ("train.steps=8", {"tokens", *AFTER_TRAINING}),
        ("train.checkpoint_every=7", set()),
        ("eval.limit=3", scores_of("base", "instruct", "cpt", "linear", "ties")),
        ("name=another", set()),
        ("merge.methods=[ties]", {"merge.linear", *scores_of("linear")}),
        ("corpus.clean=[normalize]", None),
        ("corpus.max_reject_rate=0.1", None),
        ("seed=7", None),
    ],
)
def test_a_changed_value_changes_the_stages_it_decides_and_no_other(
    build: Build, override: str, wanted: set[str] | None
) -> None:
    before, after = build(), build(override)
    everything_made = {name for name in before.nodes if name not in scores_of("base", "instruct")}
    found = changed(before, after)
    assert (found == wanted) if wanted is not None else (everything_made <= found)


def test_moved_sources_and_moved_models_are_the_same_sources_and_models(
    build: Build, tmp_path: Path, models: Path
) -> None:
    before = build()
    shutil.copytree(tmp_path / "data", tmp_path / "elsewhere" / "data")
    shutil.copytree(models, tmp_path / "elsewhere" / "models")
    after = build(data=tmp_path / "elsewhere" / "data", models=tmp_path / "elsewhere" / "models")
    assert after.keys == before.keys


def test_a_changed_general_text_changes_its_own_side(build: Build, tmp_path: Path) -> None:
    before = build()
    (tmp_path / "data" / "general" / "a.txt").write_text("generaL")
    found = changed(before, build())
    assert {"corpus.general", "tokens", "train"} <= found
    assert "corpus.domain" not in found
    assert "eval.base.bits_per_byte.domain" not in found
    assert "eval.base.bits_per_byte.general" in found


@pytest.mark.parametrize(("clean", "compared"), [("[normalize, dedup.exact]", True), ("[normalize, pii]", False)])
def test_the_general_corpus_follows_the_domains_where_a_step_compares_documents(
    build: Build, tmp_path: Path, clean: str, compared: bool
) -> None:
    before = build(f"corpus.clean={clean}")
    assert before.nodes["corpus.general"].inputs == ({"corpus.domain": "corpus.domain"} if compared else {})
    assert before.nodes["corpus.domain"].inputs == {}
    (tmp_path / "data" / "domain" / "a.txt").write_text("domaiN")
    found = changed(before, build(f"corpus.clean={clean}"))
    assert "corpus.domain" in found
    assert ("corpus.general" in found) is compared


BOTH = {"corpus.domain", "corpus.general"}


def test_a_changed_reference_changes_the_corpora_and_its_place_does_not(build: Build, tmp_path: Path) -> None:
    def clean(name: str) -> str:
        return f"corpus.clean=[{{use: select.dsir, options: {{reference: {tmp_path}/{name}}}}}]"

    (tmp_path / "wanted.txt").write_text("what is wanted")
    before = build(clean("wanted.txt"))
    (tmp_path / "moved").mkdir()
    (tmp_path / "wanted.txt").rename(tmp_path / "moved" / "wanted.txt")
    assert build(clean("moved/wanted.txt")).keys == before.keys
    (tmp_path / "moved" / "wanted.txt").write_text("what is wanted now")
    assert changed(before, build(clean("moved/wanted.txt"))) >= BOTH
    with pytest.raises(MissingError, match=r"corpus\.clean \(step select\.dsir\): .*nowhere"):
        build(clean("nowhere"))


def test_the_benchmarks_decide_a_corpus_that_keeps_their_items_out_and_no_other(build: Build, tmp_path: Path) -> None:
    """A changed item counts; how many of them are scored, and with how many examples, does not."""
    (tmp_path / "quiz").mkdir()
    for split in ("test", "dev"):
        (tmp_path / "quiz" / f"anatomy_{split}.csv").write_text("Q,a,b,c,d,A\n")
    tasks = f"eval.domain=[{{task: mmlu_anatomy, data_dir: {tmp_path}/quiz}}]"
    plain, with_tasks = build("corpus.clean=[normalize]"), build("corpus.clean=[normalize]", tasks)
    assert not BOTH & changed(plain, with_tasks)
    decontaminated = build("corpus.clean=[decontaminate]", tasks)
    assert changed(build("corpus.clean=[decontaminate]"), decontaminated) >= BOTH
    assert not BOTH & changed(decontaminated, build("corpus.clean=[decontaminate]", tasks, "eval.limit=3"))
    assert not BOTH & changed(decontaminated, build("corpus.clean=[decontaminate]", tasks, "eval.num_fewshot=2"))
    (tmp_path / "quiz" / "anatomy_test.csv").write_text("Q2,a,b,c,d,A\n")
    assert changed(decontaminated, build("corpus.clean=[decontaminate]", tasks)) >= BOTH


def test_a_changed_weight_of_the_instruct_model_changes_merges_and_its_own_scores(
    build: Build, models: Path, tmp_path: Path
) -> None:
    before = build()
    shutil.copytree(models, tmp_path / "models")
    write_tiny_model(tmp_path / "models" / "instruct", seed=9)
    found = changed(before, build(models=tmp_path / "models"))
    assert found == {"merge.linear", "merge.ties", *scores_of("instruct", "linear", "ties")}


def test_a_checkpoint_made_elsewhere_enters_at_the_merge(build: Build, models: Path) -> None:
    graph = build(f"train.from={models}/instruct")
    assert "train" not in graph.nodes
    assert graph.source_of("cpt") == "model.cpt"
    assert graph.nodes["merge.ties"].inputs["cpt"] == "model.cpt"
    assert isinstance(graph.models["model.cpt"], Checkpoint)
    assert graph.labels() == ["base", "instruct", "cpt", "linear", "ties"]


def test_without_an_instruct_model_the_base_gives_its_general_ability_back(build: Build) -> None:
    graph = build("model.instruct=null")
    assert graph.nodes["merge.ties"].inputs == {"ancestor": "model.base", "instruct": "model.base", "cpt": "train"}


def test_a_model_that_nobody_knows_and_one_that_is_not_there_are_said(build: Build, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="model 'llama': neither builtin:NAME, nor a folder"):
        build("model.base=llama")
    with pytest.raises(MissingError, match="no Hugging Face folder"):
        build(f"model.base={tmp_path}/nowhere")


def test_a_page_beside_the_weights_changes_nothing(build: Build, models: Path) -> None:
    before = build().keys
    (models / "base" / "README.md").write_text("# A model")
    assert build().keys == before


def test_models_of_different_vocabularies_are_refused_before_anything_runs(build: Build, models: Path) -> None:
    file = models / "instruct" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "vocab_size": 7}))
    with pytest.raises(DataError, match=r"vocabularies differ in size \(base \d+, instruct 7\)"):
        check_requirements(build())


def test_a_source_that_is_not_there_is_said_before_anything_runs(build: Build, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="nowhere/domain: no such file or folder"):
        build(data=tmp_path / "nowhere")


def recipe(**sections: Any) -> Recipe:
    whole = {
        "version": 1,
        "domain": "law",
        "model": {"base": "builtin:tiny"},
        "corpus": {"domain": [{"source": "files"}]},
        "mix": {"seq_len": 16},
        "train": {"batch_tokens": 100},
    }
    return Recipe.model_validate({**whole, **sections})


def test_training_size_is_whole_windows_a_step_and_whole_steps() -> None:
    assert training_size(recipe()) == (6, None)  # 100 tokens are 6 windows of 16
    assert training_size(recipe(train={"batch_tokens": 100, "steps": 5})) == (6, 30)
    assert training_size(recipe(mix={"seq_len": 16, "tokens": 1000})) == (6, 60)  # 10 steps of 96
    with pytest.raises(RecipeError, match=r"train\.batch_tokens=15 is less than one window of mix\.seq_len=16"):
        training_size(recipe(train={"batch_tokens": 15}))
    with pytest.raises(RecipeError, match=r"mix\.tokens=95 is less than one step of 96 tokens"):
        training_size(recipe(mix={"seq_len": 16, "tokens": 95}))


def test_the_probe_of_a_training_is_the_first_domain_benchmark_and_only_its_size_counts(build: Build) -> None:
    """Another benchmark must not repeat a month of training that gives the same weights."""
    from domadapt.pipeline.graph import _probe

    probed: list[Any] = []
    graphs = []
    for overrides in (["train.probe_items=30"], ["train.probe_items=30", "eval.limit=7"], ["train.probe_items=0"], []):
        graphs.append(build("eval.domain=[instruct_format]", *overrides))
        probed.append(_probe(build.resolved("eval.domain=[instruct_format]", *overrides)))  # type: ignore[attr-defined]
    assert [probe and probe[1].limit for probe in probed] == [30, 7, None, 200]
    assert (probed[0][1].task, probed[0][1].side, probed[0][0].cls.name) == ("instruct_format", "domain", "lm_eval")
    assert _probe(build.resolved()) is None  # type: ignore[attr-defined]
    assert graphs[0].keys["train"] == graphs[1].keys["train"] == build("train.probe_items=30").keys["train"]
    assert len({graph.keys["train"] for graph in (graphs[0], graphs[2], graphs[3])}) == 3


LAW = ("mix.replay=law", "train.steps=64")


def test_a_law_adds_small_runs_and_decides_the_mixture_of_the_training(build: Build) -> None:
    graph = build(*LAW)
    small = [name for name in graph.nodes if name.startswith("train.law-")]
    assert small == [f"train.law-{share:g}" for share in (0.01, 0.05, 0.1, 0.25, 0.5)]
    assert graph.nodes["tokens"].inputs["law"] == "law"
    assert set(small) < set(graph.nodes["law"].inputs.values())
    assert list(graph.nodes).index("law") < list(graph.nodes).index("tokens")


def test_a_stated_mixture_has_no_part_of_a_law(build: Build) -> None:
    assert not changed(build(), build("mix.law.general_loss_at_most=0.5"))
    assert not [name for name in build().nodes if "law" in name]


def test_another_bound_makes_no_small_run_again(build: Build) -> None:
    again = changed(build(*LAW), build(*LAW, "mix.law.general_loss_at_most=0.5"))
    assert {"law", "tokens", "train", "eval.cpt.bits_per_byte.domain"} <= again
    assert not [name for name in again if "law-" in name]


def test_another_ratio_makes_one_small_run_more(build: Build) -> None:
    ratios = "[0.01, 0.05, 0.1, 0.25, 0.5, 0.4]"
    again = changed(build(*LAW), build(*LAW, f"mix.law.ratios={ratios}"))
    assert {name for name in again if "law-" in name} == {"tokens.law-0.4", "train.law-0.4"}


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("mix.replay=law", "train.steps=null"), "how long the training will be"),
        (("mix.replay=law", "train.steps=16"), "12 at least are wanted; raise it to 0.75"),
    ],
)
def test_a_law_without_a_known_length_or_with_too_few_steps_is_refused(
    build: Build, overrides: tuple[str, ...], told: str
) -> None:
    with pytest.raises(RecipeError, match=told):
        build(*overrides)
