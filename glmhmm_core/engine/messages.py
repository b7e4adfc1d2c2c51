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


class Filtered(NamedTuple):
    """Forward messages: P(z_t | y_<t), P(z_t | y_<=t), both (T, K, S), and P(y_t | y_<t) (T, S)."""

    predicted: jax.Array
    filtered: jax.Array
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

    def step(before: jax.Array, now: tuple) -> tuple[jax.Array, Filtered]:
        lik, reset, here = now
        carried = ((here if driven else matrix) * before[:, None]).sum(0)
        predicted = jnp.where(reset[None], initial, carried)
        joint = predicted * lik
        scale = joint.sum(0)
        filtered = joint / scale[None]
        return filtered, Filtered(predicted, filtered, scale)

    start = jnp.broadcast_to(initial, lik.shape[1:])
    return jax.lax.scan(step, start, (lik, reset, matrix if driven else None))[1]


class Smoothed(NamedTuple):
    """Backward messages: P(z_t | y) (T, K, S), and q with xi_t = filtered_{t-1} A q_t."""

    smoothed: jax.Array
    ratio: jax.Array


def backward(matrix: jax.Array, lik: jax.Array, reset: jax.Array, messages: Filtered) -> Smoothed:
    """Smooth every lane; arguments as for :func:`forward` with what it returned."""
    driven = matrix.ndim == 4

    def step(ahead: jax.Array, now: tuple) -> tuple[jax.Array, Smoothed]:
        lik, reset, here, filtered, scale = now
        smoothed = filtered * ahead
        ratio = lik * ahead / scale[None]
        into = ((here if driven else matrix) * ratio[None]).sum(1)
        behind = jnp.where(reset[None], 1.0, into)
        return behind, Smoothed(smoothed, ratio)

    end = jnp.ones(lik.shape[1:])
    now = (lik, reset, matrix if driven else None, messages.filtered, messages.scale)
    return jax.lax.scan(step, end, now, reverse=True)[1]


@jax.jit
def smooth(params: Parameters, lanes: Lanes) -> tuple[Filtered, Smoothed, jax.Array]:
    """Filter and smooth: messages, and P(y_t = c | y_<t), baseline first (T, C, S)."""
    probs = choice_probs(jnp.asarray(params.emission_weights), jnp.asarray(lanes.X))
    lik = likelihoods(probs, jnp.asarray(lanes.y))
    reset = jnp.asarray(lanes.reset)
    matrix = transition_matrices(params, jnp.asarray(lanes.U))
    filtered = forward(params.initial_probs, matrix, lik, reset)
    choices = (filtered.predicted[:, :, None] * probs).sum(1)
    return filtered, backward(matrix, lik, reset, filtered), choices
