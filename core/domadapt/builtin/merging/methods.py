"""One Merger for each merge method: its options become a configuration in mergekit's form, which an engine carries out.

The configuration names checkpoints by role (base, instruct, cpt). It is what guards read, what both engines are given
and what is kept as `mergekit_config.yml`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel

from domadapt.artifacts import Checkpoint
from domadapt.builtin.merging import options
from domadapt.builtin.merging.table import METHODS, Method, Parameter
from domadapt.components import Merger, Options, Stage, WeightedCheckpoint

_OPTION = {
    "lambda": "scale",
    "nuslerp_row_wise": "row_wise",
    "nuslerp_flatten": "flatten",
    "normalize_weights": "normalize",
}
"""Our names of options where they are not mergekit's."""


class ConfiguredMerger(Merger):
    """A merge that is a configuration in mergekit's form."""

    version: ClassVar[str] = "2"
    members: ClassVar[tuple[str, ...]] = ()
    """Names of the merges that this name stands for; none: it is one itself."""
    ignores_weight: ClassVar[bool] = False
    """Whether `merge.weight` changes nothing."""
    cpt_starts_from: ClassVar[str] = ""
    """Where CPT must have started ("base"), "" where it does not matter."""

    def recipe(self, shares: Mapping[str, float]) -> dict[str, Any]:
        """The configuration, models by role. shares: `merge.weight` of instruct and cpt, which sum to 1."""
        raise NotImplementedError

    def configuration_of(self, shares: Mapping[str, float], parents: Mapping[str, Checkpoint]) -> dict[str, Any]:
        """The configuration with types: arithmetic in fp32 and the instruct model's stored type, unless it says."""
        from domadapt.builtin.merging.engines import stored_dtype

        config = self.recipe(shares)
        if "dtype" not in config:
            config |= {"dtype": "float32", "out_dtype": stored_dtype(parents["instruct"].path)}
        return config

    def merge(
        self, ancestor: Checkpoint, models: Sequence[WeightedCheckpoint], out: Path, stage: Stage
    ) -> dict[str, Any]:
        """Merge with the engine of the options; the configuration is kept as `mergekit_config.yml`."""
        from domadapt.builtin.merging import guards
        from domadapt.builtin.merging.config_file import roles_of
        from domadapt.builtin.merging.engines import carry_out

        instruct, cpt = models
        parents = {"base": ancestor, "instruct": instruct.checkpoint, "cpt": cpt.checkpoint}
        if self.cpt_starts_from == "base":
            guards.check_start(stage, parents)
        shares = {"instruct": instruct.weight, "cpt": cpt.weight}
        config = self.configuration_of(shares, parents)
        used = {role: parents[role] for role in roles_of(config)}
        facts = carry_out(config, used, out, stage, engine=self.config.engine)
        return {**facts, **self.stated(), "method": self.called(stage), "merge_method": config["merge_method"]}

    def called(self, stage: Stage) -> str:
        """What selects this merge in a recipe: its name."""
        return self.name

    def stated(self) -> dict[str, Any]:
        """Options that the report shows, where they are plain numbers."""
        values = {name: getattr(self.config, name, None) for name in ("weight", "density")}
        return {name: value for name, value in values.items() if isinstance(value, float)}


class MergekitMethod(ConfiguredMerger):
    """A method of mergekit's, by its name or by `method`."""

    method: ClassVar[Method]

    def __init_subclass__(cls) -> None:
        if cls.__dict__.get("name") in METHODS:
            cls.method = METHODS[cls.name]
            cls.uses_ancestor = cls.method.needs_ancestor
            cls.ignores_weight = "weight" not in cls.Config.model_fields

    def recipe(self, shares: Mapping[str, float]) -> dict[str, Any]:
        """The method on the parties of the table, with the options that it has."""
        config: dict[str, Any] = {"merge_method": self.method.name}
        if (base := self.base()) is not None:
            config["base_model"] = base
        config["models"] = [
            {"model": role, **({"parameters": own} if (own := self.parameters(role, shares)) else {})}
            for role in self.tuned()
        ]
        if shared := self.shared(shares):
            config["parameters"] = shared
        return config

    def base(self) -> str | None:
        """mergekit's base model; where it takes none, the donor of the configuration."""
        if self.method.base == "optional":
            return "base" if self.config.ancestor else None
        return self.method.parties[0] if len(self.method.parties) > 1 else None

    def tuned(self) -> tuple[str, ...]:
        """The models that are listed."""
        return ("instruct", "cpt")

    def parameters(self, role: str, shares: Mapping[str, float]) -> dict[str, Any]:
        """mergekit's parameters of one parent."""
        values = {p.name: self._of_parent(p, role, shares) for p in self.method.per_model if not p.inert}
        return {name: _plain(value) for name, value in values.items()}

    def _of_parent(self, parameter: Parameter, role: str, shares: Mapping[str, float]) -> Any:
        value = getattr(self.config, parameter.name)
        if parameter.name == "weight" and not isinstance(value, Options):
            return shares[role] if value is None else value if role == "cpt" else 1 - value
        return getattr(value, role) if isinstance(value, Options) else value

    def shared(self, shares: Mapping[str, float]) -> dict[str, Any]:
        """mergekit's parameters of the whole merge."""
        names = {p.name: _OPTION.get(p.name, p.name) for p in self.method.shared if p.name != "int8_mask"}
        return {name: _plain(getattr(self.config, option)) for name, option in names.items()}


