"""Defaults that depend on the situation: how far the domain is, how long training lasts, what is learned.

The advice of the papers contradicts itself only until it is sorted by situation. `train.situation` names one, and
`train.objective` another. Their values replace the core's defaults and nothing that a pack, a recipe or `--set` says,
and name the key as their origin.
"""

from __future__ import annotations

from collections.abc import Mapping

from domadapt.recipe.tree import CORE_DEFAULT, Node, Origin, node_of

SITUATIONS: Mapping[str, Mapping[str, str | float]] = {
    # re-warm to half of the pre-training's peak or more (Ibrahim et al. 2024, arXiv 2403.08763), here of the 3e-4 of
    # Gupta et al. 2023 (arXiv 2308.04014), whose warm-up and cosine these are
    "strong_shift": {"train.lr": 1.5e-4, "train.schedule": "cosine", "train.warmup": 0.01, "train.min_lr": 0.1},
    # any warm-up hurt a strongly trained model (Parmar et al. 2024, arXiv 2407.07263): go on at the rate its training
    # ended with, a tenth of that peak
    "weak_shift": {"train.lr": 3e-5, "train.schedule": "cosine", "train.warmup": 0.0, "train.min_lr": 0.1},
}
"""Values by `train.situation`. `small_budget` has the core's own."""
OBJECTIVES: Mapping[str, Mapping[str, str | float | bool]] = {
    # conversations stay whole and do not see each other
    "sft": {"mix.packing": "best_fit", "train.document_mask": True},
}
"""Values by `train.objective`. `clm` has the core's own."""


def situational(root: Node) -> Node:
    """The recipe with the defaults of its situation in the place of the core's."""
    for key, table in (("situation", SITUATIONS), ("objective", OBJECTIVES)):
        said = root.at(("train", key))
        if said is None or not isinstance(said.value, str):
            continue
        for place, value in table.get(said.value, {}).items():
            section, name = place.split(".")
            root = _defaulted(root, section, name, node_of(value, Origin(f"train.{key} {said.value}")))
    return root


def _defaulted(root: Node, section: str, name: str, value: Node) -> Node:
    node = root.at((section, name))
    if node is None or node.origin.layer != CORE_DEFAULT:
        return root
    inner = root.child(section)
    assert isinstance(root.value, dict)
    assert inner is not None
    assert isinstance(inner.value, dict)
    return Node({**root.value, section: Node({**inner.value, name: value}, inner.origin)}, root.origin)
