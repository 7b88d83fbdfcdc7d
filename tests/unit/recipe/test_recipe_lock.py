"""The lock file: a recipe again, with the same values, for our reader and for others'."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domadapt.recipe.check import ResolvedRecipe, resolve
from domadapt.recipe.load import load_recipe
from domadapt.recipe.lock import describe_origins, lock_text

FACTS = {"providers": {"source files": "domadapt 0.1.0"}, "digests": {"model.base": "9f2c", "on": "1e5"}, "empty": {}}


def relock(resolved: ResolvedRecipe, registry: Any, folder: Path) -> ResolvedRecipe:
    file = folder / "recipe.lock.yaml"
    file.write_text(lock_text(resolved, FACTS))
    return resolve(load_recipe(registry, path=file))


def values(resolved: ResolvedRecipe) -> list[tuple[str, Any]]:
    return [(path, value) for path, value, _ in describe_origins(resolved)]


def configs(resolved: ResolvedRecipe) -> list[Any]:
    chosen = [*resolved.sources["domain"], *resolved.sources["general"], *resolved.cleaners]
    chosen += [resolved.mixer, resolved.backend, *resolved.mergers.values(), *resolved.evaluators.values()]
    return [(choice.kind, choice.name, choice.config) for choice in chosen]


def test_each_line_of_a_lock_file_ends_with_the_origin_of_its_value(registry: Any) -> None:
    overrides = ["train.lr=2e-5", "corpus.domain.1.take=5"]
    text = lock_text(resolve(load_recipe(registry, domain="law", overrides=overrides)), FACTS)
    lines = text.splitlines()
    assert "  lr: 2.0e-05  # --set" in lines
    assert "  replay: 0.1  # starter.yaml:14:7" in lines
    assert "        form: 10-K  # default of files" in lines
    assert "  clip: 1.0  # core default" in lines
    assert "    - use: min_length  # pack law (defaults.yaml:3:23)" in lines
    settled = lines[2 : lines.index("resolved:")]
    assert [line for line in settled if line and not line.endswith(":") and "  # " not in line] == []


def test_keys_are_in_the_order_of_the_schema(registry: Any) -> None:
    text = lock_text(resolve(load_recipe(registry, domain="law")), FACTS)
    assert re.findall(r"^(\w+):", text, re.MULTILINE) == [
        *("version", "name", "domain", "pack", "seed", "model", "corpus", "mix", "train", "merge", "eval"),
        *("launch", "track", "resolved"),
    ]


def test_a_lock_file_resolves_to_the_same_values(registry: Any, tmp_path: Path) -> None:
    overrides = ["merge.density=0.3", "merge.options.slerp.t=0.4", "name=first"]
    first = resolve(load_recipe(registry, domain="law", overrides=overrides))
    again = relock(first, registry, tmp_path)
    assert values(again) == values(first)
    assert configs(again) == configs(first)
    assert again.recipe.resolved == FACTS
    assert again.takes == first.takes
    assert lock_text(relock(again, registry, tmp_path), {}) == lock_text(again, {})


def test_a_lock_file_says_the_same_to_a_reader_of_yaml_1_1(registry: Any) -> None:
    resolved = resolve(
        load_recipe(
            registry,
            domain="law",
            overrides=["train.lr=1e-05", "corpus.domain.0.options.codes=['no', '070', '1e-5', '12:30:00']"],
        )
    )
    read = yaml.safe_load(lock_text(resolved, FACTS))
    assert read["train"]["lr"] == 1e-5
    assert read["corpus"]["domain"][0]["options"]["codes"] == ["no", "070", "1e-5", "12:30:00"]
    assert read["resolved"] == FACTS


def test_a_general_setting_can_be_changed_in_a_lock_file(registry: Any, tmp_path: Path) -> None:
    first = resolve(load_recipe(registry, domain="law", overrides=["merge.density=0.3"]))
    (tmp_path / "l.yaml").write_text(lock_text(first, FACTS))
    again = resolve(load_recipe(registry, path=tmp_path / "l.yaml", overrides=["merge.density=0.9"]))
    assert again.mergers["ties"].config.density == 0.9
    assert list(resolve(load_recipe(registry, path=tmp_path / "l.yaml", merge=["slerp"])).mergers) == ["slerp"]


def test_what_a_lock_file_came_from_is_not_needed_to_run_it(registry: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("version: 1\nextends: parent.yaml\n")
    (tmp_path / "parent.yaml").write_text("domain: law\nextends: starter\nseed: 9\n")
    first = resolve(load_recipe(registry, path=file))
    (tmp_path / "parent.yaml").unlink()
    assert relock(first, registry, tmp_path).recipe.seed == 9


_OVERRIDES = st.fixed_dictionaries(
    {},
    optional={
        "corpus.domain.0.options.path": st.text(),
        "corpus.domain.0.options.codes": st.lists(st.text(max_size=5), max_size=3),
        "corpus.domain.0.options.fields": st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2),
        "corpus.domain.0.take": st.integers(1, 2**40) | st.none(),
        "corpus.clean": st.lists(st.sampled_from(["normalize", "dedup.exact", "min_length"]), max_size=3),
        "train.lr": st.floats(1e-30, 1e6),
        "mix.replay": st.floats(0, 0.999),
        "train.document_mask": st.booleans(),
        "merge.methods": st.sampled_from(["ties", "slerp", ["ties", "slerp"], []]),
        "merge.weight": st.floats(0, 1),
        "merge.options.slerp.t": st.floats() | st.just("auto"),
        "model.base": st.text(min_size=1),
    },
)


@given(_OVERRIDES)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150, derandomize=True
)
def test_whatever_was_set_comes_back_from_the_lock_file(registry: Any, tmp_path: Path, chosen: dict[str, Any]) -> None:
    written = [
        # texts in quotes: PyYAML writes 0E0 without, which is a number to us
        f"{key}={yaml.safe_dump(value, width=10**9, default_flow_style=True, default_style=quotes)}"
        for key, value in chosen.items()
        for quotes in [chr(34) if isinstance(value, (str, list, dict)) else None]
    ]
    first = resolve(load_recipe(registry, domain="law", overrides=written))
    again = relock(first, registry, tmp_path)
    assert repr(values(again)) == repr(values(first))  # repr: not-a-number is not equal to itself
    assert repr(configs(again)) == repr(configs(first))
