"""The fast merge engine against mergekit-yaml and against a plain copy, on checkpoints of half a billion parameters.

    python bench/merge.py            # three rounds, under 15 minutes on two cores
    python bench/merge.py --quick    # one round, a fifth of the parameters, under 3 minutes

A base and two descendants of it, bf16, sharded, with exact zeros and many equal magnitudes among their task vectors.
Both sides merge them with the same configuration (arithmetic in fp32, stored as bf16; TIES and DARE at density 0.5),
each merge a process of its own, the sides taking turns. Before each, for all alike, the parents are read and a file as
large as a checkpoint is written and deleted: the parents are in the page cache, and its next pages are ones that
this machine has (a virtual one may have given them back, and then waits for its host at every page, eight times as
long as it takes to fill it). Equality comes first, every entry: linear and task arithmetic bit for bit; TIES but where
magnitudes tie at the threshold; slerp within one unit in the last place; DARE the share it keeps. Then the time:

    ties dare_ties slerp linear task_arithmetic   mergekit-yaml's wall time over ours; neither hashes or syncs
    ties_vs_copy           our TIES over reading three checkpoints and writing one, kernels compiled before
    published_vs_copy      `adapt merge` (guards, finite scan, fsync, sha256) over a copy that hashes and syncs
    sweep8_written         8 TIES merges by mergekit (8 times its median) over 8 candidates that one process writes
    sweep8_memory          the same over 8 candidates put into tensors
    ties_without_kernels   mergekit's TIES over ours by array operators
    anon_memory            peak anonymous memory of our TIES beyond an interpreter with numpy, over a checkpoint's bytes

The last line is one JSON object; exit code 1 when the sides are not equal.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import yaml
from bars import met

HERE = Path(__file__).parent
ROLES = ("base", "instruct", "cpt")
METHODS = ("ties", "dare_ties", "slerp", "linear", "task_arithmetic")
BARS = {
    "ties": ">= 20", "dare_ties": ">= 8", "slerp": ">= 5", "linear": ">= 3", "task_arithmetic": ">= 3",
    "ties_vs_copy": "<= 3", "sweep8_written": ">= 40", "sweep8_memory": ">= 100", "ties_without_kernels": ">= 5",
    "anon_memory": "<= 0.05",
}  # fmt: skip
CANDIDATES = [f"{density}:{weight}" for density in (0.2, 0.4, 0.6, 0.8) for weight in (0.5, 0.3)]
DENSITY, WEIGHT = 0.5, 0.5
FULL = {"layers": 16, "width": 1536, "inner": 4096, "heads": 24, "kv_heads": 8, "vocabulary": 32000}
QUICK = {"layers": 8, "width": 768, "inner": 2048, "heads": 12, "kv_heads": 4, "vocabulary": 32000}
PACKAGES = ("domadapt", "mergekit", "torch", "numba", "llvmlite", "numpy", "transformers")
COPY = """
import hashlib, os, sys
*sources, target, publish = sys.argv[1:]
buffer, digest = bytearray(16 << 20), hashlib.sha256()
for number, folder in enumerate(sources):
    os.makedirs(target, exist_ok=True)
    for name in sorted(n for n in os.listdir(folder) if n.endswith(".safetensors")):
        out = open(os.path.join(target, name), "wb", buffering=0) if number == 0 else None
        with open(os.path.join(folder, name), "rb", buffering=0) as source:
            while count := source.readinto(buffer):
                if out:
                    out.write(memoryview(buffer)[:count])
        if out and publish == "yes":
            os.fsync(out.fileno())
            with open(out.name, "rb", buffering=0) as written:
                while count := written.readinto(buffer):
                    digest.update(memoryview(buffer)[:count])
