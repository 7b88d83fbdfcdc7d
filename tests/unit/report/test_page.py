"""report.html: its figures are those of report.json, every chart has its table, and it stays small."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

import pytest

from domadapt.report.build import canonical_json, report_data
from domadapt.report.numbers import change, level, unit_of
from domadapt.report.page import render_page
from domadapt.report.speed import speed_lines
from domadapt.report.verdict import measure_title

MAX_BYTES = 500_000


class Tables(HTMLParser):
    """The tables of a page by caption, as rows of text with cells that span rows repeated, and the CSV files."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.by_caption: dict[str, list[list[str]]] = {}
        self.files: dict[str, str] = {}
        self._caption: str | None = None
        self._rows: list[list[str]] = []
        self._span, self._spanned = 0, ""
        self._in = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "table":
            self._rows, self._caption, self._span = [], None, 0
        elif tag == "tr":
            self._rows.append([])
            if self._span:
                self._rows[-1].append(self._spanned)
                self._span -= 1
        elif tag in ("th", "td"):
            self._rows[-1].append("")
            if (rows := int(given.get("rowspan") or 1)) > 1:
                self._span = rows - 1
        elif tag == "a" and given.get("download"):
            self.files[str(given["download"])] = unquote(str(given["href"]).partition(",")[2])
        self._in = tag if tag in ("th", "td", "caption", "b", "small", "i") else self._in

    def handle_endtag(self, tag: str) -> None:
        if tag == "table" and self._caption is not None:
            self.by_caption[self._caption] = self._rows
        if tag == "caption":
            self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in == "caption":
            self._caption = (self._caption or "") + data
        elif self._in and self._rows and self._rows[-1]:
            self._rows[-1][-1] = (self._rows[-1][-1] + data).strip()
            if self._span and len(self._rows[-1]) == 1:
                self._spanned = self._rows[-1][0]


def rows_of(page: Tables, caption: str) -> list[list[str]]:
    return next(rows for name, rows in page.by_caption.items() if name.startswith(caption))[1:]


def file_of(page: Tables, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(page.files[f"{name}.csv"])))


@pytest.fixture(scope="module")
def page(default_data: Mapping[str, Any]) -> Tables:
    return Tables(render_page(default_data))


@pytest.fixture(scope="module")
def sweep_html(sweep_data: Mapping[str, Any]) -> str:
    return render_page(sweep_data)


def test_every_score_and_difference_on_the_page_is_that_of_report_json(
    page: Tables, default_data: Mapping[str, Any]
) -> None:
    wanted_scores, wanted_differences = [], []
    for measure in default_data["ledger"]["measures"]:
        unit = unit_of(measure["unit"])
        for score in measure["scores"]:
            wanted_scores.append([measure_title(measure), score["model"], level(score["value"], unit)])
            if (found := score["difference"]) is not None:
                shown = change(found["value"], unit)
                wanted_differences.append([measure_title(measure), score["model"], found["verdict"], shown])
    assert [[row[0], row[2], row[3]] for row in rows_of(page, "All scores")] == wanted_scores
    assert [row[:4] for row in rows_of(page, "Paired difference")] == wanted_differences


def test_csv_files_carry_the_exact_numbers_of_report_json(page: Tables, default_data: Mapping[str, Any]) -> None:
    scores = [
        (m["task"], m["metric"], s["model"], s["value"], s["low"], s["high"], s["n"])
        for m in default_data["ledger"]["measures"]
        for s in m["scores"]
    ]
    read = [
        (r["task"], r["metric"], r["model"], float(r["value"]), float(r["low"]), float(r["high"]), int(r["n"]))
        for r in file_of(page, "scores")
    ]
    assert read == scores
    detectable = [
        s["difference"]["smallest_detectable"]
        for m in default_data["ledger"]["measures"]
        for s in m["scores"]
        if s["difference"]
    ]
    assert [float(r["detectable"]) if r["detectable"] else None for r in file_of(page, "differences")] == detectable
    losses = [(e["step"], e["heldout_domain"], e["heldout_general"]) for e in default_data["training"]["evaluations"]]
    assert [tuple(map(float, r.values())) for r in file_of(page, "held-out")] == losses
    seconds = {name: f["seconds"] for name, f in default_data["run_facts"]["stages"].items()}
    merges = sum(s for name, s in seconds.items() if name.startswith("merge."))
    assert merges == pytest.approx(
        next(float(r["seconds"]) for r in file_of(page, "stages") if r["stage"] == "2 merges")
    )


