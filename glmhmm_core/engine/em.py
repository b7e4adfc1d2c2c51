"""Maximise the MAP objective of one GLM-HMM: EM, then quasi-Newton steps that EM preconditions.

EM is safe far from an optimum and linear near it. Every iteration here costs one E-step, whose
statistics give both the EM step and the exact gradient. While EM still gains a lot its steps are
taken: expected counts in closed form for the chain, one damped Newton step for the emissions
(gradient EM, Lange 1995). Then BFGS takes over in the coordinates (log initial, log transition,
weights), its first metric the inverse complete-data information, so that its first step is the
EM step (Jamshidian and Jennrich 1997). A step that lowers the objective is never accepted: the
quasi-Newton metric is dropped, and the EM step is shortened until it gains.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from glmhmm_core.engine.coordinates import directions, pack, unpack
from glmhmm_core.engine.expectation import Data, expect
from glmhmm_core.engine.parameters import Array, Free, Parameters, Prior

#: Relative gain of an EM iteration below which BFGS takes over.
TAKE_OVER = 1e-4
#: Largest change of a coordinate in one quasi-Newton step: keeps the step inside its basin.
LONGEST_STEP = 2.0
#: Length of EM's step at a finished fit, in complete-data standard deviations.
GRADIENT_TOLERANCE = 1e-6
#: Relative rounding error of a sum of log-likelihoods.
ROUNDING = 1e-13


class Point(NamedTuple):
    """An accepted iterate: arrays of JAX within a climb, of NumPy between two.

    Attributes
    ----------
    theta : float64 (P,)
        Coordinates, as :mod:`~glmhmm_core.engine.coordinates` packs them.
    objective : float64 ()
    gradient, em_step : float64 (P,)
        Of the objective, and EM's step.
    metric : float64 (P, P)
        Inverse complete-data information.
    """

    theta: Any
    objective: Any
    gradient: Any
    em_step: Any
    metric: Any


class Begun(NamedTuple):
    """A climb between two E-steps: all it takes to go on as if it had not been interrupted.

    Attributes
    ----------
    point
        Where it stands.
    inverse : float64 (P, P)
        BFGS approximation of the inverse Hessian.
    step : float64 (P,)
        To be tried next.
    quasi : bool ()
        Whether ``step`` is a quasi-Newton step.
    damping : float64 ()
        Of the EM step.
    iterations : int ()
        E-steps after the first; -1 before that.
    """

    point: Point
    inverse: Any
    step: Any
    quasi: Any
    damping: Any
    iterations: Any


def anew(start: Parameters) -> Begun:
    """Nothing gained yet: the first E-step is a step of zero from a point below all others."""
    k = len(start.initial_probs)
    regressors = 0 if start.transition_weights is None else np.shape(start.transition_weights)[2]
    size = k + k * (k - 1) * (1 + regressors) + np.size(start.emission_weights)
    zeros, square = np.zeros(size), np.zeros((size, size))
    point = Point(zeros, np.asarray(-np.inf), zeros, zeros, square)
    return Begun(point, square, zeros, np.asarray(False), np.asarray(1.0), np.asarray(-1))


class Fit(NamedTuple):
    """Where one start ended.

    Attributes
    ----------
    params
        Parameters at the end.
    trace : float64 (max_iters + 1,)
        Objective at the accepted iterate after each E-step, never falling; NaN behind the end
        and before what the climb had begun with.
    begun
        What it takes to go on from here.
    converged : bool ()
        Whether gain and gradient met the tolerances.
    """

    params: Parameters
    trace: jax.Array
    begun: Begun
    converged: jax.Array

    @property
    def iterations(self) -> Array:
        """E-steps after the first, int ()."""
        return self.begun.iterations


class _State(NamedTuple):
    begun: Begun
    converged: jax.Array
    stuck: jax.Array
    trace: jax.Array


def _bfgs(inverse: jax.Array, moved: jax.Array, fallen: jax.Array) -> jax.Array:
    """BFGS update of the inverse Hessian; left alone where curvature is not positive."""
    curvature = moved @ fallen
    safe = curvature > 1e-10 * jnp.linalg.norm(moved) * jnp.linalg.norm(fallen)
    rho = 1.0 / jnp.where(safe, curvature, 1.0)
    left = jnp.eye(moved.size) - rho * jnp.outer(moved, fallen)
    return jnp.where(safe, left @ inverse @ left.T + rho * jnp.outer(moved, moved), inverse)


def maximize(
    start: Parameters,
    data: Data,
    prior: Prior,
    free: Free,
    tol: float,
    gradient_tol: float = GRADIENT_TOLERANCE,
    begun: Begun | None = None,
    *,
    max_iters: int,
) -> Fit:
    """Climb from ``start`` to a local maximum of the MAP objective.

    Parameters
    ----------
    start
        Parameters with strictly positive probabilities.
    data, prior, free
        The subject's lanes, the priors, and which weights are fitted.
    tol, gradient_tol
        The climb ends when an accepted step gains less than ``tol`` of the objective and EM's
        next step is shorter than ``gradient_tol`` complete-data standard deviations.
    begun
        Of an earlier climb with other tolerances: goes on where that ended.
    max_iters
        E-steps after which it is given up, those of the earlier climb among them.
    """
    begun = anew(start) if begun is None else begun
    return _maximize(start, data, prior, free, tol, gradient_tol, begun, max_iters=max_iters)


@partial(jax.jit, static_argnames="max_iters")
def _maximize(
    start: Parameters,
    data: Data,
    prior: Prior,
    free: Free,
    tol: float,
    gradient_tol: float,
    begun: Begun,
    *,
    max_iters: int,
) -> Fit:
    def evaluate(theta: jax.Array) -> Point:
        params = unpack(theta, start)
        e = expect(params, data, prior, free)
        return Point(theta, e.objective, *directions(params, e))

    def proceed(s: _State) -> jax.Array:
        return ~s.converged & ~s.stuck & (s.begun.iterations < max_iters)

    def iterate(s: _State) -> _State:
        before = s.begun.point
        new = evaluate(before.theta + s.begun.step)
        rounding = ROUNDING * jnp.abs(before.objective)
        accepted = new.objective >= before.objective - rounding  # False for NaN too
        point = jax.tree.map(lambda n, o: jnp.where(accepted, n, o), new, before)
        gain = jnp.where(accepted, new.objective - before.objective, jnp.inf)
        # Relative to one nat at least: choices without doubt have a log-likelihood of 0.
        relative = gain / jnp.maximum(jnp.abs(point.objective), 1.0)

        close = accepted & (s.begun.quasi | (relative < TAKE_OVER))
        updated = _bfgs(s.begun.inverse, s.begun.step, before.gradient - new.gradient)
        inverse = jnp.where(accepted & s.begun.quasi, updated, point.metric)
        newton = inverse @ point.gradient
        # A state that hardly ever begins has a large metric in the logarithm of its initial
        # probability. It falls as that rises, faster than BFGS learns of it: a step of e^100 would
        # end at the opposite corner, and what is left of the step moves no weight.
        k = start.initial_probs.shape[0]
        newton = newton.at[:k].set(jnp.clip(newton[:k], -LONGEST_STEP, LONGEST_STEP))
        longest = LONGEST_STEP * jnp.maximum(1.0, jnp.sqrt(jnp.diagonal(point.metric)))
        newton = newton / jnp.maximum(1.0, (jnp.abs(newton) / longest).max())
        quasi = close & (newton @ point.gradient > 0)

        # The EM step is halved only after it failed itself, not after a quasi-Newton step did.
        damping = jnp.where(accepted | s.begun.quasi, 1.0, s.begun.damping / 2)
        short = point.gradient @ point.metric @ point.gradient < gradient_tol**2
        step = jnp.where(quasi, newton, damping * point.em_step)
        iteration = s.begun.iterations + 1
        return _State(
            Begun(point, inverse, step, quasi, damping, iteration),
            converged=short & (relative < tol),
            stuck=damping < 1e-6,
            trace=s.trace.at[iteration].set(point.objective),
        )

    fresh = jnp.asarray(begun.iterations) < 0
    point = begun.point._replace(theta=jnp.where(fresh, pack(start), begun.point.theta))
    state = _State(
        jax.tree.map(jnp.asarray, begun._replace(point=point)),
        converged=jnp.asarray(False),
        stuck=jnp.asarray(False),
        trace=jnp.full(max_iters + 1, jnp.nan),
    )
    end = jax.lax.while_loop(proceed, iterate, state)
    theta = end.begun.point.theta
    return Fit(unpack(theta, start), end.trace, end.begun, end.converged)


@partial(jax.jit, static_argnames="max_iters")
def maximize_together(
    starts: Parameters,
    data: Data,
    prior: Prior,
    free: Free,
    tol: float,
    gradient_tol: float,
    begun: Begun,
    *,
    max_iters: int,
) -> Fit:
    """Climb from many starts in step, for accelerators: :func:`maximize` over a leading axis.

    ``starts`` and ``begun`` have a leading axis R, and so has the result. All climbs take as many
    iterations as the longest; on a processor with few cores one climb at a time is faster.
    """

    def one(start: Parameters, begun: Begun) -> Fit:
        return maximize(start, data, prior, free, tol, gradient_tol, begun, max_iters=max_iters)

    return jax.vmap(one)(starts, begun)


def bytes_per_climb(data: Data, num_states: int) -> int:
    """Working memory of one climb, in bytes: its arrays over time and the lanes of a block.

    Counted from :func:`~glmhmm_core.engine.expectation.expect`: messages and likelihoods take
    eight arrays (K, T, S), choice probabilities and their residuals three (K, C, T, S), and
    transitions that have regressors three (K, K, T, S).
    """
    _, num_classes, steps, lanes = data.lanes.y.shape
    driven = 3 * num_states if data.lanes.U.shape[1] else 0
    return 8 * steps * lanes * num_states * (8 + 3 * num_classes + driven)
