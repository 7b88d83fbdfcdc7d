"""What is wrong with a recipe: each problem with its place, all of them in one error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from domadapt.errors import RecipeError
from domadapt.recipe.tree import Document, Origin

_WIDEST_LINE = 140
MOST_PROBLEMS = 100
"""More mistakes than these are one: it is the wrong file."""
SECRET = re.compile(r"\bhf_[A-Za-z0-9]{20,}|\bsk-[A-Za-z0-9_-]{20,}|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")
"""Access tokens of model hubs and passwords in addresses: they must never reach a run's folder or a terminal."""


@dataclass(frozen=True)
class Problem:
    """One mistake: where it stands and one sentence on it."""

    origin: Origin
    message: str


class UnreadableRecipeError(RecipeError):
    """A file that cannot be read as YAML at all; nothing else can be said about it."""


def recipe_error(label: str, problems: Iterable[Problem], fallback: Document | None = None) -> RecipeError:
    """One error for all problems, in the order of the file, overrides last.

    fallback: the document to name where a problem is the lack of something no layer says.
    """
    unique = list(dict.fromkeys(_placed(problem, fallback) for problem in problems))
    documents = list(dict.fromkeys(p.origin.document for p in unique))

    def place(problem: Problem) -> tuple[bool, int, int, int]:
        origin = problem.origin
        return origin.document is None, documents.index(origin.document), origin.line, origin.column

    unique.sort(key=place)
    count = "1 problem" if len(unique) == 1 else f"{len(unique)} problems"
    if len(unique) > MOST_PROBLEMS:
        count = f"more than {MOST_PROBLEMS} problems"
    texts = [_text(problem) for problem in unique[:MOST_PROBLEMS]]
    return RecipeError("\n".join([f"{label}: {count}, nothing was run.", "", *texts]))


def _placed(problem: Problem, fallback: Document | None) -> Problem:
    if problem.origin.document is not None or problem.origin.written or fallback is None:
        return problem
    return Problem(Origin("recipe", fallback, 1, 1), problem.message)


def _text(problem: Problem) -> str:
    origin = problem.origin
    text = f"  {_safe(origin.place)}  {_safe(problem.message)}"
    if origin.document is not None and (line := origin.document.line(origin.line).rstrip()):
        text += f"\n  {origin.line:>5} | {shown(line)}"
    return text


def shown(text: str) -> str:
    """A text fit for a terminal: one line, no control characters, no secrets, of bounded length."""
    text = _safe(text)
    return text if len(text) <= _WIDEST_LINE else text[: _WIDEST_LINE - 3] + "..."


def _safe(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in SECRET.sub("...", text))


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that was probably meant, or None."""
    import difflib

    def folded(text: str) -> str:
        return text.lower().replace("-", "_")

    by_folded = {folded(k): k for k in known}
    close = difflib.get_close_matches(folded(name), list(by_folded), n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None
