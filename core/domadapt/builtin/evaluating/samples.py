"""Samples of an evaluation: one row an item, from which every score and every interval is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from domadapt.artifacts import ScoreRow
from domadapt.components import EvalRequest


@dataclass
class Samples:
    """Items of one metric in their order. cluster: items that share a passage or a company."""

    metric: str
    unit: str
    higher_is_better: bool
    items: list[str]
    clusters: list[str]
    values: list[float]
    weights: list[float]

    def row(self, request: EvalRequest, protocol: str) -> ScoreRow:
        """The score: sum of values over sum of weights, with its interval."""
        import numpy as np

        from domadapt.report.statistics import interval

        value, stderr, low, high = interval(np.array(self.values), np.array(self.weights), self.clusters)
        return ScoreRow(
            task=request.task,
            metric=self.metric,
            side=request.side,
            value=value,
            stderr=stderr,
            low=low,
            high=high,
            n=len(self.items),
            unit=self.unit,
            higher_is_better=self.higher_is_better,
            protocol=protocol,
        )


def write_samples(samples: Sequence[Samples], out: Path) -> None:
    """Write `samples.parquet` into `out`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[str] | list[float]] = {
        "metric": [s.metric for s in samples for _ in s.items],
        "item": [i for s in samples for i in s.items],
        "cluster": [c for s in samples for c in s.clusters],
        "value": [v for s in samples for v in s.values],
        "weight": [w for s in samples for w in s.weights],
    }
    pq.write_table(pa.table(columns), out / "samples.parquet", compression="zstd", write_page_checksum=True)
