"""What may stand in text that is published: no path of this machine, no secret, no markup from data.

Removal errs on the side of removing: an option that merely looks like a path loses its folders in the card, while the
run's own recipe keeps it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

REMOVED = "(removed)"
LOCAL = "LOCAL"

SECRETS = {
    "a Hugging Face token": re.compile(r"\b(?:api_org|hf)_[A-Za-z0-9]{20,}"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "an AWS key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a GitHub token": re.compile(r"\b(?:gh[oprsu]_[A-Za-z0-9]{30,}|github_pat_\w{30,})"),
    "an API key": re.compile(r"\bsk-[A-Za-z0-9_-]{20,}"),
    "a Slack token": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    "a password in an address": re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"),
}
"""What secrets look like, by what to call them. Sources: the formats' own documentation, as git scanners use them."""

_PATH = re.compile(
    r"""(?<![\w.:/<-])(?:file:/{1,3}|~[\w.-]*/|\.{1,2}/|/(?=[\w.~@+-]+(?:/|\b)))[^\s"'<>|,;]*"""
    r"""|\b[A-Za-z]:\\[^\s"'<>|,;]*|\\\\[\w.-]+\\[^\s"'<>|,;]*"""
)
# from U+0000: controls, bidirectional marks, separators, lone surrogates, zero-width characters
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_MARKDOWN = re.compile(r"([\\`*_\[\]{}|~#!$])")


def found_secrets(text: str) -> list[str]:
    """What kinds of secrets a text holds, in words; never the secrets."""
    return [name for name, pattern in SECRETS.items() if pattern.search(text)]


def publishable(text: str) -> str:
    """A text in one line without secrets, without paths of this machine and without control characters.

    A path becomes LOCAL/NAME, its last component.
    """
    line = _UNSAFE.sub("", re.sub(r"[\t\r\n]+", " ", text))
    for pattern in SECRETS.values():
        line = pattern.sub(REMOVED, line)
    return _PATH.sub(_last_component, line)


def publishable_data(value: Any) -> Any:
    """Plain data with every string made publishable, names of mappings too."""
    if isinstance(value, str):
        # several lines are kept where they are data of ours, such as mergekit's configuration
        return "\n".join(publishable(line) for line in value.split("\n"))
    if isinstance(value, Mapping):
        return {publishable(str(key)): publishable_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [publishable_data(item) for item in value]
    return value


def markdown(text: object) -> str:
    """A text that shows as it is in a line or a table cell of Markdown, whatever it holds."""
    return _MARKDOWN.sub(r"\\\1", html.escape(publishable(str(text)), quote=False))


def fenced(text: str, language: str = "") -> str:
    """A block of code that nothing inside can end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _last_component(match: re.Match[str]) -> str:
    # a sentence's closing mark is no part of the path
    path = match[0]
    end = len(path.rstrip(".:)!?")) or len(path)
    parts = [p for p in re.split(r"[/\\]+", path[:end]) if p not in ("", ".", "..", "~", "file:")]
    name = parts[-1] if len(parts) > 1 or path.startswith(("./", "../")) else ""
    return (f"{LOCAL}/{name}" if name else LOCAL) + path[end:]
