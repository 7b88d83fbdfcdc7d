"""Whether the measurements determine a prediction, whatever they say of single parameters.

Exponents and amplitudes of these laws trade against each other, and a parameter may end where nothing depends on it
(eps of D-CPT at 0). That forbids nothing. What counts is whether the loss that is asked for depends on a direction of
the parameters that no measurement sees: there a refit that starts from the fit would stay where it is, and its
interval would look narrow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from domadapt.laws.fitting import Fit, Problem
from domadapt.laws.law import Inputs

if TYPE_CHECKING:
    Array = np.ndarray

FLAT = 1e-7
"""Singular values of the Jacobian below this share of the largest: directions that no measurement sees."""
PART = 0.1
"""Parameters with a smaller part in such a direction are not named."""
ROUNDING = 1e-6
"""Relative error that the most exact losses have: they come with six or seven digits."""


def unseen(fit: Fit, measured: Inputs) -> list[str]:
    """Parameters, or groups of them ("C, eps"), that could be others without changing a loss that was measured."""
    scale, values, directions, _ = _directions(fit, measured)
    names = [p.name for p in fit.law.parameters]
    found = [name for name, size in zip(names, scale, strict=True) if size < FLAT * scale.max()]
    for value, direction in zip(values, directions, strict=True):
        mixed = [name for name, part in zip(names, direction, strict=True) if abs(part) > PART]
        if value < FLAT * values[0] and not set(mixed) & set(found):
            found.append(", ".join(mixed))
    return found


def standard_error(fit: Fit, measured: Inputs, asked: Mapping[str, Any]) -> tuple[float, str]:
    """Relative standard error of the loss at one point, and the parameter that it owes most to.

    The delta method: sigma sqrt(c' (J J')^-1 c) with J the Jacobian of the log losses measured, c that of the one asked
    for, sigma the residuals' standard deviation. It is immense where c lies in a direction that J does not see.
    """
    scale, values, directions, problem = _directions(fit, measured)
    z, logs = problem.locate(fit)
    freedom = max(1, len(logs) - len(z))
    sigma = max(float(np.sqrt(((problem.log_losses - logs) ** 2).sum() / freedom)), ROUNDING)
    _, gradient = problem.logs(z, problem.scaled({name: np.atleast_1d(float(asked[name])) for name in fit.law.inputs}))
    parts = directions @ (gradient[:, 0] / scale) / np.maximum(values, FLAT * values[0])
    worst = directions[int(np.abs(parts).argmax())]
    names = [p.name for p in fit.law.parameters]
    return float(sigma * np.linalg.norm(parts)), names[int(np.abs(worst).argmax())]


def _directions(fit: Fit, measured: Inputs) -> tuple[Array, Array, Array, Problem]:
    """Length of each parameter's row in the Jacobian; singular values and directions of the rows at length 1."""
    problem = Problem(fit.law, measured)
    z, _ = problem.locate(fit)
    _, jacobian = problem.logs(z)
    scale = np.linalg.norm(jacobian, axis=1)
    scale = np.where(scale > 0, scale, 1.0)
    _, values, directions = np.linalg.svd((jacobian / scale[:, None]).T, full_matrices=False)
    return scale, values, directions, problem
