"""`adapt run`: do what is missing, print the result."""

from __future__ import annotations

import json
import os
import signal
import types
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from domadapt.cli.preparing import Prepared, prepare, recipe_options
from domadapt.errors import CTRL_C, GATE, Interrupted, UsageError

if TYPE_CHECKING:
    from domadapt.builtin.launching.places import Place

ENGINE_ENVIRONMENT = {
    # waiting threads sleep: spinning ones stall each other as soon as another process works beside us
    "OMP_WAIT_POLICY": "passive",
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "true",
}
"""Environment of the engines unless the user set it otherwise. Our own progress is the only one shown."""


class StopFlag:
    """Set by the first SIGTERM, SIGUSR1 or Ctrl-C; a Ctrl-C after it ends the process at once.

    A second SIGTERM is the same request again: a scheduler that warns and then tells sends two.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        return self.signal is not None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch the signals while the run works."""
        caught = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
        before = {number: signal.signal(number, self._catch) for number in caught}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _catch(self, number: int, frame: types.FrameType | None) -> None:
        if self.signal is None:
            self.signal = number
        elif number == signal.SIGINT:
            raise KeyboardInterrupt


@click.command()
@recipe_options
@click.option("--from", "first", metavar="STAGE", help="Make this stage and all that follow from it anew.")
@click.option("--fresh", is_flag=True, help="Make every stage anew.")
@click.option(
    "--control",
    "controls",
    multiple=True,
    metavar="ARM",
    help="Control arm to score beside the merges: self_merge, residual, domain_prompt. Again for several.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Score at most N items a task (= eval.limit).")
@click.option("--dry-run", is_flag=True, help="Show the plan, run nothing (= adapt plan).")
def command(
    recipe: Path | None,
    domain: str | None,
    merge: tuple[str, ...],
    overrides: tuple[str, ...],
    name: str | None,
    first: str | None,
    fresh: bool,
    controls: tuple[str, ...],
    limit: int | None,
    dry_run: bool,
) -> int | None:
    """Run a recipe: corpora, tokens, continual pre-training, merges, evaluations, report.

    The same command again continues where it stopped and makes nothing twice. RECIPE is a file or the name
    of a packaged recipe.

    `adapt run --domain sec`
    `adapt run my.yaml --set train.lr=1e-4 --merge ties --merge slerp`
    """
    place = _place()
    if place is not None and not place.is_first:
        from domadapt.builtin.training.following import follow

        _set_engine_environment()
        return None if dry_run else follow(place)
    if controls:
        overrides = (*overrides, f"eval.controls={json.dumps(controls)}")
    if limit is not None:
        overrides = (*overrides, f"eval.limit={limit}")
    anew = fresh or (first or "").split(".")[0] in ("corpus", "tokens", "law", "train")
    prepared = prepare(recipe, domain, merge, overrides, name, anew=anew)
    again = stages_again(prepared, first, fresh)
    if dry_run:
        from domadapt.cli.plan import print_plan

        print_plan(prepared, again)
        return None
    return execute(prepared, again)


def stages_again(prepared: Prepared, first: str | None, fresh: bool) -> list[str]:
    """Names of the stages to make anew. Raises UsageError for a stage the run does not have."""
    nodes = prepared.run.graph.nodes
    if fresh:
        return list(nodes)
    if first is None:
        return []
    chosen = {n for n in nodes if n == first or n.split(".")[0] == first}
    if not chosen:
        raise UsageError(f"--from {first}: this run has no such stage; it has {', '.join(nodes)}")
    for name, node in nodes.items():
        if chosen & set(node.inputs.values()):
            chosen.add(name)
    return [n for n in nodes if n in chosen]


