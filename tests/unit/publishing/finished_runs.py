"""A finished run on disk, as `adapt run` leaves it, made of small numbers: store, links, lock file, report."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from domadapt.artifacts import SPLITS, Checkpoint, Corpus, Scorecard, TokenStore, document_schema
from domadapt.pipeline.store import publish
from domadapt.report.build import report_data, write_report
from domadapt.report.results import ModelResult, RunResults
from domadapt.report.statistics import interval

SEQ_LEN = 8
BITS = {"base": (3.0, 1.6), "instruct": (3.1, 1.7), "cpt": (0.5, 2.2), "ties": (1.1, 1.8), "slerp": (1.0, 1.9)}
RIGHT = {"base": 20, "instruct": 80, "cpt": 30, "ties": 70, "slerp": 78}
KEYS = iter(range(10**15, 10**16))

# (text, source, license, tokens) of the training documents
DOMAIN = (
    ("a" * 100, "filings", "CC-BY-4.0", 10),
    ("b" * 50, "notes", "MIT", 14),
    ("c" * 50, "filings", "CC-BY-4.0", 8),
)
GENERAL = (("d" * 80, "stories", "PSF-2.0", 16),)

RECIPE: dict[str, Any] = {
    "version": 1,
    "name": "demo",
    "domain": "sec",
    "seed": 1234,
    "model": {
        "base": "builtin:tiny",
        "instruct": "builtin:tiny-instruct",
        "start": "instruct",
        "revision": None,
        "instruct_revision": None,
    },
    "corpus": {"domain": [{"source": "filings"}], "general": [{"source": "stories"}], "clean": [{"use": "normalize"}]},
    "mix": {"packing": "concat", "seq_len": SEQ_LEN, "replay": 0.25},
    "train": {"backend": "torch", "from": None, "lr": 1e-3, "steps": 2},
    "merge": {"methods": ["ties"]},
    "eval": {"domain": [], "general": ["quiz"], "limit": None},
}


def make_run(
    root: Path,
    *,
    name: str = "demo",
    merges: Sequence[str] = ("ties",),
    changes: Mapping[str, Any] | None = None,
    domain: Sequence[tuple[str, str, str, int]] = DOMAIN,
    quiz: str = "quiz",
    right: Mapping[str, int] = RIGHT,
    bits: Mapping[str, tuple[float, float]] = BITS,
    items: int = 100,
    host: str = "secret-host-17",
) -> Path:
    """Write the run NAME below `root` and return its folder.

    changes: values of the recipe by dotted path.  right: right answers of `items` on the task `quiz`, by model.
    """
    recipe = json.loads(json.dumps({**RECIPE, "name": name}))
    for path, value in (changes or {}).items():
        *above, last = path.split(".")
        section = recipe
        for part in above:
            section = section[part]
        section[last] = value
    run = _Folder(root, name)
    corpora = {"domain": run.corpus("domain", domain), "general": run.corpus("general", GENERAL)}
    trained = recipe["train"]["from"] is None
    tokens = run.tokens({"domain": domain, "general": GENERAL}) if trained else None
    tasks: dict[str, Any] = {"bits_per_byte.domain": "domain", "bits_per_byte.general": "general", quiz: "general"}
    models = [
        run.model(
            label,
            tasks,
            quiz,
            bits,
            right,
            items,
            made=label not in ("base", "instruct") and (trained or label != "cpt"),
        )
        for label in ("base", "instruct", "cpt", *merges)
    ]
    results = RunResults(
        name=name,
        domain=recipe["domain"],
        models=models,
        tasks=tasks,
        corpora=corpora,  # type: ignore[arg-type]
        tokens=tokens,
        recipe={},
        origins={},
        providers={"merger ties": "domadapt 0.1.0", "source filings": "domadapt-sec 0.1.0"},
        run_facts={"stages": {"train": {"seconds": 1.0}}, "host": host},
    )
    report = run.stage("report")
    write_report(report_data(results), report)
    key = run.publish("report", report, {}, dict(run.keys))
    resolved = {"packages": {"domadapt": "0.1.0"}, "stages": {**run.keys, "report": key}}
    (run.folder / "recipe.lock.yaml").write_text(yaml.safe_dump({**recipe, "resolved": resolved}, sort_keys=False))
    (run.folder / "report.json").write_bytes((run.folder / "stages" / "report" / "report.json").read_bytes())
    (run.folder / "events.jsonl").write_text("")
    return run.folder


class _Folder:
    def __init__(self, root: Path, name: str) -> None:
        self.store, self.folder = root / ".store", root / name
        self.keys: dict[str, str] = {}
        (self.folder / "stages").mkdir(parents=True)

    def stage(self, name: str) -> Path:
        """A work folder."""
        work = self.store / name.split(".")[0] / f"{next(KEYS)}.partial"
        work.mkdir(parents=True)
        return work

    def publish(self, name: str, work: Path, facts: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
        key = work.name.removesuffix(".partial")
        final = work.with_name(key)
        publish(
            work,
            final,
            {"kind": name.split(".")[0], "key": key, "by": [], "inputs": dict(inputs), "facts": dict(facts)},
        )
        link = self.folder / "stages" / name
        link.symlink_to(os.path.relpath(final, link.parent))
        self.keys[name] = key
        return key

    def corpus(self, side: str, documents: Sequence[tuple[str, str, str, int]]) -> Corpus:
        work = self.stage(f"corpus.{side}")
        for split in SPLITS:
            (work / split).mkdir()
        rows = [
            {
                "id": str(i),
                "text": text,
                "source": source,
                "license": license,
                "group": str(i),
                "meta": '{"language": "en-US"}',
            }
            for i, (text, source, license, _) in enumerate(documents)
        ]
        pq.write_table(pa.Table.from_pylist(rows, document_schema()), work / "train" / "documents-00000.parquet")
        count = {"train": len(rows), "selection": 1, "report": 1}
        facts = {"documents": count, "bytes": {k: v * 10 for k, v in count.items()}, "funnel": []}
        facts["funnel"] = [{"step": "read", "in": len(rows) + 2, "kept": len(rows) + 2, "dropped": {}}]
        self.publish(f"corpus.{side}", work, facts, {})
        return Corpus(self.folder / "stages" / f"corpus.{side}")

    def tokens(self, parts: Mapping[str, Sequence[tuple[str, str, str, int]]]) -> TokenStore:
        """Documents in a row; domain window 0 is read twice, window 1 never, all others once."""
        work = self.stage("tokens")
        (work / "train").mkdir()
        order, windows, plan = [], {}, []
        for number, (part, documents) in enumerate(parts.items()):
            lengths = np.array([d[3] for d in documents])
            starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
            np.save(work / "train" / f"{part}.documents.npy", np.stack([starts, lengths], axis=1))
            windows[part] = int(lengths.sum()) // SEQ_LEN
            used = [w for w in range(windows[part]) if (part, w) != ("domain", 1)]
            used += [0] if part == "domain" else []
            order += [(number, w) for w in used]
            share = len(used) * SEQ_LEN
            plan.append(
                {"name": part, "tokens": share, "windows": windows[part], "windows_used": len(used), "epochs": 1.0}
            )
        total = len(order) * SEQ_LEN
        for entry in plan:
            entry.update(share_asked=0.5, share_achieved=entry["tokens"] / total)  # type: ignore[operator]
        np.save(work / "order.npy", np.array(order, np.int64))
        whole = {"parts": plan, "tokens": total, "seq_len": SEQ_LEN, "seed": 1, "mixer": "replay"}
        (work / "plan.json").write_text(json.dumps(whole))
        self.publish("tokens", work, {"seq_len": SEQ_LEN, "windows": {"train": windows}}, {})
        return TokenStore(self.folder / "stages" / "tokens")

    def model(
        self,
        label: str,
        tasks: Mapping[str, Any],
        quiz: str,
        bits: Mapping[str, tuple[float, float]],
        right: Mapping[str, int],
        items: int,
        *,
        made: bool,
    ) -> ModelResult:
        role: Any = label if label in BITS and label not in ("ties", "slerp") else "merged"
        facts: dict[str, Any] = {}
        path = self.folder
        if made:
            stage = "train" if role == "cpt" else f"merge.{label}"
            work = self.stage(stage)
            (work / "model.safetensors").write_bytes(b"weights of " + label.encode())
            (work / "config.json").write_text("{}")
            if role == "merged":
                facts = {"method": label, "weight": 0.5, "mergekit": f"merge_method: {label}\nbase_model: base\n"}
            self.publish(stage, work, facts, {})
            path = self.folder / "stages" / stage
        cards = {}
        for number, (task, side) in enumerate(tasks.items()):
            cards[task] = self.scores(label, task, side, number, quiz, bits, right, items)
        return ModelResult(label, role, Checkpoint(path, role, "0123456789abcdef" * 4), facts, cards)

    def scores(
        self,
        label: str,
        task: str,
        side: str,
        number: int,
        quiz: str,
        bits: Mapping[str, tuple[float, float]],
        right: Mapping[str, int],
        items: int,
    ) -> Scorecard:
        if task == quiz:
            values, weights = [1.0] * right[label] + [0.0] * (items - right[label]), [1.0] * items
            metric, unit = "acc", "share"
        else:
            weights = list(np.random.default_rng(0).integers(800, 3000, 30).astype(float))
            noise = np.random.default_rng([number, *label.encode()]).normal(1, 0.01, 30)
            values = list(bits[label][number] * np.array(weights) * noise)
            metric, unit = "bits_per_byte", "bits/byte"
        names = [str(i) for i in range(len(values))]
        work = self.stage("eval")
        table = {"metric": [metric] * len(names), "item": names, "cluster": names, "value": values, "weight": weights}
        pq.write_table(pa.table(table), work / "samples.parquet")
        row = {"task": task, "metric": metric, "side": side, "n": len(names), "unit": unit, "protocol": "zero-shot"}
        row |= interval(values, weights, names)._asdict() | {"higher_is_better": metric == "acc"}
        (work / "scores.json").write_text(json.dumps({"rows": [row]}))
        self.publish(f"eval.{label}.{task.replace('/', '_')}", work, {}, {})
        return Scorecard(self.folder / "stages" / f"eval.{label}.{task.replace('/', '_')}")
