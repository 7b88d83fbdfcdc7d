"""EDGAR on the loopback: indexes, company lists and submissions, with faults by a seeded schedule.

Every arrival is stamped. A fault happens at most a given number of times in a row to one file, as on the real one.
Run as a program it serves until it is killed: python loopback_edgar.py FOLDER SEED (prints its port).
"""

from __future__ import annotations

import gzip
import json
import random
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LIMIT_PAGE = b"<!DOCTYPE html><html><head><title>SEC.gov | Request Rate Threshold Exceeded</title></head></html>"
IDENTITY_PAGE = b"<html><body>Your Request Originates from an Undeclared Automated Tool</body></html>"
ERROR_PAGE = b"<!DOCTYPE html><html><body>This page is temporarily unavailable.</body></html>"
NO_FILE = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"
FAULTS = (
    "429",
    "429 date",
    "503",
    "500",
    "reset",
    "short",
    "cut",
    "gzip cut",
    "gzip bad",
    "error page",
    "reset in body",
)


def submission(number: int) -> tuple[str, str, bytes]:
    """(CIK, accession, bytes) of the nth submission."""
    cik, accession = str(100_000 + number % 40), f"0000100000-23-{number:06d}"
    prose = f"We make pumps of kind {number}. " + "They are sold to mills all over the world. " * 40
    body = f"""<SEC-DOCUMENT>{accession}.txt : 20230301
<SEC-HEADER>{accession}.hdr.sgml : 20230301
ACCESSION NUMBER:\t\t{accession}
CONFORMED SUBMISSION TYPE:\t10-K
CONFORMED PERIOD OF REPORT:\t20221231
FILED AS OF DATE:\t\t20230301
FILER:
\tCOMPANY DATA:
\t\tCOMPANY CONFORMED NAME:\t\t\tPUMPS {cik} INC
\t\tCENTRAL INDEX KEY:\t\t\t{cik.zfill(10)}
</SEC-HEADER>
<DOCUMENT>
<TYPE>10-K
<SEQUENCE>1
<TEXT>
Item 1. Business

{prose}
</TEXT>
</DOCUMENT>
</SEC-DOCUMENT>
"""
    return cik, accession, body.encode()


class LoopbackEdgar:
    """The files and faults of one server. `arrivals`: (seconds, path, status or fault) in their order."""

    def __init__(self, num_filings: int, seed: int = 0, fault_rate: float = 0.0, in_a_row: int = 3) -> None:
        self.files: dict[str, bytes] = {}
        self.seed = seed
        self.fault_rate, self.in_a_row = fault_rate, in_a_row
        self.suffered: Counter[str] = Counter()
        self.served: Counter[str] = Counter()
        self.arrivals: list[tuple[float, str, str]] = []
        self.blocked_until = 0.0
        self.block_after = -1
        self.special: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.lock = threading.Lock()
        rows = []
        for number in range(num_filings):
            cik, accession, body = submission(number)
            self.files[f"/Archives/edgar/data/{cik}/{accession}.txt"] = body
            rows.append(f"{cik}|PUMPS {cik} INC|10-K|2023-03-{1 + number % 28:02d}|edgar/data/{cik}/{accession}.txt")
        head = (
            "Description:           Master Index\n\nCIK|Company Name|Form Type|Date Filed|Filename\n" + "-" * 80 + "\n"
        )
        self.files["/Archives/edgar/full-index/2023/QTR1/master.idx"] = (head + "\n".join(rows) + "\n").encode()

    def fault(self, path: str) -> str:
        """What goes wrong with this request, "" for nothing."""
        with self.lock:
            if self.block_after >= 0 and len(self.arrivals) >= self.block_after:
                self.block_after, self.blocked_until = -1, time.monotonic() + 1.0
            if time.monotonic() < self.blocked_until:
                return "block page"
            # By file and attempt, so that the order in which threads come does not change what they meet.
            rng = random.Random(f"{self.seed}/{path}/{self.suffered[path]}")
            if self.suffered[path] < self.in_a_row and rng.random() < self.fault_rate:
                self.suffered[path] += 1
                return rng.choice(FAULTS)
        return ""

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The URL while it runs."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        edgar = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                now = time.monotonic()
                fault = "" if "@" in self.headers.get("User-Agent", "") else "no identity"
                fault = fault or edgar.fault(self.path)
                with edgar.lock:
                    edgar.arrivals.append((now, self.path, fault))
                try:
                    if self.path in edgar.special:
                        edgar.special[self.path](self)
                    else:
                        answer(self, edgar, fault)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

        return Handler

    def most_in_a_second(self) -> int:
        """The most arrivals in any window of one second."""
        times = sorted(arrival[0] for arrival in self.arrivals)
        return max(sum(start <= other < start + 1.0 for other in times[n:]) for n, start in enumerate(times))


def answer(request: BaseHTTPRequestHandler, edgar: LoopbackEdgar, fault: str) -> None:
    """Answer as EDGAR does, or as it does on a bad day."""
    body = edgar.files.get(request.path)
    zipped = gzip.compress(body or b"", mtime=0)
    match fault:
        case "no identity":
            send(request, 403, IDENTITY_PAGE)
        case "block page":
            send(request, 403, LIMIT_PAGE)
        case "429":
            send(request, 429, b"", {"Retry-After": "1"})
        case "429 date":
            later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 1))
            send(request, 429, b"", {"Retry-After": later})
        case "503" | "500":
            send(request, int(fault), b"busy")
        case "reset":
            reset(request)
        case "error page":
            send(request, 200, ERROR_PAGE)
        case _ if body is None:
            send(request, 403, NO_FILE)
        case "short":
            send(request, 200, body[: len(body) // 2], {"Content-Length": str(len(body))})
            request.close_connection = True
        case "cut":
            send(request, 200, body[: len(body) // 2], {"Content-Length": "", "Connection": "close"})
        case "gzip cut":
            half = zipped[: len(zipped) // 2]
            send(request, 200, half, {"Content-Encoding": "gzip", "Content-Length": "", "Connection": "close"})
        case "gzip bad":
            send(request, 200, zipped[:20] + b"\xff" * 40 + zipped[60:], {"Content-Encoding": "gzip"})
        case "reset in body":
            send(request, 200, body[: len(body) // 3], {"Content-Length": str(len(body))})
            reset(request)
        case _:
            with edgar.lock:
                edgar.served[request.path] += 1
            if "gzip" in request.headers.get("Accept-Encoding", ""):
                send(request, 200, zipped, {"Content-Encoding": "gzip"})
            else:
                send(request, 200, body)


def send(request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    """A status, headers and a body; an empty header is left out."""
    request.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        if value:
            request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)
    if (headers or {}).get("Connection") == "close":
        request.close_connection = True


def reset(request: BaseHTTPRequestHandler) -> None:
    """Drop the connection with RST."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    request.close_connection = True
    request.connection.close()


def company(cik: str, filings: list[tuple[str, str, str]], older: list[dict[str, object]] | None = None) -> bytes:
    """The submissions API's answer. filings: (date, accession, form)."""
    columns = dict(zip(("filingDate", "accessionNumber", "form"), map(list, zip(*filings, strict=True)), strict=True))
    return json.dumps({"cik": cik, "filings": {"recent": columns, "files": older or []}}).encode()


if __name__ == "__main__":
    with LoopbackEdgar(int(sys.argv[1])).serving() as address:
        sys.stdout.write(address + "\n")
        sys.stdout.flush()
        threading.Event().wait()
