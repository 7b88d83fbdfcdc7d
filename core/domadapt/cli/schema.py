"""`adapt schema`: the JSON schema of recipes, with what is installed, for editors."""

from __future__ import annotations

import rich_click as click


@click.command("schema")
def command() -> None:
    """Print the JSON schema of recipes, with the components that are installed.

    An editor that knows it completes and checks recipes. Write it to a file and begin a recipe with

        # yaml-language-server: $schema=adapt.schema.json
    """
    import json

    from domadapt.cli.frame import open_registry
    from domadapt.recipe.jsonschema import json_schema

    click.echo(json.dumps(json_schema(open_registry()), indent=2))
