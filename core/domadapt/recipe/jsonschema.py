"""JSON Schema of recipes for editors, with the names and options of the components that are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from domadapt.recipe.merges import CONFIG_MERGER
from domadapt.recipe.schema import Recipe
from domadapt.recipe.sweeps import EACH

if TYPE_CHECKING:
    from pydantic import BaseModel

    from domadapt_registry import Registry

_SLOTS = (
    ("CorpusSource", "source", "source"),
    ("CleanStep", "use", "cleaner"),
    ("Track", "use", "tracker"),
    ("Mix", "mixer", "mixer"),
    ("Train", "backend", "backend"),
)
"""(schema definition, key that names a component, kind of component)."""


def json_schema(registry: Registry) -> dict[str, Any]:
    """JSON Schema (2020-12) of a recipe file.

    Names of components are enumerations, and the options of a component are checked against its own
    schema. Keys that a domain pack or `extends` may supply are not required.
    """
    kinds = ("source", "cleaner", "mixer", "backend", "merger", "tracker")
    components = {kind: _components(registry, kind) for kind in kinds}
    models: list[tuple[type[BaseModel], Any]] = [(Recipe, "validation")]
    models += [(config, "validation") for named in components.values() for config in named.values()]
    references, schema = models_json_schema(models)
    definitions: dict[str, Any] = schema["$defs"]

    def reference(config: type[BaseModel]) -> Any:
        return references[(config, "validation")]

    recipe = _definition(definitions, references[(Recipe, "validation")])
    recipe["required"] = ["version"]
    _suggest(recipe["properties"]["domain"], registry.names("domain"))
    for section in ("Model", "CorpusRecipe"):
        definitions[section].pop("required", None)
    for section, key, kind in _SLOTS:
        slot = definitions[section]
        slot["properties"][key]["enum"] = list(components[kind])
        slot["allOf"] = [
            {
                "if": {"properties": {key: {"const": name}}, "required": [key]},
                "then": {"properties": {"options": {"anyOf": [reference(config), {"type": "null"}]}}},
            }
            for name, config in components[kind].items()
        ]
    for config in components["merger"].values():
        _allow_several(_resolved(definitions, reference(config)))
    merge = definitions["MergeRecipe"]["properties"]
    _suggest(merge["methods"], list(components["merger"]))
    merge["options"] = {
        **{key: value for key, value in merge["options"].items() if key in ("title", "description", "default")},
        "type": "object",
        "properties": {name: reference(config) for name, config in components["merger"].items()},
        # a name of one's own for a whole configuration
        "additionalProperties": reference(components["merger"][CONFIG_MERGER])
        if CONFIG_MERGER in components["merger"]
        else False,
    }
    tasks = registry.names("benchmark")
    for side in ("domain", "general"):
        _suggest(definitions["EvalRecipe"]["properties"][side], tasks)
    _suggest(definitions["EvalTask"]["properties"]["task"], tasks)
    _enumerate_steps(definitions["CorpusRecipe"]["properties"]["clean"], list(components["cleaner"]))
    _enumerate_steps(recipe["properties"]["track"], list(components["tracker"]))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "adapt recipe",
        **recipe,
        "$defs": definitions,
    }


def _components(registry: Registry, kind: str) -> dict[str, type[BaseModel]]:
    """Config of each component that can be looked up; a name claimed twice is left out."""
    found: dict[str, type[BaseModel]] = {}
    for name in registry.names(kind):
        try:
            found[name] = registry.find(kind, name).Config.documented()
        except LookupError:
            continue
    return found


def _definition(definitions: dict[str, Any], reference: Any) -> dict[str, Any]:
    name = reference["$ref"].removeprefix("#/$defs/")
    definition: dict[str, Any] = definitions.pop(name)
    return definition


def _resolved(definitions: dict[str, Any], reference: Any) -> dict[str, Any]:
    found: dict[str, Any] = definitions[reference["$ref"].removeprefix("#/$defs/")]
    return found


def _allow_several(config: dict[str, Any]) -> None:
    """Allow {each: [...]} in place of every option's value: a sweep."""
    for name, option in config.get("properties", {}).items():
        if any(EACH in branch.get("properties", {}) for branch in option.get("anyOf", [])):
            continue  # two methods of one Config
        about = {key: option[key] for key in ("title", "description", "default") if key in option}
        value = {key: part for key, part in option.items() if key not in about}
        several = {
            "type": "object",
            "properties": {EACH: {"type": "array", "items": value, "minItems": 1}},
            "required": [EACH],
            "additionalProperties": False,
        }
        config["properties"][name] = {**about, "anyOf": [value, several]}


def _suggest(schema: dict[str, Any], names: list[str]) -> None:
    """Offer the registered names where any name of an evaluator's own tasks may stand as well."""
    for branch in schema.get("anyOf", [schema]):
        items = branch.get("items", branch)
        for target in items.get("anyOf", [items]):
            if target.get("type") == "string":
                target.pop("type")
                target["anyOf"] = [{"enum": names}, {"type": "string", "minLength": 1}]


def _enumerate_steps(schema: dict[str, Any], names: list[str]) -> None:
    for branch in schema["items"]["anyOf"]:
        if branch.get("type") == "string":
            branch["enum"] = names
