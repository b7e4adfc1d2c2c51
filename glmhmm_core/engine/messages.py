"""Forward and backward messages of the hidden chain, over lanes.

Scaled as in Rabiner (1989): each forward message is a probability, and the scales are the
one-step predictive probabilities of the choices, whose logarithms add up to the likelihood.
Arrays are (T, K, S): lanes are innermost, so that vector units are filled by sessions.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from glmhmm_core.engine.lanes import Lanes
from glmhmm_core.engine.parameters import Array, Parameters
from glmhmm_core.engine.transitions import transition_matrices

#: A choice this improbable under every state is scored as this probable: keeps messages finite.
TINY = 1e-250


def choice_probs(weights: jax.Array, X: jax.Array) -> jax.Array:
    """P(y | z, x) for every class, baseline first: (K, C-1, M), (T, M, S) -> (T, K, C, S)."""
    logits = (weights[None, :, :, :, None] * X[:, None, None, :, :]).sum(3)
    peak = jnp.maximum(logits.max(2, keepdims=True), 0.0)
    unnormalised = jnp.concatenate([jnp.exp(-peak), jnp.exp(logits - peak)], 2)
    return unnormalised / unnormalised.sum(2, keepdims=True)


def likelihoods(probs: jax.Array, y: jax.Array) -> jax.Array:
    """P(y_t | z_t) of the choice, 1 where none counts: (T, K, C, S), (T, C, S) -> (T, K, S)."""
    observed = (y.sum(1) > 0)[:, None]
    return jnp.where(observed, jnp.maximum((probs * y[:, None]).sum(2), TINY), 1.0)


def binary_likelihoods(weights: jax.Array, X: jax.Array, y: jax.Array) -> jax.Array:
    """The same where there are two choices, with one exponential a trial: (T, K, S)."""
    chosen = (y[:, 1] - y[:, 0])[:, None]
    logits = (weights[None, :, 0, :, None] * X[:, None]).sum(2) * chosen
    return jnp.where(chosen == 0, 1.0, jnp.maximum(jax.nn.sigmoid(logits), TINY))


class Filtered(NamedTuple):
    """Forward messages.

    Attributes
    ----------
    predicted, filtered, joint : (T, K, S)
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
    matrix : (K, K, 1), or (T, K, K, S) for the transitions into every trial
    lik : (T, K, S)
    reset : bool (T, S)
        True where the chain starts anew.
    """
    initial = jnp.asarray(initial_probs)[:, None]
    driven = matrix.ndim == 4
    anew = jnp.asarray(reset).astype(lik.dtype)

    def step(before: jax.Array, now: tuple) -> tuple[jax.Array, jax.Array]:
        lik, anew, here = now
        carried = ((here if driven else matrix) * before[:, None]).sum(0)
        predicted = carried * ((1 - anew) / before.sum(0))[None] + initial * anew[None]
        # A message of its own, and not once more for each of its readers.
        joint = jax.lax.optimization_barrier(predicted * lik)
        return joint, joint

    # One array leaves the loop; what else is asked for follows from it, all trials at once.
    start = jnp.ones(lik.shape[1:])
    joint = jax.lax.scan(step, start, (lik, anew, matrix if driven else None))[1]
    scale = joint.sum(1)
    filtered = joint / scale[:, None]
    into = matrix[1:] if driven else matrix[None]
    carried = (into * filtered[:-1, :, None]).sum(1)
    carried = jnp.concatenate([jnp.zeros((1, *lik.shape[1:])), carried])
    predicted = jnp.where(reset[:, None], initial[None], carried)
    return Filtered(predicted, filtered, joint, scale)


class Smoothed(NamedTuple):
    """Backward messages.

    Attributes
    ----------
    smoothed : (T, K, S)
        P(z_t | y).
    ratio : (T, K, S)
        q with expected transitions ``filtered_{t-1} A q_t``.
    counts : (K, K, S)
        Sum of ``filtered_{t-1} q_t`` over the transitions that count.
    """

    smoothed: jax.Array
    ratio: jax.Array
    counts: jax.Array


def backward(
    matrix: jax.Array, lik: jax.Array, reset: jax.Array, link: jax.Array, messages: Filtered
) -> Smoothed:
    """Smooth every lane; arguments as for :func:`forward` with what it returned.

    Parameters
    ----------
    link : (T, S)
        Weight of the transition into each trial.
    """
    driven = matrix.ndim == 4
    num_states, lanes = lik.shape[1:]
    last = jnp.concatenate([jnp.asarray(reset)[1:], jnp.ones((1, lanes), bool)]).astype(lik.dtype)
    leaves = jnp.concatenate([jnp.asarray(link)[1:], jnp.zeros((1, lanes))])

    def step(after: tuple, now: tuple) -> tuple[tuple, tuple[jax.Array, jax.Array]]:
        ratio, into, counts = after  # of the trial behind this one
        lik, joint, last, leaves, here = now
        behind = ((into if driven else matrix) * ratio[None]).sum(1)
        # Each of these once, and not once more for each of its readers.
        behind = jax.lax.optimization_barrier(behind * (1 - last)[None] + last[None])
        inverse = 1 / (joint * behind).sum(0)
        share = jax.lax.optimization_barrier(joint * inverse[None])
        counts = counts + (share * leaves[None])[:, None] * ratio[None]
        ratio = lik * behind * inverse[None]
        return (ratio, here, counts), (share * behind, ratio)

    end = (
        jnp.zeros((num_states, lanes)),
        matrix[0] if driven else None,
        jnp.zeros((num_states, num_states, lanes)),
    )
    now = (lik, messages.joint, last, leaves, matrix if driven else None)
    (_, _, counts), (smoothed, ratio) = jax.lax.scan(step, end, now, reverse=True)
    return Smoothed(smoothed, ratio, counts)


@jax.jit
def smooth(params: Parameters, lanes: Lanes) -> tuple[Filtered, Smoothed, jax.Array]:
    """Filter and smooth: messages, and P(y_t = c | y_<t), baseline first (T, C, S)."""
    probs = choice_probs(jnp.asarray(params.emission_weights), jnp.asarray(lanes.X))
    lik = likelihoods(probs, jnp.asarray(lanes.y))
    reset = jnp.asarray(lanes.reset)
    matrix = transition_matrices(params, jnp.asarray(lanes.U))
    filtered = forward(params.initial_probs, matrix, lik, reset)
    choices = (filtered.predicted[:, :, None] * probs).sum(1)
    return filtered, backward(matrix, lik, reset, jnp.asarray(lanes.link), filtered), choices


#: :func:`smooth` of many subjects, everything along a first axis.
smooth_together = jax.jit(jax.vmap(smooth))
