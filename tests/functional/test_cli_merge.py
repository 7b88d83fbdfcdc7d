"""`adapt merge`: models made elsewhere, without a run, and another merge of a finished run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from domadapt.builtin.models.resolve import resolve_model
from domadapt.pipeline.store import verify

from .conftest import Adapt

MODELS = ("--ancestor", "builtin:tiny", "--instruct", "builtin:tiny-instruct", "--cpt", "builtin:tiny")

MINE = """\
merge_method: linear
models:
- {model: instruct, parameters: {weight: [1, 0.5]}}
- {model: cpt, parameters: {weight: 1}}
"""


@pytest.fixture
def here(adapt: Adapt) -> Path:
    """The working folder."""
    return adapt.folder


def test_models_made_elsewhere_merge_without_a_run(adapt: Adapt, here: Path) -> None:
    out = adapt(
        "merge", *MODELS, "--method", "ties", "--set", "density=.5", "--set", "weight=.4", "--out", "out/merged"
    )
    assert "out/merged" in out
    assert "ties (fast " in out
    verify(here / "out" / "merged")
    assert [p.name for p in (here / "out").iterdir()] == ["merged"]  # no work folder is left
    card = (here / "out" / "merged" / "README.md").read_text()
    assert "base_model:\n- builtin:tiny\n- builtin:tiny-instruct\n" in card
    assert "base_model_relation: merge" in card
    facts = json.loads((here / "out" / "merged" / "artifact.json").read_bytes())["facts"]
    assert (facts["weight"], facts["density"]) == (0.4, 0.5)
    assert facts["checks"]["loads"] is True


def test_a_set_of_merges_becomes_folders_side_by_side(adapt: Adapt, here: Path) -> None:
    adapt("merge", *MODELS, "--method", "arcee-patent", "--out", "patent")
    assert sorted(p.name for p in (here / "patent").iterdir()) == ["arcee-patent-slerp", "arcee-patent-ties"]


def test_the_fast_engine_needs_no_torch_and_the_same_seed_gives_the_same_file(adapt: Adapt, here: Path) -> None:
    run = "from domadapt.cli import adapt; adapt(sys.argv[1:], standalone_mode=False)"
    code = f"import sys; {run}; print('torch' in sys.modules)"
    digests = []
    for name in ("one", "two"):
        arguments = ["merge", *MODELS, "-m", "dare_ties", "-s", "density=.5", "--no-try", "--seed", "7", "--out", name]
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=here,
            env=adapt.env,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines()[-1] == "False", done.stderr
        files = json.loads((here / name / "artifact.json").read_bytes())["files"]
        digests.append(files["model.safetensors"]["sha256"])
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((*MODELS, "-m", "ties"), 2, "missing key 'merge.density' of merger 'ties'"),
        ((*MODELS, "-m", "ties", "-s", "desnity=1"), 2, "did you mean 'density'?"),
        (
            (*MODELS[2:], "-m", "ties", "-s", "density=1"),
            2,
            "ties needs the pre-trained ancestor; name it with --ancestor",
        ),
        (MODELS[:4], 2, "name a run, or models with --instruct and --cpt"),
        ((*MODELS[:5], "nowhere/at/all", "-m", "linear"), 4, "nowhere/at/all"),
        ((*MODELS[:5], "./nowhere", "-m", "linear"), 4, "no Hugging Face folder"),
        ((*MODELS, "-m", "slerp", "--out", "full"), 2, "full exists already"),
        (("no-such-run",), 2, "there is no run 'no-such-run'"),
        (("a-run", "--cpt", "builtin:tiny"), 2, "a run has its own models"),
    ],
)
def test_what_cannot_be_merged_is_refused_and_nothing_is_written(
    adapt: Adapt, here: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    (here / "full").mkdir()
    (here / "full" / "a").touch()
    err = adapt("merge", *arguments, code=code)
    assert said in " ".join(err.split())
    assert {p.name for p in here.iterdir()} <= {"full", "home"}


@pytest.mark.parametrize("engine", ["fast", "mergekit"])
def test_a_value_that_is_not_finite_leaves_no_folder_behind(adapt: Adapt, here: Path, engine: str) -> None:
    broken = here / "broken"
    shutil.copytree(resolve_model("builtin:tiny", here) or here, broken)
    with (broken / "model.safetensors").open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"\xc0\x7f")  # NaN in bf16, the last entry of the last tensor
    arguments = ("-m", "ties", "-s", "density=.5", "-s", f"engine={engine}", "--out", "merged")
    err = adapt("merge", *MODELS[:5], "./broken", *arguments, code=1)
    assert "has values that are not finite in the cpt model" in err
    assert {p.name for p in here.iterdir()} <= {"broken", "home"}


def test_another_merge_of_a_run_repeats_nothing_before_it(copied: Adapt) -> None:
    before = len(copied.done())
    copied("merge", "law", "--merge", "slerp", "--set", "merge.weight=0.3")
    executed = copied.done()[before:]
    assert {"merge.slerp", "report"} <= set(executed)
    assert {name.split(".")[0] for name in executed} == {"merge", "eval", "report"}
    models = json.loads((copied.folder / "runs/law/report.json").read_bytes())["models"]
    (facts,) = [model["facts"] for model in models if model["label"] == "slerp"]
    assert facts["weight"] == 0.3


def test_presets_and_files_of_mergekit_are_scored_like_methods(copied: Adapt) -> None:
    (copied.folder / "mine.yml").write_text(MINE)
    copied("merge", "law", "--merge", "llama3-sec", "--merge", "mine.yml")
    report = json.loads((copied.folder / "runs/law/report.json").read_bytes())
    assert [model["label"] for model in report["models"]] == ["base", "instruct", "cpt", "llama3-sec", "mine"]
    (copied.folder / "mine.yml").unlink()
    before = len(copied.done())
    copied("run", "runs/law/recipe.lock.yaml", "--name", "law")  # the lock holds the file's configuration
    assert copied.done()[before:] == ["report"]  # which names the lock as the origin of values


def test_a_run_that_has_not_trained_is_not_trained_by_a_merge(copied: Adapt) -> None:
    err = copied("merge", "law", "--merge", "slerp", "--set", "train.lr=1e-5", code=2)
    assert "train would have to be made first" in err
