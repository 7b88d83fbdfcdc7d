"""`adapt merge`: merge checkpoints made elsewhere, or merge a finished run another way.

Without a run nothing but the merge happens: no corpus, no evaluation, and torch is imported only where mergekit does
the arithmetic or the result is tried.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from domadapt.cli.frame import console, open_registry, plain, say
from domadapt.cli.preparing import runs_folder
from domadapt.errors import MissingError, UsageError

if TYPE_CHECKING:
    from domadapt.artifacts import Checkpoint
    from domadapt.cli.preparing import Prepared
    from domadapt.recipe.check import Choice
    from domadapt_registry import Registry


@click.command()
@click.argument("run", required=False)
@click.option("--ancestor", "-a", metavar="MODEL", help="The pre-trained model that both descend from.")
@click.option("--instruct", "-i", metavar="MODEL", help="The instruct model; tokenizer and chat template are its.")
@click.option("--cpt", "-c", metavar="MODEL", help="The model after continual pre-training.")
@click.option(
    "--method",
    "--merge",
    "-m",
    "methods",
    multiple=True,
    metavar="METHOD",
    help="Method, preset or mergekit's *.yml; again to compare several of a run. Default: ties.",
)
@click.option(
    "--set", "-s", "overrides", multiple=True, metavar="KEY=VALUE", help="An option of the method, e.g. density=0.5."
)
@click.option("--out", "-o", type=click.Path(path_type=Path), metavar="DIR", help="New folder for the merged model.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1234, show_default=True, help="Of random masks.")
@click.option("--no-try", is_flag=True, help="Do not load the result and ask it something afterwards.")
def command(
    run: str | None,
    ancestor: str | None,
    instruct: str | None,
    cpt: str | None,
    methods: tuple[str, ...],
    overrides: tuple[str, ...],
    out: Path | None,
    seed: int,
    no_try: bool,
) -> int | None:
    """Merge checkpoints made elsewhere, or merge a run another way.

    MODEL is a folder, a hub id or builtin:NAME. RUN is the name of a finished run: its merges are replaced, evaluated
    and reported anew, everything before is reused; --set then takes keys of the recipe.

    `adapt merge --ancestor A --instruct B --cpt C --method ties --set density=0.5 --out merged`
    `adapt merge my-run --merge slerp --set merge.weight=0.3`
    """
    models = {"base": ancestor, "instruct": instruct, "cpt": cpt}
    if run is not None:
        if any(models.values()) or out is not None:
            raise UsageError(f"merge {run}: a run has its own models and folder; leave out --ancestor to --out")
        return _merge_again(run, methods, overrides)
    if instruct is None or cpt is None:
        raise UsageError("merge: name a run, or models with --instruct and --cpt (and --ancestor)")
    _merge_models(models, methods or ("ties",), overrides, out or Path("merged"), seed, try_it=not no_try)
    return None


def _merge_again(name: str, methods: Sequence[str], overrides: Sequence[str]) -> int | None:
    """What `adapt run` does with the run's own lock file, once everything before the merge is there."""
    from domadapt.cli.preparing import prepare
    from domadapt.cli.run import execute

    lock = runs_folder() / name / "recipe.lock.yaml"
    if not lock.is_file():
        known = ", ".join(sorted(p.parent.name for p in runs_folder().glob("*/recipe.lock.yaml"))) or "none"
        raise UsageError(f"merge: there is no run '{plain(name)}' in {runs_folder()}; there is {known}")
    prepared: Prepared = prepare(lock, None, methods, overrides, name)
    missing = [p.node.name for p in prepared.run.plan() if p.action != "reuse" and p.node.kind in _BEFORE]
    if missing:
        raise UsageError(
            f"merge {name}: {', '.join(missing)} would have to be made first; `adapt run {lock}` makes everything"
        )
    return execute(prepared, [])


_BEFORE = ("corpus", "tokens", "train")


def _merge_models(
    refs: Mapping[str, str | None],
    methods: Sequence[str],
    overrides: Sequence[str],
    out: Path,
    seed: int,
    *,
    try_it: bool,
) -> None:
    from domadapt.cli.run import ENGINE_ENVIRONMENT

    for variable, value in ENGINE_ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    registry = open_registry()
    chosen, weight = choose_merges(registry, methods, overrides)
    needing = [label for label, choice in chosen.items() if choice.cls(choice.config).uses_ancestor]  # type: ignore[attr-defined]
    if refs["base"] is None and needing:
        raise UsageError(f"merge: {', '.join(needing)} needs the pre-trained ancestor; name it with --ancestor")
    folders = {label: out / label if len(chosen) > 1 else out for label in chosen}
    for folder in folders.values():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"merge: {folder} exists already; name a new folder with --out")
    parents = {role: _checkpoint(registry, role, ref) for role, ref in refs.items() if ref is not None}
    parents.setdefault("base", parents["instruct"])
    for label, choice in chosen.items():
        facts = _merge_into(folders[label], label, choice, weight, parents, refs, seed, try_it)
        by = " ".join(str(facts[key]) for key in ("engine", "route") if key in facts)
        console().print(
            f"{folders[label]}  {plain(label)} ({by or 'plugin'}, {facts.get('dtype', '')})", soft_wrap=True
        )


