"""Defaults of the training that depend on the situation: how far the domain is, and how long training lasts.

The advice of the papers contradicts itself only until it is sorted by situation. `train.situation` names one; its
values replace the core's defaults and nothing that a pack, a recipe or `--set` says, and name it as their origin.
"""

from __future__ import annotations

from collections.abc import Mapping

from domadapt.recipe.tree import CORE_DEFAULT, Node, Origin, node_of

SITUATIONS: Mapping[str, Mapping[str, str | float]] = {
    # re-warm to half of the pre-training's peak or more (Ibrahim et al. 2024, arXiv 2403.08763), here of the 3e-4 of
    # Gupta et al. 2023 (arXiv 2308.04014), whose warm-up and cosine these are
    "strong_shift": {"lr": 1.5e-4, "schedule": "cosine", "warmup": 0.01, "min_lr": 0.1},
    # any warm-up hurt a strongly trained model (Parmar et al. 2024, arXiv 2407.07263): go on at the rate its training
    # ended with, a tenth of that peak
    "weak_shift": {"lr": 3e-5, "schedule": "cosine", "warmup": 0.0, "min_lr": 0.1},
}
"""Values by situation. `small_budget` has the core's own."""


def situational(root: Node) -> Node:
    """The recipe with the defaults of its situation in the place of the core's."""
    train = root.child("train")
    if train is None or not isinstance(train.value, dict):
        return root
    said = train.child("situation")
    values = SITUATIONS.get(str(said.value), {}) if said is not None else {}
    origin = Origin(f"train.situation {said.value}" if said is not None else "")
    children = dict(train.value)
    for key, value in values.items():
        if key in children and children[key].origin.layer == CORE_DEFAULT:
            children[key] = node_of(value, origin)
    assert isinstance(root.value, dict)
    return Node({**root.value, "train": Node(children, train.origin)}, root.origin)
