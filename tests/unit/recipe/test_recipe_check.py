"""Checking: every mistake at its place, contradictions, and what a right recipe resolves to."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from domadapt.components import Benchmark
from domadapt.errors import USAGE, RecipeError
from domadapt.recipe.load import load_recipe
from domadapt.recipe.schema import SYNONYMS, Recipe
from domadapt.recipe.values import keys_of, parse_count

HEAD = "version: 1\ndomain: law\nextends: starter\n"

SIX_MISTAKES = """\
version: 1
name: bad
domain: law
model:
  base: builtin:tiny
corpus:
  domain:
    - source: files
      options:
        path: statutes
        pauze: 1
      option: {path: x}
  general: [{source: sample}]
mix:
  replay: 1.4
train:
  learning_rate: 1.0e-5
  precision: bf8
merge:
  methods: [ties, slurp]
"""


def messages(error: RecipeError) -> dict[str, str]:
    """Message by place."""
    found = re.findall(r"^  (?=\S)(\S+:\d+:\d+|--\S+ \S+)  (.*)$", str(error), re.MULTILINE)
    return dict(found)


def refused(check: Any, text: str, *overrides: str, **more: Any) -> dict[str, str]:
    with pytest.raises(RecipeError) as caught:
        check(text, *overrides, **more)
    return {place.rpartition("/")[2]: message for place, message in messages(caught.value).items()}


def test_six_mistakes_give_six_messages_at_their_places(check: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        check(SIX_MISTAKES)
    text = str(caught.value)
    assert "recipe.yaml: 6 problems, nothing was run." in text
    assert {place.rpartition("/")[2]: message for place, message in messages(caught.value).items()} == {
        "recipe.yaml:11:9": "unknown key 'corpus.domain.0.options.pauze' of source 'files'; did you mean 'pause'?",
        "recipe.yaml:12:7": "unknown key 'corpus.domain.0.option'; did you mean 'options'?",
        "recipe.yaml:15:3": "mix.replay: wanted less than 1, came 1.4",
        "recipe.yaml:17:3": "unknown key 'train.learning_rate'; did you mean 'lr'?",
        "recipe.yaml:18:3": "train.precision: 'bf8' is not one of bf16, fp32",
        "recipe.yaml:20:19": "merge.methods.1: there is no merger 'slurp'; known: dare, slerp, ties",
    }
    assert "\n     15 |   replay: 1.4" in text
    assert caught.value.exit_code == USAGE


def test_a_mistake_in_an_option_is_shown_where_the_option_stands(check: Any) -> None:
    text = HEAD + "corpus:\n  domain:\n  - source: files\n    options: {path: 5, pause: -1, form: 10K, codes: G}\n"
    assert refused(check, text) == {
        "recipe.yaml:7:15": "corpus.domain.0.options.path (source 'files'): wanted text, came 5; put it in quotes",
        "recipe.yaml:7:24": "corpus.domain.0.options.pause (source 'files'): wanted 0 or more, came -1",
        "recipe.yaml:7:35": "corpus.domain.0.options.form (source 'files'): "
        "'10K' is not one of 10-K, 8-K; did you mean '10-K'?",
        "recipe.yaml:7:46": "corpus.domain.0.options.codes (source 'files'): "
        "wanted a list, came 'G'; put it in brackets",
    }


def test_a_missing_key_is_shown_where_it_would_stand_with_what_it_is(check: Any) -> None:
    text = "version: 1\ndomain: law\ncorpus:\n  domain:\n    - source: files\n"
    found = refused(check, text, "mix.replay=0", "eval.perplexity=false", "eval.general=[mmlu]")
    assert found == {
        "recipe.yaml:1:1": "missing key 'model.base': "
        'Pre-trained model: "builtin:tiny", a local folder, or a hub id "org/name"',
        "recipe.yaml:5:7": "missing key 'corpus.domain.0.options.path' of source 'files': Folder of the files",
    }


def test_a_union_of_types_is_one_message(check: Any) -> None:
    found = refused(check, HEAD + "merge: {methods: slerp, options: {slerp: {t: [1]}}}\n")
    assert list(found.values()) == [
        "merge.options.slerp.t (merger 'slerp'): wanted a number or one of auto, came a list of 1"
    ]


def test_inside_a_union_the_mistake_is_shown_where_it_is(check: Any) -> None:
    text = HEAD + "merge: {methods: dare, options: {dare: {density: {cpt: 2, instrct: 1}}}}\n"
    assert refused(check, text) == {
        "recipe.yaml:4:41": "missing key 'merge.options.dare.density.instruct' of merger 'dare': Of the instruct model",
        "recipe.yaml:4:51": "merge.options.dare.density.cpt (merger 'dare'): wanted 1 or less, came 2",
        "recipe.yaml:4:59": "unknown key 'merge.options.dare.density.instrct' of merger 'dare'; "
        "did you mean 'instruct'?",
    }
    text = HEAD + "merge: {methods: dare, options: {dare: {density: [1]}}}\n"
    assert list(refused(check, text).values()) == [
        "merge.options.dare.density (merger 'dare'): wanted a number or a mapping (key: value), came a list of 1"
    ]


def test_a_general_setting_that_a_method_needs_is_asked_for_where_it_belongs(check: Any) -> None:
    text = HEAD + "merge: {methods: dare}\n"
    assert refused(check, text) == {"recipe.yaml:4:9": "missing key 'merge.density' of merger 'dare': Share kept"}
    assert check(text, "merge.density=0.4").mergers["dare"].config.density == 0.4
    assert list(refused(check, text, "merge.density=4").values()) == ["merge.density: wanted 1 or less, came 4"]


def test_options_of_a_method_that_waits_for_its_selection_need_not_be_complete(check: Any) -> None:
    assert list(check(HEAD + "merge: {methods: slerp, options: {dare: {}}}\n").mergers) == ["slerp"]


def test_a_name_of_another_kind_is_explained(check: Any) -> None:
    found = refused(check, HEAD + "corpus: {clean: [normalize, ties]}\n")
    assert found["recipe.yaml:4:29"].endswith("('ties' is a merger)")


def test_a_key_of_another_section_is_found_there(check: Any) -> None:
    found = refused(check, HEAD + "lr: 1\nmix: {learning_rate: 2, perplexity: true}\n")
    assert found == {
        "recipe.yaml:4:1": "unknown key 'lr'; did you mean 'train.lr'?",
        "recipe.yaml:5:7": "unknown key 'mix.learning_rate'; did you mean 'train.lr'?",
        "recipe.yaml:5:25": "unknown key 'mix.perplexity'; did you mean 'eval.perplexity'?",
    }


def test_every_synonym_leads_to_a_key_that_exists() -> None:
    keys = {key for section in [Recipe, *_sections()] for key in keys_of(section)}
    assert set(SYNONYMS.values()) <= keys
    assert not set(SYNONYMS) & keys


def _sections() -> list[Any]:
    from domadapt.recipe import schema

    return [s for s in vars(schema).values() if isinstance(s, type) and issubclass(s, schema.Section)]


def test_the_python_name_of_an_aliased_key_is_no_key(check: Any) -> None:
    assert check(HEAD + "train: {from: ./cpt}\n").recipe.train.checkpoint == "./cpt"
    (message,) = refused(check, HEAD + "train: {checkpoint: ./cpt}\n").values()
    assert message.startswith("unknown key 'train.checkpoint'")


@pytest.mark.parametrize(
    "name", ["../../x", "/tmp/x", "a/b", "x\0", "x" * 300, "", "con", "nul.txt", ".store", "x.tmp", "A", "a b", "x\n"]
)
def test_a_run_name_that_is_no_safe_folder_is_refused(check: Any, name: str) -> None:
    with pytest.raises(ValidationError, match=r"folder name"):
        Recipe.model_validate({"version": 1, "name": name})
    if name.isprintable():
        assert "wanted a folder name" in refused(check, HEAD + f"name: '{name}'\n")["recipe.yaml:4:1"]


@pytest.mark.parametrize("name", ["a", "0", "sec-llama3-8b", "x" * 64, "run_1.2"])
def test_a_short_slug_is_a_run_name(check: Any, name: str) -> None:
    assert check(HEAD + f"name: '{name}'\n").recipe.name == name


@pytest.mark.parametrize(
    ("written", "count"),
    [("20000", 20000), ("500M", 500_000_000), ("1.5B", 1_500_000_000), ("1_000", 1000), ("2 k", 2000), ("4e3", 4000)],
)
def test_counts_are_written_as_people_write_them(check: Any, written: str, count: int) -> None:
    assert check(HEAD + f"eval: {{limit: {written}}}\n").recipe.eval.limit == count


@pytest.mark.parametrize(
    "written",
    [
        "0",
        "-1",
        "1.5",
        "1.0000000001",
        "true",
        ".nan",
        ".inf",
        "5 Mio",
        "''",
        "[1]",
        "9" * 30,
        "9" * 400,
        "'1e400'",
        "1e400",
    ],
)
def test_what_is_no_count_is_refused(check: Any, written: str) -> None:
    (message,) = refused(check, HEAD + f"mix:\n  tokens: {written}\n").values()
    assert message.startswith("mix.tokens: ")


def test_a_count_that_is_not_whole_is_refused_exactly() -> None:
    assert parse_count("1.000000000001T") == 1_000_000_000_001
    with pytest.raises(ValueError, match=r"whole"):
        parse_count("1.0000000000001T")


@pytest.mark.parametrize("written", [".nan", ".inf", "-0.1", "1", "5%", "true", "'x'", "null", "{}"])
def test_what_is_no_share_is_refused(check: Any, written: str) -> None:
    found = refused(check, HEAD + f"mix:\n  replay: {written}\n")
    assert found["recipe.yaml:5:3"].startswith("mix.replay: ")


def test_a_percentage_is_refused_with_the_number_to_write(check: Any) -> None:
    assert "(5 % is 0.05)" in refused(check, HEAD + "mix: {replay: 5%}\n")["recipe.yaml:4:7"]


_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(allow_nan=True),
    st.sampled_from(["", "x", "1e-5", "-1", "nan", "[", "ties"]),
)
_KEYS = [
    f"{s}.{k}"
    for s, m in keys_of(Recipe).items()
    if isinstance(m.annotation, type) and hasattr(m.annotation, "model_fields")
    for k in keys_of(m.annotation)
]


@given(
    st.lists(
        st.tuples(st.sampled_from([*_KEYS, "seed", "name", "corpus.domain.0.take", "corpus.clean.0"]), _LEAVES),
        max_size=4,
    )
)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200, derandomize=True
)
def test_any_values_resolve_or_are_refused_in_sentences(registry: Any, overrides: list[tuple[str, Any]]) -> None:
    from domadapt.recipe.check import resolve
    from domadapt.recipe.lock import lock_text

    written = [f"{key}={_yaml(value)}" for key, value in overrides]
    loaded = load_recipe(registry, domain="law", overrides=written)
    try:
        resolved = resolve(loaded)
    except RecipeError as error:
        sentences = str(error)
        event("refused")
    else:
        event("resolved")
        sentences = ""
        assert 0 <= resolved.recipe.mix.replay < 1
        assert resolved.recipe.train.lr > 0
        assert resolved.recipe.train.batch_tokens >= resolved.recipe.mix.seq_len
        lock_text(resolved, {})
    assert "nothing was run" in sentences or not sentences


def _yaml(value: Any) -> str:
    return (
        {None: "null", True: "true", False: "false"}.get(value, str(value))
        if not isinstance(value, float)
        else f"{value!r}"
    )


CONTRADICTIONS = [
    ("model: {start: instruct, instruct: null}", "model.start is instruct, but model.instruct is not given"),
    ("model: {instruct: null, instruct_revision: abc}", "without model.instruct"),
    ("model: {base: ./dir, revision: abc}", "is a commit on the hub, but the model is './dir'"),
    (
        "corpus: {general: []}",
        "corpus.general is empty, but mix.replay is 0.1 and eval.perplexity is true (by default)",
    ),
    ("train: {batch_tokens: 512}", "train.batch_tokens (512) is less than one window"),
    ("mix: {tokens: 1M}", "mix.tokens (1000000) is less than one step of train.batch_tokens (4194304)"),
    ("train: {steps: 10, batch_tokens: 8192}\nmix: {tokens: 10M}", "is 81920 tokens, but mix.tokens is 10000000"),
    ("eval: {general: [law.statutes]}", "task 'law.statutes' is listed under eval.domain too"),
    ("eval: {domain: [mmlu, mmlu]}", "'mmlu' is named twice"),
    ("eval: {domain: [], perplexity: false}", "nothing would be measured"),
    ("merge: {methods: [ties, slerp, ties]}", "'ties' is named twice"),
    ("merge: {methods: slerp, density: 0.5}", "merge.density: no selected merge method takes it (selected: slerp)"),
    ("merge: {methods: slerp, engine: mergekit}", "merge.engine: no selected merge method takes it"),
    ("merge: {options: {tie: {}}}", "merge.options.tie: there is no merger 'tie'"),
    ("merge: {options: {slerp: {tt: 1}}}", "unknown key 'merge.options.slerp.tt' of merger 'slerp'; did you mean 't'?"),
    (
        "merge: {options: {slerp: {desnity: 1}}}",
        "unknown key 'merge.options.slerp.desnity' of merger 'slerp'; known here: t",
    ),
]


@pytest.mark.parametrize(("text", "sentence"), CONTRADICTIONS)
def test_settings_that_contradict_each_other_are_refused_where_they_stand(check: Any, text: str, sentence: str) -> None:
    ((place, message),) = refused(check, HEAD + text + "\n").items()
    assert sentence in message
    assert re.match(r"recipe.yaml:[45]:", place)


def test_steps_and_tokens_that_agree_are_taken(check: Any) -> None:
    text = "train: {steps: 3, batch_tokens: 8192}\nmix: {tokens: 20K}\n"
    assert check(HEAD + text).recipe.train.steps == 3


def test_without_general_text_neither_replay_nor_perplexity_is_wanted(check: Any) -> None:
    text = "corpus: {general: []}\nmix: {replay: 0}\neval: {perplexity: false}\n"
    assert check(HEAD + text).sources["general"] == []


def test_merge_names_given_twice_are_refused(check: Any) -> None:
    with pytest.raises(RecipeError, match=r"--merge ties --merge ties  merge.methods: 'ties' is named twice"):
        check(HEAD, merge=["ties", "ties"])


def test_an_unknown_merge_method_of_the_command_line_is_named_as_written(check: Any) -> None:
    with pytest.raises(RecipeError, match=r"--merge slurp  merge.methods.0: there is no merger 'slurp'"):
        check(HEAD, merge=["slurp"])


def test_another_merge_method_needs_no_edit_of_the_density_in_the_file(check: Any) -> None:
    text = HEAD + "merge: {methods: ties, density: 0.3}\n"
    assert list(check(text, merge=["slerp"]).mergers) == ["slerp"]
    with pytest.raises(RecipeError, match=r"--set merge.density=0.4  merge.density: no selected"):
        check(text, "merge.density=0.4", merge=["slerp"])


def test_general_merge_settings_reach_the_methods_that_take_them(check: Any) -> None:
    resolved = check(HEAD + "merge: {methods: [slerp, ties], weight: 0.3, density: 0.2, engine: mergekit}\n")
    assert list(resolved.mergers) == ["slerp", "ties"]
    ties = resolved.mergers["ties"].config
    assert (ties.weight, ties.density, ties.engine, ties.lambda_) == (0.3, 0.2, "mergekit", 1.0)
    assert resolved.mergers["slerp"].config.model_dump() == {"t": "auto"}


def test_a_methods_own_option_goes_before_the_general_setting(check: Any) -> None:
    resolved = check(HEAD + "merge: {density: 0.2, options: {ties: {density: 0.9}}}\n")
    assert resolved.mergers["ties"].config.density == 0.9


def test_a_general_setting_out_of_range_is_told_once(check: Any) -> None:
    assert refused(check, HEAD + "merge: {density: 1.4}\n") == {
        "recipe.yaml:4:9": "merge.density: wanted 1 or less, came 1.4"
    }


def test_evaluators_are_those_the_tasks_and_perplexity_need(check: Any) -> None:
    resolved = check(HEAD + "eval: {general: [mmlu]}\n")
    assert list(resolved.evaluators) == ["perplexity", "probes", "lm_eval"]
    assert [task.benchmark.name for task in resolved.tasks["general"]] == ["mmlu"]
    assert list(check(HEAD + "eval: {perplexity: false, probes: false}\n").evaluators) == ["lm_eval"]


def test_a_benchmark_whose_evaluator_is_not_there_is_refused(check: Any, registry: Any) -> None:
    registry._components["benchmark"]["odd"] = Benchmark("odd", "Odd", registry.find("domain", "law").recipes, "nobody")
    assert "there is no evaluator 'nobody'" in refused(check, HEAD + "eval: {general: [odd]}\n")["recipe.yaml:4:18"]


def test_no_merge_methods_at_all_is_a_recipe_without_a_merge(check: Any) -> None:
    assert check(HEAD + "merge: {methods: []}\n").mergers == {}


@pytest.mark.parametrize("secret", ["hf_abcdefghijklmnopqrstuvwxyzABCDEFGH", "https://me:s3cret@example.org/data"])
def test_a_secret_in_a_recipe_is_refused_and_not_repeated(check: Any, secret: str) -> None:
    with pytest.raises(RecipeError, match=r"recipe.yaml:7:.* looks like an access token") as caught:
        check(HEAD + f"corpus:\n  domain:\n  - source: files\n    options: {{path: '{secret}'}}\n")
    assert "s3cret" not in str(caught.value)
    assert "hf_abc" not in str(caught.value)
    with pytest.raises(RecipeError, match=r"access token") as caught:
        check(HEAD, f"corpus.domain.0.options.path={secret}")
    assert "s3cret" not in str(caught.value)
    assert "hf_abc" not in str(caught.value)


def test_terminal_escapes_in_values_are_not_printed(check: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        check(HEAD + 'mix: {packing: "\\e[31mred"}\n')
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("line", ["    - task{n}", "    kee{n}: 1", "    n{n}: {{a: [-1]}}"])
def test_a_recipe_full_of_mistakes_is_refused_quickly_with_the_first_ones(check: Any, line: str) -> None:
    text = HEAD + "eval:\n  domain:\n" + "".join(line.format(n=n) + "\n" for n in range(2000))
    text = text if "- task" in line else text.replace("eval:\n  domain:", "merge:\n  options:")
    began = time.perf_counter()
    with pytest.raises(RecipeError, match="more than 100 problems, nothing was run") as caught:
        check(text)
    assert len(re.findall(r"^  \S*recipe.yaml:", str(caught.value), re.MULTILINE)) == 100
    assert time.perf_counter() - began < 2