def _plain(setting: Any) -> Any:
    """A setting as plain data."""
    if isinstance(setting, BaseModel):
        return setting.model_dump(exclude_none=True)
    return [_plain(entry) for entry in setting] if isinstance(setting, list) else setting


class Linear(MergekitMethod):
    """Weighted mean of the weights (Wortsman et al. 2022, arXiv 2203.05482)."""

    name: ClassVar[str] = "linear"
    method: ClassVar[Method] = METHODS["linear"]
    Config: ClassVar[type[Options]] = options.LinearOptions

    def shared(self, shares: Mapping[str, float]) -> dict[str, Any]:
        """Shares that sum to 1 are normalised already."""
        return {"normalize": getattr(self.config, "normalize", True)}


class Slerp(MergekitMethod):
    """Spherical interpolation between instruct (0) and CPT (1), tensor by tensor (Shoemake 1985)."""

    name: ClassVar[str] = "slerp"
    Config: ClassVar[type[Options]] = options.SlerpOptions

    def shared(self, shares: Mapping[str, float]) -> dict[str, Any]:
        """t: as given, or the share of the CPT model."""
        share = shares["cpt"] if self.config.weight is None else self.config.weight
        return {"t": share if self.config.t is None else _plain(self.config.t)}


class Nuslerp(MergekitMethod):
    """Spherical interpolation by the ratio of weights, of whole tensors, rows or task vectors (mergekit)."""

    name: ClassVar[str] = "nuslerp"
    Config: ClassVar[type[Options]] = options.NuslerpOptions


class Multislerp(MergekitMethod):
    """Weighted barycentre on the sphere (mergekit)."""

    name: ClassVar[str] = "multislerp"
    Config: ClassVar[type[Options]] = options.MultislerpOptions


class Karcher(MergekitMethod):
    """Karcher mean on the sphere, all parents alike (arXiv 2603.04972)."""

    name: ClassVar[str] = "karcher"
    Config: ClassVar[type[Options]] = options.KarcherOptions


class TaskArithmetic(MergekitMethod):
    """Weighted sum of task vectors on the ancestor (Ilharco et al. 2023, arXiv 2212.04089)."""

    name: ClassVar[str] = "task_arithmetic"
    Config: ClassVar[type[Options]] = options.TaskArithmeticOptions

    def shared(self, shares: Mapping[str, float]) -> dict[str, Any]:
        """Nothing is dropped, so nothing is rescaled."""
        return {"normalize": self.config.normalize, "lambda": _plain(self.config.scale)}


class Ties(MergekitMethod):
    """Trim, elect signs, disjoint merge (Yadav et al. 2023, arXiv 2306.01708), trimmed tensor by tensor."""

    name: ClassVar[str] = "ties"
    Config: ClassVar[type[Options]] = options.TiesOptions


class DareTies(MergekitMethod):
    """Random dropping with rescaling, then TIES' sign election (Yu et al. 2024, arXiv 2311.03099)."""

    name: ClassVar[str] = "dare_ties"
    Config: ClassVar[type[Options]] = options.DareOptions


class DareLinear(MergekitMethod):
    """Random dropping with rescaling, then a weighted sum (Yu et al. 2024, arXiv 2311.03099)."""

    name: ClassVar[str] = "dare_linear"
    Config: ClassVar[type[Options]] = options.DareOptions


class Breadcrumbs(MergekitMethod):
    """Smallest and largest entries dropped, then a weighted sum (Davari & Belilovsky 2024, arXiv 2312.06795)."""

    name: ClassVar[str] = "breadcrumbs"
    Config: ClassVar[type[Options]] = options.BreadcrumbsOptions


class BreadcrumbsTies(MergekitMethod):
    """Smallest and largest entries dropped, then TIES' sign election (arXiv 2312.06795)."""

    name: ClassVar[str] = "breadcrumbs_ties"
    Config: ClassVar[type[Options]] = options.BreadcrumbsOptions


class Della(MergekitMethod):
    """Random dropping by magnitude with rescaling, then TIES' sign election (Deep et al. 2024, arXiv 2406.11617)."""

    name: ClassVar[str] = "della"
    Config: ClassVar[type[Options]] = options.DellaOptions


