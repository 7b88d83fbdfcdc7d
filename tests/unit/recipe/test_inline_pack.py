"""A recipe with a section `pack` is a domain pack: nothing is installed, and mistakes have their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from domadapt.errors import RecipeError
from domadapt.recipe.check import resolve
from domadapt.recipe.load import load_recipe
from domadapt.recipe.lock import lock_text
from domadapt_registry import Registry

TASK = """\
task: fern_orders
dataset_path: json
dataset_kwargs: {data_files: {test: fern_orders.jsonl}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{text}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
"""
PACK = """\
version: 1
domain: ferns
pack: {title: Ferns, benchmarks: [tasks/fern_orders.yaml]}
model: {base: ./base}
corpus: {domain: [{source: sample}], general: [{source: sample}]}
mix: {tokens: 100M}
eval: {domain: [fern_orders], perplexity: false}
"""


@pytest.fixture
def pack_file(tmp_path: Path) -> Path:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "fern_orders.yaml").write_text(TASK)
    (tmp_path / "tasks" / "fern_orders.jsonl").write_text('{"text": "a", "choices": [" b", " c"], "answer": 0}\n')
    file = tmp_path / "ferns.yaml"
    file.write_text(PACK)
    return file


def test_a_file_given_as_domain_is_the_pack_and_its_recipe(registry: Registry, pack_file: Path) -> None:
    for asked in ({"domain": str(pack_file)}, {"path": pack_file}):
        resolved = resolve(load_recipe(registry, **asked))
        assert resolved.recipe.domain == "ferns"
        (task,) = resolved.tasks["domain"]
        assert task.benchmark.path == pack_file.parent / "tasks"
    assert "ferns" not in registry.names("domain")
    assert "fern_orders" not in registry.names("benchmark")


def test_the_lock_of_such_a_run_finds_the_benchmarks_from_where_it_lies(registry: Registry, pack_file: Path) -> None:
    lock = pack_file.parent / "runs" / "recipe.lock.yaml"
    lock.parent.mkdir()
    lock.write_text(lock_text(resolve(load_recipe(registry, path=pack_file)), {}))
    (task,) = resolve(load_recipe(registry, path=lock)).tasks["domain"]
    assert task.benchmark.path == pack_file.parent / "tasks"


def test_another_recipe_of_the_domain_extends_the_pack(registry: Registry, pack_file: Path) -> None:
    other = pack_file.with_name("other.yaml")
    other.write_text("version: 1\nextends: ferns.yaml\nmix: {tokens: 200M}\n")
    resolved = resolve(load_recipe(registry, path=other))
    assert (resolved.recipe.domain, resolved.recipe.mix.tokens) == ("ferns", 200_000_000)
    assert [task.label for task in resolved.tasks["domain"]] == ["fern_orders"]


@pytest.mark.parametrize(
    ("wrong", "right", "sentence"),
    [
        ("domain: ferns", "domain: law", "domain 'law' is an installed pack already"),
        ("[tasks/fern_orders.yaml]", "[tasks/moss.yaml]", "pack.benchmarks: there is no file"),
        ("[tasks/fern_orders.yaml]", "[tasks/fern_orders.jsonl]", "a file NAME.yaml is wanted, came fern_orders.jsonl"),
        ("title: Ferns", "titel: Ferns", "did you mean 'title'"),
    ],
)
def test_a_mistake_is_told_with_its_place(
    registry: Registry, pack_file: Path, wrong: str, right: str, sentence: str
) -> None:
    pack_file.write_text(PACK.replace(wrong, right))
    with pytest.raises(RecipeError) as raised:
        resolve(load_recipe(registry, path=pack_file))
    assert sentence in str(raised.value)
    assert "ferns.yaml:" in str(raised.value)


def test_a_pack_file_and_a_recipe_at_once_are_told_how_to_go_together(registry: Registry, pack_file: Path) -> None:
    with pytest.raises(RecipeError, match=r"write 'extends: .*ferns\.yaml' there"):
        load_recipe(registry, path=pack_file, domain=str(pack_file))
