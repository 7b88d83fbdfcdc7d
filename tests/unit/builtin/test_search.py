"""Sweeps: candidates in memory are what would be written, chosen on the selection split, the same after any kill."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domadapt.artifacts import MANIFEST, Checkpoint, Corpus, Sweep, document_schema
from domadapt.builtin.evaluating.perplexity import Perplexity
from domadapt.builtin.evaluating.probes.evaluator import Probes
from domadapt.builtin.merging import guards
from domadapt.builtin.merging.methods import DareLinear, Della, Linear, MergekitConfig, Slerp, Ties
from domadapt.builtin.merging.search import live, sweeping
from domadapt.builtin.merging.search.candidates import why_not
from domadapt.builtin.merging.search.journal import Journal
from domadapt.builtin.merging.search.live import Scorer
from domadapt.components import EvalRequest, LiveModel, Merger, Stage, TensorMerger, WeightedCheckpoint
from domadapt.errors import Interrupted, MissingError, StageError
from domadapt.pipeline import work
from domadapt.recipe.resolved import Choice
from domadapt.recipe.schema import EvalRecipe
from domadapt.recipe.sweeps import Axis, Point, SweepPlan, SweptMethod
from domadapt.testing.models import write_tiny_model

WEIGHTS = Axis("weight", ("merge", "weight"), (0.2, 0.5, 0.8))
DENSITIES = Axis("density", ("merge", "density"), (0.4, 0.9))


class Between(TensorMerger):
    """A merge method as a third party writes it."""

    name: ClassVar[str] = "between"

    def merge_tensor(self, name: str, ancestor: Any, tuned: Sequence[Any], weights: Sequence[float], rng: Any) -> Any:
        return sum(w * model for w, model in zip(weights, tuned, strict=True))


def method(cls: type[Merger], *axes: Axis, **options: Any) -> SweptMethod:
    provider: Any = SimpleNamespace(distribution="test", version="1", editable=False)
    choice = Choice("merger", cls.name, cls, cls.Config.model_validate(options), provider)
    return SweptMethod(cls.name, choice, 0.5, axes)


def grid(*methods: SweptMethod, select_by: Any = "balanced") -> SweepPlan:
    return SweepPlan(methods, "grid", 64, 1, select_by)


PLAN = grid(method(Ties, WEIGHTS, DENSITIES, density=0.4), method(Slerp, WEIGHTS), method(Between, WEIGHTS))


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    """Base, instruct and cpt that descend from one another, stored in bf16."""
    folder = tmp_path_factory.mktemp("parents")
    base = write_tiny_model(folder / "base", seed=0, dtype="bfloat16")
    return {"base": base} | {
        role: changed(base, folder / role, seed, role) for seed, role in ((1, "instruct"), (2, "cpt"))
    }


def changed(base: Checkpoint, folder: Path, seed: int, role: str) -> Checkpoint:
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(base.path, folder)
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        name: (t.float() + 0.03 * torch.randn(t.shape, generator=generator)).to(t.dtype)
        for name, t in load_file(folder / "model.safetensors").items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return Checkpoint(folder, role=role, digest=f"{role}-{seed}")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Corpus]:
    """Two corpora with a selection split alone: whoever reads another one fails."""
    folder = tmp_path_factory.mktemp("corpora")
    draw = random.Random(5)
    for side in ("domain", "general"):
        texts = ["".join(draw.choices("abcdefgh \n", k=draw.randint(40, 90))) + side for _ in range(8)]
        rows = [
            {"id": f"{side}{i}", "text": text, "source": "t", "license": "", "group": f"g{i}", "meta": "{}"}
            for i, text in enumerate(texts)
        ]
        (folder / side / "selection").mkdir(parents=True)
        file = "selection/documents-00000.parquet"
        pq.write_table(pa.Table.from_pylist(rows, document_schema()), folder / side / file, write_page_checksum=True)
        files = {name: {} for name in (file, "report/documents-00000.parquet", "train/documents-00000.parquet")}
        (folder / side / MANIFEST).write_text(json.dumps({"files": files, "facts": {}}))
    return {side: Corpus(folder / side) for side in ("domain", "general")}


@pytest.fixture(scope="module")
def scorer(corpora: dict[str, Corpus]) -> Scorer:
    return Scorer(Perplexity(), Probes(), corpora, None, 2048)  # type: ignore[arg-type]


MakeStage = Callable[..., Stage]


@pytest.fixture
def make_stage(tmp_path: Path) -> MakeStage:
    def make(name: str, **more: Any) -> Stage:
        scratch = tmp_path / name / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "out").mkdir(exist_ok=True)
        return Stage(name="sweep", key="k", seed=7, component="", work=lambda *a: {}, scratch=scratch, **more)

    return make


def swept(plan: SweepPlan, parents: Any, scorer: Scorer, stage: Stage) -> dict[str, Any]:
    out = stage.scratch.parent / "out"
    sweeping.sweep(plan, parents, scorer, out, stage)
    return json.loads((out / "sweep.json").read_bytes())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def finished(parents: Any, scorer: Scorer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("finished")
    (folder / "scratch").mkdir()
    (folder / "out").mkdir()
    stage = Stage(name="sweep", key="k", seed=7, component="", work=lambda *a: {}, scratch=folder / "scratch")
    return swept(PLAN, parents, scorer, stage)


def test_a_grid_has_all_combinations_and_their_commands(finished: dict[str, Any]) -> None:
    candidates = finished["candidates"]
    assert [c["label"] for c in candidates[:3]] == [
        "ties, weight 0.2, density 0.4", "ties, weight 0.2, density 0.9", "ties, weight 0.5, density 0.4",
    ]  # fmt: skip
    assert len(candidates) == 3 * 2 + 3 + 3
    assert candidates[1]["arguments"] == ["merge.weight=0.2", "merge.density=0.9"]
    assert [candidates[1][key] for key in ("method", "weight", "density")] == ["ties", 0.2, 0.9]
    assert finished["documents"] == {"domain": 8, "general": 8}


def test_a_candidate_in_memory_scores_like_the_written_merge(
    finished: dict[str, Any], parents: Any, corpora: Any, make_stage: MakeStage
) -> None:
    """Digit for digit: the same bits of weights, loaded the way evaluators load a checkpoint."""
    points = PLAN.points()
    for number in (1, 7, 10):
        stage, point = make_stage(f"written{number}"), points[number]
        out = stage.scratch.parent / "out"
        merger: Any = point.choice.cls(point.choice.config)
        models = [
            WeightedCheckpoint(parents["instruct"], 1 - point.weight), WeightedCheckpoint(parents["cpt"], point.weight),
        ]  # fmt: skip
        merger.merge(parents["base"], models, out, stage)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(parents["instruct"].path / file, out / file)
        for side in ("domain", "general"):
            asked = EvalRequest("t", side, None, corpora[side], None, 2048, split="selection")  # type: ignore[arg-type]
            (row,) = Perplexity().evaluate(Checkpoint(out), asked, stage.scratch, stage)
            assert row.value == finished["candidates"][number][side]["value"], point.title


def test_scores_are_of_the_selection_split_alone(corpora: dict[str, Corpus], finished: dict[str, Any]) -> None:
    """The other splits of these corpora are named in the manifest and not there: reading one would fail."""
    with pytest.raises(FileNotFoundError):
        list(corpora["domain"].batches("report"))
    assert finished["split"] == "selection"
    assert len(finished["candidates"]) == 12


def test_the_front_holds_what_no_candidate_beats(finished: dict[str, Any]) -> None:
    scores = [(c["domain"]["value"], c["general"]["value"]) for c in finished["candidates"] if not c["vetoed"]]
    ahead = [c for c in finished["candidates"] if c["front"]]
    assert ahead
    for c in ahead:
        own = (c["domain"]["value"], c["general"]["value"])
        assert not any(s[0] <= own[0] and s[1] <= own[1] and s != own for s in scores)


def test_a_sweep_killed_at_any_moment_ends_with_the_same_file(
    finished: dict[str, Any], parents: Any, scorer: Scorer, make_stage: MakeStage
) -> None:
    draw = random.Random(11)
    stops = [draw.randint(2, 9) for _ in range(4)]
    stage = make_stage("killed")
    journal = stage.scratch / "journal.jsonl"
    for stop in stops:
        left = [stop]

        def emit(kind: str, data: Mapping[str, Any], left: list[int] = left) -> None:
            left[0] -= kind == "progress"
            if left[0] == 0:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            swept(PLAN, parents, scorer, make_stage("killed", emit=emit))
        if journal.exists():  # a kill in the middle of writing a line
            text = journal.read_bytes()
            journal.write_bytes(text[: len(text) - draw.randint(0, 30)])
    assert swept(PLAN, parents, scorer, stage) == finished


def test_what_is_in_the_journal_is_not_scored_again(
    finished: dict[str, Any], parents: Any, scorer: Scorer, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = make_stage("again")
    first = swept(PLAN, parents, scorer, stage)
    monkeypatch.setattr(live.Scorer, "scores", lambda *a: pytest.fail("scored again"))
    monkeypatch.setattr(live.Scorer, "answers", lambda *a: pytest.fail("asked again"))
    assert swept(PLAN, parents, scorer, stage) == first == finished


def test_a_stop_is_obeyed_between_two_candidates(parents: Any, scorer: Scorer, make_stage: MakeStage) -> None:
    def emit(kind: str, data: Mapping[str, Any]) -> None:
        if kind == "progress" and data["done"] == 2:
            raise Interrupted("stopped")

    stage = make_stage("stopped", emit=emit)
    with pytest.raises(Interrupted):
        swept(PLAN, parents, scorer, stage)
    assert len(Journal(stage.scratch / "journal.jsonl")) == 5  # both parents, the instruct model's answers, two


class Planted(Scorer):
    """Says that models answer well unless their answers are planted."""

    def answers(self, model: LiveModel, stage: Stage) -> list[dict[str, Any]]:
        good = not getattr(model, "planted", False)
        items = [{"item": f"p{i}", "prompt": "?", "answer": "", "ended": True, "good": True} for i in range(10)]
        lost = 0 if good else 3
        return [{**item, "good": i >= lost} for i, item in enumerate(items)]


def test_a_candidate_that_stopped_answering_is_vetoed_and_the_front_closes_behind_it(
    finished: dict[str, Any], parents: Any, corpora: Any, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    victims = [c["label"] for c in finished["candidates"] if c["front"]]
    fill = live.fill

    def plant(model: LiveModel, candidates: Any, point: Point) -> None:
        fill(model, candidates, point)
        object.__setattr__(model, "planted", point.title in victims)

    monkeypatch.setattr(sweeping, "fill", plant)
    data = swept(PLAN, parents, Planted(Perplexity(), Probes(), corpora, None, 2048), make_stage("veto"))
    by_label = {c["label"]: c for c in data["candidates"]}
    for label in victims:
        assert by_label[label]["vetoed"]
        assert not by_label[label]["front"]
        assert by_label[label]["answers"] == {"kept": 7, "of": 10, "lost": ["p0", "p1", "p2"]}
    ahead = [c for c in data["candidates"] if c["front"]]
    assert ahead
    assert all(c["answers"]["kept"] == 10 for c in ahead)
    assert not any(c["answers"] for c in data["candidates"] if not c["front"] and not c["vetoed"])


def test_two_of_ten_lost_answers_are_no_veto() -> None:
    answers = [{"item": f"p{i}", "good": i >= 2} for i in range(10)]
    wanted = {f"p{i}" for i in range(10)}
    assert not sweeping._judged(answers, wanted)["vetoed"]
    assert sweeping._judged([{**a, "good": i >= 3} for i, a in enumerate(answers)], wanted)["vetoed"]
    assert not sweeping._judged(answers, set())["vetoed"]


def test_the_chosen_candidate_becomes_a_model_by_the_ordinary_route(
    finished: dict[str, Any], parents: Any, corpora: Any, make_stage: MakeStage, tmp_path: Path
) -> None:
    from domadapt.report.sweep import chosen

    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "sweep.json").write_text(json.dumps(finished))
    stage = make_stage("merge")
    out = stage.scratch.parent / "out"
    inputs = {"ancestor": parents["base"], "instruct": parents["instruct"], "cpt": parents["cpt"]}
    facts = work.merging_chosen(PLAN, 0, {})(stage, {**inputs, "sweep": Sweep(tmp_path / "artifact")}, out)
    best = chosen(finished, "balanced")
    assert facts["candidate"] == best["number"]
    asked = EvalRequest("t", "domain", None, corpora["domain"], None, 2048, split="selection")
    (row,) = Perplexity().evaluate(Checkpoint(out), asked, stage.scratch, stage)
    assert row.value == best["domain"]["value"]


def test_methods_that_merge_on_disk_cannot_be_swept() -> None:
    assert why_not(Ties(Ties.Config(density=0.5))) is None
    assert why_not(Between()) is None
    assert why_not(Della(Della.Config(density=0.5))) == "della is merged by mergekit, on disk"
    assert why_not(Linear(Linear.Config(engine="mergekit"))) == "its engine is mergekit, which merges on disk"
    models = [{"model": "instruct", "parameters": {"weight": 1}}, {"model": "cpt", "parameters": {"weight": 1}}]
    given = MergekitConfig.Config.model_validate({"config": {"merge_method": "linear", "models": models}})
    assert why_not(MergekitConfig(given)) is None


def test_masks_of_dare_are_those_of_the_written_merge(parents: Any, scorer: Scorer, make_stage: MakeStage) -> None:
    """Random masks come from the run's seed, not from the order of candidates."""
    alone = swept(grid(method(DareLinear, density=0.5)), parents, scorer, make_stage("alone"))
    among = swept(
        grid(method(DareLinear, DENSITIES, density=0.5), method(DareLinear, density=0.5)),
        parents, scorer, make_stage("among"),
    )  # fmt: skip
    assert alone["candidates"][0]["domain"]["value"] == among["candidates"][2]["domain"]["value"]


