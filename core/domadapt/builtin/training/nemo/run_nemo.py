# mypy: ignore-errors
"""A job of continual pre-training with nemo-toolkit 2.7.3: nothing of adapt is imported here.

    python run_nemo.py check       what a CPU can try: imports, the recipe's arguments, the data
    python run_nemo.py import      Hugging Face -> NeMo, one process
    torchrun ... run_nemo.py train continues from the last checkpoint
    python run_nemo.py export      NeMo -> Hugging Face, one process; writes result.json

job.json beside it says what to do. Windows are read in the order of data/order.npy, sample number by sample number, so
that a continued training sees what an uninterrupted one would.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import nemo_run as run
import numpy as np
import torch
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.distributed import DistributedDataParallelConfig
from megatron.core.optimizer import OptimizerConfig
from nemo import lightning as nl
from nemo.collections import llm
from nemo.collections.common.tokenizers.huggingface.auto_tokenizer import AutoTokenizer
from nemo.lightning.pytorch.callbacks import PreemptionCallback
from nemo.lightning.pytorch.optim.base import LRSchedulerModule

HERE = Path(__file__).resolve().parent
IMPORTED, LOG, EXPORT = HERE / "imported", HERE / "log", HERE / "export"
METRICS, RESULT = HERE / "metrics.jsonl", HERE / "result.json"
INTERRUPTED = 75


class Windows(torch.utils.data.Dataset):
    """Windows of a token store as NeMo wants them: tokens and labels shifted by one, none across two windows.

    rows: int64 [num_samples, 2], part and window.  A label counts where the next token of the same window is text.
    """

    def __init__(self, split: str, parts: list[str], rows: np.ndarray, seq_len: int, causal_mask: bool) -> None:
        self.rows, self.seq_len = rows, seq_len
        self.tokens = [IndexedDataset(str(HERE / "data" / split / part)) for part in parts]
        files = [HERE / "data" / split / f"{part}.documents.npy" for part in parts]
        self.pieces = [np.load(file, mmap_mode="r", allow_pickle=False) for file in files]
        # only without Transformer Engine, whose attention is causal by itself
        self.mask = torch.ones(1, seq_len, seq_len, dtype=torch.bool).triu(1) if causal_mask else None

    def __len__(self) -> int:
        return len(self.rows)

    def is_text(self, part: int, window: int) -> np.ndarray:
        """Which positions of a window are a document's, bool [seq_len]; the others are padding."""
        at = np.arange(window * self.seq_len, (window + 1) * self.seq_len)
        starts, lengths = self.pieces[part][:, 0], self.pieces[part][:, 1]
        piece = np.searchsorted(starts, at, side="right") - 1
        return at < starts[piece] + lengths[piece]

    def __getitem__(self, sample: int) -> dict[str, torch.Tensor]:
        part, window = (int(number) for number in self.rows[sample])
        ids = torch.from_numpy(self.tokens[part][window].astype(np.int64))
        counted = torch.zeros(self.seq_len)
        counted[:-1] = torch.from_numpy(self.is_text(part, window)[1:].astype(np.float32))
        labels = torch.zeros_like(ids)
        labels[:-1] = ids[1:]
        item = {"tokens": ids, "labels": labels, "loss_mask": counted, "position_ids": torch.arange(self.seq_len)}
        return item if self.mask is None else {**item, "attention_mask": self.mask}


class OrderedData(llm.PreTrainingDataModule):
    """NeMo's data module over the job's windows in the job's order.

    Held out: as many windows as divide a step's samples, in whole repeats, so that their mean is that of one pass.
    """

    def __init__(self, num_workers: int = 2) -> None:
        job = read_job()
        self.job = job
        trained = [str(HERE / "data" / "train" / part) for part in job["parts"]]
        held_out = str(HERE / "data" / "selection" / job["parts"][0])
        super().__init__(
            paths={"train": trained, "validation": [held_out], "test": [held_out]},
            seq_length=job["seq_len"],
            tokenizer=AutoTokenizer(str(HERE / "init")),
            micro_batch_size=job["micro_batch"],
            global_batch_size=job["samples_per_step"],
            num_workers=num_workers,
            seed=job["seed"],
            split=None,
        )

    def build(self, *_: Any, **__: Any) -> None:
        """In the place of NeMo's own datasets, which shuffle."""
        job = self.job
        order = np.load(HERE / "data" / "order.npy", mmap_mode="r", allow_pickle=False)
        rows = np.arange(job["samples_per_step"]) % job["held_out_windows"]
        held_out = np.stack([np.zeros_like(rows), rows], axis=1)
        shape = (job["seq_len"], self.create_attention_mask)
        self._train_ds = Windows("train", job["parts"], order, *shape)
        self._validation_ds = Windows("selection", job["parts"][:1], held_out, *shape)
        self._test_ds = self._validation_ds


