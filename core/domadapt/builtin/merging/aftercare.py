"""What a merged folder gets and shows after the merge: tokenizer, card, and that it loads, speaks and ends.

Loading costs a few seconds (torch, transformers) and the model's size in memory, so it is left out, with the reason
among the facts, where memory does not suffice.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domadapt.artifacts import TOKENIZER_FILES, Checkpoint
from domadapt.builtin.merging.fast.checkpoint import Weights
from domadapt.builtin.merging.guards import available_memory
from domadapt.components import Stage
from domadapt.errors import DataError, StageError

GREETING = [{"role": "user", "content": "Hello."}]
MOST_TOKENS = 64
"""Tokens after which an answer counts as not ending."""


def adopt_tokenizer(instruct: Path, out: Path) -> None:
    """Give the merge what a chat model needs from the instruct model, and nothing of it from elsewhere."""
    for name in (*TOKENIZER_FILES, "generation_config.json"):
        (out / name).unlink(missing_ok=True)
        if (instruct / name).is_file():
            shutil.copyfile(instruct / name, out / name)


def write_card(out: Path, method: str, names: Mapping[str, str], facts: Mapping[str, Any]) -> None:
    """README.md: what was merged and how. names: what the parents are called, by role, where they have a name."""
    parents = [name for role in ("base", "instruct", "cpt") if (name := names.get(role))]
    lines = ["---", "library_name: transformers", "tags:", "- mergekit", "- merge"]
    if parents:
        lines += ["base_model:", *(f"- {name}" for name in dict.fromkeys(parents)), "base_model_relation: merge"]
    lines += ["---", "", f"# Merge by {method}", ""]
    lines += [f"- {role}: {names.get(role, 'a local checkpoint')}" for role in ("base", "instruct", "cpt")]
    lines += ["", "base: the pre-trained ancestor. instruct: its tokenizer and chat template are this model's.", ""]
    if config := facts.get("mergekit"):
        lines += ["```yaml", str(config).rstrip("\n"), "```", ""]
    (out / "README.md").write_text("\n".join(lines), encoding="utf-8")


def check_merged(stage: Stage, merged: Checkpoint) -> dict[str, Any]:
    """Load the merge, render its chat template and let it answer: facts on what was seen.

    Raises StageError when it does not load or its template does not render; an answer that does not end is a warning.
    """
    needed = int(Weights(merged.path).num_bytes * 1.3)
    available = available_memory()
    if available is not None and needed > available:
        told = f"loading takes {needed / 1e9:.1f} GB of memory, {available / 1e9:.1f} GB are available"
        stage.event("warning", message=f"the merged model was not tried: {told}")
        return {"loads": "not tried, larger than the memory"}
    from domadapt.builtin.models.tokenizer import load_tokenizer
    from domadapt.builtin.models.weights import load_causal_lm

    try:
        model = load_causal_lm(merged.path, "auto")
        tokenizer = load_tokenizer(merged.path) if merged.tokenizer_files else None
    except (DataError, OSError, ValueError) as error:
        raise StageError(f"{stage.name}: the merged model does not load ({error})") from error
    if getattr(tokenizer, "chat_template", None) is None:
        return {"loads": True, "chat_template": False}
    assert tokenizer is not None
    try:
        ids = tokenizer.apply_chat_template(GREETING, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    except Exception as error:  # a template is a program, jinja's errors have no common class
        raise StageError(f"{stage.name}: the instruct model's chat template does not render ({error})") from error
    ends = _ends(model, tokenizer, ids)
    if not ends:
        stage.event("warning", message=f"the merged model's answer to a greeting does not end in {MOST_TOKENS} tokens")
    return {"loads": True, "chat_template": True, "ends": ends}


def _ends(model: Any, tokenizer: Any, ids: Any) -> bool:
    """Whether the greedy answer to the greeting ends by itself."""
    import torch

    stops = model.generation_config.eos_token_id
    stops = [stops] if isinstance(stops, int) else list(stops or [tokenizer.eos_token_id])
    room = getattr(model.config, "max_position_embeddings", None) or MOST_TOKENS
    length = ids["input_ids"].shape[1]
    with torch.inference_mode():
        answer = model.generate(
            input_ids=ids["input_ids"],
            attention_mask=ids["attention_mask"],
            do_sample=False,
            max_new_tokens=max(1, min(MOST_TOKENS, room - length)),
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else stops[0],
        )
    return bool(set(answer[0, length:].tolist()) & set(stops))
