"""Every hook is documented with its exact signature, its example works, and a test shows what it does.

Each `test_hook_NAME` takes the example of that hook in docs/hooks.md as its plugin.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from domadapt import components, errors, hookimpl, hookspecs
from domadapt.artifacts import Artifact, Checkpoint, Corpus, TokenStore, document_schema
from domadapt_registry import Registry

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")
HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("adapt_"))

Example = Callable[[str], ModuleType]


def signature(hook: str) -> str:
    """As an author writes it, without the quotes of postponed annotations."""
    return hook + str(inspect.signature(getattr(hookspecs, hook))).replace("'", "")


def section(hook: str) -> str:
    """A hook's section of the page, without its heading."""
    sections = {part.partition("\n")[0]: part.partition("\n")[2] for part in PAGE.split("\n## ")}
    return sections[f"`{signature(hook)}`"]


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Example]:
    """Imports the example of a hook's section, as a file of its own."""
    imported = []

    def load(hook: str) -> ModuleType:
        (code,) = re.findall(r"```python\n(.*?)```", section(hook), re.DOTALL)
        name = f"documented_{hook}"
        file = tmp_path / f"{name}.py"
        file.write_text(code, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        imported.append(name)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in imported:
        del sys.modules[name]


def registry(*plugins: object) -> Registry:
    """A registry of these plugins alone; the first takes the place of adapt's own."""
    named = [(f"p{number}", plugin) for number, plugin in enumerate(plugins)]
    found = Registry.discover(hookspecs, builtin=named, entry_points=[], names=vars(components))
    assert [(row.state, row.reason) for row in found.rows] == [("ok", "")] * len(plugins)
    return found


def stage(**settings: Any) -> components.Stage:
    def work(stage: components.Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        raise NotImplementedError

    scratch = Path("no scratch in these tests")
    return components.Stage("merge.x", "0" * 16, seed=0, component="x", work=work, scratch=scratch, **settings)


def documents(*texts: str) -> Any:
    import pyarrow as pa

    common = {"source": "s", "license": "", "meta": "{}"}
    rows = [{"id": str(n), "text": text, "group": f"g{n}", **common} for n, text in enumerate(texts)]
    return pa.RecordBatch.from_pylist(rows, schema=document_schema())


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_documented_with_its_exact_signature(hook: str) -> None:
    assert f"\n## `{signature(hook)}`\n" in PAGE


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hooks_section_says_when_it_is_called(hook: str) -> None:
    assert section(hook).strip().startswith("Called ")


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hooks_specification_has_a_docstring(hook: str) -> None:
    assert inspect.getdoc(getattr(hookspecs, hook))


def test_the_page_describes_no_hook_that_does_not_exist() -> None:
    described = re.findall(r"^## `(\w+)\(", PAGE, re.MULTILINE)
    assert sorted(described) == HOOKS


def test_the_page_names_every_state_a_plugin_can_be_in() -> None:
    from typing import get_args

    from domadapt_registry import State

    (rows,) = re.findall(r"^\| state .*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    table = ["state", *re.findall(r"^\| (\w[\w ]*?) +\|", rows, re.MULTILINE)]
    assert table == ["state", *get_args(State)]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_has_a_test_of_its_own(hook: str) -> None:
    tests = "\n".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "tests").rglob("test_*.py")))
    assert re.search(rf"^def test_hook_{hook}(_|\()", tests, re.MULTILINE)


def test_hook_adapt_register_domains_gives_a_domain_with_its_recipes(example: Example, tmp_path: Path) -> None:
    pack = registry(example("adapt_register_domains")).find("domain", "legal")
    assert pack == components.DomainPack("legal", "Court decisions", tmp_path / "recipes")


