"""Say pydantic's errors in plain words: what was wanted, what came, what was probably meant."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping, Sequence, Set
from typing import Any

from pydantic import BaseModel, ValidationError

from domadapt.components import Options
from domadapt.recipe.problems import MOST_PROBLEMS, Problem, nearest, shown
from domadapt.recipe.schema import SYNONYMS, Recipe
from domadapt.recipe.tree import Location, Node, dotted
from domadapt.recipe.values import keys_of

MISSING = "missing key"
_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "path_type": "a path",
    "date_from_datetime_parsing": "a date such as 2021-12-31",
    "date_parsing": "a date such as 2021-12-31",
    "date_type": "a date such as 2021-12-31",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "multiple_of": "a multiple of {multiple_of}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "string_too_short": "text of at least {min_length} character(s)",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "text of the form {pattern}",
}

_HINTS = {"string_type": "; put it in quotes", "list_type": "; put it in brackets"}
"""What to do about a scalar that came instead."""
_WANTED_CAME = re.compile(r"[^:]*: wanted (?P<wanted>.*?), came (?P<came>.*)")


def schema_problems(error: ValidationError, root: Node) -> list[Problem]:
    """What pydantic found wrong with the recipe itself."""
    return _combined([_problem(detail, Recipe, root, (), "") for detail in _details(error, root)])


def option_problems(
    error: ValidationError,
    config: type[BaseModel],
    options: Node,
    at: Location,
    owner: str,
    knobs: Mapping[str, Location],
    told: Set[str] = frozenset(),
) -> list[Problem]:
    """What pydantic found wrong with a component's options.

    options: the node that was validated, with the origin to point at when a key is missing.
    at: where options stand in the recipe.  owner: "source 'files'".
    knobs: options that other keys of the recipe give, and where those are.  told: knobs already complained of.
    """
    details = [detail for detail in _details(error, options) if detail["loc"][:1] not in {(key,) for key in told}]
    return _combined([_problem(detail, config, options, at, owner, knobs) for detail in details])


def _details(error: ValidationError, tree: Node) -> list[Any]:
    """Pydantic's errors with the locations of the tree, without what a union's other members say.

    Pydantic adds the member's name to the location (density.Parents.cpt), which nobody wrote.
    """
    details: list[Any] = [{**detail, "loc": _location(detail, tree)} for detail in error.errors()]
    above = {detail["loc"][:depth] for detail in details for depth in range(len(detail["loc"]))}
    # a union's other member complains of the whole mapping in which the mistake is
    details = [detail for detail in details if not (detail["loc"] in above and detail["type"].endswith("_type"))]
    return details[: MOST_PROBLEMS + 1]


def _location(detail: Any, tree: Node) -> Location:
    location: Location = ()
    node = tree
    for depth, key in enumerate(detail["loc"], 1):
        child = node.child(key)
        if child is not None:
            node, location = child, (*location, key)
        elif detail["type"] == "missing" and depth == len(detail["loc"]):
            location = (*location, key)
    return location


def _problem(
    detail: Any,
    model: type[BaseModel],
    tree: Node,
    at: Location,
    owner: str,
    knobs: Mapping[str, Location] | None = None,
) -> Problem:
    location: Location = detail["loc"]
    existing, node = tree.deepest(location)
    kind = detail["type"]
    if kind == "extra_forbidden":
        parent = _model_at(model, location[:-1])
        return Problem(node.origin, _unknown_key(at + location, str(location[-1]), parent, owner))
    if kind == "missing" and len(existing) == len(location) - 1:
        parent = _model_at(model, location[:-1])
        general = (knobs or {}).get(str(location[0])) if len(location) == 1 else None
        return Problem(node.origin, _missing_key(general or at + location, str(location[-1]), parent, owner))
    path = (knobs or {}).get(str(existing[0])) if existing else None
    where = dotted(path or at + existing)
    of = f" ({owner})" if owner else ""
    return Problem(node.origin, f"{where}{of}: {_expectation(detail, node, existing == location)}".removeprefix(": "))


def _expectation(detail: Any, node: Node, exact: bool) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    value = node.plain() if exact else detail["input"]
    came = "" if isinstance(value, BaseModel) else f", came {came_text(value)}"
    if kind in ("literal_error", "enum"):
        choices = re.findall(r"'([^']*)'", str(context["expected"])) or [str(context["expected"])]
        guess = nearest(str(value), choices)
        meant = f"; did you mean '{guess}'?" if guess else ""
        return f"{came_text(value)} is not one of {', '.join(choices)}{meant}"
    if kind == "value_error":
        return f"{context['error']}{came}"
    if kind == "assertion_error":
        return f"{context['error']}{came}"
    if kind in _WANTED:
        hint = _HINTS.get(kind, "") if isinstance(value, (str, int, float)) else ""
        bounds = {name: f"{bound:g}" if isinstance(bound, float) else bound for name, bound in context.items()}
        return f"wanted {_WANTED[kind].format(**bounds)}{came}{hint}"
    return f"{detail['msg'][:1].lower()}{detail['msg'][1:]}{came}"


def came_text(value: object) -> str:
    """A value as a recipe's author would write it, bounded in length."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}" if value else "an empty list"
    text = shown(f"'{value}'" if isinstance(value, str) else repr(value))
    return text if len(text) <= 60 else f"{text[:56]}...'"


