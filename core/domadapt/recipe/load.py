"""Find a recipe, read it with everything it stands on, and keep where each value came from.

Reading stops at the first file that is no YAML or is not there; every other mistake is collected and
reported by `domadapt.recipe.check.resolve` together with the ones found there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.errors import RecipeError
from domadapt.recipe.inline_pack import has_pack, is_file_name, with_absolute_paths, with_inline_pack
from domadapt.recipe.layers import apply_merge_methods, apply_overrides, core_defaults, overlay
from domadapt.recipe.problems import Problem, nearest, recipe_error, shown
from domadapt.recipe.reading import read_document, read_tree
from domadapt.recipe.situations import situational
from domadapt.recipe.tree import Document, Node, Origin, dotted

if TYPE_CHECKING:
    from domadapt.components import DomainPack
    from domadapt_registry import Registry

STARTER = "starter"
DEFAULTS = "defaults"


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe with all its layers merged, not checked yet.

    root: the merged values with their origins.  path, document: the recipe's own file.
    registry: what is installed, and what the recipe's own section `pack` brings.
    problems: what was found wrong while reading.
    """

    root: Node
    domain: str
    path: Path
    document: Document
    registry: Registry
    problems: Sequence[Problem] = ()

    @property
    def text(self) -> str:
        """The recipe's own file, as written."""
        return self.document.text

    def plain(self) -> dict[str, Any]:
        """The merged values as plain data."""
        return dict(self.root.plain())

    def origins(self) -> dict[str, str]:
        """Origin of each value by its dotted path."""
        return {dotted(location): str(node.origin) for location, node in self.root.scalars()}


@dataclass(frozen=True)
class _Layer:
    path: Path
    document: Document
    tree: Node


def load_recipe(
    registry: Registry,
    *,
    domain: str | None = None,
    path: Path | None = None,
    overrides: Sequence[str] = (),
    merge: Sequence[str] = (),
) -> LoadedRecipe:
    """Read a recipe and merge its layers: core < pack < `extends` < recipe < `overrides` < `merge`.

    path: a file, or the name of a packaged recipe (then of `domain`, when given).  domain alone: the
    pack's `starter` recipe; with a file: the domain of a recipe that names none.
    overrides: "a.b=value", the values of `--set`.  merge: method names that replace `merge.methods`.
    Raises RecipeError when a file cannot be read, the domain is not installed, or `extends` leads nowhere.
    """
    path, domain = _pack_file(path, domain)
    file = _recipe_file(registry, domain, path)
    problems: list[Problem] = []
    chain = _chain(registry, file, domain, problems)
    own = chain[0]
    chosen = _domain_of(chain, domain, own)
    root = core_defaults()
    for layer in [*_pack_layers(registry, chain, chosen, problems), *reversed(chain[1:])]:
        problems += _other_version(layer)
        root = overlay(root, layer.tree)
    root = overlay(root, own.tree)
    root = overlay(root, Node({"domain": chosen}, root.origin))
    root, found = apply_overrides(root, overrides)
    root = situational(apply_merge_methods(root, merge))
    registry, wrong = with_inline_pack(registry, root, chosen, own.document.label)
    return LoadedRecipe(root, str(chosen.value), own.path, own.document, registry, [*problems, *found, *wrong])


def packaged_recipes(pack: DomainPack) -> list[str]:
    """Names of the recipes a domain pack brings."""
    return sorted(file.stem for file in pack.recipes.glob("*.yaml") if file.stem != DEFAULTS)


def _recipe_file(registry: Registry, domain: str | None, path: Path | None) -> Path:
    if path is None:
        if domain is None:
            raise RecipeError("name a recipe, or a domain with --domain")
        return _packaged(_pack(registry, domain), STARTER)
    if path.is_file():
        return path
    if path.is_dir():
        raise RecipeError(f"{path}: is a folder; name the recipe file in it")
    if path.name != str(path) or path.suffix in (".yaml", ".yml"):
        raise RecipeError(f"{path}: there is no such file")
    name = str(path)
    if domain is not None:
        return _packaged(_pack(registry, domain), name)
    packs = [registry.find("domain", known) for known in registry.names("domain", doubles=False)]
    having = [pack for pack in packs if name in packaged_recipes(pack)]
    if len(having) == 1:
        return _packaged(having[0], name)
    if having:
        names = " or ".join(f"--domain {pack.name}" for pack in having)
        raise RecipeError(f"recipe '{name}' is packaged with several domains; add {names}")
    known = sorted({recipe for pack in packs for recipe in packaged_recipes(pack)})
    raise RecipeError(f"{name}: there is no such file and no packaged recipe of that name{_closest(name, known)}")


def _packaged(pack: DomainPack, name: str) -> Path:
    known = packaged_recipes(pack)
    if name not in known:
        raise RecipeError(f"domain pack '{pack.name}' has no recipe '{name}'{_closest(name, known)}")
    return pack.recipes / f"{name}.yaml"


