"""Whose claims and which runs: from the installed packs and the folder of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from domadapt.claims.schema import Claim, load_claims
from domadapt.components import DomainPack
from domadapt.errors import UsageError
from domadapt.report.finished_run import FinishedRun, finished_runs, open_run
from domadapt_registry import Registry


def claims_of(registry: Registry, domain: str | None) -> dict[str, list[Claim]]:
    """Claims by domain, of one pack or of all that list some. Raises UsageError when the named one lists none."""
    found: dict[str, list[Claim]] = {}
    for name in registry.names("domain") if domain is None else [domain]:
        pack: DomainPack = registry.find("domain", name)
        if pack.claims is not None:
            found[name] = list(load_claims(pack.claims).claims)
        elif domain is not None:
            raise UsageError(f"claims: the domain pack {domain!r} lists no published numbers")
    return found


def usable_runs(root: Path, names: Sequence[str], domain: str) -> list[FinishedRun]:
    """The finished runs of a domain: those named, or all below `root` that can be read.

    Raises UsageError for a named run that is not finished; of all runs, those in the making are passed over.
    """
    if names:
        opened = [open_run(root / name) for name in names]
    else:
        opened = []
        for folder in finished_runs(root):
            try:
                opened.append(open_run(folder))
            except UsageError:
                continue  # started again with other settings: its report is of before
    return [run for run in opened if run.data["domain"] == domain]
