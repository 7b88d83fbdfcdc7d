"""The evaluation of bench/eval.py as adapt does it: all models in one process, through its evaluators.

    python bench/eval_ours.py FOLDER OUTPUT

FOLDER is what bench/eval.py made. OUTPUT gets results.json: scores, likelihoods, and how much of the time of
`evaluate` the models' own code ran, by hooks around the network's body and its output projection. Starting Python,
imports and reading weights are outside of that share; the clock of bench/eval.py has them.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import datasets  # noqa: F401 - with the next line: what the evaluators import when they are first used
import lm_eval.tasks  # noqa: F401
import pyarrow.parquet as pq

from domadapt.artifacts import Checkpoint, Corpus
from domadapt.builtin.evaluating.lm_eval_tasks import LmEval
from domadapt.builtin.evaluating.models import loaded
from domadapt.builtin.evaluating.perplexity import Perplexity
from domadapt.builtin.evaluating.scoring.lm import FastLM
from domadapt.components import Benchmark, EvalRequest, Stage
from domadapt.recipe.schema import EvalRecipe


class Clock:
    """Seconds inside a network's body and output projection."""

    def __init__(self, network: Any) -> None:
        self.seconds, self._started = 0.0, 0.0
        for module in (network.base_model, network.get_output_embeddings()):
            module.register_forward_pre_hook(self._start)
            module.register_forward_hook(self._stop)

    def _start(self, module: Any, arguments: Any) -> None:
        self._started = time.perf_counter()

    def _stop(self, module: Any, arguments: Any, output: Any) -> None:
        self.seconds += time.perf_counter() - self._started


class KeptLM(FastLM):
    """Remembers the likelihoods, which the evaluator turns into scores."""

    kept: list[float]

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        answers = super().loglikelihood(requests, disable_tqdm)
        KeptLM.kept = [nats for nats, _ in answers]
        return answers


def main() -> None:
    """Score every model on every task."""
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    sys.modules["domadapt.builtin.evaluating.scoring.lm"].FastLM = KeptLM  # type: ignore[attr-defined]
    results: dict[str, Any] = {"models": {}}
    evaluating = forward = 0.0
    for model in map(Checkpoint, sorted((folder / "models").iterdir())):
        clock = Clock(loaded(model)[0])
        started = time.perf_counter()
        scores: dict[str, Any] = {}
        for row in score(LmEval(), folder, out, model, "choice"):
            scores[row.metric] = row.value
        for task in ("first", "second"):
            (row,) = score(Perplexity(), folder, out, model, task)
            bits = pq.read_table(out / "samples.parquet")["value"].to_pylist()
            scores[task] = {"bits_per_byte": row.value, "nats": [-value * math.log(2) for value in bits]}
        evaluating += time.perf_counter() - started
        forward += clock.seconds
        results["models"][model.path.name] = {**scores, "choice": KeptLM.kept}
    results |= {"evaluate_seconds": evaluating, "forward_seconds": forward}
    (out / "results.json").write_text(json.dumps(results))


def score(evaluator: LmEval | Perplexity, folder: Path, out: Path, model: Checkpoint, task: str) -> list[Any]:
    """Rows of one model on one task; its samples are in `out`."""
    benchmark = Benchmark(task, task, folder / "tasks") if isinstance(evaluator, LmEval) else None
    corpus = None if benchmark else Corpus(folder / "corpora" / task)
    request = EvalRequest(task, "domain", benchmark, corpus, None, EvalRecipe().batch_tokens)
    stage = Stage(f"eval.{model.path.name}.{task}", "0" * 16, 0, evaluator.name, lambda *_: {}, out / "scratch")
    return evaluator.evaluate(model, request, out, stage)


if __name__ == "__main__":
    main()
