"""Sample submissions -> the bytes of files as EDGAR and its mirrors hand them out, some compressed.

Which form a submission takes follows from its date: privacy-enhanced plain text in the 1990s, HTML after
2000, inline XBRL since 2019, each with the attachments of its time (pictures, XBRL data), which a reader must reject.
"""

from __future__ import annotations

import binascii
import gzip
import io
import lzma
import random
import zipfile
from dataclasses import dataclass

from domadapt_sec import sample_bodies as bodies
from domadapt_sec.sample_document import Document, Submission

FIRST_HTML, FIRST_STYLED, FIRST_INLINE = 2000, 2008, 2019

PRIVACY_ENHANCED = """-----BEGIN PRIVACY-ENHANCED MESSAGE-----
Proc-Type: 2001,MIC-CLEAR
Originator-Name: sample@example.com
Originator-Key-Asymmetric:
 {key}
MIC-Info: RSA-MD5,RSA,
 {digest}

"""


@dataclass(frozen=True)
class File:
    """A file: its name and its bytes."""

    name: str
    data: bytes


def files(submission: Submission, rng: random.Random) -> list[File]:
    """The submission as one file; as item JSON or as dissemination form when the draw says so."""
    kind, accession = rng.random(), submission.accession
    first = submission.documents[0]
    has_items = first.form in ("10-K", "10-Q", "8-K") and len(submission.documents) == 1
    if kind < 0.1 and has_items and first.form == "10-K":
        data = bodies.item_json(submission, first).encode()
        name = f"{submission.company.cik}_10K_{submission.filed[0]}_{accession}.json"
    elif kind < 0.16 and has_items and submission.filed[0] >= FIRST_HTML:
        name = f"{submission.company.cik}_{first.form.replace('-', '')}_{submission.filed[0]}_{accession}.htm"
        data = _body(submission, first).encode()
    elif kind < 0.24 and submission.filed[0] >= FIRST_HTML:
        name, data = f"{accession}.nc", disseminated(submission, rng)
    else:
        name, data = f"{accession}.txt", full_text(submission, rng)
    return [_packed(File(name, data), rng.random())]


def _packed(file: File, draw: float) -> File:
    if draw < 0.06:
        return File(file.name + ".xz", lzma.compress(file.data, preset=0))
    if draw < 0.14:
        return File(file.name + ".gz", gzip.compress(file.data, compresslevel=1, mtime=0))
    if draw < 0.18:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            # ZipInfo's own date: the archive must not depend on the clock.
            archive.writestr(zipfile.ZipInfo(file.name), file.data)
        return File(file.name.rpartition(".")[0] + ".zip", stream.getvalue())
    return file


def full_text(submission: Submission, rng: random.Random) -> bytes:
    """The full submission text file, `ACCESSION.txt`; in a mail wrapper before 2001."""
    company, filed = submission.company, _digits(submission.filed)
    header = [
        f"<SEC-DOCUMENT>{submission.accession}.txt : {filed}",
        f"<SEC-HEADER>{submission.accession}.hdr.sgml : {filed}",
        *([f"<ACCEPTANCE-DATETIME>{filed}160000"] if submission.filed[0] >= 2001 else []),
        f"ACCESSION NUMBER:\t\t{submission.accession}",
        f"CONFORMED SUBMISSION TYPE:\t{submission.form}",
        f"PUBLIC DOCUMENT COUNT:\t\t{len(submission.documents)}",
        f"CONFORMED PERIOD OF REPORT:\t{_digits(submission.period)}",
        *(f"ITEM INFORMATION:\t\tItem {item}" for item in submission.items),
        f"FILED AS OF DATE:\t\t{filed}",
        "",
        "FILER:",
        "",
        "\tCOMPANY DATA:\t",
        f"\t\tCOMPANY CONFORMED NAME:\t\t\t{company.name.upper()}",
        f"\t\tCENTRAL INDEX KEY:\t\t\t{company.cik:010d}",
        f"\t\tSTANDARD INDUSTRIAL CLASSIFICATION:\t{company.industry.title} [{company.industry.sic}]",
        f"\t\tIRS NUMBER:\t\t\t\t{company.employer_number.replace('-', '')}",
        f"\t\tSTATE OF INCORPORATION:\t\t\t{company.incorporated[1]}",
        "\t\tFISCAL YEAR END:\t\t\t{:02d}{:02d}".format(*company.year_end),
        "",
        "\tFILING VALUES:",
        f"\t\tFORM TYPE:\t\t{submission.form}",
        "\t\tSEC ACT:\t\t1934 Act",
        f"\t\tSEC FILE NUMBER:\t{company.file_number}",
        "",
        "\tBUSINESS ADDRESS:\t",
        f"\t\tSTREET 1:\t\t{company.street.upper()}",
        f"\t\tCITY:\t\t\t{company.city[0].upper()}",
        f"\t\tSTATE:\t\t\t{company.city[2]}",
        f"\t\tZIP:\t\t\t{company.zip}",
        f"\t\tBUSINESS PHONE:\t\t{company.phone}",
        "</SEC-HEADER>",
    ]
    parts = [
        _part(number, document, _body(submission, document)) for number, document in enumerate(submission.documents, 1)
    ]
    parts += _attachments(submission, len(parts), rng)
    text = "\n".join(header) + "\n" + "".join(parts) + "</SEC-DOCUMENT>\n"
    if submission.filed[0] < 2001:
        # Letters in the shape of a key and a digest: nothing is signed.
        key, digest = (binascii.b2a_base64(rng.randbytes(n), newline=False).decode() for n in (46, 16))
        text = PRIVACY_ENHANCED.format(key=key, digest=digest) + text + "-----END PRIVACY-ENHANCED MESSAGE-----\n"
    return text.encode("cp1252", "xmlcharrefreplace")


