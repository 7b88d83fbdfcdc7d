"""Gates of `fail_if`: conditions on a run's scores under which it fails.

    merged.general < 0.97 * instruct.general                  numbers, + - * /, comparisons, and, or, not
    merged.bits_per_byte.general > instruct.bits_per_byte.general + 0.05
    merged is worse than cpt on sec_continuation              true only when the interval says so
    merged.general worse                                      the same, against instruct (base without one)

MODEL.MEASURE: base, instruct, cpt, any label, or merged (the merge that the verdict names); a task, TASK.METRIC,
or a side: domain and general stand for that side's first benchmark. The text is parsed by `ast` into the few nodes
of this grammar and walked; nothing is ever evaluated as Python.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from domadapt.report.ledger import PERPLEXITY
from domadapt_registry.errors import suggestion

MERGED = "merged"
SIDES = ("domain", "general")
LONGEST = 1000

_TOKEN = re.compile(
    r"(?P<number>(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_][\w.:/-]*)|(?P<other>.)", re.S
)
_WORDS = ("and", "or", "not")
_TREND = re.compile(
    r"(?P<model>\S+)\s+(?:is\s+)?(?P<negated>not\s+)?(?P<how>better|worse)(?:\s+than\s+(?P<other>\S+))?(?:\s+on\s+(?P<measure>\S+))?"
)
_NUMERIC = (ast.Add, ast.Sub, ast.Mult, ast.Div)
_ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)


class GateSyntaxError(ValueError):
    """A gate that cannot be read; its text is a sentence."""


@dataclass(frozen=True)
class Reference:
    """One score: a model's label and a task, a task's metric (None: the main one), or a side ("" for none)."""

    model: str
    task: str
    metric: str | None = None
    side: str = ""

    def __str__(self) -> str:
        return f"{self.model}.{self.side or self.task}" + (f".{self.metric}" if self.metric else "")


@dataclass(frozen=True)
class Trend:
    """MODEL is [not] better or worse than OTHER on a measure, by the ledger's own rules."""

    score: Reference
    other: str
    how: str
    negated: bool


@dataclass(frozen=True)
class Gate:
    """A gate that was read: a trend, or a tree over the references by their placeholder names."""

    text: str
    trend: Trend | None = None
    tree: ast.expr | None = None
    references: Mapping[str, Reference] = field(default_factory=dict)


def check_gates(gates: Sequence[str], labels: Sequence[str], tasks: Mapping[str, str]) -> list[str]:
    """What is wrong with the gates of a recipe, one sentence for each that cannot be read.

    labels: of all models that will be scored.  tasks: name -> side, bits per byte included.
    """
    return [sentence for gate in gates if (sentence := check_gate(gate, labels, tasks)) is not None]


def check_gate(gate: str, labels: Sequence[str], tasks: Mapping[str, str]) -> str | None:
    """What is wrong with one gate, None when nothing is. See `check_gates`."""
    try:
        parse_gate(gate, labels, tasks)
    except GateSyntaxError as error:
        return f"gate '{gate}': {error}"
    return None


def parse_gate(text: str, labels: Sequence[str], tasks: Mapping[str, str]) -> Gate:
    """Read a gate. Raises GateSyntaxError. See `check_gates` for the arguments."""
    if len(text) > LONGEST:
        raise GateSyntaxError(f"{len(text)} characters are more than a condition needs (most: {LONGEST})")
    names = _Names(list(labels), tasks)
    if match := _TREND.fullmatch(text.strip()):
        return Gate(text, trend=_trend(match, names))
    references: dict[str, Reference] = {}
    source = "".join(_placeholders(text, names, references)).strip()
    try:
        tree = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise GateSyntaxError(
            "wanted a condition such as merged.general < 0.97 * instruct.general, or MODEL is worse than MODEL on TASK"
        ) from None
    _require_condition(tree)
    for reference in references.values():
        names.require_direction(reference)
    return Gate(text, tree=tree, references=references)


