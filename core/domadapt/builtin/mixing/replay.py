"""The default mixer: shares of parts exact to a window at every moment, in stages, each pass in another order."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from domadapt.components import Mixer, MixRequest
from domadapt.errors import DataError

if TYPE_CHECKING:
    import numpy as np


class ReplayMixer(Mixer):
    """Replay: `replay` of all windows are general, the rest domain; sources, temperature and schedule refine it.

    Windows are placed at even distances, not drawn: every stretch of training has the asked shares to within one window
    a part. Each pass over a part is a new permutation ("compute-equivalent replay", Ibrahim et al. 2024, arXiv
    2403.08763, section 4; new windows at a fixed rate rather than the same ones again: "rate-fixed, data-dynamic",
    arXiv 2406.14833).
    """

    name: ClassVar[str] = "replay"

    def order(self, request: MixRequest) -> np.ndarray:
        """int64 [num_samples, 2]: part number, window."""
        import numpy as np

        from domadapt.builtin.mixing.drawing import Windows, draw
        from domadapt.builtin.mixing.placing import NONE, place
        from domadapt.builtin.mixing.targets import stretches

        found, parts, placed = stretches(request), list(request.available), NONE
        general = any(request.side(part) == "general" for part in parts)
        for stretch in found:
            if not general and stretch.asks_general():
                raise _too_little(request, "general", round(request.num_samples * request.replay))
            wanted = [stretch.wanted(part) for part in parts]
            placed = place(stretch.request.num_samples, len(parts), wanted.__getitem__, placed)[: stretch.last]
        order = np.empty((request.num_samples, 2), np.int64)
        order[:, 0] = placed
        stages = [stage for stretch in found for stage in stretch.stages]
        for number, part in enumerate(parts):
            rows = np.flatnonzero(placed == number)
            counts = [int(np.searchsorted(rows, s.last) - np.searchsorted(rows, s.first)) for s in stages]
            subsets = [s.subset if request.side(part) == "domain" else 1.0 for s in stages]
            _check_repeats(request, part, counts, subsets)
            if len(rows):
                order[rows, 1] = draw(Windows(request.available[part], request.seed, part), counts, subsets)
        return order


def _check_repeats(request: MixRequest, part: str, counts: list[int], subsets: list[float]) -> None:
    """Raises DataError when a part, or the subset of a stage, is repeated more often than it may be."""
    from domadapt.builtin.mixing.drawing import subset_size

    available, (most, key) = request.available[part], most_epochs(request, part)
    if sum(counts) > available * most:
        raise _too_little(request, part, sum(counts))
    for count, subset in zip(counts, subsets, strict=True):
        if available and count > (size := subset_size(available, subset)) * most:
            raise DataError(
                f"mix.schedule: {count} windows of {part} text wanted of a subset of {subset:g}, {size} windows, which "
                f"is more than {key}={most:g} repeats; make the stage shorter, or its subset larger"
            )


def most_epochs(request: MixRequest, part: str) -> tuple[float, str]:
    """How often a part's windows may be repeated, and the recipe's key that says so."""
    source = request.sources.get(part)
    if source is None or source.max_epochs is None:
        return request.max_epochs, "mix.max_epochs"
    return source.max_epochs, f"mix.sources.{part.partition('.')[2] or part}.max_epochs"


def _too_little(request: MixRequest, part: str, count: int) -> DataError:
    most, key = most_epochs(request, part)
    return DataError(
        f"mix: {count} windows of {part} text wanted, {request.available.get(part, 0)} there, which is more than "
        f"{key}={most:g} repeats; add text, ask for less of it or for fewer tokens, or raise {key}"
    )
