"""What becomes of each plugin. Every test installs real distributions (dist-info folders) into a folder of its own."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from domadapt_registry import ClaimedTwice, PluginRow, Provider, Registry, UnknownName

HOOKS = """
from collections.abc import Iterable
import pluggy
hookspec = pluggy.HookspecMarker("toy")
hookimpl = pluggy.HookimplMarker("toy")

class Tool:
    name = ""

class Note:
    def __init__(self, name):
        self.name = name

@hookspec
def adapt_register_tools() -> Iterable[type[Tool]]:
    raise NotImplementedError

@hookspec
def adapt_register_notes() -> Iterable[Note]:
    raise NotImplementedError

@hookspec(firstresult=True)
def adapt_answer(question, hint):
    raise NotImplementedError
"""
TOOL = """
from toy_hooks import Note, Tool, hookimpl

class Saw(Tool):
    name = "{name}"

@hookimpl
def adapt_register_tools():
    return [Saw]
"""


class Shop:
    """A folder of distributions with plugins of the group `toy.plugins`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self, plugin: str, source: str, *, dist: str = "", version: str = "1.0", requires: tuple[str, ...] = ()
    ) -> str:
        """Write a module and its dist-info; return the module's name."""
        dist = dist or f"toy-{plugin}"
        module = dist.replace("-", "_")
        (self.folder / f"{module}.py").write_text(source)
        info = self.folder / f"{module}-{version}.dist-info"
        info.mkdir()
        lines = [f"Name: {dist}", f"Version: {version}", *(f"Requires-Dist: {r}" for r in requires)]
        (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines, ""]))
        (info / "entry_points.txt").write_text(f"[toy.plugins]\n{plugin} = {module}\n")
        return module

    def open(self, **settings: Any) -> Registry:
        """Discover what is in this folder, for a host `toy` of version 2.1."""
        if "entry_points" not in settings:
            dists = importlib.metadata.distributions(path=[str(self.folder)])
            settings["entry_points"] = [entry_point for dist in dists for entry_point in dist.entry_points]
        defaults = {"project": "toy", "group": "toy.plugins", "host": "toy", "host_version": "2.1"}
        return Registry.discover(self.hooks, **{**defaults, **settings})

    @property
    def hooks(self) -> ModuleType:
        """The hook specifications."""
        return importlib.import_module("toy_hooks")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    (tmp_path / "toy_hooks.py").write_text(HOOKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield Shop(tmp_path)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def only(registry: Registry) -> PluginRow:
    (row,) = registry.rows
    return row


def broken_reason(shop: Shop, source: str) -> str:
    shop.install("bad", source)
    shop.install("good", TOOL.format(name="saw"))
    rows = {row.name: row for row in shop.open().rows}
    assert rows["good"].state == "ok"
    assert rows["bad"].state == "broken"
    assert rows["bad"].gives == {}
    return rows["bad"].reason


def test_a_working_plugin_is_listed_with_what_it_gives(shop: Shop) -> None:
    module = shop.install("saws", TOOL.format(name="fretsaw"))
    registry = shop.open()
    assert only(registry) == PluginRow(
        "saws", "toy-saws", "1.0", "ok", "", {"tools": ["fretsaw"]}, {}, str(shop.folder / f"{module}.py")
    )
    assert registry.find("tool", "fretsaw") is sys.modules[module].Saw
    assert registry.find("tools", "fretsaw") is registry.find("tool", "fretsaw")
    assert registry.names("tool") == ["fretsaw"]
    assert registry.kinds == ["notes", "tools"]
    location = str(shop.folder / f"{module}.py")
    assert registry.provider("tool", "fretsaw") == Provider("saws", "toy-saws", "1.0", False, location)


def test_an_editable_install_is_known_as_one(shop: Shop) -> None:
    module = shop.install("saws", TOOL.format(name="saw"))
    origin = '{"dir_info": {"editable": true}, "url": "file:///somewhere"}'
    (shop.folder / f"{module}-1.0.dist-info" / "direct_url.json").write_text(origin)
    assert shop.open().provider("tool", "saw").editable


def test_caveats_are_shown_by_component(shop: Shop) -> None:
    shop.install("saws", TOOL.format(name="saw") + "\nSaw.caveat = 'never sharpened'\n")
    assert only(shop.open()).caveats == {"tool saw": "never sharpened"}


def test_other_hooks_are_listed_too(shop: Shop) -> None:
    shop.install("wise", "from toy_hooks import hookimpl\n@hookimpl\ndef adapt_answer(question):\n    return 42\n")
    registry = shop.open()
    assert only(registry).gives == {"hooks": ["adapt_answer"]}
    assert registry.hook.adapt_answer(question="?", hint="") == 42


def test_a_missing_import_makes_a_row_that_says_where(shop: Shop) -> None:
    reason = broken_reason(shop, "\nimport no_such_module_here\n")
    assert "importing toy_bad failed: ModuleNotFoundError: No module named 'no_such_module_here'" in reason
    assert reason.endswith("toy_bad.py:2)")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("raise BaseException('rude')", "BaseException: rude"),
        ("def broken(:", "SyntaxError: invalid syntax"),
        ("class E(Exception):\n    def __str__(self): raise ValueError\nraise E", "E: <exception str() failed>"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("raise RecursionError", "RecursionError"),
    ],
)
def test_whatever_a_module_raises_is_contained(shop: Shop, source: str, said: str) -> None:
    assert said in broken_reason(shop, source)


