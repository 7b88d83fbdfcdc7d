"""Make the built-in models, the general text and the instruction benchmark of the offline default.

    python tools/build_tiny.py text       # corpora/general_sample.jsonl.xz, from this Python's library
    python tools/build_tiny.py items      # evaluating/tasks/instruct_format.jsonl
    python tools/build_tiny.py base       # tokenizer and models/tiny, pre-trained on the train split
    python tools/build_tiny.py instruct   # models/tiny-instruct, tuned from models/tiny
    python tools/build_tiny.py all        # the four in this order

Every stage reads its inputs under ``--data``, writes under ``--out`` (both default to the built-in
folder) and records its seconds, losses and file hashes in ``<out>/models/provenance.json``.
``--steps N`` stops a training after N steps of the unchanged schedule: the losses of those steps
can be compared with the recorded ones, e.g. ``base --steps 3 --out /tmp/tiny``.

The text is documentation of the Python standard library (PSF-2.0). Chats and drills are generated.
Nothing is downloaded. ``text`` depends on the Python build it runs under, so its output is shipped;
the other stages depend on the seeds below and on the versions that the provenance names. The
recorded run took 13 minutes on two cores that other work shared, with OMP_WAIT_POLICY=passive:
without it, two threads on busy cores lose most of the time waiting for each other.
"""

import argparse
import ast
import hashlib
import importlib
import inspect
import json
import lzma
import math
import platform
import pydoc
import random
import re
import sys
import sysconfig
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

BUILTIN = Path(__file__).resolve().parents[1] / "core" / "domadapt" / "builtin"
CORPUS = "corpora/general_sample.jsonl.xz"
ITEMS = "evaluating/tasks/instruct_format.jsonl"
THREADS = 2  # fixed, for the same sums in the same order
PROVENANCE = "models/provenance.json"
BASE, INSTRUCT = "models/tiny", "models/tiny-instruct"

# --------------------------------------------------------------------------- general text

DOCUMENT_CHARS = 1500  # a document closes before it grows longer than this
SHORTEST_BLOCK, SHORTEST_DOCUMENT = 40, 200  # characters; below, a block or document is dropped
HELD_SHARE = 0.05  # of the groups, for each of the two held-out splits
HELD_BYTES, HELD_DOCUMENTS = (80_000, 150_000), 60  # size of each held-out split: range, minimum
TYPOGRAPHY = str.maketrans(
    {"\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'", "\u2013": "-", "\u2014": "--"}
    | {
        "\u2026": "...",
        "\u00a0": " ",
        "\u2192": "->",
        "\u2264": "<=",
        "\u2265": ">=",
        "\u00d7": "*",
    }
)
LARGEST_GROUP = 0.33  # of the bytes of a held-out split that one group may make up
SHINGLE = 8  # words; the unit in which overlap between splits is counted
MOST_OVERLAP = 0.2  # a held-out document sharing more of its shingles with other splits is dropped


@dataclass(frozen=True)
class Block:
    """One docstring or section, with the group that decides its split."""

    group: str
    text: str


def group_of(module: str) -> str:
    """Return the split unit of a module: its top-level name, with its C twin and its tests.

    ``_pydecimal``, ``_decimal`` and ``test.test_decimal`` repeat ``decimal``, so all four must fall
    into the same split.
    """
    parts = module.split(".")
    name = parts[1] if parts[0] == "test" and len(parts) > 1 else parts[0]
    name = re.sub(r"^(test_|_)+", "", name).removesuffix("_tests")
    return name.removeprefix("py") if module.startswith("_py") else name


def documented(heading: str, doc: object) -> str:
    """Return ``heading`` and its docstring as one paragraph group, or '' where there is too little.

    Typographic marks become ASCII and other non-ASCII text is left out: a vocabulary of 2048 has no
    room for it.
    """
    text = inspect.cleandoc(doc if isinstance(doc, str) else "").translate(TYPOGRAPHY)
    text = re.sub(r"[ \t]+\n", "\n", text).strip()
    if len(text) < SHORTEST_BLOCK or not text.isascii():
        return ""
    return f"{heading}\n{textwrap.indent(text, '    ')}" if heading else text


