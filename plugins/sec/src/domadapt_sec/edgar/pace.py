"""The SEC's limit on requests, kept by all processes of a user together, through one small file.

Nobody may send more than 10 requests a second; above that an address is locked out for ten minutes. Each request
waits its turn while it holds a lock, so that any two leave at least 1/8 s apart whatever number of threads and
processes asks, and all wait together when the SEC says so.

Source: https://www.sec.gov/about/webmaster-frequently-asked-questions, "rate limits".
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from pathlib import Path

PER_SECOND = 8
LONGEST_PAUSE = 3600.0  # seconds; anything beyond is a damaged file or a clock that was set back


class Pace:
    """Turns for requests. folder: where the processes that share the limit meet."""

    def __init__(self, folder: Path, per_second: float = PER_SECOND) -> None:
        self.file = folder / "next-request"
        self.lock = folder / "next-request.lock"
        self.gap = 1 / per_second

    def wait(self) -> None:
        """Return when the next request may leave."""
        while True:
            with self._held():
                left = self._next() - time.time()
                if left <= self.gap:
                    # Asleep with the lock in hand, so that the gap is between departures and not between bookings.
                    time.sleep(max(0.0, left))
                    self._write(time.time() + self.gap)
                    return
            time.sleep(min(left, 1.0))

    def pause(self, seconds: float) -> None:
        """Let nobody send anything for so long from now."""
        until = time.time() + min(seconds, LONGEST_PAUSE)
        with self._held():
            self._write(max(self._next(), until))

    def _held(self) -> AbstractContextManager[object]:
        from filelock import FileLock

        self.file.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.lock).acquire(poll_interval=0.01)

    def _next(self) -> float:
        try:
            turn = float(self.file.read_text())
        except (OSError, ValueError):
            return 0.0
        return turn if turn - time.time() <= LONGEST_PAUSE + 1 else 0.0

    def _write(self, turn: float) -> None:
        self.file.write_text(f"{turn:.6f}")
