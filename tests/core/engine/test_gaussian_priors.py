"""Priors with means, on weights and log-odds of their own: density, slope, curvature and climb."""

import numpy as np
import pytest
from core.engine.climbs import DRIVEN, MAX_ITERS, SHAPE, TOL, TWO, never_falls, start_of, trials_of
from core.engine.laid_out import data_of, evaluate, pack
from core.oracles import gradient, log_likelihood, numeric_gradient, params_at, slope_along
from scipy import stats

from glmhmm_core.engine.curvature import gradient_and_hessian
from glmhmm_core.engine.em import maximize
from glmhmm_core.engine.odds import OddsPrior
from glmhmm_core.engine.parameters import Prior, all_free

WEIGHT_MEAN = {TWO: np.array([[[2.0, 0.5]], [[-0.5, -1.0]]])}
WEIGHT_SD = {TWO: np.array([[[0.7, 0.4]], [[1.5, 0.3]]])}
WEIGHT_MEAN[DRIVEN] = np.array([[[2.0, 0.5], [-1.0, 0.5]], [[-0.5, -1.0], [0.2, -0.3]]])
WEIGHT_SD[DRIVEN] = np.array([[[0.7, 0.4], [0.6, 0.9]], [[1.5, 0.3], [0.8, 0.5]]])
# Log-odds of leaving, and behind them weights of the transition regressors.
CHAIN_MEAN = {TWO: np.array([[[-2.0]], [[-1.0]]])}
CHAIN_SD = {TWO: np.array([[[0.5]], [[0.8]]])}
CHAIN_MEAN[DRIVEN] = np.array([[[-2.0, 0.7, -0.2]], [[-1.0, -0.6, 0.3]]])
CHAIN_SD[DRIVEN] = np.array([[[0.5, 0.4, 1.1]], [[0.8, 0.9, 0.2]]])
INITIAL_MEAN, INITIAL_SD = -0.4, 0.6  # of beginning in state 0 over state 1


def trials_under(case):
    return trials_of(case).rows(slice(160))


def prior_under(case):
    return Prior(
        emission_precision=1 / WEIGHT_SD[case] ** 2,
        transition_counts=np.zeros((2, 2)),
        transition_normalizer=0.0,
        emission_mean=WEIGHT_MEAN[case],
        odds=OddsPrior(
            np.array([INITIAL_MEAN, 0.0]),
            np.array([INITIAL_SD**-2, 0.0]),
            1,
            CHAIN_MEAN[case],
            CHAIN_SD[case] ** -2,
        ),
    )


def log_density(params, case):
    """Of the priors, in plain NumPy."""
    log = np.log(params.initial_probs)
    chain = np.log(params.transition_matrix)
    leaving = np.array([[[chain[0, 1] - chain[0, 0]]], [[chain[1, 0] - chain[1, 1]]]])
    if params.transition_weights is not None:
        leaving = np.concatenate([leaving, params.transition_weights], 2)
    return (
        stats.norm.logpdf(params.emission_weights, WEIGHT_MEAN[case], WEIGHT_SD[case]).sum()
        + stats.norm.logpdf(log[0] - log[1], INITIAL_MEAN, INITIAL_SD)
        + stats.norm.logpdf(leaving, CHAIN_MEAN[case], CHAIN_SD[case]).sum()
    )


@pytest.fixture(scope="module", params=[TWO, DRIVEN], ids=["constant", "driven"])
def case(request):
    return request.param


@pytest.fixture(scope="module")
def data(case):
    return data_of(trials_under(case), SHAPE)


def test_objective_slope_and_curvature_are_those_of_the_densities(case, data):
    trials, params, prior = trials_under(case), start_of(case, seed=3), prior_under(case)
    if case is DRIVEN:
        params = params._replace(transition_weights=np.array([[[0.4, -0.3]], [[-0.2, 0.6]]]))
    theta, free = np.asarray(pack(params)), all_free(params)
    e, slope, _, _ = evaluate(params, data, prior, free)
    assert float(e.objective) == pytest.approx(
        log_likelihood(params, trials) + log_density(params, case), rel=1e-12
    )

    def slope_of(x):
        seen = gradient(lambda z: log_likelihood(params_at(z, params), trials), x)
        return seen + numeric_gradient(lambda z: log_density(params_at(z, params), case), x)

    np.testing.assert_allclose(slope, slope_of(theta), atol=1e-6)
    again, hessian = gradient_and_hessian(params, data, prior, free)
    np.testing.assert_allclose(again, slope, atol=1e-10)
    along, bent = slope_along(slope_of, theta)
    np.testing.assert_allclose(along @ hessian, bent, rtol=1e-5, atol=2e-5)


def test_the_climb_ends_where_the_slope_is_zero_and_never_falls(case, data):
    start, prior = start_of(case, seed=1), prior_under(case)
    free = all_free(start)
    fit = maximize(start, data, prior, free, TOL, max_iters=MAX_ITERS)
    assert bool(fit.converged)
    assert never_falls(np.asarray(fit.trace)[: int(fit.iterations) + 1])
    # Its slope is the oracle's, as the first test holds.
    _, slope, em_step, metric = evaluate(fit.params, data, prior, free)
    assert float(slope @ metric @ slope) < 1e-10
    np.testing.assert_allclose(em_step, 0, atol=1e-4)


def test_without_a_transition_one_step_leads_to_the_mean():
    """Sessions of one trial."""
    trials = trials_under(DRIVEN)
    _, first = np.unique(trials.session_ids, return_index=True)
    params = start_of(DRIVEN)._replace(transition_weights=np.array([[[0.4, -0.3]], [[-0.2, 0.6]]]))
    data = data_of(trials.rows(np.sort(first)), SHAPE)
    _, _, em_step, _ = evaluate(params, data, prior_under(DRIVEN), all_free(params))
    reached = (np.asarray(pack(params)) + em_step)[2:8]
    np.testing.assert_allclose(reached, CHAIN_MEAN[DRIVEN].ravel(), atol=1e-9)


def test_a_frozen_transition_weight_stays_and_counts_for_nothing():
    trials, prior = trials_under(DRIVEN), prior_under(DRIVEN)
    data = data_of(trials, SHAPE)
    start = start_of(DRIVEN)._replace(transition_weights=np.array([[[0.0, 0.9]], [[0.0, 0.0]]]))
    held = np.array([[[1.0, 0.0]], [[1.0, 1.0]]])
    precision = np.array(prior.odds.chain_precision)
    precision[0, 0, 2] = 0.0
    prior = prior._replace(odds=prior.odds._replace(chain_precision=precision))
    free = all_free(start)._replace(transition=held)
    fit = maximize(start, data, prior, free, TOL, max_iters=MAX_ITERS)
    assert bool(fit.converged)
    assert fit.params.transition_weights[0, 0, 1] == 0.9
    assert np.all(np.asarray(fit.params.transition_weights)[held > 0] != 0)
    # Wherever it is frozen, the priors' density is that of the other weights alone.
    for value in (0.9, -0.2, 2.0):
        frozen = start._replace(transition_weights=np.array([[[0.0, value]], [[0.0, 0.0]]]))
        e, *_ = evaluate(frozen, data, prior, free)
        its_own = stats.norm.logpdf(value, CHAIN_MEAN[DRIVEN][0, 0, 2], CHAIN_SD[DRIVEN][0, 0, 2])
        density = float(e.objective) - log_likelihood(frozen, trials)
        assert density == pytest.approx(log_density(frozen, DRIVEN) - its_own, abs=1e-9)
