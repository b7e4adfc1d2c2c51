"""Mean and spread of a population from what each subject's data say: empirical Bayes, Gaussian.

Each subject's log-likelihood enters as its second-order expansion around a point, so that the
subject integrates out in closed form: what is maximised is the marginal likelihood of mean and
spread, in which a subject's own uncertainty counts. Without it (spreads of point estimates that
the same spreads have shrunk) spreads would collapse to zero.

Spreads have a Gamma prior of shape 2 whose mode is the scale of an ordinary prior: it keeps them
off zero, where few subjects would put them by chance (Chung et al. 2013, Psychometrika 78:685),
and makes the scale the answer where the data say nothing. Means have a Gaussian prior.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

#: Spreads are looked for between these multiples of their scales.
NARROWEST, WIDEST = 1e-4, 1e2


@dataclass(frozen=True)
class Expansions:
    """Log-likelihoods of N subjects around a point of each, in P coordinates.

    Attributes
    ----------
    at, slope : float64 (N, P)
        The points, and the gradients there.
    information : float64 (N, P, P)
        Minus the Hessians; what is negative in them counts as nothing known.
    """

    at: np.ndarray
    slope: np.ndarray
    information: np.ndarray


class Hyperprior(NamedTuple):
    """Of means, Gaussian of ``center`` and ``width``; of spreads, Gamma with mode ``scale``; (P,).

    An infinite width is no prior.
    """

    center: np.ndarray
    width: np.ndarray
    scale: np.ndarray

    def log_density(self, mean: np.ndarray, sd: np.ndarray) -> float:
        """Log density of means and spreads, but for constants."""
        off = (mean - self.center) / self.width
        return float((np.log(sd / self.scale) - sd / self.scale - 0.5 * off**2).sum())


class Population(NamedTuple):
    """Mean and standard deviation over subjects of each coordinate, (P,) both."""

    mean: np.ndarray
    sd: np.ndarray


def estimate_population(given: Expansions, hyper: Hyperprior, start: np.ndarray) -> Population:
    """The mean and spread that make the subjects' data most probable.

    Parameters
    ----------
    start
        Standard deviations (P,) to look from.

    Returns
    -------
    Population
        Maximum of the marginal likelihood times the hyperprior: over the spreads by a
        quasi-Newton method, the mean for given spreads in closed form.
    """
    whole = Expansions(given.at, given.slope, _positive(given.information))

    def value(log_sd: np.ndarray) -> tuple[float, np.ndarray]:
        sd = np.exp(log_sd)
        mean, marginal, second = _integrated(whole, hyper, sd)
        slope = second / sd**2 - len(given.at) + 1 - sd / hyper.scale
        return -marginal - hyper.log_density(mean, sd), -slope

    bounds = np.log(np.outer(hyper.scale, (NARROWEST, WIDEST)))
    begin = np.clip(np.log(start), *bounds.T)
    options = {"ftol": 1e-12, "gtol": 1e-6, "maxiter": 1000, "maxfun": 5000}
    found = minimize(value, begin, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    sd = np.exp(found.x)
    return Population(_integrated(whole, hyper, sd)[0], sd)


def _integrated(
    given: Expansions, hyper: Hyperprior, sd: np.ndarray
) -> tuple[np.ndarray, float, np.ndarray]:
    """Best mean for given spreads, log marginal likelihood there, expected squared deviations.

    The log marginal is but for the constant that the expansions' own values are; deviations are
    those of the subjects from the mean, summed (P,).
    """
    information = given.information
    precision = 1 / sd**2
    posterior = information + np.diag(precision)
    covariance = np.linalg.inv(posterior)
    score = given.slope + np.einsum("npq,nq->np", information, given.at)  # at zero
    # The mean's score: sum of precision C (score - information mean), less the hyperprior's.
    shrink = precision[None, :, None] * covariance
    width = 1 / hyper.width**2
    left = np.einsum("npq,nqr->pr", shrink, information) + np.diag(width)
    right = np.einsum("npq,nq->p", shrink, score) + width * hyper.center
    mean = np.linalg.solve(left, right)

    residual = score - information @ mean
    deviation = np.einsum("npq,nq->np", covariance, residual)
    away = mean - given.at
    at_mean = (given.slope * away).sum() - 0.5 * np.einsum("np,npq,nq", away, information, away)
    volume = np.linalg.slogdet(posterior)[1].sum() / 2 + len(given.at) * np.log(sd).sum()
    marginal = at_mean + 0.5 * (residual * deviation).sum() - volume
    second = (deviation**2 + np.diagonal(covariance, axis1=1, axis2=2)).sum(0)
    return mean, float(marginal), second


def _positive(information: np.ndarray) -> np.ndarray:
    """The same matrices with their negative eigenvalues at zero."""
    values, vectors = np.linalg.eigh((information + information.transpose(0, 2, 1)) / 2)
    return np.einsum("npk,nk,nqk->npq", vectors, np.maximum(values, 0.0), vectors)
