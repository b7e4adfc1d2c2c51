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

from glmhmm_core.engine.lanes import Lanes, blocks_of
from glmhmm_core.engine.messages import (
    backward,
    binary_likelihoods,
    choice_probs,
    forward,
    likelihoods,
    total,
)
from glmhmm_core.engine.odds import (
    InitialStep,
    constant_step_under,
    driven_step_under,
    initial_step,
)
from glmhmm_core.engine.parameters import Free, Parameters, Prior, log_prior
from glmhmm_core.engine.transitions import (
    ChainStep,
    DrivenSums,
    constant_step,
    driven_step,
    driven_sums,
    invert,
    transition_matrices,
)


class Data(NamedTuple):
    """What the E-step goes through, in B blocks of lanes.

    Attributes
    ----------
    lanes
        Fields (B, ..., T, S / B).
    products : float64 (B, T S / B, M(M+1)/2)
        Of the pairs of regressors, a row for each cell of a block.
    """

    lanes: Lanes
    products: jax.Array


def prepare(lanes: Lanes) -> Data:
    """Cut lanes into blocks, put them on the device and multiply out the pairs of regressors.

    On an accelerator all lanes are one block.
    """
    number = lanes.reset.shape[1]
    blocks = blocks_of(number) if jax.default_backend() == "cpu" else 1
    width = -(-number // blocks)

    def cut(field: np.ndarray, beyond: float) -> np.ndarray:
        if blocks * width > number:  # lanes without trials fill the last block
            padding = [(0, 0)] * (field.ndim - 1) + [(0, blocks * width - number)]
            field = np.pad(field, padding, constant_values=beyond)
        return np.stack(np.split(field, blocks, -1))

    # With NumPy: what JAX does outside of a compiled program takes milliseconds each time.
    fields = {name: cut(np.asarray(f), name == "reset") for name, f in lanes._asdict().items()}
    X = fields["X"]
    a, b = np.triu_indices(X.shape[1])
    cells = np.ascontiguousarray(X.reshape(*X.shape[:2], -1).transpose(0, 2, 1))
    return Data(
        Lanes(**{name: jnp.asarray(field) for name, field in fields.items()}),
        jnp.asarray(cells[:, :, a] * cells[:, :, b]),
    )


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
    initial : InitialStep
        Of the initial log-probabilities.
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
    initial: InitialStep
    chain: ChainStep
    gradient: jax.Array
    metric: jax.Array


def sums_over_cells(a: jax.Array, b: jax.Array) -> jax.Array:
    """Sums of products over time and lanes: (..., T, S), (TS, J) -> (..., J)."""
    return a.reshape(*a.shape[:-2], -1) @ b


class Sums(NamedTuple):
    """What some lanes add to the E-step."""

    log_likelihood: jax.Array
    initial_counts: jax.Array  # (K,)
    transition_counts: jax.Array  # (K, K)
    driven: DrivenSums | None  # None for a constant chain
    gradient: jax.Array  # (K, (C-1)M)
    information: jax.Array  # (K, (C-1)M, (C-1)M)


def expect(params: Parameters, data: Data, prior: Prior, free: Free) -> Expectation:
    """E-step of one subject at ``params``."""
    weights = jnp.asarray(params.emission_weights)
    num_states = weights.shape[0]
    sums = expected_sums(params, data)

    precision = jnp.broadcast_to(jnp.asarray(prior.emission_precision), weights.shape)
    flat = precision.reshape(num_states, -1)
    information = sums.information + flat[:, :, None] * jnp.eye(flat.shape[1])[None]
    penalty = (precision * prior.off_mean(weights)).reshape(num_states, -1)
    fitted = jnp.asarray(free.emission).reshape(num_states, -1)
    return Expectation(
        objective=sums.log_likelihood + log_prior(params, prior, free),
        log_likelihood=sums.log_likelihood,
        initial_counts=sums.initial_counts,
        transition_counts=sums.transition_counts,
        initial=initial_step(params, sums.initial_counts, prior.odds),
        chain=_chain_step(params, prior, free, sums),
        gradient=(sums.gradient - penalty) * fitted,
        metric=invert(information, fitted),
    )


def expected_sums(params: Parameters, data: Data) -> Sums:
    """Log-likelihood and expected statistics at ``params``, without the priors."""
    if data.lanes.reset.shape[0] == 1:
        return _sums(params, *jax.tree.map(lambda field: field[0], data))
    parts = jax.lax.map(lambda block: _sums(params, *block), data)
    return jax.tree.map(lambda part: part.sum(0), parts)


def _sums(params: Parameters, lanes: Lanes, products: jax.Array) -> Sums:
    weights = jnp.asarray(params.emission_weights)
    num_states, rows, num_features = weights.shape
    probs = None if rows == 1 else choice_probs(weights, lanes.X)
    lik = (
        binary_likelihoods(weights, lanes.X, lanes.y)
        if probs is None
        else likelihoods(probs, lanes.y)
    )
    matrix = transition_matrices(params, lanes.U)
    filtered = forward(params.initial_probs, matrix, lik, lanes.reset)
    smoothed = backward(matrix, lik, lanes.reset, filtered)

    if probs is None:
        # Of the choice that was not made; nothing where none was.
        residual = smoothed.smoothed * (1 - lik)
        variances = [residual * lik]
        residual = residual * (lanes.y[1] - lanes.y[0])[None]
    else:
        responsibility = smoothed.smoothed * total(lanes.y, 0)[None]
        residual = responsibility[:, None] * (lanes.y[None] - probs)[:, 1:]
        p = probs[:, 1:]
        variances = [
            responsibility * p[:, a] * (float(a == b) - p[:, b])
            for a, b in combinations_with_replacement(range(rows), 2)
        ]
    cells = lanes.X.reshape(num_features, -1)
    before, into = filtered.filtered[:, :-1], (smoothed.ratio * lanes.link[None])[:, 1:]
    if params.transition_weights is None:
        driven = None
        flat = into.reshape(num_states, -1)
        counts = matrix[:, :, 0, 0] * sums_over_cells(before, flat.T)
    else:
        xi = before[:, None] * matrix[:, :, 1:] * into[None]
        driven = driven_sums(xi, matrix[:, :, 1:], lanes.U[:, 1:])
        counts = xi.sum((2, 3))
    blocks = [sums_over_cells(variance, products) for variance in variances]
    return Sums(
        log_likelihood=jnp.log(filtered.scale).sum(),
        initial_counts=(smoothed.smoothed * lanes.start[None]).sum((1, 2)),
        transition_counts=counts,
        driven=driven,
        gradient=sums_over_cells(residual, cells.T).reshape(num_states, -1),
        information=_assemble(blocks, rows, num_features),
    )


def _chain_step(params: Parameters, prior: Prior, free: Free, sums: Sums) -> ChainStep:
    prior_counts = jnp.asarray(prior.transition_counts)
    if sums.driven is None:
        counts = sums.transition_counts + prior_counts
        if prior.odds is not None:
            return constant_step_under(params, counts, prior.odds)
        return constant_step(jnp.asarray(params.transition_matrix), counts)
    if prior.odds is not None:
        return driven_step_under(params, jnp.asarray(free.transition), sums.driven, prior.odds)
    return driven_step(
        params,
        jnp.asarray(free.transition),
        jnp.asarray(prior.transition_precision),
        prior_counts,
        sums.driven,
    )


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
