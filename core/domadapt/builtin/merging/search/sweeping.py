"""The work of the stage `sweep`: score all candidates in memory, probe those on the front, write sweep.json.

Scores are bits per byte of the selection split, nothing else: benchmarks have no such split, so tasks never choose.
A candidate on the front that no longer answers prompts as the instruct model does is vetoed, and the front is drawn
again without it. Nothing here depends on how often the sweep was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.artifacts import Checkpoint
from domadapt.builtin.merging.search.candidates import Candidates
from domadapt.builtin.merging.search.journal import Journal
from domadapt.builtin.merging.search.live import METRIC, SIDES, Scorer, check_memory, fill, load_network, quiet
from domadapt.builtin.merging.search.proposing import propose
from domadapt.components import LiveModel, Stage
from domadapt.report.sweep import FRONT_RESAMPLES, front, front_shares, objective

if TYPE_CHECKING:
    from domadapt.recipe.sweeps import Point, SweepPlan

SWEEP_NAME = "sweep.json"
MOST_LOST = 0.2
"""Share of the prompts that the instruct model answers and ends, and that a candidate may lose: one in five."""
ANCHORS = ("instruct", "cpt")


def sweep(
    plan: SweepPlan, parents: Mapping[str, Checkpoint], scorer: Scorer, out: Path, stage: Stage
) -> dict[str, Any]:
    """Write sweep.json into `out`; return facts. parents: base, instruct and cpt.

    sweep.json: search, split, metric, documents by side, protocol; anchors (instruct, cpt) and candidates, each with
    label and scores by side {value, stderr, low, high, change}; candidates also with number, method, weight, density,
    settings, arguments (for --set), front, front_share, vetoed and answers {kept, of, lost}.
    """
    from domadapt.builtin.merging import guards

    guards.check_parents(stage, parents, out, uses_ancestor=_uses_ancestor(plan))
    check_memory(stage, parents["instruct"])
    work = _Sweep(plan, parents, scorer, stage)
    points = work.score_all()
    data = work.data(points)
    text = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    (out / SWEEP_NAME).write_text(text + "\n", encoding="utf-8")
    candidates = data["candidates"]
    return {
        "candidates": len(candidates),
        "front": sum(c["front"] for c in candidates),
        "vetoed": sum(c["vetoed"] for c in candidates),
    }


def _uses_ancestor(plan: SweepPlan) -> bool:
    mergers = (method.choice.cls(method.choice.config) for method in plan.methods)
    return any(getattr(merger, "uses_ancestor", False) for merger in mergers)


class _Sweep:
    """A sweep under way. Findings go through the journal, so that each is made once."""

    def __init__(self, plan: SweepPlan, parents: Mapping[str, Checkpoint], scorer: Scorer, stage: Stage) -> None:
        self._plan, self._parents, self._scorer, self._stage = plan, parents, scorer, stage
        self._journal = Journal(stage.scratch / "journal.jsonl")
        self._candidates = Candidates(parents, stage)
        self._network: LiveModel | None = None
        self._total = len(plan.points()) if plan.search == "grid" else plan.budget
        self._quiet = quiet(stage, self._progress)
        self._anchors: list[dict[str, Any]] = []
        self._done = 0

    def score_all(self) -> list[Point]:
        """Score the instruct model, the CPT model and every candidate; return the candidates."""
        anchors = [self._anchor(role) for role in ANCHORS]
        self._anchors += [{side: {"value": _value(scores[side])} for side in SIDES} for scores in anchors]
        loss = objective(self._anchors, self._plan.select_by) if self._plan.search == "cma" else None

        def asked(point: Point) -> float:
            assert loss is not None
            scores = self._scores(point)
            return loss(_value(scores["domain"]), _value(scores["general"]))

        if self._plan.search == "grid":
            missing = [p for p in self._plan.points() if self._journal.get("scores", _name(p)) is None]
            self._candidates.prepare(missing)
        points = []
        for point in propose(self._plan, asked, self._stage.seed):
            self._scores(point)
            points.append(point)
            self._done = len(points)
            self._progress()
        return points

    def _anchor(self, role: str) -> dict[str, Any]:
        """Scores of a parent; of the instruct model also its answers, while its weights are at hand."""
        if self._journal.get("scores", role) is None or (role == "instruct" and not self._journal.get("answers", role)):
            model = load_network(self._parents[role])
            if role == "instruct":
                self._journal.add("answers", role, self._scorer.answers(model, self._quiet))
            self._journal.add("scores", role, self._scorer.scores(model, self._quiet))
        return dict(self._journal.get("scores", role))

    def data(self, points: Sequence[Point]) -> dict[str, Any]:
        """Everything that sweep.json says."""
        scores = [self._journal.get("scores", role) for role in ANCHORS] + [self._scores(p) for p in points]
        joint = {side: _joint([s[side] for s in scores], self._stage.seed) for side in SIDES}
        values = [(float(joint["domain"].scores[i]), float(joint["general"].scores[i])) for i in range(len(scores))]
        ahead, probed = self._front(points, values[len(ANCHORS) :])
        kept = [i for i in range(len(points)) if not (probed.get(i) or {}).get("vetoed")]
        shares = front_shares(
            *(joint[side].replicates[:FRONT_RESAMPLES][:, [i + len(ANCHORS) for i in kept]] for side in SIDES)
        )
        share_of = dict(zip(kept, shares, strict=True))
        entries = [{side: _estimate(joint[side], i) for side in SIDES} for i in range(len(scores))]
        return {
            "schema": 1,
            "search": self._plan.search,
            "split": "selection",
            "metric": METRIC,
            "documents": {side: len(scores[0][side]["values"]) for side in SIDES},
            "protocol": {side: scores[0][side]["protocol"] for side in SIDES},
            "anchors": [{"label": role, **entries[i]} for i, role in enumerate(ANCHORS)],
            "candidates": [
                {
                    "number": i + 1,
                    "label": point.title,
                    "label_of_method": point.label,
                    "method": point.choice.name,
                    "weight": _weight(point),
                    "density": _number(getattr(point.choice.config, "density", None)),
                    "settings": dict(point.settings),
                    "options": point.choice.config.model_dump(mode="json"),
                    "share": point.weight,
                    "arguments": list(point.arguments),
                    **entries[i + len(ANCHORS)],
                    "front": i in ahead,
                    "front_share": share_of.get(i, 0.0),
                    "vetoed": bool((probed.get(i) or {}).get("vetoed")),
                    "answers": (probed.get(i) or {}).get("answers"),
                }
                for i, point in enumerate(points)
            ],
        }

    def _scores(self, point: Point) -> dict[str, Any]:
        found = self._journal.get("scores", _name(point))
        if found is None:
            found = self._journal.add("scores", _name(point), self._scorer.scores(self._filled(point), self._quiet))
        return dict(found)

    def _filled(self, point: Point) -> LiveModel:
        """The network with a candidate's weights."""
        if self._network is None:
            self._network = load_network(self._parents["instruct"])
        fill(self._network, self._candidates, point)
        return self._network

    def _front(
        self, points: Sequence[Point], values: Sequence[tuple[float, float]]
    ) -> tuple[set[int], dict[int, dict[str, Any]]]:
        """The front without vetoed candidates, and what the probes found: whoever comes to the front is probed."""
        wanted = {answer["item"] for answer in self._journal.get("answers", "instruct") if answer["good"]}
        if not wanted:
            message = "the instruct model answers and ends none of the prompts, so no candidate can be vetoed"
            self._stage.event("warning", message=message)
        probed: dict[int, dict[str, Any]] = {}
        alive = list(range(len(points)))
        while True:
            ahead = {alive[i] for i in front([values[i] for i in alive])}
            new = sorted(ahead - set(probed))
            if not new:
                return ahead, probed
            for i in new:
                probed[i] = _judged(self._answers(points[i]), wanted)
            alive = [i for i in alive if not (probed.get(i) or {}).get("vetoed")]

    def _answers(self, point: Point) -> list[dict[str, Any]]:
        found = self._journal.get("answers", _name(point))
        if found is None:
            found = self._journal.add("answers", _name(point), self._scorer.answers(self._filled(point), self._quiet))
        return list(found)

    def _progress(self) -> None:
        self._stage.progress(self._done, self._total, "candidates")


