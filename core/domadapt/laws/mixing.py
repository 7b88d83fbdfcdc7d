"""The data mixing law: loss by the shares of several corpora, at the lengths that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from domadapt.laws.law import Inputs, Law, Parameter

if TYPE_CHECKING:
    Array = np.ndarray

LENGTH = "length"
"""Column: number of the training length, 0, 1, ...: which pair (c, k) is meant."""

STEEP, STEEPER = 10.0, 1e-4
"""Exponents up to the first are as good as any; each one beyond counts like an error of the second's share of a loss.
Many mixtures outweigh that (DM Mathematics among the 17 corpora of RegMix has -328). Too few would be answered by
exponents of hundreds, and mixtures not measured by losses of thousands (RedPajama, 21 mixtures of 7: 15 % error
without, 1.5 % with it)."""


class Mixing(Law):
    """L(r) = c + k exp(sum_j t_j r_j): c > 0, k > 0, t of either sign; one pair (c, k) for each training length.

    shares: columns with the shares r_j of the corpora; of shares that always sum to 1 one may be left out, it is in k.
    The exponents are common to all lengths: with a few ratios that is what makes them known. The law says nothing
    of lengths in between.
    Source: Ye et al. 2024, "Data mixing laws", arXiv 2403.16952, section 3; one set of exponents for all lengths is
    ours.
    """

    name: ClassVar[str] = "mixing"
    title: ClassVar[str] = "data mixing law"
    source: ClassVar[str] = "Ye et al. 2024, arXiv 2403.16952, section 3"
    held = True

    def __init__(self, shares: Sequence[str], num_lengths: int = 1) -> None:
        """shares: names of the columns.  num_lengths: how many training lengths there are."""
        self.shares, self.num_lengths = tuple(shares), num_lengths
        self.inputs = (*self.shares, LENGTH)
        numbers = [""] if num_lengths == 1 else [str(number) for number in range(num_lengths)]
        self.parameters = (
            *(Parameter(f"c{number}", 0.3, 1.0, amplitude=True) for number in numbers),
            *(Parameter(f"k{number}", 0.01, 1.0, amplitude=True) for number in numbers),
            *(Parameter(f"t_{name}", -4.0, 4.0, positive=False) for name in self.shares),
        )

    def loss(self, theta: Array, inputs: Inputs) -> tuple[Array, Array]:
        """Losses and gradient, rows in the order of the parameters."""
        count = self.num_lengths
        length = inputs[LENGTH].astype(int)
        c, k, t = theta[:count], theta[count : 2 * count], theta[2 * count :]
        shares = np.stack([inputs[name] for name in self.shares])
        grown = np.exp(np.clip(t @ shares, -50.0, 50.0))
        of_length = (np.arange(count)[:, None] == length).astype(float)
        losses = c[length] + k[length] * grown
        return losses, np.concatenate([of_length, of_length * grown, k[length] * grown * shares])

    def demands(self, theta: Array, inputs: Inputs) -> tuple[Array, Array]:
        """How far exponents are beyond the usual ones."""
        t = theta[2 * self.num_lengths :]
        gradient = np.zeros((len(theta), len(t)))
        gradient[2 * self.num_lengths :] = np.diag(STEEPER * np.sign(t))
        return STEEPER * (np.abs(t) - STEEP), gradient
