"""One article: title, abstracts, and the body in reading order, as paragraphs separated by blank lines.

Kept: headings, paragraphs, lists, quotations, boxes, definitions, captions, tables as lines. Dropped, unless `Kept`
says otherwise: the list of references, acknowledgements, funding, interests and other boilerplate, wherever it stands.
Always dropped: authors and their addresses, footnotes, peer-review letters and translations (`sub-article`),
pictures. A heading whose section says nothing is dropped with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from domadapt_medical.jats import metadata
from domadapt_medical.jats.inline import inline_text, pieces, tidy
from domadapt_medical.jats.kept import Kept, is_boilerplate
from domadapt_medical.jats.references import reference_lines
from domadapt_medical.jats.tables import table_lines
from domadapt_medical.jats.xml import Rejected, declared_entities, local_name, parse_xml

if TYPE_CHECKING:
    from lxml import etree

__all__ = ["Article", "Kept", "Rejected", "parse_articles"]

MAX_GROWTH = 4
"""Most characters of text for each byte of a document, above the first million. Real articles have at most 1."""


@dataclass(frozen=True)
class Article:
    """A document. `id` is "" when the article names neither PMCID nor DOI.

    family: identifier shared with corrections and companions of the article, "" when `id` is.
    facts: title, journal, issn, year, doi, pmid, pmcid, type, subject, language; those that are stated.
    """

    id: str
    text: str
    license: str
    family: str
    facts: Mapping[str, str] = field(default_factory=dict)


_DEFAULT = Kept()


def parse_articles(data: bytes, kept: Kept = _DEFAULT) -> Iterator[Article | Rejected]:
    """The articles of one XML document: usually one, several in an `<articleset>` as PMC's services send.

    Raises Rejected when the whole document cannot be read; yields Rejected for one article without text.
    """
    root = parse_xml(data)
    declared = declared_entities(root)
    articles = [root] if local_name(root) == "article" else list(root.iter("{*}article"))
    if not articles:
        raise Rejected("not JATS")
    for element in articles:
        try:
            yield _article(element, _Body(declared, kept, MAX_GROWTH * len(data) + 1_000_000))
        except Rejected as rejected:
            yield rejected
        except RecursionError:
            yield Rejected("nested too deeply")


def _article(element: etree._Element, body: _Body) -> Article:
    front = element.find("{*}front")
    meta = front.find("{*}article-meta") if front is not None else None
    if front is None or meta is None:
        raise Rejected("no front matter")
    title = meta.find("{*}title-group/{*}article-title")
    heading = inline_text(title, body.declared) if title is not None else ""
    for abstract in meta.findall("{*}abstract"):
        if abstract.get("abstract-type", "") not in _TEASERS:
            body.section(abstract, default="Abstract")
    if (main := element.find("{*}body")) is not None:
        body.children(main)
    for group in ("{*}floats-group", "{*}back/{*}app-group", "{*}back/{*}app"):
        for floats in element.findall(group):
            body.children(floats)
    if (back := element.find("{*}back")) is not None:
        body.back(back)
    if not body.blocks:
        raise Rejected("no text")
    ids = metadata.identifiers(meta)
    name = ids.get("pmcid") or ids.get("doi", "")
    subject = next(meta.iterfind("{*}article-categories/{*}subj-group/{*}subject"), None)
    facts = {
        "title": heading,
        "type": element.get("article-type", ""),
        "subject": inline_text(subject, body.declared) if subject is not None else "",
        "year": metadata.year(meta),
        "language": element.get("{http://www.w3.org/XML/1998/namespace}lang", ""),
        **metadata.journal(front, body.declared),
        **ids,
    }
    return Article(
        id=name,
        text="\n\n".join(([heading] if heading else []) + body.blocks),
        license=metadata.license_name(meta, body.declared),
        family=metadata.family(meta, ids.get("doi", name)),
        facts={key: value for key, value in facts.items() if value},
    )


# abstracts that repeat the main one as a sentence or a picture
_TEASERS = frozenset({"toc", "teaser", "short", "graphical", "web-summary", "video"})
_FLOATS = frozenset({"fig", "fig-group", "table-wrap", "table-wrap-group", "supplementary-material"})
_NOTICES = {"ack": "Acknowledgements", "notes": "", "glossary": "Abbreviations"}
_FILE_TYPE = re.compile(r"^\(\s*[A-Za-z0-9. ]{1,12}\)\.?$")


class _Body:
    """Collects the blocks of text of one article. One method a kind of element, see `_KINDS`."""

    def __init__(self, declared: Mapping[str, str], kept: Kept, room: int) -> None:
        self.declared, self.kept, self._room = declared, kept, room
        self.blocks: list[str] = []

    def add(self, text: str) -> None:
        """Take a block of text, if there is any."""
        if text:
            self.grow(len(text))
            self.blocks.append(text)

    def grow(self, size: int) -> None:
        """Raises Rejected when the text becomes much longer than its file."""
        self._room -= size
        if self._room < 0:
            raise Rejected("text outgrows its file")

    def children(self, element: etree._Element) -> None:
        for child in element:
            self.block(child)

    def block(self, element: etree._Element) -> None:
        _KINDS.get(local_name(element), _ignored)(self, element)

    def section(self, element: etree._Element, default: str = "") -> None:
        """A heading and what follows; no heading when nothing does."""
        title = element.find("{*}title")
        heading = (inline_text(title, self.declared) if title is not None else "") or default
        if not self.kept.boilerplate and is_boilerplate(heading, element.get("sec-type", "")):
            return
        before = len(self.blocks)
        self.add(heading)
        self.children(element)
        if heading and len(self.blocks) == before + 1:
            self.blocks.pop()

    def paragraph(self, element: etree._Element) -> None:
        """Text; lists and quotations split it, figures and tables inside it come after it."""
        run: list[str] = []
        floats: list[etree._Element] = []
        for piece in list(pieces(element, self.declared, self.kept.citations)):
            if isinstance(piece, str):
                run.append(piece)
            elif local_name(piece) in _FLOATS:
                floats.append(piece)
            else:
                self._finish(run)
                self.block(piece)
        self._finish(run)
        for piece in floats:
            self.block(piece)

    def _finish(self, run: list[str]) -> None:
        self.add(tidy("".join(run)))
        run.clear()

    def back(self, element: etree._Element) -> None:
        """What stands behind the body, apart from appendices: sections of substance, boilerplate, references."""
        for child in element:
            name = local_name(child)
            if name == "sec" or (name in _NOTICES and self.kept.boilerplate):
                self.section(child, default=_NOTICES.get(name, ""))
            if name == "fn-group" and self.kept.boilerplate:
                for note in child.iterfind("{*}fn"):
                    self.children(note)
        if self.kept.references:
            lists = [r for r in element.iter("{*}ref-list") if next(r.iterancestors("{*}ref-list"), None) is None]
            lines = [self._sized(line) for refs in lists for line in reference_lines(refs, self.declared)]
            if lines:
                self.add("References")
                self._joined(lines)

    def list_items(self, element: etree._Element) -> None:
        """A list as one block, one line an item."""
        self._lines(element, "{*}list-item", "- ")

    def definitions(self, element: etree._Element) -> None:
        """Terms with their definitions, one line each."""
        lines = []
        for item in element.findall("{*}def-item"):
            parts = [self._text(part) for part in item if local_name(part) in ("term", "def")]
            lines.append(": ".join(part for part in parts if part))
        self._joined(lines)

    def _lines(self, element: etree._Element, items: str, mark: str) -> None:
        outer, lines = self.blocks, []
        for item in element.findall(items):
            self.blocks = []
            self.children(item)
            if self.blocks:
                lines.append(mark + "\n".join(self.blocks))
        self.blocks = outer
        self._joined(lines)

    def figure(self, element: etree._Element) -> None:
        """A caption as one block: label, title, text."""
        if self.kept.captions:
            self._joined([self._caption(element)])
        for child in element:
            if local_name(child) in _FLOATS:
                self.block(child)

    def table(self, element: etree._Element) -> None:
        """Caption, rows and notes as one block."""
        lines = [self._caption(element)] if self.kept.captions else []
        if self.kept.tables:
            # a table may sit in <alternatives> beside its picture, and tables in the cells of another one
            tables = [t for t in element.iter("{*}table") if next(t.iterancestors("{*}table"), None) is None]
            for table in tables:
                lines += table_lines(table, self.declared, self.kept.citations, self.grow)
            foot = element.find("{*}table-wrap-foot")
            if tables and foot is not None:
                lines += [self._text(note) for note in foot.iter("{*}p")]
        self._joined(lines)

    def bare_table(self, element: etree._Element) -> None:
        if self.kept.tables:
            self._joined(table_lines(element, self.declared, self.kept.citations, self.grow))

    def _caption(self, element: etree._Element) -> str:
        parts = [self._text(e) for e in element.iterfind("{*}label")]
        for caption in element.iterfind("{*}caption"):
            parts += [self._text(e) for e in caption if local_name(e) in ("title", "p")]
        # a label alone says nothing, nor does "(DOCX)" behind a supplement
        said = [part for part in parts if part and not _FILE_TYPE.match(part)]
        if len(said) < 2 and element.find("{*}label") is not None:
            return ""
        return " ".join(part if part[-1] in ".!?:" else part + "." for part in said)

    def _text(self, element: etree._Element) -> str:
        return self._sized(inline_text(element, self.declared, self.kept.citations))

    def _sized(self, text: str) -> str:
        self.grow(len(text))
        return text

    def _joined(self, lines: list[str]) -> None:
        self.add("\n".join(line for line in lines if line))


def _ignored(body: _Body, element: etree._Element) -> None:
    """Whatever has no entry in `_KINDS`: labels, pictures, footnotes, and what comes with later tag sets."""


_KINDS = {
    "p": _Body.paragraph,
    "verse-group": _Body.paragraph,
    "preformat": _Body.paragraph,
    "code": _Body.paragraph,
    "disp-formula": _Body.paragraph,
    "attrib": _Body.paragraph,
    "sec": _Body.section,
    "app": _Body.section,
    "boxed-text": _Body.section,
    "statement": _Body.section,
    "disp-quote": _Body.children,
    "speech": _Body.children,
    "caption": _Body.section,
    "disp-formula-group": _Body.children,
    "list": _Body.list_items,
    "def-list": _Body.definitions,
    "fig": _Body.figure,
    "supplementary-material": _Body.figure,
    "fig-group": _Body.figure,
    "table-wrap": _Body.table,
    "table-wrap-group": _Body.children,
    "table": _Body.bare_table,
    "array": _Body.bare_table,
}
