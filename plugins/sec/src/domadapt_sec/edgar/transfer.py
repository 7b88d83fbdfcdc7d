"""One HTTP answer, whole or not at all.

HTTP libraries return a body that was cut off as if it were complete when no length was announced, and a gzip stream
that ends in the middle as if it had ended there (httpx, requests and urllib: measured). Here the stream is unpacked by
us, its end is asked for, its size and the time it takes are bounded, and no redirect leads to another host.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    import httpx

MAX_REDIRECTS = 5
PIECE = 1 << 20


class TransferError(Exception):
    """The answer did not come, or not whole; another attempt may do better."""


@dataclass(frozen=True)
class Answer:
    """A complete answer. retry_after: the header of that name.  measured: whether its length was known beforehand."""

    url: str
    status: int
    body: bytes
    retry_after: str
    measured: bool


def fetch(client: httpx.Client, url: str, *, max_bytes: int, seconds: float) -> Answer:
    """GET a URL, following redirects on its own host.

    max_bytes: of the unpacked body.  seconds: for the whole answer, from the request to its last byte.
    Raises TransferError when it is cut off, too large, too slow, or leads elsewhere; httpx.TransportError.
    """
    limit = time.monotonic() + seconds
    for _ in range(MAX_REDIRECTS):
        with client.stream("GET", url, headers={"Accept-Encoding": "gzip"}, follow_redirects=False) as response:
            if response.is_redirect:
                url = _same_host(url, response.headers.get("Location", ""))
                continue
            return Answer(
                url=url,
                status=response.status_code,
                body=b"".join(_unpacked(response, max_bytes, limit)),
                retry_after=response.headers.get("Retry-After", ""),
                measured="Content-Length" in response.headers or "Transfer-Encoding" in response.headers,
            )
    raise TransferError(f"{url}: more than {MAX_REDIRECTS} redirects")


def _same_host(url: str, location: str) -> str:
    target = urljoin(url, location)
    old, new = urlsplit(url), urlsplit(target)
    if (old.scheme, old.netloc) != (new.scheme, new.netloc):
        raise TransferError(f"{url}: redirected to {target[:200]}, which is another host")
    return target


def _unpacked(response: httpx.Response, max_bytes: int, limit: float) -> Iterator[bytes]:
    zipped = response.headers.get("Content-Encoding", "").lower() == "gzip"
    unzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
    size = 0
    for raw in response.iter_raw():
        if time.monotonic() > limit:
            raise TransferError(f"{response.url}: too slow, given up")
        pieces = _gunzipped(unzip, raw) if zipped else (raw,)
        try:
            for piece in pieces:
                size += len(piece)
                if size > max_bytes:
                    raise TransferError(f"{response.url}: more than {max_bytes} bytes")
                yield piece
        except zlib.error as error:
            raise TransferError(f"{response.url}: damaged gzip stream") from error
    if zipped and not unzip.eof:
        raise TransferError(f"{response.url}: the gzip stream was cut off")


def _gunzipped(unzip: zlib._Decompress, raw: bytes) -> Iterator[bytes]:
    """Piece by piece, so that a bomb is seen while it is small."""
    while raw:
        yield unzip.decompress(raw, PIECE)
        raw = unzip.unconsumed_tail
