"""Published merges by name: their configurations as they were published, or what was not published marked as ours.

A preset is a merge method whose parameters are fixed. One that stands for several merges names its members.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from domadapt.builtin.merging.methods import ConfiguredMerger, Linear
from domadapt.builtin.merging.options import MethodOptions, Number, Positive, Unit
from domadapt.components import Options

_GRADIENTS: Mapping[str, tuple[list[float], list[float]]] = {
    "mlp": ([0.25, 0.5, 0.5, 0.25], [0.75, 0.5, 0.5, 0.75]),
    "self_attn": ([0.25, 0.5, 0.5, 0], [0.75, 0.5, 0.5, 1]),
    "": ([0.25, 0.5, 0.5, 0.25], [0.75, 0.5, 0.5, 0.75]),
}
"""Llama-3-SEC's weights over the layers, of the CPT model and of the instruct model, by part of the tensors' names."""


def _rules(model: Literal[0, 1]) -> list[dict[str, Any]]:
    return [{**({"filter": f} if f else {}), "value": values[model]} for f, values in _GRADIENTS.items()]


class PresetMerger(ConfiguredMerger):
    """A merge with a fixed configuration; `ours` says what of it was not published."""

    Config: ClassVar[type[Options]] = MethodOptions
    configuration: ClassVar[Mapping[str, Any]] = {}
    ignores_weight: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        # the configuration is no option, so the version carries it into the keys
        digest = hashlib.sha256(json.dumps(cls.configuration, sort_keys=True).encode()).hexdigest()[:8]
        cls.version = f"1-{digest}" if cls.configuration else "1"
        cls.uses_ancestor = cls.configuration.get("base_model") == "base"

    def recipe(self, shares: Mapping[str, float]) -> dict[str, Any]:
        """The published configuration."""
        return dict(self.configuration)


class Llama3Sec(PresetMerger):
    """Llama-3-SEC's TIES, as published: ancestor = the base, gradients for mlp and self_attn, densities 0.75 and 1."""

    name: ClassVar[str] = "llama3-sec"
    configuration: ClassVar[Mapping[str, Any]] = {
        "merge_method": "ties",
        "base_model": "base",
        "models": [
            {"model": "cpt", "parameters": {"weight": _rules(0), "density": 0.75}},
            {"model": "instruct", "parameters": {"weight": _rules(1), "density": 1.0}},
        ],
        "parameters": {"normalize": True, "int8_mask": True},
        "dtype": "bfloat16",
    }


_OURS = "parameters are ours, they were not published"


def _halves(method: str, normalize: bool, **parameters: float) -> dict[str, Any]:
    models = [{"model": role, "parameters": {"weight": 0.5, **parameters}} for role in ("instruct", "cpt")]
    return {
        "merge_method": method,
        "base_model": "instruct" if method == "linear" else "base",
        "models": models,
        "parameters": {"normalize": normalize},
    }


class ArceeMedicalLinear(PresetMerger):
    """The linear merge of the MergeKit paper's medical table (2403.13257); parameters are ours."""

    name: ClassVar[str] = "arcee-medical-linear"
    caveat: ClassVar[str] = _OURS
    configuration: ClassVar[Mapping[str, Any]] = _halves("linear", True)


class ArceeMedicalSlerp(PresetMerger):
    """The SLERP of the MergeKit paper's medical table (2403.13257), its best; parameters are ours."""

    name: ClassVar[str] = "arcee-medical-slerp"
    caveat: ClassVar[str] = _OURS
    configuration: ClassVar[Mapping[str, Any]] = {
        "merge_method": "slerp",
        "base_model": "instruct",
        "models": [{"model": "instruct"}, {"model": "cpt"}],
        "parameters": {"t": 0.5},
    }


class ArceeMedicalTies(PresetMerger):
    """The TIES of the MergeKit paper's medical table (2403.13257); parameters are ours."""

    name: ClassVar[str] = "arcee-medical-ties"
    caveat: ClassVar[str] = _OURS
    configuration: ClassVar[Mapping[str, Any]] = _halves("ties", True, density=0.5)


class ArceeMedicalDareTies(PresetMerger):
    """The DARE-TIES of the MergeKit paper's medical table (2403.13257); parameters are ours."""

    name: ClassVar[str] = "arcee-medical-dare_ties"
    caveat: ClassVar[str] = _OURS
    configuration: ClassVar[Mapping[str, Any]] = _halves("dare_ties", False, density=0.5)


class ArceePatentSlerp(PresetMerger):
    """The published SLERP of Patent-Instruct and Orca-2: gradients for self_attn and mlp, the rest half and half."""

    name: ClassVar[str] = "arcee-patent-slerp"
    configuration: ClassVar[Mapping[str, Any]] = {
        "merge_method": "slerp",
        "base_model": "instruct",
        "models": [{"model": "instruct"}, {"model": "cpt"}],
        "parameters": {
            "t": [
                {"filter": "self_attn", "value": [0, 0.5, 0.3, 0.7, 1]},
                {"filter": "mlp", "value": [1, 0.5, 0.7, 0.3, 0]},
                {"value": 0.5},
            ]
        },
        "dtype": "bfloat16",
    }


