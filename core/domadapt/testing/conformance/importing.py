"""What importing a plugin does: how long it takes, what it imports, what of the process it changes.

The import happens in a process of its own, after that of the core, so that nothing has to be undone here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from domadapt.testing.conformance import Finding

if TYPE_CHECKING:
    from domadapt_registry import PluginRow, Registry

SECONDS = 0.3
"""CPU time that the import of a plugin may take beyond the core's: every command pays it."""
HEAVY = (
    *("torch", "transformers", "pyarrow", "numpy", "scipy", "pandas", "datasets", "lm_eval", "mergekit", "numba"),
    *("lxml", "resiliparse", "sklearn", "tensorflow", "spacy", "nltk"),
)
_TIMEOUT = 120
_KEPT = ("PATH", "PYTHON", "HOME", "LANG", "LC_", "TMP", "TEMP", "LD_", "DYLD_", "VIRTUAL_ENV", "SYSTEMROOT", "ADAPT_")
"""Environment variables of the process that imports, by their beginnings."""

_CHILD = """
import json, os, random, signal, sys, time
import domadapt.components, domadapt.hookspecs
from domadapt_registry import Registry
asked = []
def hook(event, arguments):
    if event == "socket.connect" or event == "socket.getaddrinfo":
        asked.append(str(arguments[-1] if event == "socket.connect" else arguments[0]))
def state():
    handlers = {s.name: repr(signal.getsignal(s)) for s in signal.Signals}
    seen = {"folder": os.getcwd(), "random": hash(random.getstate()), "signals": handlers}
    return {**seen, "environment": dict(os.environ)}
for s in signal.valid_signals():
    if signal.getsignal(s) == signal.SIG_IGN and s not in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(s, signal.SIG_DFL)
before, modules, started = state(), set(sys.modules), time.process_time()
sys.addaudithook(hook)
(entry,) = [e for e in __import__("importlib.metadata").metadata.entry_points(group="domadapt.plugins")
            if e.name == sys.argv[1]]
entry.load()
seconds = time.process_time() - started
after = state()
print("\\n" + json.dumps({
    "seconds": seconds,
    "modules": sorted({m.partition(".")[0] for m in set(sys.modules) - modules}),
    "network": asked,
    "changed": [k for k in before if before[k] != after[k]],
}))
"""


def checks(row: PluginRow, registry: Registry) -> Iterator[Finding]:
    """Import time, heavy imports, network, and the state of the process; nothing for the core's own plugin."""
    if not row.distribution or row.distribution == "domadapt":
        return
    told = _import(row.name)
    if isinstance(told, str):
        yield Finding("imports alone", told)
        return
    yield Finding("imports alone")
    heavy = sorted(set(told["modules"]) & set(HEAVY))
    yield Finding(
        "imports nothing heavy",
        f"importing it imports {', '.join(heavy)}; import them inside the functions that need them" if heavy else "",
    )
    seconds = told["seconds"] if heavy else _quickest(row.name, told["seconds"])
    slow = seconds > SECONDS and not heavy
    wanted = f"importing it takes {seconds:.2f} s of CPU time, {SECONDS} s are wanted; `python -X importtime`"
    yield Finding("imports quickly", f"{wanted} shows where" if slow else "")
    reached = ", ".join(told["network"][:3])
    network = f"importing it reaches for {reached}; ask the network when a source is read" if reached else ""
    yield Finding("asks no network at import", network)
    names = {
        "folder": "the working folder",
        "random": "the state of `random`",
        "signals": "signal handlers",
        "environment": "environment variables",
    }
    changed = " and ".join(names[key] for key in told["changed"])
    yield Finding(
        "leaves the process alone", f"importing it changes {changed}; leave that to the user" if changed else ""
    )


def _quickest(name: str, seconds: float) -> float:
    """The time of the quickest of some imports: the first one compiles, and a busy machine takes longer."""
    for _ in range(3):
        if seconds > SECONDS and isinstance(again := _import(name), dict):
            seconds = min(seconds, again["seconds"])
    return seconds


def _import(name: str) -> dict[str, Any] | str:
    """What the import did, or why there is no telling."""
    # this process may have imported the plugin already: what that changed must not be handed down
    kept = {key: value for key, value in os.environ.items() if key.startswith(_KEPT)}
    command = [sys.executable, "-c", _CHILD, name]
    try:
        done = subprocess.run(
            command,
            env={**kept, "PYTHONHASHSEED": "0"},
            cwd=tempfile.gettempdir(),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"importing it takes more than {_TIMEOUT} s"
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return f"importing it in a process of its own fails: {last}"
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return told