def _chain(registry: Registry, file: Path, domain: str | None, problems: list[Problem]) -> list[_Layer]:
    """The recipe and what it extends, the recipe first. Raises RecipeError when a link leads nowhere."""
    chain: list[_Layer] = []
    while True:
        document = read_document(file)
        tree, found = read_tree(document, "recipe")
        problems += found
        tree = with_absolute_paths(tree, file.parent)
        chain.append(_Layer(file, document, tree))
        link = tree.child("extends")
        if link is None or link.value is None:
            return chain
        try:
            following = _extended(registry, chain, link, domain)
            if any(following.samefile(layer.path) for layer in chain):
                names = " -> ".join([*(layer.path.name for layer in chain), following.name])
                raise RecipeError(f"'extends' goes in a circle: {names}")
        except RecipeError as error:
            raise recipe_error(str(file), [*problems, Problem(link.origin, str(error))]) from error
        file = following


def _extended(registry: Registry, chain: Sequence[_Layer], link: Node, domain: str | None) -> Path:
    name = link.value
    if not isinstance(name, str) or not name:
        raise RecipeError(f"extends: the name of a recipe is wanted, came {shown(repr(link.plain()))}")
    beside = chain[-1].path.parent / name
    if beside.is_file():
        return beside
    if "/" in name or name.endswith((".yaml", ".yml")):
        raise RecipeError(f"extends: there is no file '{shown(name)}' beside this recipe")
    said = next((n.value for n in (layer.tree.child("domain") for layer in chain) if n is not None), domain)
    if not isinstance(said, str):
        raise RecipeError(f"extends: there is no file '{name}'; for a packaged recipe of that name, give 'domain' too")
    return _packaged(_pack(registry, said), name)


def _domain_of(chain: Sequence[_Layer], given: str | None, own: _Layer) -> Node:
    nodes = [layer.tree.child("domain") for layer in chain]
    said = next((node for node in nodes if node is not None and node.value is not None), None)
    if said is None:
        if given is None:
            missing = Problem(own.tree.origin, "missing key 'domain': name a domain pack")
            raise recipe_error(own.document.label, [missing])
        return Node(given, Origin("--domain", written=f"--domain {given}"))
    if not isinstance(said.value, str):
        problem = Problem(said.origin, f"domain: text is wanted, came {shown(repr(said.plain()))}")
        raise recipe_error(own.document.label, [problem])
    if given is not None and given != said.value:
        problem = Problem(said.origin, f"the recipe is for domain '{said.value}', not for --domain {given}; drop one")
        raise recipe_error(own.document.label, [problem])
    return said


def _pack_file(path: Path | None, domain: str | None) -> tuple[Path | None, str | None]:
    """A pack that is a file is its own recipe: `--domain ./legal.yaml` runs it."""
    if domain is None or not is_file_name(domain):
        return path, domain
    if path is not None:
        raise RecipeError(f"--domain {domain}: is a file; to run {path} on it, write 'extends: {domain}' there")
    return Path(domain), None


def _pack_layers(registry: Registry, chain: Sequence[_Layer], domain: Node, problems: list[Problem]) -> list[_Layer]:
    """What the domain's pack lays under every recipe. Raises RecipeError when there is no such pack."""
    if any(has_pack(layer.tree) for layer in chain):
        return []
    try:
        return _pack_defaults(_pack(registry, str(domain.value)), problems)
    except RecipeError as error:
        label = chain[0].document.label
        raise recipe_error(label, [*problems, Problem(domain.origin, str(error))]) from error


def _pack(registry: Registry, name: str) -> DomainPack:
    known = registry.names("domain")
    try:
        pack: DomainPack = registry.find("domain", name)
    except LookupError as error:
        broken = any(row.name == name and row.state != "ok" for row in registry.rows)
        if name in known or broken:
            raise RecipeError(str(error)) from error
        guess = nearest(name, known)
        meant = f"; did you mean '{guess}'? If not" if guess else ""
        install = f"pip install domadapt-{shown(name)}"
        raise RecipeError(f"domain pack '{shown(name)}' is not installed{meant}: {install}") from error
    return pack


def _pack_defaults(pack: DomainPack, problems: list[Problem]) -> list[_Layer]:
    file = pack.recipes / f"{DEFAULTS}.yaml"
    if not file.is_file():
        return []
    document = read_document(file)
    tree, found = read_tree(document, f"pack {pack.name}")
    problems += found
    return [_Layer(file, document, tree)]


def _other_version(layer: _Layer) -> list[Problem]:
    node = layer.tree.child("version")
    if node is None or node.value in (None, 1):
        return []
    return [Problem(node.origin, f"version {shown(repr(node.plain()))} of the recipe schema is not known, only 1")]


def _closest(name: str, known: Sequence[str]) -> str:
    if guess := nearest(name, known):
        return f"; did you mean '{guess}'?"
    return f"; there are: {', '.join(known)}" if known else ""