def _name(point: Point) -> str:
    options = point.choice.config.model_dump(mode="json")
    return json.dumps([point.label, options, point.weight], sort_keys=True)


def _value(scores: Mapping[str, Any]) -> float:
    return float(sum(scores["values"]) / sum(scores["weights"]))


def _joint(scores: Sequence[Mapping[str, Any]], seed: int) -> Any:
    from domadapt.report.statistics import JointSamples

    values, weights = [s["values"] for s in scores], [s["weights"] for s in scores]
    return JointSamples.of(values, weights, scores[0]["clusters"], seed)


def _estimate(joint: Any, model: int) -> dict[str, Any]:
    """A score with its interval, and its paired change to the instruct model with that of resampled documents."""
    score = joint.score(model)
    low, high = joint.bootstrap(model, 0) if model else (0.0, 0.0)
    change = {"value": float(joint.scores[model] - joint.scores[0]), "low": _known(low), "high": _known(high)}
    interval = {key: _known(getattr(score, key)) for key in ("stderr", "low", "high")}
    return {"value": float(score.value), **interval, "change": change}


def _known(number: float) -> float | None:
    """A number as JSON has it: what too few documents cannot tell is null."""
    return float(number) if number == number else None


def _judged(answers: Sequence[Mapping[str, Any]], wanted: set[str]) -> dict[str, Any]:
    """Whether a candidate lost too many of the prompts that the instruct model answers and ends."""
    lost = [answer["item"] for answer in answers if answer["item"] in wanted and not answer["good"]]
    found = {"kept": len(wanted) - len(lost), "of": len(wanted), "lost": lost}
    return {"answers": found, "vetoed": bool(wanted) and len(lost) > MOST_LOST * len(wanted)}


def _weight(point: Point) -> float | None:
    """The CPT model's share where it is one number for all layers."""
    config = point.choice.config
    if getattr(point.choice.cls, "ignores_weight", False) or getattr(config, "t", None) is not None:
        return None
    own = getattr(config, "weight", None)
    return point.weight if own is None else _number(own)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