def execute(prepared: Prepared, again: list[str]) -> int | None:
    """Run, publish what a person opens, print the table."""
    from domadapt.builtin.training.following import leading
    from domadapt.cli.frame import console, say
    from domadapt.report.terminal import print_report

    place = _place()
    with leading(place) if place is not None else nullcontext():
        paths = make_stages(prepared, again)
    if paths is None:
        return CTRL_C
    run = prepared.run
    publish_report(run.folder, paths["report"])
    report = json.loads((run.folder / "report.json").read_bytes())
    print_report(report, console())
    console().print(f"\nreport  {run.folder / 'report.html'}", soft_wrap=True)
    failed = [gate for gate in report.get("gates", []) if not gate["met"]]
    for gate in failed:
        say(f"gate not met: {gate['gate']}: {gate['sentence']}")
    return GATE if failed else None


def publish_report(folder: Path, report: Path) -> None:
    """Copy the report to where a person opens it."""
    for file in ("report.json", "report.html"):
        _copy(report / file, folder / file)


def _set_engine_environment() -> None:
    for variable, value in ENGINE_ENVIRONMENT.items():
        os.environ.setdefault(variable, value)


def _place() -> Place | None:
    """Which of several ranks this process is, when torchrun or srun started the command once for each."""
    from domadapt.builtin.launching.places import read_place

    place = read_place(os.environ)
    return place if place is not None and place.world_size > 1 else None


def make_stages(prepared: Prepared, again: list[str], only: Collection[str] | None = None) -> dict[str, Path] | None:
    """Write the recipe into the run's folder and make what is missing; the artifacts by stage, None after Ctrl-C.

    only: names of the stages to make or reuse, with all they need; None for all.
    """
    from domadapt.cli.display import open_display
    from domadapt.cli.frame import say
    from domadapt.pipeline.store import run_lock
    from domadapt.recipe.lock import lock_text

    _set_engine_environment()
    run, stop = prepared.run, StopFlag()
    _say_cost_of_law(prepared, again)
    if prepared.told:
        say(prepared.told)
    with run_lock(run.folder):
        _write(run.folder / "recipe.yaml", prepared.resolved.loaded.text)
        _write(run.folder / "recipe.lock.yaml", lock_text(prepared.resolved, lock_facts(prepared)))
        try:
            with open_display() as display, stop.listening():
                return run.execute(display, again=again, stop_requested=stop, only=only)
        except Interrupted as stopped:
            if stop.signal == signal.SIGINT:
                say(f"run {prepared.name}: {stopped}")
                return None
            if again:
                say("(without --fresh and --from, which start over)")
            raise


def _say_cost_of_law(prepared: Prepared, again: list[str]) -> None:
    """What choosing the mixture will cost, before it costs anything."""
    from domadapt.cli.frame import say
    from domadapt.laws.planned import small_runs
    from domadapt.pipeline.law import LAW

    runs = small_runs(prepared.resolved.recipe)
    if runs is None or all(p.action == "reuse" for p in prepared.run.plan(again) if p.node.name == LAW):
        return
    say(runs.told())


def lock_facts(prepared: Prepared) -> dict[str, Any]:
    """What the names in the recipe stood for: versions and digests, for the lock file."""
    from importlib.metadata import version

    from domadapt.pipeline.reporting import provider_versions

    engines = ("torch", "transformers", "tokenizers", "mergekit", "lm_eval", "megatron-core", "pyarrow")
    models: Mapping[str, Any] = prepared.run.graph.models
    return {
        "components": provider_versions(prepared.resolved),
        "packages": {name: version(name) for name in ("domadapt", *engines)},
        "models": {name.removeprefix("model."): f"sha256:{model.digest}" for name, model in models.items()},
        "stages": dict(prepared.run.graph.keys),
    }


def _write(path: Path, text: str) -> None:
    from domadapt.pipeline.store import write_file

    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_file(path, text.encode())


def _copy(source: Path, target: Path) -> None:
    from domadapt.pipeline.store import write_file

    if (
        not target.exists()
        or target.stat().st_size != source.stat().st_size
        or target.read_bytes() != source.read_bytes()
    ):
        write_file(target, source.read_bytes())