def source_blocks(path: Path, module: str) -> Iterator[Block]:
    """Yield the docstrings of one source file in source order, each under its signature."""

    def visit(node: ast.AST, prefix: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                yield documented(f"class {prefix}{child.name}", ast.get_docstring(child))
                yield from visit(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                signature = f"{prefix}{child.name}({ast.unparse(child.args)})"
                yield documented(signature, ast.get_docstring(child))

    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):  # templates and files that are wrong on purpose
        return
    for text in (documented("", ast.get_docstring(tree)), *visit(tree, "")):
        if text:
            yield Block(group_of(module), text)


def extension_blocks(module: str) -> Iterator[Block]:
    """Yield the docstrings of a module written in C (read by import: it has no source here)."""
    try:
        loaded = importlib.import_module(module)
    except ImportError:
        return

    def signature(member: object) -> str:
        return (getattr(member, "__text_signature__", None) or "").replace("$", "")

    owner = module.lstrip("_")
    texts = [documented("", loaded.__doc__)]
    for name, member in sorted(vars(loaded).items()):
        if inspect.isclass(member):
            texts.append(documented(f"class {owner}.{name}", member.__doc__))
            for attribute, value in sorted(vars(member).items()):
                if callable(value) and not attribute.startswith("_"):
                    texts.append(documented(f"{name}.{attribute}{signature(value)}", value.__doc__))
        elif inspect.isbuiltin(member):
            texts.append(documented(f"{owner}.{name}{signature(member)}", member.__doc__))
    for text in texts:
        if text:
            yield Block(group_of(module), text)


def topic_blocks() -> Iterator[Block]:
    """Yield the sections of the language reference that ships with ``pydoc``."""
    heading = r"\n(?=[^\n]+\n[=\-*\"]{4,}\n)"
    for topic, text in sorted(topics.items()):
        for section in re.split(heading, pydoc.plain(text)):
            cleaned = documented("", section)
            if cleaned:
                yield Block(f"topic:{topic}", cleaned)


def library_blocks() -> Iterator[Block]:
    """Yield every block of the installed standard library once, in a stable order."""
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    skipped = {"site-packages", "lib2to3", "ensurepip", "__pycache__", "lib-dynload"}
    skipped |= {"test", "tests", "idle_test"}  # their docstrings are more code than prose
    sources = []
    for path in sorted(stdlib.rglob("*.py")):
        parts = path.relative_to(stdlib).with_suffix("").parts
        if not skipped & set(parts) and not parts[0].startswith(("_sysconfigdata", "config-")):
            sources.append((path, ".".join(p for p in parts if p != "__init__")))
    dynamic = {p.name.split(".")[0] for p in (stdlib / "lib-dynload").glob("*.so")}
    compiled = sorted(m for m in {*dynamic, *sys.builtin_module_names} if "test" not in m)
    seen: set[str] = set()
    for blocks in (
        topic_blocks(),
        *(extension_blocks(module) for module in compiled),
        *(source_blocks(path, module) for path, module in sources),
    ):
        for block in blocks:
            # Without its first line: the same docstring under two signatures counts once.
            body = block.text.partition("\n")[2] or block.text
            if body not in seen and block.text not in seen:
                seen |= {body, block.text}
                yield block


def paragraphs(text: str) -> Iterator[str]:
    """Cut one over-long text at blank lines into pieces of at most ``DOCUMENT_CHARS`` if possible."""
    piece = ""
    for paragraph in text.split("\n\n"):
        if piece and len(piece) + len(paragraph) > DOCUMENT_CHARS:
            yield piece
            piece = paragraph
        else:
            piece = f"{piece}\n\n{paragraph}" if piece else paragraph
    yield piece


def documents_of(blocks: Iterable[Block]) -> list[Block]:
    """Join consecutive blocks of one group into documents of up to ``DOCUMENT_CHARS`` characters."""
    by_group: dict[str, list[str]] = {}
    for block in blocks:
        by_group.setdefault(block.group, []).extend(paragraphs(block.text))
    documents = []
    for group, pieces in sorted(by_group.items()):
        joined = list(paragraphs("\n\n".join(pieces)))
        documents += [Block(group, text) for text in joined if len(text) >= SHORTEST_DOCUMENT]
    return documents


def shingles(text: str) -> set[str]:
    """Return all runs of ``SHINGLE`` consecutive words, case-folded."""
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)}


def split_of(group: str, salt: int) -> str:
    """Return 'selection', 'report' or 'train' for a group, by the sha256 of its name."""
    u = int(hashlib.sha256(f"{salt}:{group}".encode()).hexdigest()[:8], 16) / 2**32
    return "selection" if u < HELD_SHARE else "report" if u < 2 * HELD_SHARE else "train"


