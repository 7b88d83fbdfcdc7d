"""How a sample document looks in each age of EDGAR: plain text, early HTML, styled HTML, inline XBRL, item JSON.

The same structure goes through all of them, so what a parser makes of each can be compared.
"""

from __future__ import annotations

import html
import json
import textwrap
from collections.abc import Callable, Iterator, Mapping

from domadapt_sec.sample_document import Block, Centered, Document, Heading, Section, Submission
from domadapt_sec.sample_statements import Row, Table, Value

WIDTH = 76
PAGE_LINES = 54


def figure(value: Value) -> str:
    """A number as printed: 1,234 or (1,234)."""
    if isinstance(value, int):
        return f"({-value:,})" if value < 0 else f"{value:,}"
    return value or ""


def item_heading(section: Section) -> str:
    """Item 1A. Risk Factors."""
    return f"Item {section.number}. {section.title}" if section.number else section.title


# ---------------------------------------------------------------- plain text, 1993 to about 2001


def plain_text(document: Document) -> str:
    """Wrapped lines with `<PAGE>` breaks and page numbers, tables between `<TABLE>` marks."""
    pages: list[str] = []
    page, since = 1, 0
    for section in document.sections:
        for lines in _plain_section(section):
            if since + len(lines) > PAGE_LINES and since:
                page += 1
                pages.append(f"{page - 1:>{WIDTH // 2}}\n\n<PAGE>\n")
                since = 0
            pages.append("\n".join(lines) + "\n")
            since += len(lines) + 1
    return "\n".join(pages)


def _plain_section(section: Section) -> Iterator[list[str]]:
    if section.title:
        yield [item_heading(section).upper()]
    for block in section.blocks:
        if isinstance(block, str):
            yield textwrap.wrap(block, WIDTH, initial_indent="     ", break_long_words=False, break_on_hyphens=False)
        elif isinstance(block, Heading):
            yield textwrap.wrap(block.text, WIDTH)
        elif isinstance(block, Centered):
            yield [line.center(WIDTH).rstrip() for line in block.lines]
        else:
            yield _plain_table(block)


def _plain_table(table: Table) -> list[str]:
    width = 14 * len(table.columns)
    label = WIDTH - width
    heads = [textwrap.wrap(c, 13) for c in table.columns]
    depth = max(map(len, heads))
    heads = [[""] * (depth - len(h)) + h for h in heads]
    lines = [table.title.center(WIDTH).rstrip(), table.note.center(WIDTH).rstrip(), "<TABLE>", "<CAPTION>"]
    lines += [" " * label + "".join(f"{h[i]:>14}" for h in heads) for i in range(depth)]
    lines.append("<S>".ljust(label) + "".join(" " * 9 + "<C>  " for _ in heads))
    for row in table.rows:
        *above, last = textwrap.wrap(row.label, label - 3, subsequent_indent="  ")
        lines += above
        if row.total:
            lines.append(" " * label + "".join(f"{'----------':>14}" for _ in row.values))
        lines.append((f"{last:<{label}}" + "".join(f"{figure(v):>14}" for v in row.values)).rstrip())
    return [*lines, "</TABLE>"]


# ---------------------------------------------------------------- HTML


def early_html(document: Document) -> str:
    """Tags in capitals, attributes without quotes, `<P>` and `<TR>` never closed."""
    body = []
    for section in document.sections:
        if section.title:
            body.append(f"<P><FONT SIZE=2><B>{_text(item_heading(section))}</B></FONT>")
        body += [_early_block(block) for block in section.blocks]
    title = _text(document.description)
    return (
        f"<HTML>\n<HEAD>\n<TITLE>{title}</TITLE>\n</HEAD>\n<BODY BGCOLOR=#FFFFFF>\n"
        + "\n".join(body)
        + "\n</BODY>\n</HTML>\n"
    )


