"""`adapt corpus`: the accounts a person sees, and the way of one document through the steps."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from domadapt.cli import adapt
from domadapt.cli.corpus import Change, _painted, _print_trail, changes
from domadapt.errors import USAGE
from domadapt.pipeline.tracing import Passage, Trail

RECIPE = """
version: 1
name: small
domain: sec
model: {base: "builtin:tiny", instruct: "builtin:tiny-instruct", start: base}
corpus:
  domain:
    - {source: files, options: {path: texts, license: CC0-1.0}}
    - {source: files, options: {path: more, license: MIT}}
  general: [{source: general.sample}]
  clean:
    - normalize
    - {use: min_length, options: {characters: 20}}
    - pii
    - {use: boilerplate.lines, options: {documents: 5}}
    - dedup.exact
  holdout: 0.2
mix: {seq_len: 64}
train: {steps: 1, batch_tokens: 64}
merge: {methods: [linear]}
"""
NOTICE = "This notice stands in every one of these documents."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    for name in ("texts", "more"):
        (root / name).mkdir()
    for number in range(8):
        (root / "texts" / f"{number}.txt").write_text(f"Text {number}, which has its own words.\n{NOTICE}\n")
    (root / "texts" / "mail.txt").write_text("Write to someone@example.org, as many do.  \r\nEnd of it, really.")
    (root / "texts" / "short.txt").write_text("short")
    (root / "texts" / "bad.docx").write_text("x")
    (root / "more" / "copy.txt").write_text("Text 3, which has its own words.")
    (root / "more" / "other.txt").write_text("Another text altogether, of a second source.")
    (root / "recipe.yaml").write_text(RECIPE)
    return root


def corpus(folder: Path, monkeypatch: pytest.MonkeyPatch, *args: str) -> Result:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("ADAPT_RUNS", raising=False)
    return CliRunner().invoke(adapt, ["corpus", *args])


def data(folder: Path, monkeypatch: pytest.MonkeyPatch, *args: str) -> Any:
    done = corpus(folder, monkeypatch, *args, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture
def built(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    done = corpus(folder, monkeypatch, "build", "recipe.yaml")
    assert done.exit_code == 0, done.output
    return folder


def test_build_makes_the_corpora_only_and_stats_shows_the_accounts_of_every_source(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sorted(p.name for p in (built / "runs" / "small" / "stages").iterdir()) == [
        "corpus.domain",
        "corpus.general",
    ]
    first, second = data(built, monkeypatch, "stats", "small")["corpora"]["domain"]["sources"]
    assert (first["seen"], first["kept"], first["duplicates"], first["dropped"]) == (11, 9, 0, 2)
    assert (second["seen"], second["kept"], second["duplicates"], second["dropped"]) == (2, 1, 1, 0)
    shown = corpus(built, monkeypatch, "stats", "small").stdout
    for told in ("under 20 characters 1", "not text, JSONL or Parquet 1", "email 1", "lines 8", "CC0-1.0"):
        assert told in " ".join(shown.split())


def test_a_document_is_shown_before_and_after_each_step(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = data(built, monkeypatch, "peek", "small", "mail.txt")["steps"]
    assert [step["step"] for step in steps] == ["normalize", "min_length", "pii", "boilerplate.lines", "dedup.exact"]
    for step, following in itertools.pairwise(steps):
        assert step["after"] == following["before"]
    assert "<EMAIL>" in steps[2]["after"]
    shown = corpus(built, monkeypatch, "peek", "small", "mail.txt").stdout
    assert "normalize: changed" in shown
    assert "- Write to someone@example.org, as many do." in shown
    assert "+ Write to <EMAIL>, as many do." in shown
    assert "min_length: unchanged" in shown


@pytest.mark.parametrize(
    ("document", "step", "reason"),
    [("short.txt", "min_length", "under 20 characters"), ("files:copy.txt", "dedup.exact", "duplicate")],
)
def test_the_way_of_a_dropped_document_ends_with_the_reason(
    built: Path, monkeypatch: pytest.MonkeyPatch, document: str, step: str, reason: str
) -> None:
    last = data(built, monkeypatch, "peek", "small", document)["steps"][-1]
    assert (last["step"], last["after"], last["reason"]) == (step, None, reason)


def test_a_step_that_looks_twice_is_followed_too(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = data(built, monkeypatch, "peek", "small", "0.txt")["steps"]
    assert steps[3]["before"] == f"Text 0, which has its own words.\n{NOTICE}"
    assert steps[3]["after"] == "Text 0, which has its own words."


def test_the_first_document_that_a_step_touched_is_found(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data(built, monkeypatch, "peek", "small", "--step", "pii")["id"] == "mail.txt"
    assert data(built, monkeypatch, "peek", "small", "--step", "dedup.exact")["id"] == "copy.txt"
    assert (
        data(built, monkeypatch, "peek", "small", "--side", "general", "--step", "dedup.exact")["steps"][-1]["reason"]
        == "duplicate"
    )


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["stats", "nothing"], "there is no run 'nothing'"),
        (["peek", "small", "no-such-id"], "no document 'no-such-id' among those of corpus.domain"),
        (["peek", "small", "--step", "normalise"], "no cleaning step 'normalise'; it has normalize, min_length"),
        (["peek", "small", "0.txt", "--step", "pii"], "give an ID or --step, not both"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(
    built: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], said: str
) -> None:
    done = corpus(built, monkeypatch, *args)
    assert (done.exit_code, done.stdout) == (USAGE, "")
    assert said in done.stderr


@given(st.lists(st.sampled_from(["a", "b", "cc" * 100, "", "x y z"]), max_size=8), st.data())
def test_changes_name_every_line_that_went_or_came(old: list[str], draw: st.DataObject) -> None:
    new = draw.draw(st.permutations([*old, "new"]))
    shown = list(changes("\n".join(old), "\n".join(new)))
    assert (not shown) == ("\n".join(old) == "\n".join(new))
    assert all(change.sign in "-+@" for change in shown)


def test_of_a_long_line_only_what_is_around_the_change_is_shown() -> None:
    before, after = "a" * 500 + "X" + "b" * 500, "a" * 500 + "YY" + "b" * 500
    place, old, new = changes(before, after)
    assert place == Change("@", "line 1")
    assert old == Change("-", f"…{'a' * 60}X{'b' * 60}…", (61, 62))
    assert new == Change("+", f"…{'a' * 60}YY{'b' * 60}…", (61, 63))


@given(st.text("ab \t\r\u200b", max_size=200), st.text("ab \t\r\u200b", max_size=200))
def test_the_changed_part_of_a_line_is_all_that_differs(old: str, new: str) -> None:
    found = [change for change in changes(old, new) if change.sign != "@"]
    if old == new:
        assert not found
        return
    one, other = found
    (a, b), (c, d) = one.changed, other.changed
    assert one.text[:a] == other.text[:c]
    assert one.text[b:] == other.text[d:]
    assert one.text[a:b] != other.text[c:d]


def test_a_line_that_changed_beside_lines_that_went_is_shown_with_its_change() -> None:
    before = "Mail me: a@b.org, please.\n\n\n\nThe end"
    assert [(c.sign, c.text) for c in changes(before, "Mail me: <EMAIL>, please.\nThe end")] == [
        ("@", "line 1"),
        ("-", "Mail me: a@b.org, please."),
        ("+", "Mail me: <EMAIL>, please."),
        ("-", ""),
        ("-", ""),
        ("-", ""),
    ]


def test_what_cannot_be_seen_is_spelled_out_and_the_change_stands_out(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Console(force_terminal=True, color_system="standard", file=io.StringIO(), width=200, legacy_windows=False)
    monkeypatch.setattr("domadapt.cli.corpus.console", lambda: out)
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = "one  \r\nta\u200bb\x1b[31m\nsame"
    trail = Trail("files", "a.txt", "g", "", text, [
        Passage("normalize", text, "one\ntab[31m\nsame"),
        Passage("pii", "one\ntab[31m\nsame", "one\ntab[31m\nsame"),
        Passage("dedup.exact", "one\ntab[31m\nsame", None, "duplicate"),
    ])  # fmt: skip
    _print_trail(trail, 40)
    shown = out.file.getvalue()
    assert "\x1b[31m- one\x1b[0m\x1b[7;31m  \\r\x1b[0m" in shown
    assert "ta\x1b[0m\x1b[7;31m\\u200bb\\x1b" in shown
    assert "\x1b[1;33mnormalize: changed" in shown
    assert "\x1b[2mpii: unchanged" in shown
    assert "\x1b[1;31mdedup.exact: dropped (duplicate)" in shown


def test_a_change_of_spaces_alone_is_marked() -> None:
    (_, old, new) = changes("a  b", "a b")
    assert _painted(old).plain == "- a ·b"
    assert _painted(new).plain == "+ a b"
