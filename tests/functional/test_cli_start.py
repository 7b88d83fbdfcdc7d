"""How `adapt` starts and ends: what it imports, what it prints where, and its exit codes."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from domadapt import __version__, cli, errors
from domadapt.components import Component
from domadapt_registry import UnknownName

HEAVY = (
    *("torch", "transformers", "datasets", "pandas", "numpy", "pyarrow", "scipy", "numba"),
    *("lm_eval", "mergekit", "megatron", "lxml", "resiliparse", "tokenizers", "safetensors"),
)
Raiser = Callable[..., Result]


def run_python(code: str, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith("ADAPT_")}, **variables}
    command = [sys.executable, "-c", code, *args]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


@pytest.mark.parametrize(
    "args", [("--help",), ("--version",), ("plugins",), ("plugins", "--json"), ("plugins", "show", "core")]
)
def test_a_start_imports_nothing_heavy(args: tuple[str, ...]) -> None:
    code = f"""
import sys
from domadapt.cli import adapt
try:
    adapt(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
print("imported:", [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = run_python(code, *args)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "imported: []"


def test_help_lists_every_command_without_importing_one() -> None:
    code = f"""
import sys
from domadapt.cli import adapt
try:
    adapt(["--help"])
except SystemExit:
    pass
print([name for name in {tuple(cli.COMMANDS)!r} if f"domadapt.cli.{{name}}" in sys.modules], file=sys.stderr)
"""
    done = run_python(code, COLUMNS="200")
    assert done.stderr == "[]\n"
    for name, help_text in cli.COMMANDS.items():
        assert f"{name} " in done.stdout
        assert help_text in done.stdout


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_a_command_of_the_table_is_there_and_helps(name: str) -> None:
    command = importlib.import_module(f"domadapt.cli.{name}").command
    assert isinstance(command, click.Command)
    done = CliRunner().invoke(cli.adapt, [name, "--help"])
    assert done.exit_code == 0
    assert f"adapt {name}" in done.stdout


def test_python_m_domadapt_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "domadapt", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == (f"adapt {__version__}\n", "")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ["plgins"],
            "adapt: there is no command 'plgins'; did you mean 'plugins'? (`adapt --help` lists what there is)",
        ),
        (["--dbug"], "adapt: No such option '--dbug'."),
        (["plugins", "--jsn"], "adapt plugins: No such option '--jsn'."),
        (["plugins", "show"], "adapt plugins show: Missing argument 'NAME'."),
        (["pl\x1b[2Jugin"], "adapt: there is no command 'pl\\x1b[2Jugin'"),
    ],
)
def test_a_usage_error_is_one_line_on_stderr_and_exit_2(args: list[str], said: str) -> None:
    done = CliRunner().invoke(cli.adapt, args)
    assert (done.exit_code, done.stdout) == (errors.USAGE, "")
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_no_command_shows_the_help_and_is_no_success() -> None:
    done = CliRunner().invoke(cli.adapt, [])
    assert (done.exit_code, done.stderr) == (errors.USAGE, "")
    assert "Usage: adapt" in done.stdout


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Raiser:
    """Runs `adapt clean` with another body: one that raises the exception or returns the value given."""

    def run(outcome: Any, *options: str, **variables: str) -> Result:
        @click.command("clean")
        def command() -> Any:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome() if callable(outcome) else outcome

        monkeypatch.setitem(sys.modules, "domadapt.cli.clean", SimpleNamespace(command=command))
        return CliRunner().invoke(cli.adapt, [*options, "clean"], env=variables)

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RecipeError("a.yaml:1:1  unknown key\nb.yaml:2:2  unknown key"), 2),
        (errors.PluginError("x"), 2),
        (errors.DataError("x"), 1),
        (errors.StageError("x"), 1),
        (errors.GateError("x"), 3),
        (errors.MissingError("x"), 4),
        (errors.Interrupted("x"), 75),
        (UnknownName("x"), 2),
    ],
)
def test_an_error_is_shown_as_its_sentence_and_ends_with_its_code(ending: Raiser, error: Exception, code: int) -> None:
    done = ending(error)
    assert (done.exit_code, done.stdout, done.stderr) == (code, "", f"{error}\n")


