"""The packaged default run on Megatron-Core: offline, on a CPU, with the torch backend's results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import Adapt


def run_on(adapt: Adapt, backend: str) -> dict[str, Any]:
    """The whole default run of the sec pack in float32; its report."""
    asked = ["--set", f"name={backend}", "--set", f"train.backend={backend}", "--set", "train.precision=fp32"]
    process = adapt.start("run", "--domain", "sec", *asked)
    out, err = process.communicate(timeout=3000)
    assert process.returncode == 0, f"{out}\n{err}"
    report: dict[str, Any] = json.loads((adapt.folder / "runs" / backend / "report.json").read_bytes())
    return report


def bits_per_byte(report: dict[str, Any]) -> dict[tuple[str, str], float]:
    measures = [m for m in report["ledger"]["measures"] if m["metric"] == "bits_per_byte"]
    return {(m["task"], score["model"]): score["value"] for m in measures for score in m["scores"]}


@pytest.mark.slow
@pytest.mark.timeout(6000)
def test_the_default_run_on_megatron_ends_with_the_bits_per_byte_of_torch(adapt: Adapt) -> None:
    """fp32: within 1e-3 for every model on both sides; no network (see conftest)."""
    torch, megatron = (run_on(adapt, backend) for backend in ("torch", "megatron"))
    assert megatron["providers"]["backend megatron"]
    wanted, found = bits_per_byte(torch), bits_per_byte(megatron)
    assert len(wanted) == 8  # base, instruct, cpt and merged; domain and general
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        assert abs(found[key] - value) <= 1e-3, key
    before, after = wanted["bits_per_byte.domain", "instruct"], found["bits_per_byte.domain", "cpt"]
    assert after < before - 0.3, "training has done something"
