"""Write fictional patents as red-book XML (ICE 4.5), several documents concatenated as in a weekly file.

The publishing office is "XX" (a code reserved for private use), the status SAMPLE-DATA and the numbers
lie above those in use, so that nobody takes them for real ones.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from domadapt_patent.sample.claims import DraftedClaim
from domadapt_patent.sample.description import Block, Heading, Paragraph, Ratio, Specification, Table
from domadapt_patent.sample.invention import Invention


@dataclass(frozen=True)
class Publication:
    """A publication of an invention: an application or a grant. `again`: the application was published before."""

    invention: Invention
    specification: Specification
    claims: Sequence[DraftedClaim]
    serial: int
    granted: bool
    again: bool = False

    @property
    def kind(self) -> str:
        """Kind code: A1 for an application; a grant is B2 when its application was published, else B1."""
        return ("B2" if self.again else "B1") if self.granted else "A1"

    @property
    def doc_number(self) -> str:
        """Number of the publication."""
        return f"99{self.serial:06d}" if self.granted else f"2099{self.serial:07d}"

    @property
    def filed(self) -> datetime.date:
        """Filing date."""
        return datetime.date(2014, 1, 7) + datetime.timedelta(days=self.serial % 3000)

    @property
    def published(self) -> datetime.date:
        """Date of publication: a Tuesday or Thursday some time after filing."""
        day = self.filed + datetime.timedelta(days=900 if self.granted else 540)
        return day + datetime.timedelta(days=((1 if self.granted else 3) - day.weekday()) % 7)


def weekly_file(publications: Sequence[Publication]) -> bytes:
    """Red-book XML of several publications in one file."""
    return b"".join(document(publication) for publication in publications)


def document(publication: Publication) -> bytes:
    """Red-book XML of one publication."""
    kind = "grant" if publication.granted else "application"
    root, dtd = f"us-patent-{kind}", "v45-2014-04-03" if publication.granted else "v44-2014-04-03"
    date = f"{publication.published:%Y%m%d}"
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<!DOCTYPE {root} SYSTEM "{root}-{dtd}.dtd" [ ]>',
        f'<{root} lang="EN" dtd-version="{dtd.replace("v45-", "v4.5 ").replace("v44-", "v4.4 ")}" '
        f'file="XX{publication.doc_number}-{date}.XML" status="SAMPLE-DATA" id="{root}" country="XX" '
        f'date-produced="{date}" date-publ="{date}">',
        *_front(publication, kind, date),
        '<abstract id="abstract">',
        f'<p id="p-0001" num="0000">{_inline(publication.specification.abstract)}</p>',
        "</abstract>",
        *_drawings(publication),
        '<description id="description">',
        *_description(publication.specification.description),
        "</description>",
        "<us-claim-statement>What is claimed is:</us-claim-statement>",
        '<claims id="claims">',
        *(line for claim in publication.claims for line in _claim(claim)),
        "</claims>",
        f"</{root}>",
        "",
    ]
    return "\n".join(lines).encode("ascii", "xmlcharrefreplace")


def _identity(tag: str, number: str, kind: str, date: str) -> list[str]:
    return [
        tag,
        "<document-id>",
        "<country>XX</country>",
        f"<doc-number>{number}</doc-number>",
        *([f"<kind>{kind}</kind>"] if kind else []),
        f"<date>{date}</date>",
        "</document-id>",
        f"</{tag[1:].split()[0].rstrip('>')}>",
    ]


def _front(publication: Publication, kind: str, date: str) -> list[str]:
    invention = publication.invention
    title, turn = _title(invention, publication.serial), publication.serial % len(invention.field.cpc)
    filed = f"{publication.filed:%Y%m%d}"
    people = []
    for position, (last, first) in enumerate(invention.inventors):
        people += [
            f'<inventor sequence="{position:03d}" designation="us-only">',
            f"<addressbook><last-name>{last}</last-name><first-name>{first}</first-name>",
            "<address><city>Fictional City</city><country>XX</country></address></addressbook>",
            "</inventor>",
        ]
    # As in real files: a grant names its assignee, an application seldom does.
    assignee = []
    if invention.assignee and publication.granted:
        book = f"<addressbook><orgname>{escape(invention.assignee)}</orgname><role>02</role></addressbook>"
        assignee = ["<assignees>", "<assignee>", book, "</assignee>", "</assignees>"]
    return [
        f"<us-bibliographic-data-{kind}>",
        *_identity("<publication-reference>", publication.doc_number, publication.kind, date),
        *_identity('<application-reference appl-type="utility">', f"98{publication.serial:06d}", "", filed),
        "<us-application-series-code>98</us-application-series-code>",
        *_classes([*invention.field.cpc[turn:], *invention.field.cpc[:turn]]),
        f'<invention-title id="d2e43">{escape(title)}</invention-title>',
        "<us-parties>",
        "<inventors>",
        *people,
        "</inventors>",
        "</us-parties>",
        *assignee,
        f"</us-bibliographic-data-{kind}>",
    ]


def _title(invention: Invention, serial: int) -> str:
    device, part = invention.device, invention.idea.part
    title = (
        f"{invention.quality} {device}",
        f"{device} with {part}",
        f"{device} and method of operating the same",
        f"{part} for {device}",
        f"{invention.quality} {device} having {part}",
    )[serial % 5]
    return title[0].upper() + title[1:]


def _classes(symbols: Sequence[str]) -> list[str]:
    lines = ["<classifications-cpc>"]
    for position, symbol in enumerate(symbols):
        subclass, group = symbol.split(" ")
        main, sub = group.split("/")
        wrapper = "main-cpc" if position == 0 else "further-cpc"
        lines += [
            f"<{wrapper}>" if position < 2 else "",
            "<classification-cpc>",
            f"<section>{subclass[0]}</section><class>{subclass[1:3]}</class><subclass>{subclass[3]}</subclass>",
            f"<main-group>{main}</main-group><subgroup>{sub}</subgroup>",
            f"<symbol-position>{'F' if position == 0 else 'L'}</symbol-position>",
            "</classification-cpc>",
            f"</{wrapper}>" if position in (0, len(symbols) - 1) else "",
        ]
    return [line for line in [*lines, "</classifications-cpc>"] if line]


def _drawings(publication: Publication) -> list[str]:
    name = f"XX{publication.doc_number}-{publication.published:%Y%m%d}"
    lines = ['<drawings id="DRAWINGS">']
    for position in range(1, publication.specification.num_figures + 1):
        lines += [
            f'<figure id="Fig-EMI-D{position:05d}" num="{position:05d}">',
            f'<img id="EMI-D{position:05d}" file="{name}-D{position:05d}.TIF" img-content="drawing" img-format="tif"/>',
            "</figure>",
        ]
    return [*lines, "</drawings>"]


def _inline(text: str) -> str:
    """Marks of the vocabulary as markup: signs bold, figures linked, `m^2` and `Li_4` high and low."""
    text = re.sub(r"FIG\. (\d+)", r'<figref idref="DRAWINGS">FIG. <b>\1</b></figref>', escape(text))
    text = re.sub(r"#(\d+)", r"<b>\1</b>", text)
    return re.sub(r"(?<=[A-Za-z)])_(\d+)", r"<sub>\1</sub>", re.sub(r"(?<=\w)\^(-?\d+)", r"<sup>\1</sup>", text))


def _description(blocks: Sequence[Block]) -> list[str]:
    lines: list[str] = ['<?BRFSUM description="Brief Summary" end="lead"?>']
    drawn = tables = 0
    for position, block in enumerate(blocks, 2):
        identity = f'id="p-{position:04d}" num="{position - 1:04d}"'
        if isinstance(block, Heading):
            lines.append(f'<heading id="h-{position:04d}" level="1">{escape(block.text)}</heading>')
        elif isinstance(block, Paragraph):
            drawn += block.figures
            if block.figures and drawn == 1:
                lines.append("<description-of-drawings>")
            if drawn and not block.figures:
                lines.append("</description-of-drawings>")
                drawn = 0
            lines.append(f"<p {identity}>{_inline(block.text)}</p>")
        elif isinstance(block, Table):
            tables += 1
            lines.append(f"<p {identity}>{_table(block, tables)}</p>")
        else:
            lines.append(f"<p {identity}>{_ratio(block)}</p>")
    return _close_before_headings([*lines, '<?BRFSUM description="Brief Summary" end="tail"?>'])


def _close_before_headings(lines: list[str]) -> list[str]:
    """Real files close the description of drawings before the heading that follows it."""
    close = "</description-of-drawings>"
    if close in lines and lines[(at := lines.index(close)) - 1].startswith("<heading"):
        lines[at - 1], lines[at] = lines[at], lines[at - 1]
    return lines


def _table(table: Table, serial: int) -> str:
    columns = len(table.rows[0])
    specs = "".join(f'<colspec colname="{c + 1}" colwidth="{200 // columns}pt" align="left"/>' for c in range(columns))
    rows = [
        "<row>\n" + "\n".join(f"<entry>{_inline(cell)}</entry>" for cell in cells) + "\n</row>" for cells in table.rows
    ]
    title = f'<row>\n<entry namest="1" nameend="{columns}" rowsep="1">{table.title}</entry>\n</row>'
    body = "\n".join(rows[1:])
    return (
        f'<tables id="TABLE-US-{serial:05d}" num="{serial:05d}">\n<table frame="none" colsep="0" rowsep="0">\n'
        f'<tgroup align="left" colsep="0" rowsep="0" cols="{columns}">\n{specs}\n'
        f"<thead>\n{title}\n{rows[0]}\n</thead>\n"
        f'<tbody valign="top">\n{body}\n</tbody>\n</tgroup>\n</table>\n</tables>'
    )


def _ratio(ratio: Ratio) -> str:
    return (
        '<maths id="MATH-US-00001" num="00001">\n<math overflow="scroll">\n<mrow>\n'
        f"<mi>{ratio.symbol}</mi>\n<mo>=</mo>\n<mfrac>\n<mi>{ratio.numerator}</mi>\n<mi>{ratio.denominator}</mi>\n</mfrac>\n"
        "</mrow>\n</math>\n</maths>"
    )


def _claim(claim: DraftedClaim) -> list[str]:
    text = _inline(claim.text)
    if claim.refers is not None:
        link = f'<claim-ref idref="CLM-{claim.refers:05d}">claim {claim.refers}</claim-ref>'
        text = text.replace(f"claim {claim.refers}", link, 1)
    lines = [f'<claim id="CLM-{claim.number:05d}" num="{claim.number:05d}">']
    if not claim.elements:
        return [*lines, f"<claim-text>{claim.number}. {text}.</claim-text>", "</claim>"]
    lines.append(f"<claim-text>{claim.number}. {text}:")
    wherein = sum(element.startswith("wherein") for element in claim.elements)
    parts = len(claim.elements) - wherein
    for position, element in enumerate(claim.elements, 1):
        last = position == len(claim.elements)
        end = "." if last else "; and" if position == parts - 1 else "," if position >= parts else ";"
        lines.append(f"<claim-text>{_inline(element)}{end}</claim-text>")
    return [*lines, "</claim-text>", "</claim>"]