def without_overlap(splits: dict[str, list[Block]]) -> dict[str, list[Block]]:
    """Drop held-out documents that mostly repeat another split, so that both are really unseen."""
    seen: set[str] = set()
    kept: dict[str, list[Block]] = {}
    for name in ("train", "selection", "report"):
        mine = [(document, shingles(document.text)) for document in splits[name]]
        kept[name] = [
            document
            for document, runs in mine
            if name == "train" or len(runs & seen) <= MOST_OVERLAP * max(1, len(runs))
        ]
        seen.update(*(runs for _, runs in mine))
    return kept


def held_out_sizes_fit(splits: dict[str, list[Block]], slack: float = 1.0) -> bool:
    """Say whether both held-out splits are of the wanted size and no group dominates one.

    ``slack`` loosens the upper limits, for a check before overlapping documents are dropped.
    """
    low, high = HELD_BYTES
    for part in (splits["selection"], splits["report"]):
        sizes: dict[str, int] = {}
        for document in part:
            sizes[document.group] = sizes.get(document.group, 0) + len(document.text)
        total = sum(sizes.values())
        if len(part) < HELD_DOCUMENTS or not low <= total <= high * slack:
            return False
        if max(sizes.values()) > LARGEST_GROUP * slack * total:
            return False
    return True


def split_documents(documents: Sequence[Block]) -> tuple[int, dict[str, list[Block]]]:
    """Split by group under the first salt that makes both held-out splits large enough.

    Groups are few and uneven (one topic, or all of ``asyncio``), so some salts give a held-out
    split of 20 kB and some one that is all ``turtle``. Nothing but sizes is looked at.
    """
    for salt in range(1000):
        splits: dict[str, list[Block]] = {"train": [], "selection": [], "report": []}
        for document in documents:
            splits[split_of(document.group, salt)].append(document)
        if held_out_sizes_fit(splits, slack=1.2):  # counting overlap is slow, so only then
            splits = without_overlap(splits)
            if held_out_sizes_fit(splits):
                return salt, splits
    raise RuntimeError("no salt gives held-out splits of the wanted size")


def make_text(data: Path, out: Path) -> dict[str, Any]:
    """Write the general text: JSON lines {id, text, license, group, split}, xz-compressed."""
    documents = documents_of(library_blocks())
    salt, splits = split_documents(documents)
    split_by_document = {d: name for name, part in splits.items() for d in part}
    lines, count = [], dict.fromkeys([d.group for d in documents], 0)
    for document in documents:
        if document in split_by_document:
            record = {
                "id": f"{document.group}#{count[document.group]:03d}",
                "text": document.text,
                "license": "PSF-2.0",
                "group": document.group,
                "split": split_by_document[document],
            }
            lines.append(json.dumps(record))
            count[document.group] += 1
    target = out / CORPUS
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(lzma.compress(("\n".join(lines) + "\n").encode(), preset=9))
    return {
        "salt": salt,
        "left_out_documents": len(documents) - len(lines),
        "splits": {
            name: {
                "documents": len(part),
                "groups": len({d.group for d in part}),
                "bytes": sum(len(d.text) for d in part),
            }
            for name, part in splits.items()
        },
    }


def general_text(data: Path, split: str) -> list[str]:
    """Return the texts of one split of the general text."""
    with lzma.open(data / CORPUS, "rt", encoding="utf-8") as file:
        return [r["text"] for r in map(json.loads, file) if r["split"] == split]


# --------------------------------------------------------------------------- chats and drills

WORDS = {
    "animal": "cat dog horse cow sheep goat lion tiger bear wolf fox mouse rabbit duck goose",
    "color": "red blue green yellow black white brown pink gray orange purple silver",
    "food": "bread cheese apple rice soup cake butter egg honey corn bean salt sugar",
    "tool": "hammer saw drill rope nail brush spade axe wrench file knife shovel",
    "place": "Paris Rome London Madrid Berlin Vienna Oslo Cairo Tokyo Lima Delhi Athens",
    "name": "Tom Anna Peter Mary John Lucy Paul Emma Mark Sarah David Alice",
}
KINDS = {kind: words.split() for kind, words in WORDS.items()}
COMMON = [word for kind in ("animal", "color", "food", "tool") for word in KINDS[kind]]
TASKS = ("copy", "reverse", "odd_one_out", "yes_no", "choice")
ITEM_COUNT, ITEM_SEED = 300, 7


