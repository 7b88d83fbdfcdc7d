"""Log-likelihoods by trees: equal to lm-eval's to 5e-4 in float32, in about a sixth of its time on a CPU.

Whether a network may be taken apart (`backbone`) is decided by trying: the first requests are also scored the plain
way, by the model's own logits, and when the two differ everything is. Softmax is float32 whatever the weights are;
lm-eval's is bfloat16 for a bfloat16 model, so there its last digits differ, not ours.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from domadapt.builtin.evaluating.scoring.backbone import Backbone, refusal
from domadapt.builtin.evaluating.scoring.plan import Batch, cut, plan
from domadapt.builtin.evaluating.scoring.requests import Encoder, Request, Requests, shared
from domadapt.builtin.evaluating.scoring.trees import attention_cost, grow, tree_mask
from domadapt.components import Stage
from domadapt.errors import StageError

CPU_TOKENS = 4096
"""Most tokens of a batch on a CPU: 16,384 took a fifth more time and 300 MB more, for what left the cache."""
LOGIT_ELEMENTS = {"cpu": 2**22, "cuda": 2**26}
"""Most logits held at once: 16 MB in float32 stay in a processor's cache, 256 MB fill a GPU."""
TOLERANCE = 5e-4
SMALLEST_SUM = 1e-20
"""Sums of exponentials between this and infinity lose nothing in float32."""


class Score(NamedTuple):
    """Log-likelihood in nats, and whether every scored token is the model's first choice."""

    nats: float
    greedy: bool


def loglikelihoods(
    network: Any,
    tokenizer: Any,
    pairs: Sequence[tuple[str, str]],
    *,
    max_length: int,
    batch_tokens: int,
    groups: Sequence[Hashable] | None = None,
    stage: Stage | None = None,
) -> list[tuple[float, bool]]:
    """Log-likelihood in nats of each (context, continuation) and whether greedy decoding would give it.

    max_length: most tokens of a forward pass; longer contexts lose their beginning.  batch_tokens: tokens of a batch.
    groups: pairs of one group (the choices of a question) are expected to share their beginning.  stage: gets
    progress, and the event `plain_scoring` with the reason when the network is not scored the fast way.
    Raises DataError when a pair has nothing to score, StageError when a likelihood is not finite.
    """
    encoder = Encoder(tokenizer, max_length)
    key = ("pairs", max_length, encoder.prefix, pairs, groups)
    requests = shared(tokenizer, key, lambda: encoder.pairs(pairs, groups))
    return [(score.nats, score.greedy) for score in score_requests(network, requests, batch_tokens, stage)]


def rolling(
    network: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    max_length: int,
    batch_tokens: int,
    special: bool | None = None,
    prompt: str = "",
    stage: Stage | None = None,
) -> list[float]:
    """Log-likelihood in nats of each text, every token scored once, in windows of at most `max_length` tokens.

    special: whether the tokenizer adds its special tokens; None: as it does by default.  prompt: stands unscored at
    the beginning of every window. The rest is as for `loglikelihoods`.
    """
    encoder = Encoder(tokenizer, max_length)
    key = ("rolling", max_length, encoder.prefix, texts, special, prompt)
    requests = shared(tokenizer, key, lambda: encoder.rolling(texts, special, prompt))
    scores = score_requests(network, requests, batch_tokens, stage, greedy=False)
    nats = [0.0] * requests.num_texts
    for text, score in zip(requests.texts, scores, strict=True):
        nats[text] += score.nats
    return nats


def score_requests(
    network: Any, requests: Requests, batch_tokens: int, stage: Stage | None = None, greedy: bool = True
) -> list[Score]:
    """Scores in the order of the requests, `Score.greedy` only where it is asked for.

    Raises StageError when one is not finite.
    """
    if not requests.requests:
        return []
    if torch.device(network.device).type == "cpu":
        batch_tokens = min(batch_tokens, CPU_TOKENS)
    with torch.no_grad():  # not inference_mode: a network in training must not keep tensors of that kind
        fast = batches(network, requests, batch_tokens)
        reason = refusal(network, max(len(r.ids) for r in requests.requests) - 1) or probe(network, requests, fast)
        if reason and stage is not None:
            stage.event("plain_scoring", reason=reason)
        table = Table(network, requests.requests, greedy)
        score = table.score_plainly if reason else table.score
        for batch in plain_batches(network, requests.requests, batch_tokens) if reason else fast:
            score(batch)
            if stage is not None:
                stage.progress(table.done, len(requests.requests), "requests")
    name = stage.name if stage is not None else "evaluation"
    if not np.isfinite(table.nats).all():
        text = requests.texts[int(np.flatnonzero(~np.isfinite(table.nats))[0])]
        raise StageError(f"{name}: {requests.noun} {text} has a likelihood that is not finite; the model is damaged")
    return [Score(float(n), bool(g)) for n, g in zip(table.nats, table.greedy, strict=True)]


