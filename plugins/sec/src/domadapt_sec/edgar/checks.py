"""Whether an answer is what was asked for: EDGAR gives pages of excuses with status 200, and cut files with all."""

from __future__ import annotations

import json
from typing import Literal

Kind = Literal["submission", "index", "json"]
LIMIT_PAGE = b"Request Rate Threshold Exceeded"
IDENTITY_PAGE = b"Undeclared Automated Tool"
PAGE_BYTES = 40_000
HEADS = (
    b"-----BEGIN PRIVACY-ENHANCED MESSAGE-----",
    b"<SEC-DOCUMENT>",
    b"<IMS-DOCUMENT>",
    b"<SUBMISSION>",
    b"<DOCUMENT>",
)
TAILS = (b"-----END PRIVACY-ENHANCED MESSAGE-----", b"</SEC-DOCUMENT>", b"</IMS-DOCUMENT>", b"</SUBMISSION>")


def is_limit_page(body: bytes) -> bool:
    """Whether this is the page for those who asked too often."""
    return len(body) < PAGE_BYTES and LIMIT_PAGE in body


def is_identity_page(body: bytes) -> bool:
    """Whether this is the page for those who did not say who they are."""
    return len(body) < PAGE_BYTES and IDENTITY_PAGE in body


def problem(kind: Kind, body: bytes) -> str:
    """What is wrong with an answer of status 200: "" for nothing, "cut off" when only its end is missing."""
    start = body[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    if kind == "json":
        return "" if _is_json(body) else "no JSON"
    if start[:20].lower().startswith((b"<!doctype", b"<html")):
        return "a web page"
    if kind == "index":
        return "" if b"-----" in body[:8192] and body.endswith(b"\n") else "no index"
    if not start.startswith(HEADS):
        return "no submission"
    return "" if body[-200:].rstrip().endswith(TAILS) else "cut off"


def _is_json(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False
