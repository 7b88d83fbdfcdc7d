"""The engine on a small graph with the real registry: each stage once, reasons said, nothing lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

from domadapt import components, hookimpl, hookspecs
from domadapt.artifacts import Artifact
from domadapt.builtin import PLUGINS
from domadapt.components import Stage
from domadapt.errors import DataError, Interrupted, MissingError, StageError
from domadapt.pipeline.engine import Run
from domadapt.pipeline.events import read_events
from domadapt.pipeline.graph import Graph, Node
from domadapt.pipeline.store import verify
from domadapt.recipe.schema import Recipe
from domadapt_registry import Registry

Work = Callable[[Stage, Mapping[str, Any], Path], dict[str, Any]]


def copy_inputs(stage: Stage, inputs: Mapping[str, Artifact], out: Path) -> dict[str, Any]:
    """Writes what it was given: its own options and the texts of its inputs."""
    texts = {role: (artifact.path / "text").read_text() for role, artifact in inputs.items()}
    (out / "text").write_text(f"{stage.name}({','.join(f'{r}={t}' for r, t in sorted(texts.items()))})")
    stage.progress(1, 1, "texts")
    return {"inputs": len(inputs)}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover(hookspecs, builtin=PLUGINS, entry_points=(), names=vars(components))


def graph_of(rate: float = 1.0, **works: Work) -> Graph:
    """corpus -> tokens -> train <- other; train has an option."""
    graph = Graph(cast(Recipe, None))
    nodes = {
        "corpus": ("corpus", {"seed": 1}, {}),
        "other": ("corpus", {"seed": 2}, {}),
        "tokens": ("tokens", {}, {"domain": "corpus"}),
        "train": ("train", {"lr": rate}, {"tokens": "tokens", "other": "other"}),
    }
    for name, (kind, options, inputs) in nodes.items():
        graph.add(Node(name, kind, ["test:step:1"], options, inputs, Artifact, works.get(name, copy_inputs)))
    return graph


class Observed(list[tuple[str, str, dict[str, Any]]]):
    """What the engine said: (stage, kind, data)."""

    def __call__(self, stage: str, kind: str, data: Mapping[str, Any]) -> None:
        self.append((stage, kind, dict(data)))

    def of(self, kind: str) -> list[str]:
        return [stage for stage, k, _ in self if k == kind]


Execute = Callable[..., Observed]


@pytest.fixture
def execute(tmp_path: Path, registry: Registry) -> Execute:
    def execute(graph: Graph, name: str = "run", runs: Path = tmp_path / "runs", **settings: Any) -> Observed:
        observed = Observed()
        Run(graph, registry, runs, name, 1).execute(observed, **settings)
        return observed

    return execute


def plan(tmp_path: Path, registry: Registry, graph: Graph, **settings: Any) -> dict[str, tuple[str, str]]:
    planned = Run(graph, registry, tmp_path / "runs", "run", 1).plan(**settings)
    return {p.node.name: (p.action, p.reason) for p in planned}


ALL = ["corpus", "other", "tokens", "train"]


def test_every_stage_runs_once_with_its_inputs_by_role(tmp_path: Path, execute: Execute) -> None:
    observed = execute(graph_of())
    assert observed.of("start") == observed.of("done") == ALL
    train = tmp_path / "runs" / "run" / "stages" / "train"
    assert (train / "text").read_text() == "train(other=other(),tokens=tokens(domain=corpus()))"
    verify(train.resolve())
    manifest = json.loads((train / "artifact.json").read_bytes())
    assert manifest["facts"] == {"inputs": 2}
    assert manifest["by"] == ["test:step:1"]
    assert set(manifest["inputs"]) == {"tokens", "other"}
    assert not list((tmp_path / "runs" / ".store").glob("*/*.partial"))
    assert not list((tmp_path / "runs" / ".store").glob("*/*.scratch"))


def test_the_same_again_reuses_everything_and_changes_no_file(tmp_path: Path, execute: Execute) -> None:
    execute(graph_of())
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("*") if p.is_file() and ".locks" not in p.parts}
    observed = execute(graph_of())
    assert observed.of("reused") == ALL
    assert observed.of("start") == []
    assert {p: p.stat().st_mtime_ns for p in files} == files


def test_each_stage_says_why_it_runs_or_not(tmp_path: Path, registry: Registry, execute: Execute) -> None:
    assert plan(tmp_path, registry, graph_of()) == dict.fromkeys(ALL, ("run", "never run"))
    execute(graph_of())
    reuse = ("reuse", "nothing it depends on changed")
    assert plan(tmp_path, registry, graph_of()) == dict.fromkeys(ALL, reuse)
    changed = plan(tmp_path, registry, graph_of(rate=0.5))
    assert changed == {**dict.fromkeys(ALL[:3], reuse), "train": ("run", "lr 1.0 -> 0.5")}
    shutil.rmtree((tmp_path / "runs" / "run" / "stages" / "corpus").resolve())
    gone = plan(tmp_path, registry, graph_of())
    assert gone["corpus"] == ("run", "its result is gone from the store")
    assert gone["tokens"] == reuse  # its input will be made again under the same key


def test_a_changed_input_is_named_as_the_reason(tmp_path: Path, registry: Registry, execute: Execute) -> None:
    execute(graph_of())
    graph = Graph(cast(Recipe, None))
    for name, node in graph_of().nodes.items():
        options = {"seed": 7} if name == "corpus" else node.options
        graph.add(Node(name, node.kind, node.by, options, node.inputs, Artifact, copy_inputs))
    planned = plan(tmp_path, registry, graph)
    assert planned["corpus"] == ("run", "seed 1 -> 7")
    assert planned["tokens"] == ("run", "corpus is made anew")
    assert planned["train"] == ("run", "tokens is made anew")
    assert planned["other"][0] == "reuse"
    # when another run has made the corpus already, it is there but not what tokens was made from
    Run(graph, registry, tmp_path / "runs", "second", 1).execute(Observed())
    shutil.rmtree(next((tmp_path / "runs" / ".store" / "tokens").glob(f"{graph.keys['tokens']}")))
    assert plan(tmp_path, registry, graph)["tokens"] == ("run", "corpus changed")


def test_a_stage_that_fails_leaves_the_earlier_ones_and_the_next_run_goes_on_there(
    tmp_path: Path, registry: Registry, execute: Execute
) -> None:
    def fail(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        (out / "half").write_text("half")
        raise DataError("tokens: no text")

    with pytest.raises(DataError, match="no text"):
        execute(graph_of(tokens=fail))
    events, _ = read_events(tmp_path / "runs" / "run" / "events.jsonl")
    assert events[-1]["kind"] == "stopped"
    assert (events[-1]["stage"], events[-1]["error"], events[-1]["message"]) == (
        "tokens",
        "DataError",
        "tokens: no text",
    )
    assert plan(tmp_path, registry, graph_of())["tokens"][0] == "continue"
    observed = execute(graph_of())
    assert observed.of("reused") == ["corpus", "other"]
    assert observed.of("done") == ["tokens", "train"]
    assert not (tmp_path / "runs" / "run" / "stages" / "tokens" / "half").exists()


def test_a_bug_of_a_component_is_passed_on_as_it_is(execute: Execute) -> None:
    def bug(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        execute(graph_of(corpus=bug))


def test_scratch_survives_an_interruption_and_the_output_folder_is_empty_each_time(
    tmp_path: Path, registry: Registry, execute: Execute
) -> None:
    def step(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        assert list(out.iterdir()) == []
        (out / "text").write_text("t")
        marker = stage.scratch / "half"
        if not marker.exists():
            marker.write_text("half")
            raise Interrupted("stopped")
        return {"continued": True}

    with pytest.raises(Interrupted):
        execute(graph_of(train=step))
    assert plan(tmp_path, registry, graph_of())["train"] == ("continue", "was interrupted")
    execute(graph_of(train=step))
    manifest = json.loads((tmp_path / "runs" / "run" / "stages" / "train" / "artifact.json").read_bytes())
    assert manifest["facts"] == {"continued": True}
    assert list(manifest["files"]) == ["text"]


def test_a_stop_between_stages_ends_with_75_and_the_same_command_continues(execute: Execute) -> None:
    done: list[str] = []

    def noted(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        facts = copy_inputs(stage, inputs, out)
        done.append(stage.name)
        return facts

    works = dict.fromkeys(ALL, noted)
    with pytest.raises(Interrupted, match="stopped before tokens; run the same command to continue") as raised:
        execute(graph_of(**works), stop_requested=lambda: len(done) == 2)
    assert raised.value.exit_code == 75
    assert done == ["corpus", "other"]
    execute(graph_of(**works))
    assert done == ALL


def test_a_stop_within_a_stage_takes_effect_at_its_next_report_except_in_training_which_saves_first(
    execute: Execute,
) -> None:
    asked: list[str] = []

    def long(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        asked.append(stage.name)
        stage.progress(1, 2, "parts")
        return copy_inputs(stage, inputs, out)

    with pytest.raises(Interrupted, match="stopped in tokens"):
        execute(graph_of(tokens=long), stop_requested=lambda: asked == ["tokens"])
    asked.clear()
    execute(graph_of(train=long), stop_requested=lambda: asked == ["train"])


def test_asked_for_stages_are_made_anew_and_the_others_stay(
    tmp_path: Path, registry: Registry, execute: Execute
) -> None:
    execute(graph_of())
    made = (tmp_path / "runs" / "run" / "stages" / "tokens" / "artifact.json").resolve().stat().st_ino
    again = plan(tmp_path, registry, graph_of(), again=["tokens"])
    assert again["tokens"] == ("run", "asked for")
    assert again["train"][0] == "reuse"
    observed = execute(graph_of(), again=["tokens"])
    assert observed.of("done") == ["tokens"]
    assert (tmp_path / "runs" / "run" / "stages" / "tokens" / "artifact.json").resolve().stat().st_ino != made


def test_asking_for_a_stage_that_was_interrupted_starts_it_over(execute: Execute) -> None:
    def step(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        marker = stage.scratch / "half"
        seen.append(marker.exists())
        marker.write_text("half")
        (out / "text").write_text("t")
        if len(seen) < 3:
            raise Interrupted("stopped")
        return {}

    seen: list[bool] = []
    for again in ([], ["train"]):
        with pytest.raises(Interrupted):
            execute(graph_of(train=step), again=again)
    execute(graph_of(train=step))
    assert seen == [False, False, True]


def test_making_anew_what_is_there_continues_after_an_interruption_and_the_old_result_stays_until_then(
    tmp_path: Path, execute: Execute
) -> None:
    execute(graph_of())

    def step(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        seen.append((stage.scratch / "half").exists())
        (stage.scratch / "half").write_text("half")
        (out / "text").write_text("new")
        if len(seen) < 2:
            raise Interrupted("stopped")
        return {}

    seen: list[bool] = []
    text = tmp_path / "runs" / "run" / "stages" / "train" / "text"
    with pytest.raises(Interrupted):
        execute(graph_of(train=step), again=["train"])
    assert text.read_text().startswith("train(")
    execute(graph_of(train=step), again=["train"])
    assert seen == [False, True]
    assert text.read_text() == "new"


def full(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """The operating system's own words, for a file that was never made."""
    raise OSError(errno.ENOSPC, "No space left on device", str(out / "never" / "made.bin"))


