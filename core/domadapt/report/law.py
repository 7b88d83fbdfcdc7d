"""A mixture chosen by a law as the report shows it: the advice, what it rests on, and prediction beside outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from domadapt.report.law_page import advice_charts
from domadapt.report.numbers import UNKNOWN
from domadapt.report.sheets import Cell, Rows, Table

Entry = Mapping[str, Any]

SIDES = ("domain", "general")


def law_data(found: Entry | None, training: Entry | None) -> dict[str, Any] | None:
    """The stage's advice with what the training at the advised share measured; None for a run with a stated mixture.

    found: `law.json` of the stage.  training: `training_data`.  outcome: side, predicted, low, high, half (of the
    interval, as a share of the loss), and measured and inside where the training was measured at its end.
    """
    if found is None:
        return None
    last = training["evaluations"][-1] if training and training["evaluations"] else {}
    outcome = []
    for side in SIDES:
        expected = found["advice"][side]
        value, low, high = (expected[name] for name in ("value", "low", "high"))
        measured = last.get(f"heldout_{side}")
        inside = None if measured is None else low <= measured <= high
        half = (high - low) / 2 / value
        outcome.append(
            {
                "side": side, "predicted": value, "low": low, "high": high, "half": half,
                "measured": measured, "inside": inside,
            }
        )  # fmt: skip
    return {
        "law": found["law"],
        "title": found["studies"][0]["title"],
        "source": found["studies"][0]["source"],
        "told": found["runs"]["told"],
        "advice": found["advice"],
        "errors": found["errors"],
        "repetition": found["repetition"],
        "fits": [
            {name: study[name] for name in ("side", "n", "runs", "r2", "rmse", "notes")}
            | {"held_out": {held["what"]: held["rmse"] for held in study["held_out"]}}
            for study in found["studies"]
        ],
        "outcome": outcome,
    }


def law_lines(law: Entry) -> Iterator[str]:
    """The choice and its outcome, a sentence each."""
    advice = law["advice"]
    yield (
        f"Mixture by the {law['title']}: {advice['replay']:.1%} general text (95 % interval {1 - advice['high']:.1%} "
        f"to {1 - advice['low']:.1%}), the least whose general loss is predicted to stay within {advice['bound']:.4f}."
    )
    for entry in law["outcome"]:
        told = (
            "not measured"
            if entry["measured"] is None
            else f"measured {entry['measured']:.4f}, {'inside' if entry['inside'] else 'OUTSIDE'}"
        )
        yield (
            f"Held-out {entry['side']} loss: predicted {entry['predicted']:.4f} ({entry['low']:.4f} to "
            f"{entry['high']:.4f}, ±{entry['half']:.1%}), {told}."
        )


def law_section(data: Entry) -> dict[str, Any] | None:
    """Sentences, charts and tables of the section; None for a run whose mixture was stated."""
    law = data.get("law")
    if law is None:
        return None
    advice = law["advice"]
    measured = {entry["side"]: entry["measured"] for entry in law["outcome"] if entry["measured"] is not None}
    reference = advice["reference"]
    rise = f", {advice['bound'] / reference - 1:+.1%} of {reference:.4f} before" if reference else ""
    errors = "; ".join(f"{name} {error:.2%}" for name, error in sorted(law["errors"].items()) if error is not None)
    told = law["told"].partition(": ")[2]
    return {
        "choice": next(law_lines(law)),
        "bound": (
            f"Bound on the general loss: {advice['bound']:.4f}{rise}; kept at this share with a chance of "
            f"{advice['chance']:.0%}, of {advice['safe']['chance']:.0%} with "
            f"{1 - advice['safe']['domain_share']:.1%} general text."
        ),
        "runs": f"It rests on {told}. Error of each law on what it was not fitted to: {errors}.",
        "limited": advice["limited"],
        "outcome": _outcome_table(law["outcome"]),
        "fits": _fit_table(law["fits"]),
        "charts": advice_charts(advice, measured),
    }


def _outcome_table(outcome: Sequence[Entry]) -> Table:
    rows: Rows = [
        [
            f"{entry['side']} loss",
            *(_loss(entry[name]) for name in ("predicted", "low", "high")),
            Cell(f"±{entry['half']:.1%}", (entry["half"],)),
            _loss(entry["measured"]),
            UNKNOWN if entry["inside"] is None else "inside" if entry["inside"] else "outside",
        ]
        for entry in outcome
    ]
    return Table(
        "law-outcome",
        "Prediction and outcome of the training at the advised share, nats per token on held-out text",
        ["loss", "predicted", "95 % from", "to", "half of it", "measured", "interval"],
        ["loss", "predicted", "low", "high", "half", "measured", "inside"],
        rows,
    )


def _fit_table(fits: Sequence[Entry]) -> Table:
    held = list(dict.fromkeys(what for fit in fits for what in fit["held_out"]))
    rows: Rows = [
        [
            f"{fit['side']} loss",
            Cell(str(fit["n"]), (fit["n"],)),
            Cell(f"{fit['r2']:.4f}", (fit["r2"],)),
            *(_share(value) for value in (fit["rmse"], *(fit["held_out"].get(what) for what in held))),
        ]
        for fit in fits
    ]
    named = [f"{what} held out" for what in held]
    return Table(
        "law-fits",
        "The fits, and their relative errors",
        ["fit", "points", "R²", "error", *named],
        ["fit", "points", "r2", "error", *named],
        rows,
    )


def _loss(value: float | None) -> Cell:
    return Cell(UNKNOWN if value is None else f"{value:.4f}", (value,))


def _share(value: float | None) -> Cell:
    return Cell(UNKNOWN if value is None else f"{value:.2%}", (value,))
