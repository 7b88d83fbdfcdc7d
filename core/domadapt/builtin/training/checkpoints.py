"""Checkpoints for resuming: weights, optimizer state and position, each in a published folder.

Everything is safetensors and JSON; nothing is unpickled. The newest intact one counts; one that fails its
sha256 is set aside with a warning, never loaded.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.components import Stage
from domadapt.errors import DataError, StageError
from domadapt.pipeline.store import publish, remove, verify

if TYPE_CHECKING:
    import torch

KEEP = 2


def save_checkpoint(
    folder: Path, step: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Publish `folder/step-XXXXXXXX` and drop all but the newest two."""
    import torch
    from safetensors.torch import save_file

    work = folder / f"step-{step:08d}.partial"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    names = {parameter: name for name, parameter in model.named_parameters()}
    save_file({n: p.detach().contiguous() for n, p in model.named_parameters()}, work / "model.safetensors")
    moments = {
        f"{names[parameter]}/{key}": value.detach().contiguous()
        for parameter, values in optimizer.state.items()
        for key, value in values.items()
    }
    save_file({**moments, "rng/torch": torch.get_rng_state()}, work / "optimizer.safetensors")
    (work / "state.json").write_text(json.dumps({"step": step, **state}, sort_keys=True))
    publish(work, folder / f"step-{step:08d}", {"kind": "training checkpoint", "facts": {"step": step}})
    for old in sorted(folder.glob("step-????????"))[:-KEEP]:
        remove(old)


def load_newest(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, stage: Stage
) -> dict[str, Any] | None:
    """Load the newest intact checkpoint into model and optimizer; return its state, None if there is none.

    Raises StageError when there are checkpoints but none is intact: starting over must be asked for.
    """
    import torch
    from safetensors.torch import load_file

    for path in sorted(folder.glob("step-????????"), reverse=True):
        try:
            verify(path)
        except DataError as error:
            stage.event("warning", message=f"checkpoint set aside: {error}")
            remove(path.with_name(f"bad-{path.name}"))
            path.rename(path.with_name(f"bad-{path.name}"))
            continue
        parameters = dict(model.named_parameters())
        saved = load_file(path / "model.safetensors")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(saved[name])
        for entry, value in load_file(path / "optimizer.safetensors").items():
            name, key = entry.rsplit("/", 1)
            if entry == "rng/torch":
                torch.set_rng_state(value)
            else:
                state = optimizer.state.setdefault(parameters[name], {})
                state[key] = value if key == "step" else value.to(parameters[name].device)
        return json.loads((path / "state.json").read_bytes())  # type: ignore[no-any-return]
    if bad := sorted(folder.glob("bad-step-????????")):
        raise StageError(
            f"{stage.name}: none of the {len(bad)} checkpoints in {folder} is intact; delete that folder to start over"
        )
    return None