def test_report_json_read_back_gives_the_same_page(default_data: Mapping[str, Any]) -> None:
    read_back = json.loads(canonical_json(default_data))
    assert render_page(read_back) == render_page(default_data)


def test_page_of_24_merges_is_small_and_has_every_merge(sweep_html: str, sweep_data: Mapping[str, Any]) -> None:
    assert len(sweep_html.encode()) < MAX_BYTES
    merges = [m["label"] for m in sweep_data["models"] if m["role"] == "merged"]
    assert len(merges) == 24
    assert [row[1] for row in rows_of(Tables(sweep_html), "Kept: share")] == merges


def test_a_run_too_large_for_one_page_keeps_what_is_drawn_and_says_so(sweep_data: Mapping[str, Any]) -> None:
    measures = [
        {**m, "task": f"{m['task']}{copy}"} for copy in ("", "_two", "_three") for m in sweep_data["ledger"]["measures"]
    ]
    shares = [
        {**s, "task": f"{s['task']}{copy}"} for copy in ("", "_two", "_three") for s in sweep_data["ledger"]["shares"]
    ]
    large = {**sweep_data, "ledger": {**sweep_data["ledger"], "measures": measures, "shares": shares}}
    html = render_page(large)
    assert len(html.encode()) < MAX_BYTES
    assert "report.json has every row" in html
    models = {row[2] for row in rows_of(Tables(html), "All scores")}
    assert models == {"base", "instruct", "control.domain_prompt", "cpt", sweep_data["verdict"]["chosen_merge"]}


def test_gates_stand_below_the_strip_with_their_lights(sweep_html: str) -> None:
    gates = re.findall(r'<li class="(met|unmet)"><b>([^<]*)</b> <code>([^<]*)</code>', sweep_html)
    assert [gate[0] for gate in gates] == ["met", "unmet"]
    assert [gate[1] for gate in gates] == ["✓ met", "✗ not met"]
    assert sweep_html.index("merged.domain &gt; cpt.domain") < sweep_html.index('id="pareto"')


def test_each_merge_has_the_command_that_makes_it_and_a_mark_that_leads_there(sweep_html: str) -> None:
    command = "adapt run runs/sec-sweep/recipe.lock.yaml --merge ties --set merge.weight=0.3 --set merge.density=0.5"
    assert f"<code>{command}</code>" in sweep_html
    assert set(re.findall(r'<a href="#(merge-\d+)"', sweep_html)) == set(re.findall(r'id="(merge-\d+)"', sweep_html))


def test_slices_show_every_merge_by_weight_and_density_when_they_vary(
    sweep_html: str, sweep_data: Mapping[str, Any], page: Tables
) -> None:
    gain = next(
        m for m in sweep_data["ledger"]["measures"] if m["task"] == sweep_data["verdict"]["gain_measure"]["task"]
    )
    values = {s["model"]: s["value"] for s in gain["scores"]}
    slices = file_of(Tables(sweep_html), "slices")
    assert len(slices) == 24
    for row in slices:
        assert f"{row['method']}-w{row['weight']}-d{row['density']}" == row["merge"]
        assert float(row[measure_title(gain)]) == values[row["merge"]]
    assert "slices.csv" not in page.files


def test_the_stability_gap_of_the_probe_is_told_and_marked(default_data: Mapping[str, Any], make_run: Any) -> None:
    html = render_page(default_data)
    gap = next(g for g in default_data["training"]["stability"] if g["curve"] == "sec_continuation")
    assert gap["found"]
    assert gap["began_at"] < gap["depth_at"] < gap["recovered_at"]
    assert gap["sentence"] in html
    assert 'class="band"' in html
    assert html.count('class="saved"') == 5  # every 100 of 600 steps, the end is no checkpoint


