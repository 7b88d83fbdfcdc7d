"""The environment of the peers: made from bench/requirements.txt when it is first needed, and again when that changes.

It lies in $ADAPT_BENCH_PEERS, else in the user's cache; a digest of the requirements is in its name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def peers_python() -> Path:
    """The interpreter of the peers' environment. Raises SystemExit when pip cannot make it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adapt-bench"
    home = Path(os.environ.get("ADAPT_BENCH_PEERS") or cache)
    folder = home / hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:16]
    python = folder / "bin" / "python"
    if (folder / "complete").is_file():
        return python
    print(f"making the peers' environment in {folder}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    command = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-r", str(REQUIREMENTS)]
    if (code := subprocess.call(command, stdout=sys.stderr)) != 0:
        raise SystemExit(f"{' '.join(command)} ended with {code}; the peers come from a package index")
    (folder / "complete").touch()
    return python
