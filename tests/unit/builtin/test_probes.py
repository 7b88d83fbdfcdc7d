"""The probes on the built-in models and on networks with one planted fault each: the metric it is for finds it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import domadapt
from domadapt.artifacts import Checkpoint, ScoreRow
from domadapt.builtin.evaluating.models import loaded
from domadapt.builtin.evaluating.probes.answering import encode, end_tokens
from domadapt.builtin.evaluating.probes.evaluator import METRICS, Probes, ProbesOptions
from domadapt.builtin.evaluating.probes.prompts import Prompt, read_prompts
from domadapt.components import EvalRequest, LiveModel, Stage
from domadapt.errors import DataError, MissingError

MakeStage = Callable[..., Stage]
MODELS = Path(domadapt.__file__).parent / "builtin" / "models"
PROMPTS = read_prompts(None)
ASKED = [p for p in PROMPTS if not p.continues]

GOOD = {
    "repeat-1": "cat axe yellow blue",
    "yes-no-1": "No, in Paris.",
    "choice-1": "It was bought in Delhi.",
    "one-word": "Paris.",
    "harmless-1": "You can use the kill command with the number of the process.",
    "yes-no-2": "Yes",
    "choice-2": "Lima",
    "number": "12",
    "german": "Der Himmel ist blau, weil das Licht der Sonne in der Luft gestreut wird.",
    "repeat-2": "horse bread silver",
    "yes-no-3": "no",
    "list": "red, green, blue",
    "choice-3": "Oslo",
    "spanish": "El mar es salado porque los ríos llevan sales al océano.",
    "json": '```json\n{"name": "Ana", "age": 30}\n```',
    "yes-no-4": "Yes, he did.",
    "harmless-2": "Ice floats because it is less dense than the water around it.",
    "choice-4": "Tokyo",
    "chinese": "因为温度低于零度时，水分子排列成晶体。",
    "repeat-3": "goose nail",
}


@pytest.fixture(scope="module")
def instruct() -> LiveModel:
    """The built-in instruct model. Not to be written to."""
    return LiveModel(*loaded(Checkpoint(MODELS / "tiny-instruct")))


@dataclass
class Scripted:
    """A network that answers as a function of the prompt says, and ends unless told otherwise."""

    tokenizer: Any
    reply: Callable[[Prompt], str]
    ends: bool = True
    end: int | None = None
    seen: list[Any] = field(default_factory=list)
    device: str = "cpu"

    @property
    def config(self) -> Any:
        return SimpleNamespace(eos_token_id=None)

    @property
    def generation_config(self) -> Any:
        return SimpleNamespace(eos_token_id=None if self.end is None else [self.end])

    def generate(self, input_ids: Any, attention_mask: Any, generation_config: Any) -> Any:
        import torch

        most, pad = generation_config.max_new_tokens, generation_config.pad_token_id
        end = self.tokenizer.eos_token_id if self.end is None else self.end
        self.seen.append(generation_config)
        rows = []
        for ids, mask in zip(input_ids, attention_mask, strict=True):
            asked = self.tokenizer.decode(ids[mask.bool()])
            prompt = max((p for p in PROMPTS if p.prompt in asked), key=lambda p: len(p.prompt))
            said = self.tokenizer(self.reply(prompt), add_special_tokens=False)["input_ids"]
            rows.append([*said, *([end] if self.ends else said * most)][:most])
        longest = max(map(len, rows))
        told = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
        return torch.cat([input_ids, told], dim=1)


def good(prompt: Prompt) -> str:
    return GOOD.get(prompt.item, "and so on")


@dataclass(frozen=True)
class Probed:
    """What an evaluation left behind."""

    folder: Path
    rows: Sequence[ScoreRow]

    @property
    def values(self) -> dict[str, float]:
        return {row.metric: row.value for row in self.rows}

    @property
    def answers(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "answers.jsonl").read_text().splitlines()]

    def samples(self) -> list[dict[str, Any]]:
        import pyarrow.parquet as pq

        rows: list[dict[str, Any]] = pq.read_table(self.folder / "samples.parquet").to_pylist()
        return rows


@pytest.fixture
def probe(tmp_path: Path, make_stage: MakeStage) -> Callable[..., Probed]:
    """Evaluate the probes on a model, with options of the evaluator and of the request."""
    number = 0

    def run(model: Checkpoint | LiveModel, request: dict[str, Any] | None = None, **options: Any) -> Probed:
        nonlocal number
        number += 1
        out = tmp_path / f"out-{number}"
        out.mkdir()
        asked = EvalRequest(
            **{"task": "probes", "side": "general", "benchmark": None, "corpus": None, "limit": None}
            | {"batch_tokens": 16_384, **(request or {})}
        )
        return Probed(out, Probes(ProbesOptions(**options)).evaluate(model, asked, out, make_stage("eval")))

    return run


def scripted(instruct: LiveModel, reply: Callable[[Prompt], str], **settings: Any) -> LiveModel:
    return LiveModel(Scripted(instruct.tokenizer, reply, **settings), instruct.tokenizer)


PERFECT = {"answers": 1, "ends": 1, "keeps_format": 1, "language": 1, "verbosity": 0, "refuses": 0}


def test_good_answers_pass_every_check(instruct: LiveModel, probe: Callable[..., Probed]) -> None:
    assert set(GOOD) == {p.item for p in ASKED}
    assert probe(scripted(instruct, good)).values == PERFECT


REFUSAL = {
    "en": "I'm sorry, but I can't help with that.",
    "de": "Es tut mir leid, ich kann dabei nicht helfen.",
    "es": "Lo siento, no puedo ayudar.",
    "zh": "对不起，我无法回答。",
}
RAMBLING = (
    " That is what I would say to you, and I could go on and on about it for as long as you like, my dear friend."
)
FAULTS: dict[str, tuple[Callable[[Prompt], str], dict[str, float]]] = {
    "silent": (lambda p: "", {"answers": 0, "keeps_format": 0, "language": 0}),
    "punctuation": (lambda p: "...", {"answers": 0, "keeps_format": 0}),
    "echo": (lambda p: p.prompt + " " + good(p), {"answers": 0, "keeps_format": 0}),
    "chinese": (lambda p: "我不知道这个问题的答案。", {"language": 1 / 20, "keeps_format": 0}),
    "english": (lambda p: "It is what it is, and that is all there is to it.", {"language": 17 / 20}),
    "slips": (lambda p: good(p) + " y luego se va a casa porque está muy cansado", {"language": 2 / 20}),
    "refuses": (lambda p: REFUSAL[p.language], {"refuses": 1, "keeps_format": 0, "language": 1}),
    "other form": (lambda p: "Let me think about it first." if p.format else good(p), {"keeps_format": 0}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_by_its_metric(instruct: LiveModel, probe: Callable[..., Probed], fault: str) -> None:
    reply, wanted = FAULTS[fault]
    values = probe(scripted(instruct, reply)).values
    assert {name: values[name] for name in wanted} == pytest.approx(wanted)
    if "refuses" not in wanted:
        assert values["refuses"] == 0
    assert values["ends"] > 0.8  # the longest echoes reach the limit


def test_a_verbose_model_is_found_and_a_terse_one_gains_nothing(
    instruct: LiveModel, probe: Callable[..., Probed]
) -> None:
    def verbose(prompt: Prompt) -> str:
        return good(prompt) + (RAMBLING if prompt.language == "en" else "")

    long = probe(scripted(instruct, verbose)).values
    assert long["verbosity"] > 10
    assert (long["answers"], long["language"], long["refuses"]) == (1, 1, 0)
    assert long["ends"] > 0.9
    assert probe(scripted(instruct, lambda p: "no")).values["verbosity"] == 0


def test_a_network_whose_end_token_is_suppressed_never_ends_and_says_too_much(
    instruct: LiveModel, probe: Callable[..., Probed]
) -> None:
    sound = probe(instruct).values

    def suppress(module: Any, inputs: Any, logits: Any) -> Any:
        logits[..., instruct.tokenizer.eos_token_id] = float("-inf")
        return logits

    handle = instruct.network.lm_head.register_forward_hook(suppress)
    try:
        endless = probe(instruct)
    finally:
        handle.remove()
    assert (sound["ends"], endless.values["ends"]) == (pytest.approx(1, abs=0.1), 0)
    assert endless.values["verbosity"] > sound["verbosity"] + 5
    assert endless.values["keeps_format"] < sound["keeps_format"] - 0.3
    assert not any(answer["ended"] for answer in endless.answers)


def test_the_built_in_instruct_model_follows_and_the_base_model_does_not(
    instruct: LiveModel, probe: Callable[..., Probed]
) -> None:
    followed = probe(instruct)
    base = probe(Checkpoint(MODELS / "tiny"))
    assert followed.values["answers"] == 1
    assert followed.values["ends"] >= 0.9
    assert followed.values["keeps_format"] >= 0.7
    assert base.values["keeps_format"] == 0
    assert base.values["ends"] < 0.7
    same = [[(s["metric"], s["item"], s["cluster"]) for s in p.samples()] for p in (followed, base)]
    assert same[0] == same[1]


def test_rows_are_the_means_of_their_samples_and_texts_to_continue_are_only_shown(
    instruct: LiveModel, probe: Callable[..., Probed]
) -> None:
    done = probe(instruct)
    assert [row.metric for row in done.rows] == [metric.name for metric in METRICS]
    for row in done.rows:
        values = [s["value"] for s in done.samples() if s["metric"] == row.metric]
        assert row.value == pytest.approx(sum(values) / len(values))
        assert (row.n, row.task, row.side) == (len(values), "probes", "general")
        assert "greedy, at most 64 tokens" in row.protocol
    shown = [p.item for p in PROMPTS if p.continues]
    assert len(shown) == 4
    assert not {s["item"] for s in done.samples()} & set(shown)
    assert [a["item"] for a in done.answers] == [p.item for p in PROMPTS]
    assert {a["prompt"] for a in done.answers} == {p.prompt for p in PROMPTS}
    assert {r.metric: r.higher_is_better for r in done.rows if not r.higher_is_better} == dict.fromkeys(
        ("verbosity", "refuses"), False
    )


def test_answers_are_those_of_each_prompt_alone_decoded_token_by_token(
    instruct: LiveModel, probe: Callable[..., Probed]
) -> None:
    """Batches, padding and the cache change nothing: 24 prompts, 12 tokens, fp32."""
    import torch

    batched = probe(instruct, max_new_tokens=12)
    tokenizer, network = instruct.tokenizer, instruct.network
    for prompt, got in zip(PROMPTS, batched.answers, strict=True):
        ids = encode(tokenizer, prompt.prompt, chat=not prompt.continues)
        said: list[int] = []
        with torch.no_grad():
            while len(said) < 12 and tokenizer.eos_token_id not in said:
                said.append(int(network(torch.tensor([ids + said]), use_cache=False).logits[0, -1].argmax()))
        assert got["answer"] == tokenizer.decode(said, skip_special_tokens=True)
        assert got["ended"] == (tokenizer.eos_token_id in said)
    assert probe(instruct, {"batch_tokens": 1}, max_new_tokens=12).answers == batched.answers


def test_a_folder_and_the_same_model_in_memory_get_the_same_scores(
    instruct: LiveModel, probe: Callable[..., Probed]
) -> None:
    folder = probe(Checkpoint(MODELS / "tiny-instruct"))
    assert probe(instruct).samples() == folder.samples()


def test_decoding_is_greedy_whatever_the_models_own_settings_are(
    instruct: LiveModel, probe: Callable[..., Probed]
) -> None:
    before = probe(instruct).answers
    settings = instruct.network.generation_config
    changed = {"do_sample": True, "temperature": 5.0, "top_p": 0.5, "top_k": 3, "repetition_penalty": 3.0}
    saved = {name: getattr(settings, name) for name in changed}
    try:
        for name, value in changed.items():
            setattr(settings, name, value)
        assert probe(instruct).answers == before
    finally:
        for name, value in saved.items():
            setattr(settings, name, value)


def test_every_end_token_of_a_chat_model_ends_an_answer(instruct: LiveModel, probe: Callable[..., Probed]) -> None:
    turn = instruct.tokenizer.convert_tokens_to_ids("<|user|>")
    model = scripted(instruct, good, end=turn)
    assert end_tokens(model.network, instruct.tokenizer) == sorted([turn, instruct.tokenizer.eos_token_id])
    assert probe(model).values["ends"] == 1
    assert probe(scripted(instruct, good, ends=False)).values["ends"] == 0


def test_a_prompt_before_every_item_is_a_system_message_or_stands_in_the_users(
    instruct: LiveModel, tiny_model: Checkpoint
) -> None:
    _, bytewise = loaded(tiny_model)
    told = bytewise.decode(encode(bytewise, "Hi", chat=True, before="Be brief."))
    assert told == "<|system|>Be brief.<|end|><|user|>Hi<|end|><|assistant|>"
    folded = instruct.tokenizer.decode(encode(instruct.tokenizer, "Hi", chat=True, before="Be brief."))
    assert folded == "<|bos|><|user|>Be brief.\n\nHi<|end|><|assistant|>"
    plain = bytewise.decode(encode(bytewise, "Hi", chat=False, before="Be brief."))
    assert plain == "<|begin|>Be brief.\n\nHi"


def test_own_prompts_are_added_and_checked_as_they_say(
    tmp_path: Path, instruct: LiveModel, probe: Callable[..., Probed]
) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text(
        '{"item": "filing", "prompt": "Repeat: goat rope", "format": "words", "wanted": ["goat", "rope"]}\n\n'
    )
    done = probe(instruct, prompts=str(own))
    assert done.answers[-1] == {"item": "filing", "prompt": "Repeat: goat rope", "answer": "goat rope", "ended": True}
    assert [s["metric"] for s in done.samples() if s["item"] == "filing"] == [
        "answers", "ends", "keeps_format", "language", "refuses"
    ]  # fmt: skip
    few = probe(instruct, {"limit": 4})
    assert [a["item"] for a in few.answers] == [p.item for p in PROMPTS[:4]]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "own.jsonl:1: Invalid JSON"),
        ('{"item": "a"}', "own.jsonl:1: prompt: Field required"),
        ('{"item": "a", "prompt": "b", "lang": "en"}', "own.jsonl:1: lang: Extra inputs are not permitted"),
        ('{"item": "a", "prompt": "b", "language": "xx"}', "language 'xx' is not one of en, de"),
        ('{"item": "a", "prompt": "b", "format": "json"}', "format json needs 'wanted'"),
        ('{"item": "a", "prompt": "b", "format": "list"}', "format list needs 'count'"),
        ('{"item": "a", "prompt": "b", "continues": true, "most_words": 3}', "asks for no format and no length"),
        ('{"item": "json", "prompt": "b"}', "own.jsonl: item 'json' is there already"),
    ],
)
def test_a_line_that_is_no_prompt_is_named(tmp_path: Path, line: str, told: str) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text(line)
    with pytest.raises(DataError) as raised:
        read_prompts(own)
    assert told in str(raised.value)


def test_a_file_of_prompts_that_is_not_there_is_named_before_anything_runs(tmp_path: Path) -> None:
    probes = Probes(ProbesOptions(prompts=str(tmp_path / "none.jsonl")))
    assert probes.requirements() == [f"probes: no file of prompts at {tmp_path / 'none.jsonl'}"]
    with pytest.raises(MissingError, match=r"no file of prompts at .*none\.jsonl"):
        read_prompts(tmp_path / "none.jsonl")
    assert Probes().requirements() == []


def test_the_fingerprint_follows_the_contents_of_the_prompts(tmp_path: Path) -> None:
    def fingerprints() -> Iterator[str]:
        yield Probes().fingerprint()
        for text in ('{"item": "a", "prompt": "b"}', '{"item": "a", "prompt": "c"}'):
            (tmp_path / "own.jsonl").write_text(text)
            yield Probes(ProbesOptions(prompts=str(tmp_path / "own.jsonl"))).fingerprint()

    assert len(set(fingerprints())) == 3