@dataclass(frozen=True)
class Item:
    """One chat of two turns: what the user asks and the only right answer."""

    task: str
    prompt: str
    answer: str


def make_item(task: str, rng: random.Random) -> Item:
    """Draw one item of a task in ``TASKS``."""
    if task in ("copy", "reverse"):
        words = rng.sample(COMMON, rng.randint(2, 4))
        verb, said = ("Repeat", words) if task == "copy" else ("Reverse", words[::-1])
        return Item(task, f"{verb}: {' '.join(words)}", " ".join(said))
    if task == "odd_one_out":
        many, one = rng.sample(list(KINDS), 2)
        odd = rng.choice(KINDS[one])
        words = [*rng.sample(KINDS[many], 3), odd]
        rng.shuffle(words)
        return Item(task, f"Odd one out: {' '.join(words)}", odd)
    who, place = rng.choice(KINDS["name"]), rng.choice(KINDS["place"])
    what = rng.choice(KINDS["food"] + KINDS["tool"])
    fact = f"{who} bought the {what} in {place}."
    others = [p for p in KINDS["place"] if p != place]
    if task == "yes_no":
        asked, answer = rng.choice([(place, "yes"), (rng.choice(others), "no")])
        return Item(task, f"{fact} Did {who} buy it in {asked}?", answer)
    options = [*rng.sample(others, 2), place]
    rng.shuffle(options)
    return Item(task, f"{fact} Where was it bought? {', '.join(options)}", place)


def make_items(count: int, seed: int, avoid: frozenset[str] = frozenset()) -> list[Item]:
    """Draw items with different prompts, none in ``avoid``, with equally many of every task."""
    rng, seen, items = random.Random(seed), set(avoid), list[Item]()
    while len(items) < count:
        item = make_item(TASKS[len(items) % len(TASKS)], rng)
        if item.prompt not in seen:
            seen.add(item.prompt)
            items.append(item)
    rng.shuffle(items)
    return items


def benchmark_items() -> list[Item]:
    """Return the items of the benchmark; training chats avoid their prompts."""
    return make_items(ITEM_COUNT, ITEM_SEED)


def make_benchmark(data: Path, out: Path) -> dict[str, Any]:
    """Write the benchmark's items as JSON lines {task, prompt, answer}."""
    target = out / ITEMS
    target.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(vars(item)) for item in benchmark_items()]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"items": len(lines), "per_task": ITEM_COUNT // len(TASKS), "seed": ITEM_SEED}


def drill(rng: random.Random) -> str:
    """Draw one line of repetition, of grouped words, or of a fact said twice.

    Plain text without chat markers: it lets a model of this size form the heads that copy and
    compare during pre-training, which library documentation alone does not.
    """
    form = rng.randrange(4)
    if form < 2:
        words = rng.choices(COMMON + KINDS["place"] + KINDS["name"], k=rng.randint(4, 9))
        line = " ".join(words)
        return f"{line} / {line} / {' '.join(words[::-1])}"
    if form == 2:
        kinds = rng.sample(list(KINDS), 3)
        return " / ".join(f"{kind}: {' '.join(rng.sample(KINDS[kind], 4))}" for kind in kinds)
    who, place = rng.choice(KINDS["name"]), rng.choice(KINDS["place"])
    what = rng.choice(KINDS["food"] + KINDS["tool"])
    return f"{who} bought the {what} in {place}. The {what} was bought in {place} by {who}."


# --------------------------------------------------------------------------- tokens

