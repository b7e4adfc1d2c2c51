"""How fast the effect of earlier trials fades: an exponential fitted to the weights of lags."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from glmhmm_core.design.arrays import numbers
from glmhmm_core.errors import InputError

#: Shortest time constant, trials: of the whole effect all but 5e-5 is at the first lag.
SHORTEST = 0.1
#: Longest time constant, in longest lags: over all of them the kernel loses a tenth.
LONGEST = 10.0
_GRID = 400
#: Rise of the weighted squares that bounds a 95 % interval (chi-square of one degree).
_RISE = 3.841459


@dataclass(frozen=True)
class LagKernel:
    """An exponential through the weights of lags.

    Attributes
    ----------
    tau
        Time constant, trials; NaN where nothing could be fitted.
    tau_lower, tau_upper
        95 % interval by the profile of the weighted squares; NaN where it reaches a bound, and
        without standard errors. Errors of lags are taken as independent, which those of one fit
        are not quite: of a GLM's ten lags, simulated and fitted again 300 times, it held the
        truth in .97, with 600 or 3000 trials at ``tau`` 3 and with 3000 at 1.5.
    scales
        Group -> its scale, the sum of its kernel over the lags; log-odds.
    fitted : float64 (n,)
        Kernel at each weight; NaN where nothing could be fitted.
    rmse
        Root mean square of what is left, log-odds.
    r2
        Share of the weights' variance that the kernel explains, weighted as they were.
    weighted
        Whether standard errors were used.
    success
        Whether ``tau`` lies between its bounds; at a bound the weights set only that.
    message
        Why not; empty on success.
    """

    tau: float
    tau_lower: float
    tau_upper: float
    scales: dict[str, float]
    fitted: np.ndarray
    rmse: float
    r2: float
    weighted: bool
    success: bool
    message: str

    @property
    def half_life(self) -> float:
        """Trials in which the effect falls by half."""
        return self.tau * math.log(2)


def kernel_at(lags: np.ndarray, tau: float) -> np.ndarray:
    """The kernel of one group at all of its lags, (n,), which adds up to 1."""
    shape = np.exp(-(lags - lags.min()) / tau)
    return shape / shape.sum()


def fit_lag_kernel(
    lags: np.ndarray,
    weights: np.ndarray,
    groups: Sequence[str] | None = None,
    errors: np.ndarray | None = None,
) -> LagKernel:
    """Fit w_{g,l} = s_g exp(-l / tau) / sum_l' exp(-l' / tau) by (weighted) least squares.

    ``tau`` is shared over groups and found on a grid of its logarithm, refined by Brent's method,
    so that a second minimum does not catch it; the scales are closed-form at every ``tau``.

    Parameters
    ----------
    lags : float (n,)
        Trials back, above zero.
    weights : float (n,)
        Weight of each lag, log-odds.
    groups
        Group of each weight; by default all are one. A group has a lag once.
    errors : float (n,), optional
        Standard error of each weight; infinite or NaN where nothing is known of it, and the
        weight does not count.

    Raises
    ------
    InputError
        Lengths differ, a lag is not positive or is there twice, or an error is not positive.

    Examples
    --------
    >>> lags = np.arange(1, 11)
    >>> kernel = fit_lag_kernel(lags, 0.5 * np.exp(-lags / 3.0))
    >>> round(kernel.tau, 6), round(kernel.half_life, 3), kernel.success
    (3.0, 2.079, True)
    """
    lags = numbers("lags", lags, "fit_lag_kernel")
    weights = numbers("weights", weights, "fit_lag_kernel")
    names = ["all"] * len(lags) if groups is None else list(groups)
    precision = _checked(lags, weights, names, errors)
    found = list(dict.fromkeys(names))
    member = np.array([[name == one for name in names] for one in found], np.float64)
    why = _why_not(lags, weights, precision)
    if why:
        blank = np.full(len(lags), np.nan)
        unfit = (math.nan,) * 3
        given = errors is not None
        nothing = dict.fromkeys(found, math.nan)
        return LagKernel(*unfit, nothing, blank, math.nan, math.nan, given, False, why)

    def profile(taus: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scales (P, G), kernels (P, n) and weighted squares of what is left (P,), by tau."""
        kernel = np.exp(-(lags - lags.min()) / taus[:, None])
        kernel /= kernel @ member.T @ member
        square = (precision * kernel**2) @ member.T
        product = (precision * kernel * weights) @ member.T
        scales = np.divide(product, square, out=np.zeros_like(square), where=square > 0)
        kernel *= scales @ member
        left = (precision * (weights - kernel) ** 2).sum(1)
        return np.where(square > 0, scales, np.nan), kernel, left

    def left_at(log_tau: float) -> float:
        return float(profile(np.exp([log_tau]))[2][0])

    grid = np.geomspace(SHORTEST, LONGEST * lags.max(), _GRID)
    squares = profile(grid)[2]
    best = int(squares.argmin())
    tau, inside = float(grid[best]), 0 < best < _GRID - 1
    if inside:
        lowest = minimize_scalar(
            left_at,
            bounds=np.log(grid[[best - 1, best + 1]]),
            method="bounded",
            options={"xatol": 1e-10},
        )
        tau = math.exp(lowest.x)
    (scales,), (fitted,), (left,) = profile(np.array([tau]))
    counted = precision > 0
    spread = precision * (weights - np.average(weights, weights=precision)) ** 2
    lower = upper = math.nan
    if errors is not None and inside:
        lower, upper = _interval(left_at, np.log(grid), squares, math.log(tau), left + _RISE)
    return LagKernel(
        tau=tau,
        tau_lower=lower,
        tau_upper=upper,
        scales=dict(zip(found, scales.tolist(), strict=True)),
        fitted=fitted,
        rmse=float(np.sqrt(np.mean((weights - fitted)[counted] ** 2))),
        r2=1 - left / float(spread.sum()) if spread.sum() > 0 else math.nan,
        weighted=errors is not None,
        success=inside,
        message="" if inside else _at_bound(best, grid),
    )


