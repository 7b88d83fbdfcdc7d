"""The one fitter of all laws: Huber loss of log residuals, L-BFGS-B, many starts, positive parameters as logarithms.

As in Hoffmann et al. 2022 (arXiv 2203.15556, appendix D.3), whose procedure D-CPT, the annealing and the cross-lingual
law took over: minimise sum_i Huber_delta(log L(x_i) - log L_i) with delta = 1e-3 from a number of starting points.
The valleys of these laws are long and flat (an exponent trades against its amplitude), so where L-BFGS-B has brought
every start is refined by Levenberg-Marquardt steps on the same objective: a lower minimum in a tenth of the time, and a
refit of resampled losses in a few milliseconds.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from domadapt.errors import DataError
from domadapt.laws.law import LOSS, Inputs, Law

if TYPE_CHECKING:
    Array = np.ndarray

DELTA = 1e-3
"""Where Huber's loss of a log residual turns from square to linear: a relative error of 0.1 %."""
STARTS = 24
ITERATIONS = 100
"""Steps from a start until it is refined."""
STEPS = 300
"""Most steps that refine a start."""
WORST = 1e12
"""The objective where it cannot be computed."""
LARGEST_LOG = 60.0
"""Logarithms of parameters stay within this, so that no power overflows."""
LARGEST_Z, BEYOND = 15.0, 3.0
"""Logarithms of amplitudes stay below the first, others within the second of their starting values."""
TINY = 1e-12
SPEAKS_AGAINST = 0.05
"""Chance below which a worse fit speaks against a law's demands."""


def huber(residuals: Array, delta: float = DELTA) -> Array:
    """Huber's loss: r^2/2 up to delta, delta (|r| - delta/2) beyond. Huber 1964."""
    size = np.abs(residuals)
    return np.where(size <= delta, 0.5 * residuals**2, delta * (size - 0.5 * delta))


@dataclass(frozen=True)
class Fit:
    """A law with its parameters.

    theta: in the units of the inputs as given, the order of `law.parameters`.  objective: the minimised sum.
    agreeing: how many of the starts ended within 1 % of it.
    r2: of losses.  rmse: of log losses, that is relative.  largest: the largest error, in the unit of the loss.
    """

    law: Law
    theta: Array
    objective: float
    r2: float
    rmse: float
    largest: float
    n: int
    agreeing: int
    starts: int

    def predict(self, inputs: Mapping[str, Any]) -> Array:
        """Losses at the inputs, scalars or columns."""
        return predict(self.law, self.theta, inputs)

    @cached_property
    def named(self) -> dict[str, float]:
        """The parameters by name."""
        return {p.name: float(value) for p, value in zip(self.law.parameters, self.theta, strict=True)}


def predict(law: Law, theta: Array, inputs: Mapping[str, Any]) -> Array:
    """Losses of a law with given parameters."""
    arrays = np.broadcast_arrays(*(np.asarray(inputs[name], float) for name in law.inputs))
    shape = arrays[0].shape
    columns = {name: np.atleast_1d(a).ravel() for name, a in zip(law.inputs, arrays, strict=True)}
    with np.errstate(over="ignore", invalid="ignore"):  # a poor fit may be infinite where nothing was measured
        losses, _ = law.loss(np.asarray(theta, float), columns)
    return losses.reshape(shape)


