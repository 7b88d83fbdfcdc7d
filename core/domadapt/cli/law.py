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
    from domadapt.builtin.training.schedule import Shape
    from domadapt.laws.balance import Plan
    from domadapt.laws.observations import Observations
    from domadapt.laws.study import Study
    from domadapt.laws.table import Table

LAWS = ("dcpt", "cross-domain", "cmr", "annealing", "dynamics", "cross-lingual", "mixing", "out-of-domain")
BOUNDED = ("dcpt", "dynamics", "mixing", "cmr")
"""Laws that a bound on the general loss is asked of."""
SHAPES = ("cosine", "linear", "wsd", "constant")
FARTHEST = 1000.0
"""A size of model so many times beyond those measured is one in another unit."""
ENDINGS = (".csv", ".gz", ".parquet", ".json", ".jsonl")


class Count(click.ParamType[float]):
    """A number of tokens, parameters or operations, as 500M, 1.5B or 1e21."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, or click's refusal."""
        from domadapt.recipe.values import parse_count

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
    from domadapt.laws.observations import observe
    from domadapt.laws.study import predicted, refuse, study
    from domadapt.report.law_text import interval_text, study_lines

    asked = _asked(at)
    table = read_sources(sources, columns, name)
    observed = observe(table, name, None if limit is None else _bound(limit, _start_loss(table)))
    points = [_point(observations, asked) for observations in observed] if asked else []
    studies = [study(observations, seed=seed) for observations in observed]
    expected = {s.side: predicted(s, point) for s, point in zip(studies, points, strict=False)}
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
@click.option("--balance", "weight", type=click.FloatRange(0, 1), help="Instead of a bound: the general loss' weight.")
@click.option("--steps", metavar="N,...", help="Law dynamics: steps that are planned; with --balance several.")
@click.option("--peak-lr", metavar="LR,...", help="Law dynamics: peak learning rate; with --balance several.")
@click.option("--schedule", type=click.Choice(SHAPES), default="cosine", show_default=True, help="Of that rate.")
@click.option("--min-lr", type=click.FloatRange(0, 1), default=0.0, help="Its end, as a share of the peak.")
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
    weight: float | None,
    steps: str | None,
    peak_lr: str | None,
    schedule: Shape,
    min_lr: float,
) -> None:
    """Advise the share of domain text: the most that keeps the general loss within a bound.

    Or, with --domain-tokens, the share at which so much domain text does most; or, with --compute, the size of model
    and the tokens (laws dcpt and cross-lingual); or, with --balance, peak learning rate, steps and share for a weighed
    sum of both losses (law dynamics). Refuses, with reasons, when the fits do not carry an advice.

    `adapt law suggest losses.csv --tokens 10B --general-loss-at-most 3%`
    `adapt law suggest a b c d e --law dynamics --balance 0.5 --steps 500,2000 --peak-lr 3e-5,1e-4`
    """
    from domadapt.laws.advice import advice_data, advise, at_length
    from domadapt.laws.balance import at_end, balance, fixed, reached
    from domadapt.laws.observations import observe
    from domadapt.laws.spending import share_for_domain_text, size_and_tokens
    from domadapt.laws.study import predicted, reaching, refuse, study
    from domadapt.report.law_text import advice_lines, answer_lines, balance_lines

    if sum(option is not None for option in (limit, domain_tokens, compute, weight)) != 1:
        raise UsageError("law suggest: wanted one of --general-loss-at-most, --domain-tokens, --compute and --balance")
    plans = _plans(name, steps, peak_lr, schedule, min_lr, several=weight is not None)
    if (weight is not None or limit is not None) and name == "dynamics" and not plans:
        raise UsageError("law suggest: the law dynamics wants --steps and --peak-lr of the run that is planned")
    table = read_sources(sources, columns, name)
    reference = instruct_loss if instruct_loss is not None else _start_loss(table)
    bound = None if limit is None else _bound(limit, reference)
    observed = observe(table, name, bound)
    _check_suggest(observed, tokens, params, bound, compute, domain_share, domain_tokens, weight)
    given = fixed(observed[0], params) if plans else {}
    studies = [study(observations, seed=seed) for observations in observed]
    if tokens is not None and "tokens" in observed[0].law.inputs:
        studies = [reaching(found, {"tokens": tokens}, seed) for found in studies]
    studies = reached(studies, plans, given, seed) if plans else studies
    refuse(studies)
    sides = {found.side: found for found in studies}
    side = next((s for s in ("domain", "continued") if s in sides), studies[-1].side)
    if bound is None or name == "cmr":
        if weight is not None:
            found = balance(sides["domain"], sides["general"], plans, weight, given)
        elif domain_tokens is not None:
            found = share_for_domain_text(sides[side], domain_tokens, params)
        elif compute is not None:
            found = size_and_tokens(sides[side], compute, domain_share)
        else:
            found = {"domain_share": predicted(studies[0], {"tokens": tokens})}
        _write_page(out, studies, None, table.where)
        lines = balance_lines(found) if weight is not None else answer_lines(found)
        print_json(found) if as_json else _print(lines)
        return
    at = at_end(plans[0], given) if plans else at_length(tokens, params)
    advice = advice_data(advise(sides["domain"], sides["general"], at, bound, reference))
    _write_page(out, studies, advice, table.where)
    if as_json:
        print_json({"advice": advice, "studies": _data(studies)})
    else:
        _print(advice_lines(advice, _data(studies)))


