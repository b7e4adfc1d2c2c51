"""Forward and backward messages of the hidden chain, over lanes.

Scaled as in Rabiner (1989): each forward message is a probability, and the scales are the
one-step predictive probabilities of the choices, whose logarithms add up to the likelihood.
Arrays are (K, T, S): lanes are innermost, so that vector units are filled by sessions.
"""

from functools import reduce
from operator import add
from typing import NamedTuple

import jax
import jax.numpy as jnp

from glmhmm_core.engine.lanes import Lanes
from glmhmm_core.engine.parameters import Array, Parameters
from glmhmm_core.engine.time_loop import along_time
from glmhmm_core.engine.transitions import is_driven, transition_matrices

#: A choice this improbable under every state is scored as this probable: keeps messages finite.
TINY = 1e-250


def total(terms: jax.Array, axis: int) -> jax.Array:
    """Sum over a short axis, term by term: whole rows are added, not single numbers."""
    rows = (jax.lax.index_in_dim(terms, i, axis, keepdims=False) for i in range(terms.shape[axis]))
    return reduce(add, rows)


def choice_probs(weights: jax.Array, X: jax.Array) -> jax.Array:
    """P(y | z, x) for every class, baseline first: (K, C-1, M), (M, T, S) -> (K, C, T, S)."""
    logits = total(weights[:, :, :, None, None] * X[None, None], 2)
    peak = jnp.maximum(logits.max(1, keepdims=True), 0.0)
    unnormalised = jnp.concatenate([jnp.exp(-peak), jnp.exp(logits - peak)], 1)
    return unnormalised / total(unnormalised, 1)[:, None]


def likelihoods(probs: jax.Array, y: jax.Array) -> jax.Array:
    """P(y_t | z_t) of the choice, 1 where none counts: (K, C, T, S), (C, T, S) -> (K, T, S)."""
    return jnp.where((total(y, 0) > 0)[None], jnp.maximum(total(probs * y[None], 1), TINY), 1.0)


def binary_likelihoods(weights: jax.Array, X: jax.Array, y: jax.Array) -> jax.Array:
    """The same where there are two choices, with one exponential a trial: (K, T, S)."""
    chosen = (y[1] - y[0])[None]
    logits = total(weights[:, 0, :, None, None] * X[None], 1) * chosen
    return jnp.where(chosen == 0, 1.0, jnp.maximum(jax.nn.sigmoid(logits), TINY))


class Filtered(NamedTuple):
    """Forward messages.

    Attributes
    ----------
    predicted, filtered, joint : (K, T, S)
        P(z_t | y_<t), P(z_t | y_<=t) and P(z_t, y_t | y_<t).
    scale : (T, S)
        P(y_t | y_<t).
    """

    predicted: jax.Array
    filtered: jax.Array
    joint: jax.Array
    scale: jax.Array


def forward(initial_probs: Array, matrix: jax.Array, lik: jax.Array, reset: jax.Array) -> Filtered:
    """Filter every lane.

    Parameters
    ----------
    initial_probs : (K,)
    matrix : (K, K, 1, 1), or (K, K, T, S) for the transitions into every trial
    lik : (K, T, S)
    reset : bool (T, S)
        True where the chain starts anew.
    """
    num_states, _, lanes = lik.shape
    initial = jnp.asarray(initial_probs)[:, None]
    driven = is_driven(matrix)
    constant = matrix[:, :, 0]
    anew = jnp.asarray(reset).astype(lik.dtype)

    def step(before: jax.Array, now: tuple) -> tuple[jax.Array, jax.Array]:
        lik, anew, here = now
        carried = total((here if driven else constant) * before[:, None], 0)
        predicted = carried * ((1 - anew) / total(before, 0))[None] + initial * anew[None]
        # A message of its own, and not once more for each of its readers.
        joint = jax.lax.optimization_barrier(predicted * lik)
        return joint, joint

    # One array leaves the loop; what else is asked for follows from it, all trials at once.
    start = jnp.ones((num_states, lanes))
    joint = along_time(step, start, (lik, anew, matrix if driven else None))[1]
    scale = jax.lax.optimization_barrier(total(joint, 0))
    filtered = joint * jax.lax.optimization_barrier(1 / scale)[None]
    carried = total((matrix[:, :, 1:] if driven else matrix) * filtered[:, None, :-1], 0)
    carried = jnp.concatenate([jnp.zeros((num_states, 1, lanes)), carried], 1)
    predicted = jnp.where(reset[None], initial[:, None], carried)
    return Filtered(predicted, filtered, joint, scale)


class Smoothed(NamedTuple):
    """Backward messages.

    Attributes
    ----------
    smoothed : (K, T, S)
        P(z_t | y).
    ratio : (K, T, S)
        q with expected transitions ``filtered_{t-1} A q_t``.
    """

    smoothed: jax.Array
    ratio: jax.Array


def backward(matrix: jax.Array, lik: jax.Array, reset: jax.Array, messages: Filtered) -> Smoothed:
    """Smooth every lane; arguments as for :func:`forward` with what it returned."""
    driven = is_driven(matrix)
    constant = matrix[:, :, 0]
    num_states, _, lanes = lik.shape
    last = jnp.concatenate([jnp.asarray(reset)[1:], jnp.ones((1, lanes), bool)]).astype(lik.dtype)

    def step(after: tuple, now: tuple) -> tuple[tuple, jax.Array]:
        ratio, into = after  # of the trial behind this one
        lik, joint, last, here = now
        behind = total((into if driven else constant) * ratio[None], 1)
        # Each of these once, and not once more for each of its readers.
        behind = jax.lax.optimization_barrier(behind * (1 - last)[None] + last[None])
        message = jax.lax.optimization_barrier(behind * (1 / total(joint * behind, 0))[None])
        return (lik * message, here), message

    end = (jnp.zeros((num_states, lanes)), matrix[:, :, 0] if driven else None)
    now = (lik, messages.joint, last, matrix if driven else None)
    message = along_time(step, end, now, reverse=True)[1]
    return Smoothed(messages.joint * message, lik * message)


@jax.jit
def smooth(params: Parameters, lanes: Lanes) -> tuple[Filtered, Smoothed, jax.Array]:
    """Filter and smooth: messages, and P(y_t = c | y_<t), baseline first (C, T, S)."""
    probs = choice_probs(jnp.asarray(params.emission_weights), jnp.asarray(lanes.X))
    lik = likelihoods(probs, jnp.asarray(lanes.y))
    reset = jnp.asarray(lanes.reset)
    matrix = transition_matrices(params, jnp.asarray(lanes.U))
    filtered = forward(params.initial_probs, matrix, lik, reset)
    choices = total(filtered.predicted[:, None] * probs, 0)
    return filtered, backward(matrix, lik, reset, filtered), choices


#: :func:`smooth` of many subjects, everything along a first axis.
smooth_together = jax.jit(jax.vmap(smooth))