def full_for_safetensors(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """safetensors' words, which are no OSError."""
    from safetensors import SafetensorError

    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def full_for_arrow(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Arrow's words, for real."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # through a link: Arrow deletes what it could not write, and as root that would be the device
    (out / "a.parquet").symlink_to("/dev/full")
    pq.write_table(pa.table({"a": list(range(100_000))}), out / "a.parquet")
    return {}


@pytest.mark.parametrize("work", [full, full_for_safetensors, full_for_arrow])
def test_a_full_disk_is_said_with_what_is_free_and_the_run_continues_when_there_is_room(
    execute: Execute, work: Work
) -> None:
    with pytest.raises(MissingError, match=r"tokens: the disk is full \(\d+\.\d GB free\); make room") as raised:
        execute(graph_of(tokens=work))
    assert raised.value.exit_code == 4
    assert execute(graph_of()).of("reused") == ["corpus", "other"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_while_publishing_publishes_nothing(
    tmp_path: Path, execute: Execute, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(MissingError if error == errno.ENOSPC else StageError, match="corpus: "):
            execute(graph_of())
    assert not list((tmp_path / "runs" / ".store" / "corpus").glob("*/artifact.json"))
    assert execute(graph_of()).of("done") == ALL


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"stages": 3}', '{"stages": {"train": 3}}', '{"stages": {"train": {"parts": 3}}}', "\x00"]
)
def test_a_damaged_memory_of_the_last_run_costs_reasons_and_no_results(
    tmp_path: Path, registry: Registry, execute: Execute, text: str
) -> None:
    execute(graph_of())
    (tmp_path / "runs" / "run" / "state.json").write_text(text)
    assert plan(tmp_path, registry, graph_of(rate=0.5))["train"] == ("run", "never run")
    assert execute(graph_of()).of("reused") == ALL
    assert set(json.loads((tmp_path / "runs" / "run" / "state.json").read_bytes())["stages"]) == set(ALL)


def test_the_folder_of_runs_can_be_moved(tmp_path: Path, execute: Execute) -> None:
    execute(graph_of())
    shutil.move(tmp_path / "runs", tmp_path / "moved" / "elsewhere")
    assert (tmp_path / "moved" / "elsewhere" / "run" / "stages" / "train" / "text").read_text().startswith("train(")
    assert execute(graph_of(), runs=tmp_path / "moved" / "elsewhere").of("reused") == ALL


def test_two_runs_share_results(execute: Execute) -> None:
    execute(graph_of())
    observed = execute(graph_of(rate=0.5), name="second")
    assert observed.of("reused") == ALL[:3]
    assert observed.of("done") == ["train"]


def test_two_stages_with_one_key_are_made_once(tmp_path: Path, execute: Execute) -> None:
    graph = graph_of()
    node = graph.nodes["other"]
    graph.add(Node("twin", node.kind, node.by, node.options, node.inputs, Artifact, copy_inputs))
    assert graph.keys["twin"] == graph.keys["other"]
    observed = execute(graph)
    assert "twin" not in observed.of("done")
    assert "twin" in observed.of("reused")
    stages = tmp_path / "runs" / "run" / "stages"
    assert (stages / "twin").resolve() == (stages / "other").resolve()


def test_the_folder_of_stages_shows_this_recipes_stages_only(tmp_path: Path, execute: Execute) -> None:
    graph = graph_of()
    node = graph.nodes["other"]
    graph.add(Node("gone", node.kind, node.by, {"seed": 3}, {}, Artifact, copy_inputs))
    execute(graph)
    execute(graph_of())
    assert sorted(p.name for p in (tmp_path / "runs" / "run" / "stages").iterdir()) == ALL


def test_a_truncated_result_is_made_anew_without_being_asked(tmp_path: Path, execute: Execute) -> None:
    execute(graph_of())
    text = tmp_path / "runs" / "run" / "stages" / "corpus" / "text"
    text.write_text("cut")
    observed = execute(graph_of())
    assert observed.of("done") == ["corpus"]
    assert text.read_text() == "corpus()"


def test_a_flipped_bit_in_an_input_stops_the_stage_that_would_read_it(tmp_path: Path, execute: Execute) -> None:
    execute(graph_of())
    text = (tmp_path / "runs" / "run" / "stages" / "tokens" / "text").resolve()
    data = bytearray(text.read_bytes())
    data[3] ^= 1
    text.write_bytes(data)
    assert execute(graph_of()).of("reused") == ALL  # nothing reads it
    with pytest.raises(DataError, match=r"tokens/.*/text: damaged .*; delete .* and run again"):
        execute(graph_of(rate=0.5))
    shutil.rmtree(text.parent)
    assert execute(graph_of(rate=0.5)).of("done") == ["tokens", "train"]


class Tracker:
    """A plugin that watches every stage."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, list[str], str]] = []

    @hookimpl(wrapper=True)
    def adapt_run_stage(self, stage: Stage, inputs: Mapping[str, Artifact], out: Path) -> Iterator[None]:
        result = yield
        self.seen.append((stage.name, sorted(inputs), (out / "text").read_text()))
        return result


def test_a_tracker_sees_each_stage_that_runs_with_its_inputs_and_its_finished_folder(tmp_path: Path) -> None:
    tracker = Tracker()
    plugins = [*PLUGINS, ("tracker", cast(ModuleType, tracker))]
    registry = Registry.discover(hookspecs, builtin=plugins, entry_points=(), names=vars(components))
    run = Run(graph_of(), registry, tmp_path / "runs", "run", 1)
    run.execute(Observed())
    assert [(name, roles) for name, roles, _ in tracker.seen] == [
        ("corpus", []),
        ("other", []),
        ("tokens", ["domain"]),
        ("train", ["other", "tokens"]),
    ]
    assert tracker.seen[0][2] == "corpus()"
    Run(graph_of(), registry, tmp_path / "runs", "run", 1).execute(Observed())
    assert len(tracker.seen) == 4


def test_events_and_state_say_what_happened_and_how_long_it_took(tmp_path: Path, execute: Execute) -> None:
    execute(graph_of())
    events, damaged = read_events(tmp_path / "runs" / "run" / "events.jsonl")
    assert damaged == 0
    assert [(e["stage"], e["kind"]) for e in events] == [(s, k) for s in ALL for k in ("start", "done")]
    assert events[-1]["facts"] == {"inputs": 2}
    state = json.loads((tmp_path / "runs" / "run" / "state.json").read_bytes())["stages"]
    assert all(entry["seconds"] >= 0 and entry["peak_bytes"] > 2**20 for entry in state.values())


TWO_AT_ONCE = """
    import sys, time
    from pathlib import Path
    from typing import cast
    from domadapt import components, hookspecs
    from domadapt.artifacts import Artifact
    from domadapt.builtin import PLUGINS
    from domadapt.pipeline.engine import Run
    from domadapt.pipeline.graph import Graph, Node
    from domadapt_registry import Registry

    runs, name = Path(sys.argv[1]), sys.argv[2]
    ready, count = runs.parent / f"{name}.ready", runs.parent / "count"

    def work(stage, inputs, out):
        with count.open("a") as file:
            file.write(f"{name}\\n")
        time.sleep(0.5)
        (out / "text").write_text("same")
        return {}

    graph = Graph(None)
    graph.add(Node("corpus", "corpus", ["test:1"], {}, {}, Artifact, work))
    registry = Registry.discover(hookspecs, builtin=PLUGINS, entry_points=(), names=vars(components))
    run = Run(graph, registry, runs, name, 1)
    ready.touch()
    while len(list(runs.parent.glob("*.ready"))) < 2:
        time.sleep(0.01)
    run.execute(lambda *_: None)
"""


def test_two_processes_that_want_one_result_make_it_once_and_both_end_well(tmp_path: Path) -> None:
    script = textwrap.dedent(TWO_AT_ONCE)
    both = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "runs"), name]) for name in ("a", "b")]
    assert [process.wait() for process in both] == [0, 0]
    assert len((tmp_path / "count").read_text().splitlines()) == 1
    links = {(tmp_path / "runs" / name / "stages" / "corpus").resolve() for name in ("a", "b")}
    assert len(links) == 1
    verify(links.pop())
