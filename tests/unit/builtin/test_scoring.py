"""Log-likelihoods: lm-eval's own, whatever the architecture, the batch, the header and the length."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domadapt.artifacts import Checkpoint, Corpus
from domadapt.builtin.evaluating.models import loaded
from domadapt.builtin.evaluating.perplexity import Perplexity
from domadapt.builtin.evaluating.scoring import engine, requests
from domadapt.builtin.evaluating.scoring.backbone import refusal
from domadapt.builtin.evaluating.scoring.engine import loglikelihoods, rolling
from domadapt.builtin.evaluating.scoring.requests import Encoder
from domadapt.components import EvalRequest, LiveModel, Stage
from domadapt.errors import DataError, StageError
from domadapt.testing.models import write_byte_tokenizer, write_tiny_model

MakeStage = Callable[..., Stage]
MakeCorpus = Callable[..., Corpus]
Pair = tuple[str, str]

LENGTH = 64
TINY = {
    "vocab_size": 259, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 256, "initializer_range": 0.2, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
LLAMA_LIKE = TINY | {"intermediate_size": 64, "num_key_value_heads": 2}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", LLAMA_LIKE),
    "qwen2": ("Qwen2", LLAMA_LIKE | {"tie_word_embeddings": True}),
    "mistral": ("Mistral", LLAMA_LIKE | {"sliding_window": 4096}),
    "gpt2": ("GPT2", TINY),
    "granite": ("Granite", LLAMA_LIKE | {"logits_scaling": 3.0}),
    "cohere": ("Cohere", LLAMA_LIKE | {"logit_scale": 0.25, "pad_token_id": 0}),
}
PLAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "a window shorter than the requests": ("Mistral", LLAMA_LIKE | {"sliding_window": 8}),
    "layers that attend to a window": ("Gemma2", LLAMA_LIKE | {"sliding_window": 8, "head_dim": 8, "pad_token_id": 0}),
    "no attention at all": (
        "Mamba",
        {"vocab_size": 259, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "pad_token_id": 0},
    ),
}


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    requests._kept.clear()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    write_byte_tokenizer(folder, context=256)
    return AutoTokenizer.from_pretrained(folder)


def network(kind: tuple[str, dict[str, Any]], seed: int = 0) -> Any:
    """A random model of an architecture."""
    import torch
    import transformers

    name, settings = kind
    config = getattr(transformers, f"{name}Config")(**settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config)
    return model.eval()


def words(draw: random.Random, most: int) -> str:
    return " ".join("".join(draw.choices("abcdé", k=draw.randint(1, 5))) for _ in range(draw.randint(1, most)))


def questions(header: str = "", seed: int = 1, count: int = 8) -> list[list[Pair]]:
    """Four-choice questions: long and short choices, letters, spaces at the end, and choices alone."""
    draw = random.Random(seed)
    items = []
    for number in range(count):
        context = header + words(draw, 5) + draw.choice(["", " ", "\n"])
        choices = ["A", "B", "C", "D"] if number % 3 == 0 else [words(draw, 3) for _ in range(4)]
        items.append([(context, choice if context[-1].isspace() else f" {choice}") for choice in choices])
    return [*items, [("", words(draw, 4)) for _ in range(3)]]


def flat(items: Sequence[Sequence[Pair]]) -> tuple[list[Pair], list[int]]:
    return [pair for item in items for pair in item], [number for number, item in enumerate(items) for _ in item]


def of_lm_eval(model: Any, tokenizer: Any, pairs: Sequence[Pair], length: int = LENGTH) -> list[tuple[float, bool]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM

        reference = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=3, max_length=length)
        instances = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
        return reference.loglikelihood(instances, disable_tqdm=True)  # type: ignore[no-any-return]


def assert_equal(ours: Sequence[tuple[float, bool]], theirs: Sequence[tuple[float, bool]]) -> None:
    np.testing.assert_allclose([nats for nats, _ in ours], [nats for nats, _ in theirs], rtol=0, atol=5e-4)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def events(stage: Stage, kind: str) -> list[dict[str, Any]]:
    return [event for event in stage.facts["events"] if event["kind"] == kind]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_likelihoods_and_greedy_flags_are_those_of_lm_eval(name: str, tokenizer: Any, make_stage: MakeStage) -> None:
    model, stage = network(ARCHITECTURES[name]), make_stage("eval")
    pairs, groups = flat(questions(header="one thing after another\n" * 2, count=40))
    theirs = of_lm_eval(model, tokenizer, pairs, 128)
    for grouped in (groups, None):
        ours = loglikelihoods(model, tokenizer, pairs, max_length=128, batch_tokens=700, groups=grouped, stage=stage)
        assert_equal(ours, theirs)
    assert not events(stage, "plain_scoring")
    assert events(stage, "progress")[-1]["done"] == len(pairs)


@pytest.mark.parametrize("why", PLAIN)
def test_what_cannot_be_taken_apart_is_scored_the_plain_way_and_said(
    why: str, tokenizer: Any, make_stage: MakeStage
) -> None:
    model, stage = network(PLAIN[why]), make_stage("eval")
    pairs, groups = flat(questions(header="a header\n", count=4))
    theirs = of_lm_eval(model, tokenizer, pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = loglikelihoods(model, tokenizer, pairs, max_length=LENGTH, batch_tokens=512, groups=groups, stage=stage)
    assert_equal(ours, theirs)
    assert len(events(stage, "plain_scoring")) == 1


def test_attention_that_takes_no_mask_is_refused(tokenizer: Any) -> None:
    model = network(ARCHITECTURES["llama"])
    assert refusal(model, LENGTH) == ""
    model.config._attn_implementation = "flash_attention_2"
    assert refusal(model, LENGTH) == "attention 'flash_attention_2' takes no mask of ours"


def test_a_network_that_does_more_than_its_parts_is_found_out_by_the_comparison(
    tokenizer: Any, make_stage: MakeStage
) -> None:
    model, stage = network(ARCHITECTURES["llama"]), make_stage("eval")
    forward = model.forward

    def doubled(*args: Any, **named: Any) -> Any:
        output = forward(*args, **named)
        output.logits = output.logits * 2
        return output

    model.forward = doubled
    pairs, groups = flat(questions())
    ours = loglikelihoods(model, tokenizer, pairs, max_length=LENGTH, batch_tokens=512, groups=groups, stage=stage)
    assert_equal(ours, of_lm_eval(model, tokenizer, pairs))
    (event,) = events(stage, "plain_scoring")
    assert "where the model's own logits give" in event["reason"]


def test_a_header_of_solved_examples_goes_through_the_model_once(tokenizer: Any) -> None:
    model = network(ARCHITECTURES["llama"])
    pairs, groups = flat(questions(header="Q: what? A: that. " * 8, count=30)[:-1])
    theirs = of_lm_eval(model, tokenizer, pairs, 256)
    tokens = 0

    def count(module: Any, args: Any, named: dict[str, Any]) -> None:
        nonlocal tokens
        tokens += named["input_ids"].numel()

    model.model.register_forward_pre_hook(count, with_kwargs=True)
    ours = loglikelihoods(model, tokenizer, pairs, max_length=256, batch_tokens=1024, groups=groups)
    assert_equal(ours, theirs)
    # 30 questions with their header would be more than 30 * 144
    assert tokens < 30 * 144


@pytest.mark.parametrize("batch_tokens", [1, 100, 1000, 10**6])
def test_the_batch_changes_no_likelihood(batch_tokens: int, tokenizer: Any) -> None:
    model = network(ARCHITECTURES["qwen2"])
    pairs, groups = flat(questions(header="shared by all of them, more or less\n", count=30))
    ours = [
        loglikelihoods(model, tokenizer, pairs, max_length=LENGTH, batch_tokens=budget, groups=groups)
        for budget in (batch_tokens, 333)
    ]
    assert_equal(*ours)


def test_neither_order_nor_grouping_changes_a_likelihood(tokenizer: Any) -> None:
    model = network(ARCHITECTURES["gpt2"])
    pairs, groups = flat(questions(count=12))
    wanted = loglikelihoods(model, tokenizer, pairs, max_length=LENGTH, batch_tokens=512, groups=groups)
    order = random.Random(3).sample(range(len(pairs)), len(pairs))
    for grouped in ([groups[i] for i in order], [0] * len(pairs)):
        shuffled = [pairs[i] for i in order]
        found = loglikelihoods(model, tokenizer, shuffled, max_length=LENGTH, batch_tokens=512, groups=grouped)
        assert_equal(found, [wanted[i] for i in order])


def test_contexts_that_are_too_long_lose_their_beginning(tokenizer: Any) -> None:
    model = network(ARCHITECTURES["llama"])
    pairs = [("x" * n + "abc" * 9, " choice" + "y" * m) for n in (30, 31, 32, 100) for m in (0, 1, 25)]
    ours = loglikelihoods(model, tokenizer, pairs, max_length=LENGTH, batch_tokens=512, groups=[0] * len(pairs))
    assert_equal(ours, of_lm_eval(model, tokenizer, pairs))


def test_every_token_by_hand(tokenizer: Any) -> None:
    import torch

    model = network(ARCHITECTURES["llama"])
    ids = tokenizer("ab").input_ids + tokenizer(" cd").input_ids
    with torch.inference_mode():
        logs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    wanted = sum(float(logs[at, ids[at + 1]]) for at in (1, 2, 3))
    ((nats, _),) = loglikelihoods(model, tokenizer, [("ab ", "cd")], max_length=LENGTH, batch_tokens=64)
    assert nats == pytest.approx(wanted, abs=1e-5)


def test_a_greedy_answer_is_known_as_such(tokenizer: Any) -> None:
    import torch

    model = network(ARCHITECTURES["llama"])
    encoder = Encoder(tokenizer, LENGTH)
    prompt = np.array(tokenizer("what").input_ids)
    answer: list[int] = []
    with torch.inference_mode():
        for _ in range(3):
            logits = model(torch.tensor([[*prompt, *answer]])).logits[0, -1]
            answer.append(int(logits.argmax()))
    other = [*answer[:2], answer[2] ^ 1]
    made = [encoder._request(i, prompt.tolist(), tokens) for i, tokens in enumerate((answer, other, answer[:1]))]
    scores = engine.score_requests(model, requests.Requests(made, [0, 0, 0], [0, 1, 2], 3), 64)
    assert [score.greedy for score in scores] == [True, False, True]


def test_a_tokenizer_that_adds_its_begin_token_gives_what_it_gives_lm_eval(tokenizer: Any) -> None:
    import copy

    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from tokenizers.processors import TemplateProcessing

    adding = copy.deepcopy(tokenizer)
    adding.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", 1)]
    )
    assert adding("a").input_ids == [1, *tokenizer("a").input_ids]
    model = network(ARCHITECTURES["llama"])
    pairs = [("What?", " this"), ("<|begin|>What? ", "this"), ("", "<|begin|>this"), ("", "this")]
    ours = loglikelihoods(model, adding, pairs, max_length=LENGTH, batch_tokens=512)
    assert_equal(ours, of_lm_eval(model, adding, pairs))
    assert ours[0] != loglikelihoods(model, tokenizer, pairs[:1], max_length=LENGTH, batch_tokens=512)[0]
    texts = ["a text " * 20, "<|begin|>another"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = HFLM(pretrained=model, tokenizer=adding, max_length=LENGTH)
    instances = [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(texts)]
    wanted = reference.loglikelihood_rolling(instances, disable_tqdm=True)
    assert rolling(model, adding, texts, max_length=LENGTH, batch_tokens=512) == pytest.approx(wanted, abs=5e-4)


def test_large_and_small_logits_lose_nothing_without_the_shift(tokenizer: Any) -> None:
    import torch

    for bias in (-200.0, 200.0):
        model = network(ARCHITECTURES["llama"])
        wanted = rolling(model, tokenizer, ["some text"], max_length=LENGTH, batch_tokens=64)
        model.lm_head.bias = torch.nn.Parameter(torch.full((259,), bias))
        found = rolling(model, tokenizer, ["some text"], max_length=LENGTH, batch_tokens=64)
        assert found == pytest.approx(wanted, abs=5e-4)


def test_texts_are_scored_in_the_windows_of_lm_eval(tokenizer: Any) -> None:
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    for size in (1, 15, 16, 17, 32, 33, 100):
        text = "".join(random.Random(size).choices("abcdefgh", k=size))
        ids = tokenizer(text).input_ids
        theirs = [
            ([*before, *scored], len(scored))
            for before, scored in map(make_disjoint_window, get_rolling_token_windows(ids, 1, 16, 1))
        ]
        ours = Encoder(tokenizer, 16).rolling([text]).requests
        assert [(r.ids.tolist(), r.num_scored) for r in ours] == theirs


def test_a_prompt_stands_unscored_before_every_window_and_every_token_is_scored_once(tokenizer: Any) -> None:
    text = "".join(random.Random(5).choices("abcdefgh", k=50))
    head = [1, *tokenizer("Be good. ").input_ids]
    found = Encoder(tokenizer, 24).rolling([text], prompt="Be good. ").requests
    assert all(len(r.ids) <= 25 and r.ids[: len(head)].tolist() == head for r in found)
    assert sum(r.num_scored for r in found) == 50
    assert [token for r in found for token in r.ids[-r.num_scored :].tolist()] == tokenizer(text).input_ids
    with pytest.raises(DataError, match="prompt of 20 tokens leaves no room in a context of 24"):
        Encoder(tokenizer, 24).rolling([text], prompt="x" * 20)


def test_a_prompt_changes_the_likelihood_as_the_same_text_before_it_does(
    tiny_model: Checkpoint, make_corpus: MakeCorpus, make_stage: MakeStage, tmp_path: Path
) -> None:
    network, tokenizer = loaded(tiny_model)
    (with_prompt,) = rolling(
        network, tokenizer, ["short text"], max_length=LENGTH, batch_tokens=256, prompt="Before.\n\n"
    )
    (together,) = rolling(network, tokenizer, ["Before.\n\nshort text"], max_length=LENGTH, batch_tokens=256)
    (alone,) = rolling(network, tokenizer, ["Before.\n\n"], max_length=LENGTH, batch_tokens=256)
    assert with_prompt == pytest.approx(together - alone, abs=1e-4)
    corpus = make_corpus({"train": ["t"], "selection": ["s"], "report": ["short text"]})
    request = EvalRequest("bits_per_byte", "domain", None, corpus, None, 256, prompt="Before.")
    (row,) = Perplexity().evaluate(tiny_model, request, tmp_path, make_stage("eval"))
    assert row.value == pytest.approx(-with_prompt / np.log(2) / len("short text"), abs=1e-6)
    assert "a prompt of 7 characters" in row.protocol


def test_the_split_that_is_asked_for_is_scored(
    tiny_model: Checkpoint, make_corpus: MakeCorpus, make_stage: MakeStage, tmp_path: Path
) -> None:
    corpus = make_corpus({"train": ["t"], "selection": ["one", "two"], "report": ["three"]})
    request = EvalRequest("bits_per_byte", "domain", None, corpus, None, 256)
    numbers = {}
    for split in ("selection", "report"):
        (row,) = Perplexity().evaluate(tiny_model, replace(request, split=split), tmp_path, make_stage("eval"))
        numbers[split] = row.n
    assert numbers == {"selection": 2, "report": 1}


def test_a_live_model_is_scored_like_the_folder_it_was_saved_in(
    tiny_model: Checkpoint, make_corpus: MakeCorpus, make_stage: MakeStage, tmp_path: Path
) -> None:
    live = LiveModel(*loaded(tiny_model))
    assert loaded(live) == (live.network, live.tokenizer)
    corpus = make_corpus({"train": ["t"], "selection": ["s"], "report": ["a report", "another"]})
    request = EvalRequest("bits_per_byte", "domain", None, corpus, None, 256)
    rows = [Perplexity().evaluate(model, request, tmp_path, make_stage("eval")) for model in (tiny_model, live)]
    assert rows[0] == rows[1]


class Counted:
    """A tokenizer that counts how often it is asked to encode."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer, self.calls = tokenizer, 0

    def __call__(self, *args: Any, **named: Any) -> Any:
        self.calls += 1
        return self._tokenizer(*args, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __len__(self) -> int:
        return len(self._tokenizer)


def test_two_models_with_one_tokenizer_share_tokenised_requests(tmp_path: Path) -> None:
    models = [loaded(write_tiny_model(tmp_path / str(seed), seed=seed)) for seed in (1, 2)]
    counted = [Counted(tokenizer) for _, tokenizer in models]
    assert models[0][1] is not models[1][1]
    pairs, groups = flat(questions())
    found = [
        loglikelihoods(model, tokenizer, pairs, max_length=LENGTH, batch_tokens=512, groups=groups)
        for (model, _), tokenizer in zip(models, counted, strict=True)
    ]
    assert counted[0].calls > 0
    assert counted[1].calls == 0
    for (model, tokenizer), ours in zip(models, found, strict=True):
        assert_equal(ours, of_lm_eval(model, tokenizer, pairs))


def test_another_tokenizer_length_or_text_is_tokenised_anew(tmp_path: Path, tokenizer: Any) -> None:
    import copy

    model = network(ARCHITECTURES["llama"])
    other = copy.deepcopy(tokenizer)
    other.bos_token = None
    for changed, pairs, length in (
        (tokenizer, [("", "ab")], 64),
        (other, [("", "ab")], 64),
        (tokenizer, [("", "ab")], 32),
        (tokenizer, [("", "a"), ("b", "c")], 64),
        (tokenizer, [("", "a"), ("", "bc")], 64),
    ):
        counted = Counted(changed)
        loglikelihoods(model, counted, pairs, max_length=length, batch_tokens=64)
        assert counted.calls > 0


def test_no_more_tokens_are_kept_than_allowed(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "KEPT_TOKENS", 10)
    encoder = Encoder(tokenizer, LENGTH)
    for number in range(9):
        requests.shared(tokenizer, [number], lambda: encoder.pairs([("a", "bc")]))
    assert len(requests._kept) == 3
    requests.shared(tokenizer, ["large"], lambda: encoder.pairs([("a", "b" * 20)]))
    assert len(requests._kept) == 1


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (("a", ""), "request 1: its continuation has no tokens"),
        (("", ""), "request 1: its continuation has no tokens"),
        (("  ", "b"), "request 1: its context has no tokens"),
        (("a", "b" * 65), "request 1: its continuation has 65 tokens, the model's context 64"),
    ],
)
def test_a_request_with_nothing_to_score_is_refused(pair: Pair, said: str, tokenizer: Any) -> None:
    with pytest.raises(DataError, match=said):
        Encoder(tokenizer, LENGTH).pairs([("a", "b"), pair])


