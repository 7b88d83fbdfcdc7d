"""Plain-text parts: bytes -> text, uuencoded attachments out, the markers of 1990s filings out, layout kept.

Tables in plain text are aligned with spaces, so spaces stay; only EDGAR's own tags (`<PAGE>`, `<TABLE>`, `<S>`,
`<C>`, `<CAPTION>`) and page numbers at page breaks go.
"""

from __future__ import annotations

import codecs
import re

from domadapt_sec.rejection import Rejection

# Control characters are never text, NUL breaks C readers downstream, and characters without width only hide words
# from each other. A pattern, since str.translate takes ten times as long.
INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u2060\ufeff\ufffe\uffff]")
# Thin and other odd spaces hide "Item 1" from readers of any kind.
SPACE = re.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")
MARKER = re.compile(r"</?(?:PAGE|TABLE|CAPTION|S|C|FN|F\d{1,2}|R|LEGEND|DISPLAY|EX-\d+)>", re.IGNORECASE)
PAGE_NUMBER = re.compile(r"[ \t]*-?[ \t]*(?:page[ \t]+)?(?:[A-Z]-?)?\d{1,4}[ \t]*-?[ \t]*", re.IGNORECASE)
BEGIN = re.compile(rb"begin [0-7]{3,4} \S")
REPLACED = "\N{REPLACEMENT CHARACTER}".encode()
MAX_REPLACED = 0.01  # share of undecodable characters above which text is not worth reading


def decode(data: bytes) -> str:
    """Text with LF line ends. UTF-8 where it is, else Windows-1252, which EDGAR filers really use.

    Raises Rejection when more than 1 % of the characters cannot be decoded.
    """
    return utf8(data).decode()


def utf8(data: bytes) -> bytes:
    """The same as `decode`, as bytes in UTF-8: most filings are as they are, and bytes are searched twice as fast."""
    source = _utf8(data)
    if b"\r" in source:
        source = source.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if REPLACED[:1] in source and source.count(REPLACED) > MAX_REPLACED * len(source.decode()):
        raise Rejection("unreadable")
    return source


def _utf8(data: bytes) -> bytes:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace").encode()
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        data.decode()
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
    else:
        return data
    # One stray byte in a UTF-8 file must not turn all its quotation marks into three letters each.
    damaged = text.count("\ufffd")
    intact = sum(map(len, re.findall(r"[^\x00-\x7f\ufffd]+", text)))
    return (text if intact > damaged else data.decode("cp1252", "replace")).encode()


def clean(text: str) -> str:
    """Text without EDGAR's tags, control characters and lone surrogates; at most one blank line in a row."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = SPACE.sub(" ", INVISIBLE.sub("", text))
    if "<" in text:
        # As many spaces as the tag had letters: columns stay under each other.
        text = MARKER.sub(lambda match: " " * len(match[0]), text)
    text = "\n".join([line.rstrip() for line in text.split("\n")])
    while "\n\n\n" in text:  # six times as fast as a pattern
        text = text.replace("\n\n\n", "\n\n")
    return text.strip("\n")


def is_filing(text: str) -> bool:
    """Whether a text file without any EDGAR tag around it reads like a filing's first pages."""
    start = " ".join(text[:30_000].upper().split())
    return "SECURITIES AND EXCHANGE COMMISSION" in start or "<PAGE>" in start or "<SEC-HEADER>" in start


def extract(text: str) -> str:
    """The text of a plain-text part, "" when there is none."""
    lines: list[str] = []
    for line in text.replace("\f", "\n<PAGE>\n").split("\n"):
        if "<PAGE>" in line:
            _drop_page_number(lines)
        lines.append(line)
    return clean("\n".join(lines))


def _drop_page_number(lines: list[str]) -> None:
    """Take a page number away that stands alone above a page break, with the blank lines after it."""
    last = len(lines) - 1
    while last >= 0 and len(lines) - last < 6 and not lines[last].strip():
        last -= 1
    if last >= 0 and len(lines[last]) < 200 and PAGE_NUMBER.fullmatch(lines[last]):
        del lines[last:]


def without_uuencoded(data: bytes) -> tuple[bytes, int]:
    """The bytes without uuencoded attachments, and how many there were.

    An attachment is a `begin 644 name` line followed by a line of its alphabet, up to `end`, or up to the
    first line that cannot be one when the file is truncated or damaged.
    """
    if not BEGIN.search(data):
        return data, 0
    kept: list[bytes] = []
    removed = 0
    lines = data.splitlines(keepends=True)
    index = 0
    while index < len(lines):
        line = lines[index]
        if BEGIN.match(line) and index + 1 < len(lines) and _is_uuencoded(lines[index + 1]):
            removed += 1
            index += 1
            while index < len(lines) and _is_uuencoded(lines[index]):
                index += 1
            # The last line counts zero bytes: "`", or a space that a gateway stripped.
            tail = [line.strip() for line in lines[index : index + 2]]
            index += 1 if tail[:1] == [b"end"] else 2 if tail == [b"", b"end"] else 0
            continue
        kept.append(line)
        index += 1
    return b"".join(kept), removed


def _is_uuencoded(line: bytes) -> bool:
    line = line.rstrip(b"\r\n")
    if not line or line == b"end":
        return False
    num_bytes = (line[0] - 32) & 63
    # Mail gateways strip trailing spaces, which are zero bits, and some encoders add a checksum letter.
    longest = 2 + 4 * -(-num_bytes // 3)
    return len(line) <= longest and all(32 <= byte <= 96 for byte in (min(line), max(line)))