class Rates(LRSchedulerModule):
    """The learning rate of every step, as adapt computed it."""

    def scheduler(self, model: Any, optimizer: Any) -> dict[str, Any]:
        """Rates are shares of the peak, which the optimizer's groups begin with."""
        rates, peak = np.load(HERE / "data" / "rates.npy", allow_pickle=False), read_job()["lr"]
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: float(rates[min(step, len(rates) - 1)] / peak)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
            "monitor": "val_loss",
        }


class Told(pl.Callback):
    """metrics.jsonl, as adapt's own backends write it: a line a step, and one a held-out measurement."""

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Step, loss, rate, norm of the gradient, tokens."""
        seen, job = trainer.callback_metrics, read_job()
        tokens = trainer.global_step * job["samples_per_step"] * job["seq_len"]
        norm = float(seen["grad_norm"]) if "grad_norm" in seen else None
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        line = {"step": trainer.global_step, "loss": float(seen["reduced_train_loss"]), "lr": float(rate)}
        self._write(trainer, {**line, "grad_norm": norm, "tokens": tokens})

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """The domain's held-out loss."""
        if "val_loss" in trainer.callback_metrics:
            loss = float(trainer.callback_metrics["val_loss"])
            self._write(trainer, {"step": trainer.global_step, "heldout_domain": loss})

    @staticmethod
    def _write(trainer: Any, line: dict[str, Any]) -> None:
        # of a pipeline only the last stage has the loss; the last rank is on it
        if trainer.global_rank == trainer.world_size - 1:
            with METRICS.open("a") as file:
                file.write(json.dumps(line) + "\n")


class Stop(PreemptionCallback):
    """NeMo's own answer to a signal, ending with the code that says: saved, run again."""

    def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
        """Save and leave when asked to."""
        try:
            super().on_train_batch_end(trainer, *args, **kwargs)
        except SystemExit:
            if trainer.global_rank == 0:
                write_result("interrupted", step=trainer.global_step)
            sys.exit(INTERRUPTED)


def read_job() -> dict[str, Any]:
    """What adapt wrote."""
    job: dict[str, Any] = json.loads((HERE / "job.json").read_text())
    return job


def write_result(status: str, **facts: Any) -> None:
    """The last word of a step, in one piece."""
    work = RESULT.with_suffix(".tmp")
    work.write_text(json.dumps({"status": status, "nemo": "2.7.3", **facts}) + "\n")
    work.replace(RESULT)


def model(job: dict[str, Any]) -> Any:
    """The model's class and dimensions."""
    arguments = dict(job["model"])
    family = llm.Llama31Config if "scale_factor" in arguments else llm.LlamaConfig
    if job["recompute"]:
        arguments.update(recompute_granularity="full", recompute_method="uniform", recompute_num_layers=1)
    return run.Config(llm.LlamaModel, config=run.Config(family, **arguments))


def strategy(job: dict[str, Any]) -> Any:
    """How the model is divided."""
    pipeline, tensor = job["pipeline_parallel"], job["tensor_parallel"]
    return run.Config(
        nl.MegatronStrategy,
        tensor_model_parallel_size=tensor,
        pipeline_model_parallel_size=pipeline,
        pipeline_dtype=(torch.bfloat16 if job["bf16"] else torch.float32) if pipeline > 1 else None,
        sequence_parallel=tensor > 1,
        gradient_as_bucket_view=True,
        ckpt_async_save=True,
        ckpt_parallel_load=True,
        ddp=run.Config(
            DistributedDataParallelConfig,
            use_distributed_optimizer=True,
            check_for_nan_in_grad=True,
            grad_reduce_in_fp32=True,
            overlap_grad_reduce=True,
            overlap_param_gather=True,
        ),
    )


