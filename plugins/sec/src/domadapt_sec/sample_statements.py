"""Financial statements of a sample company as tables: income, balance sheet, cash flows, segments, quarters.

Rows that are zero in every column are left out, as filers do. Totals are computed from the rows shown, not
copied from the simulation, so a table that adds up is evidence that the simulation does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from domadapt_sec.sample_company import Company
from domadapt_sec.sample_prose import calendar_year, date, quarter_end

Value = int | str | None


@dataclass(frozen=True)
class Row:
    """A line of a table. concept: its name in the us-gaap taxonomy, "" when it is not tagged."""

    label: str
    values: tuple[Value, ...] = ()
    concept: str = ""
    total: bool = False


@dataclass(frozen=True)
class Table:
    """A statement. note: the unit, as printed below the title."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


# (label, key, sign, concept); keys as in `sample_accounts`
COSTS = (
    ("Research and development", "research", "ResearchAndDevelopmentExpense"),
    ("Selling, general and administrative", "overhead", "SellingGeneralAndAdministrativeExpense"),
    ("Restructuring charges", "restructuring", "RestructuringCharges"),
)
CURRENT_ASSETS = (
    ("Cash and cash equivalents", "cash", "CashAndCashEquivalentsAtCarryingValue"),
    ("Accounts receivable, net", "receivables", "AccountsReceivableNetCurrent"),
    ("Inventories", "inventories", "InventoryNet"),
    ("Prepaid expenses and other", "prepaid", "PrepaidExpenseAndOtherAssetsCurrent"),
)
OTHER_ASSETS = (
    ("Property and equipment, net", "plant", "PropertyPlantAndEquipmentNet"),
    ("Goodwill", "goodwill", "Goodwill"),
    ("Other assets", "other_assets", "OtherAssetsNoncurrent"),
)
CURRENT_LIABILITIES = (
    ("Accounts payable", "payables", "AccountsPayableCurrent"),
    ("Accrued liabilities", "accrued", "AccruedLiabilitiesCurrent"),
)
OTHER_LIABILITIES = (
    ("Long-term debt", "debt", "LongTermDebtNoncurrent"),
    ("Other liabilities", "other_liabilities", "OtherLiabilitiesNoncurrent"),
)
EQUITY = (
    ("Common stock and additional paid-in capital", "stock", "CommonStocksIncludingAdditionalPaidInCapital"),
    ("Retained earnings (accumulated deficit)", "retained", "RetainedEarningsAccumulatedDeficit"),
)
BANK_ASSETS = (
    ("Cash and due from banks", "cash", "CashAndDueFromBanks"),
    ("Investment securities", "securities", "AvailableForSaleSecuritiesDebtSecurities"),
    ("Loans", "loans", "LoansAndLeasesReceivableGrossCarryingAmount"),
    ("Less allowance for loan losses", "-allowance", ""),
    ("Premises and equipment", "premises", "PropertyPlantAndEquipmentNet"),
    ("Goodwill", "goodwill", "Goodwill"),
    ("Other assets", "other_assets", "OtherAssets"),
)
BANK_LIABILITIES = (
    ("Deposits", "deposits", "Deposits"),
    ("Borrowings", "borrowings_owed", "OtherBorrowings"),
    ("Other liabilities", "other_liabilities", "OtherLiabilities"),
)
OPERATING = (
    ("Net income (loss)", "net", "NetIncomeLoss"),
    ("Depreciation and amortization", "depreciation", "DepreciationDepletionAndAmortization"),
    ("Stock-based compensation", "stock_compensation", "ShareBasedCompensation"),
    ("Provision for loan losses", "provision", "ProvisionForLoanAndLeaseLosses"),
    ("Change in accounts receivable", "change_receivables", ""),
    ("Change in inventories", "change_inventories", ""),
    ("Change in accounts payable and accrued liabilities", "change_payables", ""),
    ("Other, net", "change_other", ""),
)
INVESTING = (
    ("Capital expenditures", "-capital_spending", "PaymentsToAcquirePropertyPlantAndEquipment"),
    ("Acquisitions, net of cash acquired", "-acquisitions", "PaymentsToAcquireBusinessesNetOfCashAcquired"),
)
FINANCING = (
    ("Net borrowings (repayments) of debt", "borrowings", "ProceedsFromRepaymentsOfDebt"),
    ("Proceeds from issuance of common stock", "shares_issued", "ProceedsFromIssuanceOfCommonStock"),
    ("Repurchases of common stock", "-repurchases", "PaymentsForRepurchaseOfCommonStock"),
    ("Dividends paid", "-dividends", "PaymentsOfDividends"),
)

