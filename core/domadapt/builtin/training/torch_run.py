"""The training loop of one rank: steps, measurements, checkpoints, and the folder at the end.

Resuming after a kill gives the same bits on the CPU: the thread count is fixed, the order of data is a function of the
sample number, and everything random is seeded and saved. Several ranks see the same samples in the same order; their
sums are rounded in another order, so losses agree to about 1e-6 and bits do not.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from domadapt.artifacts import TOKENIZER_FILES
from domadapt.builtin.training.checkpoints import Held, decisive, load_checkpoint, save_checkpoint
from domadapt.builtin.training.losses import scored
from domadapt.builtin.training.memory import told_when_out_of_memory
from domadapt.builtin.training.peers import Peers
from domadapt.builtin.training.schedule import rate_of, starting_rate
from domadapt.builtin.training.speed import Speed, attended_length, matmul_flops, sheet_flops
from domadapt.builtin.training.torch_loop import stored_dtype
from domadapt.builtin.training.trainee import Trainee
from domadapt.builtin.training.windows import WindowReader, held_out
from domadapt.components import Stage, TrainRequest
from domadapt.errors import DataError, Interrupted, StageError

if TYPE_CHECKING:
    from domadapt.builtin.training.probing import CheckpointProbe
    from domadapt.builtin.training.torch_loop import TorchOptions
    from domadapt.report.stability import StabilityGap

METRICS = Path("training") / "metrics.jsonl"
DECISIVE = ("lora_rank", "lora_alpha")
"""Options without which a checkpoint is another training's."""
SPIKE_STEPS, SPIKE_DEVIATIONS = 50, 6.0
"""A loss so many standard deviations above the mean of so many steps before it is told of."""