def recipe(job: dict[str, Any]) -> Any:
    """The whole training as NeMo's recipe: every argument is checked against its constructor, nothing is made yet."""
    trainer = run.Config(
        nl.Trainer,
        accelerator="gpu",
        devices=job["gpus_per_node"],
        num_nodes=job["nodes"],
        max_steps=job["num_steps"],
        val_check_interval=min(job["eval_every"], job["num_steps"]),
        limit_val_batches=1,
        limit_test_batches=1,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        strategy=strategy(job),
        plugins=run.Config(nl.MegatronMixedPrecision, precision="bf16-mixed") if job["bf16"] else None,
        callbacks=[run.Config(Told), *(run.Config(Stop, sig=sig) for sig in (signal.SIGTERM, signal.SIGUSR1))],
    )
    optimizer = run.Config(
        OptimizerConfig,
        optimizer="adam",
        lr=job["lr"],
        weight_decay=job["weight_decay"],
        adam_beta1=job["beta1"],
        adam_beta2=job["beta2"],
        adam_eps=1e-8,
        clip_grad=job["clip"],
        bf16=job["bf16"],
        use_distributed_optimizer=True,
    )
    checkpoints = run.Config(
        nl.ModelCheckpoint,
        monitor=None,
        save_last=True,
        save_top_k=0,  # the last one alone; with more, a resumed run looks for the monitor in file names
        every_n_train_steps=job["checkpoint_every"],
        filename="{step}",
    )
    return run.Partial(
        llm.pretrain,
        model=model(job),
        data=run.Config(OrderedData),
        trainer=trainer,
        log=run.Config(nl.NeMoLogger, explicit_log_dir=str(LOG), ckpt=checkpoints),
        resume=run.Config(
            nl.AutoResume,
            restore_config=run.Config(nl.RestoreConfig, path=str(IMPORTED)),
            resume_if_exists=True,
            resume_ignore_no_checkpoint=True,
        ),
        optim=run.Config(nl.MegatronOptimizerModule, config=optimizer, lr_scheduler=run.Config(Rates)),
    )


def last_checkpoint() -> Path | None:
    """The newest checkpoint to continue from; NeMo names it by its step."""
    folders = [folder for folder in (LOG / "checkpoints").glob("*step=*-last") if folder.is_dir()]
    return max(folders, key=lambda folder: folder.stat().st_mtime, default=None)


def is_trained(job: dict[str, Any]) -> bool:
    """Whether the newest checkpoint is that of the last step."""
    last = last_checkpoint()
    return last is not None and f"step={job['num_steps']}-last" in last.name


def check() -> None:
    """Everything that needs no GPU: builds and reads, and prints what came of it as JSON."""
    import hashlib

    import fiddle as fdl
    from nemo.lightning.data import WrappedDataLoader, add_megatron_sampler

    job = read_job()
    whole = recipe(job)
    trainer = whole.trainer
    for part in (whole.log, whole.resume, whole.optim, trainer.strategy, trainer.plugins, *trainer.callbacks):
        if part is not None:
            fdl.build(part)
    data = fdl.build(whole.data)
    data.build()
    digest = hashlib.sha256()
    for sample in range(len(data._train_ds)):
        item = data._train_ds[sample]
        for name in ("tokens", "labels", "loss_mask", "position_ids"):
            digest.update(item[name].to(torch.int64).numpy().tobytes())
    loader = WrappedDataLoader(dataset=data._train_ds)
    batch = {"micro_batch_size": job["micro_batch"], "global_batch_size": job["samples_per_step"]}
    copies = job["nodes"] * job["gpus_per_node"] // (job["tensor_parallel"] * job["pipeline_parallel"])
    ranks = [add_megatron_sampler(loader, **batch, rank=rank, world_size=copies) for rank in range(copies)]
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=job["lr"])
    schedule = Rates().scheduler(None, optimizer)["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(job["num_steps"]):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    told = {
        "samples": len(data._train_ds),
        "digest": digest.hexdigest(),
        "held_out": [data._validation_ds[n]["tokens"].tolist() for n in range(job["held_out_windows"])],
        "of_each_rank": [list(rank.batch_sampler) for rank in ranks],
        "rates": rates,
        "vocabulary": data.tokenizer.vocab_size,
        "pieces": sorted(fdl.ordered_arguments(whole)),
    }
    print(json.dumps(told))


def import_start() -> None:
    """Hugging Face -> NeMo, once."""
    if (IMPORTED / "context").is_dir():
        return
    import fiddle as fdl

    llm.import_ckpt(
        model=fdl.build(model(read_job())), source=f"hf://{HERE / 'init'}", output_path=IMPORTED, overwrite=True
    )


def train() -> None:
    """All remaining steps."""
    import fiddle as fdl

    job = read_job()
    if not is_trained(job):
        fdl.build(recipe(job))()


def export() -> None:
    """NeMo -> Hugging Face, and the result."""
    job = read_job()
    last = last_checkpoint()
    if last is None or not is_trained(job):
        sys.exit(f"the last checkpoint in {LOG / 'checkpoints'} is {last}, not of step {job['num_steps']}")
    llm.export_ckpt(path=last, target="hf", output_path=EXPORT, overwrite=True)
    tokens = job["num_steps"] * job["samples_per_step"] * job["seq_len"]
    write_result("done", hf_dir=EXPORT.name, steps=job["num_steps"], tokens=tokens, metrics=METRICS.name)


STEPS = {"check": check, "import": import_start, "train": train, "export": export}

if __name__ == "__main__":
    # NeMo writes classes down by their modules' names, and __main__ is none that another process finds
    import run_nemo

    run_nemo.STEPS[sys.argv[1]]()