Lines = Sequence[tuple[str, str, str]]
Periods = Sequence[Mapping[str, int]]


def unit_note(company: Company, per_share: bool = False) -> str:
    """(In thousands, except per share data)."""
    unit = "thousands" if company.accounts.unit == 1_000 else "millions"
    return f"(In {unit}, except per share data)" if per_share else f"(In {unit})"


def _values(key: str, periods: Periods) -> tuple[int, ...]:
    sign, key = (-1, key[1:]) if key.startswith("-") else (1, key)
    return tuple(sign * p.get(key, 0) for p in periods)


def _rows(lines: Lines, periods: Periods) -> list[Row]:
    rows = [Row(label, _values(key, periods), concept) for label, key, concept in lines]
    return [row for row in rows if any(row.values)]


def _sum(label: str, rows: Iterable[Row], concept: str = "") -> Row:
    columns = zip(*(row.values for row in rows), strict=True)
    return Row(label, tuple(sum(v for v in column if isinstance(v, int)) for column in columns), concept, total=True)


def _minus(label: str, first: Row, second: Row, concept: str = "") -> Row:
    pairs = zip(first.values, second.values, strict=True)
    return Row(label, tuple(int(a or 0) - int(b or 0) for a, b in pairs), concept, total=True)


def income(company: Company, periods: Periods, columns: tuple[str, ...], title: str) -> Table:
    """The statement of operations (of income, for a bank) for the given periods."""
    rows = _bank_income(company, periods) if company.industry.model == "bank" else _income(company, periods)
    unit, shares = company.accounts.unit, company.shares
    net = rows[-1].values
    per_share = tuple(signed(int(v or 0) * unit / shares) for v in net)
    rows.append(Row("Net income (loss) per share", per_share, "EarningsPerShareDiluted"))
    return Table(title, unit_note(company, per_share=True), columns, tuple(rows))


def signed(amount: float) -> str:
    """Dollars and cents, negative in brackets."""
    return f"({-amount:.2f})" if round(amount, 2) < 0 else f"{amount:.2f}"


def _income(company: Company, periods: Periods) -> list[Row]:
    revenue = Row(company.industry.revenue, _values("revenue", periods), "Revenues")
    cost = Row(company.industry.cost, _values("cost", periods), "CostOfRevenue")
    gross = _minus("Gross profit", revenue, cost, "GrossProfit")
    costs = _rows(COSTS, periods)
    expenses = _sum("Total operating expenses", costs, "OperatingExpenses")
    operating = _minus("Operating income (loss)", gross, expenses, "OperatingIncomeLoss")
    interest = Row("Interest expense", _values("-interest", periods), "InterestExpense")
    other = Row("Other income, net", _values("other_income", periods), "OtherNonoperatingIncomeExpense")
    pretax = _sum("Income (loss) before income taxes", (operating, interest, other))
    tax = Row("Provision for income taxes", _values("tax", periods), "IncomeTaxExpenseBenefit")
    net = _minus("Net income (loss)", pretax, tax, "NetIncomeLoss")
    shown = [revenue, cost, gross, *costs, expenses, operating, interest, other, pretax, tax, net]
    return [row for row in shown if any(row.values)]


def _bank_income(company: Company, periods: Periods) -> list[Row]:
    earned = _rows(
        (("Interest and fees on loans", "loan_income", ""), ("Interest on securities", "securities_income", "")),
        periods,
    )
    paid = _rows(
        (("Interest on deposits", "deposit_expense", ""), ("Interest on borrowings", "borrowing_expense", "")), periods
    )
    total_earned = _sum(company.industry.revenue, earned, "InterestAndDividendIncomeOperating")
    total_paid = _sum(company.industry.cost, paid, "InterestExpense")
    spread = _minus("Net interest income", total_earned, total_paid, "InterestIncomeExpenseNet")
    provision = Row("Provision for loan losses", _values("provision", periods), "ProvisionForLoanAndLeaseLosses")
    after = _minus("Net interest income after provision for loan losses", spread, provision)
    fees = Row("Noninterest income", _values("fees", periods), "NoninterestIncome")
    overhead = Row("Noninterest expense", _values("overhead", periods), "NoninterestExpense")
    pretax = _minus("Income before income taxes", _sum("", (after, fees)), overhead)
    tax = Row("Income tax expense", _values("tax", periods), "IncomeTaxExpenseBenefit")
    net = _minus("Net income", pretax, tax, "NetIncomeLoss")
    return [*earned, total_earned, *paid, total_paid, spread, provision, after, fees, overhead, pretax, tax, net]


