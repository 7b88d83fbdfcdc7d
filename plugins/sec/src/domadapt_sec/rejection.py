"""Why a part of a file is no document. The reasons are few, since they become lines of the data funnel."""

from __future__ import annotations

from typing import Literal, get_args

Reason = Literal[
    "uuencoded",
    "XBRL or XML data",
    "no text",
    "not a filing",
    "form not wanted",
    "damaged archive",
    "too large",
    "unreadable",
]
REASONS: tuple[str, ...] = get_args(Reason)


class Rejection(Exception):  # noqa: N818 - not an error: most parts of a submission are no documents
    """A part or a file is no document."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason
