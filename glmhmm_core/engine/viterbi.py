"""The most probable path of states (Viterbi 1967), over lanes."""

import jax
import jax.numpy as jnp

from glmhmm_core.engine.lanes import Lanes
from glmhmm_core.engine.messages import choice_probs, likelihoods
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.engine.time_loop import along_time
from glmhmm_core.engine.transitions import is_driven, transition_matrices


@jax.jit
def viterbi(params: Parameters, lanes: Lanes) -> jax.Array:
    """Most probable states of every session given all its choices: int (T, S)."""
    weights = jnp.asarray(params.emission_weights)
    probs = choice_probs(weights, jnp.asarray(lanes.X))
    log_lik = jnp.log(likelihoods(probs, jnp.asarray(lanes.y)))
    reset = jnp.asarray(lanes.reset)
    initial = jnp.log(jnp.asarray(params.initial_probs))[:, None]
    matrix = jnp.log(transition_matrices(params, jnp.asarray(lanes.U)))
    driven = is_driven(matrix)
    constant = matrix[:, :, 0]

    def ahead(best: jax.Array, now: tuple) -> tuple[jax.Array, jax.Array]:
        log_lik, reset, here = now
        through = best[:, None] + (here if driven else constant)
        # A session's first trial comes from nowhere: its predecessor is the previous session's
        # best end, so that tracing back passes from one session to the one before.
        came_from = jnp.where(reset[None], best.argmax(0)[None], through.argmax(0))
        score = jnp.where(reset[None], initial, through.max(0)) + log_lik
        return score, came_from

    start = jnp.broadcast_to(initial, log_lik[:, 0].shape)
    along = (log_lik, reset, matrix if driven else None)
    last, came_from = along_time(ahead, start, along)

    def back(state: jax.Array, came_from: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.take_along_axis(came_from, state[None], 0)[0], state

    return along_time(back, last.argmax(0), came_from, reverse=True)[1]


#: :func:`viterbi` of many subjects, everything along a first axis.
viterbi_together = jax.jit(jax.vmap(viterbi))
