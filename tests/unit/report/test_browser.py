"""The pages in a real browser, headless Chromium: no error, no request, no overflow, at phone and desktop width.

Chromium is spoken to over its DevTools protocol through a pair of pipes, so nothing but Chromium is needed.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from domadapt.report.build import write_report
from domadapt.report.experiment import Arm, experiment_data
from domadapt.report.experiment_page import render_experiment
from domadapt.report.overlay import render_overlay

WIDTHS = {"phone": 390, "desktop": 1280}
HEIGHT = 844
MAX_BYTES = 500_000
PATIENCE = 60.0

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


class Browser:
    """One page of a headless Chromium."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write, self._buffer = read, write, b""
        self._number = 0
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session: str | None = None
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events that come meanwhile are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if getattr(self, "_session", None):
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                return dict(answer["result"])
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._read, 1 << 16)
            assert part, "Chromium has gone"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(line))

    def open(self, file: Path, width: int, *, dark: bool = False, media: str = "") -> None:
        """Load a file at this width and wait until it is shown."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)
        narrow = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=HEIGHT, deviceScaleFactor=1, mobile=narrow)
        self.events.clear()
        self.call("Page.navigate", url=file.as_uri())
        until = time.monotonic() + PATIENCE
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            assert time.monotonic() < until, "the page did not load"
            self.events.append(self._next())

    def value(self, script: str) -> Any:
        """The value of a JavaScript expression on the page (DevTools may run scripts that the page may not)."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def told(self, *methods: str) -> list[dict[str, Any]]:
        """The parameters of all events of these kinds."""
        self.call("Runtime.evaluate", expression="0")
        return [e["params"] for e in self.events if e.get("method") in methods]

    def picture(self, file: Path, top: int = 0, height: int | None = None) -> None:
        """Save a part of the page, or all of it, as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": top, "width": size["width"], "height": height or size["height"], "scale": 1}
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(found["data"]))


ON_3_AND_4 = """
import os, sys
pipes = [os.dup(int(number)) for number in sys.argv[1:3]]
for pipe, wanted in zip(pipes, (3, 4)):
    os.dup2(pipe, wanted)
    os.set_inheritable(wanted, True)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""DevTools reads on descriptor 3 and writes on 4: put two pipes there and become the browser."""


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A headless Chromium with a profile of its own, ended afterwards."""
    to_browser, from_us = os.pipe()
    from_browser, to_us = os.pipe()
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe")
    become = [sys.executable, "-c", ON_3_AND_4, str(to_browser), str(to_us), str(CHROMIUM)]
    process = subprocess.Popen(
        [*become, *options, f"--user-data-dir={profile}"],
        pass_fds=(to_browser, to_us),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(profile)},
    )
    os.close(to_browser)
    os.close(to_us)
    try:
        yield Browser(from_browser, from_us)
    finally:
        process.terminate()
        process.wait(PATIENCE)
        os.close(from_browser)
        os.close(from_us)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(
    tmp_path_factory: pytest.TempPathFactory,
    default_data: Mapping[str, Any],
    sweep_data: Mapping[str, Any],
    four_arms: Sequence[Arm],
) -> dict[str, Path]:
    """The pages by name: a run with two merges, one with 24, both on top of each other, an experiment of four arms."""
    root = tmp_path_factory.mktemp("pages")
    for name, data in (("default", default_data), ("sweep", sweep_data)):
        write_report(data, root / name)
    (root / "overlay.html").write_text(render_overlay({"two": default_data, "many": sweep_data}), encoding="utf-8")
    experiment = experiment_data(four_arms, name="sec-starter.replay")
    (root / "experiment.html").write_text(render_experiment(experiment), encoding="utf-8")
    return {
        "experiment": root / "experiment.html",
        "default": root / "default/report.html",
        "sweep": root / "sweep/report.html",
        "overlay": root / "overlay.html",
    }


CHARTS = {
    "default": 2 + 4 + 1 + 3 + 1,  # scatters, ledgers, curves, two funnels and the sources, timeline
    "sweep": 2 + 4 + 1 + 3 + 1 + 8,  # and slices: two measures of four methods
    "overlay": 2 + 2 + 1,
    "experiment": 2 + 2,  # the trade-off before and after merging, a probe and a held-out loss
}


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("name", CHARTS)
def test_page_loads_without_errors_or_requests_and_fits_the_width(
    browser: Browser, pages: Mapping[str, Path], name: str, width: int
) -> None:
    assert pages[name].stat().st_size < MAX_BYTES
    browser.open(pages[name], width)
    errors = browser.told("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
    assert errors == []
    asked = [e["request"]["url"] for e in browser.told("Network.requestWillBeSent")]
    assert asked == [pages[name].as_uri()]
    assert browser.value("document.documentElement.scrollWidth") <= width
    browser.value("document.querySelectorAll('details').forEach(folded => folded.open = true)")
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value("document.querySelectorAll('svg.chart').length") == CHARTS[name]


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_is_drawn_inside_its_frame(browser: Browser, pages: Mapping[str, Path], name: str) -> None:
    browser.open(pages[name], WIDTHS["desktop"])
    outside = browser.value(
        """[...document.querySelectorAll('svg.chart')].flatMap(chart => {
            const frame = chart.getBoundingClientRect();
            return [...chart.querySelectorAll('text, rect, circle, polygon, line, path')].filter(part => {
                const box = part.getBoundingClientRect();
                return box.left < frame.left - 3 || box.right > frame.right + 3
                    || box.top < frame.top - 3 || box.bottom > frame.bottom + 3;
            }).map(part => chart.querySelector('title').textContent + ': ' + (part.textContent || part.outerHTML));
        })"""
    )
    assert outside == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_from_the_paper_in_both_schemes(
    browser: Browser, pages: Mapping[str, Path], dark: bool
) -> None:
    browser.open(pages["default"], WIDTHS["desktop"], dark=dark)
    colours = browser.value(
        """['body', '.lead .caution', 'summary', 'svg text.tick', 'svg text.name'].map(what => {
            const style = getComputedStyle(document.querySelector(what));
            return what.startsWith('svg') ? style.fill : style.color;
        }).concat([getComputedStyle(document.body).backgroundColor])"""
    )
    *texts, paper = map(luminance, colours)
    assert (paper < 0.2) == dark
    for text in texts:
        brighter, darker = max(text, paper) + 0.05, min(text, paper) + 0.05
        assert brighter / darker >= 4.5  # WCAG 2.2, level AA


def luminance(colour: str) -> float:
    """Relative luminance of "rgb(r, g, b)" by WCAG 2.2."""
    parts = [int(p) / 255 for p in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_printing_makes_a_pdf_and_unfolds_the_short_tables(browser: Browser, pages: Mapping[str, Path]) -> None:
    browser.open(pages["default"], WIDTHS["desktop"], media="print")
    hidden = browser.value(
        """[...document.querySelectorAll('details:not(.long, .counts) table')].filter(t => !t.offsetHeight).length"""
    )
    assert hidden == 0
    printed = base64.b64decode(browser.call("Page.printToPDF", printBackground=True)["data"])
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") <= 40


def test_a_csv_link_holds_what_the_table_shows(browser: Browser, pages: Mapping[str, Path]) -> None:
    browser.open(pages["default"], WIDTHS["desktop"])
    links = browser.value("[...document.querySelectorAll('.csv a')].map(a => [a.download, a.href])")
    names = [name for name, _ in links]
    assert len(set(names)) == len(names)
    assert {"scores.csv", "differences.csv", "merges.csv", "held-out.csv", "stages.csv"} <= set(names)
    assert all(href.startswith("data:text/csv") for _, href in links)