@dataclass(frozen=True)
class _Names:
    """What a gate may name."""

    labels: list[str]
    tasks: Mapping[str, str]

    @property
    def models(self) -> list[str]:
        given = [label for label in self.labels if label not in ("base", "instruct", "cpt")]
        merges = [label for label in given if not label.startswith("control.")]
        return [*self.labels, *([MERGED] if merges else [])]

    @property
    def measures(self) -> list[str]:
        return [*self.tasks, *(side for side in SIDES if side in self.tasks.values())]

    def model(self, name: str) -> str:
        if name in self.models:
            return name
        raise GateSyntaxError(f"there is no model '{name}'{suggestion(name, self.models)}")

    def reference(self, name: str) -> Reference:
        """The score that MODEL.MEASURE names; labels and tasks may have dots of their own."""
        for model in sorted(self.models, key=len, reverse=True):
            if name.startswith(f"{model}."):
                return self.measure(model, name[len(model) + 1 :])
        if name in self.models:
            raise GateSyntaxError(f"'{name}' is a model; write {name}.MEASURE{suggestion('', self.measures)}")
        head = name.partition(".")[0]
        raise GateSyntaxError(f"'{name}': there is no model '{head}'{suggestion(head, self.models)}")

    def measure(self, model: str, name: str) -> Reference:
        if name in self.tasks:
            return Reference(model, name)
        if name in self.measures:
            return Reference(model, "", side=name)
        for task in sorted(self.tasks, key=len, reverse=True):
            if name.startswith(f"{task}.") and "." not in (metric := name[len(task) + 1 :]):
                return Reference(model, task, metric)
        raise GateSyntaxError(f"there is no measure '{name}'{suggestion(name, self.measures)}")

    def require_direction(self, reference: Reference) -> None:
        """A side without a benchmark is bits per byte, where lower is better: that must be written out."""
        own = [task for task, side in self.tasks.items() if side == reference.side]
        if reference.side and all(task.startswith(PERPLEXITY) for task in own):
            raise GateSyntaxError(
                f"there is no {reference.side} benchmark, so '{reference}' would be bits per byte, where lower is "
                f"better; write {reference.model}.{own[0]}, or '{reference} worse'"
            )


def _trend(match: re.Match[str], names: _Names) -> Trend:
    model, other, measure = match["model"], match["other"], match["measure"]
    score = names.measure(names.model(model), measure) if measure else names.reference(model)
    if other is None:
        other = "instruct" if "instruct" in names.labels else "base"
    return Trend(score, names.model(other), match["how"], match["negated"] is not None)


def _placeholders(text: str, names: _Names, references: dict[str, Reference]) -> Iterator[str]:
    """The text with every MODEL.MEASURE replaced by a Python name, because labels and tasks may hold - and /."""
    for token in _TOKEN.finditer(text):
        name = token["name"]
        if name is None or name in _WORDS:
            # line breaks of a folded YAML text mean nothing
            yield " " if token[0] in "\r\n\t" else token[0]
            continue
        known, rest = _longest_known(name, names)
        placeholder = f"_{len(references)}"
        references[placeholder] = known
        yield f" {placeholder} "
        if rest:
            yield from (rest[0], *_placeholders(rest[1:], names, references))


def _longest_known(name: str, names: _Names) -> tuple[Reference, str]:
    """The longest beginning of a name that is a reference, and the rest from its operator sign on."""
    complaints: list[GateSyntaxError] = []
    for end in [len(name), *reversed([m.start() for m in re.finditer(r"[-/]", name)])]:
        try:
            return names.reference(name[:end]), name[end:]
        except GateSyntaxError as error:
            complaints.append(error)
    # the longest beginning that is close to something known is what was meant, else the shortest
    raise next((c for c in complaints if "did you mean" in str(c)), complaints[-1])


def _require_condition(node: ast.expr) -> None:
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            _require_condition(value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _require_condition(node.operand)
    elif isinstance(node, ast.Compare) and all(isinstance(op, _ORDER) for op in node.ops):
        for side in (node.left, *node.comparators):
            _require_number(side)
    else:
        raise GateSyntaxError("wanted a comparison with <, <=, > or >=, or several joined by and, or, not")


def _require_number(node: ast.expr) -> None:
    if isinstance(node, ast.BinOp) and isinstance(node.op, _NUMERIC):
        _require_number(node.left)
        _require_number(node.right)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        _require_number(node.operand)
    elif not (isinstance(node, ast.Name) or (isinstance(node, ast.Constant) and type(node.value) in (int, float))):
        raise GateSyntaxError("wanted numbers and MODEL.MEASURE with + - * / between the comparison signs")
