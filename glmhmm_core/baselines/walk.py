"""A GLM whose weights walk at random: filter, smoother and marginal likelihood.

The weights take a Gaussian step before every trial, of other sizes before the first of a session;
choices are softmax of weights times regressors (psytrack's model for two choices: Roy et al. 2021,
Neuron 109:597). Every trial takes its step, whether or not a choice counts.

The filter is an extended one that linearises each trial once, about the prediction, with logits
softened by their variance. Without that a choice that wide priors make look impossible is given a
probability of 0 and moves the weights beyond all bounds: one such trial in a person's first
session cost 690 nats. It is written out, since a choice has C - 1 dimensions and its noise one
inverse: a seventh of the time of Dynamax's, with the gradient. The smoother is Dynamax's.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from dynamax.generalized_gaussian_ssm import EKFIntegrals, conditional_moments_gaussian_smoother
from dynamax.generalized_gaussian_ssm.inference import PosteriorGSSMFiltered
from dynamax.generalized_gaussian_ssm.models import ParamsGGSSM

import glmhmm_core.engine  # noqa: F401  (64-bit numbers)

Array = jax.Array | np.ndarray

#: Smallest probability whose logarithm is taken.
TINY = 1e-300
#: Softening of the logit by its variance (MacKay 1992, Neural Computation 4:720).
SOFT = np.pi / 8


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


def _expected(logits: jax.Array, variance: jax.Array) -> jax.Array:
    """P(class) of the C - 1 classes over the baseline, averaged over uncertain logits."""
    softened = logits / jnp.sqrt(1 + SOFT * variance)
    return jax.nn.softmax(jnp.concatenate([jnp.zeros(1), softened]))[1:]


def _model(log_steps: Array, walk: Walk) -> ParamsGGSSM:
    """Dynamax's parameters of log step sizes (2, M): within sessions and between.

    Of the emissions the smoother asks nothing.
    """
    rows = walk.made.shape[1]
    variance = jnp.exp(2 * jnp.asarray(log_steps))
    each = jnp.outer(walk.within, variance[0]) + jnp.outer(walk.between, variance[1])
    return ParamsGGSSM(
        initial_mean=jnp.zeros(rows * walk.X.shape[1]),
        initial_covariance=jnp.diag(jnp.tile(jnp.asarray(walk.initial_scale) ** 2, rows)),
        dynamics_function=lambda weights: weights,
        dynamics_covariance=jax.vmap(jnp.diag)(jnp.tile(each, (1, rows))),
        emission_mean_function=None,
        emission_cov_function=None,
        emission_dist=None,
    )


class _Trial(NamedTuple):
    """One trial as the filter sees it: of ``Walk``, and 1.0 where its choice counts."""

    x: jax.Array
    made: jax.Array
    within: jax.Array
    between: jax.Array
    counts: jax.Array


def _filter(log_steps: Array, counted: Array, walk: Walk, *, keep: bool = False) -> Any:
    """Scores of the choices that count, nats (T,), and P(class) over the baseline (T, C-1).

    P(y_t | choices before t that count). To ``keep`` is to give mean and covariance of the
    weights after each trial too.
    """
    rows, columns = walk.made.shape[1], walk.X.shape[1]
    variances = jnp.tile(jnp.exp(2 * jnp.asarray(log_steps)), (1, rows))
    identity = jnp.eye(rows)

    def step(before: tuple[jax.Array, jax.Array], trial: _Trial) -> Any:
        mean, covariance = before
        grown = trial.within * variances[0] + trial.between * variances[1]
        covariance = covariance + jnp.diag(grown)
        # Of the logits, with the weights and with one another.
        across = covariance.reshape(-1, rows, columns) @ trial.x
        within = jnp.einsum("amb,m->ab", across.reshape(rows, columns, rows), trial.x)
        probs = _expected(mean.reshape(rows, columns) @ trial.x, jnp.diagonal(within))
        noise = jnp.diag(probs) - jnp.outer(probs, probs)
        # The noise is also the slope of the mean choice in the logits, and cancels once.
        spread = noise @ within + identity
        inverse = 1 / spread if rows == 1 else jnp.linalg.inv(spread)
        gain = trial.counts * across @ inverse
        after = mean + gain @ (trial.made - probs), covariance - gain @ noise @ across.T
        made = trial.made @ probs + (1 - trial.made.sum()) * (1 - probs.sum())
        score = trial.counts * jnp.log(jnp.maximum(made, TINY))
        return after, (score, probs, *after) if keep else (score, probs)

    initial = jnp.tile(jnp.asarray(walk.initial_scale) ** 2, rows)
    start = jnp.zeros(rows * columns), jnp.diag(initial)
    trials = _Trial(*map(jnp.asarray, (walk.X, walk.made, walk.within, walk.between, counted)))
    return jax.lax.scan(step, start, trials)[1]


def log_likelihood(log_steps: Array, counted: Array, walk: Walk) -> jax.Array:
    """Marginal log-likelihood of the choices where ``counted`` (T,) is 1, nats."""
    return _filter(log_steps, counted, walk)[0].sum()


def _predict(log_steps: Array, counted: Array, walk: Walk) -> tuple[jax.Array, jax.Array]:
    scores, over = _filter(log_steps, counted, walk)
    return scores.sum(), jnp.hstack([1 - over.sum(1, keepdims=True), over])


def _smooth(log_steps: Array, counted: Array, walk: Walk) -> tuple[jax.Array, jax.Array]:
    scores, _, means, covariances = _filter(log_steps, counted, walk, keep=True)
    filtered = PosteriorGSSMFiltered(scores.sum(), means, covariances)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        smoothed = conditional_moments_gaussian_smoother(
            _model(log_steps, walk), EKFIntegrals(), jnp.asarray(walk.made), filtered
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
