"""`adapt law`: fit a law of continual pre-training to measured losses, and ask it for a mixture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from domadapt.cli.frame import console, plain, print_json
from domadapt.cli.preparing import runs_folder
from domadapt.errors import MissingError, UsageError

if TYPE_CHECKING:
    from domadapt.laws.observations import Observations
    from domadapt.laws.study import Study
    from domadapt.laws.table import Table

LAWS = ("dcpt", "cross-domain", "cmr", "annealing", "dynamics", "cross-lingual", "mixing")
ENDINGS = (".csv", ".gz", ".parquet", ".json", ".jsonl")


class Count(click.ParamType[float]):
    """A number of tokens, parameters or operations, as 500M, 1.5B or 1e21."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, or click's refusal."""
        from domadapt.recipe.schema import parse_count

        try:
            number = float(value)
        except ValueError:
            try:
                number = float(str(parse_count(value)))
            except ValueError:
                number = 0.0
        if not number > 0:
            self.fail(f"wanted a count such as 500M, 1.5B or 1e21, came {value!r}", param, ctx)
        return number


@click.group()
def command() -> None:
    """Fit a law of continual pre-training to measured losses, and ask it for a mixture."""


SOURCES = [
    click.argument("sources", nargs=-1, required=True, metavar="TABLE|RUN..."),
    click.option("--law", "name", type=click.Choice(LAWS), default="dcpt", show_default=True, help="Which law."),
    click.option(
        "--columns", metavar="NAME=COLUMN,...", help="What columns are called in the table, e.g. domain_loss=val_code."
    ),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the starts and resamples."),
    click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with charts (HTML)."),
    click.option("--json", "as_json", is_flag=True, help="For programs."),
]


def _sources(function: Any) -> Any:
    for decorator in reversed(SOURCES):
        function = decorator(function)
    return function


@command.command("fit")
@_sources
@click.option(
    "--general-loss-at-most",
    "limit",
    metavar="LOSS|X%",
    help="Law cmr: the general loss that is kept; X% over that before training.",
)
@click.option("--at", metavar="NAME=VALUE,...", help="Predict the loss there, e.g. tokens=10B,domain_share=0.9.")
def fit_command(
    sources: tuple[str, ...],
    name: str,
    columns: str | None,
    seed: int,
    out: Path | None,
    as_json: bool,
    limit: str | None,
    at: str | None,
) -> None:
    """Fit a law to a table of losses, or to what finished runs measured on the held-out text.

    A table (.csv, .parquet, .json, .jsonl) has a row a measurement: run, params, tokens, domain_share, domain_loss,
    general_loss. When a fit is poor, or the data cannot identify the parameters, it ends with exit code 1 and the
    reasons.

    `adapt law fit losses.csv`
    `adapt law fit run-a run-b run-c run-d --law dynamics --out law.html`
    """
    from domadapt.laws.study import refuse
    from domadapt.report.law_text import interval_text, study_lines

    asked = _asked(at)
    table = read_sources(sources, columns)
    studies = _studies(table, name, None if limit is None else _bound(limit, _start_loss(table)), seed)
    expected = {s.side: _predicted(s, asked) for s in studies} if asked else {}
    _write_page(out, studies, None, table.where)
    if as_json:
        print_json({"studies": _data(studies), "predicted": expected})
    else:
        for data in _data(studies):
            _print([*study_lines(data), ""])
        _print([f"{side or 'loss'} there: {interval_text(value)}" for side, value in expected.items()])
    refuse(studies)


