"""Requests to EDGAR: who we are, when we may ask, how often we try.

Every request waits its turn (`pace`). An answer that is not whole, not what was asked for, or an apology is asked for
again with growing, jittered waits; what the SEC says about waiting (Retry-After, the page for those who asked too
often) holds for all processes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from domadapt.errors import MissingError
from domadapt_sec.edgar.checks import Kind, is_identity_page, is_limit_page, problem
from domadapt_sec.edgar.pace import Pace
from domadapt_sec.edgar.transfer import Answer, TransferError, fetch

if TYPE_CHECKING:
    pass

VARIABLE = "SEC_USER_AGENT"
PLACEHOLDERS = ("example.com", "example.org", "yourcompany", "your name", "sample company", "domain.com")
TRIES_TO_CONNECT = 3
NO_FILE = b"<Code>AccessDenied</Code>"  # what the store behind EDGAR says of a name it does not have
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long to try. attempts: for one file.  first_wait, longest_wait: seconds between them, doubling.
    lock_out: seconds that all keep still after the page for those who asked too often (the SEC: ten minutes).
    seconds: for one answer.  max_bytes: of one answer (the largest submissions have about 400 MB)."""

    attempts: int = 8
    first_wait: float = 1.0
    longest_wait: float = 60.0
    lock_out: float = 600.0
    seconds: float = 300.0
    max_bytes: int = 512 << 20


class NotThereError(Exception):
    """EDGAR has no such file (404)."""


class FetchError(Exception):
    """All attempts failed; the last reason."""


class _AgainError(Exception):
    """One attempt failed."""


def identity() -> str:
    """What `SEC_USER_AGENT` says. Raises MissingError when it is not set or is somebody's placeholder."""
    agent = os.environ.get(VARIABLE, "").strip()
    if not re.search(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}", agent) or any(word in agent.lower() for word in PLACEHOLDERS):
        came = f"is '{agent[:80]}'" if agent else "is not set"
        raise MissingError(
            f"sec.edgar: {VARIABLE} {came}; the SEC wants a name and an e-mail address of whoever downloads:"
            f" export {VARIABLE}='Jane Doe jane@company.com'"
        )
    return agent


class EdgarClient:
    """Fetches files from EDGAR; to be shared by threads. Raises MissingError when `identity` does."""

    def __init__(self, pace: Pace, patience: Patience | None = None) -> None:
        import httpx

        # stamina warns of each attempt; a fetch of thousands of files has hundreds that the next one mends.
        logging.getLogger("stamina").setLevel(logging.ERROR)
        self.pace = pace
        self.patience = patience or Patience()
        self.reached = False
        self.http = httpx.Client(headers={"User-Agent": identity()}, timeout=httpx.Timeout(30.0), trust_env=True)

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def get(self, url: str, kind: Kind) -> bytes:
        """The bytes of a file, checked to be one of its kind.

        Raises NotThereError, FetchError after the last attempt, and MissingError when the host cannot be reached at all
        or will not talk to us.
        """
        import stamina

        patience = self.patience
        seen: set[str] = set()
        connects = iter(range(TRIES_TO_CONNECT - 1))
        try:
            for attempt in stamina.retry_context(
                on=_AgainError,
                attempts=patience.attempts,
                timeout=None,
                wait_initial=patience.first_wait,
                wait_max=patience.longest_wait,
                wait_jitter=patience.first_wait,
            ):
                with attempt:
                    return self._attempt(url, kind, seen, connects)
        except _AgainError as error:
            raise FetchError(str(error)) from error
        raise AssertionError("stamina gave no attempt")

    def _attempt(self, url: str, kind: Kind, seen: set[str], connects: Iterator[int]) -> bytes:
        import httpx

        self.pace.wait()
        try:
            answer = fetch(self.http, url, max_bytes=self.patience.max_bytes, seconds=self.patience.seconds)
        except httpx.ConnectError as error:
            if not self.reached and next(connects, None) is None:
                host = httpx.URL(url).host
                raise MissingError(
                    f"sec.edgar: {host} cannot be reached ({error}); connect to the network, or set `offline: true`"
                    " to go on with what has been fetched"
                ) from error
            raise _AgainError(f"{url}: {error}") from error
        except (httpx.TransportError, TransferError) as error:
            self.reached = True
            raise _AgainError(f"{url}: {error or type(error).__name__}") from error
        self.reached = True
        self._refuse(answer)
        wrong = problem(kind, answer.body)
        digest = hashlib.sha256(answer.body).hexdigest()
        # Some submissions of the 1990s were archived without their end: the same bytes twice, of the length announced.
        if wrong == "cut off" and answer.measured and digest in seen:
            return answer.body
        # An index has no end mark; where no length is announced either, it must come twice the same.
        if kind == "index" and not wrong and not answer.measured and digest not in seen:
            wrong = "of unknown length"
        seen.add(digest)
        if wrong:
            raise _AgainError(f"{url}: {wrong}")
        return answer.body

    def _refuse(self, answer: Answer) -> None:
        """Raise for everything but a usable status 200."""
        if is_limit_page(answer.body):
            log.warning("the SEC says that requests came too fast; all wait %.0f s", self.patience.lock_out)
            self.pace.pause(self.patience.lock_out)
            raise _AgainError(f"{answer.url}: request rate threshold exceeded")
        if is_identity_page(answer.body):
            raise MissingError(
                f"sec.edgar: the SEC does not accept {VARIABLE}='{self.http.headers['User-Agent']}';"
                " give a name and an e-mail address that are yours"
            )
        if answer.status == 404 or (answer.status == 403 and NO_FILE in answer.body[:2000]):
            raise NotThereError(answer.url)
        if answer.status != 200:
            if wait := _seconds(answer.retry_after):
                self.pace.pause(wait)
            raise _AgainError(f"{answer.url}: status {answer.status}")


def _seconds(retry_after: str) -> float:
    """Retry-After, a number of seconds or a date, in seconds from now; 0 when there is none."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:6])
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
