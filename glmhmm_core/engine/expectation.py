"""The E-step: the exact MAP objective at some parameters, its gradient, and EM's step.

By Fisher's identity the gradient of the marginal log-likelihood is that of the expected
complete-data log-likelihood (Dempster, Laird and Rubin 1977), so one pass of messages gives the
objective, the EM step and the metric that a faster optimiser needs.
"""

from itertools import combinations_with_replacement
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from glmhmm_core.engine.lanes import Lanes
from glmhmm_core.engine.messages import backward, choice_probs, forward, likelihoods
from glmhmm_core.engine.parameters import Free, Parameters, Prior, log_prior
from glmhmm_core.engine.transitions import (
    ChainStep,
    constant_step,
    driven_step,
    invert,
    transition_matrices,
)


class Data(NamedTuple):
    """Lanes with the products of regressors that the curvature needs, (T, M(M+1)/2, S)."""

    lanes: Lanes
    products: jax.Array


def prepare(lanes: Lanes) -> Data:
    """Put lanes on the device and multiply out the pairs of regressors."""
    on_device = Lanes(*(jnp.asarray(field) for field in lanes))
    a, b = np.triu_indices(lanes.X.shape[1])
    return Data(on_device, on_device.X[:, a] * on_device.X[:, b])


class Expectation(NamedTuple):
    """What one E-step tells at its parameters.

    Attributes
    ----------
    objective, log_likelihood : float64 ()
        Log-likelihood plus log prior, and the log-likelihood alone; nats.
    initial_counts : float64 (K,)
        Expected number of sessions that begin in each state.
    transition_counts : float64 (K, K)
        Expected number of transitions, without the prior's.
    chain : ChainStep
        Of the transitions' coordinates.
    gradient : float64 (K, (C-1)M)
        Of the objective with respect to the emission weights.
    metric : float64 (K, (C-1)M, (C-1)M)
        Inverse complete-data information of the weights of each state.
    """

    objective: jax.Array
    log_likelihood: jax.Array
    initial_counts: jax.Array
    transition_counts: jax.Array
    chain: ChainStep
    gradient: jax.Array
    metric: jax.Array


def contract(a: jax.Array, b: jax.Array) -> jax.Array:
    """Sum of products over time and lanes: (T, I, S), (T, J, S) -> (I, J)."""
    flat_a = a.transpose(1, 0, 2).reshape(a.shape[1], -1)
    flat_b = b.transpose(1, 0, 2).reshape(b.shape[1], -1)
    return flat_a @ flat_b.T


def expect(params: Parameters, data: Data, prior: Prior, free: Free) -> Expectation:
    """E-step of one subject at ``params``."""
    lanes = data.lanes
    weights = jnp.asarray(params.emission_weights)
    num_states, rows, num_features = weights.shape

    probs = choice_probs(weights, lanes.X)
    lik = likelihoods(probs, lanes.y)
    matrix = transition_matrices(params, lanes.U)
    filtered = forward(params.initial_probs, matrix, lik, lanes.reset)
    smoothed = backward(matrix, lik, lanes.reset, filtered)
    log_likelihood = jnp.log(filtered.scale).sum()

    responsibility = smoothed.smoothed * lanes.y.sum(1)[:, None]
    shape = (lanes.X.shape[0], num_states * rows, lanes.X.shape[2])
    residual = responsibility[:, :, None] * (lanes.y[:, None] - probs)[:, :, 1:]
    gradient = contract(residual.reshape(shape), lanes.X).reshape(num_states, -1)
    p = probs[:, :, 1:]
    blocks = [
        contract(responsibility * p[:, :, a] * (float(a == b) - p[:, :, b]), data.products)
        for a, b in combinations_with_replacement(range(rows), 2)
    ]
    precision = jnp.tile(jnp.asarray(prior.emission_precision), rows)
    information = _assemble(blocks, rows, num_features) + jnp.diag(precision)[None]
    fitted = jnp.asarray(free.emission).reshape(num_states, -1)

    into = smoothed.ratio * lanes.link[:, None]
    counts, chain = _chain(params, prior, free, lanes, matrix, filtered.filtered, into)
    return Expectation(
        objective=log_likelihood + log_prior(params, prior, free),
        log_likelihood=log_likelihood,
        initial_counts=(smoothed.smoothed * lanes.start[:, None]).sum((0, 2)),
        transition_counts=counts,
        chain=chain,
        gradient=(gradient - precision[None] * weights.reshape(num_states, -1)) * fitted,
        metric=invert(information, fitted),
    )


def _chain(
    params: Parameters,
    prior: Prior,
    free: Free,
    lanes: Lanes,
    matrix: jax.Array,
    filtered: jax.Array,
    into: jax.Array,
) -> tuple[jax.Array, ChainStep]:
    """Expected transitions (K, K), and the step of the chain's coordinates."""
    prior_counts = jnp.asarray(prior.transition_counts)
    if params.transition_weights is None:
        counts = jnp.asarray(params.transition_matrix) * contract(filtered[:-1], into[1:])
        return counts, constant_step(jnp.asarray(params.transition_matrix), counts + prior_counts)
    xi = filtered[:-1, :, None] * matrix[1:] * into[1:, None]
    chain = driven_step(
        params,
        jnp.asarray(free.transition),
        jnp.asarray(prior.transition_precision),
        prior_counts,
        xi,
        matrix[1:],
        lanes.U[1:],
    )
    return xi.sum((0, 3)), chain


def _assemble(blocks: list[jax.Array], rows: int, num_features: int) -> jax.Array:
    """Symmetric matrices per state from the upper triangles of their blocks."""
    a, b = np.triu_indices(num_features)
    index = np.zeros((num_features, num_features), np.int64)
    index[a, b] = index[b, a] = np.arange(len(a))
    where = {}
    for (i, j), block in zip(combinations_with_replacement(range(rows), 2), blocks, strict=True):
        where[i, j] = where[j, i] = block[:, index]
    return jnp.concatenate(
        [jnp.concatenate([where[i, j] for j in range(rows)], 2) for i in range(rows)], 1
    )
