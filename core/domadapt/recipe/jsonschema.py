"""JSON Schema of recipes for editors, with the names and options of the components that are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from domadapt.recipe.schema import Recipe

if TYPE_CHECKING:
    from pydantic import BaseModel

    from domadapt_registry import Registry

_SLOTS = (
    ("CorpusSource", "source", "source"),
    ("CleanStep", "use", "cleaner"),
    ("Mix", "mixer", "mixer"),
    ("Train", "backend", "backend"),
)
"""(schema definition, key that names a component, kind of component)."""


def json_schema(registry: Registry) -> dict[str, Any]:
    """JSON Schema (2020-12) of a recipe file.

    Names of components are enumerations, and the options of a component are checked against its own
    schema. Keys that a domain pack or `extends` may supply are not required.
    """
    kinds = ("source", "cleaner", "mixer", "backend", "merger")
    components = {kind: _components(registry, kind) for kind in kinds}
    models: list[tuple[type[BaseModel], Any]] = [(Recipe, "validation")]
    models += [(config, "validation") for named in components.values() for config in named.values()]
    references, schema = models_json_schema(models)
    definitions: dict[str, Any] = schema["$defs"]

    def reference(config: type[BaseModel]) -> Any:
        return references[(config, "validation")]

    recipe = _definition(definitions, references[(Recipe, "validation")])
    recipe["required"] = ["version"]
    recipe["properties"]["domain"]["enum"] = registry.names("domain")
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
    merge = definitions["MergeRecipe"]["properties"]
    _enumerate(merge["methods"], list(components["merger"]))
    merge["options"] = {
        **{key: value for key, value in merge["options"].items() if key in ("title", "description", "default")},
        "type": "object",
        "properties": {name: reference(config) for name, config in components["merger"].items()},
        "additionalProperties": False,
    }
    tasks = registry.names("benchmark")
    for side in ("domain", "general"):
        _enumerate(definitions["EvalRecipe"]["properties"][side], tasks)
    _enumerate_steps(definitions["CorpusRecipe"]["properties"]["clean"], list(components["cleaner"]))
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
            found[name] = registry.find(kind, name).Config
        except LookupError:
            continue
    return found


def _definition(definitions: dict[str, Any], reference: Any) -> dict[str, Any]:
    name = reference["$ref"].removeprefix("#/$defs/")
    definition: dict[str, Any] = definitions.pop(name)
    return definition


def _enumerate(schema: dict[str, Any], names: list[str]) -> None:
    """Restrict a list of names, or one name in its place, to the installed ones."""
    for branch in schema.get("anyOf", [schema]):
        target = branch["items"] if branch.get("type") == "array" else branch
        if target.get("type") == "string":
            target["enum"] = names


def _enumerate_steps(schema: dict[str, Any], names: list[str]) -> None:
    for branch in schema["items"]["anyOf"]:
        if branch.get("type") == "string":
            branch["enum"] = names