class DellaLinear(MergekitMethod):
    """Random dropping by magnitude with rescaling, then a weighted sum (Deep et al. 2024, arXiv 2406.11617)."""

    name: ClassVar[str] = "della_linear"
    Config: ClassVar[type[Options]] = options.DellaLinearOptions


class ModelStock(MergekitMethod):
    """Towards the centre of the models, by the angle of their task vectors (Jang et al. 2024, arXiv 2403.19522)."""

    name: ClassVar[str] = "model_stock"
    Config: ClassVar[type[Options]] = options.ModelStockOptions

    def shared(self, shares: Mapping[str, float]) -> dict[str, Any]:
        """Only what the fast engine leaves to mergekit is said."""
        return {"filter_wise": True} if self.config.filter_wise else {}


class Sce(MergekitMethod):
    """Entries of large variance, weighted by energy, minority signs erased (Wan et al. 2024, arXiv 2408.07990)."""

    name: ClassVar[str] = "sce"
    Config: ClassVar[type[Options]] = options.SceOptions


class _OnInstruct(MergekitMethod):
    """A method that takes the instruct model as base and the CPT model alone."""

    def tuned(self) -> tuple[str, ...]:
        """The CPT model."""
        return ("cpt",)


class Nearswap(_OnInstruct):
    """The instruct model, swapped for CPT's entries where they are near (alchemonaut 2024)."""

    name: ClassVar[str] = "nearswap"
    Config: ClassVar[type[Options]] = options.NearswapOptions


class ArceeFusion(_OnInstruct):
    """The instruct model with the most important changes of CPT's (arcee.ai)."""

    name: ClassVar[str] = "arcee_fusion"
    Config: ClassVar[type[Options]] = options.MergekitOptions


class Ram(MergekitMethod):
    """Entries that both changed are averaged, those of one alone kept (arXiv 2601.13572)."""

    name: ClassVar[str] = "ram"
    Config: ClassVar[type[Options]] = options.RamOptions


class RamplusTl(MergekitMethod):
    """As ram, with the changes of one alone amplified (arXiv 2601.13572)."""

    name: ClassVar[str] = "ramplus_tl"
    Config: ClassVar[type[Options]] = options.RamplusOptions


class Passthrough(MergekitMethod):
    """One model, scaled: for comparison with merges (mergekit)."""

    name: ClassVar[str] = "passthrough"
    Config: ClassVar[type[Options]] = options.PassthroughOptions

    def tuned(self) -> tuple[str, ...]:
        """The model of the options."""
        return (self.config.model,)


def _checked(config: object) -> dict[str, Any]:
    from domadapt.builtin.merging.config_file import checked_config  # late: it imports the reader of YAML

    return checked_config(config)


class FileOptions(options.MethodOptions):
    """Options of `mergekit`."""

    config: Annotated[dict[str, Any], AfterValidator(_checked)]
    """A whole configuration of mergekit, with base, instruct and cpt as the names of models."""


class MergekitConfig(ConfiguredMerger):
    """A whole configuration of mergekit: a file given as a method, or `merge.options.NAME.config`."""

    name: ClassVar[str] = "mergekit"
    Config: ClassVar[type[Options]] = FileOptions
    ignores_weight: ClassVar[bool] = True

    def __init__(self, config: Options | None = None) -> None:
        super().__init__(config)
        from domadapt.builtin.merging.config_file import roles_of

        # of this instance: whether a configuration needs the ancestor is in its text
        self.uses_ancestor = "base" in roles_of(self.config.config)  # type: ignore[misc]

    def called(self, stage: Stage) -> str:
        """The label that the recipe gave it."""
        return self.name if stage.name.startswith("merge.control.") else stage.name.removeprefix("merge.")

    def recipe(self, shares: Mapping[str, float]) -> dict[str, Any]:
        """The configuration as given."""
        return dict(self.config.config)

    def configuration_of(self, shares: Mapping[str, float], parents: Mapping[str, Checkpoint]) -> dict[str, Any]:
        """With the types mergekit would take: without `dtype`, the parents' common one."""
        from domadapt.builtin.merging.config_file import roles_of
        from domadapt.builtin.merging.engines import promoted_dtype

        config = self.recipe(shares)
        if config.get("dtype") is None:
            config["dtype"] = promoted_dtype([parents[role].path for role in roles_of(config)])
        return config


METHOD_MERGERS: tuple[type[ConfiguredMerger], ...] = (
    *(Linear, Slerp, Nuslerp, Multislerp, Karcher, TaskArithmetic, Ties, DareTies, DareLinear),
    *(Breadcrumbs, BreadcrumbsTies, Della, DellaLinear, ModelStock, Sce, Nearswap, ArceeFusion, Ram, RamplusTl),
    *(Passthrough, MergekitConfig),
)
