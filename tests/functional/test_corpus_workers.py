"""`adapt corpus build` with workers, killed and started again: the corpus of an undisturbed build, every time."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from domadapt.artifacts import MANIFEST

from .conftest import Adapt

RECIPE = """
version: 1
domain: letters
pack: {title: Letters}
model: {base: "builtin:tiny"}
corpus:
  domain: [{source: files, options: {path: letters}}]
  clean: [normalize, {use: min_length, options: {characters: 40}}, pii, dedup.exact, dedup.minhash, quality.gopher]
mix: {replay: 0, seq_len: 64}
train: {steps: 1, batch_tokens: 256}
merge: {methods: []}
eval: {general: [instruct_format], perplexity: false}
"""
BUILD = ("corpus", "build", "recipe.yaml", "--json")


def write_letters(folder: Path) -> None:
    """Files of letters, with copies among them and lines that are none."""
    draw = random.Random(3)
    words = [f"{a}{b}{c}" for a in "bdfglmnprst" for b in ("a", "e", "i", "o") for c in ("ck", "n", "st", "the", "and")]
    (folder / "letters").mkdir()
    (folder / "recipe.yaml").write_text(RECIPE)
    earlier: list[str] = []
    for number in range(60):
        lines = []
        for _ in range(12):
            text = " ".join(draw.choice(words) for _ in range(draw.randrange(5, 300)))
            text = draw.choice(earlier) if earlier and draw.random() < 0.1 else f"{text} the of and to, write@to.me\n"
            earlier.append(text)
            lines.append(json.dumps({"text": text}))
        lines.insert(3, "no letter")
        (folder / "letters" / f"{number:02d}.jsonl").write_text("\n".join(lines))


def corpus_of(adapt: Adapt) -> dict[str, Any]:
    """Facts and digests of all files of the domain's corpus."""
    manifest = json.loads((adapt.folder / "runs" / "letters" / "stages" / "corpus.domain" / MANIFEST).read_bytes())
    return {"files": manifest["files"], "facts": manifest["facts"], "key": manifest["key"]}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, law_site: Path) -> dict[str, Any]:
    """The corpus that one process makes."""
    adapt = Adapt(tmp_path_factory.mktemp("undisturbed"), law_site)
    write_letters(adapt.folder)
    adapt(*BUILD)
    made = corpus_of(adapt)
    (account,) = made["facts"]["sources"]
    assert account["seen"] == 13 * 60 == account["kept"] + account["duplicates"] + account["dropped"]
    assert account["duplicates"] > 30
    return made


def finished_shards(adapt: Adapt) -> dict[str, int]:
    """Shards that are done, with the inode of what they hold, while a corpus is made."""
    found: dict[str, int] = {}
    # os.walk passes over what the workers remove meanwhile
    for folder, below, files in os.walk(adapt.folder / "runs" / ".store" / "corpus"):
        below[:] = [name for name in below if not name.endswith(".part")]
        if ".scratch" in folder and "given.sha256" in files:
            file = Path(folder) / "given.sha256"
            found[str(file)] = file.stat().st_ino
    return found


def shards_at_least(adapt: Adapt, number: int) -> Callable[[], bool]:
    return lambda: len(finished_shards(adapt)) >= number


@pytest.mark.slow
def test_a_build_that_is_killed_goes_on_with_another_number_of_workers(
    adapt: Adapt, undisturbed: dict[str, Any]
) -> None:
    write_letters(adapt.folder)
    for workers, shards in ((2, 4), (3, 12), (1, 25)):
        ended = adapt.kill_when((*BUILD, "--set", f"corpus.workers={workers}"), shards_at_least(adapt, shards))
        assert ended == -signal.SIGKILL
        assert not (adapt.folder / "runs" / "letters" / "stages" / "corpus.domain").exists()
    before = finished_shards(adapt)
    assert len(before) >= 25
    again = adapt.start(*BUILD, "--set", "corpus.workers=2")
    seen: dict[str, int] = {}
    while again.poll() is None:
        seen |= finished_shards(adapt)
        time.sleep(0.02)
    assert again.communicate()[1] is not None
    assert again.returncode == 0
    assert {file: seen[file] for file in before if file in seen} == before  # none was done again
    assert corpus_of(adapt) == undisturbed
    assert not list((adapt.folder / "runs" / ".store" / "corpus").glob("*.scratch"))


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_changes_nothing(adapt: Adapt, undisturbed: dict[str, Any]) -> None:
    write_letters(adapt.folder)
    build = adapt.start(*BUILD, "--set", "corpus.workers=2")
    killed: list[int] = []
    while build.poll() is None and len(killed) < 2:  # a third one at the same shard would be the end
        if len(finished_shards(adapt)) > 8 * len(killed) and (workers := _children(build.pid)):
            killed.append(workers[-1])
            os.kill(killed[-1], signal.SIGKILL)
        time.sleep(0.01)
    out, err = build.communicate(timeout=400)
    assert build.returncode == 0, err
    assert killed
    assert json.loads(out)["corpora"]["domain"] == undisturbed["facts"]
    assert corpus_of(adapt) == undisturbed


def _children(pid: int) -> list[int]:
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


@pytest.mark.skipif(find_spec("ray") is not None, reason="ray is installed here")
def test_without_ray_the_way_to_it_is_told_before_anything_runs(adapt: Adapt) -> None:
    write_letters(adapt.folder)
    told = adapt(*BUILD, "--set", "corpus.executor=ray", code=4)
    assert "corpus executor 'ray' needs ray, which is not installed: pip install 'domadapt[ray]'" in told
    assert not (adapt.folder / "runs" / ".store").exists()
