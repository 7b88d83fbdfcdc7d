"""Drop documents that hold items of the recipe's benchmarks, and say which items were found.

The rule is GPT-3's (Brown et al. 2020, appendix C): a document that shares a run of 13 words with an item has seen it;
8 words for items of fewer than 13. Words are compared in lower case without punctuation. One pass, 5 to 10 MB/s; memory
is that of the items. n-grams are compared by 64-bit hashes: a false match is less likely than one in a billion per
billion words.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from domadapt.builtin.cleaning.benchmark_items import EVALUATOR, Item, benchmark_items
from domadapt.builtin.cleaning.text import keep_rows
from domadapt.builtin.cleaning.words import folded_words, ngram_hashes
from domadapt.components import Benchmark, Cleaner, Options, Stage

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from domadapt.artifacts import Corpus

FILE = "contaminated.jsonl"
MANY_TEXTS = 20
"""An n-gram in fewer texts is never taken for the wording of a task."""


class DecontaminationOptions(Options):
    """Options of `decontaminate`."""

    words: int = Field(13, ge=5, le=50)
    """Words of a run that must not be shared with an item. 13: GPT-3's."""
    short_words: int = Field(8, ge=4, le=50)
    """The same for items whose longest text has fewer than `words` words. Still shorter ones cannot be looked for."""
    wording: float = Field(0.1, gt=0, le=1)
    """A run of words in more than this share of a task's texts (and in 20 at least) is the task's wording ("which of
    the following best describes ..."), not looked for."""
    share: float = Field(0, ge=0, le=1)
    """Least share of the runs of one of an item's texts (question, passage, choices) that a document must hold.
    0: one run is enough, which finds leaked parts, and also what item and document both quote (laws, standard phrases,
    a filing's tables). 0.5: most of the question, say."""
    most_documents: int | None = Field(None, ge=1)
    """A run of words in more documents than that is a phrase that many use (a law, the wording of a form), not looked
    for. GPT-3's number is 10. It takes a pass more over the documents, and hides what leaked into more of them: after
    `dedup`, those are few. Default: every run counts."""
    drop: bool = True
    """false: documents stay, the items that were found are written down all the same."""


class NgramIndex:
    """Which texts of items hold a run of words. words: length of the runs."""

    def __init__(self, words: int) -> None:
        import numpy as np

        self.words = words
        self._owners: dict[int, list[int]] = defaultdict(list)
        self._sorted, self._documents = np.empty(0, np.uint64), np.empty(0, np.int64)
        """All runs in order, and in how many documents each was counted."""

    def add(self, text: int, ids: np.ndarray, without: set[int]) -> int:
        """Remember all runs of a text but those in `without`; how many there are."""
        hashes = set(ngram_hashes(ids, self.words).tolist()) - without
        for value in hashes:
            self._owners[value].append(text)
        return len(hashes)

    def count(self, ids: np.ndarray) -> None:
        """Count the runs of one more document. ids: of its words, 0 for those in no item."""
        hits = self._hits(ids)
        self._documents[hits] += 1

    def find(self, ids: np.ndarray, most: int | None) -> Counter[int]:
        """How many runs of each text a document holds. most: documents in which a run that counts may stand."""
        hits = self._hits(ids)
        if most is not None:
            hits = hits[self._documents[hits] <= most]
        return Counter(text for value in self._sorted[hits].tolist() for text in self._owners[value])

    def phrases(self, most: int) -> int:
        """How many runs stand in more documents."""
        return int((self._documents > most).sum())

    def _hits(self, ids: np.ndarray) -> np.ndarray:
        """Places of the runs that a document holds, each once, in order."""
        import numpy as np

        if len(self._sorted) != len(self._owners):
            self._sorted = np.array(sorted(self._owners), np.uint64)
            self._documents = np.zeros(len(self._sorted), np.int64)
        unknown = np.concatenate([[0], np.cumsum(ids == 0)])
        whole = np.flatnonzero(unknown[self.words :] == unknown[: -self.words])
        if not whole.size or not self._sorted.size:
            return np.empty(0, np.int64)
        hashes = ngram_hashes(ids, self.words)[whole]
        places = np.minimum(np.searchsorted(self._sorted, hashes), self._sorted.size - 1)
        return np.unique(places[self._sorted[places] == hashes])