def test_a_journal_forgets_a_line_that_was_cut(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.add("scores", "a", [0.1])
    journal.add("scores", "b", {"x": 1.5})
    text = (tmp_path / "j").read_bytes()
    for cut in range(len(text)):
        (tmp_path / "j").write_bytes(text[:cut])
        again = Journal(tmp_path / "j")
        whole = text[:cut].count(b"\n")
        assert len(again) == whole
        assert again.get("scores", "a") == ([0.1] if whole else None)
        again.add("scores", "c", 2)
        assert Journal(tmp_path / "j").get("scores", "c") == 2


def test_scoring_leaves_no_files_behind(finished: dict[str, Any], make_stage: MakeStage, scorer: Scorer) -> None:
    stage = make_stage("folder")

    class Broken(Perplexity):
        def evaluate(self, *arguments: Any) -> Any:
            raise StageError("no")

    with pytest.raises(StageError):
        Scorer(Broken(), Probes(), scorer.corpora, None, 64).scores(LiveModel(None, None), stage)
    assert not list(stage.scratch.iterdir())


def test_settings_of_the_evaluation_reach_the_sweep(
    parents: Any, corpora: Any, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = make_stage("limit")
    perplexity = Choice("evaluator", "perplexity", Perplexity, Perplexity.Config(), SimpleNamespace())  # type: ignore[arg-type]
    probes = Choice("evaluator", "probes", Probes, Probes.Config(max_new_tokens=4), SimpleNamespace())  # type: ignore[arg-type]
    run = work.sweeping(grid(method(Linear, WEIGHTS)), perplexity, probes, EvalRecipe(limit=3, batch_tokens=512))
    inputs = {"ancestor": parents["base"], "instruct": parents["instruct"], "cpt": parents["cpt"]}
    facts = run(stage, {**inputs, **{f"corpus.{side}": c for side, c in corpora.items()}}, stage.scratch.parent / "out")
    data = json.loads((stage.scratch.parent / "out" / "sweep.json").read_bytes())
    assert data["documents"] == {"domain": 3, "general": 3}
    assert facts["candidates"] == 3


def test_a_network_that_does_not_fit_is_refused_before_anything_is_scored(
    parents: Any, scorer: Scorer, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "available_memory", lambda: 1000)
    with pytest.raises(MissingError, match=r"sweep: scoring candidates takes about 0\.0 GB of memory, 0\.0 GB are"):
        swept(PLAN, parents, scorer, make_stage("small"))
