"""A full EDGAR submission -> its header and its parts.

A submission is SGML in three dialects: with a tab-indented `<SEC-HEADER>` (1996 on; `<IMS-HEADER>` before;
both possibly inside a privacy-enhanced mail wrapper), with the tagged header of the dissemination service
(`<SUBMISSION>`, files `.nc` and `.sgml`), or with no header at all. The parts are split with `bytes.find`:
on a file with many unclosed `<DOCUMENT>`s a regular expression takes time that grows with the square of its size.

Source: EDGAR PDS Technical Specification, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

OPEN, CLOSE = b"<DOCUMENT>", b"</DOCUMENT>"
HEADER_LIMIT = 1 << 20  # bytes; headers with hundreds of co-registrants reach 300 kB
# Who hands a paper in is not whom it is about.
FILERS_FOR_OTHERS = ("REPORTING-OWNER", "FILED BY", "FILED-BY")


@dataclass(frozen=True)
class Header:
    """What a submission's header says about it; "" where it says nothing. Dates are ISO."""

    accession: str = ""
    form: str = ""
    company: str = ""
    cik: str = ""
    period: str = ""
    filed: str = ""

    def filled_from(self, other: Header) -> Header:
        """This header with the gaps filled by another."""
        return Header(**{field: value or getattr(other, field) for field, value in vars(self).items()})


@dataclass(frozen=True)
class Part:
    """One `<DOCUMENT>`. `alone`: the file has no submission around it."""

    type: str
    sequence: str
    body: bytes
    alone: bool = False


def is_submission(data: bytes) -> bool:
    """Whether the file has at least one `<DOCUMENT>` at the start of a line."""
    return _next_open(data, 0) >= 0


def parts(data: bytes) -> Iterator[tuple[Header, Part]]:
    """The parts of a file in order, each with the header above it.

    A part that is not closed (a truncated file) ends at the next one, or at the end of the file.
    """
    header, end, number = Header(), 0, 0
    start = _next_open(data, 0)
    while start >= 0:
        between = data[end:start][-HEADER_LIMIT:]
        if b"ACCESSION" in between:
            header, number = read_header(between), 0
        following = _next_open(data, start + len(OPEN))
        limit = following if following >= 0 else len(data)
        close = data.find(CLOSE, start, limit)
        end = close if close >= 0 else limit
        number += 1
        yield header, _part(data[start + len(OPEN) : end], number)
        start = following


def _next_open(data: bytes, start: int) -> int:
    while (start := data.find(OPEN, start)) >= 0:
        if start == 0 or data[start - 1] in b"\r\n" or data[start - 3 : start] == b"\xef\xbb\xbf":
            return start
        start += len(OPEN)
    return -1


def _part(data: bytes, number: int) -> Part:
    head, _, body = data.partition(b"<TEXT>")
    if not body and b"<TEXT>" not in data:
        head, body = data[:2048], data
    close = body.rfind(b"</TEXT>")
    tags = dict(_tags(head))
    sequence = tags.get("SEQUENCE", "")
    return Part(
        type=tags.get("TYPE", "").upper(),
        sequence=sequence if sequence.isascii() and sequence.isdigit() else str(number),
        body=body if close < 0 else body[:close],
    )


def _tags(data: bytes) -> Iterator[tuple[str, str]]:
    """`<TAG>value` lines."""
    for line in data.decode("cp1252", "replace").splitlines():
        line = line.strip()
        if line.startswith("<") and ">" in line:
            tag, _, value = line[1:].partition(">")
            yield tag.upper(), value.strip()


def read_header(data: bytes) -> Header:
    """The header of a submission in either dialect."""
    fields = list(_tags(data)) if b"<ACCESSION-NUMBER>" in data else list(_labels(data))
    header = Header()
    section, company = "", ""
    companies: list[tuple[str, str, str]] = []
    for label, value in fields:
        match label:
            case "ACCESSION NUMBER" | "ACCESSION-NUMBER":
                header = replace(header, accession=value)
            case "CONFORMED SUBMISSION TYPE" | "TYPE":
                header = replace(header, form=header.form or value.upper())
            case "CONFORMED PERIOD OF REPORT" | "PERIOD":
                header = replace(header, period=iso_date(value))
            case "FILED AS OF DATE" | "FILING-DATE":
                header = replace(header, filed=iso_date(value))
            case "COMPANY CONFORMED NAME" | "CONFORMED-NAME":
                company = value
            case "CENTRAL INDEX KEY" | "CIK":
                companies.append((section, company, value.lstrip("0")))
            case (
                "REPORTING-OWNER"
                | "FILED BY"
                | "FILED-BY"
                | "FILER"
                | "ISSUER"
                | "SUBJECT COMPANY"
                | ("SUBJECT-COMPANY" | "FILED FOR" | "FILED-FOR")
            ):
                section, company = label, ""
    companies.sort(key=lambda entry: entry[0] in FILERS_FOR_OTHERS)
    for _, company, cik in companies[:1]:
        header = replace(header, company=company, cik=cik)
    return header


def _labels(data: bytes) -> Iterator[tuple[str, str]]:
    """`LABEL: value` lines."""
    for line in data.decode("cp1252", "replace").splitlines():
        label, colon, value = line.partition(":")
        if colon:
            yield label.strip().upper(), value.strip()


def iso_date(digits: str) -> str:
    """20240928 or 2024-09-28 -> 2024-09-28; "" for anything else."""
    digits = digits.replace("-", "")
    if len(digits) != 8 or not (digits.isascii() and digits.isdigit()):
        return ""
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"
