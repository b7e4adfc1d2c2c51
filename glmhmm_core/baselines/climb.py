"""Climb to the mode of a softmax GLM with lapses: Newton's method, all folds in one program.

Derivatives are exact: those of a trial's log-likelihood by automatic differentiation in its
C - 1 logits and L rates, those of the sum by the chain rule. The objective with lapses is not
concave; curvature of the wrong sign is turned around, so that every step goes uphill, and steps
stay within a radius that their success widens or narrows (Dauphin et al. 2014, NeurIPS, in a
trust region).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import glmhmm_core.engine  # noqa: F401  (64-bit numbers)
from glmhmm_core.engine.parameters import gaussian_log_density

Array = jax.Array | np.ndarray

#: Largest step at first, and ever, in weights of regressors of root mean square 1 and in log-odds.
RADIUS, WIDEST = 2.0, 20.0


class Trials(NamedTuple):
    """Trials as the climb needs them; what is no trial has no weight in any lane.

    Attributes
    ----------
    features : float64 (T, C-1, P)
        What each weight adds to each logit over the baseline.
    made : float64 (T, C)
        1 at the choice made, baseline first.
    active : float64 (T, L)
        1 where a lapse rate applies.
    target : float64 (T, L)
        Probability of the choice made, in a lapse of each rate.
    grouped : float64 (G, L)
        1 where a rate belongs to a group; every rate belongs to one.
    cap
        Bound of the sum of the rates of a group.
    """

    features: Array
    made: Array
    active: Array
    target: Array
    grouped: Array
    cap: Array | float


class Climbed(NamedTuple):
    """Where each of F lanes ended.

    Attributes
    ----------
    point : (F, P + L)
        Weights, then coordinates of the rates.
    objective : (F,)
        Log-likelihood plus log prior of the weights, nats.
    gradient : (F,)
        Its largest derivative.
    iterations, converged : (F,)
        Steps tried, and whether ``gradient`` met the tolerance.
    """

    point: Array
    objective: Array
    gradient: Array
    iterations: Array
    converged: Array


class _At(NamedTuple):
    point: jax.Array
    value: jax.Array
    gradient: jax.Array
    hessian: jax.Array


class _State(NamedTuple):
    at: _At
    move: jax.Array
    length: jax.Array
    promised: jax.Array
    radius: jax.Array
    iterations: jax.Array


def rates_of(coordinates: Array, grouped: Array, cap: Array | float) -> jax.Array:
    """Lapse rates (L,) of unbounded coordinates (L,): a softmax in each group beside "none".

    >>> rates_of(np.zeros(2), np.ones((1, 2)), 1.0).round(3).tolist()
    [0.333, 0.333]
    """
    high = jnp.maximum(jnp.where(grouped > 0, coordinates[None, :], -jnp.inf).max(1), 0.0)
    own = grouped.T @ high
    odds = jnp.exp(coordinates - own)
    return jnp.asarray(cap * odds / (grouped.T @ (jnp.exp(-high) + grouped @ odds)))


def coordinates_of(rates: np.ndarray, grouped: np.ndarray, cap: float) -> np.ndarray:
    """Coordinates (L,) of lapse rates (L,), each positive and their sum below ``cap``."""
    share = rates / cap
    return np.log(share) - np.log(grouped.T @ (1 - grouped @ share))


def _trial(logits: jax.Array, rates: jax.Array, made: Array, active: Array, target: Array) -> Array:
    """Log-likelihood of one trial: C - 1 logits over the baseline, L rates."""
    full = jnp.concatenate([jnp.zeros(1), logits])
    log_softmax = made @ full - jax.scipy.special.logsumexp(full)
    applied = active * rates
    lapse = applied @ target
    # In units of the softmax: without a lapse to this choice nothing here is singular.
    return log_softmax + jnp.log(
        1 - applied.sum() + lapse * jnp.exp(jnp.minimum(-log_softmax, 600.0))
    )


def _evaluate(
    point: jax.Array, counted: Array, free: Array, precision: Array, trials: Trials
) -> _At:
    """Objective with first and second derivatives; those of fixed coordinates vanish."""
    size, rows = trials.features.shape[-1], trials.features.shape[1]
    beta, coordinates = point[:size], point[size:]
    to_rates = partial(rates_of, grouped=trials.grouped, cap=trials.cap)
    rates = to_rates(coordinates)
    logits = trials.features @ beta
    per_trial = (trials.made, trials.active, trials.target)

    def joint(both: jax.Array, *arrays: Array) -> Array:
        return _trial(both[:rows], both[rows:], *arrays)

    both = jnp.hstack([logits, jnp.broadcast_to(rates, (len(logits), len(rates)))])
    value = jnp.vdot(counted, jax.vmap(joint)(both, *per_trial))
    first = counted[:, None] * jax.vmap(jax.grad(joint))(both, *per_trial)
    second = counted[:, None, None] * jax.vmap(jax.hessian(joint))(both, *per_trial)

    features = trials.features
    jacobian = jax.jacfwd(to_rates)(coordinates)
    on_rates = first[:, rows:].sum(0)
    curved = jax.hessian(lambda c: on_rates @ to_rates(c))(coordinates)
    gradient = jnp.concatenate(
        [jnp.einsum("tcp,tc->p", features, first[:, :rows]), on_rates @ jacobian]
    )
    weighted = jnp.einsum("tcd,tdp->tcp", second[:, :rows, :rows], features)
    within = jnp.einsum("tcp,tcq->pq", features, weighted)
    across = jnp.einsum("tcp,tcl->pl", features, second[:, :rows, rows:]) @ jacobian
    lapsing = jacobian.T @ second[:, rows:, rows:].sum(0) @ jacobian + curved
    hessian = jnp.block([[within - jnp.diag(precision), across], [across.T, lapsing]])
    gradient = gradient.at[:size].add(-precision * beta)
    value = value + gaussian_log_density(beta, precision)
    return _At(point, value, gradient * free, hessian * free[:, None] * free[None, :])


def _climb(
    start: Array,
    counted: Array,
    free: Array,
    precision: Array,
    trials: Trials,
    tol: Array,
    max_iters: Array,
) -> Climbed:
    """One lane."""
    goal = tol * jnp.maximum(counted.sum(), 1.0)

    def going(state: _State) -> jax.Array:
        steep = jnp.abs(state.at.gradient).max() > goal
        # A shorter step is lost in the rounding of the point.
        return steep & (state.iterations <= max_iters) & (state.radius > 1e-12)

    def step(state: _State) -> _State:
        # Evaluated at one place, for the start as well: half the program to compile.
        new = _evaluate(state.at.point + state.move, counted, free, precision, trials)
        rounding = 1e-13 * jnp.abs(new.value)
        gain = new.value - state.at.value
        taken = jnp.isfinite(new.value) & (gain >= -rounding)
        good = taken & (gain >= 0.5 * state.promised - rounding)
        radius = jnp.where(
            good,
            jnp.maximum(state.radius, jnp.minimum(2 * state.length, WIDEST)),
            jnp.where(taken, state.radius, 0.25 * state.length),
        )
        at = jax.tree.map(lambda a, b: jnp.where(taken, a, b), new, state.at)
        curvature, axes = jnp.linalg.eigh(at.hessian)
        size = jnp.maximum(jnp.abs(curvature), 1e-12 * jnp.maximum(jnp.abs(curvature).max(), 1.0))
        move = axes @ ((axes.T @ at.gradient) / size)
        length = jnp.sqrt(move @ move)
        move = move * jnp.minimum(1.0, radius / jnp.maximum(length, 1e-300))
        return _State(
            at=at,
            move=move,
            length=jnp.minimum(length, radius),
            promised=at.gradient @ move + 0.5 * move @ (at.hessian @ move),
            radius=radius,
            iterations=state.iterations + 1,
        )

    point = jnp.asarray(start)
    nowhere = _At(point, jnp.asarray(-jnp.inf), point + jnp.inf, jnp.diag(point))
    zero = jnp.asarray(0.0)
    first = _State(nowhere, 0 * point, zero, zero, jnp.asarray(RADIUS), jnp.asarray(0))
    end = jax.lax.while_loop(going, step, first)
    gradient = jnp.abs(end.at.gradient).max()
    return Climbed(end.at.point, end.at.value, gradient, end.iterations - 1, gradient <= goal)


#: Climb in F lanes: starts (F, P + L), weights of the trials (F, T), and for all lanes which
#: coordinates move (P + L,), the prior's precisions (P,), trials, tolerance of the gradient per
#: trial counted, and steps. Compiled once for a shape.
climb = jax.jit(jax.vmap(_climb, in_axes=(0, 0, None, None, None, None, None)))
