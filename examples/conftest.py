"""The examples as if they were installed, for their own tests: the code can be imported, the entry points are seen.

Only here: in the rest of the tests there is no trace of them. The wheels are built, installed and run by slow tests.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECTS = sorted(file.parent for file in Path(__file__).parent.glob("*/pyproject.toml"))

sys.path += [str(project / "src") for project in PROJECTS]


@pytest.fixture(autouse=True, scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Their distributions, for this process and those that it starts; caches in a folder of their own, hubs off."""
    site = tmp_path_factory.mktemp("examples")
    for project in PROJECTS:
        about = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        info = site / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
        info.mkdir()
        keys = {"Metadata-Version": "2.4", "Name": about["name"], "Version": about["version"]}
        lines = [f"{key}: {value}" for key, value in (keys | {"License-Expression": about["license"]}).items()]
        lines += [f"Requires-Dist: {requirement}" for requirement in about["dependencies"]]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        (points,) = about["entry-points"].values()
        text = "".join(f"{name} = {target}\n" for name, target in points.items())
        (info / "entry_points.txt").write_text(f"[domadapt.plugins]\n{text}")
    path = [str(site), *(str(project / "src") for project in PROJECTS), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
        patch.setenv("ADAPT_HOME", str(tmp_path_factory.mktemp("home")))
        for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
            patch.setenv(variable, "1")
        yield