"""
MERGEKIT = "from mergekit.scripts.run_yaml import main; main()"
"""What the script `mergekit-yaml` does."""
IDLE = "import numpy, time; time.sleep(0.3)"


class Measured(NamedTuple):
    """What one process and its children took: seconds on the clock, CPU seconds, peak anonymous bytes."""

    wall: float
    cpu: float
    anonymous: int


class Bench:
    """One folder for everything."""

    def __init__(self, folder: Path, shape: Mapping[str, int]) -> None:
        self.folder, self.shape = folder, shape
        self.parents = [folder / "models" / role for role in ROLES]
        self.environment = os.environ | {
            "ADAPT_HOME": str(folder / "home"),
            "HF_HUB_OFFLINE": "1",
            # for all sides: how threads wait is no part of the comparison, and spinning ones disturb each other
            "OMP_WAIT_POLICY": "passive",
        }
        self.number = 0

    def settle(self) -> None:
        """Bring the page cache into the same state before each process."""
        os.sync()  # nothing that a process before left is still being written to the disk
        buffer, spare = bytearray(1 << 20), self.folder / "spare"
        for parent in self.parents:
            for file in sorted(parent.glob("*.safetensors")):
                with file.open("rb", buffering=0) as source:
                    while source.readinto(buffer):
                        pass
        with spare.open("wb", buffering=0) as out:
            for _ in range(0, self.num_bytes, len(buffer)):
                out.write(buffer)
        spare.unlink()

    def measure(self, command: Sequence[str]) -> Measured:
        """Run a command to its end. Raises SystemExit when it fails."""
        self.settle()
        log = self.folder / "log"
        with log.open("wb") as output:
            started = time.perf_counter()
            process = subprocess.Popen(command, env=self.environment, stdout=output, stderr=subprocess.STDOUT)
            ended, peak = threading.Event(), [0]
            watch = threading.Thread(target=_watch, args=(process.pid, ended, peak))
            watch.start()
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - started
        ended.set()
        watch.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{log.read_text()[-4000:]}")
        return Measured(wall, usage.ru_utime + usage.ru_stime, peak[0])

    def out(self) -> Path:
        """A new folder for an output; the ones before are gone, so that disk and page cache stay the same."""
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        self.number += 1
        return self.folder / "out" / str(self.number)

    def ours(self, method: str, *options: str, out: Path | None = None) -> Measured:
        """The engine alone."""
        folders = [str(out or self.out()), *map(str, self.parents)]
        return self.measure([sys.executable, str(HERE / "merge_once.py"), method, *folders, *options])

    def mergekit(self, method: str, out: Path | None = None) -> Measured:
        """mergekit-yaml with the same configuration."""
        file = self.folder / f"{method}.yml"
        file.write_text(yaml.safe_dump(self.config(method)))
        options = ["--quiet", "--no-copy-tokenizer", "--no-write-model-card", "--random-seed", "1234"]
        return self.measure([sys.executable, "-c", MERGEKIT, str(file), str(out or self.out()), *options])

    def config(self, method: str) -> dict[str, Any]:
        """mergekit's configuration."""
        base, *models = map(str, self.parents)
        own = {} if method == "slerp" else {"weight": WEIGHT}
        if method in ("ties", "dare_ties"):
            own["density"] = DENSITY
        config = {
            "merge_method": method,
            "models": [{"model": model, "parameters": own} for model in models],
            "dtype": "float32",
            "out_dtype": "bfloat16",
        }
        if method == "slerp":
            return config | {"base_model": models[0], "parameters": {"t": WEIGHT}}
        return config if method == "linear" else config | {"base_model": base}

    def published(self) -> Measured:
        """The command as users give it, without trying the result in transformers."""
        base, instruct, cpt = map(str, self.parents)
        options = ["--ancestor", base, "--instruct", instruct, "--cpt", cpt, "--method", "ties", "--no-try"]
        out = ["--out", str(self.out() / "model")]
        (self.folder / "out").mkdir(exist_ok=True)
        return self.measure([sys.executable, "-m", "domadapt", "merge", *options, "--set", f"density={DENSITY}", *out])

    def copy(self, publish: bool) -> Measured:
        """Read three checkpoints, write one; hash and sync it when asked."""
        folders = [*map(str, self.parents), str(self.out())]
        return self.measure([sys.executable, "-c", COPY, *folders, "yes" if publish else "no"])

    @property
    def num_bytes(self) -> int:
        """Bytes of one checkpoint's weights."""
        return sum(file.stat().st_size for file in self.parents[0].glob("*.safetensors"))


def _watch(pid: int, ended: threading.Event, peak: list[int]) -> None:
    while not ended.wait(0.01):
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            return
        found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")]
        peak[0] = max([peak[0], *found])


def write_parents(bench: Bench) -> None:
    """Three checkpoints of two files each."""
    from domadapt.builtin.merging.fast.writing import Planned, Writer

    shapes = _shapes(bench.shape)
    number = {role: i for i, role in enumerate(ROLES)}
    for role, folder in zip(ROLES, bench.parents, strict=True):
        half = len(shapes) // 2
        planned = [Planned(n, "BF16", s, 2 * int(np.prod(s)), str(i > half)) for i, (n, s) in enumerate(shapes.items())]
        writer = Writer(folder, planned)
        for place, (name, shape) in enumerate(shapes.items()):
            entries = np.random.default_rng(place).standard_normal(int(np.prod(shape)), np.float32) * np.float32(0.02)
            if number[role]:
                draw = np.random.default_rng([number[role], place])
                delta = draw.standard_normal(entries.size, np.float32) * np.float32(2e-3 / number[role])
                delta[::10] = 0
                delta[1::10] = np.float32(2**-10)
                entries += delta
            writer.write(name, _bf16(entries), 0)
        writer.finish()
        writer.close()
        (folder / "config.json").write_text(json.dumps(_config(bench.shape)))


