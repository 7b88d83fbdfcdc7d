"""Read YAML into a tree with positions, by the rules of YAML 1.2 and without its dangerous parts.

PyYAML follows YAML 1.1, where `no` is false, `1e-5` a text, `070` is 56 and `24:00:00` is 86400, and it keeps
the last of two equal keys in silence. Here only true/false, null, decimal numbers are not text, a number
with leading zeros stays text (a CIK, a code), and tags, equal keys, `<<` and alias bombs are refused.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from domadapt.recipe.problems import Problem, UnreadableRecipeError, shown
from domadapt.recipe.tree import Document, Node, Origin

MAX_BYTES = 256 * 1024
MAX_VALUES = 20_000
MAX_DEPTH = 40

_TAG = "tag:yaml.org,2002:"
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(
    r"[-+]?(?:(?:0|[1-9][0-9]*)?\.[0-9]+|(?:0|[1-9][0-9]*)\.?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_TYPES = frozenset(_TAG + name for name in ("null", "bool", "int", "float", "str", "map", "seq"))


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with the implicit types of YAML 1.2."""


_Loader.yaml_implicit_resolvers = {}
for _name, _pattern in (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT)):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"(?:{_pattern.pattern})\\Z"), None)


def read_document(path: Path, label: str | None = None) -> Document:
    """Read a file as text. Raises UnreadableRecipeError when it is missing, too large, or not UTF-8."""
    label = label or str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableRecipeError(f"{label}: cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise UnreadableRecipeError(
            f"{label}: larger than {MAX_BYTES // 1024} KiB, which no recipe is; is it another file?"
        )
    try:
        return Document(label, raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UnreadableRecipeError(
            f"{label}:{line}: byte 0x{raw[error.start]:02x} is not UTF-8 text; save the file as UTF-8"
        ) from error


def read_tree(document: Document, layer: str) -> tuple[Node, list[Problem]]:
    """The tree of a document, a mapping, and what was found wrong while building it.

    Raises UnreadableRecipeError with file:line:column when the text is not YAML.
    """
    root = _compose(document.text, document.label, document)
    reader = _Reader(document, Origin(layer, document, 1, 1))
    if root is None:
        raise UnreadableRecipeError(f"{document.label}: is empty; a recipe begins with 'version: 1'")
    if not isinstance(root, MappingNode):
        raise UnreadableRecipeError(f"{document.label}:1:1  a mapping (key: value) is wanted at the top")
    return reader.node(root, reader.base), reader.problems


def read_value(text: str, origin: Origin) -> tuple[Node, list[Problem]]:
    """The value of an override, all of one origin. Raises UnreadableRecipeError when the text is not YAML."""
    root = _compose(text, shown(origin.written), None)
    if root is None:
        return Node(None, origin), []
    reader = _Reader(None, origin)
    return reader.node(root, origin), reader.problems


def resolves_to_text(text: str) -> bool:
    """Whether a plain YAML scalar is text here and for YAML 1.1 readers."""
    ours = any(p.fullmatch(text) for p in (_NULL, _BOOL, _INT, _FLOAT))
    theirs = yaml.SafeLoader("").resolve(ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return not ours and theirs == _TAG + "str"


def _compose(text: str, label: str, document: Document | None) -> yaml.Node | None:
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        place = f"{label}:{line}:{column}" if document is not None else label
        source = shown(document.line(line)) if document is not None else ""
        tail = f"\n  {line:>5} | {source}" if source.strip() else ""
        raise UnreadableRecipeError(f"{place}  {_plain_words(error)}{tail}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        place = f"{label}:{line}" if document is not None else label
        raise UnreadableRecipeError(f"{place}  a control character is in the text; remove it") from error
    except RecursionError:
        raise UnreadableRecipeError(f"{label}  values are nested more than {MAX_DEPTH} deep") from None


def _plain_words(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "cannot be read"
    if "'\\t'" in problem:
        return "a tab stands where YAML wants spaces; indent with spaces"
    if "mapping values are not allowed" in problem:
        return "a ':' cannot stand here; check the indentation here and above, or quote text that holds ': '"
    if "could not find expected ':'" in problem:
        return "not YAML: a ':' is missing after a key, here or in the line above"
    if "found undefined alias" in problem:
        return f"not YAML: {problem}; quote text that begins with '*'"
    if "expected a single document" in (error.context or ""):
        return "a recipe is one YAML document; remove what follows '---'"
    context = f" {error.context}" if error.context else ""
    return f"not YAML: {problem}{context}"


class _Reader:
    """Turns PyYAML's nodes into ours and collects what must not be there."""

    def __init__(self, document: Document | None, base: Origin) -> None:
        self.document, self.base = document, base
        self.problems: list[Problem] = []
        self._values = 0

    def node(self, raw: yaml.Node, origin: Origin, depth: int = 0) -> Node:
        """Convert one node; `origin` is where its key or list entry stands."""
        self._values += 1  # an alias counts as often as it is used: a bomb is large in uses, not in text
        if self._values > MAX_VALUES or depth > MAX_DEPTH:
            limit = f"{MAX_VALUES} values" if depth <= MAX_DEPTH else f"{MAX_DEPTH} levels of nesting"
            raise UnreadableRecipeError(
                f"{shown(origin.place)}  more than {limit}; do YAML aliases refer to each other?"
            )
        if raw.tag not in _TYPES:
            tag = shown(raw.tag.replace(_TAG, "!!"))
            self.problems.append(Problem(self._origin(raw), f"YAML tag '{tag}' is refused; write plain values"))
            return Node(None, origin)
        if isinstance(raw, MappingNode):
            return Node(self._mapping(raw, depth), origin)
        if isinstance(raw, SequenceNode):
            return Node([self.node(child, self._origin(child), depth + 1) for child in raw.value], origin)
        return Node(self._scalar(raw), origin)

    def _mapping(self, raw: MappingNode, depth: int) -> dict[str, Node]:
        children: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in raw.value:
            origin = self._origin(key_node)
            if not isinstance(key_node, ScalarNode):
                self.problems.append(Problem(origin, "a key is a word, not a list or mapping"))
                continue
            key = key_node.value  # the text as written: `on` and `1` are keys like any other
            if key == "<<":
                self.problems.append(Problem(origin, "YAML's '<<' is refused; 'extends' starts from another recipe"))
            elif key in children:
                first = f" (first in line {lines[key]})" if self.document else ""
                self.problems.append(Problem(origin, f"key '{shown(key)}' is given twice{first}; remove one"))
            else:
                children[key] = self.node(value_node, origin, depth + 1)
                lines[key] = origin.line
        return children

    def _scalar(self, raw: yaml.Node) -> str | int | float | bool | None:
        kind, text = raw.tag[len(_TAG) :], str(raw.value)
        if kind == "null":
            return None
        if kind == "bool" and _BOOL.fullmatch(text):
            return text.lower() == "true"
        if kind == "int" and _INT.fullmatch(text) and len(text) < 40:
            return int(text)
        if kind in ("int", "float") and _FLOAT.fullmatch(text):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        return text

    def _origin(self, raw: yaml.Node) -> Origin:
        if self.document is None:
            return self.base
        return Origin(self.base.layer, self.document, raw.start_mark.line + 1, raw.start_mark.column + 1)
