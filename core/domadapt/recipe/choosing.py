"""Look up the components a recipe names and validate their options, collecting everything that is wrong.

It works on the raw tree, not on a validated recipe, so that a mistake in one section does not hide the
mistakes in another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from domadapt.components import Side
from domadapt.recipe.merges import CONFIG, CONFIG_MERGER
from domadapt.recipe.problems import MOST_PROBLEMS, Problem
from domadapt.recipe.resolved import MERGE_KNOBS, PERPLEXITY, PROBES, SIDES, Choice
from domadapt.recipe.schema import EvalRecipe, MergeRecipe
from domadapt.recipe.tasks import TaskChoice, TaskChooser
from domadapt.recipe.tree import CORE_DEFAULT, Location, Node, dotted, node_of
from domadapt.recipe.values import Section, keys_of
from domadapt.recipe.wording import MISSING, option_problems

if TYPE_CHECKING:
    from domadapt_registry import Registry

_MERGE_KNOBS: dict[str, Location] = {key: ("merge", key) for key in MERGE_KNOBS}
_EVAL_KNOBS: dict[str, Location] = {"engine": ("eval", "engine")}
_SECTIONS: dict[str, type[Section]] = {"merge": MergeRecipe, "eval": EvalRecipe}
_KINDS = ("source", "cleaner", "mixer", "backend", "merger", "evaluator", "benchmark", "tracker", "domain")


class Chooser:
    """Chooses components for one recipe. `problems` grows; what has a problem is left out of the results."""

    def __init__(self, root: Node, registry: Registry) -> None:
        self.problems: list[Problem] = []
        self._root, self._registry = root, registry
        self._tasks = TaskChooser(root, registry, self.problems)

    def sources(self, side: Side) -> list[Choice]:
        """The sources of one side."""
        return self._entries("source", ("corpus", side), "source")

    def cleaners(self) -> list[Choice]:
        """The cleaning steps, in order."""
        return self._entries("cleaner", ("corpus", "clean"), "use")

    def trackers(self) -> list[Choice]:
        """The trackers, in order."""
        return self._entries("tracker", ("track",), "use")

    def mixer(self) -> Choice | None:
        """The mixer."""
        return self._choose("mixer", ("mix", "mixer"), ("mix", "options"))

    def backend(self) -> Choice | None:
        """The training backend."""
        return self._choose("backend", ("train", "backend"), ("train", "options"))

    def mergers(self) -> dict[str, Choice]:
        """The merges by label; options of methods that are not selected are checked as well."""
        chosen: dict[str, Choice] = {}
        places = self._names(("merge", "methods"))
        for place, label in places:
            choice = self._merge(label, place)
            if choice is not None:
                chosen[label] = choice
                self._refuse_start(choice, place)
        selected = {name for _, name in places}
        options = self._root.at(("merge", "options"))
        for name in options.value if options is not None and isinstance(options.value, dict) else ():
            if name not in selected:
                self._check_waiting(name)
        if len(chosen) == len(places):
            self._refuse_unused(chosen)
        return chosen

    def _merge(self, label: str, place: Location) -> Choice | None:
        """A method by its name, or a whole configuration under a name of its own."""
        options: Location = ("merge", "options", label)
        config = self._root.at((*options, CONFIG))
        if config is None:
            return self._choose("merger", place, options, _MERGE_KNOBS, label)
        from domadapt.builtin.merging.config_file import config_problems

        if found := config_problems(config):  # with the places in the file, which the options' own check lacks
            self.problems += found
            return None
        return self._choose("merger", place, options, _MERGE_KNOBS, CONFIG_MERGER)

    def _refuse_start(self, choice: Choice, place: Location) -> None:
        """Refuse a merge that wants CPT to have started elsewhere (an instruction residual would be added twice)."""
        wanted, start = getattr(choice.cls, "cpt_starts_from", ""), self._value(("model", "start"))
        if wanted and start not in (wanted, None):  # without a recipe nobody says
            node = self._root.deepest(place)[1]
            text = (
                f"merge.methods: '{choice.name}' wants CPT of the {wanted} model, but model.start is {start}; "
                f"set model.start to {wanted}, or choose another method"
            )
            self.problems.append(Problem(node.origin, text))

    def _check_waiting(self, name: str) -> None:
        """Check the options of a method that is not selected; what it lacks may come with its selection."""
        before = len(self.problems)
        place: Location = ("merge", "options", name)
        self._merge(name, place)
        self.problems[before:] = [p for p in self.problems[before:] if not p.message.startswith(MISSING)]

    def tasks(self) -> dict[Side, list[TaskChoice]]:
        """The tasks of both sides."""
        return {side: self._tasks.tasks(side) for side in SIDES}

    def evaluators(self, *, sweeping: bool = False) -> dict[str, Choice]:
        """The evaluators that the tasks, `eval.perplexity` and `eval.probes` need, by name. Called after `tasks`.

        sweeping: a sweep needs both in any case.
        """
        needed: dict[str, Location] = {}
        for name in (PERPLEXITY, PROBES):
            asked = self._root.at(("eval", name))
            if sweeping or (asked is not None and asked.value is not False):
                needed[name] = ("eval", name)
        needed |= {name: place for name, place in self._tasks.places.items() if name not in needed}
        chosen = {name: self._choose("evaluator", place, None, _EVAL_KNOBS, name) for name, place in needed.items()}
        return {name: choice for name, choice in chosen.items() if choice is not None}

    def _entries(self, kind: str, at: Location, selector: str) -> list[Choice]:
        node = self._root.at(at)
        entries = node.value if node is not None and isinstance(node.value, list) else []
        chosen: list[Choice | None] = []
        for index, entry in enumerate(entries):
            place: Location = (*at, index)
            if isinstance(entry.value, str) and selector == "use":
                chosen.append(self._choose(kind, place, None))
            elif entry.child(selector) is not None:
                chosen.append(self._choose(kind, (*place, selector), (*place, "options")))
        return [choice for choice in chosen if choice is not None]

    def _names(self, at: Location) -> list[tuple[Location, str]]:
        """The distinct names in a list, or the one name that stands instead of a list."""
        node = self._root.at(at)
        if node is None:
            return []
        if isinstance(node.value, str):
            return [(at, node.value)]
        entries = node.value if isinstance(node.value, list) else []
        places: dict[str, Location] = {}
        for index, entry in enumerate(entries):
            if isinstance(entry.value, str):
                places.setdefault(entry.value, (*at, index))
        return [(place, name) for name, place in places.items()]

    def _choose(
        self,
        kind: str,
        name_at: Location,
        options_at: Location | None,
        knobs: Mapping[str, Location] | None = None,
        name: str | None = None,
    ) -> Choice | None:
        """The component named at a location (or `name`), its options validated; None after a problem."""
        value = name if name is not None else self._value(name_at)
        if not isinstance(value, str):
            return None
        cls = self._find(kind, value, name_at)
        options = self._options(name_at, options_at)
        if cls is None or options is None:
            return None
        given = dict(options.value) if isinstance(options.value, dict) else {}
        general = {key: at for key, at in (knobs or {}).items() if key not in given and key in keys_of(cls.Config)}
        told: set[str] = set()
        for key, place in general.items():
            knob = self._knob(place)
            if knob is None:
                told.add(key)
            elif knob.value is not None:
                given[key] = knob
        options = Node(given, options.origin)
        try:
            config = cls.Config.model_validate(options.plain())
        except ValidationError as error:
            owner = f"{kind} '{value}'"
            self.problems += option_problems(error, cls.Config, options, options_at or name_at, owner, general, told)
            return None
        return Choice(kind, value, cls, config, self._registry.provider(kind, value))

    def _knob(self, place: Location) -> Node | None:
        """A general setting as the schema reads it ('1e-5' is a number); None when the schema refuses it."""
        node = self._root.at(place)
        if node is None:
            return Node(None, self._root.origin)
        key = str(place[-1])
        try:
            return node_of(getattr(_SECTIONS[str(place[0])].model_validate({key: node.plain()}), key), node.origin)
        except ValidationError:
            return None

    def _find(self, kind: str, name: str, at: Location) -> Any:
        if len(self.problems) > MOST_PROBLEMS:
            return None
        try:
            return self._registry.find(kind, name)
        except LookupError as error:
            sentence = str(error)
        others = [other for other in _KINDS if other != kind and name in self._registry.names(other)]
        article = "an" if others and others[0][0] in "aeiou" else "a"
        also = f" ('{name}' is {article} {others[0]})" if others else ""
        place, node = self._root.deepest(at)
        self.problems.append(Problem(node.origin, f"{dotted(place)}: {sentence}{also}"))
        return None

    def _options(self, name_at: Location, options_at: Location | None) -> Node | None:
        """The options given, without any an empty mapping; None when they are no mapping."""
        options = self._root.at(options_at) if options_at is not None else None
        if options is None or options.value is None:
            return Node({}, self._root.deepest(name_at)[1].origin)
        return options if isinstance(options.value, dict) else None

    def _value(self, at: Location) -> Any:
        node = self._root.at(at)
        return node.plain() if node is not None else None

    def _refuse_unused(self, chosen: Mapping[str, Choice]) -> None:
        """Refuse weight, density or engine that no selected method takes: it would be ignored in silence."""
        methods = self._root.at(("merge", "methods"))
        for key, place in _MERGE_KNOBS.items():
            node = self._root.at(place)
            if node is None or methods is None or node.value in (None, "auto"):
                continue
            if node.origin.layer == CORE_DEFAULT or (key == "weight" and not chosen):
                continue
            if (methods.origin.layer == "--merge" or key == "weight") and node.origin.layer != "--set":
                continue  # the file's density is for the file's methods; --merge slerp needs no edit
            if not any(_takes(choice, key) for choice in chosen.values()):
                names = ", ".join(chosen) or "none"
                message = f"{dotted(place)}: no selected merge method takes it (selected: {names}); remove it"
                self.problems.append(Problem(node.origin, message))


def _takes(choice: Choice, knob: str) -> bool:
    """Whether a method takes a general setting: every merger is handed the weight, some say that they ignore it."""
    if knob == "weight":
        return not getattr(choice.cls, "ignores_weight", False)
    return knob in keys_of(choice.cls.Config)
