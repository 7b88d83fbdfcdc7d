"""Every test runs offline and in a world of its own: no network, no home folder of the user."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def offline_and_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Caches go to a temporary folder, hubs are off, and a connection to another host is an error."""
    monkeypatch.setenv("ADAPT_HOME", str(_cache_of_this_session(tmp_path_factory)))
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(variable, "1")
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(("127.", "::1")):
            raise AssertionError(f"a test reached for the network: {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)


def _cache_of_this_session(factory: pytest.TempPathFactory) -> Path:
    folder = factory.getbasetemp() / "adapt-home"
    folder.mkdir(exist_ok=True)
    return folder