def test_ctrl_c_during_an_import_stops_the_program(shop: Shop) -> None:
    shop.install("slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        shop.open()


def test_the_traceback_is_kept_for_the_author(shop: Shop) -> None:
    shop.install("bad", "def deep():\n    1 / 0\ndeep()")
    assert "in deep" in only(shop.open()).traceback


def test_what_a_plugin_prints_at_import_stays_out_of_the_result(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.install("loud", "print('hello from loud')\n" + TOOL.format(name="saw"))
    assert only(shop.open()).state == "ok"
    assert capsys.readouterr() == ("", "hello from loud\n")


def test_an_entry_point_to_a_missing_attribute_is_broken(shop: Shop) -> None:
    module = shop.install("bad", TOOL.format(name="saw"))
    (shop.folder / f"{module}-1.0.dist-info" / "entry_points.txt").write_text(f"[toy.plugins]\nbad = {module}:nothing")
    assert "has no attribute 'nothing'" in only(shop.open()).reason


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("@hookimpl\ndef adapt_register_tool(): return []", "there is no hook 'adapt_register_tool'; did you mean '"),
        ("@hookimpl(specname='adapt_reply')\ndef f(): ...", "there is no hook 'adapt_reply'"),
        ("@hookimpl\ndef adapt_answer(query): ...", "adapt_answer has an argument 'query' that the hook does not pass"),
        ("@hookimpl\ndef adapt_answer(query): ...", "its signature is adapt_answer(question, hint)"),
        ("def adapt_register_tools(): return []", "adapt_register_tools is not marked as a hook: put @toy.hookimpl"),
        ("", "it implements no hook"),
        ("@hookimpl(wrapper=True)\ndef adapt_answer(): return 1", "function is not a generator function"),
        ("@hookimpl(wrapper=True)\ndef adapt_register_tools(): return (yield)", "cannot be wrapped"),
    ],
)
def test_a_hook_that_does_not_fit_is_named(shop: Shop, source: str, said: str) -> None:
    assert said in broken_reason(shop, f"from toy_hooks import hookimpl\n{source}\n")


def test_an_optional_hook_of_another_release_is_no_fault(shop: Shop) -> None:
    shop.install("saws", TOOL.format(name="saw") + "\n@hookimpl(optionalhook=True)\ndef adapt_later(): ...\n")
    assert only(shop.open()).state == "ok"