def choose_merges(
    registry: Registry, methods: Sequence[str], overrides: Sequence[str]
) -> tuple[dict[str, Choice], float]:
    """The merges that methods and options stand for, by label, and the share of the CPT model.

    Raises RecipeError that lists everything wrong with them.
    """
    from pydantic import ValidationError

    from domadapt.recipe.choosing import Chooser
    from domadapt.recipe.layers import apply_merge_methods, apply_overrides, core_defaults
    from domadapt.recipe.merges import with_merges
    from domadapt.recipe.problems import recipe_error
    from domadapt.recipe.schema import MergeRecipe
    from domadapt.recipe.sweeps import flattened
    from domadapt.recipe.tree import Node
    from domadapt.recipe.wording import option_problems

    defaults = core_defaults()
    root = apply_merge_methods(
        Node({"merge": defaults.child("merge") or Node({}, defaults.origin)}, defaults.origin), methods
    )
    root, problems = with_merges(root, registry)
    names = root.at(("merge", "methods"))
    labels = [str(name) for name in names.plain()] if names is not None else []
    root, found = apply_overrides(root, [entry for text in overrides for entry in _recipe_keys(text, labels)])
    if flattened(root).lists:
        raise UsageError("merge: several values of a setting are a sweep, which scores on a run's texts: adapt sweep")
    chooser = Chooser(root, registry)
    chosen = chooser.mergers()
    merge = root.child("merge") or root
    problems = [*problems, *found, *chooser.problems]
    weight = 0.5
    try:
        weight = MergeRecipe.model_validate(merge.plain()).share
    except ValidationError as error:
        problems += option_problems(error, MergeRecipe, merge, ("merge",), "", {})
    if problems:
        raise recipe_error("merge", problems)
    return chosen, weight


def _recipe_keys(text: str, labels: Sequence[str]) -> Iterator[str]:
    """An option of the method as keys of a recipe: general settings once, others for each merge."""
    from domadapt.recipe.resolved import MERGE_KNOBS

    key, _, value = (part.strip() for part in text.partition("="))
    if key.startswith("merge."):
        yield text
    elif key in MERGE_KNOBS and not value.startswith(("{", "[")):  # a gradient or one a parent is the method's own
        yield f"merge.{text}"
    else:
        yield from (f'merge.options."{label}".{text}' for label in labels)


def _checkpoint(registry: Registry, role: str, ref: str) -> Checkpoint:
    from domadapt.artifacts import Checkpoint
    from domadapt.pipeline.fingerprints import cache_folder

    folder = registry.hook.adapt_resolve_model(ref=ref, cache=cache_folder())
    if folder is None:
        raise MissingError(f"model {ref!r}: neither builtin:NAME, nor a folder (./DIR), nor a hub id (org/name)")
    return Checkpoint(folder, role=role)  # type: ignore[arg-type]


def _merge_into(
    out: Path,
    label: str,
    choice: Choice,
    weight: float,
    parents: Mapping[str, Checkpoint],
    refs: Mapping[str, str | None],
    seed: int,
    try_it: bool,
) -> dict[str, Any]:
    """Merge beside the final folder, publish under its name, as the engine does with every stage."""
    from domadapt.components import Stage
    from domadapt.pipeline import work
    from domadapt.pipeline.graph import is_public
    from domadapt.pipeline.store import publish

    names = {role: ref for role, ref in refs.items() if ref is not None and is_public(ref)}
    merge = work.merging(choice, weight, names, try_it=try_it)
    inputs = {"ancestor": parents["base"], "instruct": parents["instruct"], "cpt": parents["cpt"]}
    with _work_folder(out) as folder:
        stage = Stage(f"merge.{label}", "", seed, choice.name, merge, folder / "scratch", emit=_emit)
        stage.scratch.mkdir()
        (folder / "model").mkdir()
        facts = merge(stage, inputs, folder / "model")
        made = {"kind": "merge", "key": "", "by": [choice.name], "inputs": names, "facts": {**facts, "seed": seed}}
        if out.exists():
            out.rmdir()  # empty, as was checked
        publish(folder / "model", out, made)
    return facts


@contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    """A folder beside the final one (a rename must not cross file systems), gone afterwards whatever happens."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _emit(kind: str, data: Mapping[str, Any]) -> None:
    if kind == "warning":
        say(f"warning: {data['message']}")
