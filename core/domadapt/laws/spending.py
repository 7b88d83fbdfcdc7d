"""What little domain text, or given compute, is best spent on, with intervals: two uses of fitted laws."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from domadapt.errors import UsageError
from domadapt.laws import applications, crosslingual
from domadapt.laws.advice import share_range
from domadapt.laws.dcpt import DCPT
from domadapt.laws.intervals import interval
from domadapt.laws.study import Study, determined

if TYPE_CHECKING:
    Array = np.ndarray


def share_for_domain_text(study: Study, domain_tokens: float, params: float | None) -> dict[str, Any]:
    """The share, of those measured, at which so much domain text gives the least domain loss; that loss; all tokens.

    Raises UsageError for another law than D-CPT's, or without the size of model where the law has one, DataError when
    the measurements do not determine the loss there.
    """
    law = study.fit.law
    if not isinstance(law, DCPT) or law.name != DCPT.name:
        raise UsageError("law suggest: --domain-tokens is asked of the law dcpt")
    if law.sizes and params is None:
        raise UsageError("law suggest: the table has several sizes of model; wanted --params")

    def best(theta: Array) -> tuple[float, ...]:
        return applications.limited_data(law, theta, domain_tokens, params, max(low, 1e-3), high)

    low, high = share_range(study)
    share, loss = _with_intervals(study, best)
    tokens = domain_tokens / share["value"]
    determined(study, {"params": params, "tokens": tokens, "ratio": share["value"]})
    found: dict[str, Any] = {"domain_share": share, "domain_loss": loss, "tokens": tokens}
    if not low + 1e-6 < share["value"] < high - 1e-6:
        found["note"] = f"the least lies at an end of the shares measured ({low:g} to {high:g}); beyond it may be less"
    return found


def size_and_tokens(study: Study, compute: float, share: float | None) -> dict[str, Any]:
    """The size of model and the tokens with the least loss for so many FLOPs, C = 6 N D.

    share: of domain text, for the law D-CPT.  Raises UsageError for laws that know no size, DataError when the
    measurements do not determine the loss there.
    """
    law = study.fit.law
    if isinstance(law, crosslingual.CrossLingual):

        def best(theta: Array) -> tuple[float, ...]:
            b, beta, gamma = (float(value) for value in theta)
            return crosslingual.allocation(law.a, law.alpha, b, beta, gamma, compute)[:2]

    elif isinstance(law, DCPT) and law.name == DCPT.name:
        assert share is not None, "asked for before the fit"

        def best(theta: Array) -> tuple[float, ...]:
            return applications.allocation(law, theta, share, compute)

    else:
        raise UsageError("law suggest: --compute is asked of the laws dcpt and cross-lingual")
    params, tokens = _with_intervals(study, best)
    determined(study, {"params": params["value"], "tokens": tokens["value"], "ratio": share})
    return {"params": params, "tokens": tokens}


def _with_intervals(study: Study, best: Callable[[Array], tuple[float, ...]]) -> list[dict[str, float]]:
    values = best(study.fit.theta)
    low, high = interval(np.array([best(theta) for theta in study.ensemble.thetas]))
    return [{"value": v, "low": float(a), "high": float(b)} for v, a, b in zip(values, low, high, strict=True)]
