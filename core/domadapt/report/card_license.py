"""The licence of a model that was made from others: the most restrictive one of its inputs, with the reason.

The cautious reading is taken: the licences of training text count as much as those of the parents. It is a proposal
from what the inputs declare, no legal advice; whoever publishes decides and may say so with `--license`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from domadapt.report.card_text import publishable


class Terms(IntEnum):
    """What a licence asks of those who pass a work on, the stricter the greater."""

    PUBLIC_DOMAIN = 0
    PERMISSIVE = 1
    SHARE_ALIKE = 2
    USE_RESTRICTED = 3
    NON_COMMERCIAL = 4
    NO_DERIVATIVES = 5
    UNKNOWN = 6


WORDS = {
    Terms.PUBLIC_DOMAIN: "public domain",
    Terms.PERMISSIVE: "permissive",
    Terms.SHARE_ALIKE: "share-alike",
    Terms.USE_RESTRICTED: "a licence with terms of use of its own",
    Terms.NON_COMMERCIAL: "non-commercial",
    Terms.NO_DERIVATIVES: "no derivatives",
    Terms.UNKNOWN: "unknown",
}

HUB_IDS = frozenset(
    (
        *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "isc", "cc0-1.0", "unlicense", "pddl", "odc-by"),
        *("odbl", "gpl-2.0", "gpl-3.0", "lgpl-2.1", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "openrail"),
        *("bigscience-openrail-m", "creativeml-openrail-m", "gemma", "llama2", "llama3", "llama3.1", "llama3.2"),
        *("llama3.3", "llama4", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0"),
        *("cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0"),
        *("cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
    )
)
"""Licences the hub knows by name (https://huggingface.co/docs/hub/repositories-licenses); others are "other"."""

_PATTERNS = (
    (r"cc-by-(?:nc-)?nd\b.*", Terms.NO_DERIVATIVES),
    (r"cc-by-nc\b.*", Terms.NON_COMMERCIAL),
    (r"llama-?\d.*|gemma|.*openrail.*", Terms.USE_RESTRICTED),
    (r"cc-by-sa\b.*|odbl.*|a?l?gpl-.*|mpl-.*", Terms.SHARE_ALIKE),
    (r"cc0\b.*|unlicense|pddl.*|public[ -]domain|public record\b.*", Terms.PUBLIC_DOMAIN),
    (r"apache-2\.0|mit|bsd-[23]-clause|isc|psf-2\.0|odc-by.*|cc-by-\d.*", Terms.PERMISSIVE),
)

_FAMILIES = (
    (r"meta-llama/Llama-2-.*", "llama2"),
    (r"meta-llama/Meta-Llama-3-.*", "llama3"),
    (r"meta-llama/(?:Meta-)?Llama-3\.1-.*", "llama3.1"),
    (r"meta-llama/Llama-3\.2-.*", "llama3.2"),
    (r"meta-llama/Llama-3\.3-.*", "llama3.3"),
)
"""Licences that these gated models' hub pages state; weights are fetched without their README."""

MOST_NAMED = 5
BUILTIN_LICENSE = "apache-2.0"
"""adapt's own models come with adapt, under its licence."""


@dataclass(frozen=True)
class Input:
    """Something the model was made from. what: "base model org/name", "text of SOURCE"; license: "" when unknown."""

    what: str
    license: str
    is_model: bool = False

    @property
    def terms(self) -> Terms:
        """What kind of licence it is; words that are no licence known here count as unknown."""
        name = self.license.strip().lower()
        return next((terms for pattern, terms in _PATTERNS if re.fullmatch(pattern, name)), Terms.UNKNOWN)


@dataclass(frozen=True)
class Decision:
    """The proposed licence. id: as the hub writes it, or "other" or "unknown"; name: of an "other" licence."""

    id: str
    name: str
    terms: Terms
    reason: str

    @property
    def may_be_public(self) -> bool:
        """Whether nothing speaks against passing the model on to everyone."""
        return self.terms < Terms.NO_DERIVATIVES


def decide(inputs: Sequence[Input], stated: str | None = None) -> Decision:
    """The most restrictive licence of the inputs. stated: what the publisher says instead, which then holds."""
    if stated is not None:
        terms = Input("", stated).terms
        identity = _hub_id(stated)
        return Decision(identity, stated if identity == "other" else "", terms, "stated by the publisher")
    strictest = max((i.terms for i in inputs), default=Terms.UNKNOWN)
    those = [i for i in inputs if i.terms == strictest]
    if strictest == Terms.UNKNOWN:
        known = max((i.terms for i in inputs if i.terms < Terms.UNKNOWN), default=None)
        rest = f"; of the others the strictest is {WORDS[known]}" if known is not None else ""
        return Decision("unknown", "", strictest, f"no known licence for {_listed(map(_with_words, those))}{rest}")
    # among equals a parent's licence comes first: the weights are a work derived from it
    chosen = next((i for i in those if i.is_model), those[0])
    names = list(dict.fromkeys(_hub_id(i.license) if _hub_id(i.license) != "other" else i.license for i in those))
    why = f"the strictest of the inputs is {WORDS[strictest]}: {_listed(f'{i.what} ({i.license})' for i in those)}"
    if len(names) > 1 and strictest > Terms.PERMISSIVE:
        return Decision("other", " and ".join(names), strictest, f"{why}; the terms of all of them hold")
    identity = _hub_id(chosen.license)
    return Decision(identity, chosen.license if identity == "other" else "", strictest, why)


def declared_license(ref: str) -> str:
    """What a model's reference says of its licence, "" when nothing does. Reads local files only.

    A folder's or a cached hub model's README states it in its front matter.
    """
    if ref.startswith("builtin:"):
        return BUILTIN_LICENSE
    name, _, revision = ref.removeprefix("hub:").partition("@")
    file = Path(ref).expanduser() / "README.md"
    if file.is_file():
        return _front_matter_license(file)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name):
        return ""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name, "README.md", revision=revision or None)
    if isinstance(cached, str) and (found := _front_matter_license(Path(cached))):
        return found
    return next((license for pattern, license in _FAMILIES if re.fullmatch(pattern, name)), "")


def _front_matter_license(file: Path) -> str:
    import yaml
    from huggingface_hub import ModelCard

    try:
        data = ModelCard(file.read_text(encoding="utf-8"), ignore_metadata_errors=True).data
    except (OSError, ValueError, yaml.YAMLError):
        return ""  # a README that cannot be read states nothing
    stated = data.get("license")
    if stated == "other":
        stated = data.get("license_name") or stated
    return publishable(stated) if isinstance(stated, str) else ""


def _hub_id(license: str) -> str:
    name = re.sub(r"^(a?l?gpl-\d\.\d)(?:-only|-or-later)$", r"\1", license.strip().lower())
    return name if name in HUB_IDS else "other"


def _with_words(item: Input) -> str:
    return f"{item.what} (it says {item.license!r})" if item.license else item.what


def _listed(words: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(words))
    rest = f" and {len(distinct) - MOST_NAMED} more" if len(distinct) > MOST_NAMED else ""
    return ", ".join(distinct[:MOST_NAMED]) + rest