def test_a_specification_imported_for_reading_is_no_forgotten_implementation(shop: Shop) -> None:
    shop.install("saws", "from toy_hooks import adapt_answer\n" + TOOL.format(name="saw"))
    assert only(shop.open()).state == "ok"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise OSError('no list')", "adapt_register_tools() failed: OSError: no list"),
        ("yield Saw; raise OSError('late')", "adapt_register_tools() failed: OSError: late"),
        ("import sys; sys.exit(1)", "adapt_register_tools() failed: SystemExit: 1"),
        ("return None", "must return a list or another iterable of components, not NoneType"),
        ("return 'saw'", "must return a list or another iterable of components, not str"),
        ("return {'saw': Saw}", "must return a list or another iterable of components, not dict"),
        ("return [Saw()]", "gave an object of type Saw: the class is wanted, a subclass of Tool"),
        ("return [Note]", "gave Note: it is no subclass of Tool"),
        ("return [Tool]", "gave Tool: it has no name"),
        ("return [type('Odd', (Tool,), {'name': 3})]", "gave Odd: it has no name"),
        ("return [Saw, type('Other', (Tool,), {'name': 'saw'})]", "gave two components of the name 'saw'"),
        ("return [Half]", "gave Half: it does not implement cut"),
    ],
)
def test_a_hook_that_gives_no_components_breaks_its_plugin_alone(shop: Shop, body: str, said: str) -> None:
    head = TOOL.format(name="saw").split("@hookimpl")[0]
    half = "import abc\nclass Half(Tool, abc.ABC):\n  name = 'half'\n  @abc.abstractmethod\n  def cut(self): ...\n"
    source = f"{head}\n{half}\n@hookimpl\ndef adapt_register_tools():\n    {body}\n"
    assert said in broken_reason(shop, source)


def test_a_hook_for_objects_refuses_classes(shop: Shop) -> None:
    source = "from toy_hooks import Note, hookimpl\n@hookimpl\ndef adapt_register_notes(): return [Note]\n"
    assert "gave Note: it is no Note" in broken_reason(shop, source)


def test_a_plugin_broken_late_takes_no_part_in_other_hooks(shop: Shop) -> None:
    answer = "@hookimpl\ndef adapt_answer(): return 'from a broken plugin'\n"
    shop.install("bad", f"from toy_hooks import hookimpl\n{answer}\n@hookimpl\ndef adapt_register_tools(): return 1\n")
    registry = shop.open()
    assert only(registry).state == "broken"
    assert registry.hook.adapt_answer(question="?", hint="") is None


@pytest.mark.parametrize("requires", ["toy>=3", "toy (<2)", "Toy[extra]==1.*", "toy>=3; python_version > '3'"])
def test_a_plugin_for_another_version_of_the_host_is_not_loaded(shop: Shop, requires: str) -> None:
    shop.install("saws", "raise AssertionError('must not be imported')", requires=("pluggy", requires))
    row = only(shop.open())
    assert row.state == "incompatible"
    assert row.reason.startswith("toy-saws 1.0 wants toy")
    assert "installed is toy 2.1" in row.reason


@pytest.mark.parametrize(
    "requires", ["toy>=2,<3", "toy-other>=9", "toy>=9; python_version < '3'", "toy>=9; extra == 'later'", "toy"]
)
def test_a_plugin_that_admits_the_host_is_loaded(shop: Shop, requires: str) -> None:
    shop.install("saws", TOOL.format(name="saw"), requires=(requires,))
    assert only(shop.open()).state == "ok"


def test_a_development_version_of_the_host_satisfies_a_lower_bound_below_it(shop: Shop) -> None:
    shop.install("saws", TOOL.format(name="saw"), requires=("toy>=2",))
    assert only(shop.open(host_version="2.2.dev1")).state == "ok"


def test_a_requirement_on_the_host_that_cannot_be_read_is_told(shop: Shop) -> None:
    shop.install("saws", TOOL.format(name="saw"), requires=("toy >> 2",))
    row = only(shop.open())
    assert row.state == "broken"
    assert "requirement 'toy >> 2' cannot be read" in row.reason


def test_two_distributions_with_one_plugin_name_are_both_refused_and_named(shop: Shop) -> None:
    shop.install("saws", "raise AssertionError('must not be imported')", dist="toy-first")
    shop.install("saws", "raise AssertionError('must not be imported')", dist="toy-second", version="2.0")
    rows = shop.open().rows
    assert [(row.distribution, row.state) for row in rows] == [
        ("toy-first", "claimed twice"),
        ("toy-second", "claimed twice"),
    ]
    for row in rows:
        assert "toy-first 1.0 (toy_first) and toy-second 2.0 (toy_second)" in row.reason


