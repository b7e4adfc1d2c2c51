"""The emissions' M-step: weighted softmax regression by damped Newton with the exact Hessian."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

#: Squared Newton decrement (twice the expected gain, nats) below which a full step is the last:
#: convergence is quadratic there, so that step ends at rounding error.
LAST_STEP = 1e-8
MAX_STEPS = 100
MAX_HALVINGS = 40


class _State(NamedTuple):
    weights: jax.Array
    done: jax.Array
    steps: jax.Array


def maximize_emissions(
    weights: jax.Array,
    responsibility: jax.Array,
    y: jax.Array,
    X: jax.Array,
    precision: jax.Array,
    free: jax.Array,
) -> jax.Array:
    """Weights of one state that maximise its expected log-likelihood plus log prior.

    Parameters
    ----------
    weights : float64 (C-1, M)
        Where to start.
    responsibility : float64 (T,)
        Posterior probability of the state, 0 where no choice counts.
    y : float64 (T, C-1)
        One-hot choices without the column of the baseline class.
    X : float64 (T, M)
        Regressors.
    precision : float64 (M,)
        One over the variance of each regressor's Gaussian prior, 0 for none.
    free : float64 (C-1, M)
        1 for the weights that are fitted, 0 for those that stay as they are.

    Returns
    -------
    float64 (C-1, M)
        The maximum; never below the start. Without a prior, separable choices have none: then
        finite weights whose gain of another step is below rounding.
    """
    rows, num_features = weights.shape

    def objective(w: jax.Array) -> jax.Array:
        logits = X @ w.T
        log_norm = jax.nn.logsumexp(jnp.pad(logits, ((0, 0), (1, 0))), axis=1)
        fit = (responsibility * ((y * logits).sum(1) - log_norm)).sum()
        return fit - 0.5 * (precision * w**2).sum()

    def newton(w: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = X @ w.T
        p = jax.nn.softmax(jnp.pad(logits, ((0, 0), (1, 0))), axis=1)[:, 1:]
        gradient = free * ((responsibility[:, None] * (y - p)).T @ X - precision * w)
        spread = jax.vmap(jnp.diag)(p) - p[:, :, None] * p[:, None, :]
        curvature = jnp.einsum("t,tab,tm,tn->ambn", responsibility, spread, X, X)
        curvature = curvature.reshape(rows * num_features, -1) + jnp.diag(jnp.tile(precision, rows))
        # Keeps a direction that neither data nor prior inform solvable; there the gradient is 0.
        fitted = free.ravel()
        curvature = curvature * fitted[:, None] * fitted[None] + jnp.diag(1 - fitted)
        ridge = 1e-12 * (1.0 + jnp.trace(curvature))
        step = jnp.linalg.solve(curvature + ridge * jnp.eye(len(curvature)), gradient.ravel())
        return step.reshape(w.shape), step @ gradient.ravel()

    def proceed(s: _State) -> jax.Array:
        return ~s.done & (s.steps < MAX_STEPS)

    def iterate(s: _State) -> _State:
        step, decrement = newton(s.weights)
        last = decrement < LAST_STEP
        before = objective(s.weights)

        def poor(shrink: jax.Array) -> jax.Array:
            gain = objective(s.weights + shrink * step) - before
            enough = gain >= 1e-4 * shrink * decrement
            return ~enough & ~last & (shrink > 2.0**-MAX_HALVINGS)

        shrink = jax.lax.while_loop(poor, lambda t: t / 2, jnp.ones_like(before))
        return _State(s.weights + shrink * step, last, s.steps + 1)

    start = _State(weights, jnp.asarray(False), jnp.asarray(0))
    return jax.lax.while_loop(proceed, iterate, start).weights