def batches(network: Any, requests: Requests, batch_tokens: int) -> list[Batch]:
    """The plan for networks of this width, made once."""
    hidden_size = int(getattr(network.config, "hidden_size", 4096))
    settings = (hidden_size, batch_tokens)
    if settings not in requests.plans:
        requests.plans[settings] = plan(requests, attention_cost(hidden_size), batch_tokens)
    return requests.plans[settings]  # type: ignore[no-any-return]


def plain_batches(network: Any, requests: Sequence[Request], batch_tokens: int) -> list[Batch]:
    """One request a row. The model computes logits for every token, so a large vocabulary makes batches small."""
    budget = min(batch_tokens, 16 * most_logits(torch.device(network.device)) // network.config.vocab_size)
    return cut(np.empty(0, np.int32), [grow([numbered]) for numbered in enumerate(requests)], budget)


def most_logits(device: torch.device) -> int:
    """Most logits held at once on a device."""
    return LOGIT_ELEMENTS["cpu" if device.type == "cpu" else "cuda"]


_probed: weakref.WeakKeyDictionary[Any, dict[tuple[bool, bool], str]] = weakref.WeakKeyDictionary()


def probe(network: Any, requests: Requests, fast: Sequence[Batch]) -> str:
    """Why this network's likelihoods must be computed the plain way; "" when both ways agree.

    Compared once a network for each kind of batch (with branches, with a header), on the shortest row of that kind.
    """
    known = _probed.setdefault(network, {})
    shortest: dict[tuple[bool, bool], Batch] = {}
    for batch in fast:
        for row in batch.rows:
            kind = (row.branches, len(batch.header) > 0)
            if kind not in shortest or len(row) < len(shortest[kind].rows[0]):
                shortest[kind] = Batch(batch.header, [row])
    for kind, batch in shortest.items():
        if kind not in known:
            known[kind] = difference(network, requests.requests, batch)
    return next((known[kind] for kind in shortest if known[kind]), "")


def difference(network: Any, requests: Sequence[Request], batch: Batch) -> str:
    """In which way the two ways differ on the first and the last request of a batch; "" when they do not."""
    every = sorted({int(owner) for row in batch.rows for owner in row.owner})
    owners = sorted({every[0], every[-1]})
    one, other = Table(network, requests), Table(network, requests)
    try:
        one.score(batch)
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        return f"{type(network).__name__} cannot be taken apart ({type(error).__name__}: {error})"
    other.score_plainly(Batch(np.empty(0, np.int32), [grow([(owner, requests[owner])]) for owner in owners]))
    for owner in owners:
        allowed = tolerance(one.dtype, other.nats[owner], requests[owner].num_scored)
        if not abs(one.nats[owner] - other.nats[owner]) <= allowed:
            return f"it gave {one.nats[owner]:.4f} nats where the model's own logits give {other.nats[owner]:.4f}"
    return ""


def tolerance(dtype: torch.dtype, nats: float, num_scored: int) -> float:
    """Most that the two ways may differ by rounding alone. In half precision only gross errors show."""
    if dtype in (torch.float32, torch.float64):
        return max(TOLERANCE, 5e-6 * abs(nats))
    return 0.1 * math.sqrt(num_scored) + 0.01 * abs(nats)


class Table:
    """Log-likelihoods and greedy flags of requests, filled batch by batch.

    B rows, L nodes a row, S scored tokens, N scored nodes (siblings share one), V vocabulary.
    """

    def __init__(self, network: Any, requests: Sequence[Request], with_greedy: bool = True) -> None:
        self.network, self.device, self.with_greedy = network, torch.device(network.device), with_greedy
        self.nats = np.zeros(len(requests))
        self.greedy = np.ones(len(requests), bool)
        self.done = 0
        self.dtype: torch.dtype = getattr(network, "dtype", torch.float32)
        self._backbone: Backbone | None = None
        self._header: tuple[np.ndarray, Any] = (np.empty(0, np.int32), None)

    def score(self, batch: Batch) -> None:
        """The fast way: rows with branches, a header computed once, logits of scored nodes only."""
        if self._backbone is None:
            self._backbone = Backbone(self.network)
        backbone, packed = self._backbone, Packed(batch, self.device)
        if batch.header is not self._header[0]:
            states = backbone.header(torch.from_numpy(batch.header).to(self.device)) if len(batch.header) else None
            self._header = (batch.header, states)
        states = self._header[1]
        plain_rows = states is None and not any(row.branches for row in batch.rows)
        mask_BLL = None if plain_rows else tree_mask(packed.end_BL)
        hidden_BLH = backbone.hidden(packed.ids_BL, packed.depth_BL, mask_BLL, states)
        hidden_NH = hidden_BLH.flatten(0, 1)[packed.nodes_N]
        del hidden_BLH
        most = max(1, most_logits(self.device) // self.network.config.vocab_size)
        for first in range(0, len(hidden_NH), most):
            self._add(packed, first, partial(backbone.logits, hidden_NH[first : first + most]))
        self.done += packed.num_requests

    def score_plainly(self, batch: Batch) -> None:
        """The plain way: the model's own logits, as any user of transformers gets them."""
        packed = Packed(batch, self.device)
        logits_BLV = self.network(packed.ids_BL, use_cache=False).logits
        self._add(packed, 0, lambda: logits_BLV.flatten(0, 1)[packed.nodes_N].float())
        self.done += packed.num_requests

    def _add(self, packed: Packed, first: int, project: Callable[[], torch.Tensor]) -> None:
        """Add the scored tokens of the nodes `first` and following, whose logits [N, V] are `project()`."""
        logits_NV = project()
        start, stop = np.searchsorted(packed.index_S, [first, first + len(logits_NV)])
        index_S = torch.from_numpy(packed.index_S[start:stop] - first).to(self.device)
        target_S = torch.from_numpy(packed.target_S[start:stop]).to(self.device)
        owner_S = packed.owner_S[start:stop]
        given_S = logits_NV[index_S, target_S]
        if self.with_greedy:
            likely_S = given_S == logits_NV.amax(-1)[index_S]
            # where two tokens are equally likely, the first choice is the one that argmax gives
            if bool(likely_S.any()):
                choice_S = logits_NV[index_S[likely_S]].argmax(-1)
                likely_S[likely_S.clone()] = choice_S == target_S[likely_S]
            np.logical_and.at(self.greedy, owner_S, likely_S.cpu().numpy())
        # without the usual shift by the largest logit, which takes two more passes, and in place
        sum_N = logits_NV.exp_().sum(-1)
        within = bool(((sum_N > SMALLEST_SUM) & torch.isfinite(sum_N)).all())
        log_sum_N = sum_N.log_() if within else project().logsumexp(-1)
        np.add.at(self.nats, owner_S, (given_S - log_sum_N[index_S]).double().cpu().numpy())


class Packed:
    """A batch as tensors: rows padded on the right, scored nodes by their number in the flattened rows.

    nodes_N: scored nodes, each once.  index_S, target_S, owner_S: for each scored token its place in nodes_N
    (ascending), the token, the request.
    """

    def __init__(self, batch: Batch, device: torch.device) -> None:
        before = len(batch.header)
        longest = max(len(row) for row in batch.rows) - before
        shape = (len(batch.rows), longest)
        ids, depth, end = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.full(shape, longest)
        for number, row in enumerate(batch.rows):
            length = len(row) - before
            ids[number, :length], depth[number, :length] = row.ids[before:], row.depth[before:]
            end[number, :length] = row.end[before:] - before
        self.ids_BL, self.depth_BL, self.end_BL = (torch.from_numpy(a).to(device) for a in (ids, depth, end))
        flat = np.concatenate([row.node.astype(np.int64) - before + i * longest for i, row in enumerate(batch.rows)])
        order = np.argsort(flat, kind="stable")
        nodes, index = np.unique(flat, return_inverse=True)
        self.nodes_N = torch.from_numpy(nodes).to(device)
        self.index_S = index[order]
        self.target_S = np.concatenate([row.target for row in batch.rows]).astype(np.int64)[order]
        self.owner_S = np.concatenate([row.owner for row in batch.rows])[order]
        self.num_requests = len(np.unique(self.owner_S))