def test_a_plugin_cannot_take_the_name_of_one_of_the_hosts_own(shop: Shop) -> None:
    shop.install("core", "raise AssertionError('must not be imported')", dist="toy-usurper")
    own = own_plugin(shop, "saw")
    registry = shop.open(builtin=[("core", own)])
    assert [row.state for row in registry.rows] == ["ok", "claimed twice"]
    assert registry.rows[1].reason == "'core' is a plugin of toy itself; uninstall toy-usurper 1.0"
    assert registry.provider("tool", "saw").distribution == "toy"


def test_a_disabled_plugin_is_not_imported(shop: Shop) -> None:
    shop.install("saws", "raise AssertionError('must not be imported')")
    row = only(shop.open(disabled=["saws"]))
    assert (row.state, row.reason) == ("disabled", "disabled by name")


def test_a_plugin_that_is_not_allowed_is_not_imported_but_the_hosts_own_are(shop: Shop) -> None:
    shop.install("saws", "raise AssertionError('must not be imported')")
    registry = shop.open(allowed=[], builtin=[("core", own_plugin(shop, "hammer"))])
    assert [row.state for row in registry.rows] == ["ok", "disabled"]
    assert registry.names("tool") == ["hammer"]


def test_names_that_no_plugin_has_are_reported(shop: Shop) -> None:
    shop.install("saws", TOOL.format(name="saw"))
    assert shop.open(disabled=["swas"], allowed=["saws", "more"]).unmatched == ("more", "swas")


def test_one_component_name_of_two_plugins_is_an_error_when_asked_for_not_at_start(shop: Shop) -> None:
    shop.install("first", TOOL.format(name="saw"))
    shop.install("second", TOOL.format(name="saw"), version="2.0")
    registry = shop.open()
    assert [row.state for row in registry.rows] == ["ok", "ok"]
    assert registry.rows[0].reason.startswith("tool 'saw' is also given by plugin 'second' (toy-second 2.0)")
    assert registry.rows[1].reason.startswith("tool 'saw' is also given by plugin 'first' (toy-first 1.0)")
    for look_up in (registry.find, registry.provider):
        with pytest.raises(ClaimedTwice, match=r"tool 'saw' is given by plugin 'first' .* and plugin 'second' "):
            look_up("tool", "saw")


def test_a_component_name_of_the_host_stays_the_hosts_and_the_other_is_told(shop: Shop) -> None:
    shop.install("saws", TOOL.format(name="hammer"))
    registry = shop.open(builtin=[("core", own_plugin(shop, "hammer"))])
    assert registry.provider("tool", "hammer").plugin == "core"
    own, other = registry.rows
    assert (own.state, own.reason, other.state) == ("ok", "", "ok")
    assert other.reason == "tool 'hammer' is toy's own, this one is not used: give it another name"


def test_one_name_of_two_kinds_is_no_conflict(shop: Shop) -> None:
    notes = "@hookimpl\ndef adapt_register_notes(): return [Note('saw')]\n"
    shop.install("saws", TOOL.format(name="saw") + notes)
    registry = shop.open()
    assert registry.find("note", "saw") is not registry.find("tool", "saw")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("swa", r"there is no tool 'swa'; did you mean 'saw'\?"),
        ("quux", "there is no tool 'quux'; known: hammer, saw"),
        (
            "bad.drill",
            r"no tool 'bad.drill'; plugin 'bad' \(toy-bad 1.0\) is broken: importing toy_bad failed: Zero",
        ),
    ],
)
def test_an_unknown_name_comes_with_a_way_on(shop: Shop, name: str, said: str) -> None:
    shop.install("saws", TOOL.format(name="saw"))
    shop.install("bad", "1 / 0")
    registry = shop.open(builtin=[("core", own_plugin(shop, "hammer"))])
    with pytest.raises(UnknownName, match=said) as caught:
        registry.find("tool", name)
    assert isinstance(caught.value, LookupError)


def test_an_unknown_kind_is_a_mistake_of_the_caller(shop: Shop) -> None:
    with pytest.raises(ValueError, match="there is no kind of components 'tol'; did you mean 'tools'"):
        shop.open().names("tol")


