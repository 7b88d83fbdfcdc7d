"""The training loop of one rank: the torch backend's, step for step, on Megatron's model and optimizer."""

from __future__ import annotations

import gc
import math
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from megatron.core import parallel_state

from domadapt.artifacts import Checkpoint, TokenStore
from domadapt.builtin.training.megatron.batches import Passes, Share, fixed_rows, step_rows
from domadapt.builtin.training.megatron.checkpoints import (
    CheckpointWriter,
    discard_unfinished,
    from_first,
    load_checkpoint,
)
from domadapt.builtin.training.megatron.curves import Curves
from domadapt.builtin.training.megatron.job import Job
from domadapt.builtin.training.megatron.layout import load_config
from domadapt.builtin.training.megatron.model import Llama, build_model
from domadapt.builtin.training.megatron.optimizer import Trainee
from domadapt.builtin.training.megatron.parity import check_parity
from domadapt.builtin.training.megatron.weights import load_weights, save_weights
from domadapt.builtin.training.rank import Rank
from domadapt.builtin.training.schedule import rate_of, starting_rate
from domadapt.builtin.training.speed import Speed, matmul_flops, sheet_flops
from domadapt.builtin.training.windows import WindowReader, held_out
from domadapt.errors import Interrupted, StageError
from domadapt.recipe.schema import Train