def _early_block(block: Block) -> str:
    if isinstance(block, str):
        return f"<P ALIGN=JUSTIFY><FONT SIZE=2>&nbsp;&nbsp;&nbsp;&nbsp;{_text(block)}</FONT>"
    if isinstance(block, Heading):
        return f"<P><FONT SIZE=2><I>{_text(block.text)}</I></FONT>"
    if isinstance(block, Centered):
        return (
            "<CENTER>" + "<BR>\n".join(f"<FONT SIZE=2>{_text(line)}</FONT>" for line in block.lines) + "</CENTER>\n<HR>"
        )
    rows = ["<TR><TD>&nbsp;" + "".join(f"<TD ALIGN=RIGHT COLSPAN=2><B>{_text(column)}</B>" for column in block.columns)]
    for row in block.rows:
        cells = "".join(f"<TD ALIGN=RIGHT>{'$' if row.total else ''}<TD ALIGN=RIGHT>{figure(v)}" for v in row.values)
        rows.append(f"<TR><TD>{_text(row.label)}{cells}")
    head = f"<P ALIGN=CENTER><B>{_text(block.title)}</B><BR>{_text(block.note)}"
    return head + "\n<TABLE BORDER=0 CELLPADDING=0 WIDTH=100%>\n" + "\n".join(rows) + "\n</TABLE>"


STYLE = "font-family:Times New Roman;font-size:10pt"
Tagged = Callable[[Row, int, str], str]


def styled_html(document: Document) -> str:
    """A `<div>` with a style for every line, figures in cells of their own."""
    body = "\n".join(_styled_sections(document, lambda row, column, text: text))
    head = f"<head><title>{_text(document.description)}</title></head>"
    return f"<!DOCTYPE html>\n<html>{head}\n<body>\n{body}\n</body></html>\n"


def _styled_sections(document: Document, tagged: Tagged) -> Iterator[str]:
    for section in document.sections:
        if section.title:
            heading = _text(item_heading(section)).replace(" ", "&#160;", 1)
            yield f'<div style="{STYLE};font-weight:bold"><span>{heading}</span></div>'
        for block in section.blocks:
            yield _styled_block(block, tagged)
    yield '<hr style="page-break-after:always"/>'


def _styled_block(block: Block, tagged: Tagged) -> str:
    if isinstance(block, str):
        return f'<div style="{STYLE};text-indent:24px"><span>{_text(block)}</span></div>'
    if isinstance(block, Heading):
        return f'<div style="{STYLE};font-style:italic"><span>{_text(block.text)}</span></div>'
    if isinstance(block, Centered):
        return "".join(
            f'<div style="{STYLE};text-align:center"><span>{_text(line)}</span></div>' for line in block.lines
        )
    heads = "".join(f'<td colspan="3" style="text-align:right"><span>{_text(c)}</span></td>' for c in block.columns)
    rows = [f"<tr><td></td>{heads}</tr>"]
    for row in block.rows:
        cells = "".join(
            f'<td style="width:1%">{"$" if row.total else ""}</td>'
            f'<td style="text-align:right">{tagged(row, i, figure(v))}</td><td></td>'
            for i, v in enumerate(row.values)
        )
        rows.append(f'<tr><td style="vertical-align:bottom"><span>{_text(row.label)}</span></td>{cells}</tr>')
    head = f'<div style="{STYLE};font-weight:bold">{_text(block.title)}</div><div>{_text(block.note)}</div>'
    return head + '<table style="border-collapse:collapse;width:100%">' + "".join(rows) + "</table>"


