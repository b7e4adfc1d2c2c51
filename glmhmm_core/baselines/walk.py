"""A GLM whose weights walk at random: filter, smoother and marginal likelihood by Dynamax.

The weights take a Gaussian step before every trial, of other sizes before the first of a session;
choices are softmax of weights times regressors (psytrack's model for two choices: Roy et al. 2021,
Neuron 109:597). Dynamax's conditional-moments filter linearises each trial once, about the
prediction. Every trial takes its step, whether or not a choice counts.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from dynamax.generalized_gaussian_ssm import (
    EKFIntegrals,
    conditional_moments_gaussian_filter,
    conditional_moments_gaussian_smoother,
)
from dynamax.generalized_gaussian_ssm.models import ParamsGGSSM

import glmhmm_core.engine  # noqa: F401  (64-bit numbers)

Array = jax.Array | np.ndarray

#: Smallest probability whose logarithm is taken.
TINY = 1e-300


class Walk(NamedTuple):
    """Trials in order of time, padded with trials that neither count nor step.

    Attributes
    ----------
    X : float64 (T, M)
        Regressors.
    made : float64 (T, C-1)
        1 at the choice made, the baseline left out.
    within, between : float64 (T,)
        1 where a step of the session, or one between sessions, leads into the trial.
    initial_scale : float64 (M,)
        Standard deviation of the weights at the first trial; their mean is zero.
    """

    X: Array
    made: Array
    within: Array
    between: Array
    initial_scale: Array


class Filtered(NamedTuple):
    """What the filter says.

    Attributes
    ----------
    log_likelihood
        Of the choices that count, nats.
    probs : float64 (T, C)
        P(y_t | choices before t that count), baseline first.
    means, covariances : float64 (T, (C-1) M), (T, (C-1) M, (C-1) M)
        Of the weights, given choices up to t.
    """

    log_likelihood: jax.Array
    probs: jax.Array
    means: jax.Array
    covariances: jax.Array


class _Choice:
    """Categorical distribution in the form that Dynamax asks for."""

    def __init__(self, probs: jax.Array, _covariance: jax.Array) -> None:
        self.probs = probs

    def log_prob(self, made: jax.Array) -> jax.Array:
        prob = made @ self.probs + (1 - made.sum()) * (1 - self.probs.sum())
        return jnp.log(jnp.maximum(prob, TINY))


def _probs(weights: jax.Array, x: jax.Array) -> jax.Array:
    """P(class) of the C - 1 classes over the baseline."""
    logits = weights.reshape(-1, x.shape[0]) @ x
    return jax.nn.softmax(jnp.concatenate([jnp.zeros(1), logits]))[1:]


def _covariance(weights: jax.Array, x: jax.Array) -> jax.Array:
    p = _probs(weights, x)
    return jnp.diag(p) - jnp.outer(p, p)


def _model(log_steps: Array, walk: Walk) -> ParamsGGSSM:
    """Dynamax's parameters of log step sizes (2, M): within sessions and between."""
    rows = walk.made.shape[1]
    variance = jnp.exp(2 * jnp.asarray(log_steps))
    each = jnp.outer(walk.within, variance[0]) + jnp.outer(walk.between, variance[1])
    return ParamsGGSSM(
        initial_mean=jnp.zeros(rows * walk.X.shape[1]),
        initial_covariance=jnp.diag(jnp.tile(jnp.asarray(walk.initial_scale) ** 2, rows)),
        dynamics_function=lambda weights, _: weights,
        dynamics_covariance=jax.vmap(jnp.diag)(jnp.tile(each, (1, rows))),
        emission_mean_function=_probs,
        emission_cov_function=_covariance,
        emission_dist=_Choice,
    )


def _filter(log_steps: Array, counted: Array, walk: Walk) -> tuple[Any, Any, jax.Array]:
    """Dynamax's model and posterior, and the regressors that it saw.

    Without regressors a trial says nothing of the weights, and every choice has log probability
    -log C, which is taken off again.
    """
    seen = jnp.asarray(walk.X) * counted[:, None]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        model = _model(log_steps, walk)
        posterior = conditional_moments_gaussian_filter(
            model, EKFIntegrals(), jnp.asarray(walk.made), seen
        )
    return model, posterior, seen


def _unseen(counted: Array, walk: Walk) -> jax.Array:
    return (1 - jnp.asarray(counted)).sum() * jnp.log(walk.made.shape[1] + 1.0)


def log_likelihood(log_steps: Array, counted: Array, walk: Walk) -> jax.Array:
    """Marginal log-likelihood of the choices where ``counted`` (T,) is 1, nats."""
    _, posterior, _ = _filter(log_steps, counted, walk)
    return jnp.asarray(posterior.marginal_loglik + _unseen(counted, walk))


def _predict(log_steps: Array, counted: Array, walk: Walk) -> Filtered:
    _, posterior, _ = _filter(log_steps, counted, walk)
    means = posterior.filtered_means
    before = jnp.concatenate([jnp.zeros((1, means.shape[1])), means[:-1]])  # a walk stays on mean
    over = jax.vmap(_probs)(before, jnp.asarray(walk.X))
    return Filtered(
        posterior.marginal_loglik + _unseen(counted, walk),
        jnp.hstack([1 - over.sum(1, keepdims=True), over]),
        means,
        posterior.filtered_covariances,
    )


def _smooth(log_steps: Array, counted: Array, walk: Walk) -> tuple[jax.Array, jax.Array]:
    model, posterior, seen = _filter(log_steps, counted, walk)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        smoothed = conditional_moments_gaussian_smoother(
            model, EKFIntegrals(), jnp.asarray(walk.made), posterior, seen
        )
    variances = jnp.diagonal(smoothed.smoothed_covariances, axis1=1, axis2=2)
    return smoothed.smoothed_means, jnp.sqrt(variances)


_lanes = partial(jax.vmap, in_axes=(0, 0, None))
#: Log-likelihood (F,) and its gradient (F, 2, M) of log step sizes (F, 2, M) and the trials that
#: count (F, T).
value_and_gradient = jax.jit(_lanes(jax.value_and_grad(log_likelihood)))
#: The same arguments to :class:`Filtered` with a leading axis F.
predict = jax.jit(_lanes(_predict))
#: Smoothed means and standard deviations of the weights, (T, (C-1) M), of one lane.
smooth = jax.jit(_smooth)
