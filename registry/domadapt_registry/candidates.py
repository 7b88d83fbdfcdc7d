"""Find the plugins that are installed, without importing any of them.

Reading the entry points of all distributions costs 4 to 7 ms with 124 distributions (file names and
`entry_points.txt` are read, nothing else). Metadata is parsed for distributions with plugins alone.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint
from typing import TYPE_CHECKING

from domadapt_registry.guard import guarded
from domadapt_registry.rows import State

if TYPE_CHECKING:
    from packaging.requirements import Requirement


@dataclass(frozen=True)
class Candidate:
    """A plugin before it is loaded. `state` other than "ok" means that it must not be."""

    name: str
    distribution: str
    version: str
    load: Callable[[], object]
    target: str
    builtin: bool = False
    editable: bool = False
    requires: Sequence[str] = ()
    state: State = "ok"
    reason: str = ""

    @property
    def owner(self) -> str:
        """The distribution with its version, for sentences."""
        return f"{self.distribution or 'an unknown distribution'} {self.version}".rstrip()

    def refused(self, state: State, reason: str) -> Candidate:
        """The same plugin, not to be loaded for this reason."""
        return replace(self, state=state, reason=reason)


def builtin_candidates(
    builtin: Iterable[tuple[str, object]], host: str, host_version: str, editable: bool
) -> list[Candidate]:
    """The host's own plugins: (name, module or dotted name)."""

    def candidate(name: str, module: object) -> Candidate:
        if isinstance(module, str):
            dotted = module
            return Candidate(name, host, host_version, lambda: importlib.import_module(dotted), dotted, True, editable)
        target = getattr(module, "__name__", type(module).__qualname__)
        return Candidate(name, host, host_version, lambda: module, target, True, editable)

    return [candidate(name, module) for name, module in builtin]


def installed_candidates(group: str, entry_points: Iterable[EntryPoint] | None = None) -> list[Candidate]:
    """The plugins that distributions name under an entry-point group, sorted by name."""
    unreadable: list[Candidate] = []
    if entry_points is None:
        try:
            entry_points = importlib.metadata.entry_points(group=group)
        except Exception:  # one damaged entry_points.txt anywhere in the environment hides all of them
            entry_points, unreadable = _entry_points_one_by_one(group)
    unique = {(e.name, e.value, _said_name(e.dist)): e for e in entry_points}
    found = [_candidate(entry_point) for entry_point in unique.values()]
    return sorted([*found, *unreadable], key=lambda c: (c.name, c.distribution))


def with_refusals(
    candidates: Sequence[Candidate],
    host: str,
    host_version: str,
    disabled: Collection[str],
    allowed: Collection[str] | None,
) -> list[Candidate]:
    """Say which candidates must not be loaded, and why. The host's own plugins need not be in `allowed`."""

    def judge(candidate: Candidate) -> Candidate:
        if candidate.state != "ok":
            return candidate
        if candidate.name in disabled:
            return candidate.refused("disabled", "disabled by name")
        if allowed is not None and not candidate.builtin and candidate.name not in allowed:
            return candidate.refused("disabled", "not in the list of allowed plugins")
        rivals = [c for c in candidates if c.name == candidate.name and c.state == "ok"]
        if len(rivals) > 1 and not candidate.builtin:
            if any(c.builtin for c in rivals):
                reason = f"'{candidate.name}' is a plugin of {host} itself; uninstall {candidate.owner}"
                return candidate.refused("claimed twice", reason)
            owners = " and ".join(sorted(f"{c.owner} ({c.target})" for c in rivals))
            return candidate.refused(
                "claimed twice", f"two distributions name a plugin '{candidate.name}': {owners}; uninstall one of them"
            )
        return _judge_requirements(candidate, host, host_version)

    return [judge(candidate) for candidate in candidates]