@command.command()
@_sources
@click.option("--tokens", type=Count(), help="Training tokens of the run that is planned.")
@click.option("--params", type=Count(), help="Parameters of its model, where the table has several sizes.")
@click.option("--general-loss-at-most", "limit", metavar="X%|LOSS", help="Bound on general loss; X% over instruct's.")
@click.option("--instruct-loss", type=float, help="General loss of instruct; default: that before training.")
@click.option("--domain-tokens", type=Count(), help="Instead of a bound: all the domain text there is.")
@click.option("--compute", type=Count(), help="Instead of a bound: FLOPs to divide between size and tokens.")
@click.option("--domain-share", type=click.FloatRange(0, 1), help="With --compute: the mixture.")
def suggest(
    sources: tuple[str, ...],
    name: str,
    columns: str | None,
    seed: int,
    out: Path | None,
    as_json: bool,
    tokens: float | None,
    params: float | None,
    limit: str | None,
    instruct_loss: float | None,
    domain_tokens: float | None,
    compute: float | None,
    domain_share: float | None,
) -> None:
    """Advise the share of domain text: the most that keeps the general loss within a bound.

    Or, with --domain-tokens, the share at which so much domain text does most; or, with --compute, the size of model
    and the tokens (laws dcpt and cross-lingual). Refuses, with reasons, when the fits do not carry an advice.

    `adapt law suggest losses.csv --tokens 10B --general-loss-at-most 3%`
    """
    from domadapt.laws.advice import advice_data, advise, at_length
    from domadapt.laws.observations import observe
    from domadapt.laws.spending import share_for_domain_text, size_and_tokens
    from domadapt.laws.study import reaching, refuse, study
    from domadapt.report.law_text import advice_lines

    if sum(option is not None for option in (limit, domain_tokens, compute)) != 1:
        raise UsageError("law suggest: wanted one of --general-loss-at-most, --domain-tokens and --compute")
    table = read_sources(sources, columns)
    reference = instruct_loss if instruct_loss is not None else _start_loss(table)
    bound = None if limit is None else _bound(limit, reference)
    observed = observe(table, name)
    _check_suggest(observed, tokens, params, bound, compute, domain_share)
    studies = [study(observations, seed=seed) for observations in observed]
    if tokens is not None and "tokens" in observed[0].law.inputs:
        studies = [reaching(found, {"tokens": tokens}, seed) for found in studies]
    refuse(studies)
    sides = {found.side: found for found in studies}
    if bound is None:
        side = next((s for s in ("domain", "continued") if s in sides), studies[-1].side)
        if domain_tokens is not None:
            found = share_for_domain_text(sides[side], domain_tokens, params)
        else:
            found = size_and_tokens(sides[side], compute or 0.0, domain_share)
        _write_page(out, studies, None, table.where)
        print_json(found) if as_json else _print(_found_line(name, value) for name, value in found.items())
        return
    advice = advice_data(advise(sides["domain"], sides["general"], at_length(tokens, params), bound, reference))
    _write_page(out, studies, advice, table.where)
    if as_json:
        print_json({"advice": advice, "studies": _data(studies)})
    else:
        _print(advice_lines(advice, _data(studies)))


def read_sources(sources: Sequence[str], columns: str | None) -> Table:
    """The measurements of tables and runs, below each other."""
    from domadapt.laws.runs import read_run
    from domadapt.laws.table import joined, read_table

    names = dict(_pairs(columns, "--columns")) if columns else {}
    tables = []
    for source in sources:
        path = Path(source)
        folder = next((f for f in (runs_folder() / source, path) if (f / "stages").is_dir()), None)
        if folder is not None:
            tables.append(read_run(folder))
        elif path.suffix in ENDINGS:
            tables.append(read_table(path, names))
        else:
            known = ", ".join(sorted(p.parent.name for p in runs_folder().glob("*/stages"))) or "none"
            raise UsageError(
                f"law: {source!r} is neither a table ({', '.join(ENDINGS)}) nor a run in {runs_folder()}; "
                f"there is {known}"
            )
    return joined(tables)


def _pairs(text: str, option: str) -> list[tuple[str, str]]:
    pairs = [entry.partition("=") for entry in text.split(",")]
    if not all(name.strip() and sign and value.strip() for name, sign, value in pairs):
        raise UsageError(f"law {option}: wanted NAME=VALUE, separated by commas, came {text!r}")
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def _asked(text: str | None) -> dict[str, float]:
    """What --at says, by name."""
    found = {}
    for name, value in _pairs(text, "--at") if text else []:
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = Count().convert(value, None, None)
    return found


