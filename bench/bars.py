"""Bars of the benchmarks, written as people read them: ">= 20", "<= 0.05"."""

from __future__ import annotations

from collections.abc import Mapping


def met(ratios: Mapping[str, float], bars: Mapping[str, str]) -> dict[str, bool]:
    """Whether each ratio keeps its bar."""
    return {key: _met(ratios[key], bar) for key, bar in bars.items()}


def _met(ratio: float, bar: str) -> bool:
    sign, number = bar.split()
    return ratio >= float(number) if sign == ">=" else ratio <= float(number)
