"""mergekit's YAML as it stands, with `base`, `instruct` and `cpt` as the names of our checkpoints.

mergekit checks little before it works: it passes over misspelt keys, and a parameter that is missing is found at the
first tensor that needs it. Here every key, name, number and count is checked first, all mistakes at once, each with
its place in the file. What comes out is plain data in mergekit's own form, which both engines read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from domadapt.builtin.merging.options import check_band
from domadapt.builtin.merging.table import METHODS, ROLES, Method, Parameter
from domadapt.recipe.problems import Problem, nearest, shown
from domadapt.recipe.reading import read_document, read_tree
from domadapt.recipe.tree import Node, Origin, node_of

Config = dict[str, Any]
DTYPES = ("float32", "bfloat16", "float16")
SUFFIXES = (".yml", ".yaml")
_TOP = (
    *("merge_method", "base_model", "models", "slices", "parameters", "dtype", "out_dtype"),
    *("tokenizer_source", "tokenizer", "chat_template"),
)
_OURS = "the merged model gets tokenizer and chat template of the instruct model"


def read_config(path: Path, label: str | None = None) -> tuple[Config | None, list[Problem]]:
    """The configuration in a file, or None and what is wrong with it.

    Raises UnreadableRecipeError when the file is not there or no YAML.
    """
    tree, problems = read_tree(read_document(path, label), "merge")
    problems = [*problems, *config_problems(tree)]
    return (None, problems) if problems else (tree.plain(), [])


def config_problems(tree: Node) -> list[Problem]:
    """Everything that is wrong with a configuration."""
    return list(_checked(tree))


def checked_config(value: object) -> Config:
    """A configuration given as plain data. Raises ValueError with all that is wrong."""
    try:
        tree = node_of(value, Origin("config"))
    except TypeError as error:
        raise ValueError(str(error)) from None
    if problems := config_problems(tree):
        raise ValueError("; ".join(problem.message for problem in problems))
    return dict(tree.plain())


def groups_of(config: Mapping[str, Any]) -> list[tuple[str | None, dict[str, Mapping[str, Any]]]]:
    """(base, {model: its parameters}) of the merge, or of each of its slices; a base that is not listed comes last."""
    base = config.get("base_model")
    if "slices" not in config:
        models = {m["model"]: m.get("parameters") or {} for m in config["models"]}
        return [(base, models if base is None else {**models, base: models.get(base, {})})]
    return [
        (s.get("base_model", base), {m["model"]: m.get("parameters") or {} for m in s["sources"]})
        for s in config["slices"]
    ]


def roles_of(config: Mapping[str, Any]) -> list[str]:
    """The checkpoints a configuration names, in the order base, instruct, cpt."""
    named = {role for base, models in groups_of(config) for role in (*models, base)}
    return [role for role in ROLES if role in named]


def notes_on(config: Mapping[str, Any]) -> list[str]:
    """What a configuration says that changes nothing, one sentence each."""
    method = METHODS[config["merge_method"]]
    notes = [f"'{key}' is passed over: {_OURS}" for key in ("tokenizer_source", "tokenizer") if key in config]
    given = {name for base, models in groups_of(config) for own in models.values() for name in own}
    given |= {*(config.get("parameters") or {})}
    notes += [p.inert for p in method.parameters.values() if p.inert and p.name in given]
    for base, models in groups_of(config):
        if base is not None and models.get(base) and not method.base_weighted:
            names = ", ".join(models[base])
            notes.append(f"{names} of '{base}' changes nothing: it is the base of {method.name}")
    return list(dict.fromkeys(notes))


def _checked(tree: Node) -> Iterator[Problem]:
    if not isinstance(tree.value, dict):
        yield Problem(tree.origin, "wanted a merge configuration of mergekit: merge_method, models, parameters")
        return
    yield from _unknown(tree, _TOP, refused={"modules": "models of several modules are not supported"})
    name = tree.child("merge_method")
    if name is None or not isinstance(name.value, str):
        yield Problem((name or tree).origin, "missing key 'merge_method': the method's name")
        return
    method = METHODS.get(name.value)
    if method is None:
        guess = nearest(name.value, list(METHODS))
        meant = f"did you mean '{guess}'?" if guess else f"there are {', '.join(METHODS)}"
        yield Problem(name.origin, f"merge_method: mergekit has no method '{shown(name.value)}'; {meant}")
        return
    for key in ("dtype", "out_dtype"):
        node = tree.child(key)
        if node is not None and node.value not in (None, *DTYPES):
            yield Problem(node.origin, f"{key}: wanted one of {', '.join(DTYPES)}, came {shown(str(node.plain()))}")
    yield from _tokens(tree)
    yield from _parameters(tree.child("parameters"), method, "parameters", [*method.parameters.values()])
    base = tree.child("base_model")
    if base is not None:
        yield from _model_name(base, "base_model")
    models, slices = tree.child("models"), tree.child("slices")
    if (models is None) == (slices is None):
        yield Problem(tree.origin, "wanted one of 'models' and 'slices'")
    elif models is not None:
        yield from _group(models, "models", method, base, tree, [tree.child("parameters")], in_slice=False)
    elif slices is not None:
        yield from _slices(slices, method, base, tree)


def _tokens(tree: Node) -> Iterator[Problem]:
    """Tokenizer and chat template: accepted where they ask for what the merged model gets anyway."""
    template = tree.child("chat_template")
    if template is not None and template.value not in (None, "auto"):
        yield Problem(template.origin, f"chat_template: {_OURS}; remove it")
    source = tree.child("tokenizer_source")
    if source is not None and source.value not in (None, "union", *ROLES):
        yield Problem(source.origin, f"tokenizer_source: {_OURS}; remove it")
    tokenizer = tree.child("tokenizer")
    if tokenizer is not None and tokenizer.value is not None:
        inner = tokenizer.child("source")
        if not isinstance(tokenizer.value, dict) or set(tokenizer.value) - {"source"} or inner is None:
            yield Problem(tokenizer.origin, f"tokenizer: {_OURS}; remove it")
        elif inner.value not in ("union", *ROLES):
            yield Problem(inner.origin, f"tokenizer.source: {_OURS}; remove it")


def _slices(slices: Node, method: Method, base: Node | None, tree: Node) -> Iterator[Problem]:
    if not isinstance(slices.value, list) or not slices.value:
        yield Problem(slices.origin, "slices: wanted a list of {sources: [{model, layer_range}]}")
        return
    for index, entry in enumerate(slices.value):
        where = f"slices.{index}"
        if not isinstance(entry.value, dict):
            yield Problem(entry.origin, f"{where}: wanted {{sources: [{{model, layer_range}}]}}")
            continue
        yield from _unknown(entry, ("sources", "base_model", "parameters"), where)
        own = entry.child("base_model")
        if own is not None:
            yield from _model_name(own, f"{where}.base_model")
        yield from _parameters(entry.child("parameters"), method, f"{where}.parameters", [*method.parameters.values()])
        sources = entry.child("sources")
        if sources is None:
            yield Problem(entry.origin, f"missing key '{where}.sources': the layers that are merged")
            continue
        levels = [entry.child("parameters"), tree.child("parameters")]
        yield from _group(sources, f"{where}.sources", method, own or base, entry, levels, in_slice=True)
        yield from _ranges(sources, f"{where}.sources")


def _ranges(sources: Node, where: str) -> Iterator[Problem]:
    lengths = set()
    for index, entry in enumerate(sources.value if isinstance(sources.value, list) else []):
        node = entry.child("layer_range")
        if node is None:
            yield Problem(entry.origin, f"missing key '{where}.{index}.layer_range': [first, last + 1]")
            continue
        pair = node.plain()
        if not (isinstance(pair, list) and len(pair) == 2 and all(type(n) is int for n in pair)):
            yield Problem(node.origin, f"{where}.{index}.layer_range: wanted [first layer, layer after the last]")
        elif not 0 <= pair[0] < pair[1]:
            yield Problem(node.origin, f"{where}.{index}.layer_range: {pair} has no layers")
        else:
            lengths.add(pair[1] - pair[0])
    if len(lengths) > 1:
        yield Problem(sources.origin, f"{where}: the ranges have {sorted(lengths)} layers; wanted as many of each")


def _group(
    entries: Node,
    where: str,
    method: Method,
    base: Node | None,
    owner: Node,
    levels: Sequence[Node | None],
    *,
    in_slice: bool,
) -> Iterator[Problem]:
    """The models that are merged: names, counts and parameters."""
    if not isinstance(entries.value, list) or not entries.value:
        yield Problem(entries.origin, f"{where}: wanted a list of {{model, parameters}}")
        return
    keys = ("model", "parameters", *(["layer_range"] if in_slice else []))
    models: dict[str, Node] = {}
    for index, entry in enumerate(entries.value):
        name = entry.child("model")
        if name is None:
            yield Problem(entry.origin, f"missing key '{where}.{index}.model': one of {', '.join(ROLES)}")
            continue
        yield from _unknown(entry, keys, f"{where}.{index}")
        wrong = list(_model_name(name, f"{where}.{index}.model"))
        yield from wrong
        if not wrong and str(name.value) in models:
            yield Problem(name.origin, f"{where}: '{name.value}' is listed twice; list it once")
        elif not wrong:
            models[str(name.value)] = entry
    if len(models) < len(entries.value) or (base is not None and base.value not in ROLES):
        return
    yield from _counts(entries, where, method, base, models, owner, in_slice=in_slice)
    based = str(base.value) if base is not None else None
    for role, entry in models.items():
        own = entry.child("parameters")
        label = f"{where}.{[*models].index(role)}.parameters"
        yield from _parameters(own, method, label, method.per_model, method.shared)
    weighted = {r: e.child("parameters") for r, e in models.items() if r != based or method.base_weighted}
    if method.base_weighted and based is not None and based not in models:
        weighted[based] = None
    places = {r: models.get(r, base or owner) for r in weighted}
    yield from _required(method, weighted, places, levels, owner)
    yield from _sums(method, weighted, levels, entries)


def _counts(
    entries: Node,
    where: str,
    method: Method,
    base: Node | None,
    models: Mapping[str, Node],
    owner: Node,
    *,
    in_slice: bool,
) -> Iterator[Problem]:
    if base is None and method.base == "required":
        which = "the instruct model" if method.parties[0] == "instruct" else "the pre-trained ancestor"
        yield Problem(owner.origin, f"missing key 'base_model': {method.name} needs one, {which}")
        return
    based = str(base.value) if base is not None else None
    if in_slice and based is not None and method.base != "ignored" and based not in models:
        yield Problem(entries.origin, f"{where}: the base_model '{based}' must be among the sources")
        return
    tuned = len([role for role in models if role != based])
    total = tuned + (based is not None)
    if method.base == "ignored" and based is not None and based not in models:
        total = len(models) + 1
    bounds = (
        ("models, the base among them", total, method.min_inputs, method.max_inputs),
        ("models besides the base", tuned, method.min_tuned, method.max_tuned),
    )
    for what, count, low, high in bounds:
        if (low is not None and count < low) or (high is not None and count > high):
            yield Problem(entries.origin, f"{where}: {method.name} wants {_many(low, high)} {what}, came {count}")


def _many(low: int | None, high: int | None) -> str:
    if low == high or not low:
        return f"{'at most ' if not low else ''}{high}"
    return f"at least {low}" if high is None else f"{low} to {high}"


def _required(
    method: Method,
    weighted: Mapping[str, Node | None],
    places: Mapping[str, Node],
    levels: Sequence[Node | None],
    owner: Node,
) -> Iterator[Problem]:
    """Required parameters of every model and of the merge, with a value for every tensor."""
    for parameter in (p for p in method.per_model if p.required):
        for role, own in weighted.items():
            yield from _lacks(parameter, [own, *levels], places[role], f" of model '{role}'")
    for parameter in (p for p in method.shared if p.required):
        yield from _lacks(parameter, levels, owner, f" of {method.name}")


def _lacks(parameter: Parameter, levels: Sequence[Node | None], place: Node, of: str) -> Iterator[Problem]:
    found = [node for level in levels if level is not None and (node := level.child(parameter.name)) is not None]
    if not found:
        given = (key for level in levels if level is not None and isinstance(level.value, dict) for key in level.value)
        if not any(nearest(key, [parameter.name]) for key in given):  # else told as a misspelt one
            yield Problem(place.origin, f"missing parameter '{parameter.name}'{of}")
    elif not any(_for_all(node) for node in found):
        text = f"'{parameter.name}'{of}: its rules leave tensors without a value; add {{value: ...}} without a filter"
        yield Problem(found[-1].origin, text)


def _for_all(setting: Node) -> bool:
    rules = [setting] if isinstance(setting.value, dict) else setting.value
    if not isinstance(rules, list) or not any(isinstance(rule.value, dict) for rule in rules):
        return True
    return any((node := rule.child("filter")) is None or node.value in (None, "*") for rule in rules)


def _sums(
    method: Method, weighted: Mapping[str, Node | None], levels: Sequence[Node | None], place: Node
) -> Iterator[Problem]:
    """Plain weights that sum to 0 and are divided by their sum; bands of plain densities."""

    def number(own: Node | None, name: str, default: Any) -> Any:
        for level in (own, *levels):
            if level is not None and (node := level.child(name)) is not None:
                return node.plain()
        return default

    names = method.parameters
    key = next((k for k in ("normalize", "normalize_weights") if k in names), None)
    divided = method.name == "nuslerp" or (key is not None and number(None, key, names[key].default) is True)
    if divided and "weight" in names and weighted:
        weights = [number(own, "weight", None) for own in weighted.values()]
        if all(isinstance(w, (int, float)) for w in weights) and sum(weights) == 0:
            yield Problem(place.origin, "the models' weights sum to 0 and are divided by their sum; change one of them")
    if method.name in ("della", "della_linear"):
        for own in weighted.values():
            density, epsilon = number(own, "density", 1.0), number(own, "epsilon", 0.15)
            if all(isinstance(v, (int, float)) for v in (density, epsilon)) and 0 < density < 1:
                try:
                    check_band(density, epsilon)
                except ValueError as error:
                    yield Problem((own or place).origin, str(error))


def _parameters(
    node: Node | None,
    method: Method,
    where: str,
    allowed: Sequence[Parameter],
    elsewhere: Sequence[Parameter] = (),
) -> Iterator[Problem]:
    if node is None or node.value is None:
        return
    if not isinstance(node.value, dict):
        yield Problem(node.origin, f"{where}: wanted a mapping (key: value)")
        return
    known = {p.name: p for p in allowed}
    for key, child in node.value.items():
        if key in known:
            yield from _setting(child, known[key], f"{where}.{key}")
        elif key in {p.name for p in elsewhere}:
            yield Problem(child.origin, f"{where}: '{key}' is of the whole merge; move it to 'parameters' at the top")
        else:
            guess = nearest(key, list(known))
            has = f"known: {', '.join(known)}" if known else "it has none here"
            meant = f"did you mean '{guess}'?" if guess else has
            yield Problem(child.origin, f"unknown parameter '{where}.{shown(key)}' of {method.name}; {meant}")


def _setting(node: Node, parameter: Parameter, where: str, *, nested: bool = False) -> Iterator[Problem]:
    """A number, a gradient, or rules by tensor name."""
    if isinstance(node.value, dict) and not nested:
        yield from _rule(node, parameter, where)
    elif isinstance(node.value, list):
        if not node.value:
            yield Problem(node.origin, f"{where}: an empty list; wanted a gradient [first, ..., last] or rules")
        rules = [isinstance(entry.value, dict) for entry in node.value]
        if any(rules) and not all(rules):
            yield Problem(node.origin, f"{where}: numbers and rules in one list; wanted all of one kind")
            return
        for index, entry in enumerate(node.value):
            at = f"{where}.{index}"
            as_rule = rules[index] and not nested
            yield from _rule(entry, parameter, at) if as_rule else _setting(entry, parameter, at, nested=True)
        catching = [i for i, e in enumerate(node.value) if rules[i] and _for_all(e)]
        if catching and catching[0] < len(node.value) - 1:
            later = node.value[catching[0] + 1]
            yield Problem(later.origin, f"{where}: never reached, the rule before it is for all tensors")
    elif reason := parameter.refusal(node.value):
        yield Problem(node.origin, f"{where}: {reason}, came {shown(str(node.plain()))}")


def _rule(node: Node, parameter: Parameter, where: str) -> Iterator[Problem]:
    yield from _unknown(node, ("filter", "value"), where)
    name, value = node.child("filter"), node.child("value")
    if name is not None and not (name.value is None or (isinstance(name.value, str) and name.value)):
        yield Problem(name.origin, f"{where}.filter: wanted a part of tensors' names, such as mlp")
    if value is None:
        yield Problem(node.origin, f"missing key '{where}.value'")
    else:
        yield from _setting(value, parameter, f"{where}.value", nested=True)


def _model_name(node: Node, where: str) -> Iterator[Problem]:
    if node.value not in ROLES:
        came = shown(repr(node.plain()))
        yield Problem(node.origin, f"{where}: wanted one of {', '.join(ROLES)} (adapt's checkpoints), came {came}")


def _unknown(
    node: Node, known: Sequence[str], where: str = "", refused: Mapping[str, str] | None = None
) -> Iterator[Problem]:
    for key, child in (node.value if isinstance(node.value, dict) else {}).items():
        path = f"{where}.{key}".lstrip(".")
        if refused and key in refused:
            yield Problem(child.origin, f"'{path}': {refused[key]}")
        elif key not in known:
            guess = nearest(key, known)
            meant = f"did you mean '{guess}'?" if guess else f"known here: {', '.join(known)}"
            yield Problem(child.origin, f"unknown key '{shown(path)}'; {meant}")
