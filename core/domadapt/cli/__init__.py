"""The command `adapt`: one module a command, imported when it is asked for.

The table below repeats each command's one-line help, so that `adapt --help` imports none of them (their
imports are what makes a start slow). A command's module has an attribute `command`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import rich_click as click

from domadapt import __version__
from domadapt.cli import frame
from domadapt_registry.errors import suggestion

COMMANDS = {
    "run": "Run a recipe: continual pre-training, merge, evaluation, report. Again: continue.",
    "plan": "Show what a run would do, what it would need and where each setting comes from.",
    "launch": "Run where the recipe says: here, on several machines, or as a job of a Slurm cluster.",
    "sweep": "Score many merges in memory and print the front of domain against general.",
    "experiment": "Run recipes that differ in a few keys, and print one table of what the difference does.",
    "law": "Fit a law to measured losses, and ask it for the share of domain text.",
    "merge": "Merge checkpoints made elsewhere, or merge a run another way.",
    "corpus": "Make the corpora of a recipe, show their accounts, follow a document through the cleaning.",
    "status": "Show how far runs are.",
    "report": "Show where the report of a run is, or lay several runs over each other.",
    "compare": "Compare two runs or two models, task by task on the same items, with tests.",
    "validate": "Check recipes; all problems at once, with file and line.",
    "schema": "Print the JSON schema of recipes.",
    "plugins": "List the installed plugins, what they give and what is wrong with them.",
    "card": "Write a model card from a finished run.",
    "push": "Upload a model of a finished run to the hub; shows what it would do unless told --yes.",
    "claims": "Compare published numbers with finished runs: reproduced, not reproduced, not testable here.",
    "clean": "Delete stored results that no run refers to.",
}


class CommandGroup(click.RichGroup):
    """A group whose commands are named in a table and imported on use; errors become lines and codes in `frame`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A stand-in with the table's help, enough for listings and suggestions."""
        return click.RichCommand(name=cmd_name, help=COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The real command of the module, for the name on the command line."""
        if args[0] not in COMMANDS and not ctx.resilient_parsing and not args[0].startswith("-"):
            ctx.fail(f"there is no command '{args[0]}'{suggestion(args[0], COMMANDS)}")
        name, stand_in, rest = super().resolve_command(ctx, args)
        if stand_in is None or name is None:
            return name, stand_in, rest
        return name, importlib.import_module(f"domadapt.cli.{name}").command, rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever it raises becomes a line and an exit code."""
        return frame.contained(lambda: super(CommandGroup, self).invoke(ctx), debug=ctx.params["debug"])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Parse and run; exits with the code, or returns it when not in standalone mode."""
        code = frame.exit_code(
            lambda: super(CommandGroup, self).main(args, prog_name or "adapt", complete_var, False, **extra)
        )
        return sys.exit(code) if standalone_mode else code


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, envvar="ADAPT_DEBUG", help="Show tracebacks (also ADAPT_DEBUG=1).")
def adapt(debug: bool) -> None:
    """Turn a general language model into a domain's model, and prove that nothing else was lost.

    `adapt run --domain NAME` runs a domain's starter recipe.
    """


def main() -> None:
    """The console script."""
    # a name that the terminal's encoding lacks is no reason to lose the result
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    adapt(prog_name="adapt")