def test_speed_counts_operations_as_the_plan_does_and_leaves_the_share_of_peak_out(page: Tables) -> None:
    lines = {row["what"]: row["value"] for row in file_of(page, "speed")}
    rate = float(lines["training speed, whole stage"])
    assert rate == pytest.approx(2_457_600 / 3725)
    matrices = 4 * (4 * 128**2 + 3 * 128 * 352) + 2048 * 128
    operations = 6 * matrices + 6 * 4 * 128 * 256
    assert float(lines["training compute, whole stage"]) == pytest.approx(rate * operations)
    assert lines["share of peak (MFU)"] == ""
    shown = next(row for row in rows_of(page, "Speed") if row[0].startswith("share of peak"))
    assert "not known" in shown[1]


def test_mfu_is_the_share_of_the_matrix_product_that_was_measured(default_data: Mapping[str, Any]) -> None:
    facts = default_data["run_facts"]
    train = {**facts["stages"]["train"], "matmul_flops": 1e9}
    measured = {**default_data, "run_facts": {**facts, "stages": {**facts["stages"], "train": train}}}
    lines = {what: (text, value) for what, text, value in speed_lines(measured)}
    text, share = lines["share of peak (MFU)"]
    assert share == pytest.approx(lines["training compute, whole stage"][1] / 1e9)
    assert text.endswith("of 1 GFLOP/s in a matrix product")


def test_sources_and_licences_share_out_all_tokens(page: Tables, default_data: Mapping[str, Any]) -> None:
    rows = file_of(page, "sources")
    assert {(r["source"], r["license"]) for r in rows} >= {("sec.edgar", "public domain"), ("general.sample", "")}
    assert sum(float(r["token_share"]) for r in rows) == pytest.approx(1, abs=1e-4)
    domain = sum(float(r["token_share"]) for r in rows if r["corpus"] == "domain")
    assert domain == pytest.approx(0.95, abs=1e-3)


def test_every_document_of_every_source_is_accounted_for(page: Tables) -> None:
    rows = file_of(page, "accounts")
    assert [(r["corpus"], r["source"]) for r in rows] == [
        ("domain", "sec.edgar"), ("domain", "sec.sample"), ("domain", "all"), ("general", "general.sample"),
    ]  # fmt: skip
    for row in rows:
        assert int(row["seen"]) == sum(int(row[name]) for name in ("kept", "duplicates", "dropped"))
    assert rows[2]["seen"] == "424"
    assert rows[0]["licenses"] == "public domain, not stated"
    assert sum(float(r["text_share"]) for r in rows[:2]) == 1


def test_what_a_step_counted_besides_documents_stands_with_its_line_of_the_funnel(page: Tables) -> None:
    rows = page.by_caption["Documents of the domain corpus"]
    assert rows[0][:3] == ["step", "dropped because", "counted besides"]
    assert [row[2] for row in rows[1:]] == ["–", "lines 17", "–"]


def test_benchmark_items_that_were_looked_for_are_counted_by_task(page: Tables) -> None:
    rows = [row for row in file_of(page, "searched") if row["corpus"] == "domain"]
    assert [(r["task"], r["documents"], r["items"], r["searchable"], r["found"]) for r in rows] == [
        ("sec_qa", "dropped", "120", "118", "7"),
        ("own_task", "not looked for", "", "", ""),
    ]


def test_versions_name_the_libraries_and_the_packs(page: Tables) -> None:
    versions = {row["library"]: row["version"] for row in file_of(page, "versions")}
    assert versions == {"domadapt": "0.1.0", "domadapt-sec": "0.1.0", "torch": "2.13.0"}


def test_a_formula_in_a_name_stays_text_in_the_csv(make_run: Any) -> None:
    results = make_run(1)
    models = [replace(m, label="=1+1") if m.role == "merged" else m for m in results.models]
    files = Tables(render_page(report_data(replace(results, models=models)))).files
    assert "'=1+1" in files["scores.csv"]
    assert ",=1+1" not in files["scores.csv"]