class Problem:
    """A law and data in the units of the fit: the objective that is minimised, over z (logarithms where positive)."""

    def __init__(self, law: Law, inputs: Inputs, delta: float = DELTA) -> None:
        losses = np.asarray(inputs[LOSS], float)
        if not (losses > 0).all():
            raise DataError("law: a loss that is not positive; laws are fitted to logarithms of losses")
        self.law, self.delta = law, delta
        self.loss_unit = 1.0 if law.absolute else float(np.median(losses))
        self.units: dict[str, float] = {}
        for group in law.scaled:
            unit = _typical(np.concatenate([np.asarray(inputs[name], float) for name in group]))
            self.units |= dict.fromkeys(group, unit)
        self.inputs = self.scaled(inputs)
        self.log_losses = np.log(losses / self.loss_unit)
        self.positive = np.array([p.positive for p in law.parameters])
        # an exponent far beyond its starting values overflows where it meets the units of the table
        most = [LARGEST_Z if p.amplitude or not p.positive else np.log(p.high) + BEYOND for p in law.parameters]
        self.upper = np.where(self.positive, most, np.inf)

    def scaled(self, inputs: Inputs) -> Inputs:
        """Inputs in the units of the fit."""
        return {k: np.asarray(inputs[k], float) / self.units.get(k, 1.0) for k in self.law.inputs}

    def theta(self, z: Array) -> Array:
        """Parameters from coordinates."""
        return np.where(self.positive, np.exp(np.minimum(np.maximum(z, -LARGEST_LOG), LARGEST_LOG)), z)

    def z(self, theta: Array) -> Array:
        """Coordinates from parameters, in the units of the fit."""
        return np.where(self.positive, np.log(np.maximum(np.abs(theta), np.exp(-LARGEST_LOG))), theta)

    def natural(self, z: Array) -> Array:
        """Parameters in the units of the inputs as given."""
        amplitude = np.array([p.amplitude for p in self.law.parameters])
        return self.law.rescaled(np.where(amplitude, self.loss_unit, 1.0) * self.theta(z), self.units)

    def locate(self, fit: Fit) -> tuple[Array, Array]:
        """Coordinates of a fit to these inputs, and its log losses [n] in the units of the fit."""
        theta = self.law.rescaled(fit.theta, {name: 1 / unit for name, unit in self.units.items()})
        amplitude = np.array([p.amplitude for p in self.law.parameters])
        z = self.z(theta / np.where(amplitude, self.loss_unit, 1.0))
        return z, self.logs(z)[0]

    def logs(self, z: Array, inputs: Inputs | None = None) -> tuple[Array, Array]:
        """Logarithms of the law's losses [n] and their Jacobian [parameters, n] by the coordinates.

        inputs: in the units of the fit; None for those it was made of.
        """
        theta = self.theta(z)
        with np.errstate(over="ignore", invalid="ignore"):
            losses, gradient = self.law.loss(theta, self.inputs if inputs is None else inputs)
            safe = np.maximum(losses, TINY)
            jacobian = gradient * (np.where(self.positive, theta, 1.0)[:, None] / safe)
        if losses.min() < TINY:
            jacobian[:, losses < TINY] = 0.0
        return np.log(safe), jacobian

    def objective(self, z: Array, log_losses: Array | None = None) -> tuple[float, Array]:
        """The sum of Huber losses over delta^2 (of order one), and its gradient by the coordinates."""
        value, gradient, _ = self._expanded(z, self.log_losses if log_losses is None else log_losses)
        return value, gradient

    def misfit(self, z: Array) -> float:
        """The sum of Huber losses over delta^2, without the demands of a law that is held to them."""
        logs, _ = self.logs(z)
        return float(huber((logs - self.log_losses) / self.delta, 1.0).sum())

    def _expanded(self, z: Array, log_losses: Array) -> tuple[float, Array, Array]:
        """The objective, its gradient, and its Gauss-Newton Hessian with Huber's weights (from above: a majorant)."""
        with np.errstate(over="ignore", invalid="ignore"):
            logs, jacobian = self.logs(z)
            residuals = (logs - log_losses) / self.delta
            clipped = np.minimum(np.maximum(residuals, -1.0), 1.0)
            value = float(clipped @ (residuals - 0.5 * clipped))
            jacobian /= self.delta
            gradient = jacobian @ clipped
            hessian = (jacobian / np.maximum(np.abs(residuals), 1.0)) @ jacobian.T
            if self.law.held:
                excess, rows = self._excess(z)
                value += float(0.5 * excess @ excess)
                gradient += rows @ excess
                hessian += rows @ rows.T
        if not (np.isfinite(value) and np.isfinite(hessian).all()):
            return WORST, np.zeros_like(z), np.eye(len(z))
        return value, gradient, hessian

    def _excess(self, z: Array) -> tuple[Array, Array]:
        """By how much the law's demands are missed [m], in units of delta, 0 where met; the gradient by z."""
        theta = self.theta(z)
        wanted = self.law.demands(theta, self.inputs)
        assert wanted is not None, f"{self.law.name} demands nothing"
        missed = wanted[0] > 0
        rows = wanted[1] * np.where(self.positive, theta, 1.0)[:, None] * missed
        return np.where(missed, wanted[0], 0.0) / self.delta, rows / self.delta

    def misses_demands(self, z: Array) -> bool:
        """Whether the law at z is not what its paper demands of every fit."""
        wanted = self.law.demands(self.theta(z), self.inputs)
        return wanted is not None and bool((wanted[0] > 0).any())

    def starts(self, number: int, rng: np.random.Generator) -> Array:
        """Starting points [number, parameters]: uniform in the logarithm, or in the value where it may be negative."""
        low = self.z(np.array([p.low for p in self.law.parameters]))
        high = self.z(np.array([p.high for p in self.law.parameters]))
        return rng.uniform(low, high, (number, len(low)))

    def minimise(self, start: Array) -> Array:
        """L-BFGS-B from one start; positive parameters stay far from overflow."""
        from scipy.optimize import minimize

        bounds = [
            (-30.0, most) if positive else (None, None)
            for positive, most in zip(self.positive, self.upper, strict=True)
        ]
        options = {"maxiter": ITERATIONS, "ftol": 1e-9, "gtol": 1e-7, "maxcor": 20}
        found = minimize(self.objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        point: Array = found.x
        return point

    def refine(self, z: Array, log_losses: Array | None = None, enough: float = 1e-6) -> tuple[float, Array]:
        """The minimum nearest to z, by Levenberg-Marquardt steps on the same objective.

        enough: it ends after three steps that each lower the objective by a smaller share.
        """
        wanted = self.log_losses if log_losses is None else log_losses
        best, gradient, hessian = self._expanded(z, wanted)
        damping, idle = 1e-3, 0
        for _ in range(STEPS):
            scale = np.maximum(np.diag(hessian), 1e-12)
            step = np.linalg.solve(hessian + damping * np.diag(scale), -gradient)
            moved = np.minimum(z + step, self.upper)
            tried = self._expanded(moved, wanted)
            if not tried[0] < best:
                damping *= 4
                if damping > 1e9:
                    break
                continue
            idle = idle + 1 if best - tried[0] <= enough * best else 0
            z, (best, gradient, hessian), damping = moved, tried, max(damping / 5, 1e-9)
            if idle == 3 or best < TINY:
                break
        return best, z


def fit(law: Law, inputs: Inputs, *, seed: int = 0, starts: int = STARTS, delta: float = DELTA) -> Fit:
    """Fit a law to columns: those it reads, and "loss".

    Raises DataError when there are fewer points than parameters, or no start leads anywhere.
    """
    n, wanted = len(inputs[LOSS]), len(law.parameters)
    if n <= wanted:
        raise DataError(f"law {law.name}: {wanted} parameters need more than {wanted} points, there are {n}")
    problem = Problem(law, inputs, delta)
    first = problem.starts(starts, np.random.default_rng(seed))
    found = [problem.refine(problem.minimise(start)) for start in first]
    best, z = min(found, key=lambda pair: pair[0])
    if best >= WORST:
        raise DataError(f"law {law.name}: no starting point leads to finite losses")
    agreeing = sum(value <= best * 1.01 + 1e-6 for value, _ in found)
    losses = np.asarray(inputs[LOSS], float)
    if not law.held and problem.misses_demands(z) and (held := _held(problem, inputs, z, best, first)):
        return _judged(held[0], held[1], held[0].misfit(held[1]), losses, agreeing, starts)
    return _judged(problem, z, problem.misfit(z) if law.held else best, losses, agreeing, starts)


def _held(problem: Problem, inputs: Inputs, z: Array, best: float, first: Array) -> tuple[Problem, Array] | None:
    """The fit held to the law's demands; None where the measurements speak against them.

    They do when the objective rises by more than chance explains, by an F test of one degree of freedom. Where they say
    nothing, as of the slope at ratios beyond theirs, what the paper demands is the better guess.

    first: starting points.
    """
    from scipy.stats import f as f_distribution

    law = copy.copy(problem.law)
    law.held = True
    held = Problem(law, inputs, problem.delta)
    found = [held.refine(z), *(held.refine(held.minimise(start)) for start in first[: max(2, len(first) // 4)])]
    _, there = min(found, key=lambda pair: pair[0])
    freedom = len(problem.log_losses) - len(z)
    rise = (held.misfit(there) - best) / max(best / freedom, TINY)
    return None if rise > f_distribution.ppf(1 - SPEAKS_AGAINST, 1, freedom) else (held, there)


def _judged(problem: Problem, z: Array, best: float, losses: Array, agreeing: int, starts: int) -> Fit:
    logs, _ = problem.logs(z)
    errors = np.exp(logs) * problem.loss_unit - losses
    spread = float(((losses - losses.mean()) ** 2).sum())
    return Fit(
        law=problem.law,
        theta=problem.natural(z),
        objective=best * problem.delta**2,
        r2=1 - float((errors**2).sum()) / spread if spread else 0.0,
        rmse=float(np.sqrt(((logs - problem.log_losses) ** 2).mean())),
        largest=float(np.abs(errors).max()),
        n=len(losses),
        agreeing=agreeing,
        starts=starts,
    )


def _typical(values: Array) -> float:
    """The geometric mean of the positive values, 1 where there are none."""
    positive = values[values > 0]
    return float(np.exp(np.log(positive).mean())) if len(positive) else 1.0
