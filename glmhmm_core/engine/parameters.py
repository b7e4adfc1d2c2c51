"""The parameters of a softmax GLM-HMM as plain arrays, and the priors on them."""

import math
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from glmhmm_core.engine.odds import OddsPrior

Array = jax.Array | np.ndarray


class Parameters(NamedTuple):
    """Parameters of one softmax GLM-HMM.

    Attributes
    ----------
    initial_probs : float64 (K,)
        P(z_1), the law of the first state of every session.
    transition_matrix : float64 (K, K)
        Row i is P(z_t | z_{t-1} = i), where transitions have regressors at u_t = 0.
    emission_weights : float64 (K, C-1, M)
        Log-odds of each class over the baseline, per unit of each regressor; rows in class
        order with the baseline left out.
    transition_weights : float64 (K, K-1, D), or None
        Log-odds of leaving state i for each other state, in state order, over staying, per unit
        of each transition regressor of the destination trial; None for a constant chain.
    """

    initial_probs: Array
    transition_matrix: Array
    emission_weights: Array
    transition_weights: Array | None = None


class Prior(NamedTuple):
    """Priors of the MAP objective; the initial state's is flat unless there is ``odds``.

    Attributes
    ----------
    emission_precision : float64 (M,) or (K, C-1, M)
        1 / variance of the Gaussian prior on the weights of each regressor, or on each weight;
        0 for none.
    transition_counts : float64 (K, K)
        Dirichlet concentrations less one: what the mode adds to the expected counts. The
        Dirichlet is on the transition matrix, where transitions have regressors at u = 0.
    transition_normalizer
        Logarithm of the Dirichlets' normalizer, :func:`dirichlet_log_normalizer`.
    transition_precision : float64 (D,), or None
        1 / variance of the Gaussian prior on the transition weights.
    emission_mean : float64 (K, C-1, M), or None
        Mean of the Gaussian prior on each weight; None for zero.
    odds : OddsPrior, or None
        Gaussian priors on the log-odds of the chain, beside the Dirichlet of a constant one; in
        place of it and of ``transition_precision`` where transitions have regressors.
    """

    emission_precision: Array
    transition_counts: Array
    transition_normalizer: float
    transition_precision: Array | None = None
    emission_mean: Array | None = None
    odds: "OddsPrior | None" = None

    def off_mean(self, weights: Array) -> jax.Array:
        """Emission weights (K, C-1, M) less their prior mean."""
        return jnp.asarray(weights) - (0.0 if self.emission_mean is None else self.emission_mean)


class Free(NamedTuple):
    """Which weights are fitted: 1, and which are frozen at their starting values: 0.

    Attributes
    ----------
    emission : float64 (K, C-1, M)
    transition : float64 (K, K-1, D), or None
    """

    emission: Array
    transition: Array | None = None


def all_free(params: Parameters) -> Free:
    """No weight is frozen."""
    transition = params.transition_weights
    return Free(
        np.ones(params.emission_weights.shape),
        None if transition is None else np.ones(transition.shape),
    )


def make_prior(
    num_states: int,
    emission_scale: np.ndarray,
    concentration: float,
    stickiness: float,
    transition_scale: np.ndarray | None = None,
) -> Prior:
    """Prior from the scales users give.

    Parameters
    ----------
    num_states
        K.
    emission_scale, transition_scale : float64 (M,), (D,)
        Standard deviations, positive; infinity for no prior.
    concentration, stickiness
        Dirichlet concentration of every transition, at least 1, and what is added to it on the
        diagonal, at least 0.
    """
    counts = (concentration - 1.0) * np.ones((num_states, num_states))
    counts += stickiness * np.eye(num_states)
    driven = None if transition_scale is None else 1.0 / np.asarray(transition_scale) ** 2
    precision = 1.0 / np.asarray(emission_scale, np.float64) ** 2
    return Prior(precision, counts, dirichlet_log_normalizer(counts), driven)


def log_prior(params: Parameters, prior: Prior, free: Free) -> jax.Array:
    """Log density of the priors at ``params``, nats; a scalar.

    Normalised densities, except that what has no prior (infinite scale; concentration 1 without
    stickiness) contributes 0, as does what is frozen. With one state there is no transition to
    have a prior on.
    """
    on_weights = gaussian_log_density(
        prior.off_mean(params.emission_weights), _spread(prior.emission_precision, free.emission)
    )
    on_chain = dirichlet_log_density(
        params.transition_matrix, prior.transition_counts, prior.transition_normalizer
    )
    if prior.odds is not None:
        on_chain = on_chain + prior.odds.log_density(params)
    if params.transition_weights is None or prior.odds is not None:
        return on_weights + on_chain
    assert prior.transition_precision is not None
    assert free.transition is not None
    return (
        on_weights
        + on_chain
        + gaussian_log_density(
            params.transition_weights, _spread(prior.transition_precision, free.transition)
        )
    )


def gaussian_log_density(weights: Array, precision: Array) -> jax.Array:
    """Log density of weights (..., M) under Gaussian priors of precision (..., M), summed."""
    weights = jnp.asarray(weights)
    precision = jnp.broadcast_to(jnp.asarray(precision), weights.shape)
    proper = precision > 0
    normal = 0.5 * (jnp.log(jnp.where(proper, precision, 1.0)) - jnp.log(2 * jnp.pi))
    return (jnp.where(proper, normal, 0.0) - 0.5 * precision * weights**2).sum()


def dirichlet_log_normalizer(counts: np.ndarray) -> float:
    """Log normalizer of Dirichlet rows of concentrations (K, K) less 1, summed; concrete numbers.

    Zero for a row without a prior, and for one state, which has no transitions. Apart from the
    density, because compiling the gamma function takes as long as half of the fit's program.
    """
    if len(counts) == 1:
        return 0.0
    rows = [row + 1 for row in np.asarray(counts) if np.any(row > 0)]
    return float(sum(math.lgamma(row.sum()) - sum(map(math.lgamma, row)) for row in rows))


def dirichlet_log_density(matrix: Array, counts: Array, log_normalizer: float) -> jax.Array:
    """Log density of rows (K, K) under Dirichlets of concentrations (K, K) less 1, summed."""
    matrix, counts = jnp.asarray(matrix), jnp.asarray(counts)
    # Where there is no prior, an entry may be exactly 0: its logarithm is not looked at.
    return (counts * jnp.log(jnp.where(counts > 0, matrix, 1.0))).sum() + log_normalizer


def _spread(precision: Array, free: Array) -> jax.Array:
    """Precision of every weight (K, rows, M): its own or its regressor's, 0 where frozen."""
    free = jnp.asarray(free)
    return jnp.broadcast_to(jnp.asarray(precision), free.shape) * free
