"""EDGAR as a place to read from: from the shelf what is there, over the network the rest, or nothing of it offline."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from domadapt.errors import MissingError, StageError
from domadapt_sec.edgar.checks import Kind
from domadapt_sec.edgar.client import EdgarClient, FetchError, NotThereError, Patience
from domadapt_sec.edgar.index import Entry
from domadapt_sec.edgar.pace import Pace
from domadapt_sec.edgar.shelf import Shelf

WORKERS = 4  # answers take a few tenths of a second; four at a time keep up with eight requests a second


class Archive:
    """Lists and submissions by their names on EDGAR; an empty answer means that EDGAR has no such file."""

    def __init__(
        self,
        shelf: Shelf,
        pace: Pace,
        url: str,
        data_url: str,
        *,
        offline: bool = False,
        patience: Patience | None = None,
    ) -> None:
        self.shelf, self.pace = shelf, pace
        self.url, self.data_url = url.rstrip("/"), data_url.rstrip("/")
        self.offline = offline
        self.patience = patience
        self._client: EdgarClient | None = None
        self._making = threading.Lock()

    def close(self) -> None:
        """Close the connections."""
        if self._client:
            self._client.close()
            self._client = None

    def list(self, name: str, max_age: float | None) -> bytes:
        """A file below Archives that lists filings. max_age: seconds after which to ask again, None: never."""
        return self._file(name, f"{self.url}/Archives/{name}", "index", max_age)

    def company(self, name: str, max_age: float | None) -> bytes:
        """A file of data.sec.gov about one company."""
        return self._file(name, f"{self.data_url}/{name}", "json", max_age)

    def submission(self, entry: Entry) -> bytes:
        """A whole submission."""
        return self._file(entry.file, f"{self.url}/Archives/{entry.file}", "submission", None)

    def fetch_all(self, entries: Sequence[Entry]) -> None:
        """Bring all submissions to the shelf, whatever happens to some.

        Raises StageError with the number of those that could not be had, MissingError when nothing more can be.
        """
        waiting = [entry for entry in entries if not self.shelf.has(entry.file)]
        failed: list[str] = []
        with ThreadPoolExecutor(WORKERS) as pool:
            tasks = [pool.submit(self.submission, entry) for entry in waiting]
            try:
                for task in tasks:
                    try:
                        task.result()
                    except FetchError as error:
                        failed.append(str(error))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        if failed:
            raise StageError(
                f"sec.edgar: {len(failed)} of {len(entries)} filings could not be fetched, the first:"
                f" {failed[0]}; run again to continue, those fetched are kept"
            )

    def _file(self, name: str, url: str, kind: Kind, max_age: float | None) -> bytes:
        if self.offline:
            body = self.shelf.read(name)
            if body is None:
                raise MissingError(
                    f"sec.edgar: {name} has not been fetched to {self.shelf.folder}; run once without `offline: true`"
                )
            return body
        return self.shelf.fetch(name, partial(self._get, url, kind), max_age)

    def _get(self, url: str, kind: Kind) -> bytes | None:
        with self._making:
            if self._client is None:
                self._client = EdgarClient(self.pace, self.patience)
        try:
            return self._client.get(url, kind)
        except NotThereError:
            return None
