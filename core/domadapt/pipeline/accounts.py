"""The accounts of a corpus: every document that a source found is kept, a duplicate, or dropped for a reason.

Numbers are kept by source and step. The sums over sources are the funnel; the books are closed only when they agree
with what lies on the disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domadapt.errors import StageError

READ, HOLDOUT = "read", "holdout"
"""The first and the last step; between them are the cleaning steps."""
DUPLICATE = "duplicate"
"""Reasons that hold this word count as duplicates."""


@dataclass
class FunnelStep:
    """One line of the funnel: what came in, what stayed, what was dropped and why.

    tally: what the step counted besides (lines removed, documents that fail a rule), in its own words.
    """

    step: str
    num_in: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    tally: Mapping[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, reasons in order of frequency."""
        told = {"step": self.step, "in": self.num_in, "kept": self.kept, "dropped": _by_frequency(self.dropped)}
        return {**told, "tally": _by_frequency(self.tally)} if self.tally else told


@dataclass
class SourceAccount:
    """What became of one source's documents. licenses: license -> [documents, bytes] of the training split."""

    source: str
    steps: list[FunnelStep]
    documents: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    licenses: dict[str, list[int]] = field(default_factory=dict)

    def as_dict(self, training_bytes: int) -> dict[str, Any]:
        """Plain data: seen = kept + duplicates + dropped. share: of the training split's bytes."""
        reasons = {step.step: _by_frequency(step.dropped) for step in self.steps if step.dropped.total()}
        away = [(reason, n) for step in self.steps for reason, n in step.dropped.items()]
        duplicates = sum(n for reason, n in away if DUPLICATE in reason)
        licenses = sorted(self.licenses.items(), key=lambda item: (-item[1][1], item[0]))
        return {
            "source": self.source,
            "seen": self.steps[0].num_in,
            "kept": self.steps[-1].kept,
            "duplicates": duplicates,
            "dropped": sum(n for _, n in away) - duplicates,
            "reasons": reasons,
            "documents": dict(self.documents),
            "bytes": dict(self.bytes),
            "share": self.bytes["train"] / training_bytes if training_bytes else 0.0,
            "licenses": {name: {"documents": d, "bytes": b} for name, (d, b) in licenses},
        }


class Accounts:
    """The books of one corpus. sources: names of the sources, in order.  steps: names of the cleaning steps."""

    def __init__(self, sources: Sequence[str], steps: Sequence[str]) -> None:
        self.names = [READ, *steps, HOLDOUT]
        self.sources = [SourceAccount(name, [FunnelStep(step) for step in self.names]) for name in sources]
        self.tallies: dict[int, Mapping[str, int]] = {}
        """By number of the step."""

    def book(self, source: int, step: int, num_in: int, kept: int, dropped: Mapping[str, int]) -> None:
        """Write down what a step (its number) did to a batch of a source (its number)."""
        line = self.sources[source].steps[step]
        line.num_in += num_in
        line.kept += kept
        line.dropped.update(dropped)

    def funnel(self) -> list[FunnelStep]:
        """The sums over all sources, step by step."""
        funnel = []
        for number, name in enumerate(self.names):
            lines = [account.steps[number] for account in self.sources]
            dropped = Counter[str]()
            for line in lines:
                dropped.update(line.dropped)  # a sum of counters would forget the reasons that took none
            num_in, kept = sum(line.num_in for line in lines), sum(line.kept for line in lines)
            funnel.append(FunnelStep(name, num_in, kept, dropped, self.tallies.get(number, {})))
        return funnel

    def close(self, stored: int, where: str) -> None:
        """Prove that nothing is missing. stored: documents that lie on the disk.

        Raises StageError when a step's numbers do not add up, in one source or in all, or differ from the disk.
        """
        for account in [*self.sources, SourceAccount("all sources", self.funnel())]:
            left = account.steps[0].num_in
            for line in account.steps:
                if line.num_in != left or line.num_in != line.kept + line.dropped.total():
                    raise StageError(
                        f"{where}: the documents of {account.source} do not add up at {line.step}: {left} came in, "
                        f"{line.num_in} were counted, {line.kept} kept and {line.dropped.total()} dropped; this is a "
                        "fault of that step or of adapt, and no corpus was written"
                    )
                left = line.kept
        kept = sum(account.steps[-1].kept for account in self.sources)
        if kept != stored:
            raise StageError(f"{where}: {kept} documents were kept, but {stored} lie in the shards")


def _by_frequency(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
