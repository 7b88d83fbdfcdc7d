"""`adapt push`: upload a model or the report of a finished run to the hub, after showing what would be uploaded.

Nothing leaves the machine without --yes, and a repository is private unless --public says otherwise. What goes up is
listed by the run's manifests, never by what happens to lie in a folder; pickles, files for secrets and texts with
secrets in them are refused. The upload is huggingface_hub's own: it resumes when the same command runs again.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import rich_click as click

from domadapt.cli.frame import console, plain, say
from domadapt.cli.preparing import runs_folder
from domadapt.errors import UsageError

WHAT = ("merged", "report")


@click.command()
@click.argument("run")
@click.argument("repo")
@click.option("--model", "label", metavar="LABEL", help="Which model: cpt or a merge. Default: the report's choice.")
@click.option(
    "--what",
    default=",".join(WHAT),
    show_default=True,
    help="What to upload: merged (the model with its card), report (page and numbers).",
)
@click.option("--license", metavar="ID", help="The licence you give it, instead of the strictest of its inputs'.")
@click.option("--public", is_flag=True, help="Let everyone see it. Default: private.")
@click.option("--yes", is_flag=True, help="Upload. Without it only show what would be uploaded.")
def command(run: str, repo: str, label: str | None, what: str, license: str | None, public: bool, yes: bool) -> None:
    """Upload a model of RUN and its report to REPO (OWNER/NAME) on the Hugging Face hub.

    Without --yes nothing is uploaded and no account is needed. The same command again continues an upload.
    """
    from domadapt.publishing.hub import check_repo_name, upload
    from domadapt.publishing.upload import collect, refusals
    from domadapt.report.finished_run import open_run

    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # before its import, which reads it
    check_repo_name(repo)
    finished = open_run(runs_folder() / run)
    with tempfile.TemporaryDirectory(prefix="adapt-push-") as scratch:
        plan = collect(finished, _chosen(what), label, license, Path(scratch))
        out = console()
        for name, file in sorted(plan.files.items()):
            out.print(f"{file.stat().st_size / 1e9:>10.6f} GB  {plain(name)}", soft_wrap=True)
        out.print(f"{plan.num_bytes / 1e9:>10.6f} GB  in {len(plan.files)} files")
        out.print(f"to       {repo}, {'PUBLIC: everyone sees it' if public else 'private'}", soft_wrap=True)
        terms = f"{plan.license.name or plan.license.id}: {plan.license.reason}"
        out.print(f"licence  {plain(terms)}", soft_wrap=True)
        if refused := refusals(plan, public=public):
            raise UsageError("push: refused, nothing was uploaded\n" + "\n".join(f"  {why}" for why in refused))
        if not yes:
            out.print("nothing was uploaded; add --yes to upload")
            return
        say(f"uploading {len(plan.files)} files to {repo}")
        address = upload(plan, repo, public=public, message=f"adapt: {plan.label} of run {finished.name}")
    click.echo(address)


def _chosen(what: str) -> list[str]:
    names = [name.strip() for name in what.split(",") if name.strip()]
    unknown = [name for name in names if name not in WHAT]
    if unknown or not names:
        raise UsageError(f"push: --what {what!r}: wanted {' or '.join(WHAT)}, or both with a comma")
    return names
