"""`medical.pubmed`: PubMed's baseline and update files, each citation once, in its newest version.

Files are read from the newest to the oldest (NLM numbers them), so that the first version of a citation that is met is
the one that holds and a deletion is known before what it deletes. What was met and what was deleted is a bit a PMID:
10 MB for all of PubMed. The list of deletions stands at the end of a file, so each file is run through once more,
undecoded, to find it. Measured on medline16n0902: 3,300 citations, 21 MB of XML a second on one core.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from domadapt.components import NO_EFFECT, Options, Reject
from domadapt_medical.files import FileSource
from domadapt_medical.seen import Numbers

if TYPE_CHECKING:
    import pyarrow as pa

    from domadapt.builtin.corpora.batches import Document
    from domadapt_medical.pubmed.citation import Citation
    from domadapt_medical.pubmed.stream import Piece

AHEAD = 16
"""Citations that a worker may hold: one takes it a third of a millisecond."""


class PubmedOptions(Options):
    """Options of `medical.pubmed`."""

    path: Path | tuple[Path, ...] = Field(json_schema_extra=NO_EFFECT)
    """A file, a folder (read with its subfolders) or a list of them: `.xml`, `.xml.gz` or `.xml.xz` with a
    `PubmedArticleSet` or a `MedlineCitationSet`, as NLM's baseline and update files are."""

    labels: bool = True
    """Keep the labels of structured abstracts in front of their parts: "METHODS: ..."."""

    titles: bool = False
    """Keep citations that have no abstract as their titles alone, a sentence each."""

    languages: tuple[str, ...] = ()
    """Take only articles in these languages (`eng`, `ger`: ISO 639-2 as MEDLINE writes it). The abstract of most
    others is English. Default: all."""

    retracted: bool = False
    """Keep publications that were retracted."""

    group: Literal["article", "journal"] = "article"
    """What never lies on both sides of a held-out split. `article`: the article with its comments, corrections and
    retractions. `journal`: all of a journal."""


class PubmedSource(FileSource):
    """Reads citations: title and abstract, with MeSH headings and the rest in `meta`."""

    name = "medical.pubmed"
    version = "1"
    passes_over = frozenset(
        {"no abstract", "retracted", "language not wanted", "deleted by PubMed", "replaced by a newer version"}
    )
    Config = PubmedOptions

    suffixes = (".xml", ".xml.gz", ".xml.xz")
    what = "PubMed citations"

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        """The citations, the file with the last name first, in the order of each file."""
        from domadapt.builtin.corpora.batches import record_batches

        return record_batches(self._documents(reject), self.name)

    def _documents(self, reject: Reject) -> Iterator[Document]:
        from domadapt.builtin.corpora.workers import parse_in_workers

        newest_first = sorted(self.files(), key=lambda file: (file[1].name, file[0]), reverse=True)
        files = ((name, (name, path)) for name, path in newest_first)
        pieces = ((piece.where, piece) for piece in parse_in_workers(read_file, files, reject, workers=1))
        met, deleted = Numbers(), Numbers()
        for found in parse_in_workers(read_piece, pieces, reject, ahead=AHEAD):
            if isinstance(found, int):
                deleted.add(found)
                continue
            where, citation = found
            number = int(citation.pmid)
            if number in deleted:
                reject("deleted by PubMed", where)
            elif number in met:
                reject("replaced by a newer version", where)
            elif reason := self._reason(citation):
                reject(reason, where)
            else:
                yield self._document(citation)
            met.add(number)

    def _reason(self, citation: Citation) -> str:
        """Why the options leave a citation out, "" when they take it."""
        config = self.config
        if citation.retracted and not config.retracted:
            return "retracted"
        if config.languages and not set(config.languages) & set(citation.languages):
            return "language not wanted"
        if not citation.parts and not (config.titles and citation.title):
            return "no abstract"
        return ""

    def _document(self, citation: Citation) -> Document:
        from domadapt.builtin.corpora.batches import Document

        journal = str(citation.facts.get("issn") or citation.facts.get("journal", ""))
        group = (journal if self.config.group == "journal" else "") or citation.family
        text = citation.text(self.config.labels)
        return Document(citation.pmid, text, group, citation.license, citation.facts)


class Cut(NamedTuple):
    """A piece of a file. where: its file, and its PMID.  encoding: that of the file."""

    where: str
    piece: Piece
    encoding: str


def read_file(given: tuple[str, Path], reject: Reject) -> Iterator[Cut]:
    """The pieces of one file (name, place): what it deletes first, then its citations."""
    from domadapt_medical.files import DAMAGE, open_file
    from domadapt_medical.pubmed.citation import pmid_of
    from domadapt_medical.pubmed.stream import CITATIONS, DELETED, HEAD, Tail, encoding_of, is_pubmed, is_set, pieces_of

    name, path = given
    try:
        with open_file(path) as stream:
            head = stream.read(HEAD)
        if not is_pubmed(head):
            reject("not PubMed XML", name)
            return
        encoding = encoding_of(head)
        with suppress(*DAMAGE), open_file(path) as stream:  # said once, when the citations are read
            for piece in pieces_of(stream, DELETED):
                yield Cut(name, piece, encoding)
        with open_file(path) as stream:
            tail = Tail(stream)
            for piece in pieces_of(tail, CITATIONS):
                where = f"{name}: {pmid_of(piece.data)}".rstrip(": ")
                if piece.whole:
                    yield Cut(where, piece, encoding)
                else:
                    reject("citation without end", where)
            if is_set(head) and not tail.ended:
                reject("file without end", name)
    except DAMAGE:
        reject("damaged file", name)


def read_piece(given: Cut, reject: Reject) -> Iterator[int | tuple[str, Citation]]:
    """The PMIDs that a piece deletes, or the citation that it is with its place."""
    from domadapt_medical.jats.xml import Rejected
    from domadapt_medical.pubmed.citation import deleted_pmids, parse_citation
    from domadapt_medical.pubmed.stream import DELETED

    if given.piece.name in DELETED:
        yield from deleted_pmids(given.piece.data)
        return
    try:
        yield given.where, parse_citation(given.piece.data, given.encoding)
    except Rejected as rejected:
        reject(str(rejected), given.where)