class RankRun:
    """What one rank does of a job."""

    def __init__(self, job: Job, rank: Rank, device: torch.device) -> None:
        self.job, self.rank, self.device = job, rank, device
        self.hf_config = load_config(Path(job.start))
        self.settings = Train.model_validate(job.settings)
        self.dtype = torch.bfloat16 if self.settings.precision == "bf16" else torch.float32
        self.tokens = TokenStore(Path(job.tokens))
        self.reader = WindowReader(self.tokens)
        self.layout = job.ranks
        self.scratch = Path(job.scratch)
        self.curves = Curves(self.scratch, rank)
        self.writer = CheckpointWriter(self.scratch, Path(job.folder).name, self._told_saved, background=job.async_save)
        self.start_rate = starting_rate(self.settings, Checkpoint(Path(job.start)))
        self.matmul = matmul_flops(device, self.settings.precision)
        self.speed = Speed(Path(job.start), sheet_flops(device, self.settings) or self.matmul, self.layout.world)
        self.step = 0

    def run(self) -> dict[str, Any]:
        """Train and export; return facts. Raises Interrupted when asked to stop, after saving."""
        trainee = self._prepare()
        passes = Passes(trainee.wrapped, self.device, document_mask=self.settings.document_mask)
        if self.job.resume is None:
            self._measure(passes)
        while self.step < self.job.num_steps:
            self._advance(trainee, passes)
        self.writer.wait()
        trained = self._trained(trainee)
        del passes, trainee  # their memory is needed for the model that is written
        gc.collect()
        return self._export(trained)

    def _build(self, dtype: torch.dtype) -> Llama:
        return build_model(
            self.hf_config,
            self.layout,
            dtype,
            self.reader.seq_len,
            self.device,
            document_mask=self.settings.document_mask,
            recompute=self.job.recompute,
        )

    def _prepare(self) -> Trainee:
        """The trainee at the start, its conversion checked, or at the checkpoint to continue from."""
        if self.rank.place.is_first:
            discard_unfinished(self.scratch)
        trainee = Trainee(
            self._build(self.dtype), self.settings, self.dtype, distributed=self.job.distributed_optimizer
        )
        if self.job.resume is not None:
            state = load_checkpoint(Path(self.job.resume), trainee)
            self.step = state["step"]
            self.curves.cut(state["metrics_bytes"])  # lines written after the checkpoint are written again
            self.rank.say("resumed", step=self.step, num_steps=self.job.num_steps)
            return trainee
        self.curves.cut(0)
        exact = self._build(torch.float32)
        load_weights(exact, Path(self.job.start), self.layout)
        self.rank.say("alive")
        self._gate(exact, Path(self.job.start), "before the first step")
        values = dict(exact.named_parameters())
        for name, parameter in trainee.parameters():
            trainee.set_whole(parameter, "param", values[name].detach())
        return trainee

    def _gate(self, model: Llama, folder: Path, when: str) -> None:
        parity = check_parity(
            model,
            folder,
            self.reader.samples(0, min(2, self.reader.num_samples)),
            self.layout,
            self.device,
            when,
            document_mask=self.settings.document_mask,
        )
        difference = abs(parity.loss - parity.reference_loss)
        self.rank.say("parity", when=when, loss_difference=difference, logit_difference=parity.logit_difference)

    def _advance(self, trainee: Trainee, passes: Passes) -> None:
        """One optimizer step, and what is due after it."""
        began = time.perf_counter()
        loss, norm, rate = self._update(trainee, passes)
        self.step += 1
        done = self.step == self.job.num_steps
        per_step = self.job.samples_per_step * self.reader.seq_len
        self.curves.add(step=self.step, loss=loss, lr=rate, grad_norm=norm, tokens=self.step * per_step)
        self.speed.add(time.perf_counter() - began, per_step, float(self.reader.seq_len))
        shown = {"loss": round(loss, 3), "tokens": self.step * per_step, **self.speed.shown()}
        self.rank.say("progress", done=self.step, total=self.job.num_steps, unit="steps", **shown)
        if done or self.step % self.settings.eval_every == 0:
            self._measure(passes)
        self.writer.poll()
        stop = self._stop_requested()
        if stop or (not done and self.step % self.settings.checkpoint_every == 0):
            self._save(trainee)
        if stop:
            self.writer.wait()
            raise Interrupted(
                f"train: stopped at step {self.step} of {self.job.num_steps}, saved; run the same command to continue"
            )

    def _update(self, trainee: Trainee, passes: Passes) -> tuple[float, float, float]:
        """Loss, gradient norm and learning rate of one step."""
        first = self.step * self.job.samples_per_step
        share = self._share(self.job.samples_per_step)
        trainee.clear_gradients()
        batches = share.micro_batches(step_rows(self.reader, first), self.reader.seq_len)
        total, targets = passes.losses(batches, share, self.reader.seq_len, backward=True)
        loss, norm = total / max(targets, 1), trainee.clip_gradients()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.writer.wait()
            raise StageError(
                f"train: loss {loss} and gradient norm {norm} at step {self.step + 1} (samples {first} to "
                f"{first + self.job.samples_per_step - 1}); the weights are those of the step before. "
                "Lower train.lr, or look at these samples"
            )
        rate = rate_of(self.settings, self.step, self.job.num_steps, self.start_rate)
        trainee.update(rate)
        return loss, norm, rate

    def _share(self, rows: int) -> Share:
        return Share.of(rows, self.settings.micro_batch, self.layout.data, parallel_state.get_data_parallel_rank())

    def _measure(self, passes: Passes) -> None:
        """Held-out losses of both sides on the selection split, nats per token."""
        losses = {}
        passes.model.eval()
        with torch.no_grad():
            for side in self.tokens.sides:
                rows = held_out(self.tokens, "selection", side, self.settings.eval_windows)
                if not len(rows[0]):
                    continue
                share = self._share(len(rows[0]))
                batches = share.micro_batches(fixed_rows(rows), self.reader.seq_len)
                total, count = passes.losses(batches, share, self.reader.seq_len, backward=False)
                if count:
                    losses[f"heldout_{side}"] = total / count
        passes.model.train()
        self.curves.add(step=self.step, **losses)
        self.rank.say("heldout", step=self.step, **losses)

    def _stop_requested(self) -> bool:
        """Whether any rank was asked to stop: all must agree on the step."""
        asked = torch.tensor(float(self.rank.stop_requested()), device=self.device)
        torch.distributed.all_reduce(asked)
        return bool(asked.item())

    def _save(self, trainee: Trainee) -> None:
        samples = self.step * self.job.samples_per_step
        state = {
            "step": self.step,
            "samples": samples,
            "consumed": self.reader.consumed(0, samples),
            "metrics_bytes": self.curves.flush(),
            "ranks": self.job.layout,
            "made_with": self.job.made_with,
        }
        self.writer.save(trainee, state)

    def _told_saved(self, state: dict[str, Any]) -> None:
        self.rank.say("checkpoint", step=state["step"], consumed=state["consumed"])

    def _trained(self, trainee: Trainee) -> dict[str, torch.Tensor]:
        """This rank's part of the trained weights in host memory; nothing but on the first data-parallel rank."""
        trained = {}
        for name, parameter in trainee.parameters():
            whole = trainee.whole(parameter, "param")
            if not bool(torch.isfinite(whole).all()):
                raise StageError(f"train: {name} has values that are not finite; lower train.lr")
            if parallel_state.get_data_parallel_rank() == 0:
                trained[name] = whole.cpu()
        return trained

    def _export(self, trained: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Write the trained weights in the start's type, and compare what was written with what was trained."""
        out, dtype = Path(self.job.out), getattr(torch, self.job.stored_dtype)
        exact = self._build(torch.float32)
        with torch.no_grad():
            for name, parameter in exact.named_parameters():
                parameter.copy_(from_first(trained.pop(name, None), parameter).to(dtype))
        if self.rank.place.is_first:
            shutil.copyfile(Path(self.job.start) / "config.json", out / "config.json")
        save_weights(exact, out, self.layout, dtype)
        self._gate(exact, out, "after the export")
        samples = self.step * self.job.samples_per_step
        return {
            "steps": self.step,
            "tokens": samples * self.reader.seq_len,
            "consumed": self.reader.consumed(0, samples),
            "dtype": self.job.stored_dtype,
            "device": self.device.type,
            "measured": self._measured(),
        }

    def _measured(self) -> dict[str, float]:
        """Of all ranks together the peaks of memory and of floating-point operations a second; of the fullest GPU."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        found = torch.tensor([peak, self.matmul], dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(found)
        measured = dict(zip(("peak_bytes", "matmul_flops"), found.tolist(), strict=True))
        if self.device.type == "cuda":
            fullest = torch.tensor(float(torch.cuda.max_memory_allocated(self.device)), device=self.device)
            torch.distributed.all_reduce(fullest, op=torch.distributed.ReduceOp.MAX)
            measured["device_peak_bytes"] = fullest.item()
        return measured
