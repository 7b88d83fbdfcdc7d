"""The default mixer: domain windows with a fixed share of general windows spread evenly between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from domadapt.components import Mixer, MixRequest
from domadapt.errors import DataError

if TYPE_CHECKING:
    import numpy as np


class ReplayMixer(Mixer):
    """Replay: `replay` of all windows are general, the rest domain, both in seeded order.

    The general windows are placed at even distances, not drawn: every stretch of training has the asked
    share to within one window. Each pass over a part is a new permutation ("compute-equivalent replay",
    Ibrahim et al. 2024, arXiv 2403.08763, section 4).
    """

    name: ClassVar[str] = "replay"

    def order(self, request: MixRequest) -> np.ndarray:
        """int64 [num_samples, 2]: part number, window."""
        import numpy as np

        total, parts = request.num_samples, list(request.available)
        general = round(total * request.replay)
        wanted = {"domain": total - general, "general": general}
        order = np.empty((total, 2), np.int64)
        # sample i is general when the running count of general samples steps up at i
        steps = np.floor((np.arange(total) + 1) * general / total + 1e-9).astype(np.int64) if total else np.empty(0)
        is_general = np.diff(steps, prepend=0) > 0
        for number, part in enumerate(parts):
            rows = is_general if part == "general" else ~is_general
            available, count = request.available[part], wanted[part]
            if count > available * request.max_epochs:
                raise DataError(
                    f"mix: {count} windows of {part} text wanted, {available} there, which is more than "
                    f"mix.max_epochs={request.max_epochs:g} repeats; add text, or lower mix.tokens or mix.replay"
                )
            order[rows, 0] = number
            order[rows, 1] = _passes(available, count, request.seed, part)
        return order


def _passes(available: int, count: int, seed: int, part: str) -> np.ndarray:
    """`count` window numbers: whole passes, each a permutation of its own, the last one cut."""
    import numpy as np

    if not count:
        return np.empty(0, np.int64)
    rng = np.random.Generator(np.random.Philox(key=[seed, 0 if part == "domain" else 1]))
    passes = [rng.permutation(available) for _ in range(-(-count // available))]
    return np.concatenate(passes)[:count]
