"""Which articles were met: a bit for each number that PubMed and PubMed Central give, not a string.

10 million numbers as Python strings in a set are a gigabyte, as bits at most 12.5 MB.
"""

from __future__ import annotations


class Numbers:
    """A set of whole numbers below 100 million, one bit each up to the largest."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, number: int) -> None:
        """Put a number into the set."""
        place = number >> 3
        if place >= len(self._bits):
            self._bits.extend(bytes(place + 1 - len(self._bits)))
        self._bits[place] |= 1 << (number & 7)

    def __contains__(self, number: int) -> bool:
        place = number >> 3
        return place < len(self._bits) and bool(self._bits[place] >> (number & 7) & 1)
