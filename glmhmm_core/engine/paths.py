"""Paths of states drawn from their posterior: forward filtering, backward sampling, over lanes."""

import jax
import jax.numpy as jnp

from glmhmm_core.engine.lanes import Lanes
from glmhmm_core.engine.messages import choice_probs, forward, likelihoods
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.engine.time_loop import along_time
from glmhmm_core.engine.transitions import is_driven, transition_matrices


@jax.jit
def sample_paths(params: Parameters, lanes: Lanes, uniforms: jax.Array) -> jax.Array:
    """Draw from P(all states | all choices), each path on its own.

    Parameters
    ----------
    uniforms : float64 (N, T, S)
        Numbers in 0..1 that the N draws of every trial's state are made of.

    Returns
    -------
    int (N, T, S)
    """
    probs = choice_probs(jnp.asarray(params.emission_weights), jnp.asarray(lanes.X))
    lik = likelihoods(probs, jnp.asarray(lanes.y))
    reset = jnp.asarray(lanes.reset)
    matrix = transition_matrices(params, jnp.asarray(lanes.U))
    driven = is_driven(matrix)
    filtered = forward(params.initial_probs, matrix, lik, reset).filtered
    num_lanes = lik.shape[2]

    def back(after: tuple, now: tuple) -> tuple[tuple, jax.Array]:
        state, begins, into = after  # of the trial behind this one
        filtered, reset, here, uniform = now
        # A (K, K, 1 or S) at the columns of the states that follow: (K, N, S).
        wide = jnp.broadcast_to(into, (*into.shape[:2], num_lanes))
        leads = jnp.take_along_axis(wide, state[None], 1)
        # The session behind says nothing of this one's last state.
        weight = filtered[:, None] * jnp.where(begins[None, None], 1.0, leads)
        cdf = jnp.cumsum(weight, 0)
        drawn = (uniform[None] * cdf[-1:] >= cdf[:-1]).sum(0)
        return (drawn, reset, here if driven else into), drawn

    last = jnp.zeros((len(uniforms), num_lanes), jnp.int64)
    end = (last, jnp.ones(num_lanes, bool), matrix[:, :, 0])
    along = (filtered, reset, matrix if driven else None, jnp.asarray(uniforms))
    return along_time(back, end, along, reverse=True)[1]


#: :func:`sample_paths` of many subjects, everything along a first axis.
sample_paths_together = jax.jit(jax.vmap(sample_paths))