def read_sources(sources: Sequence[str], columns: str | None, law: str) -> Table:
    """The measurements of tables and runs, below each other; of runs, for D-CPT, without their beginnings."""
    from domadapt.laws.choosing import settled
    from domadapt.laws.runs import read_run
    from domadapt.laws.table import joined, read_table

    names = dict(_pairs(columns, "--columns")) if columns else {}
    tables = []
    for source in sources:
        path = Path(source)
        folder = next((f for f in (runs_folder() / source, path) if (f / "stages").is_dir()), None)
        if folder is not None:
            run = read_run(folder)
            tables.append(settled(run) if law == "dcpt" else run)
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


def _point(observations: Observations, asked: Mapping[str, float]) -> dict[str, float]:
    """The point that --at gives, by the names of the law's inputs. Raises UsageError before anything is fitted."""
    at, wanted = dict(asked), observations.law.inputs
    at |= {f"{name}_cpt": at[name] for name in ("s1", "s2") if name in at}
    if "domain_share" in at and "ratio" in wanted:
        at["ratio"] = 1 - at["domain_share"] if observations.side == "general" else at["domain_share"]
    missing = ["domain_share" if name == "ratio" and observations.side else name for name in wanted if name not in at]
    if missing:
        raise UsageError(f"law --at: wanted {', '.join(missing)} too")
    for name, value in asked.items():
        share = name in ("domain_share", "ratio") or name.startswith("share.")
        if value < 0 or (share and value > 1) or (value == 0 and name in ("tokens", "params", "s1")):
            raise UsageError(f"law --at: {name}={value:g} is no {'share' if share else 'point of this law'}")
    return at


def _check_suggest(
    observed: Sequence[Observations],
    tokens: float | None,
    params: float | None,
    bound: float | None,
    compute: float | None,
    domain_share: float | None,
    domain_tokens: float | None,
    weight: float | None,
) -> None:
    """Raise UsageError for a question that these laws cannot answer, before they are fitted."""
    law = observed[0].law
    if domain_tokens is not None and law.name != "dcpt":
        raise UsageError("law suggest: --domain-tokens is asked of the law dcpt")
    if compute is not None and law.name not in ("dcpt", "cross-lingual"):
        raise UsageError("law suggest: --compute is asked of the laws dcpt and cross-lingual")
    if compute is not None and law.name == "dcpt" and domain_share is None:
        raise UsageError("law suggest: --compute with the law dcpt wants --domain-share, the mixture")
    if compute is not None and law.name == "dcpt" and "params" not in law.inputs:
        raise UsageError("law suggest: one size of model was measured; what compute is best spent on needs three")
    if params is not None and "params" in law.inputs:
        sizes = observed[0].inputs["params"]
        if not sizes.min() / FARTHEST <= params <= sizes.max() * FARTHEST:
            raise UsageError(
                f"law suggest: --params {params:g}, but the table has {sizes.min():g} to {sizes.max():g}: is it in the "
                "same unit?"
            )
    longest = observed[0].constants.get("tokens") if law.name == "mixing" else None
    if tokens is not None and longest and abs(tokens / longest - 1) > 0.02:
        raise UsageError(
            f"law suggest: the law mixing knows only the lengths measured, {longest:.4g} tokens the longest; leave "
            "--tokens out, or ask the law dcpt"
        )
    if weight is not None and law.name != "dynamics":
        raise UsageError("law suggest: --balance is asked of the law dynamics, which knows the learning rate")
    if bound is None and weight is None:
        return
    if law.name not in BOUNDED:
        raise UsageError(f"law suggest: a bound is asked of the laws {', '.join(BOUNDED)}, not of {law.name}")
    if "tokens" in law.inputs and tokens is None:
        raise UsageError("law suggest: wanted --tokens, the length of the run that is planned")
    if law.name == "cmr":
        return
    if not {"domain", "general"} <= {observations.side for observations in observed}:
        raise UsageError("law suggest: both losses are wanted, columns domain_loss and general_loss")
    if not {"ratio", "domain_share"} & set(law.inputs):
        raise UsageError("law suggest: the runs have too few ratios to say anything of others; wanted three")
    if "params" in law.inputs and params is None:
        raise UsageError("law suggest: the table has several sizes of model; wanted --params")


def _plans(
    name: str, steps: str | None, peak_lr: str | None, shape: Shape, minimum: float, *, several: bool
) -> list[Plan]:
    """The schedules that --steps and --peak-lr give, each length with each rate."""
    from domadapt.laws.balance import plan

    if steps is None and peak_lr is None:
        return []
    if name != "dynamics":
        raise UsageError(f"law suggest: --steps and --peak-lr are asked of the law dynamics, not of {name}")
    lengths = _numbers(steps, "--steps", "counts such as 500 or 2000")
    rates = _numbers(peak_lr, "--peak-lr", "learning rates such as 3e-5")
    if len(lengths) * len(rates) > 1 and not several:
        raise UsageError("law suggest: a bound wants one --steps and one --peak-lr; --balance chooses among several")
    return [plan(rate, int(length), shape, minimum) for length in lengths for rate in rates]


def _numbers(text: str | None, option: str, wanted: str) -> list[float]:
    try:
        found = [float(part) for part in (text or "").split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < number < 1e9 for number in found) or (option == "--steps" and min(found) < 1):
        raise UsageError(f"law suggest {option}: wanted {wanted}, separated by commas, came {text or 'nothing'}")
    return found


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
