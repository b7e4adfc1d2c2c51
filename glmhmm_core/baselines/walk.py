"""A GLM whose weights walk at random: filter, smoother and marginal likelihood.

The weights take a Gaussian step before every trial, of other sizes before the first of a session;
choices are softmax of weights times regressors (psytrack's model for two choices: Roy et al. 2021,
Neuron 109:597). The filter linearises each trial once, about the prediction. Every trial takes its
step, whether or not a choice counts.

Smoothing is Dynamax's, by its conditional-moments filter. Learning step sizes and scoring folds
filter hundreds of times and have the same filter written out, which knows that a choice has C - 1
dimensions and its noise one inverse: a seventh of the time, with the gradient.
"""

from functools import partial
from typing import NamedTuple

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


class _Trial(NamedTuple):
    """One trial as the filter sees it: of ``Walk``, and 1.0 where its choice counts."""

    x: jax.Array
    made: jax.Array
    within: jax.Array
    between: jax.Array
    counts: jax.Array


def _filter(log_steps: Array, counted: Array, walk: Walk) -> tuple[jax.Array, jax.Array]:
    """Log-likelihood of the choices that count, nats, and P(class) over the baseline (T, C-1).

    P(y_t | choices before t that count) is of weights at their predicted mean.
    """
    rows, columns = walk.made.shape[1], walk.X.shape[1]
    variances = jnp.tile(jnp.exp(2 * jnp.asarray(log_steps)), (1, rows))
    identity = jnp.eye(rows)

    def step(
        before: tuple[jax.Array, jax.Array], trial: _Trial
    ) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
        mean, covariance = before
        grown = trial.within * variances[0] + trial.between * variances[1]
        covariance = covariance + jnp.diag(grown)
        probs = _probs(mean, trial.x)
        noise = jnp.diag(probs) - jnp.outer(probs, probs)
        # Of the logits, with the weights and with one another.
        across = covariance.reshape(-1, rows, columns) @ trial.x
        within = jnp.einsum("amb,m->ab", across.reshape(rows, columns, rows), trial.x)
        # The noise is also the slope of the mean choice in the logits, and cancels once.
        spread = noise @ within + identity
        inverse = 1 / spread if rows == 1 else jnp.linalg.inv(spread)
        gain = trial.counts * across @ inverse
        after = mean + gain @ (trial.made - probs), covariance - gain @ noise @ across.T
        score = trial.counts * _Choice(probs, noise).log_prob(trial.made)
        return after, (score, probs)

    initial = jnp.tile(jnp.asarray(walk.initial_scale) ** 2, rows)
    start = jnp.zeros(rows * columns), jnp.diag(initial)
    trials = _Trial(*map(jnp.asarray, (walk.X, walk.made, walk.within, walk.between, counted)))
    _, (scores, probs) = jax.lax.scan(step, start, trials)
    return scores.sum(), probs


def log_likelihood(log_steps: Array, counted: Array, walk: Walk) -> jax.Array:
    """Marginal log-likelihood of the choices where ``counted`` (T,) is 1, nats."""
    return _filter(log_steps, counted, walk)[0]


def _predict(log_steps: Array, counted: Array, walk: Walk) -> tuple[jax.Array, jax.Array]:
    value, over = _filter(log_steps, counted, walk)
    return value, jnp.hstack([1 - over.sum(1, keepdims=True), over])


def _smooth(log_steps: Array, counted: Array, walk: Walk) -> tuple[jax.Array, jax.Array]:
    # Without regressors a trial says nothing of the weights.
    seen = jnp.asarray(walk.X) * counted[:, None]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        model = _model(log_steps, walk)
        posterior = conditional_moments_gaussian_filter(
            model, EKFIntegrals(), jnp.asarray(walk.made), seen
        )
        smoothed = conditional_moments_gaussian_smoother(
            model, EKFIntegrals(), jnp.asarray(walk.made), posterior, seen
        )
    variances = jnp.diagonal(smoothed.smoothed_covariances, axis1=1, axis2=2)
    return smoothed.smoothed_means, jnp.sqrt(variances)


_lanes = partial(jax.vmap, in_axes=(0, 0, None))
#: Log-likelihood (F,) and its gradient (F, 2, M) of log step sizes (F, 2, M) and the trials that
#: count (F, T).
value_and_gradient = jax.jit(_lanes(jax.value_and_grad(log_likelihood)))
#: The same arguments to log-likelihood (F,) and P(y_t | choices before t that count) (F, T, C),
#: the baseline first.
predict = jax.jit(_lanes(_predict))
#: Smoothed means and standard deviations of the weights, (T, (C-1) M), of one lane.
smooth = jax.jit(_smooth)
