"""One merge by the fast engine and nothing else, for bench/merge.py: no guards, no hashes, no sync, as mergekit-yaml.

python bench/merge_once.py METHOD OUT BASE FIRST SECOND [--candidates DENSITY:WEIGHT ...] [--memory] [--device DEVICE]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

STAGE = SimpleNamespace(name="merge", seed=1234, progress=lambda *_: None, stop_requested=lambda: False)


def main() -> None:
    """Merge once, or as often as there are candidates."""
    parser = argparse.ArgumentParser()
    parser.add_argument("method")
    parser.add_argument("out", type=Path)
    parser.add_argument("parents", type=Path, nargs=3)
    parser.add_argument("--candidates", nargs="*", default=[])
    parser.add_argument("--memory", action="store_true", help="candidates go into tensors instead of folders")
    parser.add_argument("--device", default="kernels")
    options = parser.parse_args()
    base, *models = (
        SimpleNamespace(path=path, role=role)
        for path, role in zip(options.parents, ("base", "instruct", "cpt"), strict=True)
    )
    if not options.candidates:
        from domadapt.builtin.merging.fast import engine

        engine.run(options.method, settings(0.5, 0.5), base, models, options.out, STAGE, device=options.device)  # type: ignore[arg-type]
        return
    from domadapt.builtin.merging.fast.sweep import Candidate, Sweep

    pairs = [tuple(map(float, pair.split(":"))) for pair in options.candidates]
    candidates = [Candidate(options.method, settings(density, weight)) for density, weight in pairs]
    sweep = Sweep(base, models, seed=STAGE.seed, device=options.device)  # type: ignore[arg-type]
    if not options.memory:
        sweep.write({options.out / str(i): candidate for i, candidate in enumerate(candidates)}, STAGE)  # type: ignore[arg-type]
        return
    with ThreadPoolExecutor(1) as pool:  # a network to fill is loaded meanwhile; here the import is all there is to it
        prepared = pool.submit(sweep.prepare, candidates)
        import torch  # noqa: F401

        prepared.result()
    network = sweep.state_dict(candidates[0])
    for candidate in candidates[1:]:
        sweep.load_into(network, candidate)


def settings(density: float, weight: float) -> Any:
    """The second model's weight, one density, mergekit's defaults."""

    def numbers(name: str, role: str | None) -> Mapping[str, Any]:
        if role is None:
            return {"t": weight}
        return {"weight": weight if role == "cpt" else 1 - weight, "density": density}

    return numbers


if __name__ == "__main__":
    main()
