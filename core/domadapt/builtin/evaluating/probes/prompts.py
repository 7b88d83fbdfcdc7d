"""The prompts of the probes: a JSONL file, one prompt a line with what its answer is checked for.

Half of those shipped are in the words of the built-in models' training (short facts, repetition), so that a run
without any download shows something; the others ask what any instruction-tuned model can do. All are harmless,
and each asks for a short answer, so that stopping in time can be expected of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from domadapt.builtin.evaluating.probes.languages import LANGUAGES
from domadapt.errors import DataError, MissingError

SHIPPED = Path(__file__).with_name("prompts.jsonl")

Format = Literal["json", "list", "number", "one_of", "one_word", "words", "yes_no"]


class Prompt(BaseModel):
    """One prompt.

    item: its name.  language: ISO 639-1 code of the language it is written and to be answered in.
    format: the form it asks for, None for free text; `wanted` are the words, options or keys of that form and
    `count` the entries of a list.  most_words: what an answer of the asked length needs at most, None where no
    length is asked for.  continues: plain text to go on with, shown in the report and checked for nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    item: str = Field(min_length=1)
    prompt: str = Field(min_length=1)
    language: str = "en"
    format: Format | None = None
    wanted: tuple[str, ...] = ()
    count: int = Field(0, ge=0)
    most_words: int | None = Field(None, ge=1)
    continues: bool = False

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.language not in LANGUAGES:
            raise ValueError(f"language {self.language!r} is not one of {', '.join(LANGUAGES)}")
        if self.format in ("json", "one_of", "words", "yes_no") and not self.wanted:
            raise ValueError(f"format {self.format} needs 'wanted'")
        if self.format == "list" and not self.count:
            raise ValueError("format list needs 'count'")
        if self.continues and (self.format or self.most_words):
            raise ValueError("a text to continue asks for no format and no length")
        return self


def read_prompts(own: Path | None) -> list[Prompt]:
    """The shipped prompts, then those of a file, in their order.

    Raises MissingError when the file is not there, DataError for a line that is no prompt or repeats an item.
    """
    prompts = _read(SHIPPED)
    if own is not None:
        prompts += _read(own)
    seen: set[str] = set()
    for prompt in prompts:
        if prompt.item in seen:
            raise DataError(f"{own or SHIPPED}: item {prompt.item!r} is there already; give it another name")
        seen.add(prompt.item)
    return prompts


def _read(file: Path) -> list[Prompt]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise MissingError(f"probes: no file of prompts at {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"probes: {file} cannot be read ({error})") from error
    prompts = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            prompts.append(Prompt.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(p) for p in first["loc"])
            raise DataError(f"{file}:{number}: {place + ': ' if place else ''}{first['msg']}") from None
    return prompts