def _shapes(of: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    width, kv = of["width"], of["width"] // of["heads"] * of["kv_heads"]
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (of["vocabulary"], width)}
    for layer in range(of["layers"]):
        at = f"model.layers.{layer}."
        found |= {f"{at}self_attn.{n}_proj.weight": (rows, width) for n, rows in (("q", width), ("k", kv), ("v", kv))}
        found |= {f"{at}self_attn.o_proj.weight": (width, width), f"{at}mlp.down_proj.weight": (width, of["inner"])}
        found |= {f"{at}mlp.{n}_proj.weight": (of["inner"], width) for n in ("gate", "up")}
        found |= {f"{at}{n}.weight": (width,) for n in ("input_layernorm", "post_attention_layernorm")}
    return found | {"model.norm.weight": (width,), "lm_head.weight": (of["vocabulary"], width)}


def _config(of: Mapping[str, int]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16", "torch_dtype": "bfloat16",
        "vocab_size": of["vocabulary"], "hidden_size": of["width"], "intermediate_size": of["inner"],
        "num_hidden_layers": of["layers"], "num_attention_heads": of["heads"], "num_key_value_heads": of["kv_heads"],
        "tie_word_embeddings": False,
    }  # fmt: skip


def _bf16(entries: Any) -> Any:
    bits = entries.view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)


def _fp32(halves: Any) -> Any:
    return (halves.astype(np.uint32) << np.uint32(16)).view(np.float32)


def differences(bench: Bench, measured: dict[str, list[Measured]]) -> tuple[list[str], dict[str, float]]:
    """Where the two sides' results differ more than they may, in words; and what was seen, by method.

    The merges that are compared are the first round of those measured.
    """
    found: list[str] = []
    seen: dict[str, float] = {}
    for method in METHODS:
        ours, theirs = bench.folder / "equal" / "ours", bench.folder / "equal" / "theirs"
        measured[method] = [bench.ours(method, out=ours)]
        measured[f"mergekit {method}"] = [bench.mergekit(method, out=theirs)]
        seen[method] = _compare(method, bench, ours, theirs, found)
        times = f"{measured[method][0].wall:.2f} s, mergekit {measured[f'mergekit {method}'][0].wall:.2f} s"
        print(f"{method:<16} {seen[method]:.6f} of all entries are equal bit for bit; {times}", flush=True)
        shutil.rmtree(bench.folder / "equal")
    return found, seen


def _compare(method: str, bench: Bench, ours: Path, theirs: Path, found: list[str]) -> float:
    from domadapt.builtin.merging.fast.checkpoint import Weights

    one, other = Weights(ours), Weights(theirs)
    base, *models = (Weights(parent) for parent in bench.parents)
    if set(one.tensors) != set(other.tensors):
        found.append(f"{method}: other tensors")
        return 0.0
    equal = size = 0
    kept = [0, 0]
    for name in one.tensors:
        a, b = one.flat(name), other.flat(name)
        different = a != b
        equal, size = equal + int((~different).sum()), size + a.size
        if method in ("linear", "task_arithmetic") and different.any():
            found.append(f"{method}: {int(different.sum())} entries of {name}")
        if method == "slerp" and (abs(_ordered(a) - _ordered(b)) > 1).any():
            found.append(f"slerp: {name} differs by more than one unit in the last place")
        if method == "ties" and different.any():
            rest = different & ~_at_a_threshold(base.flat(name), [model.flat(name) for model in models])
            if rest.any():
                found.append(f"ties: {int(rest.sum())} entries of {name} that are at no threshold")
        if method == "dare_ties":
            start = base.flat(name)
            kept = [kept[0] + int((a != start).sum()), kept[1] + int((b != start).sum())]
    if method == "dare_ties" and not abs(kept[0] / kept[1] - 1) < 1e-3:
        found.append(f"dare_ties: {kept[0]} entries changed by ours, {kept[1]} by mergekit's")
    return equal / size


def _ordered(halves: Any) -> Any:
    """bf16 bits as integers in the order of the numbers, so that neighbours differ by 1."""
    signed = halves.astype(np.int32)
    return np.where(signed >= 0x8000, 0x8000 - signed, signed)


def _at_a_threshold(base: Any, models: Sequence[Any]) -> Any:
    tied = np.zeros(base.size, bool)
    start = _fp32(base)
    for model in models:
        magnitude = abs(_fp32(model) - start)
        place = base.size - max(1, int(DENSITY * base.size))
        tied |= magnitude == np.partition(magnitude, place)[place]
    return tied


