"""The engine: run the stages that are not in the store yet, in order, each once, and say why.

The same command again continues: what is in the store is reused, the stage that was interrupted finds
what it left in its scratch folder. State is derived from the store; state.json only remembers what the
last run's keys were made of, so that a re-run can say what changed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from domadapt.artifacts import Artifact, Checkpoint
from domadapt.components import Stage, Tracker
from domadapt.culprits import culprit
from domadapt.errors import AdaptError, Interrupted, MissingError, StageError
from domadapt.pipeline.events import EventLog
from domadapt.pipeline.graph import Graph, Node
from domadapt.pipeline.keys import changed_parts
from domadapt.pipeline.store import Store, publish, remove, verify, write_file
from domadapt_registry import Registry

Observer = Callable[[str, str, Mapping[str, Any]], None]
"""Called with (stage name, kind, data): "start", "progress", "done", "reused", and what components emit."""


@dataclass(frozen=True)
class Planned:
    """What would happen to one stage, and why."""

    node: Node
    key: str
    action: Literal["reuse", "run", "continue"]
    reason: str


class Run:
    """One run: a graph, a store and the folder a person opens."""

    def __init__(
        self, graph: Graph, registry: Registry, runs: Path, name: str, seed: int, trackers: Sequence[Tracker] = ()
    ) -> None:
        self.graph, self.registry, self.seed, self.trackers = graph, registry, seed, trackers
        self.folder = runs / name
        self.store = Store(runs / ".store")
        self._state = _read_state(self.folder)
        self._verified: set[Path] = set()

    def plan(self, again: Sequence[str] = ()) -> list[Planned]:
        """What would be done. again: names of stages to make anew though they are there."""
        planned: list[Planned] = []
        will_run: set[str] = set()
        for name, node in self.graph.nodes.items():
            key = self.graph.keys[name]
            action: Literal["reuse", "run", "continue"] = "run"
            if name in again:
                reason = "asked for"
            elif self.store.find(node.kind, key) is not None:
                action, reason = "reuse", "nothing it depends on changed"
            elif self.store.scratch_path(node.kind, key).exists():
                action, reason = "continue", "was interrupted"
            else:
                reason = self._why(name, will_run)
            if action != "reuse":
                will_run.add(name)
            planned.append(Planned(node, key, action, reason))
        return planned

    def _why(self, name: str, will_run: set[str]) -> str:
        before = self._state.get("stages", {}).get(name, {}).get("parts")
        if not isinstance(before, dict):
            return "never run"
        now = self.graph.parts[name]
        inputs = self.graph.nodes[name].inputs
        changed = [i for role, i in inputs.items() if before.get("inputs", {}).get(role) != now["inputs"][role]]
        told = changed_parts({**before, "inputs": None}, {**now, "inputs": None})
        told += [f"{i} is made anew" if i in will_run else f"{i} changed" for i in changed]
        return "; ".join(told[:4]) or "its result is gone from the store"

    def execute(
        self,
        observe: Observer,
        *,
        again: Sequence[str] = (),
        stop_requested: Callable[[], bool] = lambda: False,
        only: Collection[str] | None = None,
    ) -> dict[str, Path]:
        """Make everything that is missing; return the artifact folder of each stage by name.

        only: the stages to make or reuse, with all they need; None for all. What the others were stays as it is.
        Raises what a stage raises, as an AdaptError that names the stage; finished stages stay.
        """
        log = EventLog(self.folder / "events.jsonl")
        stages = self._state.setdefault("stages", {})
        paths: dict[str, Path] = {}
        for planned in self.plan(again):
            name, node = planned.node.name, planned.node
            if only is not None and name not in only:
                continue
            if stop_requested() and planned.action != "reuse":
                raise Interrupted(f"stopped before {name}; run the same command to continue")
            if planned.action == "reuse":
                observe(name, "reused", {"reason": planned.reason})
            else:
                stages[name] = self._make(planned, paths, observe, log, stop_requested)
            paths[name] = self.store.path(node.kind, planned.key)
            entry = stages.setdefault(name, {})
            entry.update(key=planned.key, parts=self.graph.parts[name])
            if planned.action != "reuse":
                self._write_state()
            self._link(name, paths[name])
        if only is not None:
            return paths
        self._state["stages"] = {name: stages[name] for name in self.graph.nodes}
        for link in (self.folder / "stages").iterdir():
            if link.name not in self.graph.nodes:
                link.unlink()
        self._write_state()
        return paths

    def _make(
        self,
        planned: Planned,
        paths: Mapping[str, Path],
        observe: Observer,
        log: EventLog,
        stop_requested: Callable[[], bool],
    ) -> dict[str, Any]:
        node, key = planned.node, planned.key
        work, final = self.store.work_path(node.kind, key), self.store.path(node.kind, key)

        def emit(kind: str, data: Mapping[str, Any]) -> None:
            observe(node.name, kind, data)
            if kind != "progress":
                log.write(node.name, kind, data)
            elif node.kind != "train" and stop_requested():
                raise Interrupted(f"stopped in {node.name}; run the same command to continue")

        stage = Stage(
            name=node.name,
            key=key,
            seed=self.seed,
            component=node.by[0] if node.by else node.name,
            work=node.work,
            scratch=self.store.scratch_path(node.kind, key),
            emit=emit,
            stop_requested=stop_requested,
            run=self.folder,
            trackers=self.trackers,
            facts={"run_facts": run_facts(self._state)} if node.kind == "report" else {},
        )
        with self.store.lock(node.kind, key):
            found = self.store.find(node.kind, key)
            if found is not None and planned.reason != "asked for":  # another run made it meanwhile
                observe(node.name, "reused", {"reason": "another run made it"})
                return {}
            started = time.time()
            emit("start", {"action": planned.action, "reason": planned.reason, "key": key})
            if planned.reason == "asked for" and not final.exists():
                # beside a finished result lies only what an earlier --from left; else it is what to start over from
                remove(stage.scratch)
            shutil.rmtree(work, ignore_errors=True)
            try:
                work.mkdir(parents=True)
                stage.scratch.mkdir(parents=True, exist_ok=True)
                self.registry.hook.adapt_run_stage(stage=stage, inputs=self._inputs(node, paths), out=work)
                stage.facts.pop("run_facts", None)
                if planned.reason == "asked for":
                    remove(final)
                inputs = self.graph.parts[node.name]["inputs"]
                made = {"kind": node.kind, "key": key, "by": list(node.by), "inputs": inputs, "facts": stage.facts}
                publish(work, final, made)
            except AdaptError as error:
                log.write(node.name, "stopped", {"error": type(error).__name__, "message": str(error)})
                raise
            except Exception as error:
                if is_disk_full(error):
                    free = shutil.disk_usage(self.store.root).free / 1e9
                    raise MissingError(
                        f"{node.name}: the disk is full ({free:.1f} GB free); make room and run the same command again"
                    ) from error
                if isinstance(error, OSError):
                    who = culprit(error, foreign=True)
                    raise StageError(f"{node.name}: {who}{': ' if who else ''}{error}") from error
                raise
            self._verified.add(final)
            shutil.rmtree(stage.scratch, ignore_errors=True)
        seconds = round(time.time() - started, 3)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        emit("done", {"seconds": seconds, "peak_bytes": peak, "facts": stage.facts})
        return {"seconds": seconds, "started": round(started, 3), "peak_bytes": peak, **stage.measured}

    def _inputs(self, node: Node, paths: Mapping[str, Path]) -> dict[str, Artifact]:
        inputs: dict[str, Artifact] = {}
        for role, name in node.inputs.items():
            if name in self.graph.models:
                # the same folder may stand in for two roles (no instruct model)
                model = self.graph.models[name]
                inputs[role] = replace(model, role=role) if role in ("instruct", "cpt") else model  # type: ignore[arg-type]
            else:
                path = paths[name]
                inputs[role] = self.graph.nodes[name].handle(path)
                # the report reads only what lies beside a model's weights
                needed = node.kind != "report" or not isinstance(inputs[role], Checkpoint)
                if needed and path not in self._verified:  # once a run: file formats do not notice a flipped bit
                    verify(path)
                    self._verified.add(path)
        return inputs

    def _link(self, name: str, target: Path) -> None:
        """`stages/NAME` -> the artifact, relative, so that the folder of runs can be moved."""
        link = self.folder / "stages" / name
        wanted = os.path.relpath(target, link.parent)
        if link.is_symlink() and os.readlink(link) == wanted:
            return
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(wanted)

    def _write_state(self) -> None:
        text = json.dumps(self._state, indent=1, sort_keys=True) + "\n"
        state = self.folder / "state.json"
        if not state.exists() or state.read_text() != text:
            write_file(state, text.encode())


def _read_state(folder: Path) -> dict[str, Any]:
    try:
        state = json.loads((folder / "state.json").read_bytes())
    except (OSError, ValueError):
        return {}
    stages = state.get("stages") if isinstance(state, dict) else None
    if not isinstance(stages, dict) or not all(isinstance(entry, dict) for entry in stages.values()):
        return {}
    return {"stages": stages}


def is_disk_full(error: Exception) -> bool:
    """Whether an error means that the disk is full: safetensors says so in words only."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "No space left on device" in str(error)


