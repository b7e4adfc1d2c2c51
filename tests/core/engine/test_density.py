"""The posterior over log-odds: against the oracle's likelihood and priors, and its slope."""

import jax
import numpy as np
import pytest
from core.engine.climbs import DRIVEN, SHAPE, TWO, driven_priors, start_of, trials_of
from core.engine.laid_out import data_of, prior_of
from core.oracles import log_likelihood, numeric_gradient, params_at
from core.textbook_em import Priors, log_prior

from glmhmm_core.engine.coordinates import pack
from glmhmm_core.engine.density import log_density
from glmhmm_core.engine.parameters import all_free

PRIORS = Priors(np.array([2.0, 3.0]), 2.0)


@pytest.mark.parametrize(("case", "priors"), [(TWO, PRIORS), (DRIVEN, driven_priors(PRIORS))])
def test_it_is_likelihood_prior_and_volume_and_its_slope_is_exact(case, priors):
    trials, start = trials_of(case), start_of(case)
    data = data_of(trials, SHAPE)
    given = (start, data, prior_of(priors, 2), all_free(start))
    theta = np.asarray(pack(start))

    def truth(x):
        params = params_at(x, start)
        volume = np.log(params.initial_probs).sum() + np.log(params.transition_matrix).sum()
        return log_likelihood(params, trials) + log_prior(params, priors) + volume

    value_and_slope = jax.jit(jax.value_and_grad(log_density))
    value, slope = value_and_slope(theta, *given)
    np.testing.assert_allclose(slope, numeric_gradient(truth, theta), rtol=1e-5, atol=1e-5)
    # Up to a constant: what the oracle's priors are normalised by.
    moved = theta + 0.1 * np.random.default_rng(0).normal(size=theta.shape)
    gain = float(value_and_slope(moved, *given)[0] - value)
    assert gain == pytest.approx(truth(moved) - truth(theta), rel=1e-8)
