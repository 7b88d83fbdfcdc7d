"""The JSON schema: what is installed, as editors want it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from domadapt.recipe.jsonschema import json_schema


@pytest.fixture
def schema(registry: Any) -> dict[str, Any]:
    found = json_schema(registry)
    assert json.loads(json.dumps(found)) == found
    return found


def resolve_pointer(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        return schema["$defs"][node["$ref"].removeprefix("#/$defs/")]
    return node


def test_every_reference_leads_to_a_definition(schema: dict[str, Any]) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [r for child in node.values() for r in references(child)]
        return [r for child in node for r in references(child)] if isinstance(node, list) else []

    found = references(schema)
    assert len(found) > 10
    assert {r.removeprefix("#/$defs/") for r in found} <= set(schema["$defs"])


def test_names_of_components_are_enumerations(schema: dict[str, Any]) -> None:
    defs = schema["$defs"]
    assert schema["properties"]["domain"]["anyOf"][0]["enum"] == ["law", "music"]  # or a pack that is one file
    assert defs["CorpusSource"]["properties"]["source"]["enum"] == ["files", "sample"]
    assert defs["Train"]["properties"]["backend"]["enum"] == ["megatron", "torch"]
    branches = defs["MergeRecipe"]["properties"]["methods"]["anyOf"]
    # suggested, not prescribed: a file with a configuration may stand there too
    names = [b.get("items", b)["anyOf"][0]["enum"] for b in branches]
    assert names == [["dare", "slerp", "ties"]] * 2
    branches = defs["CorpusRecipe"]["properties"]["clean"]["items"]["anyOf"]
    assert ["dedup.exact", "dedup.minhash", "min_length", "normalize"] in [b.get("enum") for b in branches]


def test_options_follow_the_component_that_is_named(schema: dict[str, Any]) -> None:
    rules = schema["$defs"]["CorpusSource"]["allOf"]
    (rule,) = [r for r in rules if r["if"]["properties"]["source"]["const"] == "files"]
    options = resolve_pointer(schema, rule["then"]["properties"]["options"]["anyOf"][0])
    assert options["required"] == ["path"]
    assert options["additionalProperties"] is False
    assert options["properties"]["pause"]["minimum"] == 0
    ties = resolve_pointer(schema, schema["$defs"]["MergeRecipe"]["properties"]["options"]["properties"]["ties"])
    assert "lambda" in ties["properties"]


def test_only_what_no_lower_layer_can_give_is_required(schema: dict[str, Any]) -> None:
    assert schema["required"] == ["version"]
    assert [n for n in ("Model", "CorpusRecipe", "Mix", "Train") if "required" in schema["$defs"][n]] == []
    assert schema["$defs"]["CorpusSource"]["required"] == ["source"]


def test_counts_may_be_written_as_text(schema: dict[str, Any]) -> None:
    kinds = {branch["type"] for branch in schema["$defs"]["Train"]["properties"]["batch_tokens"]["anyOf"]}
    assert kinds == {"integer", "string"}


def test_every_key_has_a_description(schema: dict[str, Any]) -> None:
    sections = ["Model", "CorpusSource", "CleanStep", "CorpusRecipe", "Mix", "Train", "MergeRecipe", "EvalRecipe"]
    keys = {f"{s}.{key}": field for s in sections for key, field in schema["$defs"][s]["properties"].items()}
    assert [key for key, field in keys.items() if not field.get("description")] == []
