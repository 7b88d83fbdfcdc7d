"""The embedded training backend: continual pre-training with torch in this process.

A causal language model from a Hugging Face folder, AdamW over fp32 weights (bf16 by autocast), gradient
accumulation, clipping. Resuming after a kill gives the same bits on the CPU: the thread count is fixed,
the order of data is a function of the sample number, and everything random is seeded and saved.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from domadapt.artifacts import TOKENIZER_FILES, Checkpoint
from domadapt.components import Options, Stage, TrainingBackend, TrainRequest
from domadapt.errors import DataError, Interrupted, StageError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from domadapt.builtin.training.probing import CheckpointProbe
    from domadapt.report.stability import StabilityGap

METRICS = Path("training") / "metrics.jsonl"


class TorchOptions(Options):
    """Options of the torch backend."""

    threads: int = Field(2, ge=1)
    """CPU threads. Fixed, not taken from the machine: another number gives other last bits."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: about a third more time for much less memory."""


class TorchBackend(TrainingBackend):
    """Single-process training on a CPU or one GPU."""

    name: ClassVar[str] = "torch"
    Config: ClassVar[type[Options]] = TorchOptions

    def train(self, request: TrainRequest, out: Path, stage: Stage) -> dict[str, Any]:
        """Train from `request.start`, or continue from the newest checkpoint of an interrupted attempt."""
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(self.config.threads)
        torch.manual_seed(stage.seed)
        try:
            run = _Run(request, out, stage, gradient_checkpointing=self.config.gradient_checkpointing)
            run.resume()
            run.fit()
            facts = run.finish()
        finally:  # what follows must compute alike whether training was done in this process or before
            torch.set_num_threads(threads)
        return {**facts, "threads": self.config.threads}


