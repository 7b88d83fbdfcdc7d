"""The ranks that train together, and what they tell each other: sums of a few numbers, and to wait.

One process is the case of one rank, in which nothing is sent and every number stays the number it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from domadapt.errors import DataError


@dataclass(frozen=True)
class Peers:
    """This rank among `size`. device: where its part of the model is."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def alone(cls) -> Peers:
        """One process, on the GPU if there is one."""
        return cls(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this rank writes and speaks for all."""
        return self.rank == 0

    def share(self, samples: int) -> tuple[int, int]:
        """The samples of a step that are this rank's: how many come before them, and how many they are.

        Raises DataError when the samples cannot be divided evenly.
        """
        count, left = divmod(samples, self.size)
        if left:
            even = [n for n in range(2, samples + 1) if samples % n == 0]
            raise DataError(
                f"train: a step has {samples} windows, which {self.size} ranks cannot share evenly; "
                f"choose one of {even} ranks, or another train.batch_tokens"
            )
        return self.rank * count, count

    def sums(self, *values: float) -> list[float]:
        """Each number summed over all ranks, in float64."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        torch.distributed.all_reduce(total)
        return total.tolist()  # type: ignore[no-any-return]

    def any(self, said: bool) -> bool:
        """Whether any rank says so."""
        return said if self.size == 1 else self.sums(float(said))[0] > 0

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.size > 1:
            self.sums(0.0)
