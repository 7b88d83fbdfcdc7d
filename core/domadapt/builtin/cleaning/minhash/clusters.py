"""Documents in, near-duplicates out, in one pass: each document is compared with those kept before it.

A document that is near one that was kept is dropped and not compared with later: whatever is dropped has its
near-duplicate in the corpus, and a chain of small changes does not make the last document a duplicate of the first.
The result depends on the order of the documents and on nothing else, not on batches, threads or the route.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from domadapt.builtin.cleaning.minhash import arithmetic
from domadapt.builtin.cleaning.minhash.arrays import ArrayIndex
from domadapt.builtin.cleaning.minhash.arrays import sign as sign_by_arrays
from domadapt.builtin.object_code import NoKernels

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

WORTH_COMPILING = 16 << 20
"""Bytes of text behind which kernels are compiled (3 s, once a machine); array operators take as long for them."""


class NearDuplicates:
    """Finds near-duplicates by MinHash and LSH.

    words: of a shingle.  bands, rows: of a signature.  threshold: least estimated similarity.  threads: None for one a
    core.  kernels: False for the array operators alone.
    """

    def __init__(
        self, words: int, bands: int, rows: int, threshold: float, *, threads: int | None = None, kernels: bool = True
    ) -> None:
        self._words, self._bands, self._rows, self._threads = words, bands, rows, threads
        self._least = arithmetic.least_agreeing(bands * rows, threshold)
        self._may_compile, self._seen = kernels, 0
        self._signer: Any = None
        self._index: Any = ArrayIndex(bands, rows, self._least)
        self.num_kept = 0
        """Documents kept so far."""

    def find(self, texts: pa.StringArray) -> NDArray[np.int64]:
        """Of each document the number of the first kept one that is near, -1 when there is none: then it is kept.

        Kept documents are numbered from 0 in their order.
        """
        self._seen += texts.nbytes
        if self._signer is None and self._may_compile:
            self._take_kernels()
        if self._signer is None:
            signatures = sign_by_arrays(texts.to_pylist(), self._words, self._bands * self._rows)
        else:
            signatures = self._signer.sign(texts)
        found: NDArray[np.int64] = self._index.find(signatures)
        self.num_kept += int(np.count_nonzero(found < 0))
        return found

    def _take_kernels(self) -> None:
        """Go over to the kernels when they are there or worth compiling."""
        from domadapt.builtin.cleaning.minhash.compiled import KERNELS, CompiledIndex, Signer

        if self._seen < WORTH_COMPILING and not KERNELS.is_compiled():
            return
        try:
            loaded = KERNELS.load()
        except NoKernels:
            self._may_compile = False
            return
        self._signer = Signer(loaded, self._words, self._bands * self._rows, self._threads)
        before, self._index = self._index, CompiledIndex(loaded, self._bands, self._rows, self._least)
        if before.signatures:
            self._index.find(np.stack(before.signatures))  # none is near another: all are kept again