def test_hook_adapt_register_sources_gives_a_source_that_reads_documents(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPT_HOME", str(tmp_path / "cache"))
    source_class = registry(example("adapt_register_sources")).find("source", "legal.notes")
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text("The appeal is dismissed.")
    (folder / "b.txt").write_text("  \n")
    source = source_class(source_class.Config(folder=folder))
    rejected: list[tuple[str, str]] = []
    (batch,) = source.read(lambda reason, where: rejected.append((reason, where)))
    assert batch.schema == document_schema()
    assert batch["text"].to_pylist() == ["The appeal is dismissed."]
    assert rejected == [("no text", "b.txt")]
    before = source.fingerprint()
    assert before == source.fingerprint()
    (folder / "a.txt").write_text("The appeal is allowed.")
    assert source.fingerprint() != before


def test_hook_adapt_register_cleaners_gives_a_step_that_accounts_for_every_document(example: Example) -> None:
    step_class = registry(example("adapt_register_cleaners")).find("cleaner", "legal.short")
    kept, dropped = step_class(step_class.Config(min_chars=5)).clean(documents("short", "tiny", "long enough"))
    assert kept["text"].to_pylist() == ["short", "long enough"]
    assert dropped == {"short": 1}
    assert kept.schema == document_schema()


def test_hook_adapt_register_mixers_gives_a_mixer_that_orders_windows(example: Example) -> None:
    mixer = registry(example("adapt_register_mixers")).find("mixer", "in_order")()
    request = components.MixRequest({"domain": 2, "general": 3}, num_samples=4, replay=0.5, max_epochs=1, seed=0)
    order = mixer.order(request)
    assert order.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert order.dtype == "int64"
    with pytest.raises(errors.DataError, match="6 windows wanted, there are 5"):
        mixer.order(components.MixRequest({"domain": 2, "general": 3}, 6, replay=0.5, max_epochs=1, seed=0))


def test_hook_adapt_register_trackers_gives_a_tracker_that_sees_steps_and_ends(
    example: Example, tmp_path: Path
) -> None:
    tracker = registry(example("adapt_register_trackers")).find("tracker", "logfile")()
    training = stage(run=tmp_path)
    tracker.begin(training)
    tracker.event(training, "progress", {"done": 3, "total": 9, "unit": "steps", "loss": 2.5})
    tracker.end(training, tmp_path)
    assert (tmp_path / "losses.txt").read_text() == "merge.x: step 3 of 9: 2.5 nats\nmerge.x: done\n"


def test_hook_adapt_register_backends_gives_a_backend_that_leaves_a_folder(example: Example, tmp_path: Path) -> None:
    backend = registry(example("adapt_register_backends")).find("backend", "untrained")()
    start, out = tmp_path / "start", tmp_path / "out"
    start.mkdir()
    out.mkdir()
    (start / "config.json").write_text("{}")
    (start / "artifact.json").write_text("{}")
    settings: Any = None
    request = components.TrainRequest(
        Checkpoint(start), TokenStore(tmp_path), settings, num_steps=3, samples_per_step=1
    )
    told: list[tuple[str, Mapping[str, Any]]] = []
    facts = backend.train(request, out, stage(emit=lambda kind, data: told.append((kind, data))))
    assert facts == {"tokens_seen": 0}
    assert sorted(file.name for file in out.iterdir()) == ["config.json", "training"]
    assert told == [("progress", {"done": 3, "total": 3, "unit": "steps"})]


def test_hook_adapt_register_mergers_gives_a_method_that_merges(example: Example, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    merger = registry(example("adapt_register_mergers")).find("merger", "average")()
    parents = []
    for name, value, weight in (("instruct", 1.0, 0.25), ("cpt", 3.0, 0.75)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        save_file({"w": torch.full((2, 2), value, dtype=torch.bfloat16)}, folder / "model.safetensors")
        parents.append(components.WeightedCheckpoint(Checkpoint(folder), weight))
    out = tmp_path / "out"
    out.mkdir()
    assert merger.merge(parents[0].checkpoint, parents, out, stage()) == {"num_parameters": 4}
    merged = load_file(out / "model.safetensors")["w"]
    assert torch.equal(merged, torch.full((2, 2), 2.5, dtype=torch.bfloat16))
    assert (out / "config.json").is_file()


def test_hook_adapt_register_evaluators_gives_scores_with_samples(example: Example, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from tokenizers import Tokenizer, models, pre_tokenizers

    evaluator = registry(example("adapt_register_evaluators")).find("evaluator", "fertility")()
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "report").mkdir()
    pq.write_table(pa.Table.from_batches([documents("ab cd", "a b c d")]), tmp_path / "report" / "0.parquet")
    (tmp_path / "artifact.json").write_text('{"files": {"report/0.parquet": {}}, "facts": {}}')
    model = Checkpoint(tmp_path)
    corpus = Corpus(tmp_path)
    request = components.EvalRequest("t", "domain", benchmark=None, corpus=corpus, limit=None, batch_tokens=100)
    (row,) = evaluator.evaluate(model, request, tmp_path, stage())
    assert (row.value, row.n, row.unit) == (12 / 6, 2, "bytes")  # 5 + 7 bytes, 2 + 4 tokens
    assert row.low < row.value < row.high
    samples = pq.read_table(tmp_path / "samples.parquet")
    assert samples.column_names == ["metric", "item", "cluster", "value", "weight"]
    assert samples["weight"].to_pylist() == [2.0, 4.0]
    live = components.LiveModel(None, SimpleNamespace(backend_tokenizer=tokenizer))
    assert evaluator.evaluate(live, request, tmp_path, stage()) == [row]


def test_hook_adapt_register_benchmarks_gives_a_task_by_name(example: Example, tmp_path: Path) -> None:
    benchmark = registry(example("adapt_register_benchmarks")).find("benchmark", "legal.holdings")
    assert benchmark.path == tmp_path / "benchmarks"
    assert benchmark.version == "1"


def test_hook_adapt_resolve_model_asks_until_one_answers(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_SHELF", str(tmp_path))
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "config.json").write_text("{}")
    own = SimpleNamespace(adapt_resolve_model=hookimpl(lambda ref, cache: cache / ref))
    hook = registry(own, example("adapt_resolve_model")).hook
    assert hook.adapt_resolve_model(ref="shelf:small", cache=tmp_path) == tmp_path / "small"
    assert hook.adapt_resolve_model(ref="other", cache=tmp_path) == tmp_path / "other"
    with pytest.raises(errors.MissingError, match=r"model 'shelf:large': .* has no config\.json"):
        hook.adapt_resolve_model(ref="shelf:large", cache=tmp_path)


def test_hook_adapt_resolve_model_is_none_when_nobody_knows(example: Example, tmp_path: Path) -> None:
    hook = registry(example("adapt_resolve_model")).hook
    assert hook.adapt_resolve_model(ref="nobody:knows", cache=tmp_path) is None


def test_hook_adapt_run_stage_wraps_the_work_of_the_core(example: Example, tmp_path: Path) -> None:
    def work(stage: components.Stage, inputs: Mapping[str, Artifact], out: Path) -> bool:
        (out / "weights.bin").write_bytes(b"12345")
        return True

    told: list[tuple[str, Mapping[str, Any]]] = []
    own = SimpleNamespace(adapt_run_stage=hookimpl(work))
    hook = registry(own, example("adapt_run_stage")).hook
    running = stage(emit=lambda kind, data: told.append((kind, data)))
    out = tmp_path / "out"
    out.mkdir()
    assert hook.adapt_run_stage(stage=running, inputs={}, out=out) is True
    ((kind, data),) = told
    assert (kind, data["num_bytes"]) == ("measured", 5)
    assert data["seconds"] >= 0


def test_hook_adapt_run_stage_lets_a_failure_through(example: Example, tmp_path: Path) -> None:
    def work(stage: components.Stage) -> bool:
        raise errors.StageError("loss is not finite at step 3")

    hook = registry(SimpleNamespace(adapt_run_stage=hookimpl(work)), example("adapt_run_stage")).hook
    with pytest.raises(errors.StageError, match="step 3"):
        hook.adapt_run_stage(stage=stage(), inputs={}, out=tmp_path)


def test_hook_adapt_run_stage_may_take_the_place_of_the_core(tmp_path: Path) -> None:
    def never(stage: components.Stage) -> bool:
        raise AssertionError("the core must not be asked")

    own = SimpleNamespace(adapt_run_stage=hookimpl(never))
    other = SimpleNamespace(adapt_run_stage=hookimpl(lambda out: True))
    assert registry(own, other).hook.adapt_run_stage(stage=stage(), inputs={}, out=tmp_path) is True
