"""Keys: what decides a result counts, nothing else does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from domadapt.components import NO_EFFECT, Component, Options
from domadapt.pipeline import keys
from domadapt.pipeline.keys import canonical, changed_parts, component_identity, effective_options, key_of


class Settings(Options):
    """Three that count and one that does not."""

    lr: float = 1e-3
    """Rate."""
    words: tuple[int, ...] = (1, 2)
    """Words."""
    path: Path = Path("a")
    """Where."""
    log_every: int = Field(10, json_schema_extra=NO_EFFECT)
    """Steps."""


def test_a_key_is_sixteen_hexadecimal_digits_and_the_same_on_every_machine() -> None:
    # sha256 of {"a":1,"b":"é"} in UTF-8, computed with sha256sum
    assert key_of({"b": "é", "a": 1}) == "09ad9fd2fb648cb2"


def test_the_order_of_roles_and_options_does_not_matter() -> None:
    one = {"stage": "merge:1", "inputs": {"ancestor": "a", "cpt": "c"}}
    other = {"inputs": {"cpt": "c", "ancestor": "a"}, "stage": "merge:1"}
    assert key_of(one) == key_of(other)


def test_which_input_has_which_role_does_matter() -> None:
    assert key_of({"inputs": {"instruct": "a", "cpt": "b"}}) != key_of({"inputs": {"instruct": "b", "cpt": "a"}})


@pytest.mark.parametrize("value", [Path("a"), {1, 2}, b"x", object(), Settings(), complex(1)])
def test_a_type_without_one_meaning_raises(value: Any) -> None:
    with pytest.raises(TypeError):
        canonical({"a": value})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_json_does_not_have_raise(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical({"a": value})


@given(
    st.dictionaries(
        st.text(max_size=3),
        st.integers() | st.text(max_size=3) | st.floats(allow_nan=False, allow_infinity=False),
        max_size=5,
    ),
    st.randoms(),
)
def test_canonical_text_does_not_depend_on_insertion_order(values: dict[str, Any], random: Any) -> None:
    items = list(values.items())
    random.shuffle(items)
    assert canonical(dict(items)) == canonical(values)


def test_options_without_effect_do_not_count_and_all_others_do() -> None:
    default = effective_options(Settings())
    assert default == {"lr": 1e-3, "words": [1, 2], "path": "a"}
    assert effective_options(Settings(log_every=99)) == default
    assert key_of(effective_options(Settings(lr=2e-3))) != key_of(default)


class Step(Component):
    """For identities."""

    name = "step"
    version = "3"


def test_an_identity_names_distribution_component_and_version_but_not_the_release() -> None:
    assert component_identity(Step, "domadapt-sec", editable=False) == "domadapt-sec:step:3"


def test_an_editable_component_is_identified_by_its_source_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "step.py").write_text("a = 1\n")
    monkeypatch.setattr(keys.inspect, "getfile", lambda component: str(folder / "step.py"))

    def identity() -> str:
        keys.source_digest.cache_clear()
        return component_identity(Step, "domadapt-sec", editable=True)

    before = identity()
    assert before.startswith("domadapt-sec:step:3:")
    assert identity() == before
    (folder / "helper.py").write_text("b = 2\n")
    with_helper = identity()
    assert with_helper != before
    (folder / "helper.py").write_text("b = 3\n")
    assert identity() not in (before, with_helper)
    keys.source_digest.cache_clear()


def test_changed_parts_says_what_changed_from_what_to_what() -> None:
    old = {"stage": "train:1", "by": ["a"], "options": {"settings": {"lr": 0.001}, "seed": 1}, "inputs": None}
    new = {"stage": "train:2", "by": ["b"], "options": {"settings": {"lr": 0.0005}, "seed": 1}, "inputs": None}
    assert changed_parts(old, new) == ["by changed", "settings.lr 0.001 -> 0.0005", "stage train:1 -> train:2"]


def test_changed_parts_of_equal_parts_is_nothing() -> None:
    assert changed_parts({"a": {"b": [1]}}, {"a": {"b": [1]}}) == []


def test_changed_parts_names_what_came_and_what_went() -> None:
    assert changed_parts({"options": {"a": 1}}, {"options": {"b": 2}}) == ["a 1 -> None", "b None -> 2"]


def test_changed_parts_spares_the_reader_digests() -> None:
    old, new = {"options": {"content": "a" * 64}}, {"options": {"content": "b" * 64}}
    assert changed_parts(old, new) == ["content changed"]
