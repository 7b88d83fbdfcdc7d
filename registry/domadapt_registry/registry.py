"""The registry: every plugin's row, and what the working ones give, by kind and name.

There is no process-wide registry: a program builds one and passes it on. All plugins that may be loaded
are loaded, so that a broken one is known before it is needed; a plugin's module must therefore be quick
to import.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import pluggy

from domadapt_registry.candidates import (
    Candidate,
    builtin_candidates,
    host_distribution,
    installed_candidates,
    with_refusals,
)
from domadapt_registry.collecting import Wanted, collect, kinds, wanted_items
from domadapt_registry.containment import contain
from domadapt_registry.errors import ClaimedTwice, UnknownName, suggestion
from domadapt_registry.guard import Failure, guarded
from domadapt_registry.hooks import COLLECTED, fault, implementations
from domadapt_registry.rows import PluginRow, Provider


@dataclass
class _Loaded:
    """A candidate on its way to a row."""

    candidate: Candidate
    failure: Failure | None = None
    plugin: Any = None
    components: dict[str, dict[str, object]] = field(default_factory=dict)
    hooks: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def working(self) -> bool:
        return self.candidate.state == "ok" and self.failure is None


class Registry:
    """Plugins and what they give. Made by `Registry.discover`.

    rows: one for each plugin found, the host's own first.
    hook: calls a hook on all working plugins, the one registered last first, the host's own last.
    unmatched: names in `disabled` or `allowed` that no plugin has.
    """

    def __init__(self, manager: pluggy.PluginManager, loaded: Sequence[_Loaded], unmatched: Sequence[str]) -> None:
        self._manager, self._loaded = manager, tuple(loaded)
        self._claims: dict[str, dict[str, list[_Loaded]]] = {kind: {} for kind in kinds(manager)}
        for one in loaded:
            for kind, components in one.components.items():
                for name in components:
                    self._claims[kind].setdefault(name, []).append(one)
        _remark_claims(self._claims)
        self.hook = manager.hook
        self.rows: tuple[PluginRow, ...] = tuple(_row(one) for one in loaded)
        self.unmatched = tuple(unmatched)

    @classmethod
    def discover(
        cls,
        hookspecs_module: ModuleType,
        *,
        project: str = "domadapt",
        group: str = "domadapt.plugins",
        builtin: Sequence[tuple[str, object]] = (),
        host: str = "domadapt",
        host_version: str | None = None,
        disabled: Collection[str] = (),
        allowed: Collection[str] | None = None,
        entry_points: Iterable[EntryPoint] | None = None,
        names: Mapping[str, Any] | None = None,
        deliberate: tuple[type[BaseException], ...] = (),
        tell: Callable[[str], None] | None = None,
    ) -> Registry:
        """Find, check and load all plugins. Nothing a plugin does makes this raise, Ctrl-C excepted.

        hookspecs_module: the hook specifications, marked for `project`.  group: of the entry points.
        builtin: the host's own plugins, (name, module or dotted name), loaded first.
        host: the distribution whose version plugins' Requires-Dist are compared with; `host_version`
        when the running code knows better than the installed metadata.
        disabled, allowed: names of plugins; `allowed` does not concern the host's own.
        entry_points: instead of the installed ones.
        names: what the specifications' annotations mention but import for type checkers only.
        tell: takes a sentence when a hook of an installed plugin fails while work is done; then the call goes on
        without it. deliberate: what hooks may raise all the same. Without `tell` everything is raised.
        """
        manager = pluggy.PluginManager(project)
        manager.add_hookspecs(hookspecs_module)
        installed_version, editable = host_distribution(host)
        version = host_version or installed_version
        found = [
            *builtin_candidates(builtin, host, version, editable),
            *installed_candidates(group, entry_points),
        ]
        judged = with_refusals(found, host, version, disabled, allowed)
        wanted = {kind: wanted_items(hookspecs_module, COLLECTED + kind, names or {}) for kind in kinds(manager)}
        loaded = [_load(manager, candidate, wanted, project) for candidate in judged]
        if tell is not None:
            for one in loaded:
                if one.working and not one.candidate.builtin:
                    contain(manager, one.plugin, _owner(one), deliberate, tell)
        unmatched = sorted({*disabled, *(allowed or ())} - {candidate.name for candidate in found})
        return cls(manager, loaded, unmatched)

    def extended(self, name: str, owner: str, components: Mapping[str, Sequence[Any]]) -> Registry:
        """This registry and a plugin more that is no code: components by kind ("benchmarks") under a name.

        owner: who gives them, for sentences: the file they were read from.
        """
        given = {self._plural(kind): {one.name: one for one in items} for kind, items in components.items() if items}
        one = _Loaded(Candidate(name, owner, "", lambda: None, owner), components=given)
        return Registry(self._manager, [*self._loaded, one], self.unmatched)

    @property
    def kinds(self) -> list[str]:
        """The kinds of components, plural as in the hooks' names: "mergers"."""
        return list(self._claims)

    def names(self, kind: str, *, doubles: bool = True) -> list[str]:
        """The names of all components of a kind ("merger" or "mergers"), sorted.

        doubles: with those that several plugins give, which `find` refuses.
        """
        claims = self._claims[self._plural(kind)]
        return sorted(name for name, givers in claims.items() if doubles or len(givers) == 1)

    def find(self, kind: str, name: str) -> Any:
        """The component of this kind ("merger" or "mergers") and name.

        Raises UnknownName or ClaimedTwice, each with a sentence for the user.
        """
        return self._only_claim(kind, name).components[self._plural(kind)][name]

    def provider(self, kind: str, name: str) -> Provider:
        """Who provides a component. Raises as `find` does."""
        one = self._only_claim(kind, name)
        candidate = one.candidate
        return Provider(
            candidate.name, candidate.distribution, candidate.version, candidate.editable, _location(one.plugin)
        )

    def _only_claim(self, kind: str, name: str) -> _Loaded:
        plural = self._plural(kind)
        claims = self._claims[plural].get(name, [])
        if len(claims) == 1:
            return claims[0]
        singular = _singular(plural)
        if not claims:
            clause = self._why_missing(name) or suggestion(name, self._claims[plural])
            raise UnknownName(f"there is no {singular} '{name}'{clause}")
        owners = " and ".join(_owner(one) for one in claims)
        raise ClaimedTwice(f"{singular} '{name}' is given by {owners}; uninstall or disable one of them")

    def _why_missing(self, name: str) -> str:
        """The reason, when "sec.filings" is asked for and there is a plugin "sec" that does not work."""
        for row in self.rows:
            if row.state != "ok" and name.partition(".")[0] == row.name:
                owner = f"{row.distribution} {row.version}".strip()
                return f"; plugin '{row.name}' ({owner}) is {row.state}: {row.reason}"
        return ""

    def _plural(self, kind: str) -> str:
        plural = kind if kind in self._claims else f"{kind}s"
        if plural not in self._claims:
            raise ValueError(f"there is no kind of components '{kind}'{suggestion(kind, self._claims)}")
        return plural


