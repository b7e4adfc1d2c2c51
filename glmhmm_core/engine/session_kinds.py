"""Sessions of several kinds: each kind its own chain, all with the same states.

A mixture over whole sessions. It is one large hidden chain of (kind, state) that never leaves its
kind, so that messages over that chain give the exact likelihood and all expectations; weights are
shared by the kinds, which is why their expected statistics are added up. Climbed by EM, the
weights by one Newton step a time (Lange 1995), shortened where it would not gain.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from glmhmm_core.engine.expectation import Data, expected_sums
from glmhmm_core.engine.parameters import Array, Parameters, Prior, gaussian_log_density
from glmhmm_core.engine.transitions import invert

#: Relative rounding error of a sum of log-likelihoods.
ROUNDING = 1e-13


class SessionKinds(NamedTuple):
    """Parameters of a GLM-HMM whose sessions are of G kinds.

    Attributes
    ----------
    shares : float64 (G,)
        Share of the sessions of each kind.
    initial_probs : float64 (G, K)
        Law of a session's first state.
    transition_matrix : float64 (G, K, K)
    emission_weights : float64 (K, C-1, M)
        Shared by all kinds.
    """

    shares: Array
    initial_probs: Array
    transition_matrix: Array
    emission_weights: Array


class KindsPrior(NamedTuple):
    """Priors of the MAP objective; that of the shares is flat.

    Attributes
    ----------
    plain
        Priors of the plain model, of which those on the weights are taken.
    initial_counts, transition_counts : float64 (K,), (K, K)
        Dirichlet concentrations less one of every kind's laws, positive.
    normalizer
        Logarithm of one kind's Dirichlets' normalizer.
    """

    plain: Prior
    initial_counts: Array
    transition_counts: Array
    normalizer: float


class KindsFit(NamedTuple):
    """Where a climb ended: parameters, MAP objective, iterations, and whether it converged."""

    params: SessionKinds
    objective: Array
    iterations: Array
    converged: Array


def as_one_chain(params: SessionKinds) -> Parameters:
    """The same model as a plain one of GK states, kind by kind: (kind g, state k) is gK + k."""
    initial = jnp.asarray(params.initial_probs)
    kinds, states = initial.shape
    g = jnp.arange(kinds)
    matrix = jnp.zeros((kinds, states, kinds, states))
    matrix = matrix.at[g, :, g, :].set(jnp.asarray(params.transition_matrix))
    return Parameters(
        (jnp.asarray(params.shares)[:, None] * initial).ravel(),
        matrix.reshape(kinds * states, kinds * states),
        jnp.tile(jnp.asarray(params.emission_weights), (kinds, 1, 1)),
    )


class _Point(NamedTuple):
    params: SessionKinds
    objective: jax.Array
    next: SessionKinds  # EM's


def _evaluate(params: SessionKinds, data: Data, prior: KindsPrior, free: Array) -> _Point:
    kinds, states = params.initial_probs.shape
    weights = jnp.asarray(params.emission_weights)
    sums = expected_sums(as_one_chain(params), data)

    def over_kinds(statistic: jax.Array) -> jax.Array:
        return statistic.reshape(kinds, states, *statistic.shape[1:]).sum(0)

    precision = jnp.broadcast_to(jnp.asarray(prior.plain.emission_precision), weights.shape)
    penalty = (precision * prior.plain.off_mean(weights)).reshape(states, -1)
    flat, fitted = precision.reshape(states, -1), jnp.asarray(free).reshape(states, -1)
    gradient = over_kinds(sums.gradient) - penalty
    information = over_kinds(sums.information) + flat[:, :, None] * jnp.eye(flat.shape[1])[None]
    step = (invert(information, fitted) @ (gradient * fitted)[:, :, None]).reshape(weights.shape)

    begun = sums.initial_counts.reshape(kinds, states)
    g = jnp.arange(kinds)
    moved = sums.transition_counts.reshape(kinds, states, kinds, states)[g, :, g, :]
    sessions = begun.sum(1)
    begun = begun + jnp.asarray(prior.initial_counts)[None]
    moved = moved + jnp.asarray(prior.transition_counts)[None]
    following = SessionKinds(
        sessions / sessions.sum(),
        begun / begun.sum(1, keepdims=True),
        moved / moved.sum(2, keepdims=True),
        weights + step,
    )
    return _Point(
        params,
        sums.log_likelihood + log_prior(params, prior, free),
        following,
    )


def log_prior(params: SessionKinds, prior: KindsPrior, free: Array) -> jax.Array:
    """Log density of the priors, nats; what is frozen contributes 0."""
    weights = prior.plain.off_mean(params.emission_weights)
    spread = jnp.broadcast_to(jnp.asarray(prior.plain.emission_precision), weights.shape)
    initial = jnp.asarray(prior.initial_counts)[None] * jnp.log(params.initial_probs)
    moves = jnp.asarray(prior.transition_counts)[None] * jnp.log(params.transition_matrix)
    chains = initial.sum() + moves.sum() + params.initial_probs.shape[0] * prior.normalizer
    return gaussian_log_density(weights, spread * jnp.asarray(free)) + chains


@partial(jax.jit, static_argnames="max_iters")
def maximize_kinds(
    start: SessionKinds,
    data: Data,
    prior: KindsPrior,
    free: Array,
    tol: float,
    *,
    max_iters: int,
) -> KindsFit:
    """Climb by EM from parameters with positive probabilities.

    Parameters
    ----------
    free : float64 (K, C-1, M)
        0 where a weight is frozen.
    tol
        Relative gain of an iteration at which the climb ends.
    max_iters
        Iterations after which it is given up.
    """

    def body(state: tuple) -> tuple:
        at, damping, iteration, _ = state
        tried = jax.tree.map(lambda a, b: a + damping * (b - a), at.params, at.next)
        new = _evaluate(tried, data, prior, free)
        gain = new.objective - at.objective
        taken = gain >= -ROUNDING * jnp.abs(at.objective)  # False for NaN too
        point = jax.tree.map(lambda n, o: jnp.where(taken, n, o), new, at)
        done = taken & (gain < tol * jnp.maximum(jnp.abs(at.objective), 1.0))
        return point, jnp.where(taken, 1.0, damping / 2), iteration + 1, done

    def going(state: tuple) -> jax.Array:
        _, damping, iteration, done = state
        return ~done & (iteration < max_iters) & (damping > 1e-6)

    start = SessionKinds(*(jnp.asarray(field) for field in start))
    begin = (_evaluate(start, data, prior, free), jnp.asarray(1.0), jnp.asarray(0))
    end, _, iterations, done = jax.lax.while_loop(going, body, (*begin, jnp.asarray(False)))
    return KindsFit(end.params, end.objective, iterations, done)


def kinds_prior(
    plain: Prior,
    initial_probs: np.ndarray,
    transition_matrix: np.ndarray,
    sessions: float,
    transitions: float,
) -> KindsPrior:
    """Prior of kinds that are like a plain model's chain as far as the data do not say otherwise.

    Parameters
    ----------
    plain
        The plain model's priors, of which those on the weights are taken.
    initial_probs, transition_matrix : float64 (K,), (K, K)
        Laws of the plain model.
    sessions, transitions
        What it counts for: so many sessions begun, and transitions out of each state.
    """
    least = 1e-3  # positive, so that no law reaches zero
    initial = sessions * np.asarray(initial_probs) + least
    moves = transitions * np.asarray(transition_matrix) + least
    rows = [initial + 1, *(moves + 1)]
    normalizer = sum(math.lgamma(row.sum()) - sum(map(math.lgamma, row)) for row in rows)
    return KindsPrior(plain, initial, moves, float(normalizer))
