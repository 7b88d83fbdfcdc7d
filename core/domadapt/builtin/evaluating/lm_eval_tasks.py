"""Benchmarks through lm-eval 0.4.13: a benchmark is a task YAML with local data.

Its task index (6 to 12 s) is never built: an override that includes the YAML and makes its data paths
absolute is all the task manager sees. The model is passed in live, loaded once for all tasks.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from domadapt.artifacts import Checkpoint, ScoreRow
from domadapt.builtin.evaluating.models import context_length, loaded
from domadapt.builtin.evaluating.samples import Samples, write_samples
from domadapt.components import Benchmark, EvalRequest, Evaluator, Stage
from domadapt.errors import DataError, StageError
from domadapt.pipeline.benchmarks import data_files, read_task

LONGEST = 4096


class LmEval(Evaluator):
    """Scores a benchmark by lm-eval, zero-shot as the benchmark's YAML says."""

    name: ClassVar[str] = "lm_eval"

    def evaluate(self, model: Checkpoint, request: EvalRequest, out: Path, stage: Stage) -> list[ScoreRow]:
        """One row for each metric that is a mean over items."""
        if request.benchmark is None:
            raise StageError(f"{stage.name}: no benchmark to run")
        stage.scratch.mkdir(parents=True, exist_ok=True)
        task = write_override(request.benchmark, stage.scratch)
        result = run_task(task, stage.scratch, model, request, request.benchmark)
        samples = list(_samples(result, task))
        if not samples:
            raise StageError(f"{stage.name}: benchmark {task} has no metric that is a mean over its items")
        write_samples(samples, out)
        protocol = f"lm-eval {_version()}, {task} version {result['versions'].get(task)}, zero-shot"
        return [s.row(request, protocol) for s in samples]


def write_override(benchmark: Benchmark, folder: Path) -> str:
    """Write a YAML into `folder` that is the benchmark's with absolute data paths; return the task's name.

    Raises DataError when the benchmark's YAML or one of its data files is missing.
    """
    task, files = read_task(benchmark), data_files(benchmark)
    include = str((benchmark.path / f"{benchmark.name}.yaml").resolve())
    override: dict[str, Any] = {"include": include, "task": task["task"]}
    if files:
        override["dataset_kwargs"] = {**task["dataset_kwargs"], "data_files": files}
    (folder / f"{benchmark.name}.yaml").write_text(yaml.safe_dump(override))
    return str(task["task"])


def run_task(task: str, folder: Path, model: Checkpoint, request: EvalRequest, benchmark: Benchmark) -> dict[str, Any]:
    """lm-eval's own result of one task, samples included."""
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ.setdefault(variable, "1")
    import datasets
    import lm_eval.evaluator
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    network, tokenizer = loaded(model)
    length = context_length(network, LONGEST)
    datasets.disable_progress_bars()
    # it asks git for the commit of the working folder, which is not ours to ask and prints "fatal" elsewhere, and
    # torch for a report on the machine, which runs `pip list` (0.5 s a call) and is used by nobody
    lm_eval.evaluator.get_git_commit_hash = lambda: None
    lm_eval.evaluator.add_env_info = lambda results: None
    with _quiet(), _data_errors(benchmark):
        result = lm_eval.evaluator.simple_evaluate(
            model=HFLM(
                pretrained=network,
                tokenizer=tokenizer,
                batch_size=max(1, request.batch_tokens // length),
                max_length=length,
            ),
            tasks=[task],
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
            limit=request.limit,
            bootstrap_iters=0,
            log_samples=True,
        )
    return result  # type: ignore[no-any-return]


@contextlib.contextmanager
def _data_errors(benchmark: Benchmark) -> Iterator[None]:
    """A damaged line in a data file is the file's fault."""
    import datasets

    try:
        yield
    except datasets.exceptions.DatasetGenerationError as error:
        files = ", ".join(data_files(benchmark).values())
        raise DataError(f"benchmark {benchmark.name}: {files} cannot be read ({error.__cause__})") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """lm-eval's bars and remarks do not belong into our output; its bars ignore TQDM_DISABLE."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(nowhere):
        yield


def _samples(result: Mapping[str, Any], task: str) -> Iterator[Samples]:
    # one sample an item and filter; lm-eval may have sorted them by request
    logged = sorted(result["samples"][task], key=lambda s: (s.get("filter", ""), s["doc_id"]))
    better = result["higher_is_better"][task]
    for metric, higher in better.items():
        rows = [s for s in logged if isinstance(s.get(metric), int | float)]
        scores = [v for name, v in result["results"][task].items() if name.split(",")[0] == metric]
        values = [float(s[metric]) for s in rows]
        if not rows or not scores or abs(sum(values) / len(values) - scores[0]) > 1e-9:
            continue  # not a mean over items: a corpus-level metric has no samples to pair
        items = [str(s["doc"].get("item", s["doc_id"])) for s in rows]
        clusters = [str(s["doc"].get("cluster", i)) for s, i in zip(rows, items, strict=True)]
        yield Samples(metric, "share", bool(higher), items, clusters, values, [1.0] * len(rows))


def _version() -> str:
    from importlib.metadata import version

    return version("lm_eval")