def balance_sheet(company: Company, ends: Sequence[tuple[int, int]], title: str) -> Table:
    """The balance sheet at the ends of the given (year, quarter)s."""
    periods = [company.accounts.balance(year, quarter) for year, quarter in ends]
    if company.industry.model == "bank":
        assets = _rows(BANK_ASSETS, periods)
        liabilities = _rows(BANK_LIABILITIES, periods)
        rows = [Row("ASSETS"), *assets]
        owed = [Row("LIABILITIES AND STOCKHOLDERS' EQUITY"), *liabilities]
    else:
        current, other = _rows(CURRENT_ASSETS, periods), _rows(OTHER_ASSETS, periods)
        due, later = _rows(CURRENT_LIABILITIES, periods), _rows(OTHER_LIABILITIES, periods)
        assets, liabilities = current + other, due + later
        rows = [Row("ASSETS"), *current, _sum("Total current assets", current, "AssetsCurrent"), *other]
        owed = [Row("LIABILITIES AND STOCKHOLDERS' EQUITY"), *due]
        owed += [_sum("Total current liabilities", due, "LiabilitiesCurrent"), *later]
    total_owed = _sum("Total liabilities", liabilities, "Liabilities")
    equity = _rows(EQUITY, periods)
    total_equity = _sum("Total stockholders' equity", equity, "StockholdersEquity")
    both = _sum(
        "Total liabilities and stockholders' equity", (total_owed, total_equity), "LiabilitiesAndStockholdersEquity"
    )
    rows += [_sum("Total assets", assets, "Assets"), *owed, total_owed, *equity, total_equity, both]
    columns = tuple(date(calendar_year(company, y, q), *quarter_end(company, q)) for y, q in ends)
    return Table(title, unit_note(company), columns, tuple(rows))


def cash_flows(
    company: Company, periods: Periods, starts: Sequence[int], columns: tuple[str, ...], title: str
) -> Table:
    """The statement of cash flows. starts: cash at the beginning of each period."""
    operating = _rows(OPERATING, periods)
    invested, financed = _rows(INVESTING, periods), _rows(FINANCING, periods)
    if company.industry.model == "bank":
        invested = [Row("Net increase in loans and securities", _values("investing_cash", periods))]
        lent = tuple(p["financing_cash"] + p["dividends"] for p in periods)
        financed = [Row("Net change in deposits and borrowings", lent), *_rows(FINANCING[-1:], periods)]
    totals = [
        _sum(
            "Net cash provided by (used in) operating activities",
            operating,
            "NetCashProvidedByUsedInOperatingActivities",
        ),
        _sum("Net cash used in investing activities", invested, "NetCashProvidedByUsedInInvestingActivities"),
    ]
    rows = [*operating, totals[0], *invested, totals[1], *financed]
    if financed:
        label = "Net cash provided by (used in) financing activities"
        totals.append(_sum(label, financed, "NetCashProvidedByUsedInFinancingActivities"))
        rows.append(totals[-1])
    change = _sum("Net change in cash and cash equivalents", totals)
    start = Row("Cash and cash equivalents at beginning of period", tuple(starts))
    end = _sum("Cash and cash equivalents at end of period", (change, start))
    return Table(title, unit_note(company), columns, (*rows, change, start, end))


def segment_revenue(company: Company, periods: Periods, columns: tuple[str, ...]) -> Table:
    """Revenue by segment; the last segment is what the others leave."""
    revenue = _values("revenue", periods)
    rows, left = [], revenue
    for number, segment in enumerate(company.segments[:-1], 1):
        share = 0.62 - 0.2 * number + (company.cik % 97) / 970
        values = tuple(round(v * (share + 0.01 * i)) for i, v in enumerate(revenue))
        left = tuple(a - b for a, b in zip(left, values, strict=True))
        rows.append(Row(segment, values))
    rows.append(Row(company.segments[-1], left))
    return Table(
        "Revenue by segment", unit_note(company), columns, (*rows, _sum(company.industry.revenue, rows, "Revenues"))
    )