VOCAB, SEQ, BATCH = 2048, 512, 8  # tokens, tokens a row, rows a step
SPECIAL = ["<|bos|>", "<|end|>", "<|user|>", "<|assistant|>", "<|pad|>"]
BOS, END, USER, ASSISTANT, PAD = range(len(SPECIAL))
IGNORED = -100  # label without loss
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] not in ['user', 'assistant'] %}"
    "{{ raise_exception('only the roles user and assistant are known') }}{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Train a byte-level BPE of ``VOCAB`` entries, special tokens first; it adds no bos by itself."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def wrap(tokenizer: Tokenizer, chat_template: str | None) -> PreTrainedTokenizerFast:
    """Return the Hugging Face form of a tokenizer."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SPECIAL[BOS],
        eos_token=SPECIAL[END],
        pad_token=SPECIAL[PAD],
        model_max_length=SEQ,
        clean_up_tokenization_spaces=False,
        chat_template=chat_template,
    )


def pack(ids: Sequence[int], labels: Sequence[int]) -> Tensor:
    """Cut one token stream into rows; return (rows, 2, SEQ): inputs, and labels shifted by one."""
    rows = (len(ids) - 1) // SEQ
    inputs = torch.tensor(ids[: rows * SEQ]).view(rows, SEQ)
    targets = torch.tensor(labels[1 : rows * SEQ + 1]).view(rows, SEQ)
    return torch.stack([inputs, targets], 1)


def pack_texts(tokenizer: Tokenizer, texts: Iterable[str]) -> Tensor:
    """Pack documents as bos, text, end, with loss on every token."""
    ids = [i for text in texts for i in (BOS, *tokenizer.encode(text).ids, END)]
    return pack(ids, ids)


def pack_items(tokenizer: Tokenizer, items: Iterable[Item]) -> Tensor:
    """Pack chats as the chat template renders them, with loss on the answer and its end only."""
    ids: list[int] = []
    labels: list[int] = []
    for item in items:
        asked = [BOS, USER, *tokenizer.encode(item.prompt).ids, END, ASSISTANT]
        answered = [*tokenizer.encode(item.answer).ids, END]
        ids += asked + answered
        labels += [IGNORED] * len(asked) + answered
    return pack(ids, labels)


# --------------------------------------------------------------------------- training

BASE_STEPS, BASE_RATE, BASE_SEED = 1300, 3e-3, 0
INSTRUCT_STEPS, INSTRUCT_RATE, INSTRUCT_SEED = 700, 1.5e-3, 1
WARMUP, FLOOR = 0.05, 0.1  # share of the steps; learning rate at the end, relative to the peak
DRILLS, DRILL_SHARE = 12_000, 0.1
CHATS, GENERAL_SHARE = 100_000, 0.15  # chats generated; share of general text in instruction tuning


def new_model(seed: int) -> LlamaForCausalLM:
    """Return a Llama of 1.07 M parameters in float32 with random weights."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=SEQ,
        tie_word_embeddings=True,
        bos_token_id=BOS,
        eos_token_id=END,
        pad_token_id=PAD,
        dtype=torch.float32,
    )
    return LlamaForCausalLM(config)


def batches(pools: Sequence[Tensor], shares: Sequence[float], seed: int) -> Iterator[Tensor]:
    """Yield batches (BATCH, 2, SEQ) whose rows come from the pools by share, each pool shuffled."""
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)

    def rows(pool: Tensor) -> Iterator[Tensor]:
        while True:
            yield from pool[torch.randperm(len(pool), generator=generator)]

    streams = [rows(pool) for pool in pools]
    while True:
        yield torch.stack([next(stream) for stream in rng.choices(streams, shares, k=BATCH)])


def rate_at(step: int, steps: int, peak: float) -> float:
    """Return the learning rate: linear warm-up, then cosine down to ``FLOOR`` of the peak."""
    warm = max(1, int(steps * WARMUP))
    if step < warm:
        return peak * (step + 1) / warm
    progress = (step - warm) / max(1, steps - warm)
    return peak * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * progress)))


def train(
    model: LlamaForCausalLM,
    data: Iterator[Tensor],
    steps: int,
    peak: float,
    stop: int | None,
) -> dict[str, Any]:
    """Train in place by AdamW, float32 weights under bfloat16 autocast; stop early at ``stop``.

    Returns seconds, tokens, the first five losses and the mean of the last twenty (nats a token).
    """
    optimizer = torch.optim.AdamW(model.parameters(), peak, betas=(0.9, 0.95), weight_decay=0.01)
    model.train()
    losses: list[float] = []
    start = time.perf_counter()
    for step in range(min(steps, stop or steps)):
        batch = next(data)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps, peak)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=batch[:, 0]).logits
        loss = cross_entropy(logits.float().view(-1, VOCAB), batch[:, 1].reshape(-1), ignore_index=IGNORED)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if (step + 1) % 50 == 0:
            pace = (step + 1) * BATCH * SEQ / (time.perf_counter() - start)
            print(f"step {step + 1}/{steps} loss {losses[-1]:.3f} {pace:.0f} tokens/s", flush=True)
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "steps": len(losses),
        "tokens": len(losses) * BATCH * SEQ,
        "first_losses": [round(value, 6) for value in losses[:5]],
        "final_loss": round(sum(losses[-20:]) / len(losses[-20:]), 4),
    }


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path, template: str | None) -> None:
    """Write a Hugging Face folder with bfloat16 weights."""
    model.to(torch.bfloat16).save_pretrained(folder)
    wrap(tokenizer, template).save_pretrained(folder)
    # The class name that every version of transformers knows, instead of the one this version uses.
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings = {key: value for key, value in settings.items() if value is not None}
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    for file in folder.iterdir():  # safetensors leaves its file unreadable to others
        file.chmod(0o644)