def run_facts(state: Mapping[str, Any]) -> dict[str, Any]:
    """What differs between two equal runs: times, memory, host, versions, how it was started.

    stages: name -> seconds, peak_bytes (of the process until then) and started, in seconds since the first stage
    started.  versions: of this distribution and of all it requires.
    """
    import platform

    # the report that is being made: what is known of it is how long an earlier one took
    known = {name: entry for name, entry in state.get("stages", {}).items() if name != "report"}
    first = min((entry["started"] for entry in known.values() if "started" in entry), default=0.0)
    stages = {}
    for name, entry in known.items():
        stages[name] = {k: v for k, v in entry.items() if k not in ("key", "parts", "started")}
        if "started" in entry:
            stages[name]["started"] = round(entry["started"] - first, 3)
    return {
        "stages": stages,
        "versions": _versions(),
        "host": platform.node(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "python": platform.python_version(),
        "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
        **_command(),
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in requires("domadapt") or []]
    names = ["domadapt", *(r.name for r in wanted if r.marker is None or r.marker.evaluate())]
    versions = {}
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _command() -> dict[str, str]:
    """The command line of this process, when it is one of adapt's."""
    name = Path(sys.argv[0]).name
    return {"command": shlex.join(["adapt", *sys.argv[1:]])} if name in ("adapt", "__main__.py") else {}