class TorchRun:
    """One training run: model, optimizer, data and the place they write to."""

    def __init__(self, request: TrainRequest, out: Path, stage: Stage, options: TorchOptions, peers: Peers) -> None:
        self.request, self.out, self.stage, self.options, self.peers = request, out, stage, options, peers
        self.settings = request.settings
        check_vocabulary(request)
        self.share = peers.share(request.samples_per_step)
        self.trainee = Trainee(request.start.path, self.settings, options, peers)
        self.model = self.trainee.network
        if peers.device.type == "cuda":  # what is measured is of this training alone
            torch.cuda.reset_peak_memory_stats(peers.device)
        if peers.rank:  # the same weights, but not the same dropout
            torch.manual_seed(stage.seed + peers.rank)
        self.data = WindowReader(request.tokens)
        self.optimizer = self.trainee.optimizer()
        self.start_rate = starting_rate(self.settings, request.start)
        self.step = self.skipped = 0
        self.consumed = {part["name"]: 0 for part in request.tokens.plan["parts"]}
        self.matmul = matmul_flops(peers.device, self.settings.precision)
        self.speed = Speed(request.start.path, sheet_flops(peers.device, self.settings) or self.matmul, peers.size)
        self.recent: deque[float] = deque(maxlen=SPIKE_STEPS)
        self.metrics = stage.scratch / METRICS.name
        self.probe: CheckpointProbe | None = None
        if request.probe is not None and request.evaluator is not None:
            from domadapt.builtin.training.probing import CheckpointProbe

            self.probe = CheckpointProbe(request, stage)
        self.dip_told = False

    @property
    def held(self) -> Held:
        """What a checkpoint holds."""
        return Held(self.trainee.trained, self.optimizer, self.peers)

    def made_with(self) -> dict[str, Any]:
        """What must be the same when a training continues: all that decides its weights."""
        return decisive(self.request, self.stage.seed, **{name: getattr(self.options, name) for name in DECISIVE})

    def resume(self, newest: Path | None) -> None:
        """Continue from a checkpoint, or without one start with a measurement at step 0."""
        if newest is None:
            if self.peers.is_first:
                self.metrics.write_text("")
            self._measure()
            return
        state = load_checkpoint(newest, self.held, self.made_with())
        self.step, self.skipped, self.consumed = state["step"], state["skipped"], state["consumed"]
        if self.peers.is_first:  # lines written after the checkpoint are written again
            self.metrics.write_bytes(self.metrics.read_bytes()[: state["metrics_bytes"]])
        self.dip_told = self._dip() is not None
        self.stage.event("resumed", step=self.step, num_steps=self.request.num_steps)

    def fit(self) -> None:
        """All remaining optimizer steps."""
        self.model.train()
        while self.step < self.request.num_steps:
            self._advance()
            done = self.step == self.request.num_steps
            if done or self.step % self.settings.eval_every == 0:
                self._measure()
            stop = self.peers.any(self.stage.stop_requested())
            if stop or (not done and self.step % self.settings.checkpoint_every == 0):
                self._save()
            if stop:
                raise Interrupted(
                    f"train: stopped at step {self.step} of {self.request.num_steps}, saved; "
                    "run the same command to continue"
                )

    def _advance(self) -> None:
        """One optimizer step, its line and its progress."""
        began = time.perf_counter()
        per_step = self.request.samples_per_step
        first = self.step * per_step
        with told_when_out_of_memory(self.settings.micro_batch, self.data.seq_len):
            loss, norm, rate, attended = self._update(first)
        self.step += 1
        for name, count in self.data.consumed(first, per_step).items():
            self.consumed[name] += count
        tokens = self.step * per_step * self.data.seq_len
        self._log(step=self.step, loss=loss, lr=rate, grad_norm=norm, tokens=tokens)
        self.speed.add(time.perf_counter() - began, per_step * self.data.seq_len, attended)
        self.stage.progress(
            self.step, self.request.num_steps, "steps", loss=round(loss, 3), tokens=tokens, **self.speed.shown()
        )
        self._tell_spike(loss)

    def _update(self, first: int) -> tuple[float, float | None, float, float]:
        """Loss, gradient norm (None: left out), rate, and the length that tokens attend over."""
        s = self.settings
        rate = rate_of(s, self.step, self.request.num_steps, self.start_rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        before, count = self.share
        ids, labels, positions = self.data.samples(first + before, count)
        (num_targets,) = self.peers.sums(int((labels[:, 1:] >= 0).sum()))
        losses = []
        for at in range(0, len(ids), s.micro_batch):
            rows = slice(at, at + s.micro_batch)
            part = self._loss(ids[rows], labels[rows], positions[rows]) / max(1, num_targets)
            # sharded gradients are averaged over ranks, but the loss is a sum
            (part * self.peers.size if self.peers.size > 1 else part).backward()
            losses.append(part.detach())
        norm = self.trainee.clip()
        (loss,) = self.peers.sums(sum(part.item() for part in losses))
        self._check(loss, norm, first)
        if math.isfinite(norm):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        attended = attended_length(positions) if s.document_mask else float(self.data.seq_len)
        return loss, norm if math.isfinite(norm) else None, rate, attended

    def _check(self, loss: float, norm: float, first: int) -> None:
        """Raises StageError before an update that would spoil the weights, unless one may be left out."""
        if math.isfinite(loss) and math.isfinite(norm):
            return
        last = first + self.request.samples_per_step - 1
        if math.isfinite(loss) and self.skipped < self.options.max_skips:
            self.skipped += 1
            self.stage.event(
                "warning",
                message=f"step {self.step + 1} is left out: its gradient is not finite (samples {first} to {last}); "
                f"{self.options.max_skips - self.skipped} more may be",
            )
            return
        saved = self.step // self.settings.checkpoint_every * self.settings.checkpoint_every
        raise StageError(
            f"train: loss {loss} and gradient norm {norm} at step {self.step + 1} (samples {first} to {last}); the "
            f"weights are those of the step before, the last checkpoint was due at step {saved}. "
            "Lower train.lr, or look at these samples"
        )

    def _tell_spike(self, loss: float) -> None:
        if len(self.recent) == SPIKE_STEPS:
            mean, deviation = float(np.mean(self.recent)), float(np.std(self.recent))
            if loss > mean + SPIKE_DEVIATIONS * deviation:
                self.stage.event("spike", step=self.step, loss=loss, mean=mean, deviation=deviation)
        self.recent.append(loss)

    def _loss(self, ids: np.ndarray, labels: np.ndarray, positions: np.ndarray) -> torch.Tensor:
        """Sum of the next-token losses in nats."""
        ids_BT, labels_BT, scored_N, positions_BT = (
            torch.from_numpy(array).to(self.peers.device) for array in (ids, labels, scored(labels), positions)
        )
        with torch.autocast(self.peers.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            loss: torch.Tensor = self.trainee.losses(
                ids_BT, labels_BT, scored_N, positions_BT if self.settings.document_mask else None
            )
        return loss

    def _measure(self) -> None:
        """What is seen of the model while it learns: the probe, where there is one, and the held-out losses."""
        if self.probe is not None:
            # an evaluator takes a network apart: of a sharded one it gets a whole copy
            network = self.model if self.peers.size == 1 else self.trainee.whole()
            if network is not None:
                self._measure_probe(self.probe, network.to(self.peers.device))
        self._measure_losses()

    def _measure_probe(self, probe: CheckpointProbe, network: Any) -> None:
        line = probe.score(network, self.step)
        self._log(**line)
        self.stage.event("probe", **line)
        if not self.dip_told and (dip := self._dip()):
            self.dip_told = True
            self.stage.event("warning", message=f"{dip['sentence']} Training goes on, a dip may pass")

    def _dip(self) -> StabilityGap | None:
        """The dip that the probes show so far, None for none."""
        from domadapt.builtin.training.probing import probe_gap

        gap = probe_gap(self._lines())
        return gap if gap is not None and gap["found"] else None

    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.metrics.read_text().splitlines()]

    def _measure_losses(self) -> None:
        """Held-out losses of both sides on the selection split, nats per token."""
        losses: dict[str, float] = {}
        self.model.eval()
        with torch.no_grad():
            for side in self.request.tokens.sides:
                rows = held_out(self.request.tokens, "selection", side, self.settings.eval_windows)
                if len(rows[0]):
                    total, count = self._held_out_loss(*rows)
                    losses |= {f"heldout_{side}": total / count} if count else {}
        self.model.train()
        self._log(step=self.step, **losses)
        self.stage.event("heldout", step=self.step, **losses)

    def _held_out_loss(self, ids: np.ndarray, labels: np.ndarray, positions: np.ndarray) -> tuple[float, float]:
        """Sum of the losses and number of targets; every rank has its part of the windows."""
        size = self.settings.micro_batch
        batches = [slice(at, at + size) for at in range(0, len(ids), size)]
        count = int((labels[:, 1:] >= 0).sum())
        total = 0.0
        for turn in range(0, len(batches), self.peers.size):
            # all ranks compute in every turn, because a sharded layer needs them all
            mine = turn + self.peers.rank
            rows = batches[min(mine, len(batches) - 1)]
            loss = self._loss(ids[rows], labels[rows], positions[rows]).item()
            total += loss if mine < len(batches) else 0.0
        return self.peers.sums(total)[0], count

    def _log(self, **line: Any) -> None:
        if self.peers.is_first:
            with self.metrics.open("a") as file:
                file.write(json.dumps(line) + "\n")

    def _save(self) -> None:
        size = 0
        if self.peers.is_first:
            with self.metrics.open("rb") as file:
                os.fsync(file.fileno())
            size = self.metrics.stat().st_size
        state = {
            "step": self.step,
            "samples": self.step * self.request.samples_per_step,
            "consumed": self.consumed,
            "skipped": self.skipped,
            "metrics_bytes": size,
            "ranks": self.peers.size,
            "made_with": self.made_with(),
        }
        save_checkpoint(self.stage.scratch, self.step, self.held, state)
        self.stage.event("checkpoint", step=self.step, consumed=dict(self.consumed))

    def finish(self) -> dict[str, Any]:
        """Write the trained model as a Hugging Face folder, with the curves of its training."""
        dtype = stored_dtype(self.request.start)
        network = self.trainee.whole()
        if network is None:
            return {}
        parameters = sum(p.numel() for p in network.parameters())
        network.to(dtype).save_pretrained(self.out)
        for name in (*TOKENIZER_FILES, "generation_config.json"):
            source = self.request.start.path / name
            if source.is_file():
                shutil.copyfile(source, self.out / name)
        (self.out / METRICS).parent.mkdir()
        shutil.copyfile(self.metrics, self.out / METRICS)
        self.stage.measured["matmul_flops"] = self.matmul
        if self.peers.device.type == "cuda":
            self.stage.measured["device_peak_bytes"] = torch.cuda.max_memory_allocated(self.peers.device)
        return {
            "steps": self.step,
            "tokens": self.step * self.request.samples_per_step * self.data.seq_len,
            "consumed": self.consumed,
            "parameters": parameters,
            "dtype": str(dtype).removeprefix("torch."),
            "device": self.peers.device.type,
            "stability": self._stability(),
        }

    def _stability(self) -> dict[str, StabilityGap]:
        """The stability gaps; one that training ends in is told of."""
        from domadapt.builtin.training.probing import stability_facts

        gaps = stability_facts(self._lines())
        for measured in ("probe", "heldout_domain"):  # general losses rise in most trainings: the ledger's business
            if measured in gaps and gaps[measured]["inside"]:
                told = f"{gaps[measured]['sentence']} Train longer, or with a lower train.lr"
                self.stage.event("warning", message=f"training ends inside a dip. {told}")
        return gaps


def check_vocabulary(request: TrainRequest) -> None:
    """Raises DataError when the tokens are not the start model's."""
    from transformers import AutoConfig

    from domadapt.builtin.models.weights import tensor_shapes
    from domadapt.builtin.tokens.tokenizer import DocumentTokenizer

    tensor_shapes(request.start.path)
    vocab = AutoConfig.from_pretrained(request.start.path).get_text_config().vocab_size
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
