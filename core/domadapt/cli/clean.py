"""`adapt clean`: delete results that no run refers to, or a run and what only it refers to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rich_click as click

from domadapt.cli.frame import console
from domadapt.cli.preparing import runs_folder
from domadapt.errors import DataError, UsageError
from domadapt.pipeline.store import Store, remove, run_lock


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--yes", is_flag=True, help="Delete. Without it only show what would be deleted.")
def command(runs: tuple[str, ...], yes: bool) -> None:
    """Delete stored results that no run refers to any more; with RUN, that run too.

    Interrupted work of a run is kept as long as the run is. Without --yes nothing is deleted.
    """
    root = runs_folder()
    for run in runs:
        if run.startswith(".") or "/" in run or not (root / run / "events.jsonl").is_file():
            raise UsageError(f"clean: there is no run {run!r} in {root}")
    doomed = [root / run for run in runs] + unreferenced(root, without=runs)
    out = console()
    for path in doomed:
        out.print(f"{_size(path) / 1e6:>10.1f} MB  {path}", soft_wrap=True)
    total = sum(_size(path) for path in doomed)
    if not doomed:
        out.print("nothing to delete")
    elif not yes:
        out.print(f"{total / 1e6:>10.1f} MB  in all; add --yes to delete")
    else:
        for path in doomed:
            if path.parent == root:
                with run_lock(path):
                    pass  # refuses a run that is being worked on
            remove(path)
        out.print(f"{total / 1e6:>10.1f} MB  deleted")


def unreferenced(root: Path, *, without: tuple[str, ...] = ()) -> list[Path]:
    """Folders of the store whose key no run's state names; runs in `without` do not count."""
    kept: set[str] = set()
    for state in root.glob("*/state.json"):
        if state.parent.name not in without:
            with _readable(state):
                stages = json.loads(state.read_bytes()).get("stages", {})
                kept |= {entry["key"] for entry in stages.values() if "key" in entry}
    for lock in root.glob("*/recipe.lock.yaml"):
        if lock.parent.name not in without:
            # a run that was interrupted names the keys of its coming stages only here
            with _readable(lock):
                kept |= _keys(lock)
    return [path for _, name, path in Store(root / ".store").entries() if name.split(".")[0] not in kept]


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """What a run needs is unknown when its record is damaged: then nothing may be deleted."""
    import yaml

    try:
        yield
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError) as error:
        raise DataError(
            f"clean: {file} cannot be read, so what the run needs is not known and nothing was deleted; repeat that "
            f"run, which writes it anew, or delete it: adapt clean {file.parent.name}"
        ) from error


def _keys(lock: Path) -> set[str]:
    import yaml

    resolved = yaml.safe_load(lock.read_text(encoding="utf-8")).get("resolved") or {}
    return set((resolved.get("stages") or {}).values())


def _size(path: Path) -> int:
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file() and not f.is_symlink())
