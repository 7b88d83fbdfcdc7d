"""Attempts at one small training, each in a process of its own that may be hurt.

torch is imported once and every attempt is a fork, so that an attempt costs a second and not six. Each line of standard
input names a job file, which says what to attempt; the results, one object an attempt, are written as JSON beside it,
and a line to standard output says so.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from domadapt.artifacts import Checkpoint, TokenStore
from domadapt.builtin.training.torch_loop import TorchBackend, TorchOptions
from domadapt.cli.run import StopFlag
from domadapt.components import Stage, TrainRequest
from domadapt.errors import AdaptError
from domadapt.pipeline.engine import is_disk_full
from domadapt.pipeline.store import is_intact
from domadapt.recipe.schema import Train

WRITES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}


class Faults:
    """Counts what is done to files below a folder, and does something at the one of a number.

    The write of safetensors, which no hook sees, counts twice: before it, and when half of the file is there.
    """

    def __init__(self, folder: Path, at: int, act: Callable[[], None]) -> None:
        self.folder, self.at, self.act, self.seen = str(folder), at, act, 0
        self.names: list[str] = []

    def install(self) -> None:
        import safetensors.torch

        sys.addaudithook(self._hear)
        fsync, save_file = os.fsync, safetensors.torch.save_file

        def counted_fsync(descriptor: int) -> None:
            self._count("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
            fsync(descriptor)

        def counted_save(tensors: Any, path: Path, **how: Any) -> None:
            self._count("write", str(path))
            save_file(tensors, path, **how)
            path = Path(path)
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) // 2])
            self._count("half written", str(path))
            path.write_bytes(whole)

        os.fsync, safetensors.torch.save_file = counted_fsync, counted_save

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in WRITES or (event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")):
            self._count(event, str(arguments[0]))

    def _count(self, event: str, path: str) -> None:
        if not path.startswith(self.folder) or path.endswith((".jsonl", "result.json")):
            return
        self.seen += 1
        self.names.append(f"{event} {Path(path).name}")
        if self.seen == self.at:
            self.act()


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def failing(number: int) -> Callable[[], None]:
    def act() -> None:
        raise OSError(number, os.strerror(number))

    return act


class Driver:
    """Makes attempts. job: model, tokens, settings, steps, folder."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job, self.folder = job, Path(job["folder"])

    def attempt(self, name: str, fault: dict[str, Any]) -> dict[str, Any]:
        """Train in a fork, in the scratch of that name; how it ended, and what is left."""
        place = self.folder / name
        place.mkdir(exist_ok=True)
        (place / "result.json").unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            os._exit(self._train(place, fault))
        for after, number in fault.get("signals", ()):
            time.sleep(after)
            os.kill(child, number)
        if marks := fault.get("signals_at"):  # [step, signal], ...
            self._send_at(place, child, marks)
        _, status = os.waitpid(child, 0)
        result = json.loads((place / "result.json").read_bytes()) if (place / "result.json").exists() else {}
        checkpoints = sorted(p.name for p in (place / "scratch").glob("step-????????") if is_intact(p))
        return {"code": os.waitstatus_to_exitcode(status), "checkpoints": checkpoints, **result}

    def _send_at(self, place: Path, child: int, marks: list[list[int]]) -> None:
        for step, number in marks:
            while True:
                told = place / "progress"
                if (told.exists() and int(told.read_text() or 0) >= step) or os.waitpid(child, os.WNOHANG)[0]:
                    break
                time.sleep(0.002)
            os.kill(child, number)

    def _train(self, place: Path, fault: dict[str, Any]) -> int:
        scratch, out = place / "scratch", place / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        scratch.mkdir(exist_ok=True)
        (place / "progress").write_text("0")
        events: list[dict[str, Any]] = []

        def emit(kind: str, data: Any) -> None:
            if kind != "progress":
                events.append({"kind": kind, **data})
            else:
                part = place / ".progress"
                part.write_text(str(data["done"]))
                part.rename(place / "progress")
                if data["done"] == fault.get("kill_at_step"):
                    kill()

        actions = {"kill": kill, "ENOSPC": failing(errno.ENOSPC), "EIO": failing(errno.EIO)}
        faults = Faults(scratch, fault.get("at", 0), actions[fault.get("act", "kill")])
        faults.install()
        stop = StopFlag()
        stage = Stage("train", "0" * 16, 7, "torch", lambda *_: {}, scratch, emit=emit, stop_requested=stop)
        settings = Train.model_validate(self.job["settings"] | fault.get("settings", {}))
        request = TrainRequest(
            Checkpoint(Path(self.job["model"])), TokenStore(Path(self.job["tokens"])), settings, self.job["steps"], 4
        )
        said, code = "", 0
        try:
            with stop.listening():
                TorchBackend(TorchOptions(threads=1)).train(request, out, stage)
        except AdaptError as error:
            said, code = str(error), error.exit_code
        except KeyboardInterrupt:
            code = 130
        except OSError as error:  # as the engine does it
            said, code = str(error), 4 if is_disk_full(error) else 1
        files = [out / "model.safetensors", out / "training" / "metrics.jsonl"]
        digest = hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest() if code == 0 else None
        result = {"said": said, "digest": digest, "events": events, "seen": faults.seen, "names": faults.names}
        (place / "result.json").write_text(json.dumps(result))
        return code


def main() -> None:
    import safetensors.torch  # noqa: F401 - all is loaded once, before the forks
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM  # noqa: F401

    import domadapt.builtin.training.torch_run  # noqa: F401

    torch.set_num_threads(1)
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # whatever an attempt prints is no answer
        for line in sys.stdin:
            file = Path(line.strip())
            job = json.loads(file.read_bytes())
            driver = Driver(job)
            results = [driver.attempt(name, fault) for name, fault in job["attempts"]]
            file.with_name("results.json").write_text(json.dumps(results))
            print(file, file=answers, flush=True)


if __name__ == "__main__":
    main()
