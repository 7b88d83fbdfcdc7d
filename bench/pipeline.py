"""The whole pipeline against the same library calls made by hand, and the price of an unchanged re-run.

    python bench/pipeline.py            # three pairs of the default run, under 15 minutes on two cores
    python bench/pipeline.py --quick    # one pair, fewer steps and items, under 3 minutes

The two sides are `adapt run --domain sec` in a fresh folder and `bench/pipeline_by_hand.py`, each a process of its
own in the environment of this interpreter (no other packages are needed, so no environment is made). adapt is told to
call the same libraries (`SAME_CALLS`), so that what is measured is the pipeline around them. Equality comes first:
weights bit for bit, scores and interval bounds within 1e-6 of the number or of 1. Then wall time and peak memory, the
sides taking turns in starting, and the re-run, which must execute no stage. CPU time is printed beside the wall time:
on a machine that others use it is the steadier number, but no bar is set on it. The last line is one JSON object; exit
code 1 when the sides are not equal.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import yaml

HERE = Path(__file__).parent
RATIO, SECONDS, RERUN_SECONDS = 1.03, 1.0, 1.0
TOLERANCE = 1e-6
RERUNS = 5
SAME_CALLS = ("eval.engine=lm_eval", "merge.engine=mergekit", "eval.probes=false", "train.probe_items=0")
"""The libraries the script calls: adapt's own scorer and merge engine have benchmarks of their own, and probes are
work that the script does not do."""
QUICK = ("train.steps=20", "train.checkpoint_every=5", "train.eval_every=5", "eval.limit=24")
PACKAGES = ("domadapt", "torch", "transformers", "mergekit", "lm_eval", "megatron-core", "datasets", "numpy")


class Measured(NamedTuple):
    """What one process took: seconds on the clock, seconds of CPU time, peak resident bytes.

    others: CPU seconds that the rest of the machine used meanwhile (NaN where the system does not tell). A run with
    more than a few of them says nothing about wall time.
    """

    wall: float
    cpu: float
    peak: int
    others: float


def busy_seconds() -> float:
    """CPU seconds that all processes of the machine used since it started; steal counts, idle and waiting do not."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return math.nan
    user, nice, system, _, _, irq, soft_irq, steal = map(int, fields)
    return (user + nice + system + irq + soft_irq + steal) / os.sysconf("SC_CLK_TCK")