def disseminated(submission: Submission, rng: random.Random) -> bytes:
    """The form of the dissemination service: a tagged header, files `.nc` and `.sgml`."""
    company = submission.company
    tags = [
        "<SUBMISSION>",
        f"<ACCESSION-NUMBER>{submission.accession}",
        f"<TYPE>{submission.form}",
        f"<PUBLIC-DOCUMENT-COUNT>{len(submission.documents)}",
        f"<PERIOD>{_digits(submission.period)}",
        *(f"<ITEMS>{item}" for item in submission.items),
        f"<FILING-DATE>{_digits(submission.filed)}",
        "<FILER>",
        "<COMPANY-DATA>",
        f"<CONFORMED-NAME>{company.name.upper()}",
        f"<CIK>{company.cik:010d}",
        f"<ASSIGNED-SIC>{company.industry.sic}",
        f"<IRS-NUMBER>{company.employer_number.replace('-', '')}",
        f"<STATE-OF-INCORPORATION>{company.incorporated[1]}",
        "<FISCAL-YEAR-END>{:02d}{:02d}".format(*company.year_end),
        "</COMPANY-DATA>",
        "<FILING-VALUES>",
        f"<FORM-TYPE>{submission.form}",
        "<ACT>34",
        f"<FILE-NUMBER>{company.file_number}",
        "</FILING-VALUES>",
        "</FILER>",
    ]
    parts = [
        _part(number, document, _body(submission, document)) for number, document in enumerate(submission.documents, 1)
    ]
    parts += _attachments(submission, len(parts), rng)
    return ("\n".join(tags) + "\n" + "".join(parts) + "</SUBMISSION>\n").encode("cp1252", "xmlcharrefreplace")


def _body(submission: Submission, document: Document) -> str:
    year = submission.filed[0]
    if year < FIRST_HTML:
        return bodies.plain_text(document)
    if year < FIRST_STYLED:
        return bodies.early_html(document)
    if year < FIRST_INLINE or document.form.startswith("EX-"):
        return bodies.styled_html(document)
    return bodies.inline_xbrl(submission, document)


def _part(number: int, document: Document, body: str) -> str:
    extension = "htm" if body[:5].lower() in ("<html", "<!doc", "<?xml") else "txt"
    if body.startswith("<?xml"):
        body = f"<XBRL>\n{body}</XBRL>\n"
    name = document.form.lower().replace("-", "").replace(".", "").replace("/", "")
    return (
        f"<DOCUMENT>\n<TYPE>{document.form}\n<SEQUENCE>{number}\n<FILENAME>{name}.{extension}\n"
        f"<DESCRIPTION>{document.description}\n<TEXT>\n{body}</TEXT>\n</DOCUMENT>\n"
    )


def _attachments(submission: Submission, count: int, rng: random.Random) -> list[str]:
    """Parts that are no text: a picture, and in later years XBRL data."""
    parts = []
    if submission.filed[0] >= FIRST_HTML and rng.random() < 0.12:
        picture = b"GIF89a" + rng.randbytes(rng.randint(400, 900))
        lines = [binascii.b2a_uu(picture[i : i + 45]).decode() for i in range(0, len(picture), 45)]
        body = f"begin 644 logo.gif\n{''.join(lines)}`\nend\n"
        count += 1
        parts.append(_raw_part(count, "GRAPHIC", "logo.gif", body))
    if submission.filed[0] >= FIRST_INLINE and submission.form != "8-K" and rng.random() < 0.5:
        facts = submission.company.accounts.flows(submission.company.filing_year)
        lines = [
            f'<us-gaap:{key} contextRef="c-1" unitRef="usd">{value}</us-gaap:{key}>\n' for key, value in facts.items()
        ]
        body = f"<XML>\n<?xml version='1.0' encoding='ASCII'?>\n<xbrli:xbrl>\n{''.join(lines)}</xbrli:xbrl>\n</XML>\n"
        parts.append(_raw_part(count + 1, "EX-101.INS", f"{submission.company.ticker.lower()}.xml", body))
    return parts


def _raw_part(number: int, kind: str, name: str, body: str) -> str:
    return f"<DOCUMENT>\n<TYPE>{kind}\n<SEQUENCE>{number}\n<FILENAME>{name}\n<TEXT>\n{body}</TEXT>\n</DOCUMENT>\n"


def _digits(day: tuple[int, int, int]) -> str:
    return "{:04d}{:02d}{:02d}".format(*day)
