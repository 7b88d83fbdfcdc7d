"""Accounts of a sample company: quarterly income, cash flow and balance sheet that agree with each other.

Whole numbers in the unit of the statements, and cash is what is left over, so every total in a filing is
exactly the sum of its lines and every balance sheet balances. A year is the sum of its quarters.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from domadapt_sec.sample_industries import Economics, Industry

Amounts = Mapping[str, int]


@dataclass(frozen=True)
class Quarter:
    """Flows of three months and the balance at their end, amounts by key, in the unit of the statements."""

    year: int
    number: int
    flows: Amounts
    balance: Amounts


@dataclass(frozen=True)
class Accounts:
    """Consecutive quarters of one company; `unit` is dollars per unit (1,000 or 1,000,000)."""

    unit: int
    quarters: Sequence[Quarter]

    def flows(self, year: int, quarters: Sequence[int] = (1, 2, 3, 4)) -> dict[str, int]:
        """Sums of the flows over quarters of one year."""
        found = [q.flows for q in self.quarters if q.year == year and q.number in quarters]
        return {key: sum(flows[key] for flows in found) for key in found[0]}

    def balance(self, year: int, quarter: int = 4) -> Amounts:
        """The balance at the end of a quarter."""
        return next(q.balance for q in self.quarters if (q.year, q.number) == (year, quarter))


def simulate(industry: Industry, first_year: int, num_years: int, size: float, rng: random.Random) -> Accounts:
    """Run a company for some years. size: dollars of revenue in the first year."""
    unit = 1_000_000 if size > 1.5e9 else 1_000
    run = _bank if industry.model == "bank" else _commercial
    return Accounts(unit, run(industry.economics, first_year, num_years, size / unit, rng))


def _commercial(
    economics: Economics, first_year: int, num_years: int, revenue: float, rng: random.Random
) -> list[Quarter]:
    cost, overhead, research = (rng.uniform(*r) for r in (economics.cost, economics.overhead, economics.research))
    receivable_days, inventory_days = rng.uniform(*economics.receivable_days), rng.uniform(*economics.inventory_days)
    interest_rate, tax_rate, life = rng.uniform(0.045, 0.085), rng.uniform(0.24, 0.39), rng.uniform(9, 16)
    pays_dividends, buys_back = rng.random() < 0.55, rng.random() < 0.35
    plant = round(revenue * rng.uniform(*economics.plant))
    balance = {
        "cash": round(revenue * rng.uniform(0.03, 0.15)) + round(revenue * research * 0.6),
        "receivables": round(revenue * receivable_days / 365),
        "inventories": round(revenue * cost * inventory_days / 365),
        "prepaid": round(revenue * rng.uniform(0.008, 0.03)),
        "plant": plant,
        "goodwill": round(revenue * rng.uniform(0, 0.35)) if rng.random() < 0.6 else 0,
        "other_assets": round(revenue * rng.uniform(0.01, 0.06)),
        "payables": round(revenue * cost * rng.uniform(25, 50) / 365),
        "accrued": round(revenue * rng.uniform(0.04, 0.1)),
        "debt": round(revenue * rng.uniform(*economics.debt)),
        "other_liabilities": round(revenue * rng.uniform(0.01, 0.08)),
    }
    assets = sum(
        balance[k] for k in ("cash", "receivables", "inventories", "prepaid", "plant", "goodwill", "other_assets")
    )
    net_worth = assets - sum(balance[k] for k in ("payables", "accrued", "debt", "other_liabilities"))
    if net_worth < 0.2 * assets:
        balance["cash"] += round(0.2 * assets) - net_worth
        net_worth = round(0.2 * assets)
    balance["stock"] = round(net_worth * rng.uniform(0.2, 0.6)) + round(revenue * research)
    balance["retained"] = net_worth - balance["stock"]
    quarters, level = [], revenue / 4
    for year in range(first_year, first_year + num_years):
        growth = rng.uniform(*economics.growth)
        cost += rng.uniform(-0.018, 0.018)
        overhead *= rng.uniform(0.96, 1.04)
        tax_rate = min(0.42, max(0.19, tax_rate + rng.uniform(-0.02, 0.02)))
        for number, season in enumerate(economics.seasons, 1):
            level *= (1 + growth) ** 0.25
            sales = round(level * season * rng.uniform(0.97, 1.03))
            depreciation = round(balance["plant"] / life / 4)
            flows = {
                "revenue": sales,
                "cost": round(sales * cost * rng.uniform(0.985, 1.015)),
                "research": round(level * research * rng.uniform(0.95, 1.05)),
                "overhead": round(level * overhead * rng.uniform(0.96, 1.04)),
                "restructuring": round(level * rng.uniform(0.01, 0.05)) if rng.random() < 0.06 else 0,
                "interest": round(balance["debt"] * interest_rate / 4),
                "other_income": round(balance["cash"] * rng.uniform(0.002, 0.009)),
                "depreciation": depreciation,
                "stock_compensation": round(level * rng.uniform(0.004, 0.012)),
            }
            pretax = _pretax(flows)
            flows["pretax"] = pretax
            flows["tax"] = round(pretax * tax_rate) if pretax > 0 else 0
            flows["net"] = pretax - flows["tax"]
            after = dict(balance)
            after["receivables"] = round(sales * 4 * receivable_days / 365 * rng.uniform(0.94, 1.06))
            after["inventories"] = round(flows["cost"] * 4 * inventory_days / 365 * rng.uniform(0.93, 1.07))
            after["payables"] = max(0, balance["payables"] + round(flows["cost"] * rng.uniform(-0.03, 0.035)))
            after["accrued"] = max(0, balance["accrued"] + round(sales * rng.uniform(-0.012, 0.014)))
            flows["capital_spending"] = round(depreciation * rng.uniform(0.75, 1.45))
            flows["acquisitions"] = (
                round(level * rng.uniform(0.2, 0.6)) if rng.random() < 0.05 and flows["net"] > 0 else 0
            )
            after["prepaid"] = max(1, balance["prepaid"] + round(level * rng.uniform(-0.006, 0.007)))
            after["other_assets"] = max(1, balance["other_assets"] + round(level * rng.uniform(-0.01, 0.011)))
            after["other_liabilities"] = max(1, balance["other_liabilities"] + round(level * rng.uniform(-0.009, 0.01)))
            flows["change_other"] = (
                balance["prepaid"] + balance["other_assets"] + after["other_liabilities"]
                - after["prepaid"] - after["other_assets"] - balance["other_liabilities"]
            )  # fmt: skip
            after["plant"] = balance["plant"] + flows["capital_spending"] - depreciation
            after["goodwill"] = balance["goodwill"] + flows["acquisitions"]
            flows["change_receivables"] = balance["receivables"] - after["receivables"]
            flows["change_inventories"] = balance["inventories"] - after["inventories"]
            flows["change_payables"] = after["payables"] - balance["payables"] + after["accrued"] - balance["accrued"]
            flows["dividends"] = round(max(0, flows["net"]) * 0.3) if pays_dividends else 0
            flows["repurchases"] = round(flows["net"] * 0.25) if buys_back and flows["net"] > 0 else 0
            _finance(flows, balance, after, level, research)
            balance = after
            quarters.append(Quarter(year, number, flows, balance))
    return quarters


def _pretax(flows: Amounts) -> int:
    costs = sum(flows[k] for k in ("cost", "research", "overhead", "restructuring", "interest"))
    return flows["revenue"] - costs + flows["other_income"]


def _finance(flows: dict[str, int], before: Amounts, after: dict[str, int], level: float, research: float) -> None:
    """Borrow, repay or issue shares so that cash stays sensible; fill in the totals of the cash flow."""
    flows["operating_cash"] = sum(
        flows[k]
        for k in (
            "net",
            "depreciation",
            "stock_compensation",
            "change_receivables",
            "change_inventories",
            "change_payables",
            "change_other",
        )
    )
    flows["investing_cash"] = -flows["capital_spending"] - flows["acquisitions"]
    left = (
        before["cash"] + flows["operating_cash"] + flows["investing_cash"] - flows["dividends"] - flows["repurchases"]
    )
    floor = round(level * (0.15 + 2 * research))
    need = max(0, floor - left)
    flows["shares_issued"] = need + floor if need and research > 1 else 0
    flows["borrowings"] = need if need and research <= 1 else -min(before["debt"], max(0, left - 3 * floor) // 3)
    flows["financing_cash"] = flows["borrowings"] + flows["shares_issued"] - flows["dividends"] - flows["repurchases"]
    flows["change_cash"] = flows["operating_cash"] + flows["investing_cash"] + flows["financing_cash"]
    after["cash"] = before["cash"] + flows["change_cash"]
    after["debt"] = before["debt"] + flows["borrowings"]
    after["stock"] = before["stock"] + flows["stock_compensation"] + flows["shares_issued"]
    after["retained"] = before["retained"] + flows["net"] - flows["dividends"] - flows["repurchases"]


def _bank(economics: Economics, first_year: int, num_years: int, income: float, rng: random.Random) -> list[Quarter]:
    loan_yield, deposit_rate = rng.uniform(0.05, 0.078), rng.uniform(0.008, 0.03)
    securities_share, charge_offs = rng.uniform(0.15, 0.3), rng.uniform(0.0008, 0.004)
    fees, expenses, tax_rate = rng.uniform(0.1, 0.25), rng.uniform(*economics.overhead), rng.uniform(0.22, 0.34)
    loans = round(income / loan_yield * 0.85)
    balance = {
        "cash": round(loans * rng.uniform(0.04, 0.09)),
        "securities": round(loans * securities_share),
        "loans": loans,
        "allowance": round(loans * rng.uniform(0.011, 0.017)),
        "premises": round(loans * rng.uniform(0.015, 0.03)),
        "goodwill": round(loans * 0.02) if rng.random() < 0.5 else 0,
        "other_assets": round(loans * rng.uniform(0.01, 0.03)),
        "borrowings_owed": round(loans * rng.uniform(0.04, 0.14)),
        "other_liabilities": round(loans * rng.uniform(0.008, 0.02)),
        "stock": round(loans * rng.uniform(0.03, 0.06)),
        "retained": round(loans * rng.uniform(0.05, 0.09)),
    }
    held = sum(balance[k] for k in ("cash", "securities", "loans", "premises", "goodwill", "other_assets"))
    owed = sum(balance[k] for k in ("borrowings_owed", "other_liabilities", "stock", "retained"))
    balance["deposits"] = held - balance["allowance"] - owed
    quarters = []
    for year in range(first_year, first_year + num_years):
        growth = rng.uniform(*economics.growth)
        loan_yield *= rng.uniform(0.95, 1.05)
        deposit_rate *= rng.uniform(0.9, 1.1)
        tax_rate += rng.uniform(-0.015, 0.015)
        for number in (1, 2, 3, 4):
            lost = round(balance["loans"] * charge_offs / 4 * rng.uniform(0.4, 1.7))
            flows = {
                "loan_income": round(balance["loans"] * loan_yield / 4 * rng.uniform(0.99, 1.01)),
                "securities_income": round(balance["securities"] * loan_yield * 0.7 / 4),
                "deposit_expense": round(balance["deposits"] * deposit_rate / 4 * rng.uniform(0.98, 1.02)),
                "borrowing_expense": round(balance["borrowings_owed"] * deposit_rate * 1.6 / 4),
                "provision": round(lost * rng.uniform(0.7, 1.6)),
                "charge_offs": lost,
            }
            flows["revenue"] = flows["loan_income"] + flows["securities_income"]
            flows["cost"] = flows["deposit_expense"] + flows["borrowing_expense"]
            flows["net_interest"] = flows["revenue"] - flows["cost"]
            flows["fees"] = round(flows["net_interest"] * fees * rng.uniform(0.9, 1.1))
            flows["overhead"] = round(
                (flows["net_interest"] + flows["fees"]) * (expenses + 0.28) * rng.uniform(0.97, 1.03)
            )
            flows["pretax"] = flows["net_interest"] - flows["provision"] + flows["fees"] - flows["overhead"]
            flows["tax"] = max(0, round(flows["pretax"] * tax_rate))
            flows["net"] = flows["pretax"] - flows["tax"]
            flows["dividends"] = round(max(0, flows["net"]) * 0.35)
            after = dict(balance)
            after["deposits"] = round(balance["deposits"] * (1 + growth / 4 + rng.uniform(-0.01, 0.012)))
            after["borrowings_owed"] = round(balance["borrowings_owed"] * rng.uniform(0.95, 1.05))
            funds = after["deposits"] + after["borrowings_owed"] - balance["deposits"] - balance["borrowings_owed"]
            after["securities"] = round(balance["securities"] * rng.uniform(0.98, 1.03))
            lent = round(funds * 0.8)
            after["loans"] = balance["loans"] + lent - lost
            after["allowance"] = balance["allowance"] + flows["provision"] - lost
            after["stock"] = balance["stock"]
            after["retained"] = balance["retained"] + flows["net"] - flows["dividends"]
            flows["operating_cash"] = flows["net"] + flows["provision"]
            flows["investing_cash"] = -lent - after["securities"] + balance["securities"]
            flows["financing_cash"] = funds - flows["dividends"]
            flows["change_cash"] = flows["operating_cash"] + flows["investing_cash"] + flows["financing_cash"]
            after["cash"] = balance["cash"] + flows["change_cash"]
            balance = after
            quarters.append(Quarter(year, number, flows, balance))
    return quarters
