"""Gaussian priors on a chain's log-odds, as a population of subjects puts them on each of its own.

Log-odds, unlike rows of probabilities, have a mean and a spread that can be learned as those of
weights are. EM has no closed form under these priors; its step here is Newton's.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from glmhmm_core.engine.parameters import Array, Parameters, gaussian_log_density
from glmhmm_core.engine.transitions import (
    ChainStep,
    DrivenSums,
    chain_coordinates,
    driven_step,
    others,
)


class OddsPrior(NamedTuple):
    """Gaussian priors on the log-odds of the initial law and of the chain, K > 1.

    Densities of the log-odds, not of the probabilities.

    Attributes
    ----------
    initial_mean, initial_precision : float64 (K,)
        Of the log-odds that a session begins in each state over the reference; precision 0 for
        the reference itself.
    reference : int ()
        State that the initial log-odds are relative to.
    chain_mean, chain_precision : float64 (K, K-1, 1+D)
        Of the log-odds of leaving each state for each other one, in state order, over staying,
        and of their weights on the D transition regressors; precision 0 for a frozen weight.
    """

    initial_mean: Array
    initial_precision: Array
    reference: Array | int
    chain_mean: Array
    chain_precision: Array

    def off_means(self, params: Parameters) -> tuple[jax.Array, jax.Array]:
        """Log-odds less their means: initial (K,) and chain (K, K-1, 1+D)."""
        log = jnp.log(jnp.asarray(params.initial_probs))
        initial = log - log[self.reference] - self.initial_mean
        return initial, chain_coordinates(params) - self.chain_mean

    def log_density(self, params: Parameters) -> jax.Array:
        """Log density at some parameters, nats."""
        initial, chain = self.off_means(params)
        return gaussian_log_density(initial, self.initial_precision) + gaussian_log_density(
            chain, self.chain_precision
        )


class InitialStep(NamedTuple):
    """Of the initial log-probabilities: gradient (K,), EM's step (K,), inverse information (K, K).

    One direction too many leaves the probabilities as they are; the gradient has no part in it.
    """

    gradient: jax.Array
    em_step: jax.Array
    metric: jax.Array


def initial_step(params: Parameters, counts: jax.Array, prior: OddsPrior | None) -> InitialStep:
    """What the expected beginnings (K,) of the sessions say of the initial law."""
    probs = jnp.asarray(params.initial_probs)
    total = counts.sum()
    expected = total * probs
    gradient = counts - expected
    if prior is None:
        floor = 1e-300
        ratio = jnp.log(jnp.maximum(counts, floor)) - jnp.log(jnp.maximum(expected, floor))
        inverse = jnp.where(expected > 0, 1 / jnp.maximum(expected, 1e-12), 0.0)
        return InitialStep(gradient, ratio, jnp.diag(inverse))
    k = probs.shape[0]
    over = jnp.eye(k) - jax.nn.one_hot(prior.reference, k, dtype=probs.dtype)[None]
    precision = jnp.asarray(prior.initial_precision)
    gradient = gradient - over.T @ (precision * prior.off_means(params)[0])
    information = jnp.diag(expected) - expected[:, None] * probs[None]
    information = information + over.T @ (precision[:, None] * over)
    # Along the direction too many, where there is no information, any will do.
    metric = jnp.linalg.inv(information + (1 + total) * jnp.ones((k, k)))
    return InitialStep(gradient, metric @ gradient, metric)


def constant_step_under(params: Parameters, counts: jax.Array, prior: OddsPrior) -> ChainStep:
    """EM's step where the chain is constant and its log-odds have a Gaussian prior.

    Parameters
    ----------
    counts : (K, K)
        Expected transitions.
    """
    matrix = jnp.asarray(params.transition_matrix)
    k = matrix.shape[0]
    rows, away = np.arange(k)[:, None], others(k)
    leaving = counts.sum(1, keepdims=True)
    precision = jnp.asarray(prior.chain_precision)[:, :, 0]
    pull = precision * prior.off_means(params)[1][:, :, 0]
    gradient = (counts - leaving * matrix)[rows, away] - pull
    odds = matrix[rows, away]
    eye = jnp.eye(k - 1)[None]
    outer = eye * odds[:, None] - odds[:, :, None] * odds[:, None]
    metric = jnp.linalg.inv(leaving[:, :, None] * outer + eye * precision[:, None])
    return ChainStep(gradient, (metric @ gradient[:, :, None])[:, :, 0], metric)


def driven_step_under(
    params: Parameters, free: jax.Array, sums: DrivenSums, prior: OddsPrior
) -> ChainStep:
    """EM's step where the chain has regressors, and such a prior in place of the ordinary ones.

    Parameters
    ----------
    free : (K, K-1, D)
        0 where a weight is frozen.
    sums
        Over all lanes.
    """
    precision = jnp.asarray(prior.chain_precision)
    k, rows, dims = precision.shape
    eye = jnp.eye(rows * dims).reshape(1, rows, dims, rows, dims)
    known = DrivenSums(
        sums.gradient - precision * prior.off_means(params)[1],
        sums.information + precision[:, :, :, None, None] * eye,
    )
    return driven_step(params, free, jnp.zeros(dims - 1), jnp.zeros((k, k)), known)
