"""What a run's folder says of the training before: locks that cannot be read, and shares that a law had chosen.

How a stopped training goes on is tested through the command line (tests/functional/test_changed_mixture.py).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from domadapt.pipeline.earlier import LOCK, _as_earlier, _read
from domadapt.pipeline.law import DATA, LAW
from domadapt.pipeline.store import Store, publish

RECIPE = {
    "version": 1,
    "domain": "d",
    "model": {"base": "b"},
    "corpus": {"domain": [{"source": "files"}], "general": [{"source": "files"}]},
    "mix": {"replay": "law", "sources": {"domain.files": {"max_epochs": 2}}},
}
RECORD = {"stages": {"train": "0" * 16, "law": "1" * 16}, "models": {"base": "sha256:abc"}}


def lock(folder: Path, text: str) -> Path:
    (folder / LOCK).write_text(text)
    return folder / LOCK


def test_the_share_that_a_law_chose_is_what_the_training_had(tmp_path: Path) -> None:
    before = _read(lock(tmp_path, yaml.safe_dump({**RECIPE, "resolved": RECORD})))
    assert before is not None
    store = Store(tmp_path / "store")
    assert _as_earlier(before, store, 30) is None, "the law has not chosen yet"
    work = store.work_path(LAW, before.keys["law"])
    work.mkdir(parents=True)
    (work / DATA).write_text(json.dumps({"advice": {"replay": 0.125}}))
    publish(work, store.path(LAW, before.keys["law"]), {"kind": LAW, "facts": {}})
    found = _as_earlier(before, store, 30)
    assert found is not None
    assert (found.replay, found.steps, found.sources["domain.files"].max_epochs) == (0.125, 30, 2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- 1\n",
        "version: [\n",
        yaml.safe_dump(RECIPE),
        yaml.safe_dump({**RECIPE, "resolved": {"stages": {}}}),
        yaml.safe_dump({**RECIPE, "mix": {"unknown": 1}, "resolved": RECORD}),
        yaml.safe_dump({**RECIPE, "resolved": None}),
    ],
)
def test_a_lock_that_cannot_be_read_says_nothing_of_a_training(tmp_path: Path, text: str) -> None:
    assert _read(tmp_path / LOCK) is None
    assert _read(lock(tmp_path, text)) is None
