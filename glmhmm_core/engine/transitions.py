"""The chain: its transition probabilities, and the M-step of what they depend on.

Coordinates of row i are the log-odds of leaving for each other state over staying,
``b[i, j] + W[i, j] · u_t``: what is fitted is then identified, whatever the regressors.
"""

from itertools import combinations_with_replacement
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from glmhmm_core.engine.parameters import Array, Parameters

#: Log-odds and relative log-probabilities are held within this: beyond it they do not matter, but
#: what no state explains after a transition that cannot be would leave no message.
LARGEST = 40.0


def others(num_states: int) -> np.ndarray:
    """The other states of each state, in order: int (K, K-1)."""
    k = num_states
    return np.array([[j for j in range(k) if j != i] for i in range(k)], np.int64).reshape(k, k - 1)


def log_odds(matrix: Array) -> jax.Array:
    """Log-odds of leaving over staying: (K, K) -> (K, K-1)."""
    log = jnp.log(jnp.asarray(matrix))
    k = log.shape[0]
    away = log[jnp.arange(k)[:, None], others(k)]
    return away - jnp.diagonal(log)[:, None]


def chain_coordinates(params: Parameters) -> jax.Array:
    """Log-odds of leaving over staying at u = 0, beside their weights: (K, K-1, 1+D)."""
    odds = log_odds(params.transition_matrix)[:, :, None]
    if params.transition_weights is None:
        return odds
    return jnp.concatenate([odds, jnp.asarray(params.transition_weights)], 2)


def matrix_of(odds: jax.Array) -> jax.Array:
    """Transition probabilities of log-odds: (K, K-1, ...) -> (K, K, ...)."""
    k = odds.shape[0]
    logits = jnp.zeros((k, k, *odds.shape[2:])).at[np.arange(k)[:, None], others(k)].set(odds)
    return jax.nn.softmax(logits, 1)


def transition_matrices(params: Parameters, U: jax.Array) -> jax.Array:
    """Transitions into every trial: (K, K, T, S) with regressors U (D, T, S), else (K, K, 1, 1)."""
    matrix = jnp.asarray(params.transition_matrix)
    if params.transition_weights is None:
        return matrix[:, :, None, None]
    weights = jnp.asarray(params.transition_weights)
    driven = log_odds(matrix)[:, :, None, None] + jnp.einsum("ijd,dts->ijts", weights, U)
    return matrix_of(jnp.clip(driven, -LARGEST, LARGEST))


def is_driven(matrix: jax.Array) -> bool:
    """Whether transitions (K, K, ...) are those into every trial; of a single cell both are one."""
    return matrix.shape[2:] != (1, 1)


class ChainStep(NamedTuple):
    """What the E-step says of the chain's coordinates, b beside W: (K, (K-1)(1+D)).

    Attributes
    ----------
    gradient, em_step : float64 (K, (K-1)(1+D))
        Gradient of the objective, and EM's step.
    metric : float64 (K, (K-1)(1+D), (K-1)(1+D))
        Inverse complete-data information of each row.
    """

    gradient: jax.Array
    em_step: jax.Array
    metric: jax.Array


def constant_step(matrix: jax.Array, counts: jax.Array) -> ChainStep:
    """EM's step in closed form where the chain is constant.

    Parameters
    ----------
    matrix, counts : (K, K)
        Transition probabilities, and expected counts with the prior's.
    """
    k = matrix.shape[0]
    leaving = counts.sum(1, keepdims=True)
    rows, away = np.arange(k)[:, None], others(k)
    residual = counts - leaving * matrix
    # A state that was never left has no information on its row: the row stays as it is.
    known = leaving > 0
    target = jnp.where(known, counts, matrix)
    em_step = log_odds(jnp.maximum(target, 1e-300)) - log_odds(jnp.maximum(matrix, 1e-300))
    stay = jnp.diagonal(matrix)[:, None, None]
    # Inverse of n (diag(p) - p p') for the entries off the diagonal (Sherman and Morrison).
    inverse = jnp.eye(k - 1)[None] / jnp.maximum(matrix[rows, away], 1e-12)[:, None]
    inverse = inverse + 1 / jnp.maximum(stay, 1e-12)
    metric = jnp.where(known[:, None], inverse / jnp.where(known, leaving, 1.0)[:, None], 0.0)
    return ChainStep(residual[rows, away], em_step, metric)


