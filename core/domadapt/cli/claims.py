"""`adapt claims`: what papers say, beside what runs here found."""

from __future__ import annotations

from collections import Counter
from typing import Any

import rich_click as click

from domadapt.cli.frame import console, open_registry, plain, print_json
from domadapt.cli.preparing import runs_folder


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--domain", "-d", metavar="DOMAIN", help="Claims of this domain pack only.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(runs: tuple[str, ...], domain: str | None, as_json: bool) -> None:
    """Compare the numbers that domain packs list as published with finished runs (default: all of them).

    A claim is reproduced, not reproduced, or not testable here, with the reason. A run with other models than the
    published ones can show an effect in miniature, which is something else.
    """
    from domadapt.claims.collecting import claims_of, usable_runs
    from domadapt.claims.judging import judge

    packs = claims_of(open_registry(), domain)
    root = runs_folder()
    rows: list[dict[str, Any]] = []
    for pack, claims in packs.items():
        found = usable_runs(root, runs, pack)
        rows += [{"domain": pack, **_row(judge(claim, found))} for claim in claims]
    if as_json:
        print_json(rows)
        return
    _print(rows)


def _row(finding: Any) -> dict[str, Any]:
    claim = finding.claim
    return {
        "id": claim.id,
        "kind": claim.kind,
        "outcome": str(finding.outcome),
        "run": finding.run,
        "why": finding.why,
        "claim": claim.model_dump(mode="json", exclude={"id", "kind"}),
    }


def _print(rows: list[dict[str, Any]]) -> None:
    out = console()
    if not rows:
        out.print("no installed domain pack lists published numbers")
        return
    width = max(len(row["outcome"]) for row in rows)
    for row in rows:
        out.print(f"{row['outcome']:<{width}}  {plain(row['id'])}", soft_wrap=True)
        out.print(f"    published  {plain(_published(row))}  [{plain(_source(row['claim']['paper']))}]", soft_wrap=True)
        out.print(f"    {plain(row['run'] or 'why')}  {plain(row['why'])}", soft_wrap=True)
    counts = Counter(row["outcome"] for row in rows)
    out.print("\n" + ", ".join(f"{number} {outcome}" for outcome, number in counts.most_common()))


def _published(row: dict[str, Any]) -> str:
    claim = row["claim"]
    if row["kind"] != "value":
        return str(claim["says"])
    sign = " %" if claim["unit"] == "percent" else f" {claim['unit']}"
    return f"{claim['value']:g}{sign} {claim['task']} ({claim['metric']})"


def _source(paper: dict[str, Any]) -> str:
    where = f"arXiv {paper['arxiv']}" if paper["arxiv"] else paper["url"]
    return f"{where}, {paper['where']}" + (", second-hand" if paper["read"] == "secondary" else "")
