"""Mean and spread of a population against the marginal likelihood written out."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize

from glmhmm_core.fitting.random_effects import Expansions, Hyperprior, estimate_population

SUBJECTS, MEAN, SD = 40, np.array([2.0, -1.0, 0.3]), np.array([1.0, 0.4, 0.2])
WIDE = Hyperprior(np.zeros(3), np.full(3, np.inf), np.full(3, 5.0))
START = np.full(3, 1.0)


def measured(seed=0, subjects=SUBJECTS, noise=0.5):
    """Gaussian measurements of subjects, with correlated errors: estimates and information."""
    rng = np.random.default_rng(seed)
    true = MEAN + SD * rng.normal(size=(subjects, 3))
    roots = rng.normal(size=(subjects, 3, 3)) * noise
    covariance = roots @ roots.transpose(0, 2, 1) + 0.02 * np.eye(3)
    estimates = np.array(
        [rng.multivariate_normal(t, c) for t, c in zip(true, covariance, strict=True)]
    )
    return estimates, covariance


def expanded(estimates, covariance, at):
    """Their log-likelihoods expanded around any points."""
    information = np.linalg.inv(covariance)
    slope = np.einsum("npq,nq->np", information, estimates - at)
    return Expansions(at, slope, information)


def log_marginal(mean, sd, estimates, covariance):
    """log p(estimates) with the spreads' prior, written out."""
    whole = covariance + np.diag(sd**2)
    off = estimates - mean
    square = np.einsum("np,npq,nq->n", off, np.linalg.inv(whole), off)
    total = -0.5 * (square + np.linalg.slogdet(2 * np.pi * whole)[1]).sum()
    return total + (np.log(sd / WIDE.scale) - sd / WIDE.scale).sum()


@pytest.mark.parametrize("subjects", [3, SUBJECTS])
def test_no_other_mean_or_spread_is_more_probable(subjects):
    estimates, covariance = measured(subjects=subjects)
    found = estimate_population(expanded(estimates, covariance, estimates), WIDE, START)

    def value(x):
        return -log_marginal(x[:3], np.exp(x[3:]), estimates, covariance)

    at = np.concatenate([found.mean, np.log(found.sd)])
    np.testing.assert_allclose(optimize.approx_fprime(at, value, 1e-6), 0, atol=1e-3)
    best = optimize.minimize(
        value,
        at + 0.3,
        method="Nelder-Mead",
        options={"maxiter": 8000, "maxfev": 8000, "xatol": 1e-7, "fatol": 1e-10},
    )
    assert value(at) <= best.fun + 1e-6
    np.testing.assert_allclose(found.mean, best.x[:3], atol=1e-3)
    np.testing.assert_allclose(found.sd, np.exp(best.x[3:]), rtol=1e-2)


def test_the_point_of_expansion_does_not_matter_to_gaussian_likelihoods():
    estimates, covariance = measured()
    here = estimate_population(expanded(estimates, covariance, estimates), WIDE, START)
    there = estimate_population(expanded(estimates, covariance, 0 * estimates), WIDE, 3 * START)
    np.testing.assert_allclose(there.mean, here.mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(there.sd, here.sd, rtol=1e-3)


def test_spreads_are_recovered_and_do_not_collapse():
    """Errors as large as the spreads: what shrunken points alone would say is less than half."""
    found = [
        estimate_population(expanded(*(m := measured(seed, noise=0.6)), m[0]), WIDE, START).sd
        for seed in range(10)
    ]
    np.testing.assert_allclose(np.mean(found, 0), SD, atol=0.06)


def test_where_nothing_is_known_the_spread_is_its_scale_and_the_mean_its_center():
    given = Expansions(np.ones((4, 3)), np.zeros((4, 3)), np.zeros((4, 3, 3)))
    hyper = Hyperprior(np.array([1.0, -2.0, 0.0]), np.full(3, 2.0), np.array([10.0, 3.0, 0.5]))
    found = estimate_population(given, hyper, START)
    np.testing.assert_allclose(found.sd, hyper.scale, rtol=1e-4)
    np.testing.assert_allclose(found.mean, hyper.center, atol=1e-8)


def test_a_likelihood_that_curves_upwards_counts_as_nothing_known():
    estimates, covariance = measured()
    given = expanded(estimates, covariance, estimates)
    hill = given.information.copy()
    hill[0] = -np.diag([1.0, 100.0, 3.0])
    flat = given.information.copy()
    flat[0] = 0.0
    found, same = (
        estimate_population(replace(given, information=i), WIDE, START) for i in (hill, flat)
    )
    np.testing.assert_allclose(found.sd, same.sd, rtol=1e-6)
    assert np.isfinite(found.sd).all()


def test_the_order_of_subjects_does_not_matter():
    estimates, covariance = measured()
    one = estimate_population(expanded(estimates, covariance, estimates), WIDE, START)
    back = estimates[::-1], covariance[::-1]
    other = estimate_population(expanded(*back, back[0]), WIDE, START)
    np.testing.assert_allclose(other.sd, one.sd, rtol=1e-5)