@pytest.mark.parametrize(("value", "code"), [(None, 0), (0, 0), (3, 3)])
def test_a_command_may_return_its_exit_code(ending: Raiser, value: int | None, code: int) -> None:
    assert ending(value).exit_code == code


def test_text_of_an_error_cannot_drive_the_terminal(ending: Raiser) -> None:
    done = ending(errors.DataError("title \x1b]0;owned\x07 \x9b2J \u202egnp.exe\nsecond line"))
    assert done.stderr == "title \\x1b]0;owned\\x07 \\x9b2J \\u202egnp.exe\nsecond line\n"


class Broken(Component):
    """A component with a bug."""

    name = "broken\x1b"

    def divide(self) -> float:
        return 1 / 0

    def talk(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_bug_is_one_line_that_names_the_component_and_the_place(ending: Raiser) -> None:
    done = ending(Broken().divide)
    assert done.exit_code == errors.FAILED
    assert done.stderr.startswith("bug: component 'broken\\x1b' (")
    assert "ZeroDivisionError: division by zero (" in done.stderr
    assert f"{Path(__file__).name}:" in done.stderr
    assert done.stderr.endswith("; `adapt --debug ...` shows the traceback\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("options", "variables"), [(["--debug"], {}), ([], {"ADAPT_DEBUG": "1"})])
def test_a_traceback_is_shown_on_request_before_the_line(
    ending: Raiser, options: list[str], variables: dict[str, str]
) -> None:
    done = ending(Broken().divide, *options, **variables)
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("bug: component")


def test_sys_exit_in_a_component_is_a_bug_not_a_success(ending: Raiser) -> None:
    done = ending(SystemExit(0))
    assert done.exit_code == errors.FAILED
    assert "bug: sys.exit(0) was called" in done.stderr


def test_an_unexpected_end_of_a_file_is_not_taken_for_ctrl_d(ending: Raiser) -> None:
    done = ending(EOFError("Compressed file ended"))
    assert done.exit_code == errors.FAILED
    assert "bug: EOFError: Compressed file ended" in done.stderr


def test_a_broken_pipe_inside_a_component_is_not_taken_for_a_reader_that_left(ending: Raiser) -> None:
    done = ending(Broken().talk)
    assert done.exit_code == errors.FAILED
    assert "BrokenPipeError" in done.stderr


def test_a_full_disk_is_something_in_the_way(ending: Raiser) -> None:
    done = ending(OSError(errno.ENOSPC, "No space left on device", "runs/x"))
    assert (done.exit_code, done.stderr) == (errors.MISSING, "runs/x: No space left on device\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_ctrl_c_ends_with_130(ending: Raiser, error: BaseException) -> None:
    done = ending(error)
    assert (done.exit_code, done.stderr.strip()) == (errors.CTRL_C, "interrupted")


def test_ctrl_c_reaches_a_process_that_is_importing_a_plugin(tmp_path: Path) -> None:
    (tmp_path / "scratch_slow.py").write_text("import sys, time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    info = tmp_path / "scratch_slow-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scratch-slow\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[domadapt.plugins]\nslow = scratch_slow\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    process = subprocess.Popen(
        [sys.executable, "-m", "domadapt", "plugins"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        # tests in the background of a shell are started with the signal ignored, and hand that down
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        assert process.stderr is not None
        assert process.stderr.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "interrupted\n")
        assert process.returncode == errors.CTRL_C


def test_a_reader_that_stops_early_gets_no_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "domadapt", "plugins", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


def test_a_reader_of_a_table_that_stops_early_is_no_bug() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "domadapt", "plugins"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


def test_help_is_shown_where_the_encoding_lacks_box_characters() -> None:
    code = "import sys\nfrom domadapt.cli import main\nsys.argv = ['adapt', '--help']\nmain()"
    done = run_python(code, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "plugins" in done.stdout
