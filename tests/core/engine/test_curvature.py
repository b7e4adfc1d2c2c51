"""The Hessian against differences of the oracle's exact gradient."""

import numpy as np
import pytest
from core.engine.climbs import DRIVEN, GLM, SHAPE, TWO, WEAK, driven_priors, start_of, trials_of
from core.engine.laid_out import data_of, pack, prior_of
from core.oracles import gradient, log_likelihood, numeric_gradient, params_at, slope_along
from core.textbook_em import log_prior

from glmhmm_core.engine.curvature import gradient_and_hessian
from glmhmm_core.engine.parameters import all_free


@pytest.mark.parametrize("case", [GLM, TWO, DRIVEN])
def test_hessian_of_the_marginal_likelihood_and_the_priors(case):
    trials, params = trials_of(case), start_of(case, seed=3)
    priors = driven_priors(WEAK) if case[2] else WEAK
    theta = np.asarray(pack(params))

    def slope_of(x):
        seen = gradient(lambda z: log_likelihood(params_at(z, params), trials), x)
        return seen + numeric_gradient(lambda z: log_prior(params_at(z, params), priors), x)

    prior = prior_of(priors, len(params.initial_probs))
    slope, hessian = gradient_and_hessian(params, data_of(trials, SHAPE), prior, all_free(params))
    np.testing.assert_allclose(slope, slope_of(theta), atol=1e-6)
    along, bent = slope_along(slope_of, theta)
    np.testing.assert_allclose(along @ hessian, bent, rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-9)
    # The initial log-probabilities matter only relative to each other.
    k = len(params.initial_probs)
    np.testing.assert_allclose(np.asarray(hessian)[:, :k].sum(1), 0, atol=1e-9)