def _studies(table: Table, name: str, limit: float | None, seed: int) -> list[Study]:
    from domadapt.laws.observations import observe
    from domadapt.laws.study import study

    return [study(observations, seed=seed) for observations in observe(table, name, limit)]


def _bound(text: str, start: float | None) -> float:
    """A loss as it is, or a percentage over the one before training."""
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(%?)", text.strip())
    if match is None:
        raise UsageError(f"law --general-loss-at-most: wanted a loss (2.95) or a percentage (3%), came {text!r}")
    number = float(match[1])
    if not match[2]:
        return number
    if start is None:
        raise UsageError(
            "law --general-loss-at-most: a percentage is of instruct's general loss, which the table does not have "
            "(a row with 0 tokens); give the bound as a loss, or `law suggest` --instruct-loss"
        )
    return start * (1 + number / 100)


def _start_loss(table: Table) -> float | None:
    """The general loss before training."""
    if "tokens" not in table or "general_loss" not in table:
        return None
    rows = table.where_known("tokens", "general_loss")
    before = rows["general_loss"][rows["tokens"] == 0]
    return float(before.mean()) if len(before) else None


def _predicted(study: Study, asked: Mapping[str, float]) -> dict[str, float]:
    """The loss at a point that the command line gives, with the names of a table."""
    from domadapt.laws.study import predicted

    at = dict(asked)
    wanted = study.fit.law.inputs
    if "domain_share" in at and "ratio" in wanted:
        at["ratio"] = 1 - at["domain_share"] if study.side == "general" else at["domain_share"]
    if missing := [name for name in wanted if name not in at]:
        raise UsageError(f"law --at: {', '.join(missing)} missing; the law wants {', '.join(wanted)}")
    return predicted(study, at)


def _check_suggest(
    observed: Sequence[Observations],
    tokens: float | None,
    params: float | None,
    bound: float | None,
    compute: float | None,
    domain_share: float | None,
) -> None:
    """Raise UsageError for a question that these laws cannot answer, before they are fitted."""
    law = observed[0].law
    if compute is not None and law.name == "dcpt" and domain_share is None:
        raise UsageError("law suggest: --compute with the law dcpt wants --domain-share, the mixture")
    if bound is None:
        return
    if not {"domain", "general"} <= {observations.side for observations in observed}:
        raise UsageError("law suggest: a bound needs both losses; wanted columns domain_loss and general_loss")
    if not {"ratio", "domain_share"} & set(law.inputs):
        raise UsageError("law suggest: a bound is asked of the laws dcpt and mixing, which know the ratio")
    if "tokens" in law.inputs and tokens is None:
        raise UsageError("law suggest: wanted --tokens, the length of the run that is planned")
    if "params" in law.inputs and params is None:
        raise UsageError("law suggest: the table has several sizes of model; wanted --params")


def _write_page(out: Path | None, studies: Sequence[Study], advice: Mapping[str, Any] | None, where: str) -> None:
    if out is None:
        return
    from domadapt.pipeline.store import write_file
    from domadapt.report.law_page import render_law_page

    try:
        write_file(out, render_law_page(_data(studies), advice, where).encode())
    except OSError as error:
        raise MissingError(f"law: {out} cannot be written ({error.strerror})") from None


def _data(studies: Sequence[Study]) -> list[dict[str, Any]]:
    from domadapt.laws.study import study_data

    return [study_data(study) for study in studies]


def _print(lines: Any) -> None:
    out = console()
    for line in lines:
        out.print(plain(line), soft_wrap=True)


def _found_line(name: str, value: Any) -> str:
    told = f"{value:.6g}" if isinstance(value, float) else _with_interval(value)
    return f"{name.replace('_', ' ')}: {told}"


def _with_interval(value: Mapping[str, float]) -> str:
    return f"{value['value']:.6g}, 95 % interval {value['low']:.4g} to {value['high']:.4g}"