def _checked(
    lags: np.ndarray, weights: np.ndarray, groups: list[str], errors: np.ndarray | None
) -> np.ndarray:
    """Precision of each weight, (n,); 0 where it does not count."""

    def refuse(problem: str, remedy: str) -> InputError:
        return InputError(problem, where="fit_lag_kernel", remedy=remedy)

    given = np.ones(len(lags)) if errors is None else numbers("errors", errors, "fit_lag_kernel")
    if not lags.shape == weights.shape == given.shape == (len(groups),):
        raise refuse(
            f"{len(lags)} lags, {len(weights)} weights, {len(groups)} groups, {len(given)} errors",
            "Give one of each per weight.",
        )
    if not (lags > 0).all():
        raise refuse(f"a lag is {lags[~(lags > 0)][0]}", "Count lags from 1.")
    if len(set(zip(groups, lags.tolist(), strict=True))) < len(lags):
        raise refuse("a group has a lag twice", "Name the groups apart.")
    if (given <= 0).any():
        raise refuse(
            f"a standard error is {given[given <= 0][0]}", "Leave out weights that are held fixed."
        )
    return np.where(np.isfinite(given), given, np.inf) ** -2.0


def _why_not(lags: np.ndarray, weights: np.ndarray, precision: np.ndarray) -> str:
    """Why no exponential can be fitted; empty if one can."""
    if not np.isfinite(weights).all():
        return "a weight is not finite"
    if len(np.unique(lags[precision > 0])) < 2:
        return "fewer than two lags whose weights are known"
    return "" if np.any(weights[precision > 0]) else "all weights are zero"


def _at_bound(best: int, grid: np.ndarray) -> str:
    if best == 0:
        return f"tau is at its lower bound, {grid[0]:g} trials: one lag alone has an effect"
    return f"tau is at its upper bound, {grid[-1]:g} trials: the effect does not fade"


def _interval(
    left_at: Callable[[float], float],
    grid: np.ndarray,
    squares: np.ndarray,
    lowest: float,
    limit: float,
) -> tuple[float, float]:
    """Where the profile first crosses its limit on either side; NaN where it does not."""
    beyond = grid[squares > limit]

    def crossing(places: np.ndarray) -> float:
        if not len(places):
            return math.nan
        nearest = places[np.abs(places - lowest).argmin()]
        return math.exp(brentq(lambda place: left_at(place) - limit, nearest, lowest))

    return crossing(beyond[beyond < lowest]), crossing(beyond[beyond > lowest])
