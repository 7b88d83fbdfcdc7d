"""What the D-CPT law is for: the ratio under a bound, with little domain data, and the best use of compute.

Source: Que et al. 2024, arXiv 2406.01375, section 4.4 ("usages").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from domadapt.errors import DataError
from domadapt.laws.dcpt import DCPT, PARAMS, RATIO, TOKENS
from domadapt.laws.fitting import predict

if TYPE_CHECKING:
    Array = np.ndarray

GRID = 2001
"""Shares at which a curve is looked at before a root is refined."""


def trade_off(general: Callable[[Array], Array], bound: float, low: float = 0.0, high: float = 1.0) -> float | None:
    """The largest domain share at which the general loss is within a bound; None where none is.

    general: general losses by domain shares.  low, high: the shares to choose from.
    Source: arXiv 2406.01375, section 4.4, usage 1: max r_d subject to L_g(N, D, 1 - r_d) <= (1 + T) L_g0.
    """
    from scipy.optimize import brentq

    shares = np.linspace(low, high, GRID)
    kept = np.flatnonzero(general(shares) <= bound)
    if not len(kept):
        return None
    last = int(kept[-1])
    if last == GRID - 1:
        return high

    def above(share: float) -> float:
        return float(general(np.array([share]))[0]) - bound

    return float(brentq(above, shares[last], shares[last + 1], xtol=1e-12))


def limited_data(
    law: DCPT,
    theta: Array,
    domain_tokens: float,
    params: float | None = None,
    low: float = 1e-3,
    high: float = 1.0,
) -> tuple[float, float]:
    """(domain share, domain loss) that a fixed amount of domain text gives the least loss at: D = D_d / r.

    domain_tokens: in the unit of the fit.  params: of the model, where the law has its size.  low, high: the shares
    to choose from.
    Source: arXiv 2406.01375, section 4.4, usage 2: L_d(N, D_d/r, r) is minimised over r; at an end when the loss
    still falls there.
    """
    from scipy.optimize import minimize_scalar

    def loss(share: Array) -> Array:
        at = {TOKENS: domain_tokens / share, RATIO: share}
        return predict(law, theta, at if params is None else {**at, PARAMS: params})

    shares = np.linspace(low, high, GRID)
    best = int(np.argmin(loss(shares)))
    found = minimize_scalar(
        lambda share: float(loss(np.asarray(share))),
        bounds=(shares[max(0, best - 1)], shares[min(GRID - 1, best + 1)]),
        method="bounded",
        options={"xatol": 1e-12},
    )
    candidates = [(float(found.fun), float(found.x)), *((float(loss(np.asarray(end))), end) for end in (low, high))]
    least, share = min(candidates)
    return share, least


def allocation(law: DCPT, theta: Array, ratio: float, compute: float) -> tuple[float, float]:
    """(parameters, tokens) with the least loss for C = 6 N D at a fixed ratio, in the units of the fit.

    N_opt = G (C/6)^(beta/(alpha+beta)), D_opt = (C/6)/N_opt, G = (alpha A / (beta B r^eta))^(1/(alpha+beta)).
    Source: arXiv 2406.01375, section 4.4, usage 3.
    Raises DataError for a law that was fitted to one size of model.
    """
    if not law.sizes:
        raise DataError("law dcpt: one size of model was measured; what compute is best spent on needs three")
    p = dict(zip((p.name for p in law.parameters), theta, strict=True))
    exponent = p["alpha"] + p["beta"]
    g = (p["alpha"] * p["A"] / (p["beta"] * p["B"] * ratio ** p["eta"])) ** (1 / exponent)
    params = g * (compute / 6) ** (p["beta"] / exponent)
    return float(params), float(compute / 6 / params)


def least_tokens(law: DCPT, theta: Array, ratio: float) -> float:
    """D_min(r): with fewer tokens the law says that a larger share of the corpus makes its own loss worse.

    D_min = [B eta r^(eta-1) (r+eps)^(gamma+1) / (C gamma)]^(1/beta), from dL/dr < 0, one of the paper's demands on
    a law (section 3.1, "explicit trends"). A fit to data with fewer tokens than D_min(1) breaks it.
    """
    p = dict(zip((p.name for p in law.parameters), theta, strict=True))
    log = (
        np.log(p["B"] * p["eta"] / (p["C"] * p["gamma"]))
        + (p["eta"] - 1) * np.log(ratio)
        + (p["gamma"] + 1) * np.log(ratio + p["eps"])
    )
    return float(np.exp(min(log / p["beta"], 700.0)))