def _unknown_key(location: Location, key: str, parent: type[BaseModel] | None, owner: str) -> str:
    of = f" of {owner}" if owner else ""
    text = f"unknown key '{shown(dotted(location))}'{of}"
    known = _known(parent) if parent is not None else []
    meant = SYNONYMS.get(key.lower().replace("-", "_"))
    if meant in known:
        return f"{text}; did you mean '{meant}'?"
    if guess := nearest(key, known):
        return f"{text}; did you mean '{guess}'?"
    elsewhere = [] if owner else _sections_with({key, meant or key})
    if elsewhere:
        return f"{text}; did you mean '{elsewhere[0]}'?"
    return f"{text}; known here: {', '.join(known)}" if known else f"{text}; it takes no options"


def _missing_key(location: Location, key: str, parent: type[BaseModel] | None, owner: str) -> str:
    of = f" of {owner}" if owner else ""
    if parent is not None and issubclass(parent, Options):
        parent = parent.documented()
    field = keys_of(parent).get(key) if parent is not None else None
    what = " ".join((field.description or "").split()) if field is not None else ""
    sentence = re.split(r"(?<=[a-z0-9\")])\. ", what)[0].rstrip(".")
    return f"{MISSING} '{dotted(location)}'{of}" + (f": {sentence}" if sentence else "")


def _combined(problems: Sequence[Problem]) -> list[Problem]:
    """One problem for each place and value: a union of types gives an error for each of its members."""
    merged: dict[tuple[Any, str], str] = {}
    for problem in problems:
        head, _, tail = problem.message.partition(": ")
        before = merged.setdefault((problem.origin, head), problem.message)
        wanted, came = _WANTED_CAME.fullmatch(before), _WANTED_CAME.fullmatch(problem.message)
        also = came["wanted"] if came else f"one of {tail.partition(' is not one of ')[2]}"
        if wanted and also != "one of " and also not in wanted["wanted"]:
            merged[problem.origin, head] = f"{head}: wanted {wanted['wanted']} or {also}, came {wanted['came']}"
    return [Problem(origin, message) for (origin, _), message in merged.items()]


def _known(model: type[BaseModel]) -> list[str]:
    return [key for key in keys_of(model) if key != "resolved"]  # nobody writes that one


def _sections_with(keys: set[str]) -> list[str]:
    """Dotted paths of the sections' keys of these names."""
    found = [key for key in _known(Recipe) if key in keys]
    for name, field in keys_of(Recipe).items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += [f"{name}.{key}" for key in _known(field.annotation) if key in keys]
    return found


def _model_at(model: type[BaseModel], location: Location) -> type[BaseModel] | None:
    """The model that describes the mapping at a location, or None when it is free."""
    current: type[BaseModel] | None = model
    for key in location:
        if isinstance(key, int):
            continue
        if current is None or key not in keys_of(current):
            return None
        current = _nested_model(keys_of(current)[key].annotation)
    return current


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in typing.get_args(annotation):
        if found := _nested_model(argument):
            return found
    return None
