"""`adapt plugins` with 50 installed packs: under 0.5 s, whole process, cold Python, warm file cache.

Each pack is what `adapt plugins new` writes (a domain, a source, a cleaner, a benchmark), installed as pip leaves it: a
package with compiled bytecode and a dist-info folder. First every pack must be a row in state "ok"; then the command is
timed, with and without the packs, in turn. `python bench/plugins.py [--quick]`
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import resource
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from domadapt.scaffolding import write_plugin

PACKS = 50
SECONDS = 0.5


def install(name: str, work: Path, site: Path) -> None:
    """Write a new pack and put it into a folder as pip would."""
    write_plugin(name, "pack", work)
    project = work / f"domadapt-{name}"
    about = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    os.replace(project / "src" / f"domadapt_{name}", site / f"domadapt_{name}")
    info = site / f"domadapt_{name}-{about['version']}.dist-info"
    info.mkdir()
    requires = "".join(f"Requires-Dist: {line}\n" for line in about["dependencies"])
    head = f"Metadata-Version: 2.4\nName: {about['name']}\nVersion: {about['version']}\n{requires}"
    (info / "METADATA").write_text(head + "\n" + (project / "README.md").read_text())
    ((group, points),) = about["entry-points"].items()
    lines = "".join(f"{key} = {value}\n" for key, value in points.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")
    (info / "INSTALLER").write_text("pip\n")
    (info / "RECORD").write_text(f"{info.name}/METADATA,,\n{info.name}/entry_points.txt,,\n{info.name}/RECORD,,\n")


def adapt_plugins(environment: Mapping[str, str], *options: str) -> tuple[str, float, float]:
    """stdout, wall seconds and CPU seconds of `adapt plugins`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    command = [sys.executable, "-m", "domadapt", "plugins", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(runs: int) -> dict[str, Any]:
    """The figures. equal: whether all packs were found and work."""
    with TemporaryDirectory(prefix="adapt-bench-") as folder:
        work, site = Path(folder) / "work", Path(folder) / "site"
        work.mkdir()
        site.mkdir()
        for number in range(PACKS):
            install(f"pack{number:02d}", work, site)
        compileall.compile_dir(site, quiet=2)
        # adapt's own bytecode is written by the first run, as pip would have done
        dropped = ("ADAPT_", "PYTHONDONTWRITEBYTECODE")
        alone = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
        path = os.pathsep.join(filter(None, [str(site), alone.get("PYTHONPATH", "")]))
        sides = {"packs": {**alone, "PYTHONPATH": path}, "without": alone}
        states = [row["state"] for row in json.loads(adapt_plugins(sides["packs"], "--json")[0])]
        others = [row["state"] for row in json.loads(adapt_plugins(alone, "--json")[0])]
        equal = states.count("ok") == others.count("ok") + PACKS
        taken = {side: [adapt_plugins(environment)[1:] for _ in range(runs)] for side, environment in sides.items()}
    wall = {side: median(wall for wall, _ in times) for side, times in taken.items()}
    cpu = {side: median(cpu for _, cpu in times) for side, times in taken.items()}
    print(f"{'adapt plugins':<22}{'wall s':>9}{'CPU s':>9}")
    for side, name in (("packs", f"with {PACKS} packs"), ("without", f"{len(others)} plugins alone")):
        print(f"{name:<22}{wall[side]:>9.3f}{cpu[side]:>9.3f}")
    more = wall["packs"] - wall["without"]
    return {
        "ratios": {"seconds": round(wall["packs"], 3), "ms_a_pack": round(1000 * more / PACKS, 2)},
        "limits": {"seconds": SECONDS},
        "equal": equal,
        "met": {"seconds": wall["packs"] <= SECONDS},
        "cpu_seconds": {side: round(seconds, 3) for side, seconds in cpu.items()},
        "all_wall_seconds": {side: [round(wall, 3) for wall, _ in times] for side, times in taken.items()},
        "python": platform.python_version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 runs instead of 15")
    found = measure(5 if parser.parse_args().quick else 15)
    print(json.dumps({"bench": "plugins", **found}))
    if not found["equal"]:
        raise SystemExit("not every pack was found and works")


if __name__ == "__main__":
    main()
