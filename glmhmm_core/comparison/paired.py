"""Paired gains from one model to the next over units (subjects or sessions), with their errors.

Pairing is what makes gains visible: subjects differ far more than models do.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PairedGains:
    """What each next of J models gains, from scores of N units.

    Attributes
    ----------
    units : int (J,)
        Units with a score of each model.
    score : float64 (J,)
        Score of each model over those, per unit weight.
    paired : int (J - 1,)
        Units with a score of a model and of the next.
    gain, error : float64 (J - 1,)
        Gain of the next model over those units, and its standard error; NaN of too few.
    gaining : int (J - 1,)
        Units that gain.
    resampled, resampled_error : float64 (resamples, J - 1)
        Both with units drawn again (bootstrap).
    """

    units: np.ndarray
    score: np.ndarray
    paired: np.ndarray
    gain: np.ndarray
    error: np.ndarray
    gaining: np.ndarray
    resampled: np.ndarray
    resampled_error: np.ndarray

    def intervals(self) -> np.ndarray:
        """95 % intervals of the gains by the bootstrap's quantiles, (J - 1, 2)."""
        whole = [column[np.isfinite(column)] for column in self.resampled.T]
        ends = [np.quantile(c, (0.025, 0.975)) if len(c) else (np.nan, np.nan) for c in whole]
        return np.array(ends).reshape(-1, 2)


def paired_gains(totals: np.ndarray, weight: np.ndarray, resamples: int, seed: int) -> PairedGains:
    """Gains as ratios of summed differences to summed weights, over units that have both.

    Parameters
    ----------
    totals : (N, J)
        Score of each unit under each model, summed over the unit; NaN where there is none.
    weight : (N,)
        Size of each unit; 1 to take the mean over units.
    resamples, seed
        Of the bootstrap.
    """
    there = np.isfinite(totals)
    change = np.diff(totals, axis=1)
    both = np.isfinite(change)
    n = len(totals)
    rng = np.random.default_rng(seed)
    # How often each unit was drawn in each resample.
    drawn = rng.multinomial(n, np.full(n, 1 / n), resamples).astype(np.float64)
    once = np.ones((1, n))
    gain, error = ratios(once, change, both, weight)
    resampled, resampled_error = ratios(drawn, change, both, weight)
    return PairedGains(
        units=there.sum(0),
        score=ratios(once, totals, there, weight)[0][0],
        paired=both.sum(0),
        gain=gain[0],
        error=error[0],
        gaining=(np.where(both, change, 0) > 0).sum(0),
        resampled=resampled,
        resampled_error=resampled_error,
    )


def ratios(
    drawn: np.ndarray, values: np.ndarray, there: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Ratio of sums over units and its standard error, (resamples, columns); NaN of too few.

    The error of sum d / sum w is that of the residuals d - ratio w (linearised); with weights
    of 1 it is the standard error of the mean exactly.
    """
    value = np.where(there, values, 0.0)
    size = np.where(there, weight[:, None], 0.0)
    count, total = drawn @ there, drawn @ size
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (drawn @ value) / total
        # Sum of (d - ratio w)^2, multiplied out so that resamples need no array of their own.
        square = (
            drawn @ value**2 - 2 * ratio * (drawn @ (value * size)) + ratio**2 * (drawn @ size**2)
        )
        error = np.sqrt(np.maximum(square, 0.0) * count / (count - 1)) / total
    return np.where(count > 0, ratio, np.nan), np.where(count > 1, error, np.nan)