class DrivenSums(NamedTuple):
    """Of the rows' softmax regressions: gradient (K, K-1, 1+D), information (K, K-1, 1+D, ...)."""

    gradient: jax.Array
    information: jax.Array


def driven_sums(xi: jax.Array, matrices: jax.Array, U: jax.Array) -> DrivenSums:
    """What the expected transitions of some lanes say of every row's softmax regression.

    Parameters
    ----------
    xi, matrices : (K, K, T, S)
        Expected transitions into every trial, and their probabilities.
    U : (D, T, S)
    """
    k, dims = xi.shape[0], U.shape[0] + 1
    rows, away = np.arange(k)[:, None], others(k)
    ones = jnp.concatenate([jnp.ones((1, *U.shape[1:])), U])
    leaving = xi.sum(1)
    residual = (xi - leaving[:, None] * matrices)[rows, away]  # (K, K-1, T, S)
    gradient = jnp.einsum("ijts,dts->ijd", residual, ones)

    a, b = np.triu_indices(dims)
    products = ones[a] * ones[b]
    probs = matrices[rows, away]
    information = jnp.zeros((k, k - 1, dims, k - 1, dims))
    index = np.zeros((dims, dims), np.int64)
    index[a, b] = index[b, a] = np.arange(len(a))
    for i, j in combinations_with_replacement(range(k - 1), 2):
        variance = leaving * probs[:, i] * (float(i == j) - probs[:, j])
        block = jnp.einsum("kts,pts->kp", variance, products)[:, index]
        information = information.at[:, i, :, j].set(block).at[:, j, :, i].set(block)
    return DrivenSums(gradient, information)


def driven_step(
    params: Parameters,
    free: jax.Array,
    precision: jax.Array,
    prior_counts: jax.Array,
    sums: DrivenSums,
) -> ChainStep:
    """One Newton step of every row's softmax regression on its expected transitions.

    Parameters
    ----------
    free : (K, K-1, D)
        0 where a weight is frozen.
    precision : (D,)
        Of the Gaussian prior on the weights.
    prior_counts : (K, K)
        Of the Dirichlet prior on the matrix at u = 0, counted as transitions seen there.
    sums
        Over all lanes.
    """
    gradient, information = sums
    k, dims = gradient.shape[0], gradient.shape[2]
    rows, away = np.arange(k)[:, None], others(k)
    base = jnp.asarray(params.transition_matrix)
    seen = prior_counts.sum(1, keepdims=True)
    gradient = gradient.at[:, :, 0].add((prior_counts - seen * base)[rows, away])
    at_zero = base[rows, away]
    outer = jnp.eye(k - 1)[None] * at_zero[:, None] - at_zero[:, :, None] * at_zero[:, None]
    information = information.at[:, :, 0, :, 0].add(seen[:, :, None] * outer)

    weights = jnp.asarray(params.transition_weights)
    gradient = gradient.at[:, :, 1:].add(-precision[None, None] * weights)
    size = (k - 1) * dims
    fitted = jnp.concatenate([jnp.ones((k, k - 1, 1)), free], 2).reshape(k, size)
    penalty = jnp.tile(jnp.concatenate([jnp.zeros(1), precision]), k - 1)
    flat = information.reshape(k, size, size) + jnp.diag(penalty)[None]
    gradient = gradient.reshape(k, size) * fitted
    metric = invert(flat, fitted)
    return ChainStep(gradient, (metric @ gradient[:, :, None])[:, :, 0], metric)


def invert(information: jax.Array, free: jax.Array) -> jax.Array:
    """Inverse information (K, P, P) of the free coordinates (K, P); 0 for the frozen ones.

    A direction without information is damped, not followed. Coordinates are first brought to
    one scale, so that the damping of a large regressor does not reach a small one.
    """
    both = free[:, :, None] * free[:, None]
    eye = jnp.eye(information.shape[-1])[None]
    size = jnp.diagonal(information, axis1=-2, axis2=-1)
    scale = jnp.sqrt(jnp.where(free * size > 0, size, 1.0))
    scales = scale[:, :, None] * scale[:, None]
    padded = information / scales * both + eye * (1 - both + 1e-12)
    return jnp.linalg.inv(padded) / scales * both
