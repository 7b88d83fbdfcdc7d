"""What came of the gates of `fail_if`: met or not, the numbers in them, and how sure each comparison is.

A comparison is decided by the scores themselves, as it is written; the interval of its two sides' difference stands
beside it and says whether chance could have decided. `X is worse than Y on TASK` asks the interval instead.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from domadapt.report.accounts import Sum
from domadapt.report.differences import paired_difference
from domadapt.report.gates import MERGED, Gate, GateSyntaxError, Reference, parse_gate
from domadapt.report.ledger import PERPLEXITY, Measure, read_measures
from domadapt.report.numbers import Unit, bounds, change, level, plain, unit_of
from domadapt_registry.errors import suggestion

if TYPE_CHECKING:
    from domadapt.report.results import RunResults

Score = tuple[int, int]
"""A measure's place in the list and a model's column in its samples."""
Found = dict[str, Any]

SIGNS: dict[type[ast.cmpop], tuple[str, Callable[[float, float], bool]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
}


def evaluate_gates(gates: Sequence[str], results: RunResults, chosen_merge: str | None) -> list[Found]:
    """One entry for each gate, in their order, as plain data.

    chosen_merge: the label that `merged` stands for.  Keys: gate: its text; met: False when its condition
    holds, and when it cannot be evaluated, so that a gate never passes unseen; sentence; numbers: the scores in it
    {model, task, metric, value, low, high, unit}; comparisons {left, sign, right, holds, value, low, high}: value
    is left - right with its 95 % interval, for a trend the paired difference and its verdict.
    """
    if not gates:
        return []
    board = _Board(list(read_measures(results)), dict(results.tasks), chosen_merge)
    labels = [model.label for model in results.models]
    return [_evaluated(gate, board, labels) for gate in gates]


def _evaluated(text: str, board: _Board, labels: Sequence[str]) -> Found:
    try:
        gate = parse_gate(text, labels, board.tasks)
        return _trend(gate, board) if gate.trend else _condition(gate, board)
    except (GateSyntaxError, ZeroDivisionError) as error:
        sentence = f"It cannot be evaluated, so it counts as not met: {error}."
        return {"gate": text, "met": False, "sentence": sentence, "numbers": [], "comparisons": []}


@dataclass(frozen=True)
class _Board:
    """All measures of a run, to look scores up in."""

    measures: list[Measure]
    tasks: Mapping[str, str]
    chosen: str | None

    def label(self, model: str) -> str:
        if model != MERGED:
            return model
        if self.chosen is None:
            raise GateSyntaxError("the run has no merge")
        return self.chosen

    def find(self, reference: Reference) -> Score:
        """The score. A side's first benchmark comes before its bits per byte; a task's first metric is its main one."""
        task = reference.task
        if reference.side:
            own = [name for name, side in self.tasks.items() if side == reference.side]
            task = min(own, key=lambda name: name.startswith(PERPLEXITY))
        places = [n for n, m in enumerate(self.measures) if m.task == task]
        metrics = [self.measures[n].row.metric for n in places]
        if reference.metric is not None and reference.metric not in metrics:
            raise GateSyntaxError(f"{task} has no metric '{reference.metric}'{suggestion(reference.metric, metrics)}")
        label = self.label(reference.model)
        for place in places:
            measure = self.measures[place]
            if reference.metric in (None, measure.row.metric) and label in measure.rows:
                return place, measure.labels.index(label)
        raise GateSyntaxError(f"{label} was not scored on {task}")

    def number(self, score: Score) -> Found:
        """A score as data."""
        measure = self.measures[score[0]]
        label = measure.labels[score[1]]
        row = measure.rows[label]
        names = {"model": label, "task": measure.task, "metric": row.metric}
        return {**names, "value": row.value, "low": row.low, "high": row.high, "unit": measure.unit}

    def interval(self, value: float, gradient: Mapping[Score, float]) -> Found:
        """The interval of a number from its derivatives by the scores; tasks are independent of each other."""
        total = Sum(value)
        for place in dict.fromkeys(place for place, _ in gradient):
            samples = self.measures[place].samples
            contrast = np.zeros(samples.values.shape[1])
            for (own, column), slope in gradient.items():
                if own == place:
                    contrast[column] += slope
            total.add(0.0, *samples.uncertainty(contrast))
        return {name: part for name, part in total.plain().items() if name in ("value", "low", "high")}


@dataclass(frozen=True)
class _Value:
    """A number with its derivatives by the scores it was made from."""

    value: float
    slopes: Mapping[Score, float]

    def combined(self, other: _Value, value: float, own: float, others: float) -> _Value:
        slopes = {score: own * slope for score, slope in self.slopes.items()}
        for score, slope in other.slopes.items():
            slopes[score] = slopes.get(score, 0.0) + others * slope
        return _Value(value, slopes)


def _condition(gate: Gate, board: _Board) -> Found:
    assert gate.tree is not None
    scores = {name: board.find(reference) for name, reference in gate.references.items()}
    numbers = [board.number(score) for score in dict.fromkeys(scores.values())]
    comparisons: list[Found] = []
    holds = _holds(gate.tree, scores, board, comparisons)
    units = {number["unit"] for number in numbers}
    unit = unit_of(units.pop()) if len(units) == 1 else unit_of("")
    told = [f"{n['model']} {n['task']} ({n['metric']}) {level(n['value'], unit_of(n['unit']))}" for n in numbers]
    told += [_compared(c, unit) for c in comparisons]
    sentence = "; ".join(told) + (": the condition holds." if holds else ": the condition does not hold.")
    return {"gate": gate.text, "met": not holds, "sentence": sentence, "numbers": numbers, "comparisons": comparisons}


def _compared(comparison: Found, unit: Unit) -> str:
    text = f"left − right {change(comparison['value'], unit)} (95 % interval {bounds(comparison, unit, signed=True)})"
    decided = comparison["low"] > 0 or comparison["high"] < 0
    return text if decided else f"{text}, which chance could turn round"


def _holds(node: ast.expr, scores: Mapping[str, Score], board: _Board, comparisons: list[Found]) -> bool:
    """Whether a condition is true. All of it is computed: a person wants to see every number."""
    if isinstance(node, ast.BoolOp):
        parts = [_holds(value, scores, board, comparisons) for value in node.values]
        return all(parts) if isinstance(node.op, ast.And) else any(parts)
    if isinstance(node, ast.UnaryOp):
        return not _holds(node.operand, scores, board, comparisons)
    assert isinstance(node, ast.Compare)
    sides = [_number(side, scores, board) for side in (node.left, *node.comparators)]
    holds = True
    for left, op, right in zip(sides, node.ops, sides[1:], strict=False):
        sign, compare = SIGNS[type(op)]
        difference = left.combined(right, left.value - right.value, 1.0, -1.0)
        own = compare(left.value, right.value)
        holds = holds and own
        estimate = board.interval(difference.value, difference.slopes)
        comparisons.append({"left": left.value, "sign": sign, "right": right.value, "holds": own, **estimate})
    return holds


def _number(node: ast.expr, scores: Mapping[str, Score], board: _Board) -> _Value:
    if isinstance(node, ast.Constant):
        assert isinstance(node.value, int | float)
        return _Value(float(node.value), {})
    if isinstance(node, ast.Name):
        place, column = scores[node.id]
        return _Value(float(board.measures[place].samples.scores[column]), {scores[node.id]: 1.0})
    if isinstance(node, ast.UnaryOp):
        operand = _number(node.operand, scores, board)
        sign = -1.0 if isinstance(node.op, ast.USub) else 1.0
        return operand.combined(_Value(0.0, {}), sign * operand.value, sign, 0.0)
    assert isinstance(node, ast.BinOp)
    a, b = _number(node.left, scores, board), _number(node.right, scores, board)
    if isinstance(node.op, ast.Add | ast.Sub):
        sign = 1.0 if isinstance(node.op, ast.Add) else -1.0
        return a.combined(b, a.value + sign * b.value, 1.0, sign)
    if isinstance(node.op, ast.Mult):
        return a.combined(b, a.value * b.value, b.value, a.value)
    if b.value == 0:
        raise ZeroDivisionError("it divides by 0")
    return a.combined(b, a.value / b.value, 1 / b.value, -a.value / b.value**2)


def _trend(gate: Gate, board: _Board) -> Found:
    trend = gate.trend
    assert trend is not None
    place, column = board.find(trend.score)
    measure = board.measures[place]
    other = board.label(trend.other)
    if other not in measure.rows:
        raise GateSyntaxError(f"{other} was not scored on {measure.task}")
    label, against = measure.labels[column], measure.labels.index(other)
    if column == against:
        raise GateSyntaxError(f"{label} is compared with itself")
    difference = paired_difference(measure.samples, column, against, measure.row.higher_is_better)
    holds = (difference["verdict"] == trend.how) != trend.negated
    unit = unit_of(measure.unit)
    detectable = difference["smallest_detectable"]
    sentence = (
        f"{label} is {difference['verdict']} against {other} on {measure.task} ({measure.row.metric}): "
        f"{change(difference['value'], unit)} (95 % interval {bounds(difference, unit, signed=True)})"
    )
    if detectable is not None:
        sentence += f"; differences below {plain(detectable, unit)}{unit.change} could go unnoticed"
    numbers = [board.number((place, column)), board.number((place, against))]
    left, right = (number["value"] for number in numbers)
    comparison = {"left": left, "sign": trend.how, "right": right, "holds": holds, **difference}
    return {
        "gate": gate.text,
        "met": not holds,
        "sentence": sentence + ".",
        "numbers": numbers,
        "comparisons": [comparison],
    }
