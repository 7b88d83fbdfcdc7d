"""The scorer behind lm-eval's interface, so that its task, metric and filter code runs unchanged.

Likelihoods come from the engine here; everything else (generation, chat templates) is the hf back end's own. Import it
late: it brings lm-eval with it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import lm_eval.utils
from lm_eval.models.huggingface import HFLM

from domadapt.builtin.evaluating.scoring.engine import loglikelihoods, rolling
from domadapt.components import Stage


class FastLM(HFLM):  # type: ignore[misc] # lm-eval is untyped
    """A model and its tokenizer for lm-eval. Pass it as `model=` to `simple_evaluate`.

    max_length: most tokens of a forward pass.  batch_tokens: tokens of one batch.  stage: gets progress and, when the
    network cannot be scored the fast way, an event with the reason.
    """

    def __init__(
        self, network: Any, tokenizer: Any, *, max_length: int, batch_tokens: int, stage: Stage | None = None
    ) -> None:
        batch_size = max(1, batch_tokens // max_length)
        super().__init__(pretrained=network, tokenizer=tokenizer, batch_size=batch_size, max_length=max_length)
        self.batch_tokens, self.stage = batch_tokens, stage
        _compile_templates_once()

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-likelihood in nats of each continuation and whether greedy decoding would give it."""
        return loglikelihoods(
            self.model,
            self.tokenizer,
            [request.args for request in requests],
            max_length=self.max_length,
            batch_tokens=self.batch_tokens,
            groups=[(request.task_name, request.doc_id) for request in requests],
            stage=self.stage,
        )

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood in nats of each text."""
        return rolling(
            self.model,
            self.tokenizer,
            [request.args[0] for request in requests],
            max_length=self.max_length,
            batch_tokens=self.batch_tokens,
            stage=self.stage,
        )


def _compile_templates_once() -> None:
    """lm-eval compiles a task's templates anew for every document, most of the time that it needs for a request."""
    environment = lm_eval.utils.env
    if not hasattr(environment.from_string, "cache_info"):
        environment.from_string = lru_cache(maxsize=256)(environment.from_string)