class ArceePatentTies(PresetMerger):
    """The published TIES example of Patent-Instruct and Orca-2: half and half, half of each task vector kept."""

    name: ClassVar[str] = "arcee-patent-ties"
    configuration: ClassVar[Mapping[str, Any]] = {
        "merge_method": "ties",
        "base_model": "base",
        "models": [
            {"model": "cpt", "parameters": {"density": 0.5, "weight": 0.5}},
            {"model": "instruct", "parameters": {"density": 0.5, "weight": 0.5}},
        ],
        "parameters": {"normalize": False, "int8_mask": True},
        "dtype": "float16",
    }


class ArceeMedical(PresetMerger):
    """The four merges of the MergeKit paper's medical table side by side; parameters are ours."""

    name: ClassVar[str] = "arcee-medical"
    caveat: ClassVar[str] = _OURS
    members: ClassVar[tuple[str, ...]] = tuple(f"arcee-medical-{m}" for m in ("linear", "slerp", "ties", "dare_ties"))


class ArceePatent(PresetMerger):
    """The two published patent merges side by side."""

    name: ClassVar[str] = "arcee-patent"
    members: ClassVar[tuple[str, ...]] = ("arcee-patent-slerp", "arcee-patent-ties")


class ResidualOptions(MethodOptions):
    """Options of `instruction-residual`."""

    scale: Number = Field(1.0, gt=0)
    """Factor of the instruction residual; 1 as published, less for a graft of part of it."""


class InstructionResidual(ConfiguredMerger):
    """cpt + (instruct - base): CPT of the base, then the instruction residual (Jindal et al. 2024, 2410.10739)."""

    name: ClassVar[str] = "instruction-residual"
    Config: ClassVar[type[Options]] = ResidualOptions
    uses_ancestor: ClassVar[bool] = True
    ignores_weight: ClassVar[bool] = True
    cpt_starts_from: ClassVar[str] = "base"

    def recipe(self, shares: Mapping[str, float]) -> dict[str, Any]:
        """Task arithmetic on the base with both task vectors whole."""
        weights = {"instruct": self.config.scale, "cpt": 1.0}
        return {
            "merge_method": "task_arithmetic",
            "base_model": "base",
            "models": [{"model": role, "parameters": {"weight": w}} for role, w in weights.items()],
            "parameters": {"normalize": False, "lambda": 1.0},
        }


class WiseFtOptions(MethodOptions):
    """Options of `wise-ft`."""

    weight: Unit | None = None
    """Share of the fine-tuned model, here CPT's (alpha). Default: `merge.weight`; 0.5 is the paper's advice where
    nothing is known."""


class WiseFt(Linear):
    """Weight-space ensemble of the general and the fine-tuned model (Wortsman et al. 2021, 2109.01903)."""

    name: ClassVar[str] = "wise-ft"
    Config: ClassVar[type[Options]] = WiseFtOptions


class GeneralLosses(Options):
    """Losses of the general models on examples of the target task, nats a token."""

    base: Number = Field(ge=0)
    """Of the base."""
    instruct: Number = Field(ge=0)
    """Of the instruct model."""


class LmCocktailOptions(MethodOptions):
    """Options of `lm-cocktail`."""

    weight: Unit | None = None
    """Share of the fine-tuned model, here CPT's (alpha; published 0.5). Default: `merge.weight`."""
    losses: GeneralLosses | None = None
    """Losses of the general models on a few examples of the target task, from which their shares follow: softmax of
    -loss / temperature. Default: equal shares, which the published temperature nearly gives anyway."""
    temperature: Positive = 5.0
    """Published: 5. Losses that differ by less hardly count; 0.1 tells models apart."""


class LmCocktail(ConfiguredMerger):
    """Fine-tuned model mixed with the general ones, shares by loss (Xiao et al. 2023, arXiv 2311.13534)."""

    name: ClassVar[str] = "lm-cocktail"
    Config: ClassVar[type[Options]] = LmCocktailOptions
    uses_ancestor: ClassVar[bool] = True

    def recipe(self, shares: Mapping[str, float]) -> dict[str, Any]:
        """A weighted mean of all three: alpha * cpt + (1 - alpha) * (shares of base and instruct)."""
        alpha = shares["cpt"] if self.config.weight is None else self.config.weight
        losses = self.config.losses
        general = cocktail_shares([losses.base, losses.instruct] if losses else [0, 0], self.config.temperature)
        weights = {"instruct": (1 - alpha) * general[1], "base": (1 - alpha) * general[0], "cpt": alpha}
        return {
            "merge_method": "linear",
            "base_model": "instruct",
            "models": [{"model": role, "parameters": {"weight": w}} for role, w in weights.items()],
            "parameters": {"normalize": False},
        }


def cocktail_shares(losses: list[float], temperature: float) -> list[float]:
    """softmax(-loss / temperature), as LM-Cocktail computes the shares of its models."""
    least = min(losses)
    scores = [math.exp((least - loss) / temperature) for loss in losses]
    return [score / sum(scores) for score in scores]


PRESETS: tuple[type[ConfiguredMerger], ...] = (
    *(Llama3Sec, ArceeMedical, ArceeMedicalLinear, ArceeMedicalSlerp, ArceeMedicalTies, ArceeMedicalDareTies),
    *(ArceePatent, ArceePatentSlerp, ArceePatentTies, InstructionResidual, WiseFt, LmCocktail),
)
