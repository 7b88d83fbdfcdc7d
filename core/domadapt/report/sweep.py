"""The candidates of a sweep of merges: the front of domain against general, the one chosen, and what the report shows.

Everything is decided on the selection split, in bits per byte (lower is better), so that the reported documents play
no part in the choice. Pure functions of the data that the sweep wrote (`sweep.json`): another `merge.select_by` is
another reading of the same scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from domadapt.errors import StageError

if TYPE_CHECKING:
    import numpy as np

Entry = Mapping[str, Any]

BALANCED = "balanced"
GENERAL_LOSS = "general_loss_at_most"
SIDES = ("domain", "general")
FRONT_RESAMPLES = 1000
"""Resamples of the documents behind `front_share`: its own error is then at most 1.6 points."""


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Positions of the points (domain, general) that no other point beats: as low on both and lower on one."""
    return [
        i for i, own in enumerate(points) if not any(p != own and p[0] <= own[0] and p[1] <= own[1] for p in points)
    ]


def front_shares(domain_BM: np.ndarray, general_BM: np.ndarray) -> list[float]:
    """How often each model is on the front when the documents are drawn again.

    domain_BM, general_BM: scores of M models in B resamples of the documents of either side.
    """
    import numpy as np

    beaten_BM = np.zeros(domain_BM.shape, dtype=bool)
    for rival in range(domain_BM.shape[1]):
        less_BM = (domain_BM[:, [rival]] - domain_BM, general_BM[:, [rival]] - general_BM)
        beaten_BM |= (less_BM[0] <= 0) & (less_BM[1] <= 0) & ((less_BM[0] < 0) | (less_BM[1] < 0))
    return [float(share) for share in 1 - beaten_BM.mean(0)]


def objective(anchors: Sequence[Entry], select_by: Any) -> Callable[[float, float], float]:
    """What a good candidate has little of, from its domain and general bits per byte.

    anchors: the instruct model and the CPT model.  select_by: as in the recipe.
    balanced: both sides count alike, in units of what CPT changed on that side: the least sum is the most of gain kept
    and loss won back together.  A limit on the general loss: the domain's bits, with a wall behind the limit.
    """
    instruct, cpt = ({side: anchor[side]["value"] for side in SIDES} for anchor in anchors)
    domain_unit, general_unit = (abs(instruct[side] - cpt[side]) or 1.0 for side in SIDES)
    if select_by == BALANCED:
        return lambda domain, general: domain / domain_unit + general / general_unit
    limit = instruct["general"] + float(select_by[GENERAL_LOSS])
    # ten units of the domain for one of the general side: no domain gain pays for what is over the limit
    return lambda domain, general: domain / domain_unit + 10 * max(0.0, general - limit) / general_unit


def ranked(data: Entry, select_by: Any) -> list[Entry]:
    """The candidates that may be chosen, the chosen one first, then the rest of the front, then the others.

    data: a sweep.json.  Vetoed candidates are left out, and with a limit on the general loss those that exceed it.
    """
    score = objective(data["anchors"], select_by)
    allowed = [c for c in data["candidates"] if not c["vetoed"] and _within(data, c, select_by)]
    by_score = sorted(allowed, key=lambda c: (score(c["domain"]["value"], c["general"]["value"]), c["number"]))
    return sorted(by_score, key=lambda c: not c["front"])


def chosen(data: Entry, select_by: Any, rank: int = 0) -> Entry:
    """The candidate of a rank, 0 for the chosen one. Raises StageError that says why there is none."""
    candidates = ranked(data, select_by)
    if rank < len(candidates):
        return candidates[rank]
    kept = [c for c in data["candidates"] if not c["vetoed"]]
    if not kept:
        raise StageError(
            f"sweep: none of the {len(data['candidates'])} candidates answers prompts and ends its answers as the "
            "instruct model does; sweep smaller weights (merge.weight)"
        )
    if not candidates:
        nearest = min(kept, key=lambda c: (c["general"]["value"], c["number"]))
        loss = nearest["general"]["value"] - data["anchors"][0]["general"]["value"]
        raise StageError(
            f"sweep: no candidate loses at most {select_by[GENERAL_LOSS]:g} bits per byte of general text; the least, "
            f"{loss:.4g}, has {nearest['label']}: sweep smaller weights or allow more (merge.select_by)"
        )
    raise StageError(
        f"sweep: merge.write asks for {rank + 1} candidates, {len(candidates)} may be chosen; lower merge.write"
    )


def _within(data: Entry, candidate: Entry, select_by: Any) -> bool:
    if select_by == BALANCED:
        return True
    limit = data["anchors"][0]["general"]["value"] + float(select_by[GENERAL_LOSS])
    return bool(candidate["general"]["value"] <= limit)


def sweep_data(data: Entry, select_by: Any, name: str) -> dict[str, Any]:
    """What the report shows of a sweep, as plain data.

    name: of the run, for the commands.  candidates: label, method, weight and density (None where they are no
    single number), scores of both sides {value, stderr, low, high, change} (change: to the instruct model, paired,
    {value, low, high} by resampling documents), front, front_share, vetoed, chosen, command.
    """
    order = ranked(data, select_by)
    first = order[0]["number"] if order else None
    return {
        **{key: data[key] for key in ("search", "split", "documents", "anchors")},
        "select_by": select_by,
        "rule": rule(select_by),
        "candidates": [
            {
                **{key: c[key] for key in ("number", "label", "method", "weight", "density", "settings")},
                **{key: c[key] for key in (*SIDES, "front", "front_share", "vetoed", "answers")},
                "chosen": c["number"] == first,
                "command": command(c, name),
            }
            for c in data["candidates"]
        ],
    }


def rule(select_by: Any) -> str:
    """How the candidate is chosen, in words."""
    if select_by == BALANCED:
        return "most of gain kept and loss won back together, each in units of what CPT changed"
    return f"least domain bits per byte with at most {select_by[GENERAL_LOSS]:g} more general ones than instruct"


def command(candidate: Entry, name: str) -> str:
    """The command that makes one candidate a model of the run, evaluated and reported."""
    import shlex

    words = ["adapt", "merge", name, "--merge", candidate["label_of_method"]]
    for argument in candidate["arguments"]:
        words += ["--set", argument]
    return shlex.join(words)
