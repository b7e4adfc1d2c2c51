"""One data set per kind of model, all in lanes of one shape, and the engine's climb on them."""

from functools import cache

import numpy as np
from core.engine.laid_out import data_of, prior_of
from core.oracles import simulate
from core.textbook_em import Priors

from glmhmm_core.engine.em import maximize
from glmhmm_core.engine.parameters import Free, Parameters, all_free

LENGTHS = (40,) * 10
SHAPE = (40, 12)
MAX_ITERS = 1000
TOL = 1e-9

#: States, choices and regressors of the transitions; of the choice there are two.
GLM, TWO, DRIVEN = (1, 2, 0), (2, 2, 0), (2, 3, 2)
WEAK = Priors(np.array([2.0, 2.0]), 2.0)
FLAT = Priors(np.array([np.inf, np.inf]))

_TRUE = {
    GLM: Parameters(np.ones(1), np.ones((1, 1)), np.array([[[1.5, -0.5]]])),
    TWO: Parameters(
        np.array([0.6, 0.4]),
        np.array([[0.93, 0.07], [0.1, 0.9]]),
        np.array([[[4.0, 0.2]], [[0.5, -1.5]]]),
    ),
    DRIVEN: Parameters(
        np.array([0.5, 0.5]),
        np.array([[0.9, 0.1], [0.15, 0.85]]),
        np.array([[[3.0, 0.5], [-3.0, 0.5]], [[0.3, 1.5], [0.3, -1.0]]]),
        np.array([[[1.0, -0.5]], [[-1.0, 0.0]]]),
    ),
}


@cache
def trials_of(case, seed=0):
    return simulate(np.random.default_rng(seed), _TRUE[case], LENGTHS, baseline=seed % 2)[0]


def start_of(case, seed=0, spread=0.5):
    """The true parameters, jolted."""
    rng = np.random.default_rng([seed, 1])
    true = _TRUE[case]
    K = len(true.initial_probs)
    matrix = np.full((K, K), 0.15 / max(K - 1, 1))
    np.fill_diagonal(matrix, 0.85 if K > 1 else 1.0)
    weights = true.emission_weights + spread * rng.normal(size=true.emission_weights.shape)
    driven = true.transition_weights
    return Parameters(
        np.full(K, 1 / K), matrix, weights, None if driven is None else np.zeros_like(driven)
    )


def climb(trials, priors, start, frozen=None, frozen_transitions=None, tol=TOL, **options):
    """The engine's climb, its trace cut at its end."""
    free = all_free(start)
    if frozen is not None:
        free = free._replace(emission=1.0 - frozen)
    if frozen_transitions is not None:
        free = free._replace(transition=1.0 - frozen_transitions)
    return climb_in(data_of(trials, SHAPE), priors, start, free, tol, **options)


def climb_in(data, priors, start, free: Free, tol=TOL, gradient_tol=1e-6):
    prior = prior_of(priors, len(start.initial_probs))
    fit = maximize(start, data, prior, free, tol, gradient_tol, max_iters=MAX_ITERS)
    fit = fit._replace(
        params=Parameters(*(None if p is None else np.asarray(p) for p in fit.params))
    )
    assert np.isnan(fit.trace[int(fit.iterations) + 1 :]).all()
    return fit._replace(trace=np.asarray(fit.trace)[: int(fit.iterations) + 1])


def driven_priors(priors):
    """The same with a prior on the weights of the two transition regressors."""
    return Priors(
        priors.emission_scale, priors.concentration, priors.stickiness, np.array([2.0, 2.0])
    )


def never_falls(trace):
    """To the rounding of a sum of log-likelihoods."""
    return bool(np.all(np.diff(trace) >= -1e-12 * np.abs(trace[1:])))
