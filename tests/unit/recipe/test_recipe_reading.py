"""Reading YAML: types as written, positions, and everything that must be refused."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from domadapt.recipe.problems import UnreadableRecipeError
from domadapt.recipe.reading import read_document, read_tree, read_value, resolves_to_text
from domadapt.recipe.tree import Document, Origin


def read(text: str) -> Any:
    tree, problems = read_tree(Document("r.yaml", text), "recipe")
    assert problems == []
    return tree.plain()


def problems_of(text: str) -> list[str]:
    _, problems = read_tree(Document("r.yaml", text), "recipe")
    return [f"{p.origin.place} {p.message}" for p in problems]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-5", 1e-5),
        ("2.5E+3", 2500.0),
        (".5", 0.5),
        ("-3", -3),
        ("0", 0),
        ("no", "no"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("24:00:00", "24:00:00"),
        ("070", "070"),
        ("0000320193", "0000320193"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("2021-12-31", "2021-12-31"),
        ("500M", "500M"),
        ("'5'", "5"),
        ("$HF_HOME", "$HF_HOME"),
        ("!!str 5", "5"),
    ],
)
def test_scalars_mean_what_they_look_like(written: str, value: object) -> None:
    got = read(f"a: {written}\n")["a"]
    assert got == value
    assert type(got) is type(value)


def test_infinity_and_not_a_number_are_read_as_such_so_that_the_schema_can_refuse_them() -> None:
    got = read("a: .inf\nb: -.INF\nc: .nan\n")
    assert (got["a"], got["b"], math.isnan(got["c"])) == (math.inf, -math.inf, True)


def test_keys_are_the_words_as_written() -> None:
    assert read("{on: 1, 1: 2, no: 3}") == {"on": 1, "1": 2, "no": 3}


def test_every_value_knows_its_line_and_column() -> None:
    tree, _ = read_tree(Document("dir/r.yaml", "a: 1\nb:\n  - x: 2\n    y: [3, 4]\n"), "recipe")
    places = {location: str(node.origin) for location, node in tree.scalars()}
    assert places == {
        ("a",): "r.yaml:1:1",
        ("b", 0, "x"): "r.yaml:3:5",
        ("b", 0, "y", 0): "r.yaml:4:9",
        ("b", 0, "y", 1): "r.yaml:4:12",
    }


def test_a_key_given_twice_is_refused_where_it_stands_again() -> None:
    assert problems_of("mix:\n  replay: 1\n  replay: 2\n") == [
        "r.yaml:3:3 key 'replay' is given twice (first in line 2); remove one"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['true']",
        "a: !!python/name:os.system",
        "a: !secret x",
        "a: !!timestamp 2021-12-31",
        "a: !!set {x}",
    ],
)
def test_tags_are_refused(text: str) -> None:
    (problem,) = problems_of(text)
    assert problem.startswith("r.yaml:1:4 YAML tag '!")


def test_merge_keys_are_refused_with_the_way_out() -> None:
    (problem,) = problems_of("a: &x {b: 1}\nc:\n  <<: *x\n")
    assert problem == "r.yaml:3:3 YAML's '<<' is refused; 'extends' starts from another recipe"


def test_a_plain_alias_is_the_value_again() -> None:
    assert read("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}


def test_an_alias_bomb_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    began = time.perf_counter()
    with pytest.raises(UnreadableRecipeError, match=r"more than 20000 values"):
        read("\n".join(lines))
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: " + "[" * 60 + "]" * 60, "a: " + "[" * 20000])
def test_values_that_hold_themselves_or_nest_without_end_are_refused(text: str) -> None:
    with pytest.raises(UnreadableRecipeError, match=r"40"):
        read(text)


@pytest.mark.parametrize(
    ("text", "place", "sentence"),
    [
        ("a:\n\tb: 1\n", "r.yaml:2:1", "a tab stands where YAML wants spaces"),
        ("a: 1\n b: 2\n", "r.yaml:2:3", "a ':' cannot stand here"),
        ("a: [1, 2\nb: 3\n", "r.yaml:2:2", "not YAML"),
        ("a: *x\n", "r.yaml:1:4", "quote text that begins with '.'"),
        ("a: 1\n---\nb: 2\n", "r.yaml:2:1", "a recipe is one YAML document"),
        ("a: 'x\n", "r.yaml:2:1", "not YAML"),
    ],
)
def test_what_is_not_yaml_is_refused_with_line_and_column(text: str, place: str, sentence: str) -> None:
    with pytest.raises(UnreadableRecipeError, match=rf"^{place}  .*{sentence}"):
        read(text)


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n- b\n", "just text"])
def test_a_recipe_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(UnreadableRecipeError, match=r"empty|mapping"):
        read(text)


def test_control_characters_are_refused_and_not_repeated() -> None:
    with pytest.raises(UnreadableRecipeError, match=r"r.yaml:2  a control character") as caught:
        read("a: 1\nb: \x1b[31mred\n")
    assert "\x1b" not in str(caught.value)


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_bytes("version: 1\nname: Börse\n".encode("latin-1"))
    with pytest.raises(UnreadableRecipeError, match=r"r.yaml:2: byte 0xf6 is not UTF-8"):
        read_document(file)


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    tree, _ = read_tree(read_document(file), "recipe")
    assert tree.plain() == {"a": 1, "b": 2}


def test_a_file_too_large_for_a_recipe_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_bytes(b"a: " + b"x" * 300_000)
    with pytest.raises(UnreadableRecipeError, match=r"larger than 256 KiB"):
        read_document(file)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    origin = Origin("--set", written="--set a=...")
    with contextlib.suppress(UnreadableRecipeError):
        read_value(text, origin)
    with contextlib.suppress(UnreadableRecipeError):
        read_tree(Document("r.yaml", text), "recipe")


@given(st.text(alphabet="0123456789.eE+-_:~nulltrfasy", min_size=1, max_size=8))
def test_text_that_needs_no_quotes_is_text_for_every_reader(text: str) -> None:
    if resolves_to_text(text) and not set(text) & set(":~") and text[0].isalnum():
        assert yaml.safe_load(text) == text
        assert read_value(text, Origin("x"))[0].plain() == text