def make_base(data: Path, out: Path, stop: int | None = None) -> dict[str, Any]:
    """Train the tokenizer and pre-train ``tiny`` on the train split and on drills."""
    texts, rng = general_text(data, "train"), random.Random(1)
    drills = [drill(rng) for _ in range(DRILLS)]
    tokenizer = train_tokenizer([*texts, *drills[:2000]])
    pools = [pack_texts(tokenizer, texts), pack_texts(tokenizer, drills)]
    model = new_model(BASE_SEED)
    stream = batches(pools, [1 - DRILL_SHARE, DRILL_SHARE], BASE_SEED)
    record = train(model, stream, BASE_STEPS, BASE_RATE, stop)
    save(model, tokenizer, out / BASE, None)
    return {"parameters": model.num_parameters(), **record}


def make_instruct(data: Path, out: Path, stop: int | None = None) -> dict[str, Any]:
    """Tune ``tiny`` as shipped into ``tiny-instruct`` on generated chats and some general text."""
    tokenizer = Tokenizer.from_file(str(data / BASE / "tokenizer.json"))
    model = LlamaForCausalLM.from_pretrained(data / BASE, dtype=torch.float32)
    held = frozenset(item.prompt for item in benchmark_items())
    pools = [
        pack_items(tokenizer, make_items(CHATS, 11, avoid=held)),
        pack_texts(tokenizer, general_text(data, "train")),
    ]
    stream = batches(pools, [1 - GENERAL_SHARE, GENERAL_SHARE], INSTRUCT_SEED)
    record = train(model, stream, INSTRUCT_STEPS, INSTRUCT_RATE, stop)
    save(model, tokenizer, out / INSTRUCT, CHAT_TEMPLATE)
    return {"parameters": model.num_parameters(), **record}


# --------------------------------------------------------------------------- provenance

STAGES: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "text": make_text,
    "items": make_benchmark,
    "base": make_base,
    "instruct": make_instruct,
}


def made_files(out: Path) -> Iterator[Path]:
    """Yield the files that the stages have written so far."""
    for name in (CORPUS, ITEMS):
        if (out / name).is_file():
            yield out / name
    for folder in (BASE, INSTRUCT):
        yield from sorted(p for p in (out / folder).glob("*") if p.is_file())


def record_stage(out: Path, stage: str, record: dict[str, Any]) -> None:
    """Merge one stage's record, the versions and the hashes of all files into the provenance."""
    path = out / PROVENANCE
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    packages = ("torch", "transformers", "tokenizers", "safetensors")
    known["made_by"] = "tools/build_tiny.py"
    known["versions"] = {"python": platform.python_version()} | {p: version(p) for p in packages}
    known["threads"] = THREADS
    known["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
    known.setdefault("stages", {})[stage] = record
    known["sha256"] = {
        file.relative_to(out).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in made_files(out)
    }
    path.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stage that the command line names and print the hashes of its files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=[*STAGES, "all"])
    parser.add_argument("--data", type=Path, default=BUILTIN, help="folder to read from")
    parser.add_argument("--out", type=Path, default=BUILTIN, help="folder to write to")
    parser.add_argument("--steps", type=int, help="stop a training after this many steps")
    options = parser.parse_args(arguments)
    if options.steps and (options.stage not in ("base", "instruct") or options.out == options.data):
        parser.error("--steps goes with base or instruct, and with an --out beside --data")
    torch.set_num_threads(THREADS)
    for stage in STAGES if options.stage == "all" else [options.stage]:
        extra = {"stop": options.steps} if options.steps else {}
        data = options.out if options.stage == "all" else options.data
        record = STAGES[stage](data, options.out, **extra)
        record_stage(options.out, stage, record)
        print(stage, json.dumps(record))
    for name, digest in json.loads((options.out / PROVENANCE).read_text())["sha256"].items():
        print(digest, name)


if __name__ == "__main__":
    main()