class _Run:
    """One training run: model, optimizer, data and the place they write to."""

    def __init__(self, request: TrainRequest, out: Path, stage: Stage, *, gradient_checkpointing: bool) -> None:
        import torch

        from domadapt.builtin.models.weights import load_causal_lm
        from domadapt.builtin.tokens.tokenizer import DocumentTokenizer
        from domadapt.builtin.training.windows import WindowReader

        self.request, self.out, self.stage, self.settings = request, out, stage, request.settings
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = load_causal_lm(request.start.path, torch.float32).to(self.device)
        vocab = self.model.get_input_embeddings().num_embeddings
        if request.tokens.facts["vocab_size"] > vocab:
            raise DataError(
                f"train: the token store has {request.tokens.facts['vocab_size']} tokens, the model's embedding "
                f"{vocab}; base and instruct must share one vocabulary"
            )
        if DocumentTokenizer(request.start).digest() != request.tokens.facts["tokenizer"]:
            raise DataError(
                f"train: the tokenizer in {request.start.path} is not the one that made the tokens; "
                "base and instruct must share one vocabulary"
            )
        if gradient_checkpointing:
            # its first name warns in transformers 5.23 and goes with 6; the new one is not in 5.0
            enable = getattr(self.model, "activation_checkpointing_enable", None)
            (enable or self.model.gradient_checkpointing_enable)()
        self.data = WindowReader(request.tokens)
        matrices = [p for p in self.model.parameters() if p.ndim >= 2]
        vectors = [p for p in self.model.parameters() if p.ndim < 2]
        groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        s = self.settings
        self.optimizer = torch.optim.AdamW(groups, lr=s.lr, betas=(s.beta1, s.beta2), weight_decay=s.weight_decay)
        self.step = 0
        self.probe: CheckpointProbe | None = None
        if request.probe is not None and request.evaluator is not None:
            from domadapt.builtin.training.probing import CheckpointProbe

            self.probe = CheckpointProbe(request, stage)
        self.dip_told = False

    def resume(self) -> None:
        """Continue where the newest intact checkpoint stands, or start with a measurement at step 0."""
        from domadapt.builtin.training.checkpoints import load_newest

        state = load_newest(self.stage.scratch, self.model, self.optimizer, self.stage)
        self.metrics = self.stage.scratch / METRICS.name
        if state is None:
            self.metrics.write_text("")
            self._measure()
            return
        self.step = state["step"]
        # lines written after the checkpoint are written again
        self.metrics.write_bytes(self.metrics.read_bytes()[: state["metrics_bytes"]])
        self.dip_told = self._dip() is not None
        self.stage.event("resumed", step=self.step, num_steps=self.request.num_steps)

    def fit(self) -> None:
        """All remaining optimizer steps."""
        self.model.train()
        while self.step < self.request.num_steps:
            loss, norm, rate = self._update()
            self.step += 1
            done = self.step == self.request.num_steps
            tokens = self.step * self.request.samples_per_step * self.data.seq_len
            self._log(step=self.step, loss=loss, lr=rate, grad_norm=norm, tokens=tokens)
            self.stage.progress(self.step, self.request.num_steps, "steps", loss=round(loss, 3), tokens=tokens)
            if done or self.step % self.settings.eval_every == 0:
                self._measure()
            stop = self.stage.stop_requested()
            if stop or (not done and self.step % self.settings.checkpoint_every == 0):
                self._save()
            if stop:
                raise Interrupted(
                    f"train: stopped at step {self.step} of {self.request.num_steps}, saved; "
                    "run the same command to continue"
                )

    def _update(self) -> tuple[float, float, float]:
        import torch

        from domadapt.builtin.training.schedule import learning_rate

        s = self.settings
        rate = learning_rate(
            self.step, self.request.num_steps, peak=s.lr, shape=s.schedule, warmup=s.warmup, minimum=s.min_lr
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        first = self.step * self.request.samples_per_step
        ids, labels, positions = self.data.samples(first, self.request.samples_per_step)
        num_targets = int((labels[:, 1:] >= 0).sum())
        loss = 0.0
        for at in range(0, len(ids), s.micro_batch):
            rows = slice(at, at + s.micro_batch)
            part = self._loss(ids[rows], labels[rows], positions[rows] if s.document_mask else None) / num_targets
            part.backward()
            loss += part.item()
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), s.clip))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise StageError(
                f"train: loss {loss} and gradient norm {norm} at step {self.step + 1} (samples {first} to "
                f"{first + len(ids) - 1}); the weights are those of the step before. "
                "Lower train.lr, or look at these samples"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss, norm, rate

    def _loss(self, ids: np.ndarray, labels: np.ndarray, positions: np.ndarray | None) -> torch.Tensor:
        """Sum of the next-token losses in nats."""
        import torch

        inputs: dict[str, Any] = {"input_ids": torch.from_numpy(ids).to(self.device)}
        if positions is not None:  # transformers derives block-diagonal attention from restarting positions
            inputs["position_ids"] = torch.from_numpy(positions).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            logits_BTV = self.model(**inputs, use_cache=False).logits
        targets = torch.from_numpy(labels[:, 1:]).to(self.device)
        return torch.nn.functional.cross_entropy(
            logits_BTV[:, :-1].float().flatten(0, 1), targets.flatten(), reduction="sum", ignore_index=-100
        )

    def _measure(self) -> None:
        """What is seen of the model while it learns: the probe, where there is one, and the held-out losses."""
        if self.probe is not None:
            line = self.probe.score(self.model, self.step)
            self._log(**line)
            self.stage.event("probe", **line)
            if not self.dip_told and (dip := self._dip()):
                self.dip_told = True
                self.stage.event("warning", message=f"{dip['sentence']} Training goes on, a dip may pass")
        self._measure_losses()

    def _dip(self) -> StabilityGap | None:
        """The dip that the probes show so far, None for none."""
        from domadapt.builtin.training.probing import probe_gap

        gap = probe_gap(self._lines())
        return gap if gap is not None and gap["found"] else None

    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.metrics.read_text().splitlines()]

    def _measure_losses(self) -> None:
        """Held-out losses of both sides on the selection split, nats per token."""
        import torch

        from domadapt.builtin.training.windows import held_out

        losses = {}
        self.model.eval()
        with torch.no_grad():
            for part in self.request.tokens.plan["parts"]:
                ids, labels, positions = held_out(
                    self.request.tokens, "selection", part["name"], self.settings.eval_windows
                )
                total, count = 0.0, int((labels[:, 1:] >= 0).sum()) if len(labels) else 0
                for at in range(0, len(ids), self.settings.micro_batch):
                    rows = slice(at, at + self.settings.micro_batch)
                    total += self._loss(
                        ids[rows], labels[rows], positions[rows] if self.settings.document_mask else None
                    ).item()
                if count:
                    losses[f"heldout_{part['name']}"] = total / count
        self.model.train()
        self._log(step=self.step, **losses)
        self.stage.event("heldout", step=self.step, **losses)

    def _log(self, **line: Any) -> None:
        with self.metrics.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _save(self) -> None:
        from domadapt.builtin.training.checkpoints import save_checkpoint

        with self.metrics.open("rb") as file:
            os.fsync(file.fileno())
        state = {"metrics_bytes": self.metrics.stat().st_size}
        save_checkpoint(self.stage.scratch, self.step, self.model, self.optimizer, state)
        self.stage.event("checkpoint", step=self.step)

    def finish(self) -> dict[str, Any]:
        """Write the trained model as a Hugging Face folder, with the curves of its training."""
        import torch

        from domadapt.builtin.training.probing import stability_facts

        for name, parameter in self.model.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise StageError(f"train: {name} has values that are not finite; lower train.lr")
        dtype = stored_dtype(self.request.start)
        self.model.to(dtype).save_pretrained(self.out)
        for name in (*TOKENIZER_FILES, "generation_config.json"):
            source = self.request.start.path / name
            if source.is_file():
                shutil.copyfile(source, self.out / name)
        (self.out / METRICS).parent.mkdir()
        shutil.copyfile(self.metrics, self.out / METRICS)
        self.stage.measured["matmul_flops"] = matmul_flops(self.device, self.request.settings.precision)
        gaps = stability_facts(self._lines())
        for measured in ("probe", "heldout_domain"):  # general losses rise in most trainings: the ledger's business
            if measured in gaps and gaps[measured]["inside"]:
                told = f"{gaps[measured]['sentence']} Train longer, or with a lower train.lr"
                self.stage.event("warning", message=f"training ends inside a dip. {told}")
        return {
            "steps": self.step,
            "tokens": self.step * self.request.samples_per_step * self.data.seq_len,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "dtype": str(dtype).removeprefix("torch."),
            "device": self.device.type,
            "stability": gaps,
        }


def matmul_flops(device: torch.device, precision: str) -> float:
    """Floating-point operations a second of a large matrix product here: the peak that MFU is a share of.

    The best of a few products of 0.1 s in all, in the type of the training's products. It touches no generator.
    """
    import time

    import torch

    size = 8192 if device.type == "cuda" else 1024
    one = torch.ones(size, size, dtype=torch.bfloat16 if precision == "bf16" else torch.float32, device=device)
    best = float("inf")
    for _ in range(4):  # the first one warms up
        started = time.perf_counter()
        product = one @ one
        float(product[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def stored_dtype(checkpoint: Checkpoint) -> torch.dtype:
    """The type a checkpoint's weights are stored in, from its config."""
    import torch
    from transformers import AutoConfig

    dtype = AutoConfig.from_pretrained(checkpoint.path).dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32
