"""`adapt sweep` and `adapt run` with lists: the front, what goes on from it, and a kill at a random moment."""

from __future__ import annotations

import json
import random
import shlex
from pathlib import Path
from typing import Any

import pytest

from domadapt.errors import USAGE

from .conftest import Adapt

LISTS = ("--methods", "ties,slerp", "--weight", ".3,.6", "--density", ".5,.9")
GRID = 2 * 2 + 2


def written(adapt: Adapt) -> dict[str, Any]:
    file = adapt.folder / "runs" / "law" / "stages" / "sweep" / "sweep.json"
    return json.loads(file.read_bytes())  # type: ignore[no-any-return]


def findings(adapt: Adapt) -> int:
    files = list((adapt.folder / "runs" / ".store" / "sweep").glob("*.scratch/journal.jsonl"))
    return files[0].read_bytes().count(b"\n") if files else 0


def test_a_sweep_prints_the_front_and_a_run_goes_on_from_it(copied: Adapt) -> None:
    adapt = copied
    before = adapt.done()
    out = adapt("sweep", "--domain", "law", *LISTS)
    assert adapt.done() == [*before, "sweep"]
    assert f"{GRID} candidates, bits per byte on the selection split" in out
    sweep = written(adapt)
    ahead = [c for c in sweep["candidates"] if c["front"]]
    assert ahead
    for candidate in ahead:
        assert candidate["label"] in out
    data = json.loads(adapt("sweep", "--domain", "law", *LISTS, "--json"))
    (chosen,) = [c for c in data["candidates"] if c["chosen"]]
    assert f"chosen: {chosen['label']}" in out
    assert len(data["candidates"]) == GRID

    (line,) = [line for line in out.splitlines() if line.startswith("merge, evaluate and report it: ")]
    adapt(*shlex.split(line.partition(": ")[2])[1:])
    made = adapt.done()[len(before) + 1 :]
    assert made[0] == "merge.sweep"
    assert not {"sweep", "train", "eval.cpt.law_orders"} & set(made)
    report = json.loads((adapt.folder / "runs" / "law" / "report.json").read_bytes())
    assert [m["label"] for m in report["models"]] == ["base", "instruct", "cpt", "sweep"]
    merged = next(m for m in report["models"] if m["label"] == "sweep")
    assert merged["facts"]["method"] == chosen["method"]
    assert merged["facts"]["weight"] == chosen["weight"]
    assert [c["label"] for c in report["sweep"]["candidates"] if c["chosen"]] == [chosen["label"]]
    page = (adapt.folder / "runs" / "law" / "report.html").read_text()
    assert "Sweep of merges" in page

    # any other candidate is one command away
    other = next(c for c in data["candidates"] if not c["chosen"] and c["method"] == "ties")
    adapt(*shlex.split(other["command"])[1:])
    report = json.loads((adapt.folder / "runs" / "law" / "report.json").read_bytes())
    assert [m["label"] for m in report["models"]] == ["base", "instruct", "cpt", "ties"]
    facts = next(m for m in report["models"] if m["label"] == "ties")["facts"]
    assert (facts["weight"], facts["density"]) == (other["weight"], other["density"])
    assert report["sweep"] is None


@pytest.mark.parametrize(
    "search",
    [
        pytest.param((), id="grid"),
        pytest.param(("--search", "cma", "--budget", "6"), id="cma"),
    ],
)
@pytest.mark.slow
def test_a_sweep_killed_at_random_moments_ends_with_the_same_front(
    copied: Adapt, finished: Adapt, tmp_path_factory: pytest.TempPathFactory, search: tuple[str, ...]
) -> None:
    import subprocess

    calm = Adapt(tmp_path_factory.mktemp("calm"), finished.site)
    subprocess.run(["cp", "-a", str(finished.folder / "runs"), str(calm.folder)], check=True)
    arguments = ["sweep", "--domain", "law", *LISTS, *search]
    calm(*arguments)

    draw = random.Random()
    reached = 0
    for _ in range(2):
        reached = draw.randint(reached + 1, reached + 5)
        copied.kill_when(arguments, lambda wanted=reached: findings(copied) >= wanted)  # type: ignore[misc]
    copied(*arguments)
    assert written(copied) == written(calm), f"killed up to finding {reached}"


@pytest.mark.slow
def test_without_lists_a_default_grid_is_swept(copied: Adapt) -> None:
    copied("sweep", "--domain", "law", "--merge", "slerp")
    assert [c["label"] for c in written(copied)["candidates"]] == [f"slerp, weight 0.{w}" for w in (1, 3, 5, 7, 9)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--weight", ".5"), "one candidate is no sweep; give several values to --weight or --density"),
        (("--weight", ".5,many"), "sweep --weight: wanted numbers separated by commas, came '.5,many'"),
        (("--methods", "ties,"), "sweep --methods: wanted values separated by commas, came 'ties,'"),
        (("--methods", "della", "--density", ".5,.6"), "'della' cannot be swept"),
        (("--weight", ".5,1.5"), "merge.weight.1: wanted 1 or less, came 1.5"),
    ],
)
def test_what_cannot_be_swept_is_refused(adapt: Adapt, arguments: tuple[str, ...], told: str) -> None:
    assert told in adapt("sweep", "--domain", "law", *arguments, code=USAGE)


def test_checkpoints_without_a_run_are_not_swept(adapt: Adapt, tmp_path: Path) -> None:
    models = [word for role in ("--ancestor", "--instruct", "--cpt") for word in (role, "builtin:tiny")]
    told = adapt("merge", *models, "--method", "ties", "--set", "merge.density=[0.5, 0.9]", code=USAGE)
    assert "several values of a setting are a sweep" in told
