"""One side of bench/corpus_extraction.py, in a process and an environment of its own.

    python bench/corpus_extraction_side.py SIDE FOLDER OUT

Reads all files of FOLDER into memory, extracts the first once untimed (imports, caches), then all of them timed. The
last line of stdout is {"seconds", "cpu_seconds"}; OUT/NAME.txt is the text of a file. Side bs4 also writes what the
texts are judged by, untimed: OUT/NAME.rows, the visible rows of tables, a row of the document on a line, cells apart by
tabs.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Extract = Callable[[str, bytes], str]


def ours() -> Extract:
    """The pack's parser as the source calls it: items and metadata included."""
    from domadapt_sec.parsing import parse_file

    def extract(name: str, data: bytes) -> str:
        return "\n".join(filing.text for filing in parse_file(name, data, lambda *why: None))

    return extract


def edgartools() -> Extract:
    """edgartools' parser of documents and its text."""
    os.environ["EDGAR_IDENTITY"] = "Bench bench@example.com"
    from edgar.documents import parse_html

    return lambda name, data: str(parse_html(data.decode()).text())


def bs4() -> Extract:
    """Beautiful Soup on lxml, without what nobody sees."""
    return lambda name, data: str(_visible(data).get_text("\n"))


def trafilatura() -> Extract:
    """trafilatura with its tables, taking more rather than less."""
    from trafilatura import extract

    return lambda name, data: extract(data.decode(), include_tables=True, favor_recall=True) or ""


def _visible(data: bytes) -> Any:
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(data, "lxml", from_encoding="utf-8")
    for element in soup.find_all("ix:header"):
        element.decompose()
    for element in soup.find_all(style=lambda style: style and "display:none" in style.replace(" ", "")):
        if not element.decomposed:
            element.decompose()
    for element in soup.find_all(["script", "style", "title"]):
        element.decompose()
    return soup


def _rows(data: bytes) -> list[str]:
    """Rows of at least two cells that hold something; those of tables that hold tables are left out."""
    found = []
    for row in _visible(data).find_all("tr"):
        if row.find("table"):
            continue
        cells = ["".join(cell.get_text().split()) for cell in row.find_all(["td", "th"])]
        if sum(map(bool, cells)) > 1:
            found.append("\t".join(cell for cell in cells if cell))
    return found


SIDES: dict[str, Callable[[], Extract]] = {
    "ours": ours, "edgartools": edgartools, "bs4": bs4, "trafilatura": trafilatura,
}  # fmt: skip


def main(side: str, folder: Path, out: Path) -> None:
    """Extract, write, tell the time."""
    files = {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
    extract = SIDES[side]()
    extract(*next(iter(files.items())))
    wall, cpu = time.perf_counter(), time.process_time()
    texts = {name: extract(name, data) for name, data in files.items()}
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    for name, text in texts.items():
        (out / f"{name}.txt").write_text(text, encoding="utf-8", errors="replace")
        if side == "bs4":
            (out / f"{name}.rows").write_text("\n".join(_rows(files[name])), encoding="utf-8", errors="replace")
    print(f'{{"seconds": {wall:.4f}, "cpu_seconds": {cpu:.4f}}}')


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