def measure(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Measured:
    """Run a command to its end with its output in `log`. Raises SystemExit when it fails."""
    with log.open("wb") as output:
        busy, started = busy_seconds(), time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{log.read_text()[-4000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    cpu = usage.ru_utime + usage.ru_stime
    return Measured(wall, cpu, usage.ru_maxrss * unit, max(0.0, busy_seconds() - busy - cpu))


class Bench:
    """One folder for everything: each run gets its own runs, caches and outputs below it."""

    def __init__(self, folder: Path, overrides: Sequence[str]) -> None:
        self.folder, self.overrides = folder, overrides
        self.settings = folder / "settings.json"

    def adapt(self, name: str) -> Measured:
        """The default run; the same name again is a re-run."""
        command = [sys.executable, "-m", "domadapt", "run", "--domain", "sec"]
        for override in self.overrides:
            command += ["--set", override]
        return measure(command, self._environment(name), self.folder / f"{name}.log")

    def by_hand(self, name: str) -> Measured:
        """The script, with the settings of the first run's lock file."""
        command = [sys.executable, str(HERE / "pipeline_by_hand.py"), str(self.settings), str(self.folder / name)]
        return measure(command, self._environment(name), self.folder / f"{name}.log")

    def _environment(self, name: str) -> dict[str, str]:
        # caches of its own: otherwise the second process finds the data sets that the first one prepared
        home = self.folder / f"{name}.home"
        return os.environ | {
            "ADAPT_RUNS": str(self.folder / name),
            "ADAPT_HOME": str(home / "adapt"),
            "HF_HOME": str(home / "huggingface"),
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            # what adapt sets by default, for both sides: the bench measures the pipeline, not a thread policy
            "OMP_WAIT_POLICY": "passive",
        }

    def run_folder(self, name: str) -> Path:
        """What a person opens of a run."""
        (folder,) = (p for p in (self.folder / name).iterdir() if (p / "recipe.lock.yaml").is_file())
        return folder

    def write_settings(self, name: str) -> None:
        """The numbers of the run's lock file, flat, for the script."""
        recipe = yaml.safe_load((self.run_folder(name) / "recipe.lock.yaml").read_text())
        mix, train, merge = recipe["mix"], recipe["train"], recipe["merge"]
        fixed = {
            "mixer": mix["mixer"], "packing": mix["packing"], "schedule": train["schedule"],
            "precision": train["precision"], "document_mask": train["document_mask"], "methods": merge["methods"],
        }  # fmt: skip
        assert fixed == {
            "mixer": "replay", "packing": "concat", "schedule": "cosine",
            "precision": "bf16", "document_mask": False, "methods": ["ties"],
        }, f"the starter recipe changed; teach bench/pipeline_by_hand.py its new settings: {fixed}"  # fmt: skip
        numbers = ("steps", "micro_batch", "lr", "warmup", "min_lr", "weight_decay", "beta1", "beta2", "clip",
                   "eval_every", "eval_windows", "checkpoint_every")  # fmt: skip
        settings = {
            "seed": recipe["seed"],
            "start": recipe["model"]["start"],
            "holdout": recipe["corpus"]["holdout"],
            "holdout_documents": recipe["corpus"]["holdout_documents"],
            "replay": mix["replay"],
            "seq_len": mix["seq_len"],
            "samples_per_step": train["batch_tokens"] // mix["seq_len"],
            **{number: train[number] for number in numbers},
            "threads": train["options"]["threads"],
            "weight": merge["weight"],
            **merge["options"]["ties"],
            "limit": recipe["eval"]["limit"],
            "eval_batch_tokens": recipe["eval"]["batch_tokens"],
        }
        self.settings.write_text(json.dumps(settings, indent=1))

    def phases(self, name: str) -> dict[str, float]:
        """Seconds of each part of a run."""
        if (script := self.folder / name / "seconds.json").is_file():
            return dict(json.loads(script.read_bytes()))
        seconds: dict[str, float] = {}
        for event in map(json.loads, (self.run_folder(name) / "events.jsonl").read_bytes().splitlines()):
            if event["kind"] == "done":
                part = event["stage"].split(".")[0]
                seconds[part] = seconds.get(part, 0.0) + event["seconds"]
        return seconds

    def reruns(self, name: str) -> list[float]:
        """Seconds of unchanged re-runs. Raises SystemExit when one executed a stage."""
        events = self.run_folder(name) / "events.jsonl"
        before = events.read_bytes()
        seconds = [self.adapt(name).wall for _ in range(RERUNS)]
        executed = [e for e in map(json.loads, events.read_bytes()[len(before) :].splitlines()) if e["kind"] == "start"]
        if executed:
            why = "\n".join(f"  {e['stage']}: {e['reason']}" for e in executed)
            raise SystemExit(f"the re-run executed stages (did the sources change meanwhile?):\n{why}")
        return seconds


def differences(run: Path, script: Path) -> list[str]:
    """Where the results of the two sides differ, in words; empty when they are equal."""
    found = [
        f"{model}: {difference}"
        for model, stage in (("cpt", "train"), ("ties", "merge.ties"))
        for difference in weight_differences(run / "stages" / stage, script / model)
    ]
    theirs = {(r["model"], r["task"], r["metric"]): r for r in json.loads((script / "scores.json").read_bytes())}
    ours = {}
    for model in dict.fromkeys(model for model, _, _ in theirs):
        for folder in sorted((run / "stages").glob(f"eval.{model}.*")):
            for row in json.loads((folder / "scores.json").read_bytes())["rows"]:
                ours[model, row["task"], row["metric"]] = row
    found += [f"{'/'.join(key)}: only on one side" for key in sorted(set(ours) ^ set(theirs))]
    for key in sorted(set(ours) & set(theirs)):
        for number in ("value", "stderr", "low", "high"):
            if not math.isclose(ours[key][number], theirs[key][number], rel_tol=TOLERANCE, abs_tol=TOLERANCE):
                found.append(f"{'/'.join(key)}: {number} {ours[key][number]!r} and {theirs[key][number]!r}")
    return found


def weight_differences(ours: Path, theirs: Path) -> list[str]:
    """Names of the tensors that are not the same bits."""
    import torch
    from safetensors.torch import load_file

    one, other = (
        {k: v for f in sorted(p.glob("*.safetensors")) for k, v in load_file(f).items()} for p in (ours, theirs)
    )
    names = sorted(set(one) | set(other))
    assert names, f"no weights in {ours} and {theirs}"
    return [
        f"tensor {name} differs"
        for name in names
        if name not in one or name not in other or one[name].dtype != other[name].dtype
        or not torch.equal(one[name], other[name])
    ]  # fmt: skip


def print_table(sides: Mapping[str, Sequence[Measured]], reruns: Sequence[float]) -> None:
    """The figures for people."""
    print(f"\n{'':<22}{'wall s':>10}{'CPU s':>10}{'peak MB':>10}   all wall times (CPU s of other processes)")
    for name, runs in sides.items():
        middle = [median(column) for column in zip(*runs, strict=True)]
        walls = " ".join(f"{run.wall:.1f} ({run.others:.0f})" for run in runs)
        print(f"{name:<22}{middle[0]:>10.2f}{middle[1]:>10.2f}{middle[2] / 1e6:>10.0f}   {walls}")
    ours, theirs = (sides[name] for name in ("adapt", "by hand"))
    pairs = [a.wall / b.wall for a, b in zip(ours, theirs, strict=True)]
    print(f"{'adapt / by hand, pairs':<22}{median(pairs):>10.3f}{'':>20}   {' '.join(f'{p:.3f}' for p in pairs)}")
    print(f"{'re-run, no change':<22}{median(reruns):>10.2f}{'':>20}   {' '.join(f'{s:.2f}' for s in reruns)}")


def main() -> None:
    """Equality, then timing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one pair, fewer steps and items, under 3 minutes")
    parser.add_argument("--pairs", type=int, help="timed pairs (default 3, quick 1)")
    options = parser.parse_args()
    num_pairs = options.pairs or (1 if options.quick else 3)
    with tempfile.TemporaryDirectory(prefix="bench-pipeline-") as folder:
        bench = Bench(Path(folder), (*SAME_CALLS, *(QUICK if options.quick else ())))
        load = os.getloadavg()[0]
        result = {"bench": "pipeline", "quick": options.quick, "ratios": {}, **run(bench, num_pairs)}
    result |= {
        "load_before": round(load, 2),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {cpu_name()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "date": date.today().isoformat(),
    }
    print(json.dumps(result))
    sys.exit(0 if result["equal"] else 1)


def run(bench: Bench, num_pairs: int) -> dict[str, Any]:
    """All runs; the first pair is checked for equality before anything else is timed."""
    sides: dict[str, list[Measured]] = {"adapt": [], "by hand": []}
    phases: dict[str, list[dict[str, float]]] = {"adapt": [], "by hand": []}
    for pair in range(num_pairs):
        turns = [("adapt", bench.adapt), ("by hand", bench.by_hand)]
        for side, start in turns if pair % 2 == 0 else turns[::-1]:
            name = f"{side.replace(' ', '_')}-{pair}"
            sides[side].append(start(name))
            print(
                f"{name:<12} {sides[side][-1].wall:8.1f} s, others used {sides[side][-1].others:.1f} s of CPU",
                flush=True,
            )
            parts = bench.phases(name)
            phases[side].append({**parts, "rest": sides[side][-1].wall - sum(parts.values())})
            if pair == 0 and side == "adapt":
                bench.write_settings(name)
        if pair == 0 and (found := differences(bench.run_folder("adapt-0"), bench.folder / "by_hand-0")):
            print("not equal:", *found, sep="\n  ")
            return {"equal": False, "limits": limits()}
    reruns = bench.reruns("adapt-0")
    print_table(sides, reruns)
    print_phases(phases)
    middle = {side: Measured(*(median(column) for column in zip(*runs, strict=True))) for side, runs in sides.items()}
    ours, theirs = middle["adapt"], middle["by hand"]
    rerun = median(reruns)
    return {
        "ratios": {"overhead": round(ours.wall / theirs.wall, 4), "rerun_seconds": round(rerun, 3)},
        "limits": limits(),
        "equal": True,
        "met": {"overhead": ours.wall <= RATIO * theirs.wall + SECONDS, "rerun_seconds": rerun <= RERUN_SECONDS},
        "pairs": num_pairs,
        "wall_seconds": {side: round(m.wall, 2) for side, m in middle.items()},
        "cpu_ratio": round(ours.cpu / theirs.cpu, 4),
        "cpu_seconds": {side: round(m.cpu, 2) for side, m in middle.items()},
        "peak_bytes": {side: int(m.peak) for side, m in middle.items()},
        "others_cpu_seconds": {side: [known(m.others) for m in runs] for side, runs in sides.items()},
        "all_wall_seconds": {side: [round(m.wall, 2) for m in runs] for side, runs in sides.items()},
    }


def print_phases(phases: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Medians of the parts of both sides, for the question where a difference comes from.

    rest: starting, which for the script includes importing torch and transformers; adapt imports them in `tokens`.
    """
    parts = dict.fromkeys(part for runs in phases.values() for run in runs for part in run)
    print(f"\n{'seconds':<22}" + "".join(f"{part:>9}" for part in parts))
    for side, runs in phases.items():
        print(f"{side:<22}" + "".join(f"{median(run.get(part, 0.0) for run in runs):>9.2f}" for part in parts))


def known(seconds: float) -> float | None:
    """Rounded, None for NaN, which JSON does not have."""
    return None if math.isnan(seconds) else round(seconds, 1)


def limits() -> dict[str, Any]:
    """The bars."""
    return {"overhead": f"<= {RATIO} + {SECONDS:g} s", "rerun_seconds": RERUN_SECONDS}


def cpu_name() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
