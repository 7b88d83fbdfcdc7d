"""Tokenised requests, encoded as lm-eval's hf back end encodes them, made once for all models of one tokenizer.

A request is a sequence of tokens of which the last few are scored. Contexts and texts are encoded in batches and each
distinct one once: four choices of a question need five encodings instead of eight, by the tokenizer's own threads.
"""

from __future__ import annotations

import hashlib
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from domadapt.errors import DataError

if TYPE_CHECKING:
    import numpy as np

KEPT_TOKENS = 2**23
"""Tokens of all tokenised tasks that are kept, some 150 MB with their plans: a recipe's tasks, or all of MMLU."""


class Request(NamedTuple):
    """Tokens, int32 [T + 1] with T at most the model's context; the last `num_scored` of them are scored."""

    ids: np.ndarray
    num_scored: int


@dataclass
class Requests:
    """Tokenised requests in their order. plans: what engines worked out for them, by their settings.

    groups: requests of one group (the choices of a question) probably share their beginning.
    texts: for each request the text it belongs to; a text of several windows has several requests.  noun: what a
    text is called in messages.
    """

    requests: list[Request]
    groups: list[Hashable]
    texts: list[int]
    num_texts: int
    noun: str = "request"
    plans: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def num_tokens(self) -> int:
        """Tokens of all requests."""
        return sum(len(request.ids) for request in self.requests)