def test_the_hosts_own_plugins_answer_last(shop: Shop) -> None:
    shop.install("wise", "from toy_hooks import hookimpl\n@hookimpl\ndef adapt_answer(question): return 'plugin'\n")
    own = SimpleNamespace(adapt_answer=shop.hooks.hookimpl(lambda question: "own"))
    assert shop.open(builtin=[("core", own)]).hook.adapt_answer(question="?", hint="") == "plugin"


def test_a_builtin_plugin_may_be_a_dotted_name_and_may_be_broken(shop: Shop) -> None:
    shop.install("x", TOOL.format(name="saw"), dist="toy-own")
    registry = shop.open(builtin=[("core", "toy_own"), ("gone", "toy_gone")], entry_points=[])
    assert [(row.name, row.state) for row in registry.rows] == [("core", "ok"), ("gone", "broken")]


def test_one_module_under_two_plugin_names_is_registered_once(shop: Shop) -> None:
    own = own_plugin(shop, "saw")
    rows = shop.open(builtin=[("one", own), ("two", own)]).rows
    assert [row.state for row in rows] == ["ok", "broken"]
    assert rows[1].reason == "its module is plugin 'one' already"


def test_registries_do_not_share_anything(shop: Shop) -> None:
    first = shop.open(builtin=[("core", own_plugin(shop, "saw"))])
    second = shop.open(builtin=[("core", own_plugin(shop, "hammer"))])
    assert (first.names("tool"), second.names("tool")) == (["saw"], ["hammer"])


@pytest.mark.parametrize("damage", [b"[toy.plugins]\nno equals sign here\n", b"[toy.plugins]\nx = \xff\xfe\n"])
def test_a_damaged_entry_points_file_hides_no_other_plugin(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, damage: bytes
) -> None:
    shop.install("saws", TOOL.format(name="saw"))
    module = shop.install("wreck", "")
    (shop.folder / f"{module}-1.0.dist-info" / "entry_points.txt").write_bytes(damage)
    monkeypatch.setattr(sys, "path", [str(shop.folder), *sys.path])
    states = {row.name: row for row in shop.open(entry_points=None).rows}
    assert states["saws"].state == "ok"
    assert states["toy-wreck"].state == "broken"
    assert "entry_points.txt of toy-wreck cannot be read" in states["toy-wreck"].reason


def test_a_distribution_with_unreadable_metadata_is_a_broken_row(shop: Shop) -> None:
    module = shop.install("saws", TOOL.format(name="saw"))
    (shop.folder / f"{module}-1.0.dist-info" / "METADATA").write_bytes(b"Name: toy\xff\xfe\n")
    row = only(shop.open())
    assert row.state == "broken"
    assert "the metadata of its distribution cannot be read: UnicodeDecodeError" in row.reason


@pytest.mark.parametrize("record", ["{not json", "[]", '{"dir_info": 3}'])
def test_an_unreadable_record_of_the_installation_counts_as_editable(shop: Shop, record: str) -> None:
    module = shop.install("saws", TOOL.format(name="saw"))
    (shop.folder / f"{module}-1.0.dist-info" / "direct_url.json").write_text(record)
    assert shop.open().provider("tool", "saw").editable


def test_a_distribution_without_metadata_is_listed_all_the_same(shop: Shop) -> None:
    module = shop.install("saws", TOOL.format(name="saw"))
    (shop.folder / f"{module}-1.0.dist-info" / "METADATA").write_text("")
    row = only(shop.open())
    assert row.name == "saws"
    assert row.state == "ok" or "metadata of its distribution cannot be read" in row.reason


def test_items_are_checked_against_annotations_that_need_names_from_elsewhere(shop: Shop) -> None:
    hooks = HOOKS.replace("type[Tool]", "type['Elsewhere']")
    (shop.folder / "toy_hooks.py").write_text(hooks)
    shop.install("saws", TOOL.format(name="saw"))
    assert only(shop.open()).state == "ok"
    row = only(shop.open(names={"Elsewhere": dict}))
    assert row.reason == "adapt_register_tools() gave Saw: it is no subclass of dict"


def own_plugin(shop: Shop, tool: str) -> object:
    """A plugin object of the host's own that gives one tool."""
    cls = type("Own", (shop.hooks.Tool,), {"name": tool})
    give: Callable[[], list[type]] = shop.hooks.hookimpl(lambda: [cls])
    return SimpleNamespace(adapt_register_tools=give)