def _judge_requirements(candidate: Candidate, host: str, host_version: str) -> Candidate:
    """Compare the distribution's own Requires-Dist on the host with the host's version."""
    on_host = [text for text in candidate.requires if _requirement_name(text) == _canonical(host)]
    if not on_host or not host_version:
        return candidate
    for text in on_host:
        requirement = _requirement(text)
        if isinstance(requirement, str):
            return candidate.refused("broken", f"{candidate.owner}: requirement '{text}' cannot be read: {requirement}")
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if not requirement.specifier.contains(host_version, prereleases=True):
            return candidate.refused(
                "incompatible",
                f"{candidate.owner} wants {host}{requirement.specifier}, installed is {host} {host_version}; "
                f"install a release of {candidate.distribution} that goes with it",
            )
    return candidate


@lru_cache
def _requirement(text: str) -> Requirement | str:
    """A requirement, or why it cannot be read. Packs say the same of the host: parsing one takes half a millisecond."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(text)
    except InvalidRequirement as error:
        return str(error)


def _candidate(entry_point: EntryPoint) -> Candidate:
    def load() -> object:
        return entry_point.load()

    plain = Candidate(entry_point.name, "", "", load, entry_point.value)
    dist = entry_point.dist
    if dist is None:
        return plain
    outcome = guarded(lambda: (dist.name, dist.version, tuple(dist.requires or ()), is_editable(dist)))
    if outcome.failure is not None or outcome.value is None:
        told = outcome.failure.sentence if outcome.failure else ""
        return plain.refused("broken", f"the metadata of its distribution cannot be read: {told}")
    name, version, requires, editable = outcome.value
    return replace(plain, distribution=name or "", version=version or "", requires=requires, editable=editable)


def is_editable(dist: Distribution) -> bool:
    """Whether the distribution was installed with `pip install -e`; True where its record cannot be read."""
    try:
        origin = json.loads(dist.read_text("direct_url.json") or "{}")
        return bool(origin.get("dir_info", {}).get("editable", False))
    except (ValueError, AttributeError):  # then nothing shows that the code is what the version says
        return True


def host_distribution(host: str) -> tuple[str, bool]:
    """Installed version of the host and whether its code may change without its version changing.

    A host that runs from a folder on PYTHONPATH is not installed: version "", and its code may change.
    """
    try:
        dist = importlib.metadata.distribution(host)
        return dist.version or "", is_editable(dist)
    except (importlib.metadata.PackageNotFoundError, UnicodeDecodeError):
        return "", True


def _entry_points_one_by_one(group: str) -> tuple[list[EntryPoint], list[Candidate]]:
    """All entry points of the group that can be read, and a refused candidate where they cannot."""
    found: list[EntryPoint] = []
    unreadable: list[Candidate] = []
    seen: set[str] = set()
    for dist in importlib.metadata.distributions():
        name = _said_name(dist)
        if _canonical(name) in seen:  # a later folder of sys.path: never imported either
            continue
        seen.add(_canonical(name))
        outcome = guarded(lambda dist=dist: list(dist.entry_points))  # type: ignore[misc]
        if outcome.value is not None:
            found += [e for e in outcome.value if e.group == group]
        elif outcome.failure is not None and group in (_entry_points_text(dist) or group):
            reason = f"the entry_points.txt of {name} cannot be read: {outcome.failure.sentence}; reinstall {name}"
            unreadable.append(Candidate(name, name, "", lambda: None, "", state="broken", reason=reason))
    return found, unreadable


def _entry_points_text(dist: Distribution) -> str | None:
    """The raw text, or None where it is not even text (then it may well name plugins)."""
    return guarded(lambda: dist.read_text("entry_points.txt")).value


def _said_name(dist: Distribution | None) -> str:
    if dist is None:
        return ""
    return guarded(lambda: dist.name).value or "a distribution without a name"


def _requirement_name(text: str) -> str:
    match = re.match(r"\s*([A-Za-z0-9._-]+)", text)
    return _canonical(match[1]) if match else ""


def _canonical(name: str) -> str:
    # PEP 503; packaging.utils has the same, at the price of its import at every start
    return re.sub(r"[-_.]+", "-", name).lower()
