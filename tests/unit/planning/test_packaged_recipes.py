"""The packaged full-size recipes: planned offline, and every value with its source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from domadapt.cli import adapt

PACKAGED = [
    ("llama3-sec-70b", 70_553_706_496, 3.189e22, 128),
    ("arcee-medical-7b", 6_738_415_616, 1.2583e21, 32),
    ("arcee-patent-7b", 6_738_415_616, 4.508e20, 32),
]


@pytest.mark.parametrize(("recipe", "parameters", "flops", "gpus"), PACKAGED)
def test_the_packaged_full_size_recipes_are_planned_offline(
    recipe: str,
    parameters: int,
    flops: float,
    gpus: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADAPT_RUNS", raising=False)
    assert not adapt.main(["plan", recipe, "--json"], standalone_mode=False)
    costs = json.loads(capsys.readouterr().out)["costs"]
    assert costs["parameters"]["value"] == parameters
    assert costs["flops"]["value"] == pytest.approx(flops, rel=1e-3)
    assert f"on {gpus} x H100" in costs["seconds"]["text"]
    assert costs["layout_fits"]["value"] == 1


def test_the_published_duration_of_llama3_sec_is_judged_as_a_user_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """31 days on 128 H100 (arXiv 2406.14971): 9.4 % of their peak, where 40 % would take 7.3 days."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADAPT_RUNS", raising=False)
    asked = ["plan", "llama3-sec-70b", "--gpus", "128xH100", "--days", "31", "--json"]
    assert not adapt.main(asked, standalone_mode=False)
    costs = json.loads(capsys.readouterr().out)["costs"]
    assert costs["parameters"]["text"].startswith("70.55 B")
    assert costs["seconds"]["text"].startswith("7.3 days on 128 x H100 at 40.0 %")
    assert costs["claimed_mfu"]["text"].startswith("31 days on 128 x H100 are 9.4 % MFU, 207 tokens/s a GPU")
    assert costs["layout_fits"]["text"].startswith("TP4 PP8 DP4 (recipe)")
    assert ", fits: " in costs["rank_bytes"]["text"]


def test_every_value_of_a_full_size_recipe_says_where_it_comes_from() -> None:
    from domadapt.cli.frame import open_registry

    registry = open_registry()
    sources = ("[paper]", "[card]", "[merge]", "[config]", "[study]", "[gupta]", "[table]", "ours")
    for domain, name in (("sec", "llama3-sec-70b"), ("medical", "arcee-medical-7b"), ("patent", "arcee-patent-7b")):
        lines = (registry.find("domain", domain).recipes / f"{name}.yaml").read_text().splitlines()
        body = [line for line in lines if line.startswith("  ") and ":" in line and not line.lstrip().startswith("#")]
        before = dict(zip(lines[1:], lines, strict=False))
        for line in body:
            stands_alone = line.rstrip().endswith(":") or line.split("#")[0].strip() in (
                "executor: slurm",
                "gpus_per_node: 8",
            )
            explained = any(source in line or source in before[line] for source in sources)
            assert stands_alone or explained, f"{name}: {line}"