class Decontamination(Cleaner):
    """Drops documents that share runs of words with items of the recipe's benchmarks."""

    name: ClassVar[str] = "decontaminate"
    independent: ClassVar[bool] = True
    Config: ClassVar[type[Options]] = DecontaminationOptions
    reads_benchmarks: ClassVar[bool] = True

    def __init__(self, config: Options | None = None) -> None:
        super().__init__(config)
        # only where it needs one: documents wait on the disk for a survey
        self.surveys = int(self.config.most_documents is not None)  # type: ignore[misc]
        self._items: list[Item] = []
        self._vocabulary: dict[str, int] = {}
        self._indexes = [NgramIndex(self.config.words), NgramIndex(self.config.short_words)]
        self._texts: list[tuple[int, int]] = []
        """(number of its item, runs to look for) of every text."""
        self._unchecked: list[str] = []
        self._found: dict[int, tuple[int, str]] = {}
        """(documents that hold it, the first of them) of every item that was found."""
        self._documents: Counter[str] = Counter()

    def prepare(self, stage: Stage, benchmarks: Sequence[Benchmark]) -> None:
        """Read the items of all benchmarks. Raises MissingError or DataError when their data cannot be had."""
        for benchmark in benchmarks:
            if benchmark.evaluator != EVALUATOR:
                self._unchecked.append(benchmark.name)
                continue
            self.add_items(benchmark_items(benchmark, stage.scratch / "benchmark", self.config.short_words))
        if not benchmarks:
            stage.event("warning", message="decontaminate: the recipe has no benchmark whose items could be looked for")
        if self._unchecked:
            named = ", ".join(self._unchecked)
            stage.event("warning", message=f"decontaminate: items of {named} cannot be read and are not looked for")

    def add_items(self, items: Sequence[Item]) -> None:
        """Look for the items of one task."""
        wording = self._wording(items)
        for item in items:
            self._items.append(item)
            for text, index in self._searched(item):
                runs = index.add(len(self._texts), self._ids_of_item(text), wording)
                self._texts.append((len(self._items) - 1, runs))

    def _searched(self, item: Item) -> list[tuple[Sequence[str], NgramIndex]]:
        """The texts by which an item is looked for: the long ones, or, where it has none, the short ones.

        A choice of nine words beside a question of thirty is a phrase that anybody may use.
        """
        for index in self._indexes:
            if texts := [text for text in item.texts if len(text) >= index.words]:
                return [(text, index) for text in texts]
        return []

    def _ids_of_item(self, text: Sequence[str]) -> np.ndarray:
        import numpy as np

        known = self._vocabulary
        return np.array([known.setdefault(word, len(known) + 1) for word in text], np.uint64)

    def _wording(self, items: Sequence[Item]) -> set[int]:
        """Runs of words that too many different texts of a task share."""
        texts = {(tuple(text), index.words) for item in items for text, index in self._searched(item)}
        counts: Counter[int] = Counter()
        for text, words in texts:
            counts.update(set(ngram_hashes(self._ids_of_item(text), words).tolist()))
        most = max(MANY_TEXTS - 1, self.config.wording * len(texts))
        return {value for value, count in counts.items() if count > most}

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        """Keep the documents that hold no item."""
        keep: list[bool] = []
        dropped: Counter[str] = Counter()
        columns = (batch[name].to_pylist() for name in ("text", "source", "id"))
        for text, source, name in zip(*columns, strict=True):
            found = self._items_in(text)
            for item in found:
                documents, first = self._found.get(item, (0, f"{source}:{name}"))
                self._found[item] = documents + 1, first
            stays = not found or not self.config.drop
            keep.append(stays)
            if found:
                self._documents[source] += 1
            if not stays:
                dropped[f"holds items of {self._items[min(found)].task}"] += 1
        return keep_rows(batch, keep), dropped

    def survey(self, batch: pa.RecordBatch, number: int) -> None:
        """Count in how many documents each run of an item stands."""
        for text in batch["text"].to_pylist():
            ids = self._ids_of_document(text)
            for index in self._indexes:
                index.count(ids)

    def _ids_of_document(self, text: str) -> np.ndarray:
        import numpy as np

        words, known = folded_words(text), self._vocabulary
        return np.fromiter((known.get(word, 0) for word in words), np.uint64, len(words))

    def _items_in(self, text: str) -> set[int]:
        ids = self._ids_of_document(text)
        found: Counter[int] = sum((index.find(ids, self.config.most_documents) for index in self._indexes), Counter())
        texts = ((self._texts[text], runs) for text, runs in found.items())
        return {item for (item, whole), runs in texts if runs >= self.config.share * whole}

    def notes(self) -> tuple[dict[int, tuple[int, str]], Counter[str]]:
        """What was found."""
        return self._found, self._documents

    def add_notes(self, notes: tuple[dict[int, tuple[int, str]], Counter[str]]) -> None:
        """Add what was found in later documents."""
        found, documents = notes
        for item, (number, first) in found.items():
            before, earliest = self._found.get(item, (0, first))
            self._found[item] = before + number, earliest
        self._documents.update(documents)

    def finish(self, out: Path) -> dict[str, Any]:
        """Write contaminated.jsonl: a line for each item that was found, with where.

        Facts: numbers by task (searchable: items long enough to be looked for), documents found by source, benchmarks
        that could not be read, runs of words passed over as phrases, and whether the documents were dropped.
        """
        with (out / FILE).open("a", encoding="utf-8") as lines:  # the step may stand in the recipe twice
            for number, (documents, first) in sorted(self._found.items()):
                item = self._items[number]
                line = {"task": item.task, "item": item.name, "documents": documents, "first": first}
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
        searchable = {item for item, runs in self._texts if runs}
        tasks: dict[str, dict[str, int]] = {}
        for number, item in enumerate(self._items):
            counts = tasks.setdefault(item.task, {"items": 0, "searchable": 0, "found": 0})
            counts["items"] += 1
            counts["searchable"] += number in searchable
            counts["found"] += number in self._found
        stated: dict[str, Any] = {"tasks": tasks, "documents": dict(self._documents), "unchecked": self._unchecked}
        if (most := self.config.most_documents) is not None:
            stated["phrases"] = sum(index.phrases(most) for index in self._indexes)
        return {**stated, "dropped": self.config.drop}


@dataclass(frozen=True)
class FoundItems:
    """What was found of one benchmark. items: by name.  dropped: whether all documents that hold them were dropped."""

    items: frozenset[str]
    dropped: bool


def found_items(corpora: Iterable[Corpus]) -> Mapping[str, FoundItems]:
    """The items that were found in the text of any corpus, by benchmark. Benchmarks not looked for are not in it."""
    found: dict[str, FoundItems] = {}
    nothing = FoundItems(frozenset(), True)
    for corpus in corpora:
        for step, stated in corpus.facts.get("steps", {}).items():
            for task in stated["tasks"] if step.split()[0] == Decontamination.name else ():
                before = found.get(task, nothing)
                found[task] = FoundItems(before.items, before.dropped and stated["dropped"])
        items: dict[str, set[str]] = defaultdict(set)
        for file in corpus.files(FILE):
            for line in file.read_text(encoding="utf-8").split("\n")[:-1]:
                one = json.loads(line)
                items[one["task"]].add(one["item"])
        for task, names in items.items():
            found[task] = FoundItems(found[task].items | names, found[task].dropped)
    return found