def inline_xbrl(submission: Submission, document: Document) -> str:
    """Styled HTML as XHTML with tagged figures and a hidden header of facts and contexts."""
    company, count = submission.company, 0
    scale = 3 if company.accounts.unit == 1_000 else 6

    def tagged(row: Row, column: int, text: str) -> str:
        nonlocal count
        if not row.concept or not isinstance(row.values[column], int):
            return text
        count += 1
        digits = text.strip("()")
        attributes = {
            "contextRef": f"c-{column + 1}",
            "name": f"us-gaap:{row.concept}",
            "unitRef": "usd",
            "decimals": f"-{scale}",
            "scale": str(scale),
            "format": "ixt:num-dot-decimal",
            "id": f"f-{count}",
            **({"sign": "-"} if digits != text else {}),
        }
        fact = f"<ix:nonFraction {_attributes(attributes)}>{digits}</ix:nonFraction>"
        return f"({fact})" if digits != text else fact

    body = "\n".join(_styled_sections(document, tagged))
    year, ended = submission.period[0], "-".join(f"{n:02d}" for n in submission.period)
    namespaces = {
        "xmlns": "http://www.w3.org/1999/xhtml",
        "xmlns:ix": "http://www.xbrl.org/2013/inlineXBRL",
        "xmlns:xbrli": "http://www.xbrl.org/2003/instance",
        "xmlns:dei": f"http://xbrl.sec.gov/dei/{year}",
        "xmlns:us-gaap": f"http://fasb.org/us-gaap/{year}",
        "xml:lang": "en-US",
    }
    title = f"{company.ticker.lower()}-{ended.replace('-', '')}"
    return (
        f"<?xml version='1.0' encoding='ASCII'?>\n<html {_attributes(namespaces)}><head><title>{title}</title></head>"
        f"<body>{_hidden_header(submission, document, ended)}\n{body}\n</body></html>\n"
    )


def _attributes(values: Mapping[str, str]) -> str:
    return " ".join(f'{name}="{value}"' for name, value in values.items())


def _hidden_header(submission: Submission, document: Document, ended: str) -> str:
    """What an inline-XBRL filing says to machines only: the facts of its cover page and the periods of its figures."""
    company, year = submission.company, submission.period[0]
    facts = {
        "EntityCentralIndexKey": f"{company.cik:010d}",
        "EntityRegistrantName": company.name,
        "DocumentType": document.form,
        "DocumentPeriodEndDate": ended,
        "AmendmentFlag": str(document.form.endswith("/A")).lower(),
    }
    hidden = "".join(
        f'<ix:nonNumeric contextRef="c-1" name="dei:{name}" id="h-{name}">{_text(value)}</ix:nonNumeric>'
        for name, value in facts.items()
    )
    contexts = "".join(
        f'<xbrli:context id="c-{i}"><xbrli:entity><xbrli:identifier scheme="http://www.sec.gov/CIK">{company.cik:010d}'
        f"</xbrli:identifier></xbrli:entity><xbrli:period><xbrli:startDate>{year - i}-01-01</xbrli:startDate>"
        f"<xbrli:endDate>{year - i + 1}-01-01</xbrli:endDate></xbrli:period></xbrli:context>"
        for i in (1, 2)
    )
    resources = f"<ix:resources>{contexts}</ix:resources>"
    return f'<div style="display:none"><ix:header><ix:hidden>{hidden}</ix:hidden>{resources}</ix:header></div>'


def _text(text: str) -> str:
    return html.escape(text, quote=False).replace('"', "&#8220;", 1).replace('"', "&#8221;", 1)


# ---------------------------------------------------------------- EDGAR-CORPUS


def item_json(submission: Submission, document: Document) -> str:
    """The metadata and items of a filing as edgar-crawler writes them; what stands outside of items is lost."""
    company = submission.company
    day = "-".join(f"{n:02d}" for n in submission.filed)
    form = document.form.replace("-", "")
    filename = f"{company.cik}_{form}_{submission.filed[0]}_{submission.accession}.htm"
    record = {
        "cik": str(company.cik),
        "company": company.name.upper(),
        "filing_type": document.form,
        "filing_date": day,
        "period_of_report": "-".join(f"{n:02d}" for n in submission.period),
        "sic": company.industry.sic,
        "state_of_inc": company.incorporated[1],
        "fiscal_year_end": "{:02d}{:02d}".format(*company.year_end),
        "filename": filename,
    }
    for section in document.sections:
        if section.number:
            record[f"item_{section.number}"] = "\n".join([item_heading(section), *map(_item_block, section.blocks)])
    return json.dumps(record, ensure_ascii=False, indent=2)


def _item_block(block: Block) -> str:
    if isinstance(block, str):
        return block
    if isinstance(block, Heading):
        return block.text
    if isinstance(block, Centered):
        return "\n".join(block.lines)
    rows = ["\t".join((row.label, *map(figure, row.values))) for row in block.rows]
    return "\n".join([block.title, block.note, "\t".join(block.columns), *rows])
