"""The engine's messages beside Dynamax's inference at the same parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core.engine.laid_out import TINY, data_of, evaluate, inferred, prior_of
from core.oracles import draw_params, draw_trials, likelihoods, transition_probs
from core.textbook_em import Priors
from dynamax.hidden_markov_model import hmm_posterior_mode, hmm_smoother

from glmhmm_core.engine.parameters import all_free

LENGTH = 6
CASES = [(2, 2, 0), (3, 3, 0), (2, 3, 2), (3, 2, 1)]


@jax.jit
def dynamax(initial, chain, log_lik):
    """Dynamax's smoother and Viterbi; transitions are those into each trial but the first."""
    return (
        hmm_smoother(initial, chain[1:], log_lik),
        hmm_posterior_mode(initial, chain[1:], log_lik),
    )


@pytest.mark.parametrize("case", CASES)
def test_messages_are_those_of_dynamax(case):
    K, C, D = case
    rng = np.random.default_rng(case)
    params = draw_params(rng, K, C, 2, D)
    trials = draw_trials(rng, (LENGTH,) * 5, C, 2, D)
    chain, log_lik = transition_probs(params, trials.U), np.log(likelihoods(params, trials))
    predicted, filtered, smoothed, scale, _, path = inferred(params, trials)
    priors = Priors(np.ones(2), transition_scale=np.ones(D))
    e = evaluate(params, data_of(trials, TINY), prior_of(priors, K), all_free(params))[0]

    counts = np.zeros((K, K))
    for rows in trials.sessions:
        # Dynamax relies on JAX's usual promotion of ranks and types.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            truth, mode = dynamax(
                jnp.asarray(params.initial_probs),
                jnp.asarray(chain[rows]),
                jnp.asarray(log_lik[rows]),
            )
        np.testing.assert_allclose(np.log(scale[rows]).sum(), truth.marginal_loglik, rtol=1e-9)
        np.testing.assert_allclose(filtered[rows], truth.filtered_probs, rtol=1e-9)
        np.testing.assert_allclose(predicted[rows], truth.predicted_probs, rtol=1e-9)
        np.testing.assert_allclose(smoothed[rows], truth.smoothed_probs, rtol=1e-9)
        np.testing.assert_array_equal(path[rows], mode)
        counts += np.asarray(truth.trans_probs).reshape(-1, K, K).sum(0)
    np.testing.assert_allclose(e.transition_counts, counts, rtol=1e-9)
