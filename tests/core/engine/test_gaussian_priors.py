"""Priors with means, on weights and log-odds of their own: density, slope, curvature and climb."""

import numpy as np
import pytest
from core.engine.climbs import MAX_ITERS, SHAPE, TOL, TWO, never_falls, start_of, trials_of
from core.engine.laid_out import data_of, evaluate, pack
from core.oracles import gradient, log_likelihood, numeric_gradient, params_at
from scipy import stats

from glmhmm_core.engine.curvature import gradient_and_hessian
from glmhmm_core.engine.em import maximize
from glmhmm_core.engine.odds import OddsPrior
from glmhmm_core.engine.parameters import Prior, all_free

WEIGHT_MEAN = np.array([[[2.0, 0.5]], [[-0.5, -1.0]]])
WEIGHT_SD = np.array([[[0.7, 0.4]], [[1.5, 0.3]]])
TRIALS = trials_of(TWO).rows(slice(160))
CHAIN_MEAN, CHAIN_SD = np.array([[-2.0], [-1.0]]), np.array([[0.5], [0.8]])
INITIAL_MEAN, INITIAL_SD = -0.4, 0.6  # of beginning in state 0 over state 1
PRIOR = Prior(
    emission_precision=1 / WEIGHT_SD**2,
    transition_counts=np.zeros((2, 2)),
    transition_normalizer=0.0,
    emission_mean=WEIGHT_MEAN,
    odds=OddsPrior(
        np.array([INITIAL_MEAN, 0.0]),
        np.array([INITIAL_SD**-2, 0.0]),
        1,
        CHAIN_MEAN,
        CHAIN_SD**-2,
    ),
)


def log_density(params):
    """Of the priors, in plain NumPy."""
    log = np.log(params.initial_probs)
    chain = np.log(params.transition_matrix)
    leaving = [[chain[0, 1] - chain[0, 0]], [chain[1, 0] - chain[1, 1]]]
    return (
        stats.norm.logpdf(params.emission_weights, WEIGHT_MEAN, WEIGHT_SD).sum()
        + stats.norm.logpdf(log[0] - log[1], INITIAL_MEAN, INITIAL_SD)
        + stats.norm.logpdf(leaving, CHAIN_MEAN, CHAIN_SD).sum()
    )


@pytest.fixture(scope="module")
def data():
    return data_of(TRIALS, SHAPE)


def test_objective_slope_and_curvature_are_those_of_the_densities(data):
    trials, params = TRIALS, start_of(TWO, seed=3)
    theta, free = np.asarray(pack(params)), all_free(params)
    e, slope, _, _ = evaluate(params, data, PRIOR, free)
    assert float(e.objective) == pytest.approx(
        log_likelihood(params, trials) + log_density(params), rel=1e-12
    )

    def slope_of(x):
        seen = gradient(lambda z: log_likelihood(params_at(z, params), trials), x)
        return seen + numeric_gradient(lambda z: log_density(params_at(z, params)), x)

    np.testing.assert_allclose(slope, slope_of(theta), atol=1e-6)
    again, hessian = gradient_and_hessian(params, data, PRIOR, free)
    np.testing.assert_allclose(again, slope, atol=1e-10)
    np.testing.assert_allclose(hessian, numeric_gradient(slope_of, theta), rtol=1e-5, atol=2e-5)


def test_the_climb_ends_where_the_slope_is_zero_and_never_falls(data):
    start = start_of(TWO, seed=1)
    free = all_free(start)
    fit = maximize(start, data, PRIOR, free, TOL, max_iters=MAX_ITERS)
    assert bool(fit.converged)
    assert never_falls(np.asarray(fit.trace)[: int(fit.iterations) + 1])
    # Its slope is the oracle's, as the first test holds.
    _, slope, em_step, metric = evaluate(fit.params, data, PRIOR, free)
    assert float(slope @ metric @ slope) < 1e-10
    np.testing.assert_allclose(em_step, 0, atol=1e-4)