class Encoder:
    """A tokenizer with lm-eval's rules for special tokens, prefix token, split and truncation.

    Source: TemplateLM._encode_pair, HFLM.tok_encode and HFLM._loglikelihood_tokens of lm-eval 0.4.13.
    """

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length
        self.prefix = prefix_token(tokenizer)

    def encode(self, texts: Iterable[str], special: bool | None = None) -> dict[str, list[int]]:
        """Token ids of each distinct text. special: add special tokens; None: as the tokenizer does by default."""
        distinct = list(dict.fromkeys(texts))
        if special is not None:
            return self._encode(distinct, add_special_tokens=special)
        # a text that already begins with the begin token does not get another one
        begin = self.tokenizer.decode(self.prefix)
        bare = [text for text in distinct if text.startswith(begin)]
        rest = [text for text in distinct if not text.startswith(begin)]
        return self._encode(bare, add_special_tokens=False) | self._encode(rest)

    def _encode(self, texts: list[str], **special: bool) -> dict[str, list[int]]:
        if not texts:
            return {}
        return dict(zip(texts, self.tokenizer(texts, verbose=False, **special)["input_ids"], strict=True))

    def pairs(self, pairs: Sequence[tuple[str, str]], groups: Sequence[Hashable] | None = None) -> Requests:
        """Requests that score a continuation after a context; "" as context stands for the begin token.

        Raises DataError when a context or a continuation has no tokens or a continuation does not fit.
        """
        split = [move_spaces(*pair) if pair[0] else pair for pair in pairs]
        encoded = self.encode(text for context, rest in split for text in (context, context + rest) if context)
        alone = self.encode((rest for context, rest in pairs if not context), special=False)
        requests = []
        for number, ((given, continuation), (context, rest)) in enumerate(zip(pairs, split, strict=True)):
            if given:
                before = encoded[context] if context else []
                scored = encoded[context + rest][len(before) :] if context else []
            else:
                before, scored = [self.prefix], alone[continuation]
                if scored[:1] == before:
                    before, scored = scored[:1], scored[1:]
            requests.append(self._request(number, before, scored))
        return Requests(requests, list(groups or range(len(pairs))), list(range(len(pairs))), len(pairs))

    def _request(self, number: int, before: list[int], scored: list[int]) -> Request:
        import numpy as np

        if not before or not scored:
            what = "continuation" if before else "context"
            raise DataError(f"request {number}: its {what} has no tokens of its own; check the task's text and target")
        if len(scored) > self.max_length:
            raise DataError(
                f"request {number}: its continuation has {len(scored)} tokens, the model's context {self.max_length}; "
                "shorten the item or leave it out"
            )
        return Request(np.array([*before, *scored][-(self.max_length + 1) :], np.int32), len(scored))

    def rolling(self, texts: Sequence[str], special: bool | None = None, prompt: str = "") -> Requests:
        """Requests that score every token of each text once, in windows of at most the model's context.

        A later window's first scored token has one token of context, the last window reaches back to be full.
        prompt: stands unscored at the beginning of every window, after the begin token.
        Source: get_rolling_token_windows of lm-eval 0.4.13 with context_len=1.
        """
        import numpy as np

        encoded = self.encode(texts, special)
        head = [self.prefix, *(self.encode([prompt], special=False)[prompt] if prompt else [])]
        room = self.max_length + 1 - len(head)
        if room < max(2, self.max_length // 2):
            raise DataError(f"a prompt of {len(head) - 1} tokens leaves no room in a context of {self.max_length}")
        requests, owners = [], []
        for number, text in enumerate(texts):
            ids, first = encoded[text], 0
            while first < len(ids):
                # behind a prompt, a window's first scored token still has the token before it as context
                end = min(first + (room if not first or not prompt else room - 1), len(ids))
                start = max(0, end - room)
                before = head if start == 0 or prompt else [ids[start - 1]]
                requests.append(Request(np.array([*before, *ids[start:end]], np.int32), end - first))
                owners.append(number)
                first = end
        return Requests(requests, list(range(len(requests))), owners, len(texts), "document")


def prefix_token(tokenizer: Any) -> int:
    """What stands before a text: the begin token, or else the end token. Raises DataError when there is neither."""
    for token in (tokenizer.bos_token_id, getattr(tokenizer, "eos_token_id", None)):
        if token is not None:
            return int(token)
    raise DataError("the tokenizer has neither a begin nor an end token; set one in its tokenizer_config.json")


def move_spaces(context: str, continuation: str) -> tuple[str, str]:
    """Spaces at the end of a context belong to the continuation's first word."""
    bare = context.rstrip()
    return bare, context[len(bare) :] + continuation


_digests: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
_kept: OrderedDict[Hashable, Requests] = OrderedDict()


def tokenizer_digest(tokenizer: Any) -> str:
    """A digest of everything that decides how it encodes; "" for one that cannot be digested."""
    try:
        if tokenizer not in _digests:
            backend = getattr(tokenizer, "backend_tokenizer", None)
            slow = {k: v for k, v in tokenizer.init_kwargs.items() if "file" not in k and "path" not in k}
            rules = backend.to_str() if backend else repr((sorted(tokenizer.get_vocab().items()), sorted(slow.items())))
            _digests[tokenizer] = hashlib.sha256(rules.encode("utf-8", "surrogatepass")).hexdigest()
        # these can be set on a tokenizer that was digested before
        names = ("bos_token_id", "eos_token_id", "add_bos_token", "add_eos_token")
        state = [type(tokenizer).__name__, len(tokenizer), *(getattr(tokenizer, name, None) for name in names)]
    except (AttributeError, TypeError):
        return ""
    return f"{_digests[tokenizer]} {state}"


def shared(tokenizer: Any, key: Sequence[Any], encode: Callable[[], Requests]) -> Requests:
    """What `encode` gives, from memory when a tokenizer that encodes alike was asked for the same before.

    key: everything else that decides the result, of strings and numbers.
    """
    if not (digest := tokenizer_digest(tokenizer)):
        return encode()
    hashed = hashlib.sha256(digest.encode())
    for part in key:
        # lengths make sure that ("ab", "c") and ("a", "bc") differ
        text = repr(part).encode("utf-8", "surrogatepass")
        hashed.update(b"%d:" % len(text) + text)
    name = hashed.digest()
    if name not in _kept:
        _kept[name] = encode()
        while len(_kept) > 1 and sum(kept.num_tokens for kept in _kept.values()) > KEPT_TOKENS:
            _kept.popitem(last=False)
    _kept.move_to_end(name)
    return _kept[name]