def test_a_tokenizer_without_begin_and_end_is_refused(tokenizer: Any) -> None:
    class Bare:
        bos_token_id = eos_token_id = None

    with pytest.raises(DataError, match="neither a begin nor an end token"):
        Encoder(Bare(), LENGTH)


def test_a_damaged_model_is_said_with_the_number_of_the_request(tokenizer: Any, make_stage: MakeStage) -> None:
    import torch

    model = network(ARCHITECTURES["llama"])
    with torch.no_grad():
        model.model.norm.weight[0] = torch.nan
    with pytest.raises(StageError, match="eval: request 0 has a likelihood that is not finite"):
        loglikelihoods(model, tokenizer, [("a", "b")], max_length=8, batch_tokens=8, stage=make_stage("eval"))


def test_in_bfloat16_the_fast_way_differs_from_float32_no_more_than_the_plain_way(tokenizer: Any) -> None:
    import torch

    model = network(ARCHITECTURES["llama"])
    pairs, groups = flat(questions(count=20))
    exact = np.array([nats for nats, _ in of_lm_eval(model, tokenizer, pairs)])
    half = model.to(torch.bfloat16)
    plain = np.array([nats for nats, _ in of_lm_eval(half, tokenizer, pairs)])
    ours = loglikelihoods(half, tokenizer, pairs, max_length=LENGTH, batch_tokens=512, groups=groups)
    fast = np.array([nats for nats, _ in ours])
    assert np.abs(fast - exact).mean() <= np.abs(plain - exact).mean()


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A five-shot four-choice task for lm-eval's task manager, in `tmp_path`."""
    import json

    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    datasets.disable_progress_bars()
    draw = random.Random(9)
    rows = [{"q": words(draw, 3), "choices": [words(draw, 2) for _ in range(4)], "gold": n % 4} for n in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "task.yaml").write_text(
        f"""
        task: four
        dataset_path: json
        dataset_kwargs: {{data_files: {{test: {tmp_path}/rows.jsonl, train: {tmp_path}/rows.jsonl}}}}
        output_type: multiple_choice
        test_split: test
        fewshot_split: train
        fewshot_config: {{sampler: first_n}}
        num_fewshot: 5
        description: "Choose. "
        doc_to_text: "Q: {{{{q}}}}"
        doc_to_choice: "{{{{choices}}}}"
        doc_to_target: gold
        metric_list:
          - {{metric: acc, aggregation: mean, higher_is_better: true}}
          - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
          - {{metric: acc_mutual_info, aggregation: mean, higher_is_better: true}}
        """
    )
    return "four"


@pytest.mark.parametrize("chat", [False, True])
def test_lm_eval_itself_gets_the_same_results_from_our_scorer(
    task: str, chat: bool, tmp_path: Path, tokenizer: Any
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lm_eval.evaluator import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

        from domadapt.builtin.evaluating.scoring.lm import FastLM

        model = network(ARCHITECTURES["llama"])
        tasks = TaskManager(include_path=str(tmp_path), include_defaults=False)
        backends = [
            HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, max_length=256),
            FastLM(model, tokenizer, max_length=256, batch_tokens=1024),
        ]
        theirs, ours = (
            simple_evaluate(b, tasks=[task], task_manager=tasks, bootstrap_iters=0, apply_chat_template=chat)
            for b in backends
        )
    assert ours["results"] == theirs["results"]
    for one, other in zip(ours["samples"][task], theirs["samples"][task], strict=True):
        assert one["arguments"] == other["arguments"]
        assert_equal([r[0] for r in one["resps"]], [r[0] for r in other["resps"]])
        assert one["acc"] == other["acc"]
