"""The `probes` evaluator: what a model does with a prompt, apart from whether it is right.

Continual pre-training takes more from a chat model than knowledge: it stops ending its answers, answers in the
language of the training text, echoes, or forgets the asked form. Two dozen prompts and 64 tokens each show that for
less than a benchmark costs; what they cannot show is a small change, the intervals say so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from domadapt.artifacts import Checkpoint, ScoreRow
from domadapt.builtin.evaluating.models import loaded
from domadapt.builtin.evaluating.probes.answering import Answer, answers, encode
from domadapt.builtin.evaluating.probes.checks import count_words, is_answer, is_refusal, keeps_format
from domadapt.builtin.evaluating.probes.languages import slips_from
from domadapt.builtin.evaluating.probes.prompts import SHIPPED, Prompt, read_prompts
from domadapt.builtin.evaluating.samples import Samples, write_samples
from domadapt.components import EvalRequest, Evaluator, LiveModel, Options, Stage
from domadapt.pipeline.fingerprints import digest_files


class ProbesOptions(Options):
    """Options of `probes`."""

    prompts: str | None = None
    """A JSONL file with further prompts, such as those of a domain. An object a line: item, prompt, and what to
    check: language (en), format (json, list, number, one_of, one_word, words, yes_no) with wanted or count,
    most_words; or continues (true) for a text to go on with."""
    max_new_tokens: int = Field(64, ge=1)
    """Longest answer in tokens. The prompts ask for short ones, so who is cut off here does not end."""


class Probes(Evaluator):
    """Greedy answers to fixed prompts: whether they answer, end, keep the format and the language."""

    name: ClassVar[str] = "probes"
    Config: ClassVar[type[Options]] = ProbesOptions

    def requirements(self) -> list[str]:
        """A file of prompts that is not there is named before anything runs."""
        own = self._own
        return [] if own is None or own.is_file() else [f"probes: no file of prompts at {own}"]

    def fingerprint(self) -> str:
        """A digest of all prompts and their checks, for the key of the stage."""
        return digest_files([SHIPPED, *([self._own] if self._own else [])])

    @property
    def _own(self) -> Path | None:
        return None if self.config.prompts is None else Path(self.config.prompts).expanduser()

    def evaluate(self, model: Checkpoint | LiveModel, request: EvalRequest, out: Path, stage: Stage) -> list[ScoreRow]:
        """A row for each metric; `answers.jsonl` has every answer, those to plain texts as well.

        Prompts go through the chat template of every model that has one, whatever `request.chat_template`
        says: the probes show each model as it is used.
        """
        network, tokenizer = loaded(model)
        chat = bool(getattr(tokenizer, "chat_template", None))
        prompts = read_prompts(self._own)[: request.limit]
        ids = [encode(tokenizer, p.prompt, chat=chat and not p.continues, before=request.prompt) for p in prompts]
        said = answers(
            network,
            tokenizer,
            ids,
            most=self.config.max_new_tokens,
            batch_tokens=request.batch_tokens,
            stage=stage,
        )
        _write_answers(prompts, said, out)
        samples = [s for s in (_samples(metric, prompts, said) for metric in METRICS) if s.items]
        write_samples(samples, out)
        most = self.config.max_new_tokens
        protocol = f"greedy, at most {most} tokens, chat template where a model has one, else plain text"
        return [s.row(request, f"{METRICS_BY_NAME[s.metric].told}; {protocol}") for s in samples]


@dataclass(frozen=True)
class Metric:
    """What is measured on which prompts. told: for the protocol, what the number says."""

    name: str
    unit: str
    higher_is_better: bool
    told: str
    applies: Callable[[Prompt], bool]
    value: Callable[[Prompt, Answer], float]


METRICS: tuple[Metric, ...] = (
    Metric(
        "answers",
        "share",
        True,
        "answers that have a word and do not repeat the prompt",
        lambda p: True,
        lambda p, a: is_answer(p.prompt, a.text),
    ),
    Metric("ends", "share", True, "answers that stop before the limit", lambda p: True, lambda p, a: a.ended),
    Metric(
        "keeps_format",
        "share",
        True,
        "answers in the form asked for, right or wrong",
        lambda p: p.format is not None,
        lambda p, a: keeps_format(p, a.text),
    ),
    Metric(
        "language",
        "share",
        True,
        "answers in which no other language than the prompt's is found",
        lambda p: True,
        lambda p, a: bool(a.text.strip()) and not slips_from(p.language, a.text),
    ),
    # one-sided by construction: being shorter than asked is no gain, so brevity cannot hide what was lost
    Metric(
        "verbosity",
        "words",
        False,
        "words beyond those the prompt leaves room for",
        lambda p: p.most_words is not None,
        lambda p, a: max(0, count_words(a.text) - (p.most_words or 0)),
    ),
    Metric("refuses", "share", False, "refusals of harmless prompts", lambda p: True, lambda p, a: is_refusal(a.text)),
)
METRICS_BY_NAME = {metric.name: metric for metric in METRICS}


def _samples(metric: Metric, prompts: Sequence[Prompt], said: Sequence[Answer]) -> Samples:
    """The items a metric applies to; texts to continue are only shown."""
    pairs = [(p, a) for p, a in zip(prompts, said, strict=True) if not p.continues and metric.applies(p)]
    items = [p.item for p, _ in pairs]
    values = [float(metric.value(p, a)) for p, a in pairs]
    return Samples(metric.name, metric.unit, metric.higher_is_better, items, items, values, [1.0] * len(items))


def _write_answers(prompts: Sequence[Prompt], said: Sequence[Answer], out: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"item": p.item, "prompt": p.prompt, "answer": a.text, "ended": a.ended}
        for p, a in zip(prompts, said, strict=True)
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (out / "answers.jsonl").write_text(text, encoding="utf-8")