def run(bench: Bench, rounds: int) -> dict[str, Any]:
    """Equality, then every measurement in turn, `rounds` times."""
    write_parents(bench)
    bench.ours("linear")  # compiles the kernels, reads everything into the page cache
    measured: dict[str, list[Measured]] = {}
    found, seen = differences(bench, measured)
    if found:
        print("not equal:", *found, sep="\n  ")
        return {"equal": False, "limits": BARS}
    sides: dict[str, Callable[[], Measured]] = {
        "copy": lambda: bench.copy(publish=False),
        "copy, hashed": lambda: bench.copy(publish=True),
        "adapt merge": bench.published,
        "8 written": lambda: bench.ours("ties", "--candidates", *CANDIDATES),
        "8 in memory": lambda: bench.ours("ties", "--candidates", *CANDIDATES, "--memory"),
        "ties, operators": lambda: bench.ours("ties", "--device", "operators"),
        "interpreter": lambda: bench.measure([sys.executable, "-c", IDLE]),
    }
    for method in METHODS:
        sides[method] = lambda method=method: bench.ours(method)  # type: ignore[misc]
        sides[f"mergekit {method}"] = lambda method=method: bench.mergekit(method)  # type: ignore[misc]
    for number in range(rounds):
        for side, start in list(sides.items())[:: 1 if number % 2 == 0 else -1]:
            if len(measured.setdefault(side, [])) > number:
                continue
            measured[side].append(start())
            print(f"round {number}: {side:<24} {measured[side][-1].wall:8.2f} s", flush=True)
    return {"equal": True, "equal_entries": seen, "limits": BARS, **report(bench, measured)}


def report(bench: Bench, measured: Mapping[str, Sequence[Measured]]) -> dict[str, Any]:
    """Ratios of medians, and the table for people."""
    wall = {side: median(m.wall for m in runs) for side, runs in measured.items()}
    cpu = {side: median(m.cpu for m in runs) for side, runs in measured.items()}
    anonymous = {side: median(m.anonymous for m in runs) for side, runs in measured.items()}
    ratios = {method: wall[f"mergekit {method}"] / wall[method] for method in METHODS} | {
        "ties_vs_copy": wall["ties"] / wall["copy"],
        "published_vs_copy": wall["adapt merge"] / wall["copy, hashed"],
        "sweep8_written": 8 * wall["mergekit ties"] / wall["8 written"],
        "sweep8_memory": 8 * wall["mergekit ties"] / wall["8 in memory"],
        "ties_without_kernels": wall["mergekit ties"] / wall["ties, operators"],
        "anon_memory": max(0, anonymous["ties"] - anonymous["interpreter"]) / bench.num_bytes,
    }
    print(f"\n{'':<26}{'wall s':>9}{'CPU s':>9}{'anonymous MB':>14}   all wall times")
    for side, runs in measured.items():
        walls = " ".join(f"{m.wall:.2f}" for m in runs)
        print(f"{side:<26}{wall[side]:>9.2f}{cpu[side]:>9.2f}{anonymous[side] / 1e6:>14.0f}   {walls}")
    return {
        "ratios": {key: round(ratio, 4) for key, ratio in ratios.items()},
        "met": met(ratios, BARS),
        "cpu_ratios": {m: round(cpu[f"mergekit {m}"] / cpu[m], 2) for m in METHODS},
        "wall_seconds": {side: round(seconds, 3) for side, seconds in wall.items()},
        "cpu_seconds": {side: round(seconds, 3) for side, seconds in cpu.items()},
        "anonymous_bytes": {side: int(peak) for side, peak in anonymous.items()},
        "checkpoint_bytes": bench.num_bytes,
        "all_wall_seconds": {side: [round(m.wall, 3) for m in runs] for side, runs in measured.items()},
    }


def main() -> None:
    """Equality, then timing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round, smaller checkpoints, under 3 minutes")
    parser.add_argument("--rounds", type=int, help="timed rounds (default 3, quick 1)")
    parser.add_argument("--folder", type=Path, help="where to make the checkpoints (default: a temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-merge-", dir=options.folder) as folder:
        bench = Bench(Path(folder), QUICK if options.quick else FULL)
        load = os.getloadavg()[0]
        rounds = options.rounds or (1 if options.quick else 3)
        result = {"bench": "merge", "quick": options.quick, "ratios": {}, **run(bench, rounds)}
    sources = sorted((HERE.parent / "core" / "domadapt" / "builtin" / "merging" / "fast").glob("*.py"))
    result |= {
        "load_before": round(load, 2),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "engine_sha256": hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:16],
        "date": date.today().isoformat(),
    }
    print(json.dumps(result))
    sys.exit(0 if result["equal"] else 1)


if __name__ == "__main__":
    main()
