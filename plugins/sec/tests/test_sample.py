"""The sample source: deterministic, varied, in every format of EDGAR, and with numbers that agree."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from domadapt_sec.sample import SampleSource, sample_files, submissions
from domadapt_sec.sample_company import companies, reserved
from domadapt_sec.sample_industries import industries

Row = dict[str, Any]


def read(**options: int) -> tuple[list[Row], Counter[str]]:
    rejected: Counter[str] = Counter()
    source = SampleSource(SampleSource.Config(**options))
    rows = [row for batch in source.read(lambda reason, where: rejected.update([reason])) for row in batch.to_pylist()]
    return rows, rejected


@pytest.fixture(scope="module")
def default() -> tuple[list[Row], Counter[str]]:
    return read()


def form(row: Row) -> str:
    return str(json.loads(row["meta"])["form"])


def test_the_same_options_give_the_same_files_in_another_process() -> None:
    code = (
        "import hashlib; from domadapt_sec.sample import sample_files as f;"
        "print(hashlib.sha256(b''.join(x.name.encode() + x.data for x in f(3, 9))).hexdigest())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, **_path()},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1


def _path() -> dict[str, str]:
    return {"PYTHONPATH": ":".join(sys.path)}


def test_another_seed_gives_other_companies() -> None:
    names = [{company.name for company in companies(seed, 40)} for seed in (0, 1)]
    assert len(names[0] & names[1]) <= 4


def test_the_fingerprint_follows_the_options_and_needs_no_files() -> None:
    def fingerprint(**options: int) -> str:
        return SampleSource(SampleSource.Config(**options)).fingerprint()

    assert fingerprint() == fingerprint(companies=108, seed=0)
    assert len({fingerprint(), fingerprint(seed=1), fingerprint(companies=5)}) == 3


def test_the_default_has_over_300_documents_of_over_100_companies_and_about_two_megabytes(
    default: tuple[list[Row], Counter[str]],
) -> None:
    rows, _ = default
    assert 330 <= len(rows) <= 430
    assert len({row["group"] for row in rows}) >= 100
    assert 1.8e6 <= sum(len(row["text"].encode()) for row in rows) <= 2.6e6
    assert {form(row) for row in rows} >= {"10-K", "10-K/A", "10-Q", "8-K", "EX-99.1"}


def test_ids_are_unique_but_for_the_planted_exact_refilings(default: tuple[list[Row], Counter[str]]) -> None:
    rows, _ = default
    texts = {row["text"] for row in rows}
    assert len({row["id"] for row in rows}) == len(rows)
    assert len(rows) - 6 <= len(texts) < len(rows)


def test_pictures_and_xbrl_data_are_rejected_and_counted(default: tuple[list[Row], Counter[str]]) -> None:
    _, rejected = default
    assert rejected["uuencoded"] >= 5
    assert rejected["XBRL or XML data"] >= 5
    assert set(rejected) == {"uuencoded", "XBRL or XML data"}


def test_no_markup_of_any_format_is_left_in_the_text(default: tuple[list[Row], Counter[str]]) -> None:
    for row in default[0]:
        assert not re.search(r"</?[A-Za-z][^ ]*>|&#?\w+;|\{\w+\}|us-gaap|contextRef|PRIVACY-ENHANCED", row["text"]), (
            row["id"]
        )


def test_every_format_of_edgar_is_made() -> None:
    files = list(sample_files(0, 108))
    data = b"\n".join(file.data for file in files)
    for mark in (
        b"<SEC-HEADER>", b"<SUBMISSION>", b"-----BEGIN PRIVACY-ENHANCED MESSAGE-----", b"<ix:hidden>", b"<FONT SIZE=2>",
        b"<PAGE>", b"<CAPTION>", b'"item_1A"', b"begin 644 logo.gif", b"<TYPE>EX-101.INS",
    ):  # fmt: skip
        assert mark in data, mark
    assert {name.rpartition(".")[2] for name in (file.name for file in files)} >= {
        "txt",
        "nc",
        "htm",
        "json",
        "xz",
        "gz",
        "zip",
    }


def test_near_duplicate_removal_keeps_nearly_all_and_finds_the_planted_ones(
    default: tuple[list[Row], Counter[str]],
) -> None:
    from rensa import RMinHash, RMinHashLSH

    rows, _ = default
    index = RMinHashLSH(threshold=0.72, num_perm=112, num_bands=14)
    dropped = []
    for number, row in enumerate(rows):
        words = row["text"].lower().split()
        minhash = RMinHash(num_perm=112, seed=1)
        minhash.update([" ".join(words[i : i + 5]) for i in range(max(1, len(words) - 4))])
        if index.query(minhash):
            dropped.append(form(row))
        else:
            index.insert(number, minhash)
    assert len(dropped) <= 0.1 * len(rows)
    assert dropped.count("10-K/A") >= 2
    assert dropped.count("10-K") >= 2


FIGURE = r"\$?[ \t]*(\(?[\d,]+\)?)"


def figures(label: str, text: str) -> list[tuple[int, ...]]:
    """The two figures of each line that begins with a label, in order."""
    found = re.findall(rf"^{re.escape(label)}[ \t]+{FIGURE}[ \t]+{FIGURE}", text, re.MULTILINE)
    return [tuple(-value(v) if v.startswith("(") else value(v) for v in pair) for pair in found]


def value(text: str) -> int:
    return int(text.strip("()").replace(",", ""))


def test_balance_sheets_balance_in_the_text(default: tuple[list[Row], Counter[str]]) -> None:
    checked = 0
    for row in default[0]:
        text = re.sub(r"\n  (?=equity)", " ", row["text"])
        assets = figures("Total assets", text)
        liabilities, equity = figures("Total liabilities", text), figures("Total stockholders' equity", text)
        for a, b, c in zip(assets, liabilities, equity, strict=True):
            assert a == tuple(map(sum, zip(b, c, strict=True))), row["id"]
            checked += 1
    assert checked > 150


def test_the_change_of_cash_joins_the_balance_sheets(default: tuple[list[Row], Counter[str]]) -> None:
    checked = 0
    for row in default[0]:
        ends = figures("Cash and cash equivalents at end of period", row["text"])
        cash = figures("Cash and cash equivalents", row["text"]) or figures("Cash and due from banks", row["text"])
        if ends and form(row) == "10-K":
            assert ends[0] == cash[0], row["id"]
            checked += 1
    assert checked > 20


def test_percentages_in_the_discussion_follow_from_the_table() -> None:
    checked = 0
    for company in companies(0, 14):
        if company.industry.model != "commercial":
            continue
        flows = [company.accounts.flows(y)["revenue"] for y in (company.filing_year, company.filing_year - 1)]
        report = next(s for s in submissions(0, 14) if s.company.cik == company.cik and s.form == "10-K")
        text = " ".join(
            b for s in report.documents[0].sections if s.number == "7" for b in s.blocks if isinstance(b, str)
        )
        expected = f"{abs(flows[0] / flows[1] - 1) * 100:.1f}%"
        checked += expected in text
    assert checked >= 8


def test_every_industry_has_companies_whose_names_are_free_for_the_sample() -> None:
    made = list(companies(5, 30))
    assert {company.industry.key for company in made} == {industry.key for industry in industries()}
    assert len(industries()) >= 10
    assert len({company.cik for company in made}) == len({company.name for company in made}) == 30
    assert not any(reserved(company.short) for company in made)


@pytest.mark.parametrize("seed", range(3))
def test_accounts_of_any_seed_balance(seed: int) -> None:
    rng = random.Random(seed)
    for company in companies(rng.randrange(10**6), 28):
        debts = ("payables", "accrued", "debt", "deposits", "borrowings_owed", "other_liabilities", "stock", "retained")
        for quarter in company.accounts.quarters:
            owed = sum(quarter.balance.get(key, 0) for key in debts)
            owned = sum(v for key, v in quarter.balance.items() if key not in (*debts, "allowance"))
            assert owned - quarter.balance.get("allowance", 0) == owed
            assert quarter.balance["cash"] >= 0