def _load(manager: pluggy.PluginManager, candidate: Candidate, wanted: Mapping[str, Wanted], project: str) -> _Loaded:
    """Import a plugin, check it, register it and collect what it gives."""
    one = _Loaded(candidate)
    if candidate.state != "ok":
        return one
    outcome = guarded(candidate.load)
    if outcome.failure is not None:
        text = f"importing {candidate.target} failed: {outcome.failure.sentence}"
        one.failure = Failure(text, outcome.failure.traceback)
        return one
    one.plugin = outcome.value
    checked = guarded(lambda: _register(manager, one, project))
    one.failure = checked.failure or (Failure(checked.value, "") if checked.value else None)
    if one.failure is None:
        one.components, one.failure = collect(manager, one.plugin, wanted)
        if one.failure is not None:
            manager.unregister(one.plugin)
    return one


def _register(manager: pluggy.PluginManager, one: _Loaded, project: str) -> str:
    """Register a plugin whose hooks are right; return what is wrong otherwise."""
    if one.plugin is None:
        return "its entry point names nothing (None)"
    if manager.is_registered(one.plugin):
        return f"its module is plugin '{manager.get_name(one.plugin)}' already"
    found = implementations(manager, one.plugin)
    sentence = fault(manager, one.plugin, found, project)
    if not sentence:
        manager.register(one.plugin, one.candidate.name)
        one.hooks = [i.hook for i in found if not i.hook.startswith(COLLECTED)]
    return sentence


def _remark_claims(claims: Mapping[str, Mapping[str, list[_Loaded]]]) -> None:
    """Say who gives what others give as well. The host's own keeps its name: no plugin can take it from every user."""
    for kind, by_name in claims.items():
        for name, givers in by_name.items():
            own = [one for one in givers if one.candidate.builtin]
            if own and len(own) < len(givers):
                for one in givers:
                    if not one.candidate.builtin:
                        host = own[0].candidate.distribution
                        why = f"{_singular(kind)} '{name}' is {host}'s own, this one is not used: give it another name"
                        one.remarks.append(why)
                givers[:] = own
            for one in givers if len(givers) > 1 else ():
                others = " and ".join(_owner(other) for other in givers if other is not one)
                one.remarks.append(f"{_singular(kind)} '{name}' is also given by {others}: asking for it is an error")


def _row(one: _Loaded) -> PluginRow:
    candidate = one.candidate
    row = PluginRow(candidate.name, candidate.distribution, candidate.version, candidate.state, candidate.reason)
    if one.failure is not None:
        return replace(
            row,
            state="broken",
            reason=one.failure.sentence,
            location=_location(one.plugin),
            traceback=one.failure.traceback,
        )
    if not one.working:
        return row
    gives = {kind: list(components) for kind, components in one.components.items()}
    if one.hooks:
        gives["hooks"] = sorted(set(one.hooks))
    caveats = {
        f"{_singular(kind)} {name}": caveat
        for kind, components in one.components.items()
        for name, item in components.items()
        if (caveat := _caveat(item))
    }
    return replace(row, reason="; ".join(one.remarks), gives=gives, caveats=caveats, location=_location(one.plugin))


def _caveat(item: object) -> str:
    """The attribute `caveat` of a component, if it has one."""
    return guarded(lambda: str(getattr(item, "caveat", ""))).value or ""


def _location(plugin: Any) -> str | None:
    """The file a plugin's module was read from; of an object, that of its class's module."""
    import inspect

    if plugin is None:
        return None
    return guarded(lambda: inspect.getsourcefile(plugin if inspect.ismodule(plugin) else type(plugin))).value


def _owner(one: _Loaded) -> str:
    return f"plugin '{one.candidate.name}' ({one.candidate.owner})"


def _singular(kind: str) -> str:
    return kind.removesuffix("s")
